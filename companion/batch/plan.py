"""What there is to do: the notebooks of a target, as both the Snakefile and its starter need them."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from companion.batch.rendering import output_folder, section_notebooks
from companion.batch.selection import read_selection
from companion.experiments import groups, read_experiment
from companion.profiles import profile_config, read_profile, renders_while_training
from companion.project import project_root, prose
from companion.runs.identity import run_folder
from companion.weights import parse_weights, resolve_methods
from fcl.config import Config, closest
from fcl.settings import parse_setting

FIGURES = ("table_a",)  # the experiments of `figures`; `all-figures` runs every one that renders something
PUBLISHED = "published"  # stands for the seeds that each experiment names
PHOTOGRAPHS = "data/learnaf/center/report.txt"  # written when `make learnaf` has gone through
# What decides simulated stacks.
CODE = tuple(f"fcl/{name}.py" for name in ("optics", "scenes", "simulator", "stacks", "randomness"))


@dataclass(frozen=True)
class Job:
    """One execution of notebooks/train.ipynb.

    page: where the executed notebook goes, seen from the project's folder. parameters: the notebook's. config: what its runs
    share. weights: method -> name of its weights.
    """

    page: str
    parameters: dict[str, Any]
    config: Config
    weights: dict[str, str]

    @property
    def branches(self) -> dict[str, Config]:
        """Name of each run -> its config."""
        return {name: replace(self.config, **parse_weights(name).lambdas) for name in self.weights.values()}

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


def read_seeds(seeds: object) -> list[int]:
    """Seeds from a number, a list of numbers or a text such as "0 1 2"; none for "published". ValueError for others."""
    if str(seeds).strip() == PUBLISHED:
        return []
    numbers = [str(seed) for seed in seeds] if isinstance(seeds, list) else str(seeds).split()
    if not numbers or not all(number.isascii() and number.isdigit() for number in numbers):
        raise ValueError(f'seeds must be {PUBLISHED} or whole numbers, as in "0 1 2", not {seeds!r}')
    return sorted(map(int, set(numbers)))


def targets() -> list[str]:
    """What can be made: tables and figures, weights, the ledger of claims, or the runs of one experiment, by its name."""
    return ["figures", "all-figures", "weights", "render", "claims", *experiment_names()]


def experiment_names() -> list[str]:
    """The experiments that render something, Table A first: runs that several share are called as there."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in (project_root() / "experiments").glob("*.yml")}
    names = [name for name, text in texts.items() if re.search("^renders:", text, re.MULTILINE)]
    return sorted(names, key=lambda name: (name not in FIGURES, name))


@dataclass(frozen=True)
class Plan:
    """What a target needs: trainings, by page and longest first; the section notebooks to draw, by page; `goals`, the files
    that are the target itself.
    """

    target: str
    profile: str
    data: str
    source: str
    seeds: tuple[int, ...]  # none: those that each experiment names
    settings: str
    model: str
    jobs: dict[str, Job]
    notebooks: dict[str, str]
    goals: list[str]

    @property
    def stored(self) -> str:
        """Digest of the stored files that are drawn; empty where this plan makes them itself, and its pages tell."""
        root = project_root()
        folder = root / "results" if self.source == "results" else root / "runs" / self.profile / self.data
        files = [] if self.jobs else sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".npz"))
        marks = [f"{path.relative_to(root)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
        return hashlib.sha256("\n".join(marks).encode()).hexdigest() if marks else ""


def make(
    target: str = "figures",
    profile: str = "laptop",
    seeds: object = 0,
    settings: str = "",
    data: str = "simulated",
    model: str = "",
    source: str = "",
) -> Plan:
    """The plan of a target. `seeds` as in `read_seeds`; `settings`, such as "D1 I1", and `model`: of these only.

    source: of what `render` and `claims` tell, results (the default) or runs. Raises ValueError for an unknown target,
    profile, setting, model, data or source, for nothing to do, where weights are still to be chosen, and for seeds that
    chose them.
    """
    known = {"target": targets(), "data": ("simulated", "learnaf"), "source": ("", "results", "runs")}
    for name, value in {"target": target, "data": data, "source": source}.items():
        if value not in known[name]:
            raise ValueError(f"{name} must be one of {', '.join(known[name])}, not {value!r}.{closest(value, known[name])}")
    read_profile(profile)  # complains about an unknown one
    wanted, drawing = tuple(read_seeds(seeds)), target in ("figures", "all-figures", "render")
    tells = target in ("render", "claims")
    source = source or ("results" if tells else "runs")
    trainings = {} if tells else jobs(target, profile, wanted, str(settings or "").split(), data, str(model or ""))
    notebooks = {}
    if drawing:
        folder = output_folder(profile, source, data)
        place = f"runs/rendering/{profile}/{data}" if source == "results" else folder
        sections = section_notebooks(project_root() / "notebooks", data, profile, source)
        names = FIGURES if target == "figures" else [path.stem for path in sections]
        notebooks = {f"{place}/{name}.ipynb": name for name in names}
    goals = ["weights"] if target == "weights" else list(notebooks or trainings)
    if target == "claims" or (target, profile, data, source) == ("render", "laptop", "simulated", "results"):
        goals.append(f"runs/rendering/{source}-{profile}-claims.txt")
    return Plan(target, profile, data, source, wanted, settings or "", model or "", trainings, notebooks, goals)


def code_digest() -> str:
    """Of the code that draws, of experiments/, and of what prose quotes: when it changes, everything is drawn again."""
    root, digest = project_root(), hashlib.sha256()
    for path in sorted([*root.glob("fcl/**/*.py"), *root.glob("companion/**/*.py"), *root.glob("experiments/*.yml")]):
        digest.update(path.read_bytes())
    for path in prose():
        digest.update("".join(re.findall("<!-- quote [^>]*-->", path.read_text(encoding="utf-8"))).encode())
    return digest.hexdigest()


def cells_digest(notebook: str) -> str:
    """Of a notebook's cells without their outputs, which drawing writes."""
    cells = json.loads((project_root() / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    return hashlib.sha256(
        "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code").encode()
    ).hexdigest()


def jobs(
    target: str, profile: str, seeds: Sequence[int], settings: Sequence[str] = (), data: str = "simulated", model: str = ""
) -> dict[str, Job]:
    """The trainings of a target by page, longest first. Arguments and errors as for `make`.

    The seeds that choose weights are fixed; `data`: simulated or learnaf, whatever the experiments name.
    """
    for setting in settings:
        parse_setting(setting)
    if model:
        Config(model=model)  # complains about an unknown one
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
    trainings: dict[str, Job] = {}
    for plan, seed in planned:
        for config, methods in groups(plan, profile, seed):
            if settings and config.setting not in settings or model and config.model != model:
                continue
            job = _job(config, profile, methods, plan.get("split", "test"))
            if job.page in trainings:  # two experiments share a group: its one notebook makes the runs of both
                both = [*trainings[job.page].weights, *job.weights]
                job = _job(config, profile, list(dict.fromkeys(both)), job.parameters["split"])
            trainings[job.page] = job
    if not trainings:
        asked = " ".join(filter(None, ["of", model, *settings])) + " " if model or settings else ""
        raise ValueError(f"{target} has no runs {asked}in profile {profile}")
    return dict(sorted(trainings.items(), key=lambda entry: -entry[1].cost))


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
