"""Crops: the slices of a container that are cut, as they are asked for, out of memory-mapped native frames.

A capture is one file, (49, 2, rows, columns) uint16 as the camera's images are stored; patches of 128 px at stride 40 would
be five times as much. What is mapped belongs to the system's page cache: memory doesn't grow with the data. Only a few files
are mapped at once: each map holds a file open, and a process may have but 256 of them (macOS).
"""

import os
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from fcl.files import reading
from fcl.settings import N

FILE = "crops.npz"  # in a container's folder: what `Crops.save` writes
FLAGS = ("patch", "halved", "transposed", "mirrored")
MAPS = 40  # at once: a mini-batch of 32 scenes maps each of its files once
AGAIN = "run `make learnaf ROOT=...` again"


def open_frames(file: Path) -> np.memmap:
    """The mapped frames of a capture, (49, 2, rows, columns) uint16. ValueError naming the file for any other content."""
    with reading(file, AGAIN):
        frames = np.lib.format.open_memmap(file, mode="r")
        if frames.ndim != 4 or frames.shape[:2] != (N, 2) or frames.dtype != np.uint16 or not frames.flags.c_contiguous:
            raise ValueError(f"it holds {frames.dtype} {frames.shape}, not uint16 ({N}, 2, rows, columns)")
        if frames.offset + frames.nbytes != file.stat().st_size:
            raise ValueError("it is longer than it says")
    return frames


class Crops:
    """Behaves like an array (stacks, 49, 2, patch, patch) uint16 that is read when indexed.

    files: one per capture. places (stacks, 3): capture, first row, first column of the patch in the full frame. halved: the
    files have every other column, as a dual-pixel sensor is read out, and what lies between is interpolated (3/4 of the
    nearer sample, 1/4 of the other one: `fcl.simulator.expose`). transposed, mirrored: the full frame is the file with its
    axes exchanged, then its columns reversed; this brings the dual-pixel baseline to the last axis.
    Raises ValueError for a file that is missing, damaged or of another shape than the first, and for places outside.
    """

    def __init__(self, files: list[Path], places: np.ndarray, patch: int, *, halved: bool, transposed: bool, mirrored: bool):
        self.files, self.places, self.patch = [Path(file) for file in files], places, patch
        self.halved, self.transposed, self.mirrored = halved, transposed, mirrored
        self._offsets: list[int] = []  # of the numbers in each file
        for file in self.files:
            frames = open_frames(file)
            if not self._offsets:
                shape = frames.shape
            if frames.shape != shape:
                raise ValueError(f"{file} holds {frames.shape}, not {shape} as {self.files[0]}: {AGAIN}")
            self._offsets.append(frames.offset)
        self._frames = lru_cache(MAPS)(partial(_map, shape))
        self.shape = (len(places), *shape[:2], patch, patch)
        self.ndim, self.dtype = len(self.shape), np.dtype(np.uint16)
        rows, columns = shape[2], shape[3] * (1 + halved)
        row, column = places[:, 1:].T
        if mirrored:
            column = (rows if transposed else columns) - patch - column
        self._first_row, self._first_column = first = (column, row) if transposed else (row, column)  # in the file
        if np.min(first) < 0 or (np.max(first, 1) > (rows - patch, columns - patch)).any():
            raise ValueError(
                f"patches of {patch} px lie outside the frames, {rows} x {columns} px, of {self.files[0]}: {AGAIN}"
            )
        if halved and (patch % 2 or (self._first_column % 2).any()):
            raise ValueError("patches must begin and end at even rows where every other one is interpolated")

    def save(self, folder: Path) -> None:
        """Write which crops these are; the frames stay where they are, relative to `folder`."""
        files = [os.path.relpath(file, folder) for file in self.files]
        np.savez(Path(folder) / FILE, files=files, places=self.places, **{name: getattr(self, name) for name in FLAGS})

    @classmethod
    def load(cls, folder: Path) -> "Crops":
        """What `save` wrote. Errors as for Crops."""
        path = Path(folder) / FILE
        with reading(path, "remove its folder, and it is made again"), np.load(path) as saved:
            files, places, flags = saved["files"], saved["places"], {name: saved[name].item() for name in FLAGS}
        return cls([Path(folder, file).resolve() for file in files], places, **flags)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index) -> np.ndarray:
        """As of an array, but without `...` and `None`; only what the first two axes select is read."""
        index = index if isinstance(index, tuple) else (index,)
        if any(part is Ellipsis or part is None for part in index):
            raise IndexError("crops take neither ... nor None as an index")
        grid = self.shape[:2]
        stacks = np.broadcast_to(np.arange(grid[0])[:, None], grid)[index[:2]]
        indices = np.broadcast_to(np.arange(grid[1]), grid)[index[:2]]
        slices = self._cut(stacks.ravel(), indices.ravel()).reshape(*stacks.shape, *self.shape[2:])
        return slices[(*(slice(None),) * stacks.ndim, *index[2:])]

    def _cut(self, stacks: np.ndarray, indices: np.ndarray) -> np.ndarray:
        patch = self.patch
        slices = np.empty((len(stacks), 2, patch, patch), np.uint16)
        as_stored = slices[..., ::-1] if self.mirrored else slices
        if self.transposed:
            as_stored = as_stored.swapaxes(-1, -2)
        for target, stack, index in zip(as_stored, stacks.tolist(), indices.tolist(), strict=True):
            row, column = self._first_row[stack], self._first_column[stack]
            capture = self.places[stack, 0]
            frame = self._frames(self.files[capture], self._offsets[capture])[index, :, row : row + patch]
            if self.halved:
                _interpolate(frame, column // 2, target)
            else:
                target[:] = frame[..., column : column + patch]
        return slices


def _map(shape: tuple[int, ...], file: Path, offset: int) -> np.ndarray:
    return np.asarray(np.memmap(file, np.uint16, "r", offset, shape))  # np.load would parse the header each time


def _interpolate(frame: np.ndarray, first: int, target: np.ndarray) -> None:
    """Fill `target` (2, rows, columns) from the samples of `frame` from column `first` on; edges are repeated."""
    samples = target.shape[-1] // 2
    own = frame[..., first : first + samples]
    cut = np.empty((*own.shape[:-1], samples + 2), np.uint16)  # with one sample more on either side
    cut[..., 1:-1] = own
    cut[..., 0] = frame[..., max(first - 1, 0)]
    cut[..., -1] = frame[..., min(first + samples, frame.shape[-1] - 1)]
    if cut.max() >= 2**14:  # four times that doesn't fit 16 bits
        cut = cut.astype(np.uint32)
    nearer = 3 * cut[..., 1:-1] + 2  # rounds
    target[..., 0::2] = (nearer + cut[..., :-2]) >> 2
    target[..., 1::2] = (nearer + cut[..., 2:]) >> 2
