"""Measure and print, line by line: `make bench`, or one section, as in `make bench BENCH=--stem`.

Ratios are taken side by side within one call, as seconds differ between machines and with what else runs.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks import batch, gpu, simulator, training

SECTIONS = {
    "simulator": (simulator.section, "what a focal stack costs (half a minute)"),
    "training": (training.section, "steps against a plain loop (1 minute)"),
    "stem": (training.stem_section, "L2A's sparse stem against the dense one (1 minute)"),
    "smoke": (partial(batch.section, profile="smoke"), "the smoke batch from nothing (2 minutes)"),
    "figures": (partial(batch.section, profile="laptop", mark="at most 1.15"), "the laptop's figures (20 minutes)"),
    "gpu": (gpu.section, "the paper profile on one GPU (5 minutes)"),
}
UNUSUAL = ("figures", "gpu")  # only when asked for


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    usual = [name for name in SECTIONS if name not in UNUSUAL]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0], epilog=f"Without an option: {', '.join(usual)}."
    )
    for name, (_, words) in SECTIONS.items():
        parser.add_argument(f"--{name}", action="store_true", help=words)
    options = vars(parser.parse_args(arguments))
    if options["gpu"] and not torch.cuda.is_available():
        parser.error("--gpu: there is no GPU that torch can use; `make doctor` says why")
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load average {load:.1f} before the start: above 0.3, rely on ratios of core-seconds")
    with tempfile.TemporaryDirectory(prefix="fcl-bench") as folder:
        for name in [name for name in SECTIONS if options[name]] or usual:
            for measurement in SECTIONS[name][0](Path(folder)):
                print(measurement, flush=True)


if __name__ == "__main__":
    main()
