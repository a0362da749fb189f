"""What is known of the public photographs in the store: a report, and what a person has chosen there.

The report is what crops depend on: it is the same as long as images and choices are, wherever they lie and whenever they
were read.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from companion.batch.plan import PHOTOGRAPHS
from fcl.classical import gradient_energy
from fcl.files import reading, replacing
from fcl.learnaf.patches import Choices, cut, depth_dioptres, levels, orientation, patch_table, read_store, split_captures
from fcl.learnaf.store import collect
from fcl.optics import nearest_index
from fcl.settings import SPLITS

STORE = Path("data/learnaf")  # seen from the project's folder
REPORT = Path(PHOTOGRAPHS).relative_to(STORE)  # in the store: with it, whatever the view, there is something to crop
CHOICES = "choices.json"  # in the store
PATCH = 128  # px, of the patches that are counted and compared
PIXELS = (PATCH // 4) ** 2  # of such a patch's depth
ZMINS = (0.1, 0.2)  # m, both in use
AGREES = 5  # indices; the two zmin put a patch half-way along the sweep twelve apart
RELEASE = (
    "the public release, by its description: 351 captures to train (here: train and validation), 47 to test, white 1023\n"
    "the paper's set: 460 and 50 captures, 387,000 and 56,800 patches; the public release is smaller"
)


def read_choices(store: Path) -> Choices:
    """Those noted in a store; the usual ones where none are. ValueError naming the file where it is damaged."""
    file = Path(store) / CHOICES
    with reading(file, "run `make learnaf ROOT=...` again"):
        return Choices(**json.loads(file.read_text())) if file.exists() else Choices()


def compare_labels(frames: np.ndarray, depth: np.ndarray, zmin: float) -> dict[float, float]:
    """For several zmin, within how many focal indices of the sharpest slice half of the labels lie.

    frames: the slices of patches; depth: their counts. Depth and sharpness are independent, so the zmin that agrees better
    is the likelier; where a patch has several depths, or no texture, even the right one is off.
    """
    sharpest = np.array([gradient_energy(stack).argmax() for stack in frames])
    labels = {z: nearest_index(depth_dioptres(depth, z)) for z in sorted({*ZMINS, zmin})}
    return {z: float(np.median(np.abs(labels[z] - sharpest))) for z in labels}


def verdict(medians: dict[float, float], zmin: float) -> str:
    """What `compare_labels` says, in words."""
    best = min(medians, key=medians.get)
    said = ", ".join(f"{median:g} with zmin {z:g} m" for z, median in medians.items())
    if medians[best] > AGREES:
        conclusion = "No zmin makes labels agree with the sharpest slices. Is the depth stored in another way here?"
    elif medians[zmin] - medians[best] >= 1:
        conclusion = f"Another zmin fits better: `--zmin {best:g}`."
    else:
        conclusion = "They agree."
    return f"half of the labels lie within so many focal indices of the sharpest slice: {said}. {conclusion}"


def _count_patches(split: str, captures: int, table: pd.DataFrame, choices: Choices) -> str:
    kept = table[table.confidence >= choices.confidence]
    others = [limit for limit in (1.0, 0.99, 0.7, 0.5) if limit != choices.confidence]
    also = ", ".join(f"{(table.confidence >= limit).sum():,} at {limit:g}" for limit in others)
    without, untrusted = kept.without_depth.sum(), (PIXELS - kept.trusted).sum()
    return (
        f"{split}: {captures} captures, {len(table):,} patches; kept {len(kept):,}, dropped {len(table) - len(kept):,} "
        f"with a median confidence below {choices.confidence:g} (kept: {also}); in those kept, "
        f"{untrusted / (PIXELS * max(len(kept), 1)):.1%} of the depth is not trusted and has no vote, "
        f"{without / (PIXELS * max(len(kept), 1)):.1%} is missing"
    )


def describe(store: Path, choices: Choices) -> tuple[str, dict[str, str]]:
    """What the store holds: captures, patches kept and dropped, and how levels, baseline and labels were found.

    Also the captures that are left out for the size of their images, and why.
    """
    captures, odd = read_store(store, choices.view)
    (black, white), turn = levels(captures), orientation(captures)
    digest = hashlib.sha256("".join(capture["sha256"] for capture in captures).encode()).hexdigest()
    (rows, columns), halved = captures[0]["shape"], captures[0]["halved"]
    lowest, largest = (choose(c[name] for c in captures) for choose, name in ((min, "lowest"), (max, "largest")))
    lines = [
        ", ".join(f"{name} {value}" for name, value in asdict(choices).items()),
        f"{len(captures)} captures, images of {columns} x {rows}{', every other column' * halved}, content {digest[:16]}",
        RELEASE,
        f"black level {black:g}, white level {white:g} (counts from {lowest}, but for a thousandth, to {largest})",
        f"baseline along the {'rows' if turn[0] else 'columns'} of the files{', reversed' * turn[1]}; "
        "left against right at the first and the last index, rows and columns, px: "
        f"{np.round(np.mean([capture['shifts'] for capture in captures], 0), 2).tolist()}",
        "label: the focal index nearest in dioptres to the lower median of the depth over a patch's trusted pixels, those "
        f"with a depth (count above 0) and a confidence of at least {choices.confidence:g}",
    ]
    in_no_split = len(captures)
    comparison = "labels against the sharpest slice: no training patch is kept, so there is nothing to compare"
    for split in SPLITS:
        mine = split_captures(captures, split)
        in_no_split -= len(mine)
        if not mine:
            lines.append(f"{split}: 0 captures")
            continue
        table = patch_table(mine, PATCH, choices, *turn)
        lines.append(_count_patches(split, len(mine), table, choices))
        kept = table[table.confidence >= choices.confidence]
        if split == "train" and len(kept):
            some = kept.sample(min(64, len(kept)), random_state=0)
            medians = compare_labels(cut(mine, some, PATCH, *turn), some.depth.to_numpy(), choices.zmin)
            comparison = f"{len(some)} training patches: {verdict(medians, choices.zmin)}"
    if in_no_split:
        lines.append(f"{in_no_split} captures in no split, because their scene is in the test split")
    return "\n".join([*lines, comparison]) + "\n", odd


def fill(root: Path, store: Path, choices: Choices, images: str | None) -> None:
    """Bring the data set into the store, print what is left out and the report, and keep both, and the choices, there."""
    left_out = collect(root, store, choices.view, images, progress=True)
    _tell(left_out)
    file = store / REPORT
    if not any((store / choices.view).glob("*/*/capture.json")):
        file.unlink(missing_ok=True)  # of captures that are no longer in the store
        raise ValueError(f"nothing below {root} could be taken: {len(left_out)} left out, for the reasons above")
    report, odd = describe(store, choices)
    _tell(odd)
    print(report, end="")
    report += "".join(f"left out: {name}: {reason}\n" for name, reason in sorted((left_out | odd).items()))
    with replacing(store / CHOICES) as temporary:
        temporary.write_text(json.dumps(asdict(choices)) + "\n")
    if not file.exists() or file.read_text() != report:  # nothing is cropped anew where nothing is new
        with replacing(file) as temporary:
            temporary.write_text(report)


def _tell(left_out: dict[str, str]) -> None:
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}", flush=True)
