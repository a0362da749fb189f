"""Files and folders that appear whole or not at all, and never in place of what is somebody else's."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = ".made-by-fcl"  # a file in every folder that may be removed as a whole


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


def remove_made(folder: Path) -> None:
    """Remove a folder that `make_anew` made, if it is there. ValueError, and nothing is removed, for any other with content."""
    if folder.is_symlink() or (folder.exists() and not (folder / MARK).is_file() and any(folder.iterdir())):
        raise ValueError(f"{folder} was not made by this project and is left as it is: move it away, or name another folder")
    if folder.exists():
        shutil.rmtree(folder)


def make_anew(folder: Path) -> Path:
    """An empty folder, marked as this project's own, in place of an earlier one. Errors as for `remove_made`."""
    remove_made(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    return folder
