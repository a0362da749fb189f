"""Writing the folder of a group: what is trained there, and each run's predictions, curve and record.

Every file appears whole or not at all; a run's record comes last and says that the run is complete.
"""

import hashlib
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from companion.runs.identity import ResultsError, run_folder
from companion.runs.provenance import provenance
from companion.runs.reading import labelled_digest
from companion.weights import Weights
from fcl.config import Config
from fcl.files import replacing

if TYPE_CHECKING:  # these need torch
    from fcl.checkpoints import Step
    from fcl.prediction import Predictions
    from fcl.stacks import FocalStacks

STEP = 1 / 32  # of float16 for indices from 32 on; finer below, it would only be noise that takes space
ONE_FRAME = 49  # starts


def open_group(profile: str, config: Config, train_digest: str, split: str = "test") -> Path:
    """Make the folder of a group and return it. What another config, or other training stacks (their digest), left there is
    moved to runs/<profile>/<data>/.stale/.

    So an edited profile starts its runs anew instead of stopping at checkpoints that no longer fit. Nothing is deleted.
    """
    folder = run_folder(profile, config, split)
    identity = _json({"config": asdict(config.trunk()), "train_digest": train_digest})
    seal = folder / "group.json"
    if seal.exists() and seal.read_bytes() != identity.encode():
        stale = folder.parent / ".stale"
        aside = stale / f"{folder.name}-{len(list(stale.glob(f'{folder.name}-*'))) + 1}"
        aside.mkdir(parents=True)
        for path in list(folder.iterdir()):
            if path.suffix in (".safetensors", ".json", ".npz", ".csv"):
                path.rename(aside / path.name)
    _write_text(seal, identity)
    return folder


def train_digest(folder: Path) -> str:
    """Digest of the stacks that a group's runs were trained on."""
    return json.loads((folder / "group.json").read_text())["train_digest"]


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)


def _write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """As np.savez_compressed, whose files np.load reads, a seventh smaller."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_LZMA) as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, values, allow_pickle=False)


def rounded(values: np.ndarray) -> np.ndarray:
    """Expected indices or entropies as they are stored: to the nearest STEP, float16."""
    return (np.rint(values.astype(np.float32) / STEP) * STEP).astype(np.float16)


def write_predictions(folder: Path, run: str, predictions: "Predictions") -> None:
    """<run>.npz: everything at every start for one frame (`rounded`), else argmax, mean_expected and mean_entropy."""
    arrays = predictions._asdict()
    real = {name: arrays[name] for name in ("expected", "entropy")}
    if predictions.argmax.shape[1] == ONE_FRAME:
        arrays |= {name: rounded(values) for name, values in real.items()}
    else:
        means = {name: values.mean(axis=1, dtype=np.float64).astype(np.float16) for name, values in real.items()}
        arrays = {"argmax": predictions.argmax} | {f"mean_{name}": values for name, values in means.items()}
    _write_arrays(folder / f"{run}.npz", **arrays)


def write_labels(folder: Path, stacks: "FocalStacks", split: str = "test") -> None:
    """<split>.npz beside the groups: what was to be predicted. ResultsError if one of other stacks lies there."""
    path = folder / f"{split}.npz"
    digest = labelled_digest(path)
    if not digest:
        categories = np.asarray(stacks.categories, dtype=str)
        arrays = {"labels": stacks.labels, "categories": categories, "positions": stacks.positions}
        _write_arrays(path, **arrays, digest=np.asarray(stacks.digest))
    elif digest != stacks.digest:
        raise ResultsError(f"{path} describes other stacks than these: move {folder} away and start again")


def write_curve(folder: Path, run: str, curve: list["Step"]) -> None:
    """<run>.csv: the training curve, one line per iteration, those of the trunk included."""
    lines = [",".join(f"{value:.7g}" for value in step) for step in curve]
    _write_text(folder / f"{run}.csv", "\n".join(["iteration,loss,ordinal,consistency,learning_rate", *lines]) + "\n")


def write_record(
    folder: Path,
    config: Config,
    *,
    profile: str,
    stacks: dict[str, Any],
    seconds: dict[str, float],
    code: dict[str, Any] | None = None,
    **machine: Any,
) -> dict[str, Any]:
    """<run>.json, the last file of a run: its presence says that the run is complete. Returns the record.

    It holds the SHA-256 of the run's other `files`, .npz and .csv. code: from which the training began, where that isn't the
    code as it is now.
    """
    run = Weights.of(config).name
    paths = {suffix: folder / f"{run}{suffix}" for suffix in (".npz", ".csv")}
    files = {suffix: hashlib.sha256(path.read_bytes()).hexdigest() for suffix, path in paths.items() if path.exists()}
    record = {"run": f"{folder.name}/{run}", "profile": profile, "data": config.data, "weights": run}
    record |= {"config": asdict(config), "stacks": stacks, "files": files, "seconds": seconds, **provenance(**machine)}
    record |= {"code": code} if code else {}
    _write_text(folder / f"{run}.json", _json(record))
    return record
