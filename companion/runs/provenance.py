"""Where a number comes from: the code, the versions, the machine, the moment."""

import functools
import os
import platform
import re
import resource
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from companion.project import project_root

PACKAGES = ("torch", "numpy", "safetensors")
CODE = ("fcl", "companion", "experiments", "notebooks")  # what decides a result


def _git(*arguments: str) -> str | None:
    try:
        command = ["git", "-C", str(project_root()), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, no repository (a downloaded archive), no checkout
        return None


def code_state() -> dict[str, Any]:
    """{"commit", "clean"}: the commit, and whether the code is as committed. None where git can't say."""
    changes = _git("status", "--porcelain", "--", *CODE)
    return {"commit": _git("rev-parse", "HEAD"), "clean": None if changes is None else not changes}


@functools.cache
def committed(path: Path, commit: str) -> str | None:
    """Text of a file of the project as it was at a commit; None where it wasn't there, or git can't say."""
    folder = project_root()
    return _git("show", f"{commit}:./{path.relative_to(folder).as_posix()}") if path.is_relative_to(folder) else None


@functools.cache
def in_history(commit: str) -> bool | None:
    """Whether HEAD descends from a commit. None, unknown, in a download without history or a shallow clone."""
    if _git("merge-base", "--is-ancestor", commit, "HEAD") is not None:
        return True
    return False if _git("rev-parse", "--is-shallow-repository") == "false" else None


def processor_name() -> str:
    """The processor as a person would name it, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.M) if cpuinfo.exists() else None
    return match[1] if match else platform.processor() or platform.machine()


def provenance(**machine: Any) -> dict[str, Any]:
    """Code, versions, machine, peak memory of this process in MB, time: what a record says beside its run."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB, but bytes on macOS
    packages = {name: metadata.version(name) for name in PACKAGES}
    return {
        "code": code_state(),
        "versions": {"python": platform.python_version()} | packages,
        "machine": {"processor": processor_name(), "cores": os.cpu_count(), **machine},
        "peak_memory_mb": round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
