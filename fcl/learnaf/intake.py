"""One capture in the store: its files arrive one by one, in any order, and are checked.

Its folder holds frames.npy (49, 2, rows, columns) uint16, depth.npy uint8, confidence.npy float32 and, once these are
complete, capture.json. Until then received.jsonl lists the files that have arrived, so that a stopped pass goes on.
"""

import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage

from fcl.crops import AGAIN, open_frames
from fcl.files import fingerprint, make_anew, reading, remove_made, replacing
from fcl.learnaf.images import read_counts, read_exr
from fcl.settings import N

REACH = 24  # samples: the largest shift that is looked for between left and right
MAPS = ("depth", "confidence")


def _checksum(capture: dict) -> int:
    return zlib.crc32(json.dumps(capture).encode())


def read_capture(file: Path) -> dict:
    """What capture.json says, and its folder. ValueError naming it where it is missing or damaged."""
    with reading(file, AGAIN):
        capture = json.loads(file.read_text())
        if capture.pop("checksum") != _checksum(capture):
            raise ValueError("its checksum is wrong")
    return capture | {"folder": file.parent}


def sound_file(capture: dict, name: str) -> Path:
    """The file of a capture's frames, depth or confidence. ValueError naming it where it is missing or damaged."""
    file = capture["folder"] / f"{name}.npy"
    with reading(file, AGAIN):
        if fingerprint(file) != capture["files"][name]:
            raise ValueError("it is not the file that capture.json describes")
    return file


def is_complete(folder: Path, origin: str) -> bool:
    """Whether the store holds this capture undamaged, made of these files."""
    try:
        capture = read_capture(folder / "capture.json")
        return capture["origin"] == origin and all(sound_file(capture, name) for name in ("frames", *MAPS))
    except ValueError:
        return False


def views_shift(left: np.ndarray, right: np.ndarray) -> list[float]:
    """By how many samples (rows, columns) the left image lies beyond the right one: the peak of their correlation.

    Of their band-passed images, over the whole frame, along each axis by itself, refined by a parabola.
    """
    left, right = (
        ndimage.gaussian_filter(np.float32(image), 1) - ndimage.gaussian_filter(np.float32(image), 8)
        for image in (left, right)
    )
    shifts = []
    for axis in (0, 1):
        spectrum = np.fft.rfft(left, axis=axis) * np.fft.rfft(right, axis=axis).conj()
        correlation = np.fft.irfft(spectrum.sum(1 - axis), left.shape[axis])
        reach = min(REACH, left.shape[axis] // 2 - 1)
        near = np.roll(correlation, reach)[: 2 * reach + 1]
        peak = int(near[1:-1].argmax()) + 1
        before, here, after = near[peak - 1 : peak + 2]
        bend = before - 2 * here + after
        shifts.append(float(peak - reach + (0.5 * (before - after) / bend if bend < 0 else 0)))
    return shifts


def _counts(data: bytes, name: str, kind: type) -> np.ndarray:
    counts = read_counts(data, name)
    if counts.dtype != kind:
        raise ValueError(f"{name} has {8 * counts.itemsize} bit where {8 * np.dtype(kind).itemsize} are expected")
    return counts


@dataclass
class Intake:
    """One capture on its way into the store; `problem` says why it can't be kept, once it can't."""

    folder: Path
    origin: str  # tells its files from others
    problem: str = ""
    received: dict[str, dict] = field(default_factory=dict)  # by slot: left/0 .. left/48, right/0 .., depth, confidence

    def __post_init__(self) -> None:
        self.log = self.folder / "received.jsonl"
        entries = []
        for line in self.log.read_text(errors="replace").splitlines() if self.log.exists() else ():
            try:
                entries.append(json.loads(line))
            except ValueError:  # the line was being written when the pass stopped
                continue
        if entries and entries[0] == {"origin": self.origin}:
            self.received = {entry["slot"]: entry for entry in entries[1:]}
        else:
            make_anew(self.folder)
            self._note({"origin": self.origin})

    def _note(self, entry: dict) -> None:
        with open(self.log, "a") as file:
            file.write("\n" + json.dumps(entry))  # on a line of its own, even after one that was stopped half-way

    def add(self, slot: str, name: str, read: Callable[[], bytes]) -> None:
        """Take in one file of the capture, unless it is here already; what is wrong with it becomes the problem."""
        if self.problem or slot in self.received:
            return
        try:
            data = read()
            entry = {"slot": slot, "file": name, "sha256": hashlib.sha256(data).hexdigest()}
            if slot in MAPS:
                array = _counts(data, name, np.uint8) if slot == "depth" else read_exr(data, name).clip(0, 1)
                np.save(self.folder / f"{slot}.npy", array)
            else:
                counts = _counts(data, name, np.uint16)
                self._write_frame(slot, counts, name)
                lowest = np.partition(counts, counts.size // 1000, axis=None)[counts.size // 1000]
                entry |= {"lowest": int(lowest), "largest": int(counts.max())}
        except ValueError as error:
            self.problem = str(error)
        else:
            self.received[slot] = entry
            self._note(entry)

    def _write_frame(self, slot: str, counts: np.ndarray, name: str) -> None:
        path, (side, index) = self.folder / "frames.npy", slot.split("/")
        if self.received.keys() <= set(MAPS):  # it is the first image
            np.lib.format.open_memmap(path, "w+", np.uint16, (N, 2, *counts.shape))
        frames = open_frames(path)
        if frames.shape[2:] != counts.shape:
            (rows, columns), (height, width) = counts.shape, frames.shape[2:]
            raise ValueError(f"{name} is {columns} x {rows}, but the images before it are {width} x {height}")
        # Not through the mapping: a full disk is then an error, not a dead process.
        with open(path, "r+b") as file:
            file.seek(frames.offset + (2 * int(index) + (side == "right")) * counts.nbytes)
            file.write(np.ascontiguousarray(counts).tobytes())

    def finish(self, files: dict[str, str]) -> None:
        """Write capture.json where all `files` (by slot) have arrived and fit together; else remove the capture."""
        try:
            if not self.problem:
                self._complete(files)
        except ValueError as error:
            self.problem = str(error)
        if self.problem:
            remove_made(self.folder)

    def _complete(self, files: dict[str, str]) -> None:
        missing = [name for slot, name in files.items() if slot not in self.received]
        if missing:
            others = f", and {len(missing) - 1} other files" if len(missing) > 1 else ""
            raise ValueError(f"{missing[0]} is missing{others}")
        frames = open_frames(self.folder / "frames.npy")
        rows, columns = frames.shape[2:]
        maps = {name: np.load(self.folder / f"{name}.npy", mmap_mode="r").shape for name in MAPS}
        halved = columns == 2 * maps["depth"][1]
        for name, (height, width) in maps.items():
            if (4 * height, (2 if halved else 4) * width) != (rows, columns):
                file = self.received[name]["file"]
                raise ValueError(f"{file} is {width} x {height}, which is no quarter of the frame, {columns} x {rows}")
        entries = [self.received[slot] for slot in files]
        images = [entry for entry in entries if "largest" in entry]
        capture = {
            "origin": self.origin,
            "shape": [rows, columns],
            "halved": halved,
            "lowest": min(entry["lowest"] for entry in images),
            "largest": max(entry["largest"] for entry in images),
            "shifts": (np.array([views_shift(*frames[k]) for k in (0, N - 1)]) * (1, 1 + halved)).tolist(),  # px
            "sha256": hashlib.sha256("".join(entry["sha256"] for entry in entries).encode()).hexdigest(),
            "files": {name: fingerprint(self.folder / f"{name}.npy") for name in ("frames", *MAPS)},
        }
        with replacing(self.folder / "capture.json") as temporary:
            temporary.write_text(json.dumps(capture | {"checksum": _checksum(capture)}, indent=1) + "\n")
        self.log.unlink()
