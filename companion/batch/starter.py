"""The starter: one command from nothing to finished runs, which goes on where it was after any kill.

python -m companion.batch.starter figures --profile smoke --cores 2 --seeds "0 1"

Snakemake finds out what is missing and runs it (Snakefile). This module lets one batch run at a time, ends
what a killed one left running, says how far things are, names what failed, and finally draws the figures or
writes the weights.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from companion.batch import plan, weights
from companion.batch.groups import hold
from companion.batch.progress import Progress
from companion.project import project_root
from companion.runs.reading import read_results
from companion.runs.tables import with_readout
from companion.weights import READOUTS, weights_key

NOTICE = 60.0  # s between two lines that say how far it is, where a line can't be rewritten
RUNS_PER_GPU = 2  # while one makes its scenes or scores the other trains
STARTER, CHILDREN, LOG = "runs/.starter", "runs/.batch", "runs/batch.log"


class BatchFailed(RuntimeError):
    """Something in the batch failed, or it could not start; the message says what and where to look."""


def end_leftovers(file: Path, patience: float = 20.0) -> None:
    """End the jobs of a batch whose starter is gone: whatever they do can be repeated, or goes on.

    Snakemake and its jobs inherit the locked `file` as standard input, so it is locked as long as one of them
    lives, and it holds the id of their process group, which can't have become anybody else's meanwhile.
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


def snakemake(root: Path, cores: int, config: Mapping[str, str], jobs: Sequence[plan.Job]) -> Progress:
    """Run Snakemake to its end, showing how far it is, and return what became of it."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores)]
    gpus = torch.cuda.device_count()
    if gpus:
        command += ["--resources", f"gpu={RUNS_PER_GPU * gpus}"]
    command += ["--config", *(f"{name}={value}" for name, value in config.items()), f"gpus={min(gpus, 1)}"]
    # A session of its own, whose id is written into the inherited lock before anything else can happen.
    noting = ["sh", "-c", 'echo $$ > "$0"; exec "$@"', str(root / CHILDREN)]
    with hold(root / CHILDREN, 0.0) as lock, open(root / LOG, "w") as log:
        options = {"stdin": lock, "stdout": log, "stderr": subprocess.STDOUT, "cwd": root}
        process = subprocess.Popen(noting + command, start_new_session=True, **options)
    progress, line, unfinished = Progress(root, jobs), Line(), ""
    with open(root / LOG) as said:
        while True:
            ended = process.poll() is not None
            *lines, unfinished = (unfinished + said.read()).split("\n")
            for text in lines:
                for notice in progress.read(text):
                    line.say(notice)
            if ended:
                break
            line.show(progress.summary())
            time.sleep(1)
    line.show("")
    progress.code = process.returncode
    return progress


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


def run(
    target: str,
    profile: str,
    seeds: Sequence[int],
    cores: int,
    settings: Sequence[str] = (),
    data: str = "simulated",
    model: str = "",
) -> None:
    """Make a target (one of companion.batch.plan.targets). Raises BatchFailed, and ValueError for arguments not allowed."""
    root, jobs = project_root(), plan.jobs(target, profile, seeds, settings, data, model)
    try:
        lock = hold(root / STARTER, 0.0)
    except BlockingIOError:
        raise BatchFailed("a batch is already running in this folder: wait for it, or stop it") from None
    with lock:
        runs = sum(len(job.weights) for job in jobs)
        print(f"{target}, profile {profile}, {data} data: {len(jobs)} notebooks, {runs} runs. Details: {LOG}", flush=True)
        end_leftovers(root / CHILDREN)
        try:
            config = {"target": target, "profile": profile, "data": data}
            config["seeds"] = " ".join(map(str, seeds)) or plan.PUBLISHED
            config["settings"], config["model"] = " ".join(settings), model
            progress = snakemake(root, cores, config, jobs)
        finally:
            end_leftovers(root / CHILDREN)
        if progress.failed:
            raise BatchFailed(progress.failures())
        if progress.code:
            last = "\n".join((root / LOG).read_text().splitlines()[-15:])
            raise BatchFailed(f"{last}\nSnakemake stopped with exit code {progress.code}: see {LOG}")
        folder = Path(jobs[0].page).parents[1]
        print(f"All {len(jobs)} notebooks are done, in {folder}", flush=True)
        finish(target, profile, seeds, jobs, data)


def finish(target: str, profile: str, seeds: Sequence[int], jobs: Sequence[plan.Job], data: str = "simulated") -> None:
    """What a target makes of its runs: experiments/weights.yml, or the figures."""
    if target == "weights":
        runs = [f"{Path(job.page).parent.name}/{name}" for job in jobs for name in job.weights.values()]
        results = read_results(project_root() / Path(jobs[0].page).parents[1], expected=runs)
        one = results[(results.weights == "baseline") & (results.frames == 1)]
        readouts = [with_readout(one, name).assign(weights=name) for name in READOUTS if len(one)]
        results = pd.concat([results, *readouts])
        for part in plan.read_selection(profile, data):
            trained = {job.config.setting for job in jobs if job.config.model == part["model"]}
            part["settings"] = [setting for setting in part["settings"] if setting in trained]
            weights.write_weights(weights_key(profile, data), weights.chosen_entries(results, part), part)
        print("Chosen weights are in experiments/weights.yml")
    if target not in ("figures", "all-figures"):  # an experiment alone may lack runs that its notebook shows too
        return
    command = [sys.executable, "-m", "companion.report.render", "--source", "runs", "--profile", profile, "--data", data]
    command += ["--seeds", " ".join(map(str, seeds)) or "all"]
    command += ["--only", *plan.FIGURES] if target == "figures" else []
    if subprocess.run(command, cwd=project_root()).returncode:
        raise BatchFailed("all runs are complete, but drawing the figures failed")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line. Whatever stops it, the same command goes on where it was."""
    parser = argparse.ArgumentParser(prog="python -m companion.batch.starter", description=main.__doc__)
    parser.add_argument("target", choices=plan.targets())
    parser.add_argument("--profile", default="laptop", help="smoke, laptop or paper")
    parser.add_argument("--data", default="simulated", choices=["simulated", "learnaf"])
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="notebooks at once")
    parser.add_argument("--seeds", default="0", help='of the figures, "0 1 2", or "published"; weights have their own')
    parser.add_argument("--settings", default="", help='of these settings only, as "D1 I1"')
    parser.add_argument("--model", default="", choices=["", "afpe", "l2a"], help="of this model only")
    options = parser.parse_args(arguments)
    if options.cores < 1:
        parser.error(f"cores must be at least 1, not {options.cores}")
    for stop in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.default_int_handler)
    try:
        seeds = plan.read_seeds(options.seeds)
    except ValueError as error:
        parser.error(str(error))
    try:
        run(options.target, options.profile, seeds, options.cores, options.settings.split(), options.data, options.model)
    except ValueError as error:  # before anything was started
        sys.exit(f"\n{error}")
    except BatchFailed as error:
        sys.exit(f"\n{error}\nThe same command goes on where this stopped.")
    except KeyboardInterrupt:
        sys.exit("\nStopped. The same command goes on where this stopped.")


if __name__ == "__main__":
    main()
