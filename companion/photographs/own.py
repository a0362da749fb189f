"""A person's own focal sweep as a focal stack that the networks take, and how they and rules do on it."""

import glob
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from torch import nn

from companion.photographs.geometry import geometry
from companion.photographs.sweeps import KEYS, ORDERS, UNKNOWN, read_sweep
from fcl.checkpoints import load_model
from fcl.classical import gradient_energy, hill_climb, zero_shift_correlation
from fcl.optics import FOCUS_DIOPTRES, FOCUS_DISTANCES_MM, nearest_index
from fcl.prediction import predict
from fcl.settings import N
from fcl.simulator import simulate_stacks
from fcl.stacks import FocalStacks


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
    described, notes = sweep.described, []
    known, ignored = "focus_mm" in described, sorted(set(described) - set(KEYS))
    if not known and len(sweep.images) != N:
        raise ValueError(
            f"{folder} holds images of {len(sweep.images)} positions; without focus distances there must be {N}: write them "
            'into stack.json as {"focus_mm": [...]}'
        )
    notes += [f"of stack.json nothing but {', '.join(KEYS)} is read, so not {', '.join(ignored)}"] * bool(ignored)
    usual = FOCUS_DISTANCES_MM if described.get("order", ORDERS[0]) == ORDERS[0] else FOCUS_DISTANCES_MM[::-1]
    distances = described.get("focus_mm", usual)
    lie = geometry(sweep, distances[0] >= distances[-1], known or "order" in described, notes)
    distances = distances[::-1] if lie.backwards else distances
    corner_xy = zip(sweep.corner[::-1], sweep.frame[::-1])
    x, y = position or [2 * (start + patch / 2) / length - 1 for start, length in corner_xy]
    images, x, y = lie.lay(sweep.images, x, y)
    first, last = (pair[0].name for pair in (sweep.files[0], sweep.files[-1]))
    notes.insert(0, f"first image {first} at {distances[0]:.0f} mm, last {last} at {distances[-1]:.0f} mm")
    dioptres = 1000 / distances
    nearest = np.abs(FOCUS_DIOPTRES[:, None] - dioptres).argmin(1)  # of each index, the position
    ends = nearest_index(np.array([dioptres.min(), dioptres.max()]))
    name = Path(folder).expanduser().resolve().name
    source = {
        "folder": name,
        "views": sweep.images.shape[1],
        "covered": [bool(ends[0] <= index <= ends[1]) for index in range(N)],
        "places": nearest_index(dioptres)[nearest].tolist(),
        "labelled": "label" in described,
        "notes": notes,
    }
    slices = np.broadcast_to(images[nearest].astype(np.uint16), (N, 2, patch, patch))[None]
    white = next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if sweep.largest < 2**bits)
    labels, positions = np.array([described.get("label", UNKNOWN)]), np.array([[x, y]], np.float32)
    return FocalStacks(slices, labels, positions, np.array([name]), 0.0, white, source=source)


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
