"""What this machine has, and what to do about each problem: `make doctor`.

It must speak on a machine where things are broken, so only the standard library is imported at the top.
"""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from companion import interpreter

ROOT = Path(__file__).resolve().parents[1]
MEMORY_GB = 6.0  # the most that `make figures` takes on two cores
DISK_GB = 6.0  # the most that its runs and stacks take
REINSTALL = "Install anew: rm -r .venv && make doctor (with conda: conda env update -f environment.yml)"


@dataclass(frozen=True)
class Machine:
    """The machine as it is; a gigabyte is 10^9 bytes."""

    python: tuple[int, int, int]
    system: str  # platform.system(): "Linux", "Darwin"
    processor: str  # platform.machine(): "x86_64", "arm64"
    cores: int
    memory_gb: float
    disk_gb: float
    writable: bool
    git: bool
    torch: str | None  # version, None when it can't be imported
    cuda: str | None  # the CUDA version torch was built for, None for a CPU build
    cards: tuple[str, ...] = ()  # the GPUs that the driver lists
    gpus: tuple[str, ...] = ()  # the GPUs that torch can use
    missing: tuple[str, ...] = ()  # pinned packages that aren't installed
    different: tuple[str, ...] = ()  # "name 1.0 (pinned: 1.1)"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong and what to do; `fatal` when the project can't be used before that."""

    wrong: str
    remedy: str
    fatal: bool = False


def problems(machine: Machine) -> list[Problem]:
    """Everything about `machine` that stands in the project's way, the fatal things first."""
    wrong = []
    python = interpreter.problem(machine.python, True, True, machine.system, machine.processor)
    if python:
        wrong.append(Problem(python, REINSTALL, fatal=True))
    if machine.torch is None:
        wrong.append(Problem("torch can't be imported.", REINSTALL, fatal=True))
    if machine.missing:
        wrong.append(Problem(f"Not installed: {_some(machine.missing)}.", REINSTALL, fatal=True))
    if not machine.writable:
        wrong.append(Problem(f"{ROOT} can't be written to.", "Copy it to a place of yours.", fatal=True))
    if machine.disk_gb < 1:
        wrong.append(Problem(f"The disk is full: {machine.disk_gb:.1f} GB free.", "Make room.", fatal=True))
    elif machine.disk_gb < DISK_GB:
        words = f"{machine.disk_gb:.1f} GB of disk are free; `make figures` can take {DISK_GB:.0f} GB."
        wrong.append(Problem(words, "Make room, or take PROFILE=smoke. Old runs lie in runs/ and data/."))
    if machine.memory_gb < MEMORY_GB:
        words = f"{machine.memory_gb:.1f} GB of memory; `make figures` can take {MEMORY_GB:.0f} GB."
        wrong.append(Problem(words, "Train one network at a time: make figures CORES=1"))
    if machine.different:
        wrong.append(Problem(f"Other versions than the pinned ones: {_some(machine.different)}.", REINSTALL))
    if machine.cards and machine.torch and not machine.cuda:
        words = f"There is a GPU ({_some(machine.cards)}), but torch {machine.torch} is a CPU build."
        wrong.append(Problem(words, "Install the CUDA build: rm -r .venv && make doctor TORCH=cuda"))
    elif machine.cards and machine.torch and not machine.gpus:
        words = f"There is a GPU ({_some(machine.cards)}), but torch's CUDA {machine.cuda} can't use it."
        wrong.append(Problem(words, "Update the NVIDIA driver; see that CUDA_VISIBLE_DEVICES isn't empty."))
    if not machine.git:
        wrong.append(Problem("git isn't here, so runs can't record their commit.", "Install git."))
    return sorted(wrong, key=lambda problem: not problem.fatal)


def report(machine: Machine) -> str:
    """The machine, line by line, then each problem with its remedy."""
    if machine.torch is None:
        torch = "can't be imported"
    else:
        torch = f"{machine.torch}, built for " + (f"CUDA {machine.cuda}" if machine.cuda else "the CPU")
    as_pinned = "as pinned" if not machine.missing and not machine.different else "not as pinned, see below"
    lines = [
        f"Python    {'.'.join(map(str, machine.python))} on {machine.system} {machine.processor}",
        f"torch     {torch}",
        f"packages  {as_pinned}",
        f"cores     {machine.cores}",
        f"memory    {machine.memory_gb:.1f} GB",
        f"disk      {machine.disk_gb:.1f} GB free",
        f"GPU       {_some(machine.gpus) or 'none that torch can use: everything runs on the CPU'}",
        "",
    ]
    for problem in problems(machine):
        lines += [f"{'FATAL' if problem.fatal else 'note'}: {problem.wrong}", f"    {problem.remedy}"]
    return "\n".join(lines if problems(machine) else [*lines, "All that the project needs is here."])


def look() -> Machine:
    """What this machine has."""
    torch, cuda, gpus = _torch()
    missing, different = _against_lock(ROOT / "requirements.lock")
    return Machine(
        python=tuple(sys.version_info[:3]),
        system=platform.system(),
        processor=platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gb=_memory_gb(),
        disk_gb=shutil.disk_usage(ROOT).free / 1e9,
        writable=os.access(ROOT, os.W_OK),
        git=shutil.which("git") is not None,
        torch=torch,
        cuda=cuda,
        cards=_cards(),
        gpus=gpus,
        missing=missing,
        different=different,
    )


def _some(names: tuple[str, ...], shown: int = 4) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _memory_gb() -> float:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    container = Path("/sys/fs/cgroup/memory.max")  # a container's own limit, in bytes, or "max"
    if container.is_file() and container.read_text().strip().isdigit():
        memory = min(memory, int(container.read_text()))
    return memory / 1e9


def _torch() -> tuple[str | None, str | None, tuple[str, ...]]:
    """torch's version, the CUDA version it was built for, and the GPUs that it can use."""
    try:
        import torch
    except (ImportError, OSError):  # OSError: a shared library that doesn't load
        return None, None, ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too old a driver warns; `problems` says it with what to do
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return torch.__version__, torch.version.cuda, tuple(torch.cuda.get_device_name(i) for i in range(count))


def _cards() -> tuple[str, ...]:
    """The GPUs that NVIDIA's driver lists, whatever torch can do with them."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    # GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-...)
    names = [line.split(": ", 1)[1] for line in listed.stdout.splitlines() if ": " in line]
    return tuple(name.split(" (UUID")[0] for name in names)


def _against_lock(lock: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The pinned packages that aren't installed, and those installed in another version."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return ("packaging",), ()
    missing, different = [], []
    pins = [Requirement(line) for line in lock.read_text().splitlines() if line and not line.startswith("#")]
    for pin in pins:
        if pin.marker and not pin.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(pin.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(pin.name)
            continue
        if version not in pin.specifier:
            different.append(f"{pin.name} {version} (pinned: {str(pin.specifier).lstrip('=')})")
    return tuple(missing), tuple(different)


def stored_data() -> list[str]:
    """What is damaged among stored stacks and published results, every byte of which is read."""
    from companion.runs.checksums import NAME, published, read_checked
    from fcl.stacks import FocalStacks

    checks = [partial(FocalStacks.load, path.parent, whole=True) for path in (ROOT / "data").glob("*/*/*/stacks.json")]
    for folder in (path.parent for path in (ROOT / "results").rglob(NAME)):
        checks += [partial(read_checked, folder / name) for name in published(folder)]
    damaged = []
    for check in checks:
        try:
            check()
        except ValueError as error:
            damaged.append(f"DAMAGED: {error}")
    return damaged


if __name__ == "__main__":
    if not (ROOT / "requirements.lock").is_file():
        sys.exit(f"no checkout of fcl-companion at {ROOT}: the doctor compares what is installed with its lock")
    machine = look()
    print(report(machine))
    damaged = [] if machine.torch is None or machine.missing else stored_data()
    print("\n".join(damaged) or "Stored stacks and published results are whole.")
    sys.exit(any(problem.fatal for problem in problems(machine)) or bool(damaged))
