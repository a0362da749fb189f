"""Reading one focal sweep from a folder of images.

The folder holds one image per lens position: PNG or TIFF of one channel, 8 or 16 bit, all of one size, in the order of the
numbers in their names. Two images per position, with the words *left* and *right* in their names, are the views of a
dual-pixel sensor. A file stack.json may say, each where it is known,

    {"focus_mm": [...], "order": "far to near", "label": 19}

the focus distances in the order of the names, or as {"file name": distance}; without them, in which order the lens moved
through the 49 distances of the public data set; and the true focal index.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fcl.config import closest
from fcl.learnaf.images import read_counts
from fcl.optics import FOCUS_DIOPTRES, FOCUS_DISTANCES_MM
from fcl.settings import N

SUFFIXES = {".png", ".tif", ".tiff"}
SIDE = re.compile(r"(?<![^\W\d_])(left|right)(?![^\W\d_])", re.IGNORECASE)  # no letter beside it: not in "bright"
NUMBER = re.compile(r"([-+]?\d+(?:\.\d+)?)")
ORDERS = ("far to near", "near to far")
KEYS = ("focus_mm", "order", "label")  # of stack.json
UNKNOWN = 0  # the label of a stack without one
NEAREST_MM = 20.0  # no lens of this kind focuses nearer: smaller numbers are in another unit


class Sweep(NamedTuple):
    """What a folder holds: a region of its images, (positions, views, rows, columns) uint8 or uint16, and its stack.json.

    files: of each position. ends: the whole images of the first and the last position. frame: rows and columns of whole
    images. corner: first row and column of the region. largest: count of whole images.
    """

    images: np.ndarray
    described: dict
    files: list[tuple[Path, ...]]
    ends: list[list[np.ndarray]]
    frame: tuple[int, int]
    corner: tuple[int, int]
    largest: int


def sweep_files(folder: Path | str) -> list[tuple[Path, ...]]:
    """The image of each position, or its left and right one, in order. ValueError as for `read_sweep`.

    Numbers in names are numbers; a minus is a sign where some names have it and others don't. Ties go by the whole name.
    """
    folder = Path(folder).expanduser()
    files = [path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    if not files:
        raise ValueError(f"no PNG or TIFF images in {folder}: name the folder of one focal sweep")
    strange = next((path for path in sorted(files) if not path.is_file()), None)
    if strange:
        raise ValueError(f"{strange} is no ordinary file: move it away")
    sides: dict[str, dict[str, Path]] = {"": {}, "left": {}, "right": {}}
    for path in files:
        words = {word.lower() for word in SIDE.findall(path.stem)}
        side, name = words.pop() if len(words) == 1 else "", SIDE.sub("", path.stem)
        if name in sides[side]:
            raise ValueError(f"{path} and {sides[side][name].name} have one name: keep one of them")
        sides[side][name] = path
    if sides["left"] or sides["right"]:
        lonely = sorted(set(sides["left"]) ^ set(sides["right"]) | set(sides[""]))
        if lonely:
            path = next(view[lonely[0]] for view in sides.values() if lonely[0] in view)
            raise ValueError(
                f"{path} has no partner: each position needs a left and a right image, alike in all else of the name"
            )
        return [(sides["left"][name], sides["right"][name]) for name in _in_order(list(sides["left"]))]
    return [(sides[""][name],) for name in _in_order(list(sides[""]))]


def _in_order(names: list[str]) -> list[str]:
    parts = {name: NUMBER.split(name) for name in names}
    signed = {
        place
        for place in range(1, max(map(len, parts.values())), 2)
        if len({words[place].startswith("-") for words in parts.values() if len(words) > place}) == 2
    }

    def key(name: str) -> list:
        words = parts[name]
        numbers = [float(word if place in signed else word.lstrip("-+")) for place, word in enumerate(words) if place % 2]
        return [entry for text, number in zip(words[::2], [*numbers, 0.0]) for entry in (text, number)]

    return sorted(names, key=lambda name: (key(name), name))


def read_sweep(folder: Path | str, patch: int | None = None, corner: tuple[int, int] | None = None) -> Sweep:
    """The images of a folder, each read once and cut to `patch` px from `corner` on, or in the middle; None: whole ones.

    Pixels are taken as they are stored. Raises ValueError naming the folder or file where there is none, one is damaged, or
    sizes, bit depths or numbers disagree, and for a region outside the images.
    """
    positions, images, ends, largest = sweep_files(folder), [], [], 0
    for number, path in [(number, path) for number, pair in enumerate(positions) for path in pair]:
        image = read_counts(path.read_bytes(), path)
        if not images:
            frame, kind = image.shape, image.dtype
            region = frame if patch is None else (patch, patch)
            row, column = corner or [(whole - part) // 2 for whole, part in zip(frame, region)]
            if not (0 <= row <= frame[0] - region[0] and 0 <= column <= frame[1] - region[1]):
                raise ValueError(
                    f"a region of {patch} px at row {row}, column {column} isn't inside images of {frame[1]} x {frame[0]}"
                )
        if image.shape != frame or image.dtype != kind:
            raise ValueError(
                f"{path} is {image.shape[1]} x {image.shape[0]}, {8 * image.itemsize} bit, but {positions[0][0].name} is "
                f"{frame[1]} x {frame[0]}, {8 * kind.itemsize} bit"
            )
        images.append(image[row : row + region[0], column : column + region[1]].copy())  # a view would keep the whole one
        if number in (0, len(positions) - 1):
            ends.append(image)
        largest = max(largest, int(image.max()))
    shape, views = (len(positions), len(positions[0]), *region), len(positions[0])
    described = _read_description(Path(folder).expanduser() / "stack.json", positions)
    return Sweep(
        np.array(images).reshape(shape), described, positions, [ends[:views], ends[-views:]], frame, (row, column), largest
    )


def _read_description(file: Path, positions: Sequence[tuple[Path, ...]]) -> dict:
    """stack.json, with focus_mm as an array in the order of the positions. ValueError naming the file and what is wrong."""
    try:
        if file.exists() and not file.is_file():
            raise ValueError("a folder or a pipe")
        described = json.loads(file.read_text("utf-8-sig"), object_pairs_hook=_once) if file.exists() else {}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON ({error})") from None
    if not isinstance(described, dict):
        raise ValueError(f'{file} should be like {{"focus_mm": [3910, 102], "label": 19}}')
    for key in described:
        if key not in KEYS and closest(key, KEYS):
            raise ValueError(f"{file} has the key {key!r}.{closest(key, KEYS)} It may have {', '.join(KEYS)}")
    label, order = described.get("label", UNKNOWN), described.get("order", ORDERS[0])
    if type(label) is not int or not 0 <= label < N:
        raise ValueError(f"{file}: label must be a whole number from 0 to {N - 1}, not {label!r}")
    if order not in ORDERS:
        raise ValueError(f"{file}: order must be one of {', '.join(map(repr, ORDERS))}, not {order!r}")
    if "focus_mm" in described:
        described["focus_mm"] = _distances(file, described["focus_mm"], positions)
    return described


def _once(pairs: list[tuple[str, object]]) -> dict:
    if len(content := dict(pairs)) < len(pairs):
        raise ValueError("a key is there twice")
    return content


def _distances(file: Path, given: object, positions: Sequence[tuple[Path, ...]]) -> np.ndarray:
    if isinstance(given, dict):
        named = [next((given[path.name] for path in pair if path.name in given), None) for pair in positions]
        missing = [pair[0].name for pair, distance in zip(positions, named) if distance is None]
        if missing:
            raise ValueError(f"{file}: focus_mm names no distance for {missing[0]}")
        strange = sorted(set(given) - {path.name for pair in positions for path in pair})
        if strange:
            raise ValueError(f"{file}: focus_mm names {strange[0]}, and there is no such image")
        given = named
    numbers = isinstance(given, list) and all(type(value) in (int, float) for value in given)
    if not numbers or len(given) != len(positions):
        raise ValueError(
            f"{file}: focus_mm must hold a number for each of the {len(positions)} positions, not {given!r:.60}"
        )
    wrong = [value for value in given if not 0 < value < 1e9]  # not for NaN, either
    if wrong:
        raise ValueError(f"{file}: focus distances must be numbers of millimetres above 0, not {wrong[0]!r:.20}")
    distances = np.array(given, float)
    if distances.min() < NEAREST_MM:
        raise ValueError(
            f"{file}: focus_mm runs from {distances.min():g} to {distances.max():g}, nearer than lenses focus: are these "
            "metres or dioptres? Write millimetres, 100 for 0.1 m or 10 dioptres"
        )
    dioptres = 1000 / distances
    step = np.diff(FOCUS_DIOPTRES).max() / 2
    if dioptres.max() < FOCUS_DIOPTRES[0] - step or dioptres.min() > FOCUS_DIOPTRES[-1] + step:
        raise ValueError(
            f"{file}: the sweep from {distances.min():g} to {distances.max():g} reaches none of the {N} focus distances, "
            f"{FOCUS_DISTANCES_MM[-1]:.0f} to {FOCUS_DISTANCES_MM[0]:.0f} mm: is focus_mm in millimetres?"
        )
    return distances
