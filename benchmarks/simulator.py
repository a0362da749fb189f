"""The simulator against a plain renderer, and what a second process adds."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import measure
from fcl import optics
from fcl.scenes import CATEGORIES, MARGIN, Scene, make_scene
from fcl.settings import N
from fcl.simulator import CHUNK, SceneBatch, render, simulate_stack

PATCH, COUNT = 128, 2 * len(CATEGORIES)  # two stacks of each category


def stacks(kind: str) -> measure.Work:
    """Stacks of the default mix by kind: whole, with scene and sensor; optics alone; the plain renderer's optics."""
    scenes = [make_scene(0, number, PATCH) for number in range(COUNT)]
    if kind == "whole":
        return lambda: [simulate_stack(make_scene(0, number, PATCH), 0, number) for number in range(COUNT)]
    if kind == "optics":
        batches = [SceneBatch([scene]) for scene in scenes]
        return lambda: [render(batch, part[None]) for batch in batches for part in torch.arange(N).split(CHUNK)]
    prepared = [(torch.from_numpy((s.opacity * s.radiance).repeat(2, axis=1)), _kernels(s)) for s in scenes]
    return lambda: [render_stack(layers, kernels) for layers, kernels in prepared]


def _kernels(scene: Scene) -> list[list[Tensor]]:
    diameters = optics.blur_diameter(scene.dioptres, optics.FOCUS_DIOPTRES[:, None]).tolist()  # (49, K)
    field = float(optics.field_position(torch.from_numpy(scene.position)).square().sum())
    stretch = (1 + optics.RADIUS_GROWTH * field) * (1 + optics.ELONGATION * field)
    sizes = [[2 * math.ceil(abs(d) / 2 * stretch) + 9 for d in row] for row in diameters]  # px: no more than the blur
    return [[optics.dual_pixel_kernels(d, scene.position, size) for d, size in zip(*rows)] for rows in zip(diameters, sizes)]


def render_stack(layers: Tensor, kernels: list[list[Tensor]]) -> Tensor:
    """(49, 2, patch, patch): the sum of all layers, each filtered with its kernel of each slice and view.

    As published simulators of dual-pixel stacks do it, nothing is hidden behind a nearer layer. layers (K, h, w): light,
    with MARGIN px around the patch; kernels[k][layer] (2, s, s), s odd. Filters are sums over pixels; a library that turns
    to Fourier transforms for large kernels (OpenCV's filter2D does) is far faster.
    """
    stack = torch.zeros(len(kernels), 2, *(size - 2 * MARGIN for size in layers.shape[1:]))
    for slices, of_slice in zip(stack, kernels):
        for layer, kernel in zip(layers, of_slice):
            margin = kernel.shape[-1] // 2 - MARGIN  # what the filter needs more, or less
            seen = functional.pad(layer[None, None], (margin,) * 4, mode="circular")
            slices += functional.conv2d(seen, kernel[:, None])[0]
    return stack


def section(folder: Path) -> Iterator[str]:
    """Stacks of the paper's size."""
    costs = measure.compare(**{kind: partial(stacks, kind) for kind in ("whole", "optics", "plain")})
    yield measure.line(f"a whole stack of {PATCH} px, the mean of all categories", 1e3 * costs["whole"] / COUNT, "core-ms")
    yield measure.line("  optics: the plain renderer's over this one's", costs["plain"] / costs["optics"], "x", "at least 8")
    yield measure.line("  two processes over one", measure.gain_of_two(partial(stacks, "whole")), "x", "at least 1.8")
