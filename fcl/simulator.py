"""Scenes + lens + sensor -> dual-pixel slices, for chosen slices or whole focal stacks, on CPU or GPU.

Shape legend: B patches, k slices of each, K layers, h x w the native grid with its margin, H x W the patch.

Layers are composited back to front, per view, out <- blur(opacity x radiance) + out (1 - blur(opacity)), the model of Xin et
al. (ICCV 2021): the blurred edge of a near object lets the background through. The sensor adds shot and read noise of
variance a x + b at its native samples, clips and quantises to 10 bit, and only then interpolates the rows to square pixels;
that is why real noise is correlated across the baseline and not along it.

    python -m fcl.simulator --split train --count 3072 --patch 64 --processes 2 --out data/laptop/simulated/train
"""

import argparse
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from fcl import optics
from fcl.randomness import torch_generator
from fcl.scenes import MARGIN, Scene, make_scene
from fcl.settings import N
from fcl.stacks import BLACK, WHITE, FocalStacks, StacksWriter

SPLIT_SEEDS = {"train": 1, "validation": 2, "test": 3}
"""Seed of each split: their stacks share nothing."""
CHUNK = 7  # slices rendered at once on a CPU: what fits its second-level cache


class SceneBatch:
    """Scenes as tensors on one device: radiance, opacity (B, K, h, w), dioptres (B, K), position (B, 2), noise (B, 2)."""

    def __init__(self, batch: list[Scene], device: str = "cpu"):
        layers = max(len(scene.dioptres) for scene in batch)

        def stack(name: str) -> Tensor:  # absent layers are transparent and dark
            arrays = [getattr(scene, name) for scene in batch]
            padded = [np.concatenate([a, np.zeros((layers - len(a), *a.shape[1:]), np.float32)]) for a in arrays]
            return torch.from_numpy(np.stack(padded)).to(device)

        self.radiance, self.opacity, self.dioptres = stack("radiance"), stack("opacity"), stack("dioptres")
        self.position = torch.tensor(np.stack([scene.position for scene in batch]), device=device)
        self.noise = torch.tensor([scene.noise for scene in batch], device=device)


def _breathe(layers: Tensor, position: Tensor, focus: Tensor, breathing: float) -> Tensor:
    """Layers (B, h, w) -> (B, k, h, w) as magnified at each focus (B, k), about the optical axis; the world wraps around."""
    scale = (optics.magnification(focus) / optics.magnification(optics.FOCUS_DIOPTRES[24])) ** breathing
    batch, count = focus.shape
    height, width = layers.shape[-2:]
    rows, columns = optics.FRAME
    centre = position * position.new_tensor([columns / 2, rows / 2])  # px from the axis
    x = (torch.arange(width, device=layers.device) - (width - 1) / 2 + centre[:, None, :1]) / scale[..., None]
    y = (2 * (torch.arange(height, device=layers.device) - (height - 1) / 2) + centre[:, None, 1:]) / scale[..., None]
    x = (x - centre[:, None, :1] + (width - 1) / 2) % width  # (B, k, w), columns of the world
    y = ((y - centre[:, None, 1:]) / 2 + (height - 1) / 2) % height
    padded = functional.pad(layers[:, None], (2, 2, 2, 2), mode="circular")
    grid = torch.stack(
        [
            ((x + 2) * 2 / (width + 3) - 1)[:, :, None].expand(-1, -1, height, -1),
            ((y + 2) * 2 / (height + 3) - 1)[..., None].expand(-1, -1, -1, width),
        ],
        -1,
    )
    warped = functional.grid_sample(padded, grid.flatten(1, 2), mode="bicubic", align_corners=True)
    return warped.view(batch, count, height, width)


def render(batch: SceneBatch, indices: Tensor, breathing: float = 0.0) -> Tensor:
    """Noise-free light (B, k, 2, h, w) of both views on the native grid at focal indices (B, k).

    `breathing` scales the change of magnification with focus: 0 = corrected, as assumed by default, 1 = the thin lens's.
    """
    height, width = batch.radiance.shape[-2:]
    device = batch.radiance.device
    focus = torch.tensor(optics.FOCUS_DIOPTRES, dtype=torch.float32, device=device)[indices]
    lens = optics.DualPixelLens(batch.position, *optics.frequency_grid(height, width, 2.0, device))
    light = None
    for layer in range(batch.dioptres.shape[1]):
        kernels = lens(optics.blur_diameter(batch.dioptres[:, layer, None], focus))

        def blur(image: Tensor, kernels: Tensor = kernels) -> Tensor:
            image = _breathe(image, batch.position, focus, breathing) if breathing else image[:, None]
            return torch.fft.irfft2(kernels * torch.fft.rfft2(image)[:, :, None], s=(height, width))

        opacity = batch.opacity[:, layer]
        seen = blur(opacity * batch.radiance[:, layer])
        light = seen if light is None else seen + light * (1 - blur(opacity).clamp(0, 1))
    return light.clamp_min(0) * optics.view_gain(batch.position)[:, None, :, None, None]


def expose(light: Tensor, noise: Tensor, generator: torch.Generator) -> Tensor:
    """Sensor counts (B, k, 2, H, W) uint16 of native light (B, k, 2, h, w): noise, clipping, 10 bit, row interpolation,
    crop.
    """
    rows, columns = MARGIN // 2, MARGIN
    native = light[..., rows - 1 : light.shape[-2] - rows + 1, columns:-columns]  # one spare row on each side to interpolate
    a, b = noise[:, 0, None, None, None, None], noise[:, 1, None, None, None, None]
    shot = torch.randn(native.shape, generator=generator, device=native.device)
    counts = (BLACK + (WHITE - BLACK) * (native + (a * native + b).sqrt() * shot)).round().clamp(0, WHITE)
    inner, above, below = counts[..., 1:-1, :], counts[..., :-2, :], counts[..., 2:, :]
    square = torch.stack([0.75 * inner + 0.25 * above, 0.75 * inner + 0.25 * below], -2).flatten(-3, -2)
    return square.round().to(torch.uint16)


def simulate_stack(scene: Scene, seed: int, index: int, breathing: float = 0.0, device: str = "cpu") -> np.ndarray:
    """The whole focal stack (49, 2, H, W) uint16 of one scene, on a CPU a few slices at a time."""
    generator = torch_generator(seed, "sensor", index, device=device)
    batch = SceneBatch([scene], device)
    parts = torch.arange(N, device=device).split(CHUNK if device == "cpu" else N)
    slices = [expose(render(batch, part[None], breathing), batch.noise, generator)[0] for part in parts]
    return torch.cat(slices).cpu().numpy()


def _simulate_part(
    numbers: range, seed: int, patch: int, category: str | None, breathing: float, device: str, slices: np.ndarray | Path
) -> list[tuple]:
    """Simulate stacks `numbers` into the rows of `slices` (an array, or the file that holds it) and return their labels."""
    if isinstance(slices, Path):
        slices = np.load(slices, mmap_mode="r+")
    rows = []
    for number in numbers:
        scene = make_scene(seed, number, patch, category)
        slices[number] = simulate_stack(scene, seed, number, breathing, device)
        rows.append((scene.label(), scene.position, scene.category, scene.depth_map()[1::2, 2::4]))
    return rows


def _parts(processes: int, parts: list[range], arguments: tuple) -> Iterator[list[tuple]]:
    if processes == 1:
        yield from (_simulate_part(part, *arguments) for part in parts)
        return
    one_thread = partial(torch.set_num_threads, 1)  # two processes use two cores, two threads do not
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=one_thread) as pool:
        yield from pool.map(_simulate_part, parts, *([argument] * len(parts) for argument in arguments))


def simulate_stacks(
    count: int,
    seed: int,
    patch: int = 128,
    category: str | None = None,
    *,
    breathing: float = 0.0,
    processes: int = 1,
    folder: Path | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> FocalStacks:
    """`count` labelled focal stacks of one seed: the same bytes on any number of processes.

    Without a `category` all six take turns. With a `folder` the stacks are written there and memory-mapped instead of held
    in memory; several processes need one. Raises ValueError for an unknown category, an impossible patch or count, and for
    several processes without a folder.
    """
    if not (isinstance(count, int) and isinstance(processes, int)) or count < 1 or processes < 1:
        raise ValueError(f"count and processes must be whole numbers, at least 1, not {count!r} and {processes!r}")
    if not 0 <= breathing < math.inf:
        raise ValueError(f"breathing must be 0 or more, 1 for that of the lens, not {breathing!r}")
    if processes > 1 and folder is None:
        raise ValueError("several processes need a folder to write their stacks to")
    make_scene(seed, 0, patch, category)  # complains about wrong arguments before anything is written
    parts = [range(first, min(first + 16, count)) for first in range(0, count, 16)]
    writer = StacksWriter(count, patch, folder)
    with tqdm(total=count, desc="simulating stacks", unit="stack", disable=not progress, mininterval=2) as bar:
        arguments = (seed, patch, category, breathing, device, writer.slices if folder is None else writer.slices_file)
        for part, rows in zip(parts, _parts(processes, parts, arguments)):
            writer.label(part.start, rows)
            bar.update(len(part))
        return writer.finish(source={"simulator_seed": seed, "category": category, "breathing": breathing})


def main() -> None:
    """Simulate one split into a folder."""
    parser = argparse.ArgumentParser(prog="python -m fcl.simulator", description=main.__doc__)
    parser.add_argument("--split", choices=SPLIT_SEEDS, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--patch", type=int, required=True, help="px, a multiple of 4")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    try:
        simulate_stacks(
            options.count,
            SPLIT_SEEDS[options.split],
            options.patch,
            processes=options.processes,
            folder=options.out,
            progress=True,
        )
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        sys.exit(f"simulator: {error}")


if __name__ == "__main__":
    main()
