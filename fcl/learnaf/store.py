"""One pass over the public data set, from its folders or straight from its archives, to a store of native images.

Five phones photographed each scene at 49 lens positions. Public loaders agree on the files: below train1 .. train7 and test
lie, for a capture such as books_5 and the phone in the centre,

    raw_left_pd/<capture>/<index>/result_pd_left_center.png         16 bit, 756 wide x 2016 high; right likewise
    raw_up_left_pd/<capture>/<index>/result_up_pd_left_center.png   the same interpolated to 1512 wide
    merged_depth/<capture>/result_merged_depth_center.png           8 bit, 378 wide x 504 high, a quarter of the frame
    merged_conf/<capture>/result_merged_conf_center.exr             confidence of the depth, cut off at 1

The store has a folder <view>/<train1..test>/<capture> for what `fcl.learnaf.intake` makes of it. An archive gives its files
in any order, so captures grow side by side, each on disk; memory holds one image. A pass that was stopped goes on: what the
store holds and is unchanged is not read again. Messages name files as seen from the data set's folder.
"""

import gzip
import hashlib
import json
import re
import tarfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

from tqdm import tqdm

from fcl.files import MARK, replacing, require_made
from fcl.learnaf.intake import Intake, is_complete
from fcl.settings import N

PHONES = ("center", "top", "bottom", "left", "right")  # of the rig: each has its view of the scene
IMAGES = {"raw": ("raw", "pd"), "interpolated": ("raw_up", "up_pd")}  # in the names of folders and of files
TOP = re.compile(r"(train[0-9]+|test)(\.tar|\.tar\.gz|\.tgz)?")
MEMBER = re.compile(r"(?s)(?:.*?/)?((?:raw|merged)_\w+)/([^./][^/]*)/(.+)")
NAME = re.compile(r"[\w-][\w.-]*")  # of a capture: it becomes a folder's name, and is printed
STRANGE = "{!r} is no plain name of letters, digits, dots and dashes: rename its folder"
LARGEST = 2**28  # bytes: no image of this data set is that large
UNREADABLE = (tarfile.TarError, OSError, EOFError, zlib.error)


def expected_files(capture: str, view: str, images: str) -> dict[str, str]:
    """slot -> path below the train or test folder. Slots: left/0 .. left/48, right/0 .. right/48, depth, confidence."""
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

    root: the folder with train1 .. train7 and test, or with their archives (.tar, .tar.gz), which are not unpacked; of a
    folder and an archive of one name the folder is read. images: "raw" or "interpolated"; None takes of each folder or
    archive the raw ones where there are any; an archive without them is read twice.
    Raises ValueError for an unknown view or kind, a root without any of these folders or archives, a link that leads out of
    it, and a store with content that is not this project's; OSError where the store can't be written.
    """
    root, store = Path(root), Path(store)
    if view not in PHONES or images not in (None, *IMAGES):
        raise ValueError(
            f"view must be one of {', '.join(PHONES)} and images one of {', '.join(IMAGES)}, not {view!r}, {images!r}"
        )
    names = {path: TOP.fullmatch(path.name) for path in (sorted(root.iterdir(), reverse=True) if root.is_dir() else ())}
    tops = {match[1]: path for path, match in names.items() if match}
    if not tops:
        raise ValueError(f"{root} holds none of train1 .. train7 and test, as folders or as archives (.tar, .tar.gz, .tgz)")
    for path in tops.values():
        _check_inside(path, root)
    require_made(store.resolve())  # it may be a link to a large disk
    store.mkdir(parents=True, exist_ok=True)
    (store / MARK).touch()
    left_out: dict[str, str] = {}
    for name, top in sorted(tops.items()):
        if top.is_dir():
            left_out |= _take_folder(root, top, store / view, view, images, progress)
        elif top.is_file():
            left_out |= _take_archive(name, top, store / view, view, images, progress)
        else:
            left_out[top.name] = f"{top.name} is no regular file: put the archive itself there"
    return left_out


def _check_inside(path: Path, root: Path) -> None:
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{path.relative_to(root)} is a link that leads out of {root}: put the files there themselves")


def _kind(folders: set[str]) -> str:
    """Which images these folders hold: raw ones, if any."""
    kinds = [kind for kind, (start, _) in IMAGES.items() if folders & {f"{start}_left_pd", f"{start}_right_pd"}]
    return kinds[0] if kinds else "raw"


def _check_file(name: str, regular: bool, size: int) -> None:
    if not regular:
        raise ValueError(f"{name} is no regular file")
    if size > LARGEST:
        raise ValueError(f"{name} declares {size:,} bytes, more than any image of this data set has")


def _take_folder(root: Path, top: Path, store: Path, view: str, images: str | None, progress: bool) -> dict[str, str]:
    images = images or _kind({path.name for path in top.iterdir()})
    folders = {path.split("/")[0] for path in expected_files("", view, images).values()}
    captures = sorted({path.name for folder in folders for path in top.glob(f"{folder}/*") if path.name[0] != "."})
    left_out = {} if captures else {top.name: f"{top.name} holds no {', '.join(sorted(folders))}"}
    for capture in tqdm(captures, desc=top.name, unit="capture", disable=not progress, mininterval=2):
        if not NAME.fullmatch(capture):
            left_out[f"{top.name}/{capture!r}"] = STRANGE.format(capture)
            continue
        files = {slot: f"{top.name}/{path}" for slot, path in expected_files(capture, view, images).items()}
        present = {slot: root / name for slot, name in files.items() if (root / name).exists()}
        states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in present.values()]
        origin = hashlib.sha256(json.dumps(states).encode()).hexdigest()
        if is_complete(store / top.name / capture, origin):
            continue
        intake = Intake(store / top.name / capture, origin)
        for slot in present:
            intake.add(slot, files[slot], partial(_read_file, root, files[slot]))
        intake.finish(files)
        if intake.problem:
            left_out[f"{top.name}/{capture}"] = intake.problem
    return left_out


def _read_file(root: Path, name: str) -> bytes:
    path = root / name
    _check_inside(path, root)
    _check_file(name, path.is_file(), path.stat().st_size)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{name} can't be read ({error.strerror})") from None


class _Header(tarfile.TarInfo):
    """A header of an archive, refused where tarfile would take its damage for the end, or load a giant name."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.InvalidHeaderError as error:
            raise tarfile.ReadError(str(error)) from None
        if header.type in b"xgLKX" and header.size > 2**20:
            raise tarfile.ReadError(f"a file name of {header.size:,} bytes")
        return header


def _members(archive: Path, progress: bool) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Members in the order of the archive, which is read once, and to its end: only there gzip compares its checksum.

    Raises tarfile.TarError for whatever is wrong with the archive.
    """
    try:
        with (
            open(archive, "rb") as file,
            tqdm(total=archive.stat().st_size, desc=archive.name, unit="B", unit_scale=True, disable=not progress) as bar,
        ):
            packed = file.peek(2)[:2] == b"\x1f\x8b"
            read = (gzip.GzipFile(fileobj=file) if packed else file).read1  # `read` withholds what precedes a wrong checksum
            with tarfile.open(fileobj=SimpleNamespace(read=read), mode="r|", bufsize=2**20, tarinfo=_Header) as tar:
                while (member := tar.next()) is not None:
                    yield tar, member
                    tar.members.clear()  # it keeps them all, and there are millions
                    bar.update(file.tell() - bar.n)
            while read(2**20):
                pass
    except UNREADABLE as error:
        raise tarfile.ReadError(str(error)) from None


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> bytes:
    if member.issym() or member.islnk() or member.name[0] == "/" or ".." in PurePosixPath(member.name).parts:
        raise ValueError(f"{name} is a link, or leads out of the archive")
    _check_file(name, member.isreg(), member.size)
    try:
        return tar.extractfile(member).read()
    except UNREADABLE as error:
        raise ValueError(f"{name} can't be read ({error})") from None


def _read_record(file: Path) -> dict:
    """What was noted when an archive had been read to its end; nothing where that is missing or damaged."""
    try:
        record = json.loads(file.read_text())
        return record if record.keys() == {"asked", "origin", "left_out", "captures"} else {}
    except (OSError, ValueError, AttributeError):
        return {}


def _take_archive(top: str, archive: Path, store: Path, view: str, images: str | None, progress: bool) -> dict[str, str]:
    state, file = archive.stat(), store / f"{archive.name}.json"
    mark = f"{archive.name} {state.st_size} {state.st_mtime_ns}"
    record = _read_record(file)
    if record.get("asked") == f"{mark} {images}" and all(
        is_complete(store / top / capture, record["origin"]) for capture in record["captures"]
    ):
        return record["left_out"]
    for kind in [images] if images else IMAGES:
        left_out, captures, folders = _read_archive(top, archive, store, view, kind, f"{mark} {kind}", progress)
        if images or _kind(folders) == kind:
            break
    if archive.name not in left_out:
        record = {"asked": f"{mark} {images}", "origin": f"{mark} {kind}", "left_out": left_out, "captures": captures}
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(record) + "\n")
    return left_out


def _read_archive(
    top: str, archive: Path, store: Path, view: str, images: str, origin: str, progress: bool
) -> tuple[dict[str, str], list[str], set[str]]:
    """What is left out, the captures that are in the store now, and the folders that the archive holds."""
    folders: set[str] = set()
    intakes: dict[str, Intake | None] = {}  # None: it is in the store already
    slots = {path: slot for slot, path in expected_files("*", view, images).items()}
    left_out: dict[str, str] = {}
    try:
        for tar, member in _members(archive, progress):
            match = MEMBER.fullmatch(str(PurePosixPath(member.name)))
            if member.isdir() or not match:
                continue
            folder, capture, file = match.groups()
            if not NAME.fullmatch(capture):
                left_out[f"{top}/{capture!r}"] = STRANGE.format(capture)
                continue
            folders.add(folder)
            if capture not in intakes:
                place = store / top / capture
                intakes[capture] = None if is_complete(place, origin) else Intake(place, origin)
            slot, intake = slots.get(f"{folder}/*/{file}"), intakes[capture]
            if slot and intake:
                name = f"{archive.name}: {member.name}"
                intake.add(slot, name, partial(_read_member, tar, member, name))
    except tarfile.TarError as error:
        # Captures whose files have all arrived are kept: PNG brings checksums of its own, and a flipped bit in a confidence
        # map decides at most whether one pixel is trusted.
        left_out[archive.name] = f"{archive.name} is damaged or only a part of the archive ({error}): download it again"
    for capture, intake in intakes.items():
        if intake:
            intake.finish({slot: f"{archive.name}: {path}" for slot, path in expected_files(capture, view, images).items()})
            if intake.problem:
                left_out[f"{top}/{capture}"] = intake.problem
    if not intakes:
        left_out.setdefault(archive.name, f"{archive.name} holds no images of captures")
    return left_out, [capture for capture, intake in intakes.items() if not (intake and intake.problem)], folders
