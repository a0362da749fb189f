"""What `make learnaf` and the batch do with the public photographs: fill the store, report on it, and crop.

    python -m companion.photographs.public collect FOLDER --zmin 0.2
    python -m companion.photographs.public crop --split train --count 3072 --patch 64 --out data/laptop/learnaf/train

What `collect` is told to choose is noted beside the store, and `crop` follows it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from companion.batch.plan import PHOTOGRAPHS
from fcl.classical import gradient_energy
from fcl.learnaf.patches import (
    CONFIDENCE,
    SPLITS,
    depth_dioptres,
    levels,
    orientation,
    patch_table,
    read_store,
    split_captures,
    store_stacks,
    write_stacks,
)
from fcl.learnaf.store import IMAGES, VIEWS, collect

PUBLISHED = {"train": 387_000, "test": 56_800}  # patches of the paper's data set; the public release is smaller
STORE = Path("data/learnaf")  # seen from the project's folder
REPORT = Path(PHOTOGRAPHS).relative_to(STORE)  # in the store: with it, whatever the view, there is something to crop
CHOICES = "choices.json"  # in the store
ZMINS = (0.1, 0.2)  # m, both in use
HELP = {
    "view": f"of the five phones: {', '.join(VIEWS)}",
    "zmin": "m, the depth that the count 0 stands for; disputed: 0.1 or 0.2",
    "confidence": "the least median of a patch, 0 to 1",
    "stride": "from patch to patch, in px",
}
AGREES = 5  # indices; the two zmin put a patch half-way along the sweep twelve apart


@dataclass(frozen=True)
class Choices:
    """Which patches, and with which labels: see HELP, and `fcl.learnaf.depth_dioptres`. ValueError for what can't be."""

    view: str = "center"
    zmin: float = 0.1
    confidence: float = CONFIDENCE
    stride: int = 40

    def __post_init__(self) -> None:
        if self.view not in VIEWS:
            raise ValueError(f"view must be one of {', '.join(VIEWS)}, not {self.view!r}")
        depth_dioptres(np.zeros(1), self.zmin)  # raises for a wrong zmin
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence must be between 0 and 1, not {self.confidence!r}")
        if self.stride < 4 or self.stride % 4:
            raise ValueError(f"stride must be a multiple of 4 px, a sample of the depth map, not {self.stride!r}")

    @classmethod
    def read(cls, store: Path) -> "Choices":
        """Those that were noted; the usual ones where none are."""
        file = Path(store) / CHOICES
        try:
            return cls(**json.loads(file.read_text())) if file.exists() else cls()
        except (TypeError, ValueError) as error:
            raise ValueError(f"{file} is spoilt ({error}): run `make learnaf ROOT=...` again") from None


def compare_labels(store: Path, choices: Choices = Choices(), count: int = 64) -> pd.DataFrame:
    """How far labels lie from the sharpest slice, for several zmin: median and mean of |label - sharpest|, in focal indices.

    Over `count` random training patches. Depth and sharpness are independent, so the zmin that agrees better is the
    likelier; where a patch has several depths, or no texture, even the right one is off.
    """
    zmins = sorted({*ZMINS, choices.zmin})
    stacks = {zmin: store_stacks(store, "train", **asdict(choices) | {"zmin": zmin}) for zmin in zmins}
    slices = stacks[choices.zmin].slices  # zmin decides labels alone
    chosen = np.random.default_rng(0).choice(len(slices), min(count, len(slices)), replace=False)
    sharpest = np.array([gradient_energy(slices[stack]).argmax() for stack in chosen])
    distances = {zmin: np.abs(stacks[zmin].labels[chosen] - sharpest) for zmin in zmins}
    return (
        pd.DataFrame(
            {zmin: {"median": np.median(distance), "mean": distance.mean()} for zmin, distance in distances.items()}
        )
        .T.rename_axis("zmin (m)")
        .assign(patches=len(chosen))
    )


def verdict(table: pd.DataFrame, zmin: float) -> str:
    """What `compare_labels` found, in words."""
    best = table.sort_values(["median", "mean"]).index[0]
    here, there = table["median"][zmin], table["median"][best]
    said = (
        f"with zmin {zmin:g} m half of {table['patches'][zmin]:g} labels lie within {here:g} indices of the sharpest slice"
    )
    if there > AGREES:
        return f"No zmin makes labels agree with the sharpest slices: {said}. Is the depth stored in another way here?"
    if here - there >= 1:
        return f"Another zmin fits better: {said}, but within {there:g} with {best:g} m: `--zmin {best:g}`."
    return f"Labels agree with the sharpest slices: {said}."


def report(store: Path, choices: Choices) -> tuple[str, dict[str, str]]:
    """What the store holds: captures, patches kept and dropped, and how levels, baseline and labels were found.

    Also the captures that are left out for the size of their images, and why.
    """
    captures, odd = read_store(store, choices.view)
    (black, white), (transposed, mirrored) = levels(captures), orientation(captures)
    lines = [
        ", ".join(f"{name} {value}" for name, value in asdict(choices).items()),
        f"black level {black:g}, white level {white:g} (largest count {max(capture['largest'] for capture in captures)})",
        f"baseline along the {'rows' if transposed else 'columns'} of the files{', reversed' * mirrored}; "
        "left against right at the first and the last index, rows and columns, px: "
        f"{np.round(np.mean([capture['shifts'] for capture in captures], 0), 2).tolist()}",
    ]
    for split in SPLITS:
        mine, shared = split_captures(captures, split)
        table = pd.DataFrame({"confidence": []})
        if mine:
            table = patch_table(mine, 128, choices.stride, transposed, mirrored)
        limits = dict.fromkeys([choices.confidence, 1.0, CONFIDENCE, 0.7, 0.5])
        number, *others = (int((table.confidence >= limit).sum()) for limit in limits)
        also = ", ".join(f"{other:,} at {limit:g}" for limit, other in zip(list(limits)[1:], others))
        lines.append(
            f"{split}: {len(mine)} captures, {len(table):,} patches; kept {number:,}, dropped {len(table) - number:,} "
            f"with a median confidence below {choices.confidence:g} (kept: {also})"
        )
        if shared and split == "train":
            lines.append(f"  {len(shared)} captures in no split, because their scene is in the test split")
    lines.append(
        f"published: {PUBLISHED['train']:,} patches to train (here: train and validation), {PUBLISHED['test']:,} to test"
    )
    try:
        table = compare_labels(store, choices)
        lines += ["labels against the sharpest slice, in focal indices:", table.round(1).to_string()]
        lines += [verdict(table, choices.zmin)]
    except ValueError as error:
        lines += [f"labels against the sharpest slice: nothing to compare, because {error}"]
    return "\n".join(lines) + "\n", odd


def _collect(root: Path, store: Path, choices: Choices, images: str | None) -> None:
    left_out = collect(root, store, choices.view, images, progress=True)
    file = store / REPORT
    _tell(left_out)
    if not any((store / choices.view).glob("*/*/capture.json")):
        file.unlink(missing_ok=True)  # what it was of is there no more
        raise ValueError(f"nothing below {root} could be taken: {len(left_out)} left out, for the reasons above")
    found, odd = report(store, choices)
    _tell(odd)
    print(found, end="")
    found += "".join(f"left out: {name}: {reason}\n" for name, reason in (left_out | odd).items())
    (store / CHOICES).write_text(json.dumps(asdict(choices)) + "\n")
    if not file.exists() or file.read_text() != found:  # nothing is cropped anew where nothing is new
        file.parent.mkdir(exist_ok=True)
        file.write_text(found)


def _tell(left_out: dict[str, str]) -> None:
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill the store, or make a container of its patches."""
    parser = argparse.ArgumentParser(prog="python -m companion.photographs.public", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    shown = argparse.ArgumentDefaultsHelpFormatter
    filling, cropping = commands.add_parser("collect", formatter_class=shown), commands.add_parser("crop")
    for command in (filling, cropping):
        command.add_argument("--store", type=Path, default=STORE)
    filling.add_argument("root", type=Path)
    filling.add_argument("--images", help=f"{' or '.join(IMAGES)}; none: raw where there are any")
    for choice in fields(Choices):
        filling.add_argument(f"--{choice.name}", type=choice.type, default=choice.default, help=HELP[choice.name])
    cropping.add_argument("--split", required=True)
    cropping.add_argument("--count", type=int)
    cropping.add_argument("--patch", type=int, default=128)
    cropping.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        if options.command == "collect":
            choices = Choices(**{choice.name: getattr(options, choice.name) for choice in fields(Choices)})
            _collect(options.root, options.store, choices, options.images)
        else:
            choices = asdict(Choices.read(options.store))
            stacks = store_stacks(options.store, options.split, patch=options.patch, count=options.count, **choices)
            write_stacks(stacks, options.out)
    except ValueError as error:
        sys.exit(f"photographs: {error}")
    except OSError as error:
        sys.exit(
            f"photographs: {error.filename or options.store}: {error.strerror or error}. Run it again when that is "
            "mended: what is in the store already is not read again"
        )


if __name__ == "__main__":
    main()
