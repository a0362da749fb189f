"""A whole batch: wall time, memory, disk, and how much of the cores' time goes into training.

It runs in a copy of the project, so that neither stacks nor runs made before can help.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.measure import Measurement
from companion.project import project_root

CORES = 2


def memory(process: psutil.Process) -> float:
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


def efficiency(root: Path, profile: str, cores: int) -> float:
    """Wall time of a batch's notebooks over (training and scoring seconds in their records) / cores.

    From the moment when the stacks are there to the last notebook's end, starts of Python included. ValueError
    without finished runs.
    """
    records: dict[Path, list[dict]] = {}
    for page in (root / "runs" / profile).glob("simulated*/*/train.ipynb"):
        found = [json.loads(path.read_text()) for path in page.parent.glob("*.json") if path.name != "group.json"]
        records[page] = [record["seconds"] for record in found]
    if not records:
        raise ValueError(f"there are no finished runs in {root / 'runs' / profile}: run `make figures PROFILE={profile}`")
    began = max(path.stat().st_mtime for path in (root / "data" / profile / "simulated").glob("*/stacks.json"))
    ended = max(page.stat().st_mtime for page in records)
    spent = sum(
        max(run["trunk"] for run in runs) + sum(run["branch"] + run["predict"] for run in runs) for runs in records.values()
    )
    return (ended - began) / (spent / cores)


def _copy(target: Path) -> None:
    root = project_root()
    files = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, files):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, target / name)


def measure(folder: Path, profile: str, minutes: float, busy: float | None) -> Iterator[Measurement]:
    """`make figures PROFILE=...` from nothing. minutes: the mark of its wall time; busy: that of `efficiency`."""
    copy = folder / profile
    _copy(copy)
    command = [sys.executable, "-m", "companion.batch.starter", "figures", "--profile", profile, "--cores", str(CORES)]
    began, peak = time.perf_counter(), 0.0
    environment = os.environ | {"PYTHONPATH": str(copy)}
    with subprocess.Popen(command, cwd=copy, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, memory(psutil.Process(process.pid)))
            time.sleep(1)
    if process.returncode:
        raise SystemExit(f"the {profile} batch failed: run `make figures PROFILE={profile}` to see why")
    disk = sum(path.lstat().st_size for path in copy.rglob("*"))
    yield Measurement(f"make figures PROFILE={profile}, two cores", (time.perf_counter() - began) / 60, "minutes", minutes)
    used = efficiency(copy, profile, CORES)
    yield Measurement("  its notebooks over (seconds of training and scoring) / cores", used, "x", busy)
    yield Measurement("  peak memory", peak / 1e9, "GB", 6)
    yield Measurement("  disk", disk / 1e9, "GB", 6)
