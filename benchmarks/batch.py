"""A whole batch: wall time, memory, disk, and how much of the cores' time goes into training.

It runs in a clone of the project as committed, so that neither stacks nor runs made before can help.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.measure import Measurement
from companion.project import project_root

CORES = 2


def section(folder: Path, profile: str, mark: str = "") -> Iterator[Measurement]:
    """`make figures PROFILE=...` from nothing. mark: that of `overhead`."""
    copy, peak = folder / profile, 0.0
    subprocess.run(["git", "clone", "-q", project_root(), copy], check=True)
    command = [sys.executable, "-m", "companion.batch", "figures", "--profile", profile, "--cores", str(CORES)]
    environment = os.environ | {"PYTHONPATH": str(copy), "FCL_PROJECT": str(copy)}
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=copy, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, memory(psutil.Process(process.pid)))
            time.sleep(1)
    if process.returncode:
        raise SystemExit(f"the {profile} batch failed: run `make figures PROFILE={profile}` to see why")
    minutes = (time.perf_counter() - began) / 60
    yield Measurement(f"make figures PROFILE={profile}, two cores", minutes, "minutes")
    yield Measurement("  its notebooks over (seconds of training and scoring) / cores", overhead(copy, profile), "x", mark)
    yield Measurement("  peak memory", peak / 1e9, "GB", "at most 6")
    yield Measurement("  disk", sum(path.lstat().st_size for path in copy.rglob("*")) / 1e9, "GB", "at most 6")


def memory(process: psutil.Process) -> float:
    """Bytes of a process and its descendants; what they share (the stacks) counts for each."""
    with suppress(psutil.Error):  # one has ended meanwhile
        return sum(member.memory_info().rss for member in [process, *process.children(recursive=True)])
    return 0.0


def overhead(root: Path, profile: str) -> float:
    """Wall time of a batch's notebooks, from the stacks to the last page, over what their runs took on all CORES.

    A trunk counts once for all the runs of its notebook. ValueError without finished runs.
    """
    pages = list((root / "runs" / profile).glob("simulated*/*/train.ipynb"))
    if not pages:
        raise ValueError(f"there are no finished runs in {root / 'runs' / profile}: run `make figures PROFILE={profile}`")
    spent = 0.0
    for page in pages:
        records = [json.loads(path.read_text()) for path in page.parent.glob("*.json") if path.name != "group.json"]
        runs = [record["seconds"] for record in records]
        spent += max(run["trunk"] for run in runs) + sum(run["branch"] + run["predict"] for run in runs)
    began = max(path.stat().st_mtime for path in (root / "data" / profile / "simulated").glob("*/stacks.json"))
    ended = max(page.stat().st_mtime for page in pages)
    return (ended - began) / (spent / CORES)
