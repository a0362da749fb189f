"""The starter: one command from nothing to finished runs, tables and figures, which goes on where it was after any kill.

Snakemake finds out what is missing or out of date and makes it (Snakefile). This module lets one batch run at a time, ends
what a killed one left running, has whatever is lost or spoilt made again, and says how far things are and what failed.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil
import torch

from companion.batch import plan
from companion.batch.groups import PROGRESS, hold
from companion.batch.plan import Plan
from companion.project import project_root, use_own_caches
from companion.runs.reading import is_finished
from fcl.stacks import FocalStacks

NOTICE = 60.0  # s between two lines that say how far it is, where a line can't be rewritten
RUNS_PER_GPU = 2  # while one makes its scenes or scores the other trains
NOTEBOOK_GB = 3.0  # the most memory that a notebook takes which trains
STARTER, CHILDREN, LOG = "runs/.starter", "runs/.batch", "runs/batch.log"


class BatchFailed(RuntimeError):
    """Something in the batch failed, or it could not start; the message says what and where to look."""


def end_leftovers(file: Path, patience: float = 20.0) -> None:
    """End the jobs of a batch whose starter is gone: whatever they do can be repeated, or goes on.

    Snakemake and its jobs inherit the locked `file` as standard input, so it is locked as long as one of them lives, and it
    holds the id of their process group, which can't have become anybody else's meanwhile.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            hold(file, 0.0).close()
            return
        except BlockingIOError:
            group = file.read_text().strip()
        if time.monotonic() > deadline:
            name = group or "of unknown id"
            raise BatchFailed(f"jobs of an earlier batch don't end: end process group {name} by hand")
        if group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(group), signal.SIGKILL)
        time.sleep(0.2)


def spoilt(wanted: Plan) -> list[str]:
    """The files that claim to be done while something that they stand for is missing, damaged or of other stacks."""
    root, digests = project_root(), {}
    for place in dict.fromkeys(file for job in wanted.jobs.values() for file in job.stacks):
        if (root / place).exists():
            with contextlib.suppress(ValueError):
                digests[place] = FocalStacks.load((root / place).parent).digest
    lost = [
        place for job in wanted.jobs.values() for place in job.stacks if (root / place).exists() and place not in digests
    ]
    for page, job in wanted.jobs.items():
        digest, folder = digests.get(job.stacks[-1]), (root / page).parent
        runs = job.branches.items() if digest and (root / page).exists() else ()
        if not all(is_finished(folder, run, config, digest) for run, config in runs):
            lost.append(page)
    return list(dict.fromkeys(lost))


def make(wanted: Plan, cores: int, again: Sequence[str] = (), minutes: float = 0, **config: object) -> None:
    """Run Snakemake to its end, showing how far it is. `again`: files to make anew. BatchFailed where something failed."""
    root, gpus = project_root(), torch.cuda.device_count()
    rule = ["weights"] if wanted.target == "weights" else []
    quiet = ["--quiet", "host", "reason", "rules"]
    command = [sys.executable, "-m", "snakemake", *rule, "--cores", str(cores), *quiet]
    command += ["--resources", f"gpu={RUNS_PER_GPU * gpus}"] if gpus else []
    command += ["--forcerun", *again] if again else []
    config |= {"gpus": min(gpus, 1)}
    command += ["--config", *(f"{name}={json.dumps(value)}" for name, value in config.items() if value)]
    # A session of its own, whose id is written into the inherited lock before anything else can happen.
    noting = ["sh", "-c", 'echo $$ > "$0"; exec "$@"', str(root / CHILDREN)]
    with hold(root / CHILDREN, 0.0) as lock, open(root / LOG, "w") as log:
        options = {"stdin": lock, "stdout": log, "stderr": subprocess.STDOUT, "cwd": root}
        process = subprocess.Popen(noting + command, start_new_session=True, **options)
    line, failures, unfinished, began = Line(), [], "", time.time()
    with open(root / LOG) as log:
        while True:
            ended = process.poll() is not None
            *lines, unfinished = (unfinished + log.read()).split("\n")
            for told in (text for text in lines if text.startswith(("> ", "! "))):  # by a job to a person
                if not told.startswith("!  "):
                    line.say(told[2:])
                failures += [told[2:]] if told[0] == "!" else []
            if ended:
                break
            if minutes and time.time() - began > 60 * minutes:
                raise BatchFailed(f"Stopped after {minutes:g} minutes, as asked")
            line.show(standing(root, wanted, began))
            time.sleep(1)
    line.show("")
    if failures:
        raise BatchFailed("\n".join(["Failed, while the others are complete or were waiting for these:", *failures]))
    if process.returncode:
        last = "\n".join((root / LOG).read_text().splitlines()[-15:])
        raise BatchFailed(f"{last}\nSnakemake stopped with exit code {process.returncode}: see {LOG}")


def standing(root: Path, wanted: Plan, began: float) -> str:
    """How far the trainings are: the time left, by the costs of what was done since `began`, and what is at work."""
    now, gained, left = [], 0.0, 0.0
    for page, job in wanted.jobs.items():
        file, done = (root / page).with_name(PROGRESS), float((root / page).exists())
        fresh = file.exists() and file.stat().st_mtime > began
        if fresh and not done:
            state = json.loads(file.read_text())
            done = state["fraction"]
            now.append(f"{Path(page).parent.name}: {state['text']} ({done:.0%})")
        gained += job.cost * done * fresh
        left += job.cost * (1 - done)
    minutes = (time.time() - began) * left / gained / 60 if gained else 0
    told = [f"about {minutes:.0f} min left"] if minutes >= 1.5 else []
    return " | ".join([*told, *now])


class Line:
    """A last line that is rewritten in place on a terminal, and printed once in a while elsewhere."""

    def __init__(self) -> None:
        self.rewrites, self.told = sys.stdout.isatty(), time.monotonic()

    def show(self, text: str) -> None:
        """Say how things stand now."""
        if self.rewrites:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{text[:width]}", end="", flush=True)
        elif text and time.monotonic() - self.told > NOTICE:
            self.say(text)

    def say(self, text: str) -> None:
        """Say something that stays."""
        self.told = time.monotonic()
        print(f"\r\x1b[K{text}" if self.rewrites else text, flush=True)


def run(target: str, profile: str, cores: int, minutes: float = 0, **options: object) -> None:
    """Make a target (one of `companion.batch.plan.targets`), with `options` as for `companion.batch.plan.make`.

    Raises BatchFailed, and ValueError for arguments that are not allowed.
    """
    root, wanted = project_root(), plan.make(target, profile, **options)
    fitting = max(1, int(psutil.virtual_memory().total / 1e9 // NOTEBOOK_GB))
    if cores > fitting:
        print(f"{cores} notebooks at once may need {NOTEBOOK_GB * cores:.0f} GB of memory: {fitting} run at once here")
    try:
        lock = hold(root / STARTER, 0.0)
    except BlockingIOError:
        owner = (root / STARTER).read_text().strip() or "of unknown id"
        raise BatchFailed(
            f"a batch is already at work in this folder, process {owner}: wait for it, or `kill {owner}`"
        ) from None
    with lock:
        lock.truncate(0)
        print(os.getpid(), end="", file=lock, flush=True)
        runs = sum(len(job.weights) for job in wanted.jobs.values())
        counts = [f"notebooks that train: {len(wanted.jobs)}, with {runs} runs"] * bool(runs)
        counts += [f"that draw: {len(wanted.notebooks)}"] * bool(wanted.notebooks)
        told = ", ".join([target, f"profile {profile}", f"{wanted.data} data"])
        print(f"{told}: {', '.join(counts) or 'the claims'}. Details: {LOG}", flush=True)
        end_leftovers(root / CHILDREN)
        try:
            again = spoilt(wanted)
            for file in again:
                print(f"{file} doesn't hold what it says: made again", flush=True)
            make(wanted, min(cores, fitting), again, minutes, target=target, profile=profile, **options)
        finally:
            end_leftovers(root / CHILDREN)
        for folder in dict.fromkeys(str(Path(page).parents[1]) for page in wanted.jobs):
            print(f"All {len(wanted.jobs)} notebooks are done, in {folder}", flush=True)
        if target == "claims":
            print((root / wanted.goals[-1]).read_text(encoding="utf-8"), end="")
        if wanted.notebooks:
            print(f"figures and tables are in {plan.output_folder(profile, wanted.source, wanted.data)}")


def main(arguments: Iterable[str] | None = None) -> None:
    """Command line. Whatever stops it, the same command goes on where it was."""
    parser = argparse.ArgumentParser(prog="python -m companion.batch", description=main.__doc__)
    try:
        parser.add_argument("target", choices=plan.targets())
    except FileNotFoundError as error:  # installed, but not in a checkout
        sys.exit(str(error))
    parser.add_argument("--profile", default="laptop", help="smoke, laptop or paper")
    parser.add_argument("--data", default="simulated", choices=["simulated", "learnaf"])
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="notebooks at once")
    parser.add_argument("--seeds", default="0", help='of the figures, "0 1 2", or "published"; weights have their own')
    parser.add_argument("--settings", default="", help='of these settings only, as "D1 I1"')
    parser.add_argument("--model", default="", choices=["", "afpe", "l2a"], help="of this model only")
    parser.add_argument("--source", default="", choices=["", "results", "runs"], help="of what render and claims tell")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so many; the same command goes on later")
    options = vars(parser.parse_args(arguments))
    if options["cores"] < 1:
        parser.error(f"cores must be at least 1, not {options['cores']}")
    for stop in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.default_int_handler)
    try:
        plan.read_seeds(options["seeds"])
    except ValueError as error:
        parser.error(str(error))
    try:
        use_own_caches()
        run(**options)
    except (ValueError, FileNotFoundError) as error:  # before anything was started
        sys.exit(f"\n{error}")
    except OSError as error:
        sys.exit(f"\n{error.filename}: {error.strerror}. When that is mended, the same command goes on where this stopped.")
    except BatchFailed as error:
        sys.exit(f"\n{error}\nThe same command goes on where this stopped.")
