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
from typing import Any

import numpy as np
import pandas as pd

from fcl.config import Config
from fcl.metrics import evaluate
from companion.runs.identity import ResultsError, group_name
from companion.weights import READOUTS, Weights, parse_weights
from fcl.settings import N, parse_setting

RECORD_KEYS = {"run", "profile", "data", "weights", "config", "stacks", "seconds", "code", "versions",
               "machine", "peak_memory_mb", "finished"}
PARTS = {"stacks": {"digest", "seed"}, "code": {"commit", "clean"}, "seconds": {"trunk", "branch"}}  # what is read of them
PER_START = {*READOUTS, "entropy"}
PER_STACK = {"argmax", "mean_expected", "mean_entropy"}


class RefusedFile(ResultsError):
    """A file of results that is missing or can't be used: says what to run, of `experiment` where its reader is one."""

    def __init__(self, path: Path, problem: str):
        super().__init__(path, problem)
        self.path, self.problem, self.experiment = path, problem, ""

    def __str__(self) -> str:
        is_labels = self.path == _labels_file(self.path.parent)
        folder = self.path.parent if is_labels else self.path.parents[1]
        profile, data = folder.parent.name, folder.name.removesuffix("-validation")
        options = f"PROFILE={profile}" + ("" if data == "simulated" else f" DATA={data}")
        again = f"{self.path} {self.problem}. Remove what is there and run"
        if folder.name != data:
            return f"{again} `make weights {options}`"
        seed = re.search(r"-seed(\d+)", self.path.parent.name)
        options += f" SEEDS={seed[1]}" if seed else ""
        published = f"(for results/, `make publish PROFILE={profile}` too)"
        if self.experiment:
            return f"{again} `make experiment NAME={self.experiment} {options}` {published}"
        return f"{again} `make figures {options}`, or `make all-figures {options}` for what isn't in Table A {published}"


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise RefusedFile(path, "is missing")
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise RefusedFile(path, f"is half-written or spoilt ({error})") from None


def run_records(folder: Path) -> list[Path]:
    """The records of the runs in a folder of results, <group>/<run>.json: of those that are complete."""
    return sorted(path for path in folder.glob("[!.]*/[!.]*.json") if path.name != "group.json")


def load_record(path: Path) -> dict[str, Any]:
    """The record of a run, <run>.json. ResultsError if missing, half-written, where another run belongs, or of another config
    than its name says.
    """
    if not path.is_file():
        raise RefusedFile(path, "is missing")
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise RefusedFile(path, f"is half-written or spoilt ({error})") from None
    if not isinstance(record, dict) or set(record) != RECORD_KEYS:
        raise RefusedFile(path, f"is no record of a run: it should hold {', '.join(sorted(RECORD_KEYS))}")
    if record["run"] != f"{path.parent.name}/{path.stem}" or record["weights"] != path.stem:
        raise RefusedFile(path, f"is a duplicate, or was renamed: it describes the run {record['run']}")
    for name, keys in PARTS.items():
        if not isinstance(record[name], dict) or not keys <= set(record[name]):
            raise RefusedFile(path, f"is no record of a run: its {name} should hold {', '.join(sorted(keys))}")
    spoilt = [name for name, value in record["seconds"].items() if type(value) not in (int, float) or not np.isfinite(value)]
    if spoilt:
        raise RefusedFile(path, f"gives no finite number of seconds for {', '.join(spoilt)}")
    try:
        config = Config(**record["config"])
        run = f"{group_name(config, record['profile'])}/{Weights.of(config).name}"
    except (TypeError, ValueError) as error:
        raise RefusedFile(path, f"has a config that is none ({error})") from None
    if run != record["run"] or config.data != record["data"]:
        raise RefusedFile(path, f"contradicts itself: by its config, it is the run {run} on {config.data} stacks")
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
        raise RefusedFile(path, f"holds {', '.join(sorted(arrays))} instead of {', '.join(sorted(names))}")
    shape = arrays["argmax"].shape
    for name, values in arrays.items():
        kind = np.uint8 if name in ("argmax", "median") else np.float16
        if len(shape) != 2 or values.shape != (shape[:1] if name.startswith("mean_") else shape):
            raise RefusedFile(path, f"holds {name} of shape {values.shape} beside argmax of shape {shape}")
        if values.dtype != kind or not values.size or not np.isfinite(values).all() or values.max() >= N or values.min() < 0:
            raise RefusedFile(path, f"holds {name} that is not {kind.__name__}, or with NaN, or below 0, or above {N - 1}")
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
    shape = len(scored["labels"]), parse_setting(config["setting"]).starts
    if record["stacks"]["digest"] != str(scored["digest"]) or predictions["argmax"].shape != shape:
        raise RefusedFile(path, f"was scored on other stacks than {_labels_file(path.parents[1])} describes")
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
        raise RefusedFile(path, f"gives no finite number for {', '.join(spoilt)}")
    return row


def read_results(folder: Path | str, expected: Iterable[str] | None = None) -> pd.DataFrame:
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
    return pd.DataFrame([_row(path, labels) for path in sorted(paths)])
