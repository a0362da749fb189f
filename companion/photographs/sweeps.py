"""One focal sweep from a folder of images, as a focal stack that the networks take, and how they and rules do on it.

The folder holds one image per lens position: PNG or TIFF of one channel, 8 or 16 bit, all of one size, in the order of the
numbers in their names. Two images per position, with the words *left* and *right* in their names, are the views of a
dual-pixel sensor. A file stack.json may say, each where it is known,

    {"focus_mm": [...], "order": "far to near", "label": 19}

the focus distances in the order of the names, or as {"file name": distance}; without them, in which order the lens moved
through the 49 distances of the public data set; and the true focal index.
"""

import glob
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import nn

from fcl.checkpoints import load_model
from fcl.classical import gradient_energy, hill_climb, zero_shift_correlation
from fcl.config import closest
from fcl.learnaf.images import read_counts
from fcl.learnaf.intake import views_shift
from fcl.optics import FOCUS_DIOPTRES, FOCUS_DISTANCES_MM, nearest_index
from fcl.prediction import predict
from fcl.settings import N
from fcl.simulator import simulate_stacks
from fcl.stacks import FocalStacks

SUFFIXES = {".png", ".tif", ".tiff"}
SIDE = re.compile(r"(?<![^\W\d_])(left|right)(?![^\W\d_])", re.IGNORECASE)  # no letter beside it: not in "bright"
NUMBER = re.compile(r"([-+]?\d+(?:\.\d+)?)")
ORDERS = ("far to near", "near to far")
KEYS = ("focus_mm", "order", "label")  # of stack.json
UNKNOWN = 0  # the label of a stack without one
NEAREST_MM = 20.0  # no lens of this kind focuses nearer: smaller numbers are in another unit
VISIBLE = 0.6  # px of shift between left and right at the two ends together; a sweep through focus has several
ASK = 'Say in stack.json which distances the images had ("focus_mm") or in which "order" they were taken'
ALIKE = 0.7  # correlation of both views once they are aligned: below, they don't show the same
APART = 0.3  # of two correlations of noise, along rows and along columns
DARKER = 0.99  # of the right view: left is the brighter one all over this sensor (`fcl.optics.view_gain`)


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


def own_stack(
    folder: Path | str, patch: int = 64, corner: tuple[int, int] | None = None, position: tuple[float, float] | None = None
) -> FocalStacks:
    """The sweep in a folder as one focal stack of `patch` px, its baseline along the last axis, from far to near.

    corner: first row and column of the region in the files; None takes the centre. position: the region's (x, y) in [-1, 1]
    over the full frame as the files show it, for images that are parts of one; None takes them for the frame. What the
    images show is put right and said: files whose baseline runs along their columns are transposed, exchanged views
    exchanged, images turned by half turned back, a sweep from near to far reversed. What they can't show is a warning, or an
    error where even a guess would be as likely wrong. `source` says in "notes" what was read and put right, in "covered"
    which of the 49 indices lie within the sweep, and in "places", for each index, near which one its image was taken: the
    slice at each index is the image whose focus is nearest in dioptres. A single channel is both views, for I settings only.
    Levels are 0 and the end of the usual range; networks normalise each patch, so they hardly matter. Raises ValueError as
    `read_sweep`, for stack.json with other content, and for a region outside the image.
    """
    if patch < 1:
        raise ValueError(f"patch must be at least 1 px, not {patch}")
    sweep = read_sweep(folder, patch, corner)
    images, described, notes = sweep.images, sweep.described, []
    known = "focus_mm" in described
    if not known and len(images) != N:
        raise ValueError(
            f"{folder} holds images of {len(images)} positions; without focus distances there must be {N}: write them into "
            'stack.json as {"focus_mm": [...]}'
        )
    ignored = sorted(set(described) - set(KEYS))
    notes += [f"of stack.json nothing but {', '.join(KEYS)} is read, so not {', '.join(ignored)}"] * bool(ignored)
    order = described.get("order", ORDERS[0])
    distances = described.get("focus_mm", FOCUS_DISTANCES_MM if order == ORDERS[0] else FOCUS_DISTANCES_MM[::-1])
    stated, far_first, turned = known or "order" in described, distances[0] >= distances[-1], False
    if images.shape[1] == 2:
        transposed, against, told = _two_views(sweep, far_first, notes)
        exchanged = told and images[:, 0].mean() < DARKER * images[:, 1].mean()
        if exchanged:
            images, against = images[:, ::-1], not against
            if against and not stated:
                raise ValueError(
                    f"{folder}: right is the brighter view. Either left and right are exchanged, and the lens moved from "
                    f"near to far, or this is another sensor. {ASK}"
                )
            _warn(notes, "right is the brighter view, which left is in the sensor that is known: they are exchanged")
        if against and not stated:
            distances = distances[::-1]
            _warn(
                notes,
                "left and right say that the lens moved from near to far, and so it is read, or else that the images are "
                f"turned by half. {ASK}",
            )
        elif against:
            turned = True
            _warn(
                notes,
                f"the images are {'mirrored' if transposed else 'turned by half'}, by their shift: they are turned back",
            )
    else:
        transposed = _one_channel(images, notes)
        if not stated:
            _warn(notes, f"one channel can't tell in which order the lens moved: it is read as far to near. {ASK}")
    rows, columns = sweep.frame
    x, y = position or [2 * (start + patch / 2) / length - 1 for start, length in zip(sweep.corner[::-1], (columns, rows))]
    if transposed:
        images, x, y = images.swapaxes(-1, -2), y, x
    if turned:
        images, x = images[..., ::-1], -x
    if turned and not transposed:
        images, y = images[..., ::-1, :], -y
    first, last = (pair[0].name for pair in (sweep.files[0], sweep.files[-1]))
    notes.insert(0, f"first image {first} at {distances[0]:.0f} mm, last {last} at {distances[-1]:.0f} mm")
    dioptres = 1000 / distances
    off = np.abs(FOCUS_DIOPTRES[:, None] - dioptres)  # (indices, positions)
    nearest = off.argmin(1)
    slices = np.broadcast_to(images[nearest].astype(np.uint16), (N, 2, patch, patch))[None]
    ends = nearest_index(np.array([dioptres.min(), dioptres.max()]))
    white = next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if sweep.largest < 2**bits)
    name = Path(folder).expanduser().resolve().name
    source = {
        "folder": name,
        "views": sweep.images.shape[1],
        "covered": [bool(ends[0] <= index <= ends[1]) for index in range(N)],
        "places": nearest_index(dioptres)[nearest].tolist(),
        "labelled": "label" in described,
        "notes": notes,
    }
    labels, positions = np.array([described.get("label", UNKNOWN)]), np.array([[x, y]], np.float32)
    return FocalStacks(slices, labels, positions, np.array([name]), 0.0, white, source=source)


def _warn(notes: list[str], text: str) -> None:
    notes.append(text)
    warnings.warn(text, stacklevel=3)


def _two_views(sweep: Sweep, far_first: bool, notes: list[str]) -> tuple[bool, bool, bool]:
    """(transposed, against, told) of a dual-pixel sweep, by the shift of left against right at its two ends.

    With the lens at the far end everything is nearer than focus, so that the left image lies at greater x; at the near end
    at smaller x. against: it is the other way round. The axis is that of the noise, or else of the larger change.
    """
    shifts = np.array([views_shift(*pair) for pair in sweep.ends])  # (2 ends, 2 axes), px
    change = (shifts[0] - shifts[1]) * (1 if far_first else -1)
    rows, columns = _noise(sweep.images)
    axis = int(rows > columns) if abs(rows - columns) > APART else int(np.abs(change).argmax())
    agree = min(_agreement(*pair, axis, round(shift)) for pair, shift in zip(sweep.ends, shifts[:, axis]))
    if abs(change[axis]) < VISIBLE or agree < ALIKE:
        _warn(notes, "no shift between left and right tells which way the sensor lay: files are taken as they are named")
        return False, False, False
    shown = [f"{shift:+.1f}" for shift in shifts[:, axis]]
    along = "columns: portrait files, transposed" if axis == 0 else "rows"
    notes.append(f"left lies {shown[0]} px beyond right in the first image and {shown[1]} in the last, along the {along}")
    return axis == 0, bool(change[axis] < 0), True


def _agreement(left: np.ndarray, right: np.ndarray, axis: int, shift: int) -> float:
    """Correlation of both views once the right one is shifted."""
    views = [gaussian_filter(np.float32(view), 1).ravel() for view in (left, np.roll(right, shift, axis))]
    return float(np.corrcoef(views)[0, 1]) if min(np.ptp(view) for view in views) else 0.0


def _noise(images: np.ndarray) -> tuple[float, float]:
    """Correlation of the first view's noise between neighbouring rows and columns, from what changes image by image.

    It is high across the baseline, where the read-out is interpolated: between rows as they should lie.
    """
    change = np.diff(images[:, 0].astype(np.float32), axis=0)
    noise = np.stack([frame - gaussian_filter(frame, 2) for frame in change]) if len(change) > 1 else np.zeros((1, 2, 2))
    power = np.square(noise).mean() or 1
    rows, columns = noise[:, 1:] * noise[:, :-1], noise[..., 1:] * noise[..., :-1]
    return float(rows.mean() / power), float(columns.mean() / power)


def _one_channel(images: np.ndarray, notes: list[str]) -> bool:
    """Whether files of one channel are portrait, by their noise."""
    rows, columns = _noise(images)
    portrait = columns - rows > APART
    told = "portrait files, transposed" if portrait else "taken as they are"
    notes.append(f"noise is correlated {rows:.2f} between rows, {columns:.2f} between columns: {told}")
    return portrait


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
    folder = root / Path(place).expanduser()
    folders = sorted(path.parent for path in folder.glob("*/stack.json")) if place else []
    if examples and not folders:
        raise ValueError(f"no folder with a stack.json in {folder}: `examples` names a folder of sweeps' folders")
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


def predictions(networks: Mapping[str, nn.Module], stacks: FocalStacks) -> dict[str, np.ndarray]:
    """What each network, and each rule that needs no learning, predicts from each start of the first stack: (starts,).

    Rules: hill climbing on gradient energy, and, with two views, phase detection. The one climbs from its start, image by
    image, and needs many looks, the other sees the whole stack. Raises ValueError for a dual-pixel network where there is
    one channel.
    """
    predicted = {}
    for name, network in networks.items():
        setting = network.config.setting
        if stacks.source.get("views") == 1 and setting.startswith("D"):
            raise ValueError(
                f"{name} is trained for {setting}, which needs left and right, and {stacks.source['folder']} has one channel"
            )
        predicted[name] = predict(network, stacks, setting).argmax[0]
    slices = stacks.slices[0]
    places = _places(stacks)
    images, image = np.unique(places, return_inverse=True)  # slices that repeat are a plateau, where a climb would end
    energy = gradient_energy(slices)[images]
    predicted["hill climbing"] = np.array([images[hill_climb(energy, start)[0]] for start in image])
    if stacks.source.get("views") == 2:
        predicted["phase detection"] = np.full(N, places[zero_shift_correlation(slices).argmax()])
    return predicted


def errors_by_start(predicted: Mapping[str, np.ndarray], label: int, either_side: bool = False) -> pd.DataFrame:
    """|prediction - label| of each name, a row per start, in focal indices; NaN where a setting has no such start.

    either_side: the smaller of that and |prediction - (2 start - label)|, the label mirrored at the start, since one channel
    of one frame looks alike on both sides of focus.
    """
    table = pd.DataFrame({name: pd.Series(curve.astype(int)) for name, curve in predicted.items()}).rename_axis("start")
    errors = table.sub(label).abs()
    mirrored = table.sub(2 * table.index.to_numpy() - label, axis=0).abs()
    return errors.where(errors <= mirrored, mirrored) if either_side else errors


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
