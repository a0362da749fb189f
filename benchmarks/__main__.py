"""Measure and print, line by line: `make bench`, or some sections, as in `make bench BENCH=--stem`."""

import argparse
import os
import tempfile
from functools import partial
from pathlib import Path

import torch

from benchmarks import batch, gpu, simulator, training

SECTIONS = {
    "simulator": (simulator.section, "focal stacks against a plain renderer (1 minute)"),
    "training": (training.section, "steps against a plain loop (1 minute)"),
    "stem": (training.stem_section, "L2A's sparse stem against the dense one (1 minute)"),
    "smoke": (partial(batch.section, profile="smoke"), "the smoke batch from nothing (2 minutes)"),
    "figures": (partial(batch.section, profile="laptop", mark="at most 1.15"), "the laptop's figures (20 minutes)"),
    "gpu": (gpu.section, "the paper profile on one GPU (5 minutes)"),
}
USUAL = ("simulator", "training", "stem", "smoke")


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__, epilog=f"Usual: {', '.join(USUAL)}.")
    for name, (_, words) in SECTIONS.items():
        parser.add_argument(f"--{name}", action="store_true", help=words)
    options = vars(parser.parse_args(arguments))
    if options["gpu"] and not torch.cuda.is_available():
        parser.error("--gpu: there is no GPU that torch can use; `make doctor` says why")
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} before the start: above 0.3, rely on ratios")
    with tempfile.TemporaryDirectory(prefix="fcl-bench") as folder:
        for name in [name for name in SECTIONS if options[name]] or USUAL:
            for line in SECTIONS[name][0](Path(folder)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
