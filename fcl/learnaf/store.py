"""One pass over the public data set, from its folders or straight from its archives, to a store of native images.

What is known of the files comes from public loaders, which agree; no description was published. Five phones, the views,
photographed each scene at 49 lens positions. Below train1 .. train7 and test lie, for a capture such as books_5:

    raw_left_pd/<capture>/<index>/result_pd_left_<view>.png         16 bit, 756 wide x 2016 high; right likewise
    raw_up_left_pd/<capture>/<index>/result_up_pd_left_<view>.png   the same interpolated to 1512 wide
    merged_depth/<capture>/result_merged_depth_<view>.png           8 bit, 378 wide x 504 high, a quarter of the frame
    merged_conf/<capture>/result_merged_conf_<view>.exr             confidence of the depth, cut off at 1

The store has a folder <view>/<train1..test>/<capture> with what `fcl.learnaf.intake` makes of it. An archive gives its
files in any order, so captures grow side by side, each on disk; memory holds one image. A pass that was stopped goes on:
what is there and unchanged is not read again.
"""

import gzip
import hashlib
import json
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from fcl.files import replacing
from fcl.learnaf.intake import Intake, read_capture
from fcl.settings import N

VIEWS = ("center", "top", "bottom", "left", "right")
IMAGES = {"raw": ("raw", "pd"), "interpolated": ("raw_up", "up_pd")}  # in the names of folders and of files
TOP = re.compile(r"train[0-9]+|test")
NAME = re.compile(r"(?!\.)[\w.-]+")  # of a capture: it becomes a folder's name, and is printed
ARCHIVES = (".tar", ".tar.gz", ".tgz")
LARGEST = 2**28  # bytes: no image of this data set is that large


def expected_files(capture: str, view: str, images: str) -> dict[str, str]:
    """part -> path below the train or test folder. Parts: left/0 .. left/48, right/0 .. right/48, depth, confidence."""
    folder, name = IMAGES[images]
    files = {
        f"{side}/{k}": f"{folder}_{side}_pd/{capture}/{k}/result_{name}_{side}_{view}.png"
        for side in ("left", "right")
        for k in range(N)
    }
    return files | {
        "depth": f"merged_depth/{capture}/result_merged_depth_{view}.png",
        "confidence": f"merged_conf/{capture}/result_merged_conf_{view}.exr",
    }


def collect(
    root: Path | str, store: Path | str, view: str = "center", images: str | None = None, progress: bool = False
) -> dict[str, str]:
    """Bring every capture below `root` into `store`; returns those that were left out, by name, and why.

    root: the folder with train1 .. train7 and test, or with their archives (.tar, .tar.gz), which are not unpacked.
    images: "raw" or "interpolated"; None takes of each folder or archive the raw ones where there are any; an archive
    without them is read twice. Raises ValueError for an unknown view or kind, for a root without any of these folders or
    archives, and for a link that leads out of it.
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
    left_out: dict[str, str] = {}
    for top in tops:
        take = _take_folder if top.is_dir() else _take_archive
        left_out |= take(root, top, store / view, view, images, progress)
    return left_out


def _inside(path: Path, root: Path) -> None:
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{path} is a link that leads out of {root}: put the files there themselves")


def _is_done(folder: Path, origin: str) -> bool:
    try:
        if read_capture(folder / "capture.json")["origin"] != origin:
            return False
        for name in ("frames", "depth", "confidence"):
            np.load(folder / f"{name}.npy", mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return True


def _kind(folders: set[str]) -> str:
    there = [kind for kind, (start, _) in IMAGES.items() if folders & {f"{start}_left_pd", f"{start}_right_pd"}]
    return there[0] if there else "raw"


def _strange(name: str) -> str:
    return f"{name!r} is no plain name of letters, digits, dots and dashes: rename its folder"


def _take_folder(root: Path, top: Path, store: Path, view: str, images: str | None, progress: bool) -> dict[str, str]:
    images = images or _kind({path.name for path in top.iterdir()})
    kinds = {path.split("/")[0] for path in expected_files("", view, images).values()}
    names = sorted({path.name for kind in kinds for path in top.glob(f"{kind}/*") if not path.name.startswith(".")})
    left_out = {} if names else {top.name: f"{top} holds no {', '.join(sorted(kinds))}"}
    for name in tqdm(names, desc=top.name, unit="capture", disable=not progress, mininterval=2):
        if not NAME.fullmatch(name):
            left_out[f"{top.name}/{name!r}"] = _strange(name)
            continue
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
        while (member := tar.next()) is not None:
            yield tar, member
            tar.members.clear()  # it keeps them all, and there are millions
            bar.update(file.tell() - bar.n)


def _read_record(record: Path) -> dict:
    try:
        return json.loads(record.read_text())
    except (OSError, ValueError):  # there is none yet, or it is spoilt
        return {}


def _take_archive(
    root: Path, archive: Path, store: Path, view: str, images: str | None, progress: bool, kind: str = ""
) -> dict[str, str]:
    top, state = archive.name.split(".")[0], archive.stat()
    mark = f"{archive.name} {state.st_size} {state.st_mtime_ns}"
    record = store / f"{archive.name}.json"  # once the archive has been read to its end
    about = _read_record(record)
    if about.get("asked") == f"{mark} {images}" and all(
        _is_done(store / top / capture, about["origin"]) for capture in about["captures"]
    ):
        return about["left_out"]
    kind = kind or images or "raw"
    origin, folders = f"{mark} {kind}", set()
    intakes: dict[str, Intake | None] = {}  # None: it is in the store already
    wanted: dict[str, dict[str, str]] = {}  # capture -> path below the top folder -> part
    left_out: dict[str, str] = {}
    try:
        for tar, member in _members(archive, progress):
            path = PurePosixPath(member.name)
            depth = next(
                (depth for depth, word in enumerate(path.parts) if re.fullmatch(r"(raw|merged)_\w+", word)), len(path.parts)
            )
            _, capture, *rest = *path.parts[depth:], "", ""
            if member.isdir() or not rest or not capture or capture.startswith("."):
                continue
            if not NAME.fullmatch(capture):
                left_out[f"{top}/{capture!r}"] = _strange(capture)
                continue
            folders.add(path.parts[depth])
            if capture not in intakes:
                wanted[capture] = {below: part for part, below in expected_files(capture, view, kind).items()}
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
    if images is None and _kind(folders) != kind:
        return _take_archive(root, archive, store, view, images, progress, _kind(folders))
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
            found = {"asked": f"{mark} {images}", "origin": origin, "left_out": left_out, "captures": taken}
            temporary.write_text(json.dumps(found) + "\n")
    return left_out
