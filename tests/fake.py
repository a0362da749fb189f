"""Results that no network made, in a copy of the project: for tests of what reads and draws results."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import yaml

from fcl import runs
from fcl.config import Config
from fcl.models import parse_setting
from fcl.training import Predictions

ROOT = Path(__file__).parents[1]
WEIGHTS = {"msd": "msd6", "jsd": "jsd32", "kld": "kld4", "fcl": "msd4+kld4"}
SPREAD = {"baseline": 3.0, "msd6": 2.5, "jsd32": 2.5, "kld4": 2.0, "msd4+kld4": 1.5}  # focal indices


def copy_project(folder: Path, settings: list[str]) -> None:
    """What rendering Table A needs of the project, with weights chosen for these settings."""
    (folder / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "table_a.ipynb", folder / "notebooks")
    for name in ("fcl", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    entry = {"afpe": {setting: WEIGHTS for setting in settings}}
    chosen = yaml.safe_dump({"laptop": entry, "smoke": entry})
    (folder / "experiments" / "weights.yml").write_text(chosen)


def write_results(folder: Path, profile: str, settings: list[str], seeds: list[int]) -> None:
    """Runs of Table A in `folder` (results/<profile>/simulated): labels plus noise, the least for FCL."""
    draw, stacks = np.random.default_rng(0), 12
    labels = draw.integers(0, 49, stacks)
    positions = np.zeros((stacks, 2), np.float32)
    made_up = dict(labels=labels, categories=["plain"] * stacks, positions=positions, digest="made up")
    folder.mkdir(parents=True)
    runs.write_labels(folder, SimpleNamespace(**made_up))
    for setting in settings:
        for seed in seeds:
            for name, spread in SPREAD.items():
                weights = runs.parse_weights(name).lambdas
                config = Config.from_profile(profile, setting=setting, seed=seed, **weights)
                noise = draw.normal(0, spread, (stacks, parse_setting(setting).starts))
                write_run(folder, config, np.clip(labels[:, None] + noise, 0, 48).astype(np.uint8), profile)


def write_run(folder: Path, config: Config, argmax: np.ndarray, profile: str = "laptop") -> Path:
    """A run with these predictions (stacks, starts) uint8, expected as the argmax, entropy a twentieth of it. Its record."""
    group, half = folder / runs.group_name(config, profile), argmax.astype(np.float16)
    name = runs.Weights.of(config).name
    runs.write_predictions(group, name, Predictions(argmax, half, half / 20))
    origin = {"split": "test", "count": len(argmax), "seed": 0, "digest": "made up"}
    runs.write_record(group, config, profile=profile, stacks=origin, seconds={})
    return group / f"{name}.json"
