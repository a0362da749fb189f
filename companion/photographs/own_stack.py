"""One focal sweep from a folder of images, as a focal stack that the networks take, and how they and rules do on it.

The folder holds one image per lens position: PNG or TIFF of one channel, 8 or 16 bit, all of one size, in the order of
their names. Two images per position, with the words *left* and *right* in their names, are the views of a dual-pixel
sensor, shifted against each other along the rows. A file stack.json may say {"focus_mm": [...], "label": 19}: the focus
distances, by default the 49 of the public data set, and the true focal index, where it is known.
"""

import glob
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from torch import nn

from fcl.checkpoints import load_model
from fcl.classical import gradient_energy, hill_climb, zero_shift_correlation
from fcl.learnaf.images import read_counts
from fcl.optics import FOCUS_DIOPTRES, FOCUS_DISTANCES_MM
from fcl.prediction import predict
from fcl.settings import N
from fcl.simulator import simulate_stacks
from fcl.stacks import FocalStacks

SUFFIXES = {".png", ".tif", ".tiff"}
SIDE = re.compile(r"(?<![^\W\d_])(left|right)(?![^\W\d_])", re.IGNORECASE)  # no letter beside it: not in "bright"
UNKNOWN = 0  # the label of a stack without one


class Sweep(NamedTuple):
    """What a folder holds: a region of its images, (positions, views, rows, columns) uint8 or uint16, and its stack.json.

    frame: rows and columns of whole images. corner: first row and column of the region. largest: count of whole images.
    """

    images: np.ndarray
    about: dict
    frame: tuple[int, int]
    corner: tuple[int, int]
    largest: int


def sweep_files(folder: Path | str) -> list[tuple[Path, ...]]:
    """The image of each position, or its left and right one, in order. ValueError as for `read_sweep`."""
    folder = Path(folder)
    files = [path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    files.sort(key=_by_number)
    if not files:
        raise ValueError(f"no PNG or TIFF images in {folder}: name the folder of one focal sweep")
    words = [{word.lower() for word in SIDE.findall(path.stem)} for path in files]
    sides = [[path for path, found in zip(files, words) if side in found] for side in ("left", "right")]
    views = sides if any(sides) else [files]
    if any(len(view) != len(files) / len(views) for view in views):
        raise ValueError(
            f"{folder} holds {len(sides[0])} left and {len(sides[1])} right images among {len(files)}: each position "
            "needs one of both"
        )
    for left, right in zip(*sides):
        if SIDE.sub("", left.stem) != SIDE.sub("", right.stem):
            raise ValueError(
                f"{folder}: {left.name} and {right.name} should be one position, but their names differ in "
                "more than left and right"
            )
    return list(zip(*views, strict=True))


def read_sweep(folder: Path | str, patch: int | None = None, corner: tuple[int, int] | None = None) -> Sweep:
    """The images of a folder, each read once and cut to `patch` px from `corner` on, or in the middle; None: whole ones.

    Raises ValueError naming the folder or file where there is none, one is damaged, or sizes, bit depths or numbers
    disagree, and for a region outside the images.
    """
    positions, images, largest = sweep_files(folder), [], 0
    for path in (path for pair in positions for path in pair):
        image = read_counts(path.read_bytes(), path)
        if not images:
            frame, kind = image.shape, image.dtype
            region = frame if patch is None else (patch, patch)
            row, column = corner or [(whole - part) // 2 for whole, part in zip(frame, region)]
            if not (0 <= row <= frame[0] - region[0] and 0 <= column <= frame[1] - region[1]):
                raise ValueError(
                    f"a region of {patch} px at row {row}, column {column} doesn't fit into images of "
                    f"{frame[1]} x {frame[0]}"
                )
        if image.shape != frame or image.dtype != kind:
            raise ValueError(
                f"{path} is {image.shape[1]} x {image.shape[0]}, {8 * image.itemsize} bit, but {positions[0][0].name} is "
                f"{frame[1]} x {frame[0]}, {8 * kind.itemsize} bit"
            )
        images.append(image[row : row + region[0], column : column + region[1]].copy())  # a view would keep the whole one
        largest = max(largest, int(image.max()))
    shape = (len(positions), len(positions[0]), *region)
    about = _read_about(Path(folder) / "stack.json")
    return Sweep(np.array(images).reshape(shape), about, frame, (row, column), largest)


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Sorts 2.png before 10.png."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", path.name)]


def _read_about(file: Path) -> dict:
    try:
        about = json.loads(file.read_text()) if file.exists() else {}
        about["focus_mm"] = np.array(about.get("focus_mm", FOCUS_DISTANCES_MM), float)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f'{file} should be like {{"focus_mm": [3910, 102], "label": 19}} ({error})') from None
    return about


def own_stack(
    folder: Path | str, patch: int = 64, corner: tuple[int, int] | None = None, position: tuple[float, float] | None = None
) -> FocalStacks:
    """The sweep in a folder as one focal stack of `patch` px.

    corner: first row and column of the region; None takes the centre. position: the region's (x, y) in [-1, 1] over the full
    frame, for images that are parts of one; None takes them for the frame.
    The slice at each of the 49 focal indices is the image whose focus is nearest in dioptres, so that neighbours may show
    one image, and indices beyond the sweep repeat its last one. `source` says in "covered" which indices lie within it, and
    in "places", for each index, near which one its image was taken. A single channel is both views:
    for I settings only. Levels are 0 and the end of the usual range; networks normalise each patch, so they hardly matter.
    Raises ValueError as `read_sweep`, for a region outside the image, and for focus distances that don't fit.
    """
    if patch < 1:
        raise ValueError(f"patch must be at least 1 px, not {patch}")
    images, about, (rows, columns), (row, column), largest = read_sweep(folder, patch, corner)
    distances = about["focus_mm"]
    if distances.shape != (len(images),) or not (distances > 0).all():
        raise ValueError(
            f"{folder} holds images of {len(images)} positions and {distances.size} focus distances are given: list one "
            'for each, in mm, as "focus_mm" in stack.json'
        )
    if position is None:
        position = (2 * column + patch) / columns - 1, (2 * row + patch) / rows - 1
    dioptres = 1000 / distances
    nearest = np.abs(FOCUS_DIOPTRES[:, None] - dioptres).argmin(1)
    off = np.where(nearest == nearest[:, None], np.abs(FOCUS_DIOPTRES - dioptres[nearest][:, None]), np.inf)
    slices = np.broadcast_to(images[nearest].astype(np.uint16), (N, 2, patch, patch))[None]
    step = np.abs(np.diff(np.sort(dioptres))).max() / 2 if len(dioptres) > 1 else 0.1
    covered = (FOCUS_DIOPTRES >= dioptres.min() - step) & (FOCUS_DIOPTRES <= dioptres.max() + step)
    white = next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if largest < 2**bits)
    label = about.get("label", UNKNOWN)
    source = {
        "folder": Path(folder).name,
        "views": images.shape[1],
        "covered": covered.tolist(),
        "places": off.argmin(1).tolist(),
        "labelled": "label" in about,
    }
    return FocalStacks(
        slices, np.array([label]), np.array([position], np.float32), np.array([Path(folder).name]), 0.0, white, source=source
    )


def region_corner(row: int, column: int) -> tuple[int, int] | None:
    """First row and column of a region; None, for the middle, where both are below 0. ValueError where only one is."""
    if (row < 0) != (column < 0):
        raise ValueError(f"row {row} and column {column}: name both, for a region, or neither, for the middle")
    return None if row < 0 else (row, column)


def labelled_sweeps(examples: str, named: str, root: Path) -> list[Path]:
    """The folders with a stack.json in the folder `examples`, or else in `named`, as seen from `root`.

    ValueError where `examples` is given and has none; what the environment has `named` may be absent.
    """
    place = examples or named
    folders = sorted(path.parent for path in (root / place).glob("*/stack.json")) if place else []
    if examples and not folders:
        raise ValueError(f"no folder with a stack.json in {root / examples}: `examples` names a folder of sweeps' folders")
    return folders


def kept_networks(folder: Path, setting: str, model: str = "afpe") -> dict[str, nn.Module]:
    """The trained networks of a setting that are kept in a folder, by method. ValueError where there is none."""
    start = f"{model}-{setting}-"
    files = {path.stem.removeprefix(start): path for path in sorted(Path(folder).glob(f"{glob.escape(start)}*.safetensors"))}
    if not files:
        raise ValueError(
            f"no networks {start}... in {folder}: `make figures` trains them and `make publish` keeps them in results/"
        )
    return {method: load_model(path) for method, path in files.items()}


def _places(stacks: FocalStacks) -> np.ndarray:
    """Where the image that each index shows was taken; (indices,)."""
    return np.array(stacks.source.get("places", range(N)))


def sharpest(stacks: FocalStacks) -> np.ndarray:
    """The focal index of the sharpest slice of each stack, by gradient energy: where its image was taken."""
    return _places(stacks)[[gradient_energy(slices).argmax() for slices in stacks.slices]]


def answers(networks: Mapping[str, nn.Module], stacks: FocalStacks) -> dict[str, np.ndarray]:
    """What each network, and each rule that needs no learning, answers from each start of the first stack: (starts,).

    Rules: hill climbing on gradient energy, and, with two views, phase detection. The one climbs from its start, image by
    image, and needs many looks, the other sees the whole stack. Raises ValueError for a dual-pixel network where there is
    one channel.
    """
    found = {}
    for name, network in networks.items():
        setting = network.config.setting
        if stacks.source.get("views") == 1 and setting.startswith("D"):
            raise ValueError(
                f"{name} is trained for {setting}, which needs left and right, and {stacks.source['folder']} has one channel"
            )
        found[name] = predict(network, stacks, setting).argmax[0]
    slices = stacks.slices[0]
    places = _places(stacks)
    images, image = np.unique(places, return_inverse=True)  # slices that repeat are a plateau, where a climb would end
    energy = gradient_energy(slices)[images]
    found["hill climbing"] = np.array([images[hill_climb(energy, start)[0]] for start in image])
    if stacks.source.get("views") == 2:
        found["phase detection"] = np.full(N, places[zero_shift_correlation(slices).argmax()])
    return found


def errors_by_start(answered: Mapping[str, np.ndarray], truth: int) -> pd.DataFrame:
    """|answer - truth| of each name, a row per start, in focal indices; NaN where a setting has no such start."""
    return pd.DataFrame(
        {name: pd.Series(np.abs(curve.astype(int) - truth)) for name, curve in answered.items()}
    ).rename_axis("start")


def write_example(folder: Path, seed: int = 7) -> None:
    """One simulated sweep as a folder of 16-bit PNG images, left and right, with its stack.json: what own ones may look
    like.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stacks = simulate_stacks(1, seed, 128)
    for index, pair in enumerate(stacks.slices[0]):
        for side, image in zip(("left", "right"), pair):
            Image.fromarray(image).save(folder / f"slice_{index:02}_{side}.png")
    (folder / "stack.json").write_text(json.dumps({"focus_mm": FOCUS_DISTANCES_MM.tolist(), "label": int(stacks.labels[0])}))
