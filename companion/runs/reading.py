"""Reading what runs stored: metrics come from predictions; whatever is incomplete or contradicts its record is refused."""

import functools
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from companion.runs.checksums import published, read_checked
from companion.runs.identity import RefusedFile, ResultsError, group_name, labels_file
from companion.weights import READOUTS, Weights
from fcl.config import Config
from fcl.metrics import evaluate
from fcl.settings import N, parse_setting

RECORD = {"run", "profile", "data", "weights", "config", "stacks", "seconds", "code", "versions"}
RECORD |= {"machine", "peak_memory_mb", "finished"}
WITHIN = {"stacks": {"digest", "seed"}, "code": {"commit", "clean"}, "seconds": {"trunk", "branch"}}  # what is read of them
PER_START = {*READOUTS, "entropy"}
PER_STACK = {"argmax", "mean_expected", "mean_entropy"}


@contextmanager
def _refusing(path: Path, problem: str) -> Iterator[None]:
    """Turn whatever goes wrong in the block into a RefusedFile: damaged bytes make NumPy, zip and JSON raise anything."""
    try:
        yield
    except ResultsError:
        raise
    except Exception as error:
        raise RefusedFile(path, f"{problem} ({error})") from None


def _need(holds: object, problem: str) -> None:
    if not holds:
        raise ValueError(problem)


def run_records(folder: Path) -> list[Path]:
    """The records of all runs of a folder of results, <group>/<run>.json: those that are there, and those published."""
    listed = [folder / name for name in published(folder) or () if name.endswith(".json")]
    return sorted({*listed, *(path for path in folder.glob("[!.]*/[!.]*.json") if path.name != "group.json")})


def load_record(path: Path) -> dict[str, Any]:
    """The record of a run, <run>.json. ResultsError if it is missing, damaged, or of another run than its name says."""
    content = read_checked(path)
    with _refusing(path, "is damaged, or no record of this run"):
        record = json.loads(content)
        _need(RECORD <= set(record) <= RECORD | {"files"}, f"it should hold {', '.join(sorted(RECORD))}")
        for name, keys in WITHIN.items():
            _need(keys <= set(record[name]), f"its {name} should hold {', '.join(sorted(keys))}")
        for name, value in record["seconds"].items():
            _need(type(value) in (int, float) and np.isfinite(value), f"it gives no finite number of seconds for {name}")
        config = Config(**record["config"])
        run = f"{group_name(config, record['profile'])}/{Weights.of(config).name}"
        named = f"{path.parent.name}/{path.stem}"
        _need(record["run"] == named, f"it was copied or renamed: it says that it is {record['run']}")
        fits = (run, path.stem, config.data) == (named, record["weights"], record["data"])
        _need(fits, f"it contradicts itself: by its config, it is the run {run} on {config.data} stacks")
    return record


def _read_arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return dict(file)


def load_run(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The record of a run (<run>.json, the path given) and its predictions (<run>.npz), by name.

    argmax (stacks, starts) uint8; for one frame median, too, and expected (index units) and entropy (nats), both float16;
    for several frames the means of these two, mean_expected and mean_entropy (stacks,). Raises ResultsError for what is
    missing, damaged or of another run; for other arrays, shapes or types, NaN, an index above 48, other stacks.
    """
    record, file, scored = load_record(path), path.with_suffix(".npz"), _scored(path.parents[1])
    content = read_checked(file)
    with _refusing(file, "is damaged, or holds no predictions of this run"):
        written = record.get("files", {}).get(".npz")  # records of earlier versions lack it
        _need(written in (None, hashlib.sha256(content).hexdigest()), "it is another file than its record says")
        arrays = _read_arrays(content)
        names = PER_START if "expected" in arrays else PER_STACK
        _need(set(arrays) == names, f"it holds {', '.join(sorted(arrays))} instead of {', '.join(sorted(names))}")
        shape = len(scored["labels"]), parse_setting(record["config"]["setting"]).starts
        for name, values in arrays.items():
            kind = np.dtype(np.uint8 if name in ("argmax", "median") else np.float16)
            wanted = kind, shape[:1] if name.startswith("mean_") else shape
            _need((values.dtype, values.shape) == wanted, f"{name} is {values.dtype} {values.shape}, not {kind} {wanted[1]}")
            _need(values.min() >= 0 and values.max() < N, f"{name} holds NaN, or numbers outside 0..{N - 1}")
    if record["stacks"]["digest"] != str(scored["digest"]):
        raise RefusedFile(path, f"was scored on other stacks than {labels_file(path.parents[1])} describes")
    return record, arrays


def load_predictions(path: Path) -> dict[str, np.ndarray]:
    """The predictions of a complete run, <run>.npz, as `load_run` gives them."""
    return load_run(path.with_suffix(".json"))[1]


def _scored(folder: Path) -> dict[str, np.ndarray]:
    """What a folder's runs are scored on: labels, categories, positions, digest."""
    path = labels_file(folder)
    return _parse_labels(path, read_checked(path))


@functools.lru_cache(4)
def _parse_labels(path: Path, content: bytes) -> dict[str, np.ndarray]:
    with _refusing(path, "is damaged"):
        arrays = _read_arrays(content)
        shapes = [arrays[name].shape for name in ("labels", "categories", "positions", "digest")]
        stacks = shapes[0]
        _need(shapes[1:] == [stacks, (*stacks, 2), ()], f"its arrays have the shapes {shapes}")
    return arrays


def test_labels(folder: Path | str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """labels (stacks,), categories (stacks,) str, positions (stacks, 2) a folder's runs are scored on."""
    arrays = _scored(Path(folder))
    return arrays["labels"], arrays["categories"], arrays["positions"]


test_labels.__test__ = False  # by its name, pytest would take it for a test


def labelled_digest(path: Path) -> str:
    """Digest of the stacks that a labels file describes; empty for a file that is missing or damaged, to be written anew."""
    try:
        return str(_scored(path.parent)["digest"])
    except ResultsError:
        return ""


def is_finished(folder: Path, run: str, config: Config, digest: str) -> bool:
    """Whether a run in runs/ has all its files and this very config, and was scored on the stacks of this digest."""
    try:
        record, _ = load_run(folder / f"{run}.json")
        curve = hashlib.sha256(read_checked(folder / f"{run}.csv")).hexdigest()
    except ResultsError:
        return False
    described = record["config"], record["stacks"]["digest"], record.get("files", {}).get(".csv", curve)
    return described == (asdict(config), digest, curve)


def _row(path: Path, labels: np.ndarray) -> dict[str, Any]:
    record, arrays = load_run(path)
    config = record["config"]
    setting = parse_setting(config["setting"])
    entropy = arrays["entropy"] if "entropy" in arrays else arrays["mean_entropy"]
    row = {"profile": record["profile"], "data": record["data"], "model": config["model"], "setting": config["setting"]}
    row |= {"views": setting.views, "frames": setting.frames, "F": config["focal_indices"], "seed": config["seed"]}
    row |= {"weights": record["weights"]}
    row |= {name: float(config[name]) for name in ("lambda_msd", "lambda_kld", "lambda_jsd")} | evaluate(
        arrays["argmax"], labels
    )
    return row | {"mean_entropy": float(entropy.mean(dtype=np.float64)), "path": str(path)}


def read_results(folder: Path | str, expected: Iterable[str] | None = None) -> pd.DataFrame:
    """One row per run: who it is, its metrics in index units, its mean entropy in nats, the path of its record.

    `expected` names the runs ("<group>/<run>") that must be there, and no others are read. Raises ResultsError, naming the
    file and the command that makes it, as `load_run` does, and for a folder without runs.
    """
    folder = Path(folder).absolute()
    labels, paths = test_labels(folder)[0], {folder / f"{run}.json" for run in expected or ()}
    if expected is None:  # predictions without a record, too, which is missing then
        paths = {path.with_suffix(".json") for path in folder.glob("[!.]*/[!.]*.npz")}.union(run_records(folder))
    if not paths:
        raise ResultsError(f"no runs in {folder}: make them with `make figures PROFILE={folder.parent.name}`")
    return pd.DataFrame([_row(path, labels) for path in sorted(paths)])
