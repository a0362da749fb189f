"""Run identity: what a run is called, with which weights, and where it lies.

A group is everything that shares one trunk, hence one notebook; a run is one branch, named after its weights:
    runs/<profile>/<data>/<group>/<run>.json, .npz, .csv, .safetensors
results/ holds the committed copies of .json and .npz. fcl.records.writing writes them, fcl.records.results reads both.
"""

import difflib
import functools
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from fcl.training import Config

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
