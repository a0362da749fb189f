"""Training steps against a plain loop and against their floor; L2A's sparse stem against the dense one."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.benchmark import Timer
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import measure
from companion.profiles import profile_config
from fcl.config import Config
from fcl.losses import focal_consistency_loss, ordinal_loss
from fcl.models import build_model, convolve_observed
from fcl.settings import N, parse_setting
from fcl.simulator import SPLIT_SEEDS, simulate_stacks
from fcl.stacks import FocalStacks
from fcl.training import _Run, keep_freed_memory

STEPS, STACKS = 8, 256


def joined(profile: str, stacks: int, setting: str = "D1") -> Config:
    """A profile's training on fewer stacks, with the consistency loss from its first step on."""
    losses = {"lambda_msd": 4.0, "lambda_kld": 4.0, "consistency_start": 0.0}
    return profile_config(profile, train_stacks=stacks, setting=setting, **losses)


@dataclass
class SlicesOfScenes(Dataset):
    """One item per scene: F slices at random starts, normalised."""

    config: Config
    stacks: FocalStacks

    def __len__(self) -> int:
        return len(self.stacks)

    def __getitem__(self, scene: int) -> tuple[np.ndarray, ...]:
        stacks, setting, count = self.stacks, parse_setting(self.config.setting), self.config.focal_indices
        starts = np.random.choice(setting.starts, count, replace=False)
        counts = stacks.slices[scene, starts[:, None] + np.arange(setting.frames)].astype(np.float32)
        slices, position = (counts - stacks.black) / (stacks.white - stacks.black), stacks.positions[scene].copy()
        if np.random.random() < 0.5:
            slices, position[1] = slices[..., ::-1, :].copy(), -position[1]
        return slices, starts, np.tile(position, (count, 1)), np.full(count, stacks.labels[scene])


def plain_loop(config: Config, stacks: FocalStacks, workers: int, device: str = "cpu") -> Iterator[float]:
    """Losses of an endless training as one writes it first; nothing is slow on purpose."""
    model = build_model(config.model, config.setting, config.backbone, config.width).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    scenes = SlicesOfScenes(config, stacks)
    endless = RandomSampler(scenes, replacement=True, num_samples=2**40)  # no epoch ends, so workers never start again
    for batch in DataLoader(scenes, config.scenes, sampler=endless, num_workers=workers, pin_memory=device != "cpu"):
        slices, starts, positions, labels = (values.flatten(0, 1).to(device) for values in batch)
        logits = model(slices, starts, positions)
        consistency = focal_consistency_loss(logits.unflatten(0, (config.scenes, -1)), **config.lambdas)  # of (S, F, N)
        loss = ordinal_loss(logits, labels).mean() + consistency.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def steps(kind: str, folder: Path, setting: str) -> measure.Work:
    """Training steps of the laptop profile on stored stacks, by kind: this project's, their data, the plain loop's."""
    config, stacks = joined("laptop", STACKS, setting), FocalStacks.load(folder)
    if kind == "plain":
        step = partial(next, plain_loop(config, stacks, workers=2))
    else:
        keep_freed_memory()
        run = _Run(config, stacks, "cpu")
        step = run.batch if kind == "data" else run.step
    return lambda: [step() for _ in range(STEPS)]


def floor(config: Config, stacks: FocalStacks) -> float:
    """Seconds that one core needs at least for a step's multiplications, at the rate of a large 3 x 3 convolution."""
    run = _Run(config, stacks, "cpu")
    *inputs, labels = run.batch()
    with FlopCounterMode(display=False) as counter:  # which is wrong about depthwise layers: "compact" has none
        sum(run.losses(run.model(*inputs), labels)).backward()
    images, filters = torch.rand(32, 128, 16, 16).to(memory_format=torch.channels_last), torch.rand(128, 128, 3, 3)
    timer = Timer("torch.conv2d(images, filters, padding=1)", globals=globals() | locals(), timer=time.process_time)
    rate = 2 * images.numel() * filters[0].numel() / min(timer.blocked_autorange(min_run_time=0.5).times)
    return counter.get_total_flops() / rate


def section(folder: Path) -> Iterator[str]:
    """Settings of one frame and of five."""
    stored = folder / "steps"
    stacks = simulate_stacks(STACKS, SPLIT_SEEDS["train"], joined("laptop", STACKS).patch, folder=stored)
    for setting in ("D1", "D5"):
        costs = measure.compare(**{kind: partial(steps, kind, stored, setting) for kind in ("this", "data", "plain")})
        step = costs["this"] / STEPS
        yield measure.line(f"{setting}: a training step", 1e3 * step, "core-ms")
        yield measure.line("  over its floor", step / floor(joined("laptop", STACKS, setting), stacks), "x")
        yield measure.line("  the plain loop's over it", costs["plain"] / costs["this"], "x", "at least 2")
        yield measure.line("  data", 100 * costs["data"] / costs["this"], "% of a step", "at most 10")


def stem(sparse: bool) -> measure.Work:
    """L2A's first layer with its gradients for a mini-batch of one frame, 64 x 64."""
    keep_freed_memory()
    model = build_model("l2a", "D1", "compact").to(memory_format=torch.channels_last)
    inputs = torch.rand(128, 1, 2, 64, 64), torch.randint(0, N, (128,)), torch.zeros(128, 2)

    def features() -> torch.Tensor:
        if sparse:
            return convolve_observed(model.normalise(*inputs).flatten(1, 2), 2 * inputs[1], model.backbone.stem)
        return model.backbone.stem(model.encode(*inputs))

    return lambda: [features().square().mean().backward() for _ in range(STEPS)]


def stem_section(folder: Path) -> Iterator[str]:
    """L2A's first layer."""
    costs = measure.compare(sparse=partial(stem, True), dense=partial(stem, False))
    yield measure.line("L2A's dense stem over the sparse one", costs["dense"] / costs["sparse"], "x", "at least 5")
