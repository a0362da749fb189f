"""Patches of the public data set of "Learning to Autofocus" (Herrmann et al., CVPR 2020) as FocalStacks.

`fcl.learnaf.store` knows the files, and keeps the native images in a store; here they become labelled patches, which are
cropped as they are asked for. No scene is in two splits.
"""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from fcl import crops
from fcl.files import fingerprint, make_anew, replacing
from fcl.learnaf.intake import MAPS, read_capture, sound_file
from fcl.learnaf.store import PHONES, collect
from fcl.optics import nearest_index
from fcl.settings import SPLITS
from fcl.stacks import FocalStacks

ZMAX = 100.0  # m
ARRAYS = ("labels", "positions", "categories")


@dataclass(frozen=True)
class Choices:
    """Which patches are cut, and how they are labelled. ValueError for values that can't be.

    A pixel of the depth map is trusted if it has a depth (a count above 0) and at least this confidence. A patch is kept if
    more than half of its pixels are trusted, in other words if their median confidence is that high. Its label is the focal
    index nearest in dioptres to the lower median of the depth over its trusted pixels.
    """

    view: str = field(default="center", metadata={"help": f"of the five phones: {', '.join(PHONES)}"})
    zmin: float = field(default=0.1, metadata={"help": "m, the depth that the count 0 stands for; disputed: 0.1 or 0.2"})
    # The official threshold is not known; public loaders take 1, 0.99, 0.7 or 0.5.
    confidence: float = field(default=0.99, metadata={"help": "from which on a pixel's depth is trusted, 0 to 1"})
    stride: int = field(default=40, metadata={"help": "from patch to patch, in px"})

    def __post_init__(self) -> None:
        if self.view not in PHONES:
            raise ValueError(f"view must be one of {', '.join(PHONES)}, not {self.view!r}")
        depth_dioptres(0, self.zmin)
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence must be between 0 and 1, not {self.confidence!r}")
        if self.stride < 4 or self.stride % 4:
            raise ValueError(f"stride must be a multiple of 4 px, a sample of the depth map, not {self.stride!r}")


def depth_dioptres(counts: np.ndarray, zmin: float = 0.1) -> np.ndarray:
    """Dioptres of 8-bit depth counts: 1/z = (1 - d) / zmin + d / 100 m with d = count/255.

    zmin (m) is disputed: 0.1 and 0.2 are used. With 0.2 no label would lie beyond index 24.
    `companion.photographs.public.compare_labels` looks which one agrees with the sharpest slices.
    """
    if not 0 < zmin < ZMAX:
        raise ValueError(f"zmin must be between 0 and {ZMAX:g} m, not {zmin!r}")
    d = np.asarray(counts, np.float64) / 255
    return (1 - d) / zmin + d / ZMAX


def capture_name(capture: dict) -> str:
    """Such as train1/books_5."""
    return "/".join(capture["folder"].parts[-2:])


def read_store(store: Path, view: str = "center") -> tuple[list[dict], dict[str, str]]:
    """What is known of each complete capture of a view, by name, and which are left out for their size, and why.

    Patches of one container have one size of frame, that of most captures: levels, baseline and positions mean the same in
    all. ValueError for an empty store, or a damaged capture.json.
    """
    captures = [read_capture(path) for path in sorted((Path(store) / view).glob("*/*/capture.json"))]
    if not captures:
        raise ValueError(
            f"no photographs in {Path(store) / view}: run `make learnaf ROOT=...` with the folder of the data set's "
            "archives, or of what was in them"
        )
    sizes = [(*capture["shape"], capture["halved"]) for capture in captures]
    usual = Counter(sizes).most_common(1)[0][0]
    odd = {
        capture_name(
            capture
        ): f"its images have {size[1]} x {size[0]} samples, those of most captures {usual[1]} x {usual[0]}"
        for capture, size in zip(captures, sizes)
        if size != usual
    }
    return [capture for capture in captures if capture_name(capture) not in odd], odd


def scene(capture: dict) -> str:
    """books of books_5: ten captures show one scene."""
    return capture["folder"].name.rpartition("_")[0] or capture["folder"].name


def split_captures(captures: Sequence[dict], split: str) -> list[dict]:
    """The captures of a split. Validation is every tenth scene of the training folders, by name; train has the others.

    No scene is in two splits: captures of the training folders that show a scene of the test split are in none.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    test = [capture for capture in captures if capture["folder"].parent.name == "test"]
    if split == "test":
        return test
    tested = {scene(capture) for capture in test}
    others = [capture for capture in captures if scene(capture) not in tested]
    held_out = sorted({scene(capture) for capture in others})[9::10]
    return [capture for capture in others if (scene(capture) in held_out) == (split == "validation")]


def levels(captures: Sequence[dict]) -> tuple[float, float]:
    """Black and white level of all images, from their lowest and largest counts.

    White is the end of the smallest usual range that holds the largest count: 10, 12, 14 or 16 bit. Black is 64/1023 of it,
    as of this camera, unless in most captures a thousandth of some image lies below half of that: then it was subtracted
    before.
    """
    largest = max(capture["largest"] for capture in captures)
    lowest = np.median([capture["lowest"] for capture in captures])
    white = next(2**bits - 1 for bits in (10, 12, 14, 16) if largest < 2**bits)
    black = round(64 / 1023 * white)
    return float(black if lowest >= black / 2 else 0), float(white)


def orientation(captures: Sequence[dict]) -> tuple[bool, bool]:
    """(transposed, mirrored): what brings the baseline to the last axis, with the project's sign.

    From the shifts (rows, columns) of the left image against the right one at the first and the last index. The baseline is
    the axis of the larger ones. At index 0 everything is nearer than focus, so that the left image lies at greater x there.
    """
    shifts = np.array([capture["shifts"] for capture in captures])  # (captures, 2 slices, 2 axes)
    axis = int(np.square(shifts).sum((0, 1)).argmax())
    return axis == 0, bool((shifts[:, 0, axis] - shifts[:, 1, axis]).sum() < 0)


def _windows(array: np.ndarray, size: int, stride: int) -> np.ndarray:
    """The values of each window of a map, sorted: (windows, size^2), from the upper left window on."""
    windows = np.lib.stride_tricks.sliding_window_view(array, (size, size))[::stride, ::stride]
    return np.sort(windows.reshape(-1, size * size))


def patch_table(captures: Sequence[dict], patch: int, choices: Choices, transposed: bool, mirrored: bool) -> pd.DataFrame:
    """Every patch of the grid, kept if `confidence` is at least that of the choices.

    capture, row, column (px of the full frame), x, y; depth: lower median of the trusted pixels' counts; confidence: lower
    median, where a pixel without depth counts as -1; trusted, without_depth: how many pixels are.
    """
    if patch % 4 or patch < 4:
        raise ValueError(f"patch must be a multiple of 4 px, a sample of the depth map, not {patch}")
    size, stride, tables = patch // 4, choices.stride // 4, []
    for number, capture in enumerate(captures):
        maps = [np.load(sound_file(capture, name)) for name in MAPS]
        maps = [array.T if transposed else array for array in maps]
        depth, confidence = (array[:, ::-1] if mirrored else array for array in maps)
        if min(depth.shape) < size:
            raise ValueError(f"a patch of {patch} px doesn't fit into the frames of {capture['folder']}")
        confidence = np.where(depth > 0, confidence, -1)
        depths = _windows(np.where(confidence >= choices.confidence, depth, np.uint16(256)), size, stride)
        confidences = _windows(confidence, size, stride)
        trusted = (depths < 256).sum(1)
        height, width = 4 * depth.shape[0], 4 * depth.shape[1]
        steps = [choices.stride * np.arange((length - patch) // choices.stride + 1) for length in (height, width)]
        row, column = (axis.ravel() for axis in np.meshgrid(*steps, indexing="ij"))
        tables.append(
            pd.DataFrame(
                {
                    "capture": number,
                    "row": row,
                    "column": column,
                    "x": (column + patch / 2) / (width / 2) - 1,
                    "y": (row + patch / 2) / (height / 2) - 1,
                    "depth": depths[np.arange(len(depths)), (trusted - 1).clip(0) // 2],
                    "confidence": confidences[:, (size * size - 1) // 2],
                    "trusted": trusted,
                    "without_depth": (confidences < 0).sum(1),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def cut(captures: Sequence[dict], table: pd.DataFrame, patch: int, transposed: bool, mirrored: bool) -> crops.Crops:
    """The slices of these rows of a `patch_table`. ValueError naming a file of the store that is missing or damaged."""
    files, halved = [sound_file(capture, "frames") for capture in captures], captures[0]["halved"]
    places = table[["capture", "row", "column"]].to_numpy()
    return crops.Crops(files, places, patch, halved=halved, transposed=transposed, mirrored=mirrored)


def store_stacks(
    store: Path,
    split: str = "train",
    view: str = "center",
    *,
    patch: int = 128,
    count: int | None = None,
    seed: int = 0,
    **options,
) -> FocalStacks:
    """Patches of a store. Arguments and errors as for `learnaf_stacks`."""
    choices = Choices(view, **options)
    if count is not None and (not isinstance(count, int) or count < 1):
        raise ValueError(f"count must be a whole number of patches, at least 1, not {count!r}")
    captures, odd = read_store(store, view)
    (black, white), (transposed, mirrored) = levels(captures), orientation(captures)
    mine = split_captures(captures, split)
    if not mine:
        tops = ", ".join(sorted({capture["folder"].parent.name for capture in captures}))
        raise ValueError(
            f"{Path(store) / view} has no captures for the split {split}: it holds {tops}, and validation is every tenth "
            "scene of the training folders"
        )
    table = patch_table(mine, patch, choices, transposed, mirrored)
    kept = table[table.confidence >= choices.confidence]
    if not len(kept) or (count or 0) > len(kept):
        raise ValueError(
            f"{len(kept)} of {len(table)} patches of the split {split} in {store} have a median confidence of at least "
            f"{choices.confidence:g}, and {count or 'some'} are asked for: ask for fewer (experiments/profiles.yml) or less"
        )
    source = {
        "data": "learnaf",
        "split": split,
        **asdict(choices),
        "captures": len(mine),
        "grid": len(table),
        "below_confidence": len(table) - len(kept),
        "seed": seed,
        "left_out": odd,
    }
    if count is not None:
        kept = kept.iloc[np.sort(np.random.default_rng(seed).choice(len(kept), count, replace=False))]
    slices, positions = cut(mine, kept, patch, transposed, mirrored), kept[["x", "y"]].to_numpy(np.float32)
    labels = nearest_index(depth_dioptres(kept.depth, choices.zmin))
    digest = hashlib.sha256("".join(capture["sha256"] for capture in mine).encode())
    for values in (labels, positions, slices.places, [patch, transposed, mirrored, black, white]):
        digest.update(np.ascontiguousarray(values, np.float64).tobytes())
    categories = np.array([scene(capture) for capture in mine])[kept.capture]
    stacks = FocalStacks(slices, labels, positions, categories, black, white, source=source)
    stacks.digest = digest.hexdigest()
    return stacks


def learnaf_stacks(
    root: Path | str,
    split: str = "train",
    view: str = "center",
    *,
    store: Path | str | None = None,
    images: str | None = None,
    **options,
) -> FocalStacks:
    """Focal stacks from the public layout: patches (stacks, 49, 2, patch, patch), cropped when they are asked for.

    root: the folder with train1 .. train7 and test, or with their archives. split: train, validation or test. view: of the
    five phones. store: where the native images are kept, 16 bit, 300 MB for a capture (default: fcl-store in `root`); what
    is there already is not read again. images: raw or interpolated, by default raw ones where there are any. options: patch
    = 128, px; count = None, as many as there are, or so many of them drawn with seed = 0; those of `Choices`: stride = 40,
    px; confidence = 0.99, from which on a depth is trusted; zmin = 0.1, m, see `depth_dioptres`. Captures with a missing,
    damaged or unfitting file, or of another size than most, are left out, with a warning that names it. Raises ValueError
    where nothing is left, and for unknown values.
    """
    store = Path(root) / "fcl-store" if store is None else Path(store)
    left_out = collect(root, store, view, images)
    try:
        stacks = store_stacks(store, split, view, **options)
    except ValueError as error:
        raise ValueError(f"{error}{left_out and f'. Left out:{_lines(left_out)}' or ''}") from None
    left_out = stacks.source["left_out"] = left_out | stacks.source["left_out"]
    if left_out:
        warnings.warn(f"left out of {root}:{_lines(left_out)}", stacklevel=2)
    return stacks


def _lines(left_out: dict[str, str]) -> str:
    return "".join(f"\n  {name}: {reason}" for name, reason in left_out.items())


def write_stacks(stacks: FocalStacks, folder: Path) -> None:
    """Write cropped stacks as a container that `FocalStacks.load` reads; the images stay in the store.

    ValueError for a folder that holds anything but a container written before.
    """
    files = [crops.FILE, *(f"{name}.npy" for name in ARRAYS)]
    make_anew(folder, {*files, "stacks.json"})
    stacks.slices.save(folder)
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", getattr(stacks, name))
    description = {name: getattr(stacks, name) for name in ("black", "white", "digest", "source")}
    description |= {"count": len(stacks), "files": {name: fingerprint(folder / name) for name in files}}
    with replacing(folder / "stacks.json") as temporary:  # last: it says that all is there
        temporary.write_text(json.dumps(description, indent=1) + "\n")
