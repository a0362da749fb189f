"""The simulator against a plain renderer, its floor, and what a second process adds."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from benchmarks import plain
from benchmarks.measure import Measurement, compare, limits, together
from fcl import optics, simulator
from fcl.randomness import generator
from fcl.scenes import FARTHEST, MARGIN, NEAREST, Scene, make_scene, mask, texture
from fcl.settings import N

PATCH, LAYERS, POSITION = 128, 6, (0.4, -0.3)


def _scene() -> Scene:
    """Six textured layers at equal distances in dioptres."""
    rng, shape = generator(0, "bench"), (PATCH // 2 + MARGIN, PATCH + 2 * MARGIN)
    radiance = np.stack([texture(rng, shape, 0.8, 1.0).astype(np.float32) for _ in range(LAYERS)])
    opacity = np.stack([np.ones(shape, np.float32), *(mask(rng, shape, 0.4) for _ in range(LAYERS - 1))])
    return Scene(
        radiance,
        opacity,
        np.linspace(FARTHEST, NEAREST, LAYERS, dtype=np.float32),
        np.float32(POSITION),
        (0.0, 0.0),
        "plain",
        PATCH,
    )


def this_one() -> Callable[[], Tensor]:
    """Renders the scene as `simulate_stack` does, occlusion included, and brings its rows to square pixels."""
    torch.set_num_threads(1)
    batch = simulator.SceneBatch([_scene()])

    def work() -> Tensor:
        parts = torch.arange(N).split(simulator.CHUNK)
        return torch.cat([_square(simulator.render(batch, part[None])[0]) for part in parts])

    return work


def _square(light: Tensor) -> Tensor:
    """(k, 2, h, w) -> (k, 2, PATCH, PATCH), rows interpolated as the sensor's are."""
    rows, columns = MARGIN // 2, MARGIN
    inner = light[..., rows:-rows, columns:-columns]
    above, below = light[..., rows - 1 : -rows - 1, columns:-columns], light[..., rows + 1 : -rows + 1, columns:-columns]
    return torch.stack([0.75 * inner + 0.25 * above, 0.75 * inner + 0.25 * below], -2).flatten(-3, -2)


def plain_one() -> Callable[[], Tensor]:
    """The plain renderer on the same layers at the same distances, in square pixels, without occlusion."""
    torch.set_num_threads(1)
    scene = _scene()
    layers = torch.from_numpy((scene.opacity * scene.radiance).repeat(2, axis=1))
    cache: dict[int, Tensor] = {}
    kernels = [[_kernel(cache, dioptre, focus) for dioptre in scene.dioptres] for focus in optics.FOCUS_DIOPTRES]
    margin = max(kernel.shape[-1] for kernel in cache.values()) // 2 - MARGIN
    layers = torch.nn.functional.pad(layers[None], (margin, margin, margin, margin), mode="circular")[0]
    return lambda: plain.render_stack(layers, kernels, PATCH)


def _kernel(cache: dict[int, Tensor], dioptre: float, focus: float) -> Tensor:
    diameter = float(optics.blur_diameter(dioptre, focus))
    key = round(8 * diameter)  # to an eighth of a pixel
    if key not in cache:
        size = 2 * math.ceil(0.58 * abs(diameter)) + 9  # no more than the disk, stretched by the field here
        cache[key] = optics.dual_pixel_kernels(key / 8, POSITION, size).contiguous()
    return cache[key]


def floor() -> float:
    """Seconds that one core needs at least: the transforms' operations, or moving their spectra once."""
    height, width = PATCH // 2 + MARGIN, PATCH + 2 * MARGIN
    transforms = N * LAYERS * 2 * 2  # per view: of the light, of the opacity
    operations = transforms * 2.5 * height * width * math.log2(height * width)
    moved = transforms * (2 * 8 * height * (width // 2 + 1) + 4 * height * width)  # a spectrum made and read, light written
    rate, bandwidth = limits()
    return max(operations / rate, moved / bandwidth)


def one_split(count: int = 24) -> Callable[[], object]:
    """Whole stacks of the laptop's size, scenes and sensor included."""
    torch.set_num_threads(1)
    return lambda: [simulator.simulate_stack(make_scene(0, number, 64), 0, number) for number in range(count)]


def measure() -> Iterator[Measurement]:
    """Whole section."""
    costs = compare({"this": this_one, "plain": plain_one})
    yield Measurement(f"a stack of {PATCH} px, {LAYERS} layers, optics only", costs["this"].core, "core-seconds")
    yield Measurement("  the same over its floor", costs["this"].core / floor(), "x")
    yield Measurement("  the plain renderer's over it", costs["plain"].core / costs["this"].core, "x", 8, at_least=True)
    count = 24
    alone, both = (together(one_split, processes) for processes in (1, 2))
    yield Measurement("whole stacks of 64 px, one process", count / alone, "per second")
    yield Measurement("  two processes over one", 2 * alone / both, "x", 1.8, at_least=True)
