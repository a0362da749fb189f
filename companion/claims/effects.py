"""From a claim's arms to the effect of each unit. The head of experiments/claims.yml defines every word used here.

Numbers come from a source: `Stored`, runs on disk, or `Printed`, the paper's own tables, read as one run of one seed. It has
`runs(arm)`, seed -> run, and `measure(metric, arm, seed, starts, seeds)`, one number, NaN where it isn't defined. Arms given
to it name their setting. Shapes as in fcl.metrics.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from companion.claims.registry import METRICS, OF_CONFIG, Arm, Claim, config
from companion.paper import paper_table
from companion.report.corner_cases import at_truth, layer_indices, layer_switches, scored_scenes
from companion.runs.reading import load_record, load_run, run_records, test_labels
from companion.runs.tables import COMMON_STARTS
from companion.statistics import at_equal_msd_star
from companion.weights import Weights, chosen_weights
from fcl.closed_loop import trajectories
from fcl.metrics import evaluate
from fcl.models import build_model

CLOSED_LOOP = ("settles_right", "settles_wrong", "cycles", "reversal_rate")
WINS = ("mae", "rmse", "msd_star", "tv")
ON_FRONTIER = {"mae_at_msd_star": "mae", "entropy_at_msd_star": "mean_entropy"}
HARDEST = 0.1  # of the stacks
Measure = Callable[[str, Arm], float]


class Stored:
    """Complete runs in results/<profile>/<data> or runs/<profile>/<data>. Reads a run when it is needed, and once."""

    def __init__(self, folder: Path):
        self.profile = folder.parent.name
        labels, self.categories, _ = test_labels(folder)
        self.labels = labels.astype(np.int64)
        self.records = {f"{path.parent.name}/{path.stem}": load_record(path) for path in run_records(folder)}
        self._seeds: dict[Any, dict[int, str]] = defaultdict(dict)  # what runs share -> seed -> run
        for run, record in self.records.items():
            self._seeds[_shared(record["config"], record["weights"])][record["config"]["seed"]] = run
        self._arrays = cache(lambda run: load_run(folder / f"{run}.json")[1])
        self._layers = cache(lambda seed, patch: layer_indices(scored_scenes(self.labels, seed, patch)))
        self._memo: dict[Any, Any] = {}

    def runs(self, arm: Arm) -> dict[int, str]:
        """Seed -> run, "<group>/<run>", of a plain arm. None for a method whose weights aren't chosen yet."""
        key = tuple((name, arm[name]) for name in (*OF_CONFIG, "method", "weights") if name in arm)
        if key not in self._memo:
            wanted, method, weights = config(arm, self.profile), arm.get("method", "baseline"), arm.get("weights")
            with suppress(ValueError):
                weights = weights or chosen_weights(self.profile, wanted.model, wanted.setting, [method])[method].name
            self._memo[key] = self._seeds.get(_shared(asdict(wanted), weights), {})
        return self._memo[key]

    def measure(self, metric: str, arm: Arm, seed: int, starts: str, seeds: Sequence[int]) -> float:
        """A metric of one run, on the arm's stacks and starts. seeds: those that choose the hardest stacks together.

        Raises ValueError for what isn't stored: another readout of several frames, their entropy at some starts.
        """
        run = self.runs(arm)[seed]
        key = run, metric, starts, arm.get("readout"), arm.get("stacks"), tuple(seeds)
        if key not in self._memo:
            count = COMMON_STARTS if starts == "common" else None
            self._memo[key] = self._measure(metric, arm, run, self._stacks(arm, seed, count, seeds), count)
        return self._memo[key] * arm.get("times", 1)

    def _measure(self, metric: str, arm: Arm, run: str, stacks: np.ndarray, count: int | None) -> float:
        """The metric of one run on some stacks, (stacks,) bool, and on its first `count` starts."""
        record, arrays, labels = self.records[run], self._arrays(run), self.labels[stacks]
        if metric == "parameters":
            return _parameters(*(record["config"][name] for name in ("model", "setting", "backbone", "width")))
        if not stacks.any():
            return np.nan
        if metric == "mean_entropy":
            if "entropy" not in arrays and count:
                raise ValueError(f"{run} has several frames: its entropy is stored as a mean over all starts, not some")
            entropy = arrays["entropy"][:, :count] if "entropy" in arrays else arrays["mean_entropy"]
            return float(entropy[stacks].mean(dtype=np.float64))
        predictions = self._predictions(arm, run)[stacks]
        if metric in CLOSED_LOOP:  # from those starts; on its way the lens may come to any other
            return float(trajectories(predictions, labels)[metric][:, :count].mean())
        predictions = predictions[:, :count]
        if metric == "layer_switches":
            return layer_switches(predictions, self._layers(record["stacks"]["seed"], record["config"]["patch"])[stacks])
        if metric == "signed_error":
            return float((predictions - labels[:, None]).mean())
        return evaluate(predictions, labels)[metric]

    def _predictions(self, arm: Arm, run: str) -> np.ndarray:
        arrays, readout = self._arrays(run), arm.get("readout", "argmax")
        if readout not in arrays:
            raise ValueError(f"{run} has several frames: the {readout} of its answers isn't stored at each start")
        return np.rint(arrays[readout]).astype(np.int64)

    def _stacks(self, arm: Arm, seed: int, count: int | None, seeds: Sequence[int]) -> np.ndarray:
        """Which stacks the arm takes: (stacks,) bool."""
        which = arm.get("stacks", "all")
        if which == "all":
            return np.full(len(self.labels), True)
        if which in ("wrong_at_truth", "right_at_truth"):
            answers = at_truth(self._predictions(arm, self.runs(arm)[seed]), self.labels)
            return (np.abs(answers - self.labels) > 1) == (which == "wrong_at_truth")
        if which != "hardest":
            return self.categories == which
        hardest, runs = np.full(len(self.labels), False), self.runs(_choosing(arm))
        spreads = [self._arrays(runs[other])["argmax"][:, :count].std(axis=1) for other in seeds if other != seed]
        if spreads:
            order = np.argsort(-np.mean(spreads, axis=0), kind="stable")
            hardest[order[: max(1, round(HARDEST * len(order)))]] = True
        return hardest


class Printed:
    """The paper's Tables A, B and C (experiments/paper.yml): all starts and all stacks, whatever a claim asks for."""

    def __init__(self):
        self.cells: dict[tuple[str, int, str], dict[str, float]] = defaultdict(dict)
        for name in ("table_a", "table_b", "table_c"):
            rows = paper_table(name)
            for row in rows[~rows.reference].to_dict(orient="records"):
                row = {"setting": "D1", "focal_indices": 4} | row
                lambdas = {term: float(row[f"lambda_{term}"]) for term in ("msd", "kld") if f"lambda_{term}" in row}
                label = Weights(**lambdas).name if lambdas else row["method"]
                metrics = {metric: row[metric] for metric in WINS if metric in row}
                self.cells[row["setting"], row["focal_indices"], label].update(metrics)

    def runs(self, arm: Arm) -> dict[str, str]:
        """{"paper": ""} where a table has such a row. The paper's backbone is MobileNetV2, also of the compact arms here."""
        known = {"setting", "focal_indices", "method", "weights", "model", "backbone"}
        fits = set(arm) <= known and arm.get("model", "afpe") == "afpe" and self._cell(arm) in self.cells
        return {"paper": ""} if fits else {}

    def measure(self, metric: str, arm: Arm, seed: str, starts: str, seeds: Sequence[str]) -> float:
        """A cell as printed, NaN where there is none."""
        return self.cells[self._cell(arm)].get(metric, np.nan)

    @staticmethod
    def _cell(arm: Arm) -> tuple[str, int, str]:
        return arm["setting"], arm.get("focal_indices", 4), arm.get("method") or arm.get("weights")


def comparisons(claim: Claim) -> Iterator[tuple[int, str, list[Arm], list[Arm]]]:
    """Number of the pair, setting (empty where arms name their own), the pair and that of `beyond`; arms have settings."""
    for number, setting in itertools.product(range(len(claim.pairs)), claim.settings or ("",)):
        pair, beyond = claim.pairs[number], claim.beyond[number] if claim.beyond else ()
        yield number, setting, *([{"setting": setting} | arm for arm in arms] for arms in (pair, beyond))


def needed(claim: Claim) -> Iterator[Arm]:
    """Every plain arm (frontiers unfolded, those that choose stacks included) that a claim compares."""
    for _, _, pair, beyond in comparisons(claim):
        for arm in (*pair, *beyond):
            yield from unfold(arm)
            if arm.get("stacks") == "hardest":
                yield _choosing(arm)


def unfold(arm: Arm) -> list[Arm]:
    """The arms of a frontier, from the baseline on; any other arm is its own, and a value is none."""
    if "frontier" not in arm:
        return [] if "value" in arm else [arm]
    others = {name: value for name, value in arm.items() if name != "frontier"}
    return [others | {"weights": name} for name in ("baseline", *arm["frontier"].split(", "))]


def complete_seeds(claim: Claim, source: Stored | Printed) -> dict[Any, list[str]]:
    """Seed -> its runs, for the seeds of which every arm has its run, in order."""
    runs_of_arms = [source.runs(arm) for arm in needed(claim)]
    complete = set.intersection(*map(set, runs_of_arms))
    return {seed: sorted({runs[seed] for runs in runs_of_arms}) for seed in sorted(complete)}


def effects(claim: Claim, source: Stored | Printed, seeds: Sequence[Any]) -> pd.DataFrame:
    """A row for each test, pair, setting (empty where the arms name their own) and seed: its effect, and of which runs."""
    rows = []
    for (metric, _, _), (number, setting, pair, beyond), seed in itertools.product(claim.tests, comparisons(claim), seeds):
        measure = partial(_measure, source, seed=seed, starts=claim.starts, seeds=seeds)
        effect = _effect(metric, *pair, measure) - (_effect(metric, *beyond, measure) if beyond else 0)
        runs = {source.runs(plain)[seed] for arm in pair for plain in unfold(arm)}
        rows.append((metric, number, setting, seed, effect, ", ".join(sorted(runs))))
    return pd.DataFrame(rows, columns=["metric", "pair", "setting", "seed", "effect", "runs"])


def _measure(source: Stored | Printed, metric: str, arm: Arm, **asked: Any) -> float:
    return arm["value"] if "value" in arm else source.measure(metric, arm, **asked)


def _effect(metric: str, treatment: Arm, control: Arm, measure: Measure) -> float:
    if metric == "wins":
        cells = [np.sign(measure(name, control) - measure(name, treatment)) for name in WINS]
        return float(np.mean(cells)) / 2  # a win 1, a tie one half, less one half
    if metric in ON_FRONTIER:
        names = ("msd_star", ON_FRONTIER[metric])
        curves = ([[measure(name, plain) for name in names] for plain in unfold(arm)] for arm in (treatment, control))
        try:
            _, one, other = at_equal_msd_star(*curves)
        except ValueError:  # a metric isn't finite somewhere
            return np.nan
    else:
        one, other = measure(metric, treatment), measure(metric, control)
    if METRICS[metric] != "relative":
        return one - other
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.log(np.divide(one, other)))


def _choosing(arm: Arm) -> Arm:
    """The arm whose spread over starts says which stacks are the hardest: FCL with one frame of the same view."""
    fields = {name: arm[name] for name in OF_CONFIG if name in arm}
    return fields | {"method": "fcl", "setting": f"{arm['setting'][0]}1"}


def _shared(fields: dict[str, Any], weights: str | None) -> tuple[frozenset, str | None]:
    """What the runs of an arm have in common: their config but for the seed, and the name of their weights."""
    return frozenset((name, value) for name, value in fields.items() if name != "seed" and "lambda" not in name), weights


@cache
def _parameters(*shape: Any) -> float:
    return float(sum(values.numel() for values in build_model(*shape).parameters()))
