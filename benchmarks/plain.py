"""The training loop as one writes it first, eager, with nothing slowed down on purpose: workers prepare the data."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

from fcl.config import Config
from fcl.losses import focal_consistency_loss, ordinal_loss
from fcl.models import build_model
from fcl.settings import N, parse_setting
from fcl.stacks import FocalStacks


class SlicesOfScenes(Dataset):
    """One item per scene: F slices at random starts, normalised."""

    def __init__(self, config: Config, stacks: FocalStacks):
        self.config, self.stacks, self.setting = config, stacks, parse_setting(config.setting)

    def __len__(self) -> int:
        return len(self.stacks)

    def __getitem__(self, scene: int) -> tuple[np.ndarray, ...]:
        count = self.config.focal_indices
        starts = np.random.choice(self.setting.starts, count, replace=False)
        slices, position = (
            self.stacks.observe([scene] * count, starts, self.setting.frames),
            self.stacks.positions[scene].copy(),
        )
        if np.random.random() < 0.5:
            slices, position[1] = slices.flip(-2), -position[1]
        return slices, starts, np.tile(position, (count, 1)), np.full(count, self.stacks.labels[scene])


def train(config: Config, stacks: FocalStacks, workers: int, device: str = "cpu") -> Iterator[float]:
    """Losses of an endless eager training: contiguous tensors, torch's default Adam, one batch at a time."""
    model = build_model(config.model, config.setting, config.backbone, config.width).to(device).train()
    optimizer = torch.optim.Adam(
        model.parameters(), config.learning_rate, (config.beta1, config.beta2), weight_decay=config.weight_decay
    )
    scenes = SlicesOfScenes(config, stacks)
    endless = RandomSampler(scenes, replacement=True, num_samples=2**40)  # no epoch ends, so workers never start again
    loader = DataLoader(scenes, config.scenes, sampler=endless, num_workers=workers, pin_memory=device != "cpu")
    for batch in loader:
        slices, starts, positions, labels = (values.flatten(0, 1).to(device) for values in batch)
        logits = model(slices, starts, positions)
        loss = ordinal_loss(logits, labels).mean()
        if any(config.lambdas.values()):
            grouped = logits.view(config.scenes, config.focal_indices, N)
            loss = loss + focal_consistency_loss(grouped, **config.lambdas).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
