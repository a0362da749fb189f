"""Training slices that are rendered when a mini-batch asks for them, on the device that trains.

For the paper profile: its 16,384 stacks of 128 px would take 53 GB to store and to carry to a GPU slice by slice; their
scenes take at most 0.4 MB each and stay on the device.
"""

import hashlib
import zlib
from concurrent.futures import ProcessPoolExecutor
from copy import copy
from functools import cached_property, partial
from multiprocessing import get_context

import numpy as np
import torch
from torch import Tensor

from fcl.randomness import torch_generator
from fcl.scenes import Scene, make_scene
from fcl.settings import N
from fcl.simulator import SceneBatch, expose, render
from fcl.stacks import BLACK, WHITE


class RenderedStacks:
    """The stacks of `simulate_stacks(count, seed, patch)` as far as training needs them: no slice is stored.

    Scenes, labels and positions are the same. The noise is not: it is fresh in every mini-batch, and a function of the seed
    and of what is asked for, so that a resumed training sees it again. `processes` make the scenes.
    """

    def __init__(self, count: int, seed: int, patch: int, device: str = "cpu", processes: int = 1):
        make = partial(_scene, seed, patch)
        if processes == 1:
            scenes = [make(number) for number in range(count)]
        else:
            with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
                scenes = list(pool.map(make, range(count), chunksize=64))
        self.labels = np.array([scene.label() for scene in scenes], np.int64)
        self.positions = np.stack([scene.position for scene in scenes]).astype(np.float32)
        self.scenes, self.seed = SceneBatch(scenes, device), seed
        self.slices = torch.empty(count, N, 2, patch, patch, device="meta")  # its shape, and nothing in it

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over seed, shape, labels, positions and scenes: which data a run has seen."""
        digest = hashlib.sha256(f"rendered {self.seed} {tuple(self.slices.shape)}".encode())
        digest.update(self.labels.tobytes())
        digest.update(self.positions.tobytes())
        for values in (self.scenes.dioptres, self.scenes.noise, self.scenes.radiance, self.scenes.opacity):
            for scene in values:  # one at a time: on a GPU, all together would need as much memory again here
                digest.update(scene.cpu().numpy().tobytes())
        return digest.hexdigest()

    def observe(self, stacks: np.ndarray, starts: np.ndarray, frames: int = 1) -> Tensor:
        """Normalised float32 slices (B, m, 2, H, W) on the device, as `FocalStacks.observe` gives them."""
        device = self.scenes.radiance.device
        asked = torch.from_numpy(np.stack([stacks, starts])).to(device)
        light = render(_select(self.scenes, asked[0]), asked[1][:, None] + torch.arange(frames, device=device))
        request = zlib.crc32(np.ascontiguousarray([stacks, starts], np.int64).tobytes())
        noise = torch_generator(self.seed, "rendered", request, device=str(device))
        counts = expose(light, self.scenes.noise[asked[0]], noise)
        return counts.float().sub_(BLACK).div_(WHITE - BLACK)


def _scene(seed: int, patch: int, number: int) -> Scene:
    return make_scene(seed, number, patch)


def _select(batch: SceneBatch, rows: Tensor) -> SceneBatch:
    """Chosen scenes, which may repeat."""
    chosen = copy(batch)
    for name, values in vars(batch).items():
        setattr(chosen, name, values[rows])
    return chosen
