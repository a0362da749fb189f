"""What there is to do: the notebooks of a target, as both the Snakefile and its starter need them."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from companion.batch.weights import candidates
from companion.experiments import groups, parts, read_experiment
from companion.profiles import profile_config, renders_while_training
from companion.project import project_root
from companion.runs.identity import run_folder
from companion.weights import resolve_methods
from fcl.config import Config, closest
from fcl.settings import parse_setting

FIGURES = ("table_a",)  # the experiments of `figures`; `all-figures` runs every one that renders something
SELECTION = "weight_selection"
PUBLISHED = "published"  # stands for the seeds that each experiment names
PHOTOGRAPHS = "data/learnaf/center/report.txt"  # written when `make learnaf` has gone through
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
        """About proportional to the seconds it takes: an iteration takes longer with more frames and wider layers."""
        shared = self.config.trunk_iterations
        iterations = shared + (self.config.iterations - shared) * len(self.weights)
        return round(iterations * (5 + parse_setting(self.config.setting).frames) * self.config.width**2)


def read_selection(profile: str, data: str = "") -> list[dict[str, Any]]:
    """How weights are chosen: each part with the candidates as its methods."""
    selections = parts(read_experiment(SELECTION, profile, data))
    for part in selections:
        names = (weights.name for tried in candidates(part).values() for weights in tried.values())
        part["methods"] = list(dict.fromkeys(["baseline", *names]))
    return selections


def read_seeds(text: str) -> list[int]:
    """Seeds from a text such as "0 1 2"; none for "published". ValueError for any other text."""
    if text.strip() == PUBLISHED:
        return []
    if not text.split() or not all(part.isascii() and part.isdigit() for part in text.split()):
        raise ValueError(f'seeds must be {PUBLISHED} or whole numbers, as in "0 1 2", not {text!r}')
    return sorted(map(int, set(text.split())))


def targets() -> list[str]:
    """What can be made: figures, all-figures, weights, or the runs of one experiment, by its name."""
    return ["figures", "all-figures", "weights", *experiment_names()]


def experiment_names() -> list[str]:
    """The experiments that render something, Table A first: runs that several share are called as there."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in (project_root() / "experiments").glob("*.yml")}
    names = [name for name, text in texts.items() if re.search("^renders:", text, re.MULTILINE)]
    return sorted(names, key=lambda name: (name not in FIGURES, name))


def jobs(
    target: str, profile: str, seeds: Sequence[int], settings: Sequence[str] = (), data: str = "simulated", model: str = ""
) -> list[Job]:
    """The notebooks of a target, longest first. `seeds` are those of figures, by default the ones that each
    experiment names; those that choose weights are fixed. `settings` and `model`: of these only, by default of all.
    `data`: simulated or learnaf, whatever the experiments name.

    Raises ValueError for an unknown target, profile, setting or model, for nothing to do, where weights are still to
    be chosen, and for seeds that chose them.
    """
    for setting in settings:
        parse_setting(setting)
    if model:
        Config(model=model)  # complains about an unknown one
    known = targets()
    if target not in known:
        raise ValueError(f"target must be one of {', '.join(known)}, not {target!r}.{closest(target, known)}")
    if data == "learnaf" and not (project_root() / PHOTOGRAPHS).exists():
        raise ValueError(f"{PHOTOGRAPHS} is missing: run `make learnaf ROOT=...` with the folder of the public data set")
    selections = read_selection(profile, data)
    if target == "weights":
        planned = [(part, seed) for part in selections for seed in part["seeds"]]
    else:
        names = {"figures": FIGURES, "all-figures": experiment_names()}.get(target, [target])
        plans = [read_experiment(name, profile, data) for name in names]
        planned = [(plan, seed) for plan in plans for seed in seeds or plan["seeds"]]
        spent = sorted({seed for _, seed in planned} & set(selections[0]["seeds"]))
        if spent:
            raise ValueError(f"seeds {spent} chose the weights and must not be reported: take others")
    found: dict[str, Job] = {}
    for plan, seed in planned:
        for config, methods in groups(plan, profile, seed):
            if settings and config.setting not in settings or model and config.model != model:
                continue
            job = _job(config, profile, methods, plan.get("split", "test"))
            if job.page in found:  # two experiments share a group: its one notebook makes the runs of both
                both = [*found[job.page].weights, *job.weights]
                job = _job(config, profile, list(dict.fromkeys(both)), job.parameters["split"])
            found[job.page] = job
    if not found:
        asked = " ".join(filter(None, ["of", model, *settings])) + " " if model or settings else ""
        raise ValueError(f"{target} has no runs {asked}in profile {profile}")
    return sorted(found.values(), key=lambda job: -job.cost)


def _job(config: Config, profile: str, methods: Sequence[str], split: str) -> Job:
    text = ", ".join(methods)
    chosen = resolve_methods(text, profile, config.model, config.setting, config.data)
    usual = profile_config(profile, model=config.model, data=config.data)
    names = ["data", "model", "setting", "focal_indices", "seed"]
    unusual = ("consistency_start", "iterations", "pairing")
    names += [name for name in unusual if getattr(config, name) != getattr(usual, name)]
    parameters = {"profile": profile, **{name: getattr(config, name) for name in names}}
    page = run_folder(profile, config, split).relative_to(project_root()) / "train.ipynb"
    weights = {label: weights.name for label, weights in chosen}
    return Job(page.as_posix(), parameters | {"methods": text, "split": split}, config, weights)
