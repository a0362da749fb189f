"""FocalStacks: one container for simulated and real focal stacks.

Shape legend: 49 focal indices, two views (left, right), H x W the patch; B samples, m frames of each, S scenes, F slices of
one scene. Counts are sensor counts, uint16, as they left the camera; a network sees (count - black) / (white - black).

On disk a container is a folder of plain `.npy` arrays and `stacks.json`, which describes them. Photographs have `crops.npz`
in place of slices: where each patch lies in which capture (`fcl.crops`).
"""

import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fcl import crops
from fcl.files import fingerprint, make_anew, reading, remove_made, require_made
from fcl.settings import N

BLACK, WHITE = 64.0, 1023.0  # counts of the simulated 10-bit sensor
ARRAYS = ("slices", "labels", "positions", "categories", "depths")
FILES = ("stacks.json", *(f"{name}.npy" for name in ARRAYS))


@dataclass(eq=False)
class FocalStacks:
    """Labelled focal stacks.

    slices (stacks, 49, 2, H, W) uint16, left then right view; labels (stacks,) focal index; positions (stacks, 2) patch
    centre (x, y) in [-1, 1] over the frame; categories (stacks,) str; depths (stacks, H/4, W/4) dioptres, or None where
    unknown.
    """

    slices: np.ndarray | crops.Crops
    labels: np.ndarray
    positions: np.ndarray
    categories: np.ndarray
    black: float = BLACK
    white: float = WHITE
    depths: np.ndarray | None = None
    source: dict = field(default_factory=dict)

    def __post_init__(self):
        count = len(self.slices)
        if self.slices.ndim != 5 or self.slices.shape[1:3] != (N, 2) or self.slices.dtype != np.uint16:
            raise ValueError(f"slices must be uint16 (stacks, {N}, 2, H, W), not {self.slices.dtype} {self.slices.shape}")
        for name, shape in (("labels", (count,)), ("positions", (count, 2)), ("categories", (count,))):
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must have shape {shape} to go with the slices, not {getattr(self, name).shape}")
        if not np.issubdtype(self.labels.dtype, np.integer):
            raise ValueError(f"labels must be integers, not {self.labels.dtype}")
        if not (np.abs(self.positions) <= 1).all():
            raise ValueError("positions must be (x, y) in [-1, 1] over the full frame")
        if count and not (0 <= self.labels.min() and self.labels.max() < N):
            raise ValueError(f"labels must be focal indices 0..{N - 1}, not {self.labels.min()}..{self.labels.max()}")
        if not self.white > self.black:
            raise ValueError(f"white level {self.white} must be above the black level {self.black}")

    def __len__(self) -> int:
        return len(self.slices)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over labels, positions and slices: which data a run has seen."""
        digest = hashlib.sha256(np.ascontiguousarray(self.labels, np.int64).tobytes())
        digest.update(np.ascontiguousarray(self.positions, np.float32).tobytes())
        for stack in self.slices:
            digest.update(np.ascontiguousarray(stack))
        return digest.hexdigest()

    def observe(self, stacks: np.ndarray, starts: np.ndarray, frames: int = 1) -> Tensor:
        """Normalised float32 slices (B, m, 2, H, W) that a lens at `starts` (B,) sees in `frames` consecutive frames.
        IndexError for a start below 0, or frames beyond the last index.
        """
        frame = np.asarray(starts)[:, None] + np.arange(frames)
        if frame.min(initial=0) < 0:
            raise IndexError(f"starts must be at least 0, not {frame.min()}")
        counts = torch.from_numpy(self.slices[np.asarray(stacks)[:, None], frame])
        return counts.float().sub_(self.black).div_(self.white - self.black)

    @classmethod
    def load(cls, folder: Path | str, whole: bool = False) -> "FocalStacks":
        """Memory-map a container whose files are those that its stacks.json describes (`fcl.files.fingerprint`).

        whole: every slice is read and compared with the digest, too. Raises ValueError for a file that is missing, damaged
        or another one, with what makes it again.
        """
        folder, arrays = Path(folder), {}
        remedy = (
            "remove its folder, and it is made again by `make figures` (by hand: `python -m fcl.simulator --out ...`; "
            "photographs: `make learnaf ROOT=...` first)"
        )
        with reading(folder / "stacks.json", remedy):
            description = json.loads((folder / "stacks.json").read_text())
            options = {name: description[name] for name in ("black", "white", "source")}
            digest, files = description["digest"], dict(description["files"])
        for name, written in files.items():
            file = folder / name
            with reading(file, remedy):
                if fingerprint(file) != written:
                    raise ValueError("it is not the file that stacks.json describes")
                if file.suffix == ".npy":
                    arrays[file.stem] = np.load(file, mmap_mode="r" if file.stem == "slices" else None)
        if crops.FILE in files:
            arrays["slices"] = crops.Crops.load(folder)
        with reading(folder, remedy):
            stacks = cls(**arrays, **options)
            if whole and crops.FILE not in files and stacks.digest != digest:
                raise ValueError("the slices are not those that stacks.json describes")
        stacks.digest = digest
        return stacks


class StacksWriter:
    """Builds a container in memory, or beside `folder` under a temporary name that takes its place when all is written.

    Raises ValueError for a folder that no StacksWriter made, or that holds anything but focal stacks, and OSError for a disk
    without room for the slices.
    """

    def __init__(self, count: int, patch: int, folder: Path | None = None):
        self.folder = folder and Path(folder)
        shape = (count, N, 2, patch, patch)
        if self.folder is None:
            self.slices = np.empty(shape, np.uint16)
        else:
            require_made(self.folder, FILES)  # complains before anything is simulated
            self.partial = make_anew(self.folder.with_name(self.folder.name + ".partial"), FILES)
            self.slices_file = self.partial / "slices.npy"
            self.slices = np.lib.format.open_memmap(self.slices_file, "w+", np.uint16, shape)
            self._reserve()
        self.labels, self.positions = np.zeros(count, np.int64), np.zeros((count, 2), np.float32)
        self.categories, self.depths = np.zeros(count, "U16"), np.zeros((count, patch // 4, patch // 4), np.float16)

    def _reserve(self) -> None:
        """Take the room for all slices: where it runs out later, the processes that write them are killed without a word."""
        if not hasattr(os, "posix_fallocate"):  # macOS
            return
        size = self.slices_file.stat().st_size
        try:
            with open(self.slices_file, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            remove_made(self.partial, FILES)
            raise OSError(error.errno, f"{error.strerror}, and the slices take {size:,} bytes", str(self.folder)) from None

    def label(self, first: int, rows: list[tuple]) -> None:
        """Store (label, position, category, depths) of the stacks from `first` on."""
        for number, row in enumerate(rows, first):
            self.labels[number], self.positions[number], self.categories[number], self.depths[number] = row

    def finish(self, source: dict) -> FocalStacks:
        """The finished container; `source` says where it came from."""
        stacks = FocalStacks(self.slices, self.labels, self.positions, self.categories, BLACK, WHITE, self.depths, source)
        if self.folder is None:
            return stacks
        self.slices.flush()
        for name in ARRAYS[1:]:
            np.save(self.partial / f"{name}.npy", getattr(self, name))
        description = {"count": len(stacks), "black": BLACK, "white": WHITE, "digest": stacks.digest, "source": source}
        description["files"] = {name: fingerprint(self.partial / name) for name in FILES[1:]}
        (self.partial / "stacks.json").write_text(json.dumps(description, indent=1) + "\n")
        remove_made(self.folder, FILES)
        os.replace(self.partial, self.folder)
        return FocalStacks.load(self.folder)
