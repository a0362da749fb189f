"""The runs of an experiment as a table: which ones belong to it, which seeds are there, and what they scored."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from companion.experiments import groups, read_experiment
from companion.project import project_root
from companion.runs.identity import RefusedFile, ResultsError, group_name
from companion.runs.reading import load_predictions, read_results, run_records, test_labels
from companion.statistics import at_equal_msd_star
from companion.weights import resolve_methods
from fcl.metrics import bias_and_variance, constant_answer, evaluate

COMMON_STARTS = 45  # the starts 0..44, which every number of frames has


def planned_runs(plan: Mapping[str, Any], profile: str, seeds: Iterable[int]) -> pd.DataFrame:
    """The runs of an experiment in its order, one row each.

    Columns: run ("<group>/<run>"), method as the experiment calls it, and iterations, consistency_start, pairing. Two
    methods with the same weights are two rows of one run.
    """
    rows = []
    for seed in seeds:
        for config, methods in groups(plan, profile, seed):
            shared = {name: getattr(config, name) for name in ("iterations", "consistency_start", "pairing")}
            group = group_name(config, profile)
            for method in methods:
                ((_, weights),) = resolve_methods(method, profile, config.model, config.setting, config.data)
                rows.append({"run": f"{group}/{weights.name}", "method": method, **shared})
    return pd.DataFrame(rows, columns=["run", "method", "iterations", "consistency_start", "pairing"])


def complete_seeds(folder: Path, plan: Mapping[str, Any], profile: str, wanted: str = "all") -> list[int]:
    """Seeds of an experiment of which `folder` (results/<profile>/<data>) has every run; published ones that are lost count,
    so that whoever reads them notices.

    `wanted` names those asked for, as "0 1". Raises ValueError for a text that isn't, ResultsError naming the folder and the
    commands that fill it when one of them is missing or none is there.
    """
    if wanted != "all" and not all(text.isdigit() for text in wanted.split()):
        raise ValueError(f'seeds must be "all" or whole numbers as in "0 1", not {wanted!r}')
    stored = {f"{path.parent.name}/{path.stem}" for path in run_records(folder)}
    numbers = {run.split("/")[0].split("-seed")[-1].split("-")[0] for run in stored}  # "0-shuffled" has 0
    complete = {
        seed for seed in map(int, filter(str.isdigit, numbers)) if {*planned_runs(plan, profile, [seed]).run} <= stored
    }
    seeds = complete if wanted == "all" else {int(text) for text in wanted.split()}
    missing = " ".join(map(str, sorted(seeds - complete)))
    if missing or not seeds:
        target = f"experiment NAME={plan['name']}" if "name" in plan else "all-figures"
        command = f"make {target} PROFILE={profile}" + f" SEEDS={missing!r}" * bool(missing)
        raise ResultsError(
            f"{folder} has no {f'seed {missing}' if missing else 'seed'} with all that this experiment needs. "
            f"`{command}` makes them in runs/; `make publish` copies finished runs to results/."
        )
    return sorted(seeds)


def read_runs(name: str, profile: str, source: str = "results", seeds: str = "all", data: str = "") -> pd.DataFrame:
    """The runs of experiments/<name>.yml: a row of `read_results` each, with the columns of `planned_runs`.

    source is results (committed) or runs (made here); seeds as in `complete_seeds`; data as in `read_experiment`. Errors as
    there.
    """
    plan = read_experiment(name, profile, data)
    return planned_results(project_root() / source / profile / plan["data"], plan, profile, seeds)


def planned_results(folder: Path, plan: Mapping[str, Any], profile: str, seeds: str = "all") -> pd.DataFrame:
    """As `read_runs`, of a plan that is no file, in any folder of results."""
    planned = planned_runs(plan, profile, complete_seeds(folder, plan, profile, seeds))
    try:
        results = read_results(folder, expected=set(planned.run))
    except RefusedFile as error:
        error.experiment = plan.get("name", "")
        raise
    run = results.path.map(lambda path: f"{Path(path).parent.name}/{Path(path).stem}")
    return planned.merge(results.assign(run=run), on="run", validate="many_to_one")


def predictions(rows: pd.DataFrame, name: str = "argmax") -> list[np.ndarray]:
    """One of the stored arrays of each run, in their order (`companion.runs.reading.load_run`)."""
    return [load_predictions(Path(path).with_suffix(".npz"))[name] for path in rows.path]


def labels_of(rows: pd.DataFrame) -> np.ndarray:
    """The true indices (stacks,) of the stacks that these runs were scored on."""
    return test_labels(Path(rows.path.iloc[0]).parents[1])[0]


def beaten_by_a_constant(rows: pd.DataFrame) -> pd.DataFrame:
    """The runs whose MAE is no lower than that of the median label for every stack: they have learnt little that helps."""
    return rows[rows.mae >= constant_answer(labels_of(rows))[0]]


def scored_again(rows: pd.DataFrame, answers: Iterable[np.ndarray]) -> pd.DataFrame:
    """The same runs with the metrics of other answers, (stacks, starts) int for each."""
    labels = labels_of(rows)
    return rows.assign(**pd.DataFrame([evaluate(answer, labels) for answer in answers], index=rows.index))


def on_common_starts(rows: pd.DataFrame) -> pd.DataFrame:
    """The same runs scored on the starts 0..44 alone: five frames have no others, one frame has 49."""
    return scored_again(rows, (answer[:, :COMMON_STARTS] for answer in predictions(rows)))


def with_readout(rows: pd.DataFrame, readout: str) -> pd.DataFrame:
    """The same runs of one frame, read out in another way: one of `companion.weights.READOUTS`, rounded to an index."""
    return scored_again(rows, (np.rint(answer).astype(np.int64) for answer in predictions(rows, readout)))


def squared_errors(rows: pd.DataFrame) -> pd.DataFrame:
    """The same runs with squared_bias and variance, means over stacks, and their sum, squared_error: rmse squared."""
    splits = [bias_and_variance(answer, labels_of(rows)) for answer in predictions(rows)]
    rows = rows.assign(squared_bias=[bias.mean() for bias, _ in splits], variance=[spread.mean() for _, spread in splits])
    return rows.assign(squared_error=rows.squared_bias + rows.variance)


def stack_changes(rows: pd.DataFrame, method: str) -> pd.DataFrame:
    """What a method changes on each stack against the baseline, mean over seeds: mae, msd_star, tv.

    rows: one setting. All three metrics are means over stacks of these columns.
    """
    labels, changes = labels_of(rows), 0
    for _, runs in rows.groupby("seed"):
        ours, baseline = predictions(runs.set_index("method").loc[[method, "baseline"]])
        changes = changes + _by_stack(ours, labels) - _by_stack(baseline, labels)
    return changes / rows.seed.nunique()


def _by_stack(answer: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    answer = answer.astype(np.int64)
    errors, steps = np.abs(answer - labels[:, None]), np.abs(np.diff(answer))
    return pd.DataFrame({"mae": errors.mean(1), "msd_star": answer.std(1), "tv": steps.mean(1)})


def at_equal(
    rows: pd.DataFrame, treatment: Iterable[str], control: Iterable[str], value: str = "mae", capped: bool = False
) -> pd.DataFrame:
    """Two frontiers read at equal MSD* (`companion.statistics.at_equal_msd_star`), for each setting and seed.

    treatment, control: the weights of each by name, in order, without the baseline. capped: at no higher MSD* than the
    baseline's. Columns: setting, seed, msd_star, treatment, control.
    """
    readings = []
    for (setting, seed), runs in rows.groupby(["setting", "seed"], sort=False):
        points = runs.drop_duplicates("weights").set_index("weights")[["msd_star", value]]
        curves = [points.loc[["baseline", *names]] for names in (treatment, control)]
        highest = points.msd_star["baseline"] if capped else np.inf
        readings.append((setting, seed, *at_equal_msd_star(*curves, highest)))
    return pd.DataFrame(readings, columns=["setting", "seed", "msd_star", "treatment", "control"])
