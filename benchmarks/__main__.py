"""Measure and print, line by line: `make bench`, or one section, as in `make bench BENCH=--stem`.

Ratios are taken side by side within one call, for seconds differ between machines and with what else runs.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks import batch, gpu, learnaf, measure, simulator, training

SECTIONS = {
    "simulator": "a stack against a plain renderer (1 minute)",
    "training": "steps against a plain loop (1 minute)",
    "changes": "also what each change to the steps gave (3 minutes)",
    "stem": "L2A's sparse stem against the dense one (half a minute)",
    "learnaf": "reading photographs (half a minute)",
    "smoke": "the smoke batch from nothing (2 minutes)",
    "full": "one full-length training (2 minutes)",
    "long": "also one ten times longer (15 minutes)",
    "figures": "the laptop's figures from nothing (20 minutes)",
    "gpu": "the paper profile on one GPU (5 minutes; none here: it stops)",
}
USUAL = ("simulator", "training", "stem", "learnaf", "smoke")


def sections(asked: set[str], folder: Path) -> Iterator[measure.Measurement]:
    """The measurements of the sections asked for."""
    if "simulator" in asked:
        yield from simulator.measure()
    if asked & {"training", "changes"}:
        yield from training.measure(folder, "changes" in asked)
    if "stem" in asked:
        yield from training.measure_stem()
    if "learnaf" in asked:
        yield from learnaf.measure(folder)
    if asked & {"full", "long"}:
        yield from training.measure_long(folder, "long" in asked)
    if "smoke" in asked:
        yield from batch.measure(folder, "smoke", 2, None)
    if "figures" in asked:
        yield from batch.measure(folder, "laptop", 25, 1.15)
    if "gpu" in asked:
        yield from gpu.measure(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0], epilog=f"Without an option: {', '.join(USUAL)}."
    )
    for name, words in SECTIONS.items():
        parser.add_argument(f"--{name}", action="store_true", help=words)
    options = vars(parser.parse_args(arguments))
    asked = {name for name in SECTIONS if options[name]} or set(USUAL)
    if "gpu" in asked and not torch.cuda.is_available():
        parser.error("--gpu: there is no GPU that torch can use; `make doctor` says why")
    print(measure.surroundings(), flush=True)
    with tempfile.TemporaryDirectory(prefix="fcl-bench") as folder:
        for measurement in sections(asked, Path(folder)):
            print(measurement, flush=True)


if __name__ == "__main__":
    main()
