"""Run identity: what a run is called and where it lies.

A group is everything that shares one trunk, hence one notebook; a run is one branch, named after its weights:
    runs/<profile>/<data>/<group>/<run>.json, .npz, .csv, .safetensors
results/ holds the committed copies of .json and .npz. companion.runs.writing writes them, companion.runs.reading reads both.
"""

from dataclasses import asdict, fields
from pathlib import Path

from companion.profiles import read_profile
from companion.project import project_root
from fcl.config import Config

SCORED = ("test", "validation")  # the splits on which runs are scored
OWN_PLACE = {"model", "setting", "data", "focal_indices", "seed", "lambda_msd", "lambda_kld", "lambda_jsd"}
SPELT = {"consistency_start": "start", "pairing": ""}  # in the names of groups


class ResultsError(ValueError):
    """Stored results are missing, half-written, or contradict each other."""


def group_name(config: Config, profile: str) -> str:
    """'<model>-<setting>-F<F>-seed<seed>', and then whatever is not as in the profile, such as '-start0'."""
    usual = {entry.name: entry.default for entry in fields(config)} | read_profile(profile, config.model, config.data)
    name = f"{config.model}-{config.setting.replace('*', 'all')}-F{config.focal_indices}-seed{config.seed}"
    for key, value in asdict(config).items():
        if key not in OWN_PLACE and value != usual[key]:
            name += f"-{SPELT.get(key, key)}{f'{value:g}' if isinstance(value, float) else value}"
    return name


def run_folder(profile: str, config: Config, split: str = "test") -> Path:
    """runs/<profile>/<data>/<group>, or <data>-validation for runs that are scored to choose weights."""
    if split not in SCORED:
        raise ValueError(f"split must be one of {', '.join(SCORED)}, not {split!r}")
    data = config.data if split == "test" else f"{config.data}-validation"
    return project_root() / "runs" / profile / data / group_name(config, profile)
