"""What there is to do: the notebooks of a target, as both the Snakefile and its starter need them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fcl.config import Config
from fcl.models import parse_setting
from fcl.runs import project_root, renders_while_training, resolve_methods, run_folder
from fcl.tables import experiment
from fcl.weights import candidates

TARGETS = ("figures", "all-figures", "weights")
FIGURES = ("table_a.yml",)  # what `figures` runs; `all-figures` runs every experiment that renders something
SELECTION = "weight_selection.yml"
# What decides simulated stacks.
CODE = tuple(f"fcl/{name}.py" for name in ("optics", "scenes", "simulator", "stacks", "randomness"))


@dataclass(frozen=True)
class Job:
    """One execution of notebooks/train.ipynb.

    page: where the executed notebook goes, seen from the project's folder. parameters: the notebook's.
    config: what its runs share. weights: method -> name of its weights.
    """

    page: str
    parameters: dict[str, Any]
    config: Config
    weights: dict[str, str]

    @property
    def identity(self) -> str:
        """All that decides these runs, except the stacks: when it changes, the notebook runs again."""
        parts = {"config": asdict(self.config), "weights": self.weights, "parameters": self.parameters}
        return json.dumps(parts)

    @property
    def stacks(self) -> list[str]:
        """The files whose presence says that the stacks of this notebook are there."""
        profile, data, scored = self.parameters["profile"], self.config.data, self.parameters["split"]
        splits = [scored] if renders_while_training(profile, data) else ["train", scored]
        return [f"data/{profile}/{data}/{split}/stacks.json" for split in splits]

    @property
    def cost(self) -> int:
        """About proportional to the seconds it takes: an iteration takes longer with more frames."""
        shared = self.config.trunk_iterations
        iterations = shared + (self.config.iterations - shared) * len(self.weights)
        return iterations * (5 + parse_setting(self.config.setting).frames)


def read_experiment(name: str, profile: str) -> dict[str, Any]:
    """experiments/<name> with a profile's exceptions put in."""
    return experiment(project_root() / "experiments" / name, profile)


def read_selection(profile: str, settings: Sequence[str] = ()) -> dict[str, Any]:
    """How weights are chosen, for some of its settings or for all. ValueError for a setting it doesn't have."""
    selection = read_experiment(SELECTION, profile)
    unknown = [setting for setting in settings if setting not in selection["settings"]]
    if unknown:
        known = ", ".join(selection["settings"])
        raise ValueError(f"settings must be some of {known}, where weights are chosen, not {', '.join(unknown)}")
    return selection | {"settings": list(settings) or selection["settings"]}


def jobs(target: str, profile: str, seeds: Sequence[int], settings: Sequence[str] = ()) -> list[Job]:
    """The notebooks of a target, longest first. `seeds` are for figures: those that choose weights are fixed.
    `settings` are for weights: none stands for all.

    Raises ValueError for an unknown target, profile or setting, where weights are still to be chosen, and for
    seeds that chose them.
    """
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
    selection = read_selection(profile, settings)
    spent = sorted(set(seeds) & set(selection["seeds"]))
    if target == "weights":
        rows = candidates(selection).values()
        methods = dict.fromkeys(["baseline", *(weights.name for row in rows for weights in row.values())])
        planned = [(selection | {"methods": list(methods)}, seed) for seed in selection["seeds"]]
    elif spent:
        raise ValueError(f"seeds {spent} chose the weights and must not be reported: take others")
    else:
        planned = [(plan, seed) for plan in _figures(target, profile) for seed in seeds]
    found: dict[str, Job] = {}
    for plan, seed in planned:
        for job in _notebooks(plan, profile, seed):
            if job.page in found:  # two experiments share a group: its one notebook makes the runs of both
                both = [*found[job.page].weights, *job.weights]
                job = _job(job.config, profile, list(dict.fromkeys(both)), job.parameters["split"])
            found[job.page] = job
    return sorted(found.values(), key=lambda job: -job.cost)


def _figures(target: str, profile: str) -> Iterator[dict[str, Any]]:
    for path in sorted((project_root() / "experiments").glob("*.yml")):
        plan = read_experiment(path.name, profile)
        if path.name in FIGURES or (target == "all-figures" and "renders" in plan):
            yield plan


def _notebooks(plan: Mapping[str, Any], profile: str, seed: int) -> Iterator[Job]:
    common = {name: plan[name] for name in ("data", "model", "focal_indices")}
    for setting in plan["settings"]:
        config = Config.from_profile(profile, setting=setting, seed=seed, **common)
        yield _job(config, profile, plan["methods"], plan.get("split", "test"))


def _job(config: Config, profile: str, methods: Sequence[str], split: str) -> Job:
    text = ", ".join(methods)
    chosen = resolve_methods(text, profile, config.model, config.setting)
    names = ("data", "model", "setting", "focal_indices", "seed")
    parameters = {"profile": profile, **{name: getattr(config, name) for name in names}}
    page = run_folder(profile, config, split).relative_to(project_root()) / "train.ipynb"
    weights = {label: weights.name for label, weights in chosen}
    return Job(page.as_posix(), parameters | {"methods": text, "split": split}, config, weights)
