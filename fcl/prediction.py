"""Prediction: what a trained network says from every start of every stack.

Shapes: B samples of a batch, N = 49 focal indices; a sample is a (stack, start).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from fcl.settings import N, parse_setting
from fcl.stacks import FocalStacks


class Predictions(NamedTuple):
    """Per (stack, start): most likely index (uint8), expected index, entropy in nats (float16), median (uint8)."""

    argmax: np.ndarray
    expected: np.ndarray
    entropy: np.ndarray
    median: np.ndarray


@torch.inference_mode()
def predict(
    model: nn.Module,
    stacks: FocalStacks,
    setting: str,
    *,
    batch: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Predict from every start of every stack: arrays (stacks, starts). Leaves the model in evaluation mode.

    `progress(done, total)` is called after each batch, in samples. Raises ValueError for a network of another setting, and
    for answers that are not finite.
    """
    observed, device = parse_setting(setting), next(model.parameters()).device
    if getattr(model, "setting", observed) != observed:
        raise ValueError(f"the network is made for {model.setting.views} with {model.setting.frames} frames, not {setting}")
    scenes, starts = (axis.reshape(-1) for axis in np.indices((len(stacks), observed.starts)))
    index = torch.arange(N, dtype=torch.float32, device=device)
    kinds = np.uint8, np.float16, np.float16, np.uint8
    results = Predictions(*(np.empty(len(scenes), kind) for kind in kinds))
    model.eval()
    for first in range(0, len(scenes), batch):
        samples = slice(first, first + batch)
        inputs = (
            stacks.observe(scenes[samples], starts[samples], observed.frames),
            torch.from_numpy(starts[samples]),
            torch.from_numpy(stacks.positions[scenes[samples]]),
        )
        log_p = model(*(values.to(device) for values in inputs)).float().log_softmax(-1)  # (B, N)
        if not log_p.isfinite().all():
            raise ValueError("the network's answers are not finite: its weights or the stacks' positions are spoilt")
        p = log_p.exp()
        median = (p.cumsum(-1) < 0.5).sum(-1)  # the first index that has half of the probability at or below it
        values = log_p.argmax(-1), (p * index).sum(-1), -(p * log_p).sum(-1), median
        for array, tensor in zip(results, values, strict=True):
            array[samples] = tensor.cpu().numpy()
        if progress is not None:
            progress(min(first + batch, len(scenes)), len(scenes))
    return Predictions(*(array.reshape(len(stacks), observed.starts) for array in results))
