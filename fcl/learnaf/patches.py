"""Patches of the public data set of "Learning to Autofocus" (Herrmann et al., CVPR 2020) as FocalStacks.

`fcl.learnaf.store` knows the files, and keeps the native images in a store; here they become labelled
patches, which are cropped as they are asked for. No scene is in two splits.
"""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fcl.crops import Crops
from fcl.learnaf.intake import read_capture
from fcl.learnaf.store import VIEWS, collect
from fcl.optics import nearest_index
from fcl.stacks import FocalStacks

SPLITS = ("train", "validation", "test")
ZMAX = 100.0  # m
CONFIDENCE = 0.99  # the official threshold is not known; public loaders take 1, 0.99, 0.7 or 0.5


def depth_dioptres(counts: np.ndarray, zmin: float = 0.1) -> np.ndarray:
    """Dioptres of 8-bit depth counts: 1/z = (1 - d) / zmin + d / 100 m with d = count/255.

    zmin (m) is disputed: 0.1 and 0.2 are used. With 0.2 no label would lie beyond index 24.
    `companion.photographs.public.compare_labels` looks which one agrees with the sharpest slices.
    """
    if not 0 < zmin < ZMAX:
        raise ValueError(f"zmin must be between 0 and {ZMAX:g} m, not {zmin!r}")
    d = np.asarray(counts, np.float64) / 255
    return (1 - d) / zmin + d / ZMAX


def read_store(store: Path, view: str = "center") -> tuple[list[dict], dict[str, str]]:
    """What is known of each complete capture of a view, by name, and which are left out for their size, and why.

    Patches of one container have one size of frame, that of most captures: levels, baseline and positions mean the same
    in all. ValueError for an unknown view, an empty store, or a spoilt capture.json.
    """
    if view not in VIEWS:
        raise ValueError(f"view must be one of {', '.join(VIEWS)}, not {view!r}")
    paths = sorted((Path(store) / view).glob("*/*/capture.json"))
    if not paths:
        raise ValueError(
            f"no photographs in {Path(store) / view}: run `make learnaf ROOT=...` with the folder of the data set's "
            "archives, or of what was in them"
        )
    captures = [read_capture(path) for path in paths]
    sizes = [(*capture["shape"], capture["halved"]) for capture in captures]
    (usual, _), *_ = Counter(sizes).most_common(1)
    odd = {
        f"{capture['folder'].parent.name}/{capture['folder'].name}": f"its images have {size[1]} x {size[0]} samples, those of most captures {usual[1]} x {usual[0]}"
        for capture, size in zip(captures, sizes)
        if size != usual
    }
    return [capture for capture, size in zip(captures, sizes) if size == usual], odd


def scene(capture: dict) -> str:
    """books of books_5: ten captures show one scene."""
    return capture["folder"].name.rpartition("_")[0] or capture["folder"].name


def split_captures(captures: Sequence[dict], split: str) -> tuple[list[dict], list[dict]]:
    """The captures of a split, and those that belong to none because their scene is also in the test split.

    Validation is every tenth scene of the training folders, by name; train has the others. No scene is in two splits.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    test = [capture for capture in captures if capture["folder"].parent.name == "test"]
    if split == "test":
        return test, []
    tested = {scene(capture) for capture in test}
    others = [capture for capture in captures if capture["folder"].parent.name != "test"]
    shared = [capture for capture in others if scene(capture) in tested]
    held_out = sorted({scene(capture) for capture in others} - tested)[9::10]
    mine = [
        capture
        for capture in others
        if scene(capture) not in tested and (scene(capture) in held_out) == (split == "validation")
    ]
    return mine, shared


def levels(captures: Sequence[dict]) -> tuple[float, float]:
    """Black and white level of all images, from their lowest and largest counts.

    White is the end of the smallest usual range that holds the largest count: 10, 12, 14 or 16 bit. Black is 64/1023 of
    it, as of this camera, unless in most captures a thousandth of some image lies below half of that: then it was
    subtracted before.
    """
    largest = max(capture["largest"] for capture in captures)
    lowest = np.median([capture["lowest"] for capture in captures])
    white = next(2**bits - 1 for bits in (10, 12, 14, 16) if largest < 2**bits)
    black = round(64 / 1023 * white)
    return float(black if lowest >= black / 2 else 0), float(white)


def orientation(captures: Sequence[dict]) -> tuple[bool, bool]:
    """(transposed, mirrored): what brings the baseline to the last axis, with the project's sign.

    From the shifts (rows, columns) of the left image against the right one at the first and the last index. The baseline
    is the axis of the larger ones. At index 0 everything is nearer than focus, so that the left image lies at greater x
    there.
    """
    shifts = np.array([capture["shifts"] for capture in captures])  # (captures, 2 slices, 2 axes)
    axis = int(np.square(shifts).sum((0, 1)).argmax())
    return axis == 0, bool((shifts[:, 0, axis] - shifts[:, 1, axis]).sum() < 0)


def _windows(values: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Lower median of each window of a map: (rows, columns)."""
    windows = np.lib.stride_tricks.sliding_window_view(values, (size, size))[::stride, ::stride]
    flat = windows.reshape(*windows.shape[:2], -1)
    middle = (flat.shape[-1] - 1) // 2
    return np.partition(flat, middle, axis=-1)[..., middle]


def patch_table(captures: Sequence[dict], patch: int, stride: int, transposed: bool, mirrored: bool) -> pd.DataFrame:
    """Every patch of the grid: capture, row, column (px of the full frame), x, y, depth (count) and confidence, medians."""
    if patch % 4 or stride % 4 or patch < 4 or stride < 4:
        raise ValueError(f"patch and stride must be multiples of 4 px, a sample of the depth map, not {patch} and {stride}")
    tables = []
    for number, capture in enumerate(captures):
        maps = [np.load(capture["folder"] / f"{name}.npy") for name in ("depth", "confidence")]
        maps = [array.T if transposed else array for array in maps]
        maps = [array[:, ::-1] if mirrored else array for array in maps]
        if min(maps[0].shape) < patch // 4:
            raise ValueError(f"a patch of {patch} px doesn't fit into the frames of {capture['folder']}")
        depth, confidence = (_windows(array, patch // 4, stride // 4) for array in maps)
        rows, columns = (stride * axis.ravel() for axis in np.indices(depth.shape))
        height, width = (4 * length for length in maps[0].shape)
        tables.append(
            pd.DataFrame(
                {
                    "capture": number,
                    "row": rows,
                    "column": columns,
                    "x": (columns + patch / 2) / (width / 2) - 1,
                    "y": (rows + patch / 2) / (height / 2) - 1,
                    "depth": depth.ravel(),
                    "confidence": confidence.ravel(),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def store_stacks(
    store: Path,
    split: str = "train",
    view: str = "center",
    *,
    patch: int = 128,
    stride: int = 40,
    confidence: float = CONFIDENCE,
    zmin: float = 0.1,
    count: int | None = None,
    seed: int = 0,
) -> FocalStacks:
    """Patches of a store. Arguments and errors as for `learnaf_stacks`."""
    if count is not None and (not isinstance(count, int) or count < 1):
        raise ValueError(f"count must be a whole number of patches, at least 1, not {count!r}")
    captures, odd = read_store(store, view)
    black, white = levels(captures)
    transposed, mirrored = orientation(captures)
    mine, shared = split_captures(captures, split)
    if not mine:
        raise ValueError(
            f"{Path(store) / view} has no captures for the split {split}: it holds "
            f"{', '.join(sorted({capture['folder'].parent.name for capture in captures}))}, and validation is every tenth "
            "scene of the training folders"
        )
    table = patch_table(mine, patch, stride, transposed, mirrored)
    kept = table[table.confidence >= confidence]
    if not len(kept) or (count or 0) > len(kept):
        raise ValueError(
            f"{len(kept)} of {len(table)} patches of the split {split} in {store} have a median confidence of at least "
            f"{confidence:g}, and {count or 'some'} are asked for: take fewer (experiments/profiles.yml) or a lower one"
        )
    if count is not None:
        kept = kept.iloc[np.sort(np.random.default_rng(seed).choice(len(kept), count, replace=False))]
    places, positions = kept[["capture", "row", "column"]].to_numpy(), kept[["x", "y"]].to_numpy(np.float32)
    labels = nearest_index(depth_dioptres(kept.depth, zmin))
    slices = Crops(
        [capture["folder"] / "frames.npy" for capture in mine],
        places,
        patch,
        halved=mine[0]["halved"],
        transposed=transposed,
        mirrored=mirrored,
    )
    digest = hashlib.sha256("".join(capture["sha256"] for capture in mine).encode())
    for values in (labels, positions, places, [patch, transposed, mirrored, black, white]):
        digest.update(np.ascontiguousarray(values, np.float64).tobytes())
    source = {
        "data": "learnaf",
        "view": view,
        "split": split,
        "captures": len(mine),
        "captures_in_no_split": len(shared),
        "zmin": zmin,
        "confidence": confidence,
        "stride": stride,
        "grid": len(table),
        "below_confidence": int((table.confidence < confidence).sum()),
        "stacks": len(kept),
        "seed": seed,
        "left_out": odd,
    }
    categories = np.array([scene(capture) for capture in mine])[places[:, 0]]
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

    root: the folder with train1 .. train7 and test, or with their archives. split: train, validation or test. view: of
    the five phones. store: where the native images are kept, 16 bit, 300 MB for a capture (default: fcl-store in
    `root`); what is there already is not read again. images: raw or interpolated, by default raw ones where there are any.
    options: patch = 128 and stride = 40, px; confidence = 0.99, the least median of a patch; zmin = 0.1, m, see
    `depth_dioptres`; count = None, as many as there are, or so many of them drawn with seed = 0.
    Captures with a missing, damaged or unfitting file, or of another size than most, are left out, with a warning that
    names it. Raises ValueError where nothing is left, and for unknown values.
    """
    store = Path(root) / "fcl-store" if store is None else Path(store)
    left_out = collect(root, store, view, images)
    try:
        stacks = store_stacks(store, split, view, **options)
    except ValueError as error:
        raise ValueError(f"{error}{left_out and f'. Left out:{_lines(left_out)}' or ''}") from None
    stacks.source["left_out"] = left_out | stacks.source["left_out"]
    if stacks.source["left_out"]:
        warnings.warn(f"left out of {root}:{_lines(stacks.source['left_out'])}", stacklevel=2)
    return stacks


def _lines(left_out: dict[str, str]) -> str:
    return "".join(f"\n  {name}: {reason}" for name, reason in left_out.items())


def write_stacks(stacks: FocalStacks, folder: Path) -> None:
    """Write cropped stacks as a container that `FocalStacks.load` reads; the images stay in the store."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stacks.json").unlink(missing_ok=True)  # it says that all is there
    stacks.slices.save(folder)
    for name in ("labels", "positions", "categories"):
        np.save(folder / f"{name}.npy", getattr(stacks, name))
    about = {name: getattr(stacks, name) for name in ("black", "white", "digest", "source")}
    (folder / "stacks.json").write_text(json.dumps({"count": len(stacks), **about}, indent=1) + "\n")
