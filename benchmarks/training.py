"""Training steps against a plain loop; L2A's sparse stem against the dense one."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks import measure, plain
from benchmarks.measure import Measurement, Work
from companion.profiles import profile_config
from fcl.config import Config
from fcl.models import build_model, convolve_observed
from fcl.simulator import SPLIT_SEEDS, simulate_stacks
from fcl.stacks import FocalStacks
from fcl.training import _Run, keep_freed_memory

STEPS = 8  # in one repetition
STACKS = 256


def joined(profile: str, stacks: int, **changes: object) -> Config:
    """A profile's training on fewer stacks, with the whole loss from its first step on."""
    losses = {"lambda_msd": 4.0, "lambda_kld": 4.0, "consistency_start": 0.0}
    return profile_config(profile, train_stacks=stacks, **losses, **changes)


def _load(folder: Path, setting: str) -> tuple[Config, FocalStacks]:
    stacks = FocalStacks.load(folder)
    return joined("laptop", len(stacks), setting=setting), stacks


def steps(folder: Path, setting: str) -> Work:
    """Training steps, as the project makes them."""
    keep_freed_memory()
    run = _Run(*_load(folder, setting), "cpu")
    return lambda: [run.step() for _ in range(STEPS)]


def batches(folder: Path, setting: str) -> Work:
    """The data of as many steps."""
    keep_freed_memory()
    run = _Run(*_load(folder, setting), "cpu")
    return lambda: [run.batch() for _ in range(STEPS)]


def plain_steps(folder: Path, setting: str) -> Work:
    """As many steps of the plain loop with two workers."""
    losses = plain.train(*_load(folder, setting), workers=2)
    return lambda: [next(losses) for _ in range(STEPS)]


def section(folder: Path) -> Iterator[Measurement]:
    """The laptop profile's steps with one frame and with five."""
    simulate_stacks(STACKS, SPLIT_SEEDS["train"], joined("laptop", STACKS).patch, folder=folder / "steps")
    for setting in ("D1", "D5"):
        candidates = {"this": steps, "data": batches, "plain": plain_steps}
        costs = measure.compare({name: partial(make, folder / "steps", setting) for name, make in candidates.items()})
        step = costs["this"] / STEPS
        yield Measurement(f"{setting}: a training step", 1e3 * step, "core-ms")
        yield Measurement("  the plain loop's over it", costs["plain"] / costs["this"], "x", "at least 2")
        yield Measurement("  data", 100 * costs["data"] / costs["this"], "% of a step", "at most 10")


def stem(backbone: str, sparse: bool) -> Work:
    """L2A's first layer with its gradients for a mini-batch of one frame, 64 x 64."""
    keep_freed_memory()
    model = build_model("l2a", "D1", backbone).to(memory_format=torch.channels_last)
    slices, start, position = torch.rand(128, 1, 2, 64, 64), torch.randint(0, 49, (128,)), torch.zeros(128, 2)

    def features() -> torch.Tensor:
        if not sparse:
            return model.backbone.stem(model.encode(slices, start, position))
        frames = model.normalise(slices, start, position).flatten(1, 2)  # (B, m, V, H, W) -> (B, mV, H, W)
        return convolve_observed(frames, 2 * start, model.backbone.stem)

    return lambda: [features().square().mean().backward() for _ in range(STEPS)]


def stem_section(folder: Path) -> Iterator[Measurement]:
    """L2A's sparse stem."""
    for backbone in ("compact", "mobilenet_v2"):
        costs = measure.compare({kind: partial(stem, backbone, kind == "sparse") for kind in ("sparse", "dense")})
        what = f"L2A's dense stem over the sparse one ({backbone})"
        yield Measurement(what, costs["dense"] / costs["sparse"], "x", "at least 5")
