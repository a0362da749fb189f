"""Every random number of the project comes from an explicit generator keyed by (seed, purpose): no global state."""

import zlib

import numpy as np
import torch


def _sequence(seed: int, *purpose: str | int) -> np.random.SeedSequence:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be a non-negative integer, not {seed!r}")
    words = [zlib.crc32(key.encode()) if isinstance(key, str) else int(key) for key in purpose]
    return np.random.SeedSequence([int(seed), len(words), *words])  # the length: trailing zeros count for nothing


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """NumPy generator for one purpose of one seed, e.g. `generator(0, "batches")`; other purposes never disturb it."""
    return np.random.default_rng(_sequence(seed, *purpose))


def torch_generator(seed: int, *purpose: str | int, device: str = "cpu") -> torch.Generator:
    """The same for torch: the stream depends on (seed, purpose) and the kind of device."""
    return torch.Generator(device).manual_seed(int(_sequence(seed, *purpose).generate_state(1, np.uint64)[0] >> 1))
