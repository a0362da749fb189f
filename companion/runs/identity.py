"""What a run is called, where it lies, and which command makes it.

A group is everything that shares one trunk, hence one notebook; a run is one branch, named after its weights:
    runs/<profile>/<data>/<group>/<run>.json, .npz, .csv, .safetensors
A folder of results is runs/<profile>/<data>, or results/<profile>/<data> with the committed copies of .json and .npz. Beside
the groups lies test.npz (validation.npz): the stacks that the runs were scored on.
"""

import re
from dataclasses import fields
from pathlib import Path

from companion.profiles import read_profile
from companion.project import project_root
from fcl.config import Config
from fcl.settings import SPLITS

SCORED = SPLITS[1:]  # the splits on which runs are scored
OWN_PLACE = {"model", "setting", "data", "focal_indices", "seed", "lambda_msd", "lambda_kld", "lambda_jsd"}
SPELT = {"consistency_start": "start", "pairing": ""}  # in the names of groups


class ResultsError(ValueError):
    """Stored results are missing, damaged, or contradict each other."""


class RefusedFile(ResultsError):
    """A file of results that is missing or can't be used. Says what makes it again; `experiment`: whose reader asked."""

    def __init__(self, path: Path, problem: str):
        super().__init__(path, problem)
        self.path, self.problem, self.experiment = path, problem, ""

    def __str__(self) -> str:
        folder = results_folder(self.path)
        profile, data = folder.parent.name, folder.name.removesuffix("-validation")
        options = f"PROFILE={profile}" + ("" if data == "simulated" else f" DATA={data}")
        seed = re.search(r"-seed(\d+)", self.path.parent.name)
        seeds = f" SEEDS={seed[1]}" if seed else ""
        if folder.name != data:
            command = f"`make weights {options}`"
        elif self.experiment:
            command = f"`make experiment NAME={self.experiment} {options}{seeds}`"
        else:
            command = f"`make figures {options}{seeds}` (what isn't in Table A: `make all-figures {options}{seeds}`)"
        if folder.parents[1].name == "results":
            command = f"`git restore {self.path}` if it was committed, else {command} and `make publish PROFILE={profile}`"
        return f"{self.path} {self.problem}. Run {command}"


def group_name(config: Config, profile: str) -> str:
    """'<model>-<setting>-F<F>-seed<seed>', and then whatever is not as in the profile, such as '-start0'."""
    usual = {entry.name: entry.default for entry in fields(config)} | read_profile(profile, config.model, config.data)
    name = f"{config.model}-{config.setting.replace('*', 'all')}-F{config.focal_indices}-seed{config.seed}"
    for key, value in vars(config).items():
        if key not in OWN_PLACE and value != usual[key]:
            name += f"-{SPELT.get(key, key)}{f'{value:g}' if isinstance(value, float) else value}"
    return name


def run_folder(profile: str, config: Config, split: str = "test") -> Path:
    """runs/<profile>/<data>/<group>, or <data>-validation for runs that are scored to choose weights."""
    if split not in SCORED:
        raise ValueError(f"split must be one of {', '.join(SCORED)}, not {split!r}")
    data = config.data if split == "test" else f"{config.data}-validation"
    return project_root() / "runs" / profile / data / group_name(config, profile)


def labels_file(folder: Path) -> Path:
    """The file of a folder of results that says what was to be predicted."""
    return folder / ("validation.npz" if folder.name.endswith("-validation") else "test.npz")


def results_folder(path: Path) -> Path:
    """The folder of results that a file belongs to."""
    return path.parent if path.stem in SCORED or path.name == "SHA256SUMS" else path.parents[1]
