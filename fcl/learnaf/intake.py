"""One capture on its way into the store: its files come in one by one, in any order, and are checked.

A capture's folder has frames.npy (49, 2, rows, columns) uint16, depth.npy uint8, confidence.npy float32 and, when all
that is there, capture.json. Until then parts.jsonl notes what has come in, so that a pass that was stopped goes on.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage

from fcl.files import replacing
from fcl.learnaf.images import read_counts, read_exr
from fcl.settings import N

REACH = 24  # samples: the largest shift that is looked for between left and right
KNOWN = {"origin", "shape", "halved", "lowest", "largest", "shifts", "sha256"}  # what capture.json says


def read_capture(file: Path) -> dict:
    """What capture.json says, with its folder. ValueError naming it where it is spoilt."""
    try:
        about = json.loads(file.read_text())
        if not isinstance(about, dict) or not about.keys() >= KNOWN:
            raise ValueError("something is missing in it")
    except ValueError as error:
        raise ValueError(f"{file} is spoilt ({error}): run `make learnaf ROOT=...` again") from None
    return about | {"folder": file.parent}


def _entries(log: Path) -> list[dict]:
    """The lines of a log that are whole."""
    found = []
    for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


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


@dataclass
class Intake:
    """One capture on its way into the store; `problem` says why it can't be taken, once it can't."""

    folder: Path
    origin: str  # of what the files are, so that other files are noticed
    problem: str = ""
    parts: dict[str, dict] = field(default_factory=dict)
    first: str = ""  # the file that decided the size

    def __post_init__(self) -> None:
        self.log = self.folder / "parts.jsonl"
        complete = _entries(self.log)
        if complete and complete[0] == {"origin": self.origin}:
            self.parts = {entry["part"]: entry for entry in complete[1:]}
            self.first = next((entry["file"] for part, entry in self.parts.items() if "/" in part), "")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            self._note({"origin": self.origin})

    def _note(self, entry: dict) -> None:
        with open(self.log, "a") as file:
            file.write("\n" + json.dumps(entry))  # on a line of its own, even after one that was stopped half-way

    def add(self, part: str, data: bytes, name: str) -> None:
        """Take in one file of the capture; what is wrong with it becomes the problem."""
        if self.problem or part in self.parts:
            return
        try:
            about = {"part": part, "file": name, "sha256": hashlib.sha256(data).hexdigest()}
            if part == "confidence":
                np.save(self.folder / "confidence.npy", read_exr(data, name).clip(0, 1))
            else:
                counts, wanted = read_counts(data, name), 8 if part == "depth" else 16
                if 8 * counts.itemsize != wanted:
                    raise ValueError(f"{name} has {8 * counts.itemsize} bit where {wanted} are expected")
                if part == "depth":
                    np.save(self.folder / "depth.npy", counts)
                else:
                    self._write_frame(part, counts, name)
                    about |= {
                        "lowest": int(np.partition(counts, counts.size // 1000, axis=None)[counts.size // 1000]),
                        "largest": int(counts.max()),
                    }
        except ValueError as error:
            self.problem = str(error)
        else:
            self.parts[part] = about
            self._note(about)

    def _write_frame(self, part: str, counts: np.ndarray, name: str) -> None:
        path, (side, index) = self.folder / "frames.npy", part.split("/")
        shape = (N, 2, *counts.shape)
        frames = np.load(path, mmap_mode="r") if self.first else np.lib.format.open_memmap(path, "w+", np.uint16, shape)
        self.first = self.first or name
        if frames.shape != shape:
            raise ValueError(
                f"{name} is {counts.shape[1]} x {counts.shape[0]}, but {self.first} {frames.shape[3]} x {frames.shape[2]}"
            )
        with open(path, "r+b") as file:  # not through the mapping: a full disk is then an error, not a dead process
            file.seek(frames.offset + (2 * int(index) + (side == "right")) * counts.nbytes)
            file.write(np.ascontiguousarray(counts).tobytes())

    def finish(self, files: dict[str, str]) -> None:
        """Write capture.json where all `files` have come in and fit together, else remove what is there."""
        missing = [name for part, name in files.items() if part not in self.parts]
        if missing and not self.problem:
            self.problem = f"{missing[0]} is missing" + (f", and {len(missing) - 1} other files" if len(missing) > 1 else "")
        if not self.problem:
            self._check_sizes()
        if self.problem:
            shutil.rmtree(self.folder)
            return
        frames = np.load(self.folder / "frames.npy", mmap_mode="r")
        depth = np.load(self.folder / "depth.npy", mmap_mode="r").shape
        entries = [self.parts[part] for part in files]
        images = [entry for entry in entries if "largest" in entry]
        about = {
            "origin": self.origin,
            "shape": frames.shape[2:],
            "halved": frames.shape[3] == 2 * depth[1],
            "lowest": min(entry["lowest"] for entry in images),
            "largest": max(entry["largest"] for entry in images),
            "shifts": [views_shift(*frames[k]) for k in (0, N - 1)],
            "sha256": hashlib.sha256("".join(entry["sha256"] for entry in entries).encode()).hexdigest(),
        }
        if about["halved"]:
            about["shifts"] = [[rows, 2 * columns] for rows, columns in about["shifts"]]  # px
        with replacing(self.folder / "capture.json") as temporary:
            temporary.write_text(json.dumps(about, indent=1) + "\n")
        self.log.unlink()

    def _check_sizes(self) -> None:
        rows, columns = np.load(self.folder / "frames.npy", mmap_mode="r").shape[2:]
        for name in ("depth", "confidence"):
            height, width = np.load(self.folder / f"{name}.npy", mmap_mode="r").shape
            if rows != 4 * height or columns not in (2 * width, 4 * width):
                self.problem = (
                    f"{self.parts[name]['file']} is {width} x {height}, which is no quarter of the frame of {self.first}, "
                    f"{columns} x {rows}"
                )
