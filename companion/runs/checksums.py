"""SHA256SUMS in a published folder of results: what was published there. `sha256sum -c SHA256SUMS` checks it, too.

So a file that was lost, damaged or copied over another one is noticed, in records and predictions of any age.
"""

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

from companion.runs.identity import RefusedFile, results_folder
from fcl.files import replacing

NAME = "SHA256SUMS"


def published(folder: Path) -> dict[str, str] | None:
    """File -> SHA-256 of all that was published to a folder of results. None for a folder without a list, as in runs/."""
    path = folder / NAME
    if not path.is_file():
        return None
    state = path.stat()
    return _read(path, (state.st_mtime_ns, state.st_size, state.st_ino))


@functools.lru_cache(8)
def _read(path: Path, state: tuple[int, ...]) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return {line[66:]: line[:64] for line in lines}


def read_checked(path: Path) -> bytes:
    """The content of a file of results. RefusedFile for one that is missing, or isn't the one that was published."""
    try:
        content = path.read_bytes()
    except OSError as error:
        problem = "is missing" if isinstance(error, FileNotFoundError) else f"can't be read ({error.strerror})"
        raise RefusedFile(path, problem) from None
    folder = results_folder(path)
    listed = published(folder)
    if listed is not None and listed.get(path.relative_to(folder).as_posix()) != hashlib.sha256(content).hexdigest():
        raise RefusedFile(path, f"is not the file that {folder / NAME} lists")
    return content


def publish_files(folder: Path, files: Iterable[Path]) -> list[str]:
    """List these files of a folder of results as published, beside those listed before; return those that are gone.

    Where there is no list yet, all that lies in the folder is listed.
    """
    listed = published(folder)
    if listed is None:
        listed, files = {}, [path for path in folder.rglob("*") if path.is_file()]
    listed = listed | {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    gone = [name for name in listed if not (folder / name).is_file()]
    with replacing(folder / NAME) as temporary:
        lines = [f"{digest}  {name}\n" for name, digest in sorted(listed.items()) if name not in gone]
        temporary.write_text("".join(lines), encoding="utf-8")
    return gone
