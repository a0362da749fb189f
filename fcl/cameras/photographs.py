"""What `make learnaf` and the batch do with the public photographs: fill the store, report on it, crop, and measure.

    python -m fcl.cameras.photographs collect FOLDER
    python -m fcl.cameras.photographs crop --split train --count 3072 --patch 64 --out data/laptop/learnaf/train
    python -m fcl.cameras.photographs throughput
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fcl.cameras.learnaf_store import collect
from fcl.classical import gradient_energy
from fcl.learnaf import (
    CONFIDENCE,
    SPLITS,
    levels,
    orientation,
    patch_table,
    read_store,
    split_captures,
    store_stacks,
    write_stacks,
)
from fcl.stacks import BatchSampler, FocalStacks

PUBLISHED = {"train": 387_000, "test": 56_800}  # patches of the paper's data set; the public release is smaller
STORE = Path("data/learnaf")  # seen from the project's folder


def compare_labels(store: Path, view: str = "center", zmins: Sequence[float] = (0.1, 0.2), count: int = 64) -> pd.DataFrame:
    """How far labels lie from the sharpest slice, for several zmin: median and mean of |label - sharpest|, in focal indices.

    Over `count` random training patches. Depth and sharpness are independent, so the zmin that agrees better is the
    likelier; where a patch has several depths, or no texture, even the right one is off.
    """
    rows = {}
    for zmin in zmins:
        stacks = store_stacks(store, "train", view, zmin=zmin)
        chosen = np.random.default_rng(0).choice(len(stacks), min(count, len(stacks)), replace=False)
        sharpest = [gradient_energy(stacks.slices[stack]).argmax() for stack in chosen]
        distance = np.abs(stacks.labels[chosen] - sharpest)
        rows[zmin] = {"median": float(np.median(distance)), "mean": distance.mean(), "patches": len(chosen)}
    return pd.DataFrame(rows).T.rename_axis("zmin (m)")


def report(store: Path, view: str, left_out: dict[str, str]) -> str:
    """What the store holds: captures, patches kept and dropped, and how levels, baseline and labels were found."""
    captures = read_store(store, view)
    (black, white), (transposed, mirrored) = levels(captures), orientation(captures)
    lines = [
        f"black level {black:g}, white level {white:g} (largest count {max(capture['largest'] for capture in captures)})",
        f"baseline along the {'rows' if transposed else 'columns'} of the files{', reversed' * mirrored}; "
        "left against right at the first and the last index, rows and columns, px: "
        f"{np.round(np.mean([capture['shifts'] for capture in captures], 0), 2).tolist()}",
    ]
    for split in SPLITS:
        mine, shared = split_captures(captures, split)
        table = patch_table(mine, 128, 40, transposed, mirrored) if mine else pd.DataFrame({"confidence": []})
        kept = {limit: int((table.confidence >= limit).sum()) for limit in (CONFIDENCE, 1.0, 0.7, 0.5)}
        also = ", ".join(f"{number:,} at {limit:g}" for limit, number in kept.items() if limit != CONFIDENCE)
        lines.append(
            f"{split}: {len(mine)} captures, {len(table):,} patches; kept {kept[CONFIDENCE]:,}, dropped "
            f"{len(table) - kept[CONFIDENCE]:,} with a median confidence below {CONFIDENCE:g} (kept: {also})"
        )
        if shared and split == "train":
            lines.append(f"  {len(shared)} captures in no split, because their scene is in the test split")
    lines.append(
        f"published: {PUBLISHED['train']:,} patches to train (here: train and validation), {PUBLISHED['test']:,} to test"
    )
    lines += ["labels against the sharpest slice, in focal indices:", compare_labels(store, view).round(1).to_string()]
    lines += [f"left out: {name}: {reason}" for name, reason in left_out.items()]
    return "\n".join(lines) + "\n"


def throughput(stacks: FocalStacks, batches: int = 40, scenes: int = 32, slices: int = 4) -> dict[str, float]:
    """Slices per second that random mini-batches of 32 scenes x 4 slices read and normalise.

    cold: first of all, with what the system had in memory of these files dropped where it can be (Linux); warm: the same
    mini-batches again; warm_cpu: those per second of processor time, which other programs don't disturb.
    """
    for file in stacks.slices.files:
        if hasattr(os, "posix_fadvise"):
            with open(file, "rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    rates = {}
    for name in ("cold", "warm"):
        sampler = BatchSampler(len(stacks), scenes, slices, 49, np.random.default_rng(0))
        began, cpu = time.perf_counter(), time.process_time()
        for _, batch in zip(range(batches), sampler):
            stacks.observe(batch.scenes.repeat(slices), batch.starts.reshape(-1))
        rates[name] = batches * scenes * slices / (time.perf_counter() - began)
    return rates | {"warm_cpu": batches * scenes * slices / (time.process_time() - cpu)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill the store, make a container of its patches, or measure how fast they are read."""
    parser = argparse.ArgumentParser(prog="python -m fcl.cameras.photographs", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("collect", "crop", "throughput"):
        command = commands.add_parser(name)
        command.add_argument("--store", type=Path, default=STORE)
        command.add_argument("--view", default="center")
        if name == "collect":
            command.add_argument("root", type=Path)
            command.add_argument("--images", help="raw or interpolated (default: raw where there are any)")
        if name == "crop":
            command.add_argument("--split", required=True)
            command.add_argument("--count", type=int)
            command.add_argument("--patch", type=int, default=128)
            command.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        if options.command == "collect":
            left_out = collect(options.root, options.store, options.view, options.images, progress=True)
            found = report(options.store, options.view, left_out)
            file = options.store / options.view / "report.txt"
            if not file.exists() or file.read_text() != found:  # nothing is cropped anew where nothing is new
                file.write_text(found)
            print(found, end="")
        elif options.command == "crop":
            write_stacks(
                store_stacks(options.store, options.split, options.view, patch=options.patch, count=options.count),
                options.out,
            )
        else:
            stacks = store_stacks(options.store, "train", options.view)
            print(", ".join(f"{name} {rate:,.0f}" for name, rate in throughput(stacks).items()), "slices per second")
    except ValueError as error:
        sys.exit(f"photographs: {error}")


if __name__ == "__main__":
    main()
