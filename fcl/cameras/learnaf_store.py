"""One pass over the public data set, from its folders or straight from its archives, to a store of native images.

What is known of the files comes from public loaders, which agree; no description was published. Five phones, the views,
photographed each scene at 49 lens positions. Below train1 .. train7 and test lie, for a capture such as books_5:

    raw_left_pd/<capture>/<index>/result_pd_left_<view>.png         16 bit, 756 wide x 2016 high; right likewise
    raw_up_left_pd/<capture>/<index>/result_up_pd_left_<view>.png   the same interpolated to 1512 wide
    merged_depth/<capture>/result_merged_depth_<view>.png           8 bit, 378 wide x 504 high, a quarter of the frame
    merged_conf/<capture>/result_merged_conf_<view>.exr             confidence of the depth, cut off at 1

The store has a folder <view>/<train1..test>/<capture> with frames.npy (49, 2, rows, columns) uint16, depth.npy uint8,
confidence.npy float16 and, when all that is there, capture.json. An archive gives its files in any order, so captures
grow side by side, each on disk; memory holds one image. A pass that was stopped goes on: what is there and unchanged is
not read again.
"""

import gzip
import hashlib
import json
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from fcl.cameras.images import read_counts, read_exr
from fcl.records.runs import replacing
from fcl.stacks import INDICES

VIEWS = ("center", "top", "bottom", "left", "right")
IMAGES = {"raw": ("raw", "pd"), "interpolated": ("raw_up", "up_pd")}  # in the names of folders and of files
TOP = re.compile(r"train[0-9]+|test")
ARCHIVES = (".tar", ".tar.gz", ".tgz")
LARGEST = 2**28  # bytes: no image of this data set is that large
REACH = 24  # samples: the largest shift that is looked for between left and right


def expected_files(capture: str, view: str, images: str) -> dict[str, str]:
    """part -> path below the train or test folder. Parts: left/0 .. left/48, right/0 .. right/48, depth, confidence."""
    folder, name = IMAGES[images]
    files = {
        f"{side}/{k}": f"{folder}_{side}_pd/{capture}/{k}/result_{name}_{side}_{view}.png"
        for side in ("left", "right")
        for k in range(INDICES)
    }
    return files | {
        "depth": f"merged_depth/{capture}/result_merged_depth_{view}.png",
        "confidence": f"merged_conf/{capture}/result_merged_conf_{view}.exr",
    }


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
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        complete = [json.loads(line) for line in lines if line.endswith("}")]
        if complete and complete[0] == {"origin": self.origin}:
            self.parts = {entry["part"]: entry for entry in complete[1:]}
            self.first = next((entry["file"] for part, entry in self.parts.items() if "/" in part), "")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            self._note({"origin": self.origin})

    def _note(self, entry: dict) -> None:
        with open(self.log, "a") as file:
            file.write(json.dumps(entry) + "\n")

    def add(self, part: str, data: bytes, name: str) -> None:
        """Take in one file of the capture; what is wrong with it becomes the problem."""
        if self.problem or part in self.parts:
            return
        try:
            about = {"part": part, "file": name, "sha256": hashlib.sha256(data).hexdigest()}
            if part == "confidence":
                np.save(self.folder / "confidence.npy", read_exr(data, name).clip(0, 1).astype(np.float16))
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
        shape = (INDICES, 2, *counts.shape)
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
            "halved": frames.shape[3] == 2 * depth[1],
            "lowest": min(entry["lowest"] for entry in images),
            "largest": max(entry["largest"] for entry in images),
            "shifts": [views_shift(*frames[k]) for k in (0, INDICES - 1)],
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


def collect(
    root: Path | str, store: Path | str, view: str = "center", images: str | None = None, progress: bool = False
) -> dict[str, str]:
    """Bring every capture below `root` into `store`; returns those that were left out, by name, and why.

    root: the folder with train1 .. train7 and test, or with their archives (.tar, .tar.gz), which are not unpacked.
    images: "raw" or "interpolated"; None takes raw ones where there are any. Raises ValueError for an unknown view or
    kind, for a root without any of these folders or archives, and for a link that leads out of it.
    """
    root, store = Path(root), Path(store)
    if view not in VIEWS or images not in (None, *IMAGES):
        raise ValueError(
            f"view must be one of {', '.join(VIEWS)} and images one of {', '.join(IMAGES)}, not {view!r}, {images!r}"
        )
    found = sorted(root.iterdir()) if root.is_dir() else []
    tops = [
        path for path in found if TOP.fullmatch(path.name.split(".")[0]) and (path.is_dir() or path.name.endswith(ARCHIVES))
    ]
    if not tops:
        raise ValueError(
            f"{root} holds none of train1 .. train7 and test, as folders or as archives ({', '.join(ARCHIVES)})"
        )
    for path in tops:
        _inside(path, root)
    if images is None:
        folders = [name for top in tops if top.is_dir() for name in IMAGES if (top / f"{IMAGES[name][0]}_left_pd").is_dir()]
        images = "interpolated" if folders and "raw" not in folders else "raw"
    left_out: dict[str, str] = {}
    for top in tops:
        take = _take_folder if top.is_dir() else _take_archive
        left_out |= take(root, top, store / view, view, images, progress)
    return left_out


def _inside(path: Path, root: Path) -> None:
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{path} is a link that leads out of {root}: put the files there themselves")


def _is_done(folder: Path, origin: str) -> bool:
    about = folder / "capture.json"
    if not about.exists() or json.loads(about.read_text())["origin"] != origin:
        return False
    try:
        for name in ("frames", "depth", "confidence"):
            np.load(folder / f"{name}.npy", mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return True


def _take_folder(root: Path, top: Path, store: Path, view: str, images: str, progress: bool) -> dict[str, str]:
    kinds = {path.split("/")[0] for path in expected_files("", view, images).values()}
    names = sorted({path.name for kind in kinds for path in top.glob(f"{kind}/*") if not path.name.startswith(".")})
    left_out = {} if names else {top.name: f"{top} holds no {', '.join(sorted(kinds))}"}
    for name in tqdm(names, desc=top.name, unit="capture", disable=not progress, mininterval=2):
        files = {part: top / path for part, path in expected_files(name, view, images).items()}
        there = {part: path for part, path in files.items() if path.is_file()}
        marks = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in there.values()]
        origin = hashlib.sha256("\n".join(marks).encode()).hexdigest()
        if _is_done(store / top.name / name, origin):
            continue
        intake = Intake(store / top.name / name, origin)
        try:
            for part, path in there.items():
                _inside(path, root)
                if part not in intake.parts:
                    intake.add(part, path.read_bytes(), str(path))
        except ValueError as error:
            intake.problem = str(error)
        intake.finish({part: str(path) for part, path in files.items()})
        if intake.problem:
            left_out[f"{top.name}/{name}"] = intake.problem
    return left_out


def _members(archive: Path, progress: bool) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Members in the order of the archive, which is read once."""
    size = archive.stat().st_size
    with (
        open(archive, "rb") as file,
        tarfile.open(fileobj=file, mode="r|*") as tar,
        tqdm(total=size, desc=archive.name, unit="B", unit_scale=True, disable=not progress, mininterval=2) as bar,
    ):
        for member in tar:
            yield tar, member
            bar.update(file.tell() - bar.n)


def _take_archive(root: Path, archive: Path, store: Path, view: str, images: str, progress: bool) -> dict[str, str]:
    top, state = archive.name.split(".")[0], archive.stat()
    origin = f"{archive.name} {state.st_size} {state.st_mtime_ns} {images}"
    record = store / f"{archive.name}.json"  # once the archive has been read to its end
    about = json.loads(record.read_text()) if record.exists() else {"origin": None}
    if about["origin"] == origin and all(_is_done(store / top / capture, origin) for capture in about["captures"]):
        return about["left_out"]
    intakes: dict[str, Intake | None] = {}  # None: it is in the store already
    wanted: dict[str, dict[str, str]] = {}  # capture -> path below the top folder -> part
    left_out: dict[str, str] = {}
    try:
        for tar, member in _members(archive, progress):
            path = PurePosixPath(member.name)
            depth = next(
                (depth for depth, kind in enumerate(path.parts) if re.fullmatch(r"(raw|merged)_\w+", kind)), len(path.parts)
            )
            _, capture, *rest = *path.parts[depth:], "", ""
            if member.isdir() or not rest or capture in ("", ".."):
                continue
            if capture not in intakes:
                wanted[capture] = {below: part for part, below in expected_files(capture, view, images).items()}
                folder = store / top / capture
                intakes[capture] = None if _is_done(folder, origin) else Intake(folder, origin)
            part, intake = wanted[capture].get("/".join(path.parts[depth:])), intakes[capture]
            if part is None or intake is None:
                continue
            name = f"{archive}: {member.name}"
            if not member.isreg() or path.is_absolute() or ".." in path.parts or member.size > LARGEST:
                intake.problem = f"{name} is a link, leads out of the archive, or is no image by its size"
            elif not intake.problem and part not in intake.parts:
                intake.add(part, tar.extractfile(member).read(), name)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        left_out[archive.name] = f"{archive} is damaged or only a part of the archive ({error}): download it again"
    for capture, intake in intakes.items():
        if intake is not None:
            intake.finish({part: f"{archive}: {below}" for below, part in wanted[capture].items()})
            if intake.problem:
                left_out[f"{top}/{capture}"] = intake.problem
    if not intakes:
        left_out.setdefault(archive.name, f"{archive} holds no images of captures")
    if archive.name not in left_out:
        with replacing(record) as temporary:
            taken = [capture for capture, intake in intakes.items() if intake is None or not intake.problem]
            temporary.write_text(json.dumps({"origin": origin, "left_out": left_out, "captures": taken}) + "\n")
    return left_out
