"""Files and folders: they appear whole or not at all, are checked when read, and never replace what is somebody else's."""

import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = ".made-by-fcl"  # a file in every folder that may be removed as a whole
BLOCK, STEP = 2**12, 2**20  # bytes
SMALL = 2**23  # bytes: a file up to this size is hashed as a whole


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place if the block succeeds: nobody sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Turn whatever goes wrong while `path` is read into a ValueError that names the file and the remedy.

    Every exception, since a flipped bit makes the readers of zip, NumPy, JSON and safetensors raise almost any.
    """
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: {remedy}") from None
    except Exception as error:
        reason = error if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} can't be read or is damaged ({reason}): {remedy}") from None


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's size and content; above SMALL, of a BLOCK in every STEP of it, which takes milliseconds.

    Sure to notice another size, and other content over a STEP and a BLOCK in one piece.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for first in range(0, size, BLOCK if size <= SMALL else STEP):
            file.seek(first)
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def require_made(folder: Path, names: Collection[str] | None = None) -> None:
    """ValueError for a folder with content that `make_anew` didn't make, or that holds a file other than `names`."""
    content = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if folder.is_symlink() or folder.is_file() or (content and MARK not in content):
        raise ValueError(f"{folder} was not made by this project and is left as it is: move it away, or name another folder")
    foreign = content - {MARK, *(content if names is None else names)}
    if foreign:
        raise ValueError(f"{folder} holds {min(foreign)}, which this project didn't put there: move that file away")


def remove_made(folder: Path, names: Collection[str] | None = None) -> None:
    """Remove a folder that `make_anew` made, if it is there. Errors as for `require_made`, and nothing is removed."""
    require_made(folder, names)
    if folder.exists():
        shutil.rmtree(folder)


def make_anew(folder: Path, names: Collection[str] | None = None) -> Path:
    """An empty folder, marked as this project's own, in place of an earlier one. Errors as for `require_made`."""
    remove_made(folder, names)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    return folder
