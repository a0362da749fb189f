"""A whole batch in a copy of the project, so that neither stacks nor runs made before can help."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.measure import line
from companion.project import project_root

CORES = 2


def section(folder: Path, profile: str, mark: str = "") -> Iterator[str]:
    """`make figures PROFILE=...` from nothing. mark: that of `overhead`."""
    root, copy, peak = project_root(), folder / profile, 0.0
    for name in subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, text=True).splitlines():
        if (root / name).is_file():  # git also lists what was removed since the last commit
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, copy / name)
    command = [sys.executable, "-m", "companion.batch", "figures", "--profile", profile, "--cores", str(CORES)]
    environment = os.environ | {"PYTHONPATH": str(copy), "FCL_PROJECT": str(copy)}
    began = time.perf_counter()
    with psutil.Popen(command, cwd=copy, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, memory(process))
            time.sleep(1)
    if process.returncode:
        raise SystemExit(f"the {profile} batch failed: run `make figures PROFILE={profile}` to see why")
    yield line(f"make figures PROFILE={profile}, two cores", (time.perf_counter() - began) / 60, "minutes")
    yield line("  its notebooks over (seconds of training and scoring) / cores", overhead(copy, profile), "x", mark)
    yield line("  peak memory", peak / 1e9, "GB", "at most 6")
    yield line("  disk", sum(path.lstat().st_size for path in copy.rglob("*")) / 1e9, "GB", "at most 6")


def memory(process: psutil.Process) -> float:
    """Bytes of a process and its descendants. What they share, the stacks, counts once on Linux, which tells."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        with suppress(psutil.Error):  # it may have ended meanwhile
            usage = member.memory_full_info()
            total += getattr(usage, "pss", usage.rss)
    return total


def overhead(root: Path, profile: str) -> float:
    """Wall time of a batch's notebooks, from the stacks to the last page, over what their runs took on all CORES."""
    pages = list((root / "runs" / profile).glob("simulated*/*/train.ipynb"))
    spent = 0.0
    for page in pages:
        runs = [json.loads(file.read_text())["seconds"] for file in page.parent.glob("*.json") if file.name != "group.json"]
        spent += max(run["trunk"] for run in runs) + sum(run["branch"] + run["predict"] for run in runs)
    began = max(path.stat().st_mtime for path in (root / "data" / profile / "simulated").glob("*/stacks.json"))
    return (max(page.stat().st_mtime for page in pages) - began) / (spent / CORES)
