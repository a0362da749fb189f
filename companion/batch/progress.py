"""How far a batch is, from what Snakemake prints and from what its notebooks write while they run."""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from companion.batch.groups import PROGRESS
from companion.batch.plan import Job


def _name(output: str) -> str:
    """A job as a person would call it: its group, or the stacks that it makes."""
    folder = Path(output).parent
    return folder.name if output.endswith(".ipynb") else f"{folder.name} stacks"


class Progress:
    """What has run, runs and failed, told line by line of Snakemake's output (9.27)."""

    def __init__(self, root: Path, jobs: Sequence[Job]) -> None:
        self.root, self.jobs = root, {job.page: job for job in jobs}
        self.running: dict[str, dict[str, str]] = {}  # by Snakemake's jobid: output and log
        self.since: dict[str, float] = {}  # output -> when its job was started, as files' times are given
        self.failed: dict[str, str] = {}  # output -> log
        self.block: dict[str, str] = {}
        self.code = 0
        self.planned = self.finished = 0  # notebooks
        self.started: float | None = None
        self.before: dict[str, float] = {}  # page -> fraction that was done before this batch

    def read(self, line: str) -> Iterator[str]:
        """Take in a line; yields what is worth telling."""
        if match := re.match(r"train +(\d+)$", line):
            self.planned = int(match[1])
        elif match := re.match(r"(?:local)?(Error in )?rule \w+:", line):
            self.block = {"failed": match[1] or ""}
        elif match := re.match(r" +(output|log|jobid): (\S+)", line):
            self.block[match[1]] = match[2]
        elif match := re.match(r"Finished jobid: (\d+)", line):
            job = self.running.pop(match[1], None)
            if job is not None and job["output"] in self.jobs:
                self.finished += 1
                yield f"done: {_name(job['output'])} ({self.done} of {len(self.jobs)} notebooks)"
        elif not line.strip() or not line.startswith(" "):
            self.block = {}
        if self.block.keys() >= {"failed", "output", "log", "jobid"}:
            if not self.block["failed"]:
                self.running[self.block["jobid"]] = self.block
                self.since[self.block["output"]] = time.time() - 1  # the times of files are coarse
            elif self.running.pop(self.block["jobid"], None):
                self.failed[self.block["output"]] = self.block["log"]
                yield f"failed: {_name(self.block['output'])}, the others go on"
            self.block = {}

    @property
    def done(self) -> int:
        """Notebooks that are complete and up to date."""
        return len(self.jobs) - self.planned + self.finished

    def _now(self, output: str, log: str) -> tuple[str, float | None]:
        """What a running job is doing, and what part of it is done, where it has said so already."""
        page = output in self.jobs
        file = (self.root / output).with_name(PROGRESS) if page else self.root / log
        if not file.exists() or file.stat().st_mtime < self.since[output]:
            return "starting", None
        if not page:
            return re.split(r"[\r\n]+", file.read_text(errors="replace").strip())[-1], None
        state = json.loads(file.read_text())
        return f"{state['text']} ({state['fraction']:.0%})", state["fraction"]

    def summary(self) -> str:
        """One line: notebooks done and to do, time left, what runs now."""
        if not self.planned and not self.running:
            return "finding out what is missing"
        now = {job["output"]: self._now(job["output"], job["log"]) for job in self.running.values()}
        fractions = {output: fraction for output, (_, fraction) in now.items() if fraction is not None}
        parts = [f"{self.done} of {len(self.jobs)} notebooks", self._time_left(fractions)]
        return " | ".join([*parts, *(f"{_name(output)}: {text}" for output, (text, _) in now.items())])

    def _time_left(self, running: Mapping[str, float]) -> str:
        """From the speed so far, in units of the jobs' costs; what was done before this batch is no speed."""
        if running and self.started is None:
            self.started = time.monotonic()
        for page, fraction in running.items():
            self.before.setdefault(page, fraction)
        left = gained = 0.0
        for page, job in self.jobs.items():
            fraction = running.get(page, float((self.root / page).exists()))
            left += job.cost * (1 - fraction)
            gained += job.cost * (fraction - self.before.get(page, fraction))
        seconds = time.monotonic() - self.started if self.started is not None else 0.0
        if gained <= 0 or seconds < 5:
            return "time left: not known yet"
        minutes = seconds * left / gained / 60
        return f"about {minutes:.0f} min left" if minutes >= 1.5 else f"about {60 * minutes:.0f} s left"

    def failures(self) -> str:
        """What failed and its last words: of a notebook, the cell, the error and the file to open."""
        parts = ["Failed, while the others are complete or were waiting for these:"]
        for output, log in self.failed.items():
            said = (self.root / log).read_text(errors="replace") if (self.root / log).exists() else ""
            last = [line for line in re.split(r"[\r\n]+", said) if line.strip()][-3:]
            parts.append("\n  ".join([f"{_name(output)} (log: {log})", *last]))
        return "\n\n".join(parts)
