"""How long the project takes here, and how much memory and disk: `make bench`, or with BENCH="--figures
--long" everything.

Seconds differ between machines and with what else runs on them: ratios are taken side by side within one
call. Batches run in a copy of the project, so that neither stacks nor runs made before can help.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from fcl.metrics import mae
from fcl.runs import project_root, read_profile
from fcl.simulator import SPLITS, simulate_stacks
from fcl.stacks import FocalStacks
from fcl.training import Config, load_model, predict, train

LONGER = 10  # times the laptop's iterations, on three times its stacks: else the long run would learn them by heart


@dataclass(frozen=True)
class Measurement:
    """One line of the table: what was measured, how much, and the mark that it must not exceed (None: only
    reported).
    """

    what: str
    value: float
    unit: str
    mark: float | None = None

    def __str__(self) -> str:
        verdict = "" if self.mark is None else f"at most {self.mark:g}: {'reached' if self.value <= self.mark else 'MISSED'}"
        return f"{self.what:62} {self.value:8.2f} {self.unit:12} {verdict}".rstrip()


def simulator(folder: Path, count: int = 192) -> Iterator[Measurement]:
    """Stacks per second of the laptop's patches, and what a second process adds."""
    seconds = []
    for processes in (1, 2):
        began = time.perf_counter()
        simulate_stacks(count, 0, read_profile("laptop")["patch"], processes=processes, folder=folder / "stacks")
        seconds.append(time.perf_counter() - began)
    yield Measurement("simulated stacks of 64 px, one process", count / seconds[0], "per second")
    yield Measurement("the same with two processes, their start included", seconds[0] / seconds[1], "x")


def _train(config: Config, stacks: FocalStacks, checkpoint: Path) -> tuple[float, float]:
    """Core-seconds of a training, and its MAE on the laptop's validation stacks."""
    began = time.process_time()
    for _ in train(config, stacks, checkpoint=checkpoint):
        pass
    seconds = time.process_time() - began
    validation = simulate_stacks(read_profile("laptop")["validation_stacks"], SPLITS["validation"], config.patch)
    predictions = predict(load_model(checkpoint), validation, config.setting)
    return seconds, mae(predictions.argmax, validation.labels)


def training(folder: Path, long: bool) -> Iterator[Measurement]:
    """One full-length laptop training (D1 baseline), and how far it stays behind one ten times longer."""
    config = Config.from_profile("laptop")

    def stacks(count: int) -> FocalStacks:
        return simulate_stacks(count, SPLITS["train"], config.patch, processes=2, folder=folder / f"train{count}")

    seconds, error = _train(config, stacks(config.train_stacks), folder / "short.safetensors")
    yield Measurement("one full-length training, D1 baseline", seconds, "core-seconds", 60)
    yield Measurement("its MAE on validation stacks", error, "indices")
    if long:
        longer = replace(config, iterations=LONGER * config.iterations, train_stacks=3 * config.train_stacks)
        _, best = _train(longer, stacks(longer.train_stacks), folder / "long.safetensors")
        yield Measurement("MAE of the same network, trained ten times longer", best, "indices", 3)
        yield Measurement("the short training's MAE over that", error / best, "x", 1.5)


def _memory(process: psutil.Process) -> float:
    """Bytes of a process and its descendants; what they share (the stacks) counts once where the system can
    tell.
    """
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            usage = member.memory_full_info()
            total += getattr(usage, "pss", usage.rss)
        except psutil.Error:  # it has ended meanwhile
            continue
    return total


def batch(folder: Path, profile: str, minutes: float) -> Iterator[Measurement]:
    """Wall time, peak memory and disk of `make figures PROFILE=...` from nothing on two cores."""
    copy, root = folder / profile, project_root()
    files = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, files):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, copy / name)
    command = [sys.executable, "-m", "fcl.batch", "figures", "--profile", profile, "--cores", "2"]
    began, peak = time.perf_counter(), 0.0
    environment = os.environ | {"PYTHONPATH": str(copy)}
    with subprocess.Popen(command, cwd=copy, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, _memory(psutil.Process(process.pid)))
            time.sleep(1)
    if process.returncode:
        raise SystemExit(f"the {profile} batch failed: run `make figures PROFILE={profile}` to see why")
    disk = sum(path.lstat().st_size for path in copy.rglob("*"))
    name = f"make figures PROFILE={profile}, two cores"
    yield Measurement(name, (time.perf_counter() - began) / 60, "minutes", minutes)
    yield Measurement(f"{name}: peak memory", peak / 1e9, "GB", 6)
    yield Measurement(f"{name}: disk", disk / 1e9, "GB", 6)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print, line by line."""
    parser = argparse.ArgumentParser(prog="python -m fcl.bench", description=main.__doc__)
    parser.add_argument("--long", action="store_true", help="also a training ten times longer (about 10 minutes)")
    parser.add_argument("--figures", action="store_true", help="also the laptop's figures from nothing (about 15 minutes)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="fcl-bench") as name:
        folder = Path(name)
        parts = [simulator(folder), training(folder, options.long), batch(folder, "smoke", 2)]
        for part in [*parts, *([batch(folder, "laptop", 25)] if options.figures else [])]:
            for measurement in part:
                print(measurement, flush=True)


if __name__ == "__main__":
    main()
