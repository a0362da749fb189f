"""The same work as one writes it first: a renderer of spatial convolutions and an eager training loop.

Nothing is slowed down on purpose: kernels are cached, files are memory-mapped, workers prepare the data.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, RandomSampler

from fcl.config import Config
from fcl.losses import focal_consistency_loss, ordinal_loss
from fcl.models import build_model
from fcl.settings import N, parse_setting
from fcl.stacks import FocalStacks


def render_stack(layers: Tensor, kernels: list[list[Tensor]], patch: int) -> Tensor:
    """(49, 2, patch, patch): the sum of all layers, each filtered with its kernel of each slice and view.

    As published simulators of dual-pixel stacks do it, nothing is hidden behind a nearer layer. layers
    (K, h, w): light, with a margin around the patch; kernels[k][layer] (2, s, s), s odd. Every filter is a sum over
    pixels; a library that turns to Fourier transforms for large kernels (OpenCV's filter2D does) is far faster.
    """
    stack = torch.zeros(len(kernels), 2, patch, patch)
    for k, of_slice in enumerate(kernels):
        for layer, kernel in zip(layers, of_slice):
            margins = [(size - patch - kernel.shape[-1] + 1) // 2 for size in layer.shape]
            rows, columns = (slice(margin, margin + patch + kernel.shape[-1] - 1) for margin in margins)
            for view in (0, 1):
                stack[k, view] += functional.conv2d(layer[None, None, rows, columns], kernel[None, None, view])[0, 0]
    return stack


class SlicesOfScenes(Dataset):
    """One item per scene: F slices at random starts, normalised."""

    def __init__(self, config: Config, stacks: FocalStacks):
        self.config, self.stacks, self.setting = config, stacks, parse_setting(config.setting)

    def __len__(self) -> int:
        return len(self.stacks)

    def __getitem__(self, scene: int) -> tuple[np.ndarray, ...]:
        stacks, setting, count = self.stacks, self.setting, self.config.focal_indices
        starts = np.random.choice(setting.starts, count, replace=False)
        counts = stacks.slices[scene, starts[:, None] + np.arange(setting.frames)].astype(np.float32)
        slices, position = (counts - stacks.black) / (stacks.white - stacks.black), stacks.positions[scene].copy()
        if np.random.random() < 0.5:
            slices, position[1] = slices[..., ::-1, :].copy(), -position[1]
        return slices, starts, np.tile(position, (count, 1)), np.full(count, stacks.labels[scene])


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
