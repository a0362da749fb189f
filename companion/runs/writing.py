"""Writing the folder of a group: what is trained there, and each run's predictions, curve and record.

Every file appears whole or not at all; a run's record comes last and says that the run is complete.
"""

import json
import lzma
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from companion.runs.provenance import provenance
from companion.runs.identity import ResultsError, run_folder
from companion.weights import Weights
from fcl.files import replacing

if TYPE_CHECKING:
    from fcl.stacks import FocalStacks
    from fcl.config import Config
    from fcl.prediction import Predictions
    from fcl.checkpoints import Step

STEP = 1 / 32  # of float16 for indices from 32 on; finer below, it would only be noise that takes space


def open_group(profile: str, config: "Config", train_digest: str, split: str = "test") -> Path:
    """Make the folder of a group and return it, after moving aside what another config or other stacks left
    there.

    So an edited profile starts its runs anew instead of stopping at checkpoints that no longer fit. Nothing
    is deleted: the old files are in runs/<profile>/<data>/.stale/. `train_digest` is the digest of the
    training stacks.
    """
    folder = run_folder(profile, config, split)
    seal, identity = folder / "group.json", {"config": asdict(config.trunk()), "train_digest": train_digest}
    if seal.exists() and json.loads(seal.read_text()) != identity:
        attic = folder.parent / ".stale"
        aside = attic / f"{folder.name}-{len(list(attic.glob(f'{folder.name}-*'))) + 1}"
        aside.mkdir(parents=True)
        for path in list(folder.iterdir()):
            if path.suffix in (".safetensors", ".json", ".npz", ".csv"):
                path.rename(aside / path.name)
    _write_json(seal, identity)
    return folder


def train_digest(folder: Path) -> str:
    """Digest of the stacks that a group's runs were trained on."""
    return json.loads((folder / "group.json").read_text())["train_digest"]


def _write_json(path: Path, value: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


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
    if predictions.argmax.shape[1] < 49:  # several frames
        means = {f"mean_{name}": arrays[name].mean(axis=1, dtype=np.float64).astype(np.float16)
                 for name in ("expected", "entropy")}
        arrays = {"argmax": predictions.argmax, **means}
    else:
        arrays |= {name: rounded(arrays[name]) for name in ("expected", "entropy")}
    _write_arrays(folder / f"{run}.npz", **arrays)


def write_labels(folder: Path, stacks: "FocalStacks", split: str = "test") -> None:
    """<split>.npz beside the groups: what was to be predicted. ResultsError if there for other stacks."""
    path = folder / f"{split}.npz"
    if not path.exists():
        _write_arrays(path, labels=stacks.labels, categories=np.asarray(stacks.categories, dtype=str),
                      positions=stacks.positions, digest=np.asarray(stacks.digest))
    elif labelled_digest(path) != stacks.digest:
        raise ResultsError(f"{path} describes other stacks than these: move {folder} away and start again")


def labelled_digest(path: Path) -> str:
    """Digest of the stacks that <split>.npz describes. ResultsError for a spoilt file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return str(file["digest"])
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise ResultsError(f"{path} is half-written or spoilt ({error}): remove it, and it is written again") from None


def write_curve(folder: Path, run: str, curve: list["Step"]) -> None:
    """<run>.csv: the training curve, one line per iteration, those of the trunk included."""
    lines = [",".join(f"{value:.7g}" for value in step) for step in curve]
    with replacing(folder / f"{run}.csv") as temporary:
        temporary.write_text("\n".join(["iteration,loss,ordinal,consistency,learning_rate", *lines]) + "\n")


def write_record(
    folder: Path, config: "Config", *, profile: str, stacks: dict[str, Any], seconds: dict[str, float],
    code: dict[str, Any] | None = None, **machine: Any,
) -> dict[str, Any]:
    """<run>.json, the last file of a run: its presence says that the run is complete. Returns the record.

    code: from which the training began, where that isn't the code as it is now.
    """
    run = Weights.of(config).name
    record = {"run": f"{folder.name}/{run}", "profile": profile, "data": config.data, "weights": run,
              "config": asdict(config), "stacks": stacks, "seconds": seconds, **provenance(**machine)}
    record |= {"code": code} if code else {}
    _write_json(folder / f"{run}.json", record)
    return record
