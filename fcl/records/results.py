"""Reading what runs stored: metrics are computed here from predictions, and whatever is incomplete is
refused.

A folder of results is runs/<profile>/<data> or its committed copy results/<profile>/<data>. It holds groups,
each with <run>.json and <run>.npz, and test.npz (validation.npz), which says what was to be predicted.
"""

import json
import lzma
import re
import zipfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fcl.metrics import evaluate
from fcl.models import N, parse_setting
from fcl.records.runs import READOUTS, ResultsError, Weights, parse_weights

if TYPE_CHECKING:
    from fcl.training import Config

RECORD_KEYS = {"run", "profile", "data", "weights", "config", "stacks", "seconds", "code", "versions",
               "machine", "peak_memory_mb", "finished"}
PER_START = {*READOUTS, "entropy"}
PER_STACK = {"argmax", "mean_expected", "mean_entropy"}


def _refusal(path: Path, problem: str) -> ResultsError:
    folder = path.parent if path == _labels_file(path.parent) else path.parents[1]
    profile, data = folder.parent.name, folder.name.removesuffix("-validation")
    options = f"PROFILE={profile}" + ("" if data == "simulated" else f" DATA={data}")
    if folder.name != data:
        return ResultsError(f"{path} {problem}. Remove what is there and run `make weights {options}`")
    seed = re.search(r"-seed(\d+)", path.parent.name)
    options += f" SEEDS={seed[1]}" if seed else ""
    return ResultsError(f"{path} {problem}. Remove what is there and run `make figures {options}`, or `make all-figures "
                        f"{options}` for what isn't in Table A (for results/, `make publish PROFILE={profile}` too)")


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise _refusal(path, "is missing")
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise _refusal(path, f"is half-written or spoilt ({error})") from None


def load_record(path: Path) -> dict[str, Any]:
    """The record of a run, <run>.json. ResultsError if missing, half-written or where another run belongs."""
    if not path.is_file():
        raise _refusal(path, "is missing")
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise _refusal(path, f"is half-written or spoilt ({error})") from None
    if not isinstance(record, dict) or set(record) != RECORD_KEYS:
        raise _refusal(path, f"is no record of a run: it should hold {', '.join(sorted(RECORD_KEYS))}")
    if record["run"] != f"{path.parent.name}/{path.stem}" or record["weights"] != path.stem:
        raise _refusal(path, f"is a duplicate, or was renamed: it describes the run {record['run']}")
    return record


def load_predictions(path: Path) -> dict[str, np.ndarray]:
    """The predictions of a run, <run>.npz, by name.

    argmax (stacks, starts) uint8; for one frame median, too, and expected (index units) and entropy (nats), both
    float16; for several frames the means of these two, mean_expected and mean_entropy (stacks,). Raises ResultsError
    for a missing or half-written file, other arrays, shapes or types, NaN, an index above 48.
    """
    arrays = _load_arrays(path)
    names = PER_START if "expected" in arrays else PER_STACK
    if set(arrays) != names:
        raise _refusal(path, f"holds {', '.join(sorted(arrays))} instead of {', '.join(sorted(names))}")
    shape = arrays["argmax"].shape
    for name, values in arrays.items():
        kind = np.uint8 if name in ("argmax", "median") else np.float16
        if len(shape) != 2 or values.shape != (shape[:1] if name.startswith("mean_") else shape):
            raise _refusal(path, f"holds {name} of shape {values.shape} beside argmax of shape {shape}")
        if values.dtype != kind or not values.size or not np.isfinite(values).all() or values.max() >= N:
            raise _refusal(path, f"holds {name} that is not {kind.__name__}, or with NaN, or above {N - 1}")
    return arrays


def _labels_file(folder: Path) -> Path:
    return folder / ("validation.npz" if folder.name.endswith("-validation") else "test.npz")


def test_labels(folder: Path | str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """labels (stacks,), categories (stacks,) str, positions (stacks, 2) a folder's runs are scored on."""
    arrays = _load_arrays(_labels_file(Path(folder)))
    return arrays["labels"], arrays["categories"], arrays["positions"]


test_labels.__test__ = False  # by its name, pytest would take it for a test


def is_finished(folder: Path, run: str, config: "Config", digest: str) -> bool:
    """Whether a run is complete, has this very config, and was scored on the stacks with this digest."""
    try:
        record = load_record(folder / f"{run}.json")
        load_predictions(folder / f"{run}.npz")
    except ResultsError:
        return False
    described = _labels_file(folder.parent).is_file()
    return described and record["config"] == asdict(config) and record["stacks"]["digest"] == digest


def load_run(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The record (<run>.json, the path given) and the predictions of a run, which must fit each other and the stacks of
    its folder. ResultsError otherwise.
    """
    record, predictions = load_record(path), load_predictions(path.with_suffix(".npz"))
    config, scored = record["config"], _load_arrays(_labels_file(path.parents[1]))
    weights = Weights(config["lambda_msd"], config["lambda_kld"], config["lambda_jsd"])
    if weights != parse_weights(record["weights"]):
        raise _refusal(path, f"contradicts itself: by its config, its weights are {weights.name}")
    shape = len(scored["labels"]), parse_setting(config["setting"]).starts
    if record["stacks"]["digest"] != str(scored["digest"]) or predictions["argmax"].shape != shape:
        raise _refusal(path, f"was scored on other stacks than {_labels_file(path.parents[1])} describes")
    return record, predictions


def _row(path: Path, labels: np.ndarray) -> dict[str, Any]:
    record, predictions = load_run(path)
    config, argmax = record["config"], predictions["argmax"]
    setting, weights = parse_setting(config["setting"]), parse_weights(record["weights"])
    entropy = predictions["entropy"] if "entropy" in predictions else predictions["mean_entropy"]
    row = {
        "profile": record["profile"], "data": record["data"], "model": config["model"],
        "setting": config["setting"], "views": setting.views, "frames": setting.frames,
        "F": config["focal_indices"], "seed": config["seed"], "weights": weights.name, **weights.lambdas,
        **evaluate(argmax, labels), "mean_entropy": float(entropy.mean(dtype=np.float64)), "path": str(path),
    }
    defined = set(row) - ({"msd_star", "tv"} if setting.starts == 1 else set())
    spoilt = [name for name in sorted(defined) if isinstance(row[name], float) and not np.isfinite(row[name])]
    if spoilt:
        raise _refusal(path, f"gives no finite number for {', '.join(spoilt)}")
    return row | {"identity": json.dumps(config, sort_keys=True)}


def read_results(
    folder: Path | str, expected: Iterable[str] | None = None,
) -> pd.DataFrame:
    """One row per run: who it is, its metrics in index units, its mean entropy in nats, the path of its
    record.

    `expected` names the runs ("<group>/<run>") that must be there, and no others are read. Raises ResultsError,
    naming the file and the command that makes it, for a missing or half-written file, for other arrays, for runs
    renamed, duplicated or scored on other stacks, and for NaN where a number belongs.
    """
    folder = Path(folder).absolute()
    labels = test_labels(folder)[0]
    if expected is None:
        found = [path for kind in ("json", "npz") for path in folder.glob(f"[!.]*/[!.]*.{kind}")]
        paths = {path.with_suffix(".json") for path in found if path.name != "group.json"}
    else:
        paths = {folder / f"{run}.json" for run in expected}
    if not paths:
        raise ResultsError(f"no runs in {folder}: make them with `make figures PROFILE={folder.parent.name}`")
    table = pd.DataFrame([_row(path, labels) for path in sorted(paths)])
    twice = table.path[table.identity.duplicated(keep=False)]
    if len(twice):
        raise ResultsError(f"the same run is there twice, remove one: {', '.join(sorted(twice))}")
    return table.drop(columns="identity")
