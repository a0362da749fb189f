"""Results that no network made, in a copy of the project: for tests of what reads and draws results.

In such a copy, `python tests/fake.py laptop "0 1" table_b table_c` writes the runs of those experiments.
"""

import shutil
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import yaml

from companion.batch import plan
from companion.experiments import groups, read_experiment
from companion.profiles import profile_config
from companion.project import project_root
from companion.runs import writing
from companion.runs.identity import group_name
from companion.weights import Weights, parse_weights, resolve_methods
from fcl.config import Config
from fcl.prediction import Predictions
from fcl.scenes import CATEGORIES
from fcl.settings import parse_setting

ROOT = Path(__file__).parents[1]
WEIGHTS = {"msd": "msd6", "jsd": "jsd32", "kld": "kld4", "fcl": "msd4+kld4"}
READOUT = {"readout": "median"}
SECONDS = {"trunk": 1.0, "branch": 1.0, "predict": 1.0}
STACKS = 24


def no_provenance(**machine: int) -> dict:
    """In place of `companion.runs.provenance.provenance`: without asking git for each run."""
    unknown = dict.fromkeys(("versions", "machine", "peak_memory_mb", "finished"))
    return unknown | {"code": {"commit": None, "clean": None}}


def copy_project(folder: Path, settings: list[str], notebooks: Iterable[str] = ("table_a",)) -> None:
    """What rendering some notebooks needs of the project, with weights chosen for these settings."""
    (folder / "notebooks").mkdir()
    for name in notebooks:
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", folder / "notebooks")
    for name in ("fcl", "companion", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "Snakefile"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    entry = {model: {setting: WEIGHTS | READOUT for setting in settings} for model in ("afpe", "l2a")}
    chosen = yaml.safe_dump({"laptop": entry, "smoke": entry})
    (folder / "experiments" / "weights.yml").write_text(chosen)


def write_results(folder: Path, profile: str, settings: list[str], seeds: list[int]) -> None:
    """Runs of Table A in `folder` (results/<profile>/simulated)."""
    configs = [profile_config(profile, setting=setting, seed=seed) for setting in settings for seed in seeds]
    write_runs(folder, profile, ((config, name) for config in configs for name in ("baseline", *WEIGHTS.values())))


def write_runs(folder: Path, profile: str, pairs: Iterable[tuple[Config, str]]) -> None:
    """A run for each (what its group shares, name of its weights): labels plus noise.

    Larger weights and more frames lower the noise over starts, larger weights raise that of whole stacks.
    """
    draw = np.random.default_rng(0)
    labels, positions = draw.integers(0, 49, STACKS), np.zeros((STACKS, 2), np.float32)
    categories = np.resize(CATEGORIES, STACKS)
    folder.mkdir(parents=True, exist_ok=True)
    stacks = SimpleNamespace(labels=labels, categories=categories, positions=positions, digest="made up")
    writing.write_labels(folder, stacks)
    for config, name in pairs:
        weights, setting = parse_weights(name), parse_setting(config.setting)
        config = replace(config, **weights.lambdas)
        pull = weights.msd / 6 + weights.kld / 4 + weights.jsd / 32
        noise = draw.normal(0, 4 / (1 + 0.4 * pull) / (1 + setting.frames / 5), (STACKS, setting.starts))
        noise += draw.normal(0, 1 + 0.3 * pull, (STACKS, 1)) + draw.normal(0, 0.1)
        expected = np.clip(labels[:, None] + noise, 0, 48)
        entropy = (2.5 + noise / 20).astype(np.float16)
        argmax = expected.astype(np.uint8)
        values = Predictions(argmax, expected.astype(np.float16), entropy, median=argmax)
        seconds = {"trunk": 20.0, "branch": 20.0 + 0.2 * pull, "predict": 2.0}
        write_run(folder, config, values, profile, seconds)


def write_run(
    folder: Path,
    config: Config,
    predictions: Predictions | np.ndarray,
    profile: str = "laptop",
    seconds: dict[str, float] | None = None,
) -> Path:
    """A run with these predictions, or with these argmax (stacks, starts) uint8: then the median and the expected
    index are as well, and the entropy a twentieth of it. Its record."""
    if not isinstance(predictions, Predictions):
        half = predictions.astype(np.float16)
        predictions = Predictions(predictions, half, half / 20, median=predictions)
    group, name = folder / group_name(config, profile), Weights.of(config).name
    writing.write_predictions(group, name, predictions)
    origin = {"split": "test", "count": len(predictions.argmax), "seed": 0, "digest": "made up"}
    writing.write_record(group, config, profile=profile, stacks=origin, seconds=seconds or SECONDS)
    return group / f"{name}.json"


if __name__ == "__main__":
    writing.provenance = no_provenance
    profile, seeds, *names = sys.argv[1:]
    pairs = [
        (config, weights.name)
        for name in names
        for seed in plan.read_seeds(seeds)
        for config, methods in groups(read_experiment(name, profile), profile, seed)
        for _, weights in resolve_methods(", ".join(methods), profile, config.model, config.setting)
    ]
    write_runs(project_root() / "results" / profile / "simulated", profile, pairs)
