"""A group: the runs that share one trunk, trained, scored and shown by one notebook (notebooks/train.ipynb).

Whatever is complete is skipped, so a group that was killed anywhere goes on where it was.
"""

import contextlib
import fcntl
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import torch

from companion.profiles import read_profile, renders_while_training
from companion.project import project_root
from companion.runs import writing
from companion.runs.identity import run_folder
from companion.runs.provenance import code_state
from companion.runs.reading import is_finished, load_predictions, read_results
from companion.weights import Weights, resolve_methods
from fcl.checkpoints import Step, load_model, read_checkpoint
from fcl.config import Config
from fcl.files import replacing
from fcl.prediction import predict
from fcl.rendered import RenderedStacks
from fcl.simulator import SPLIT_SEEDS
from fcl.stacks import FocalStacks
from fcl.training import train

PATIENCE = 30.0  # s, for a process that still writes to the same folder: one that was killed needs a moment
LOCK = ".lock"  # in a group's folder: the id of the process that works there
PROGRESS = ".progress"  # in a group's folder: {"text", "fraction"}, for those who watch


class RunsFailed(RuntimeError):
    """Some runs of a group failed; the others are complete."""


def stacks_folder(profile: str, data: str, split: str) -> Path:
    """Where the stacks of a split lie: data/<profile>/<data>/<split>."""
    return project_root() / "data" / profile / data / split


def load_stacks(profile: str, config: Config, split: str) -> FocalStacks:
    """The stacks of one split of a profile. ValueError when they are missing, or too few or too small."""
    folder = stacks_folder(profile, config.data, split)
    stacks = FocalStacks.load(folder)
    stored = (len(stacks), stacks.slices.shape[-1])
    asked = (read_profile(profile, config.model, config.data)[f"{split}_stacks"], config.patch)
    if stored != asked:
        raise ValueError(
            f"{folder} holds {stored[0]} stacks of {stored[1]} px and profile {profile} asks for {asked[0]} of "
            f"{asked[1]} px: remove that folder and run `make figures PROFILE={profile}`"
        )
    return stacks


def training_stacks(profile: str, config: Config, device: str) -> FocalStacks | RenderedStacks:
    """What a profile learns from: stored stacks, or ones rendered as they are needed. Errors as for `load_stacks`."""
    if not renders_while_training(profile, config.data):
        return load_stacks(profile, config, "train")
    return RenderedStacks(config.train_stacks, SPLIT_SEEDS["train"], config.patch, device, os.cpu_count() or 1)


def hold(path: Path, patience: float) -> IO[str]:
    """Lock a file for as long as it is open, here or in a child that inherits it. Raises BlockingIOError when somebody else
    keeps it locked for `patience` s.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file, deadline = open(path, "a+"), time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.close()
                raise
            time.sleep(0.1)


def free_gpu(count: int) -> tuple[int, IO[str]]:
    """Of `count` GPUs, one with the fewest notebooks of this project at work, and the lock that counts this one."""
    for place in itertools.count():
        for gpu in range(count):
            with contextlib.suppress(BlockingIOError):
                return gpu, hold(project_root() / "runs" / f".gpu{gpu}-{place}", 0.0)


def take_device() -> tuple[str, IO[str] | None]:
    """ "cuda" with the lock on a place on one GPU, which is made the current one, or "cpu" where torch can use none.

    RuntimeError in the latter case if the batch has given this notebook a GPU.
    """
    if torch.cuda.is_available():
        number, place = free_gpu(torch.cuda.device_count())
        torch.cuda.set_device(number)
        return "cuda", place
    if os.environ.get("FCL_GPU", "0") != "0":
        raise RuntimeError("the batch counts on a GPU (gpus=1), but torch can use none here: `make doctor` says why")
    return "cpu", None


def score_run(
    folder: Path,
    run: str,
    stacks: FocalStacks,
    *,
    profile: str,
    split: str = "test",
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Score a trained branch in its group's folder: write predictions, curve and, last, the record."""
    checkpoint, began = folder / f"{run}.safetensors", time.perf_counter()
    config, curve, seconds, code = read_checkpoint(checkpoint)
    predictions = predict(load_model(checkpoint, device), stacks, config.setting, progress=progress)
    trunk, predicting = read_checkpoint(folder / "trunk.safetensors").seconds, time.perf_counter() - began
    writing.write_labels(folder.parent, stacks, split)
    writing.write_predictions(folder, run, predictions)
    writing.write_curve(folder, run, curve)
    return writing.write_record(
        folder,
        config,
        profile=profile,
        stacks={
            "split": split,
            "count": len(stacks),
            "seed": stacks.source.get("simulator_seed"),
            "digest": stacks.digest,
            "train_digest": writing.train_digest(folder),
        },
        code=code,
        seconds={"trunk": trunk, "branch": seconds - trunk, "predict": predicting},
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name() if device == "cuda" else device,
    )


@dataclass
class Group:
    """Runs that share a trunk. branches: what each is called (as in `methods`) -> its Config."""

    profile: str
    split: str
    config: Config
    branches: dict[str, Config]
    train_stacks: FocalStacks | RenderedStacks
    scored_stacks: FocalStacks
    folder: Path
    lock: IO[str]
    device: str
    gpu: IO[str] | None  # the lock on its place on a GPU

    @classmethod
    def open(cls, profile: str, config: Config, methods: str, split: str = "test") -> "Group":
        """Check everything, load the stacks, take hold of the folder.

        methods: comma-separated, as `companion.weights.resolve_methods` reads them. split: the stacks that are scored.
        Raises ValueError for what is not allowed or not there, RuntimeError when another process is at work in the folder or
        a promised GPU is missing. Runs of another config, or on other training stacks, are moved aside.
        """
        weights = resolve_methods(methods, profile, config.model, config.setting, config.data)
        branches = {label: replace(config, **chosen.lambdas) for label, chosen in weights}
        folder = run_folder(profile, config, split)
        device, gpu = take_device()
        train_stacks, scored_stacks = training_stacks(profile, config, device), load_stacks(profile, config, split)
        try:
            lock = hold(folder / LOCK, PATIENCE)
        except BlockingIOError:
            owner = f"process {(folder / LOCK).read_text() or 'of unknown id'}"
            raise RuntimeError(f"{owner} is at work in {folder}: wait for it or stop it") from None
        lock.truncate(0)
        print(os.getpid(), end="", file=lock, flush=True)
        writing.open_group(profile, config, train_stacks.digest, split)
        labels = folder.parent / f"{split}.npz"
        with contextlib.suppress(FileNotFoundError):  # not there yet, or another group has just removed it
            if writing.labelled_digest(labels) != scored_stacks.digest:
                labels.unlink()  # the stacks are others now, and every run will be scored again in its turn
        return cls(profile, split, config, branches, train_stacks, scored_stacks, folder, lock, device, gpu)

    def run(self, label: str) -> str:
        """Name of a branch's files: its weights."""
        return Weights.of(self.branches[label]).name

    def is_complete(self, label: str) -> bool:
        """Whether a branch is trained, scored on these stacks and written."""
        return is_finished(self.folder, self.run(label), self.branches[label], self.scored_stacks.digest)

    def work(self) -> Iterator[str]:
        """Train the trunk, then train and score each branch; yields, about once a second, how far it is.

        Complete branches are skipped. A branch that fails doesn't stop the others: RunsFailed names it in the end. What
        stops the trunk stops the group.
        """
        spoken, told = "", 0.0
        for name, doing, fraction in self._work():
            if name != spoken or time.monotonic() - told > 1:
                spoken, told = name, time.monotonic()
                state = {"text": f"{name}{doing}", "fraction": fraction}
                with replacing(self.folder / PROGRESS) as temporary:
                    temporary.write_text(json.dumps(state))
                yield state["text"]

    def _work(self) -> Iterator[tuple[str, str, float]]:
        """(what, how far, fraction of the group's iterations that are done) at every step."""
        shared, trunk = self.config.trunk_iterations, self.folder / "trunk.safetensors"
        missing = [label for label in self.branches if not self.is_complete(label)]
        failures: dict[str, Exception] = {}

        def states(name: str, steps: Iterable[Step]) -> Iterator[tuple[str, str, float]]:
            complete = len(self.branches) - len(missing) + missing.index(name) if name in missing else 0
            total = shared + (self.config.iterations - shared) * len(self.branches)
            for step in steps:
                done = step.iteration + (self.config.iterations - shared) * complete
                yield name, f", iteration {step.iteration} of {self.config.iterations}", done / total

        if missing:
            options = {"checkpoint": trunk, "until": shared, "device": self.device, "code": code_state()}
            yield from states("shared part", train(self.config.trunk(), self.train_stacks, **options))
        for label in missing:
            run = self.run(label)
            options = {
                "checkpoint": self.folder / f"{run}.safetensors",
                "trunk": trunk,
                "device": self.device,
                "code": code_state(),
            }
            try:
                yield from states(label, train(self.branches[label], self.train_stacks, **options))
                yield f"scoring {label}", "", (missing.index(label) + 1) / len(missing)
                stacks, about = self.scored_stacks, {"profile": self.profile, "split": self.split}
                score_run(self.folder, run, stacks, **about, device=self.device)
            except Exception as error:  # whatever it is, the other branches don't depend on it
                failures[label] = error
        yield f"{len(self.branches) - len(failures)} of {len(self.branches)} runs are complete", "", 1.0
        if failures:
            reasons = "; ".join(f"{label} ({self.run(label)}): {error}" for label, error in failures.items())
            message = f"{len(failures)} of {len(self.branches)} runs failed: {reasons}"
            raise RunsFailed(message) from next(iter(failures.values()))

    def curves(self) -> dict[str, pd.DataFrame]:
        """Training curve of each branch, a row per iteration: iteration, loss, ordinal, consistency, rate."""
        return {label: pd.read_csv(self.folder / f"{self.run(label)}.csv") for label in self.branches}

    def metrics(self) -> pd.DataFrame:
        """A row of `companion.runs.reading.read_results` for each branch, by what the branch is called."""
        labels = {f"{self.folder.name}/{self.run(label)}": label for label in self.branches}
        table = read_results(self.folder.parent, expected=labels)
        table.index = [labels[f"{self.folder.name}/{Path(path).stem}"] for path in table.path]
        return table.loc[list(self.branches)]

    def predictions(self) -> dict[str, np.ndarray]:
        """Predicted indices of each branch, (stacks, starts)."""
        files = {label: self.folder / f"{self.run(label)}.npz" for label in self.branches}
        return {label: load_predictions(file)["argmax"] for label, file in files.items()}
