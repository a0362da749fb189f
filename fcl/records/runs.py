"""Run identity and storage: what a run is called, where it lies, what is written about it.

A group is everything that shares one trunk, hence one notebook; a run is one branch, named after its weights:
    runs/<profile>/<data>/<group>/<run>.json, .npz, .csv, .safetensors
results/ holds the committed copies of .json and .npz. fcl.records.results reads both.
"""

import argparse
import difflib
import functools
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from fcl.records.provenance import provenance

if TYPE_CHECKING:
    from fcl.stacks import FocalStacks
    from fcl.training import Config, Predictions, Step

METHODS = ("baseline", "msd", "jsd", "kld", "fcl")  # in the order of Table A
READOUTS = ("argmax", "median", "expected")  # one index from a distribution: the most likely, the median, the mean
SPLITS = ("test", "validation")
OWN_PLACE = {"model", "setting", "data", "focal_indices", "seed", "lambda_msd", "lambda_kld", "lambda_jsd"}
SPELT = {"consistency_start": "start", "pairing": ""}  # in the names of groups


class ResultsError(ValueError):
    """Stored results are missing, half-written, or contradict each other."""


def closest(name: object, known: Iterable[str]) -> str:
    """A question for a misspelt name, "Did you mean 'kld'?", or nothing."""
    match = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {match[0]!r}?" if match else ""


def project_root() -> Path:
    """The folder of pyproject.toml, found upwards from this file, else from the working directory."""
    for start in (Path(__file__).resolve().parent, Path.cwd()):
        for folder in (start, *start.parents):
            if (folder / "pyproject.toml").exists():
                return folder
    raise FileNotFoundError("no pyproject.toml above fcl/ or the working directory: run this in the project")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place if the block succeeds: nobody sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class Weights:
    """Weights of the consistency terms in Eq. (9), each from 0 to 1000. All 0 is the baseline."""

    msd: float = 0.0
    kld: float = 0.0
    jsd: float = 0.0

    def __post_init__(self) -> None:
        for term, value in asdict(self).items():
            if type(value) not in (int, float) or not 0 <= value <= 1000:
                raise ValueError(f"the weight of {term} must be a number from 0 to 1000, not {value!r}")

    @classmethod
    def of(cls, config: "Config") -> "Weights":
        """The weights of a config."""
        return cls(config.lambda_msd, config.lambda_kld, config.lambda_jsd)

    @property
    def lambdas(self) -> dict[str, float]:
        """As fields of a Config: `dataclasses.replace(config, **weights.lambdas)`."""
        return {f"lambda_{term}": float(value) for term, value in asdict(self).items()}

    @property
    def name(self) -> str:
        """Canonical name, such as 'baseline', 'msd6' or 'msd4+kld0.857'; no two weights share one."""
        parts = []
        for term, value in asdict(self).items():
            if value > 0:
                short = f"{value:g}"
                parts.append(f"{term}{short if float(short) == value else repr(float(value))}")
        return "+".join(parts) or "baseline"


def parse_weights(text: str) -> Weights:
    """Weights from a name such as 'baseline', 'kld4' or 'msd4+kld0.857'. Raises ValueError for any other.

    >>> parse_weights("kld4+msd6").name
    'msd6+kld4'
    """
    found: dict[str, float] = {}
    for part in () if text == "baseline" else text.split("+"):
        match = re.fullmatch(r"(msd|kld|jsd)(\d+(?:\.\d+)?(?:e-\d+)?)", part, re.ASCII)
        if not match or match[1] in found or float(match[2]) == 0:
            raise ValueError(f"weights {text!r}: {part!r} is not msd, kld or jsd, once, and a number above "
                             "0. Write 'baseline', 'msd6', 'jsd32', 'msd4+kld4'; leave a weight of 0 out")
        found[match[1]] = float(match[2])
    return Weights(**found)


def _experiments(name: str) -> dict[str, Any]:
    return parse_yaml((project_root() / "experiments" / name).read_text(encoding="utf-8"))


@functools.lru_cache
def parse_yaml(text: str) -> dict[str, Any]:
    """What a text in YAML says, which may be nothing. Kept: parsing is slow, and every Config of a plan asks again."""
    return yaml.safe_load(text) or {}


def read_profile(profile: str, model: str = "afpe", data: str = "simulated") -> dict[str, Any]:
    """One profile of experiments/profiles.yml, as it is for a model and for data. ValueError for an unknown one."""
    profiles = _experiments("profiles.yml")
    if profile not in profiles:
        raise ValueError(f"profile must be one of {', '.join(profiles)}, not {profile!r}."
                         f"{closest(profile, profiles)}")
    return {key: value.get(str(model), value.get(str(data))) if isinstance(value, dict) else value
            for key, value in profiles[profile].items()}


def weights_key(profile: str, data: str) -> str:
    """Which entry of experiments/weights.yml: `laptop` for simulated stacks, `laptop-learnaf` for photographs."""
    return profile if data == "simulated" else f"{profile}-{data}"


def renders_while_training(profile: str, data: str) -> bool:
    """Whether a profile's training slices are rendered as they are needed (fcl.rendered) instead of stored."""
    return data == "simulated" and bool(read_profile(profile).get("rendered"))


def chosen_weights(
    profile: str, model: str, setting: str, methods: Iterable[str] = METHODS, data: str = "simulated"
) -> dict[str, Weights]:
    """Weights of some methods, by default of all, as chosen on validation stacks: experiments/weights.yml.

    Raises ValueError where the file doesn't name them, or names what is no method.
    """
    chosen = {"baseline": "baseline"} | _chosen(profile, model, setting, data)
    chosen.pop("readout", None)
    if not set(methods) <= set(chosen) <= set(METHODS):
        found = f"has only {', '.join(list(chosen)[1:])}" if len(chosen) > 1 else "has no weights"
        raise ValueError(f"experiments/weights.yml {found} for {weights_key(profile, data)}, {model}, {setting}. Choose "
                         f"them first: `{_choosing(profile, data)}`; or name weights, such as msd4+kld4")
    return {method: parse_weights(chosen[method]) for method in METHODS if method in methods}


def chosen_readout(profile: str, model: str, setting: str, data: str = "simulated") -> str:
    """How the baseline of a setting with one frame is best read out, as chosen on validation stacks with the weights.

    One of `READOUTS`. Raises ValueError where the file doesn't name it.
    """
    chosen = _chosen(profile, model, setting, data).get("readout")
    if chosen not in READOUTS:
        raise ValueError(f"experiments/weights.yml has the readout {chosen!r} for {weights_key(profile, data)}, {model}, "
                         f"{setting} instead of one of {', '.join(READOUTS)}. Choose it: `{_choosing(profile, data)}`")
    return chosen


def _chosen(profile: str, model: str, setting: str, data: str) -> dict[str, str]:
    return dict(_experiments("weights.yml").get(weights_key(profile, data), {}).get(model, {}).get(setting, {}))


def _choosing(profile: str, data: str) -> str:
    return f"make weights PROFILE={profile}" + ("" if data == "simulated" else f" DATA={data}")


def resolve_methods(
    methods: str, profile: str, model: str, setting: str, data: str = "simulated"
) -> list[tuple[str, Weights]]:
    """(label, weights) of each run in a comma-separated string of methods or weights: 'baseline, fcl, jsd32'.

    Two labels may stand for the same weights (fcl and msd4+kld4): one run, under the first label. Raises
    ValueError for an unknown or missing name, and for one that is there twice.
    """
    labels = [label.strip() for label in methods.split(",")]
    resolved: dict[Weights, str] = {}
    for label in labels:
        if not label:
            raise ValueError(f"methods {methods!r}: a name is missing")
        if labels.count(label) > 1:
            raise ValueError(f"methods {methods!r}: {label!r} is there twice")
        if label in METHODS:
            weights = chosen_weights(profile, model, setting, [label], data)[label]
        else:
            try:
                weights = parse_weights(label)
            except ValueError as error:
                raise ValueError(f"methods {methods!r}: {label!r} is none of {', '.join(METHODS)}."
                                 f"{closest(label, METHODS)} Nor is it weights: {error}") from None
        resolved.setdefault(weights, label)
    return [(label, weights) for weights, label in resolved.items()]


def group_name(config: "Config", profile: str) -> str:
    """'<model>-<setting>-F<F>-seed<seed>', and then whatever is not as in the profile, such as '-start0'."""
    usual = {entry.name: entry.default for entry in fields(config)} | read_profile(profile, config.model, config.data)
    name = f"{config.model}-{config.setting.replace('*', 'all')}-F{config.focal_indices}-seed{config.seed}"
    for key, value in asdict(config).items():
        if key not in OWN_PLACE and value != usual[key]:
            name += f"-{SPELT.get(key, key)}{f'{value:g}' if isinstance(value, float) else value}"
    return name


def run_folder(profile: str, config: "Config", split: str = "test") -> Path:
    """runs/<profile>/<data>/<group>, or <data>-validation for runs that are scored to choose weights."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    data = config.data if split == "test" else f"{config.data}-validation"
    return project_root() / "runs" / profile / data / group_name(config, profile)


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
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def write_predictions(folder: Path, run: str, predictions: "Predictions") -> None:
    """<run>.npz: everything at every start for one frame, else argmax, mean_expected and mean_entropy."""
    arrays = predictions._asdict()
    if predictions.argmax.shape[1] < 49:  # several frames
        means = {f"mean_{name}": arrays[name].mean(axis=1, dtype=np.float64).astype(np.float16)
                 for name in ("expected", "entropy")}
        arrays = {"argmax": predictions.argmax, **means}
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
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
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


def main(arguments: list[str] | None = None) -> None:
    """Command line: `python -m fcl.records.runs publish --profile laptop` copies complete runs to results/."""
    from fcl.records.results import keep_networks, publish  # not above: they import this module

    parser = argparse.ArgumentParser(prog="python -m fcl.records.runs", description="Copy complete runs to results/.")
    parser.add_argument("command", choices=["publish"])
    parser.add_argument("--profile", default="laptop")
    options = parser.parse_args(arguments)
    try:
        records, networks = publish(options.profile), keep_networks(options.profile)
    except ValueError as error:
        sys.exit(f"publish: {error}")
    unclean = sum(record["code"]["clean"] is not True for record in records)
    note = f"; {unclean} of them by code that isn't committed as it was" if unclean else ""
    print(f"published {len(records)} runs and {len(networks)} trained networks to results/{options.profile}/{note}")


if __name__ == "__main__":
    main()
