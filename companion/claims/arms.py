"""From a claim's arms to the effect of each unit. The head of experiments/claims.yml defines every word used here.

Numbers come from a source: `Stored`, runs on disk, or `Printed`, the paper's own tables, which are read as one run of one
seed. A source has `runs(arm, setting)`, seed -> run, and `measure(metric, arm, setting, seed, starts, seeds)`, one number,
NaN where it isn't defined. Shapes as in fcl.metrics.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from companion.claims.registry import METRICS, OF_CONFIG, Arm, Claim, config
from companion.report.corner_cases import layer_indices, layer_switches, scored_scenes
from companion.report.tables import paper_table
from companion.runs.reading import load_record, load_run, run_records, test_labels
from companion.runs.tables import COMMON_STARTS
from companion.statistics import at_equal_msd_star
from companion.weights import Weights, chosen_weights
from fcl.closed_loop import next_start, trajectories
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
        self.folder, self.profile = folder, folder.parent.name
        self.labels, self.categories, _ = test_labels(folder)
        self.records = {f"{path.parent.name}/{path.stem}": load_record(path) for path in run_records(folder)}
        self._of_config: dict[Any, dict[int, str]] = {}
        for run, record in self.records.items():
            key = _identity(record["config"]), record["weights"]
            self._of_config.setdefault(key, {})[record["config"]["seed"]] = run
        self._memo: dict[Any, Any] = {}

    def runs(self, arm: Arm, setting: str) -> dict[int, str]:
        """Seed -> run, "<group>/<run>", of a plain arm. None for a method whose weights aren't chosen yet."""
        named = {name: arm[name] for name in (*OF_CONFIG, "method", "weights") if name in arm} | {"setting": setting}
        key = tuple(named.items())
        if key not in self._memo:
            wanted = config(named, self.profile)
            try:
                method = arm.get("method", "baseline")
                weights = arm.get("weights") or (chosen_weights(self.profile, wanted.model, setting, [method])[method].name)
            except ValueError:
                weights = None
            self._memo[key] = self._of_config.get((_identity(asdict(wanted)), weights), {})
        return self._memo[key]

    def measure(self, metric: str, arm: Arm, setting: str, seed: int, starts: str, seeds: Sequence[int]) -> float:
        """A metric of one run, on the arm's stacks and starts. seeds: those that choose the hardest stacks together.

        Raises ValueError for what isn't stored: another readout of several frames, their entropy at some starts.
        """
        run = self.runs(arm, setting)[seed]
        if metric == "parameters":
            return self._parameters(run) * arm.get("times", 1)
        key = run, metric, starts, *(arm.get(name) for name in ("readout", "stacks")), tuple(seeds)
        if key not in self._memo:
            chosen = self._stacks(arm, setting, seed, starts, seeds)
            self._memo[key] = self._value(metric, run, arm, chosen, starts) if chosen.any() else np.nan
        return self._memo[key] * arm.get("times", 1)

    def _value(self, metric: str, run: str, arm: Arm, chosen: np.ndarray, starts: str) -> float:
        count = COMMON_STARTS if starts == "common" else None
        arrays = self._arrays(run)
        if metric == "mean_entropy":
            if "entropy" not in arrays and count:
                raise ValueError(f"{run} has several frames: its entropy is stored as a mean over all starts, not some")
            entropy = arrays["entropy"][:, :count] if "entropy" in arrays else arrays["mean_entropy"]
            return float(entropy[chosen].mean(dtype=np.float64))
        predictions, labels = self._predictions(run, arm)[chosen], self.labels[chosen].astype(np.int64)
        if metric in CLOSED_LOOP:  # from those starts; on its way the lens may come to any other
            return float(trajectories(predictions, labels)[metric][:, :count].mean())
        predictions = predictions[:, :count]
        if metric == "layer_switches":
            return layer_switches(predictions, self._layers(run)[chosen])
        if metric == "signed_error":
            return float((predictions - labels[:, None]).mean())
        return evaluate(predictions, labels)[metric]

    def _arrays(self, run: str) -> dict[str, np.ndarray]:
        if run not in self._memo:
            self._memo[run] = load_run(self.folder / f"{run}.json")[1]
        return self._memo[run]

    def _predictions(self, run: str, arm: Arm) -> np.ndarray:
        arrays = self._arrays(run)
        readout = arm.get("readout", "argmax")
        if readout not in arrays:
            raise ValueError(f"{run} has several frames: the {readout} of its answers isn't stored at each start")
        return np.rint(arrays[readout]).astype(np.int64)

    def _stacks(self, arm: Arm, setting: str, seed: int, starts: str, seeds: Sequence[int]) -> np.ndarray:
        """Which stacks the arm takes: (stacks,) bool."""
        which = arm.get("stacks", "all")
        if which == "all":
            return np.full(len(self.labels), True)
        if which in ("wrong_at_truth", "right_at_truth"):
            predictions = self._predictions(self.runs(arm, setting)[seed], arm)
            there = predictions[np.arange(len(self.labels)), next_start(self.labels, predictions.shape[1])]
            return (np.abs(there - self.labels.astype(np.int64)) > 1) == (which == "wrong_at_truth")
        if which == "hardest":
            choosing, one = _choosing(arm, setting)
            count = COMMON_STARTS if starts == "common" else None
            others = [
                self._arrays(self.runs(choosing, one)[other])["argmax"][:, :count].std(axis=1)
                for other in seeds
                if other != seed
            ]
            chosen = np.zeros(len(self.labels), bool)
            if others:
                order = np.argsort(-np.mean(others, axis=0), kind="stable")
                chosen[order[: max(1, round(HARDEST * len(order)))]] = True
            return chosen
        return self.categories == which

    def _layers(self, run: str) -> np.ndarray:
        """Focal indices of the layers of every scene, (stacks, K)."""
        record = self.records[run]
        drawn = record["stacks"]["seed"], record["config"]["patch"]
        if ("layers", *drawn) not in self._memo:
            self._memo["layers", *drawn] = layer_indices(scored_scenes(self.labels, *drawn))
        return self._memo["layers", *drawn]

    def _parameters(self, run: str) -> float:
        shape = tuple(self.records[run]["config"][name] for name in ("model", "setting", "backbone", "width"))
        if shape not in self._memo:
            self._memo[shape] = float(sum(values.numel() for values in build_model(*shape).parameters()))
        return self._memo[shape]


class Printed:
    """The paper's Tables A, B and C (experiments/paper.yml): all starts of a row and all stacks, whatever a claim asks for."""

    profile = "paper"

    def __init__(self, path: Path):
        self.cells: dict[tuple[str, int, str], dict[str, float]] = {}
        for name, usual in (
            ("table_a", {"focal_indices": 4}),
            ("table_b", {"setting": "D1", "focal_indices": 4}),
            ("table_c", {"setting": "D1"}),
        ):
            rows = paper_table(path, name)
            for row in rows[~rows.reference].to_dict(orient="records"):
                row = usual | row
                lambdas = {term: float(row[f"lambda_{term}"]) for term in ("msd", "kld") if f"lambda_{term}" in row}
                label = Weights(**lambdas).name if lambdas else row["method"]
                cell = self.cells.setdefault((row["setting"], row["focal_indices"], label), {})
                cell.update({metric: row[metric] for metric in WINS if metric in row})

    def runs(self, arm: Arm, setting: str) -> dict[str, str]:
        """{"paper": ""} where a table has such a row. The paper's backbone is MobileNetV2, also of the compact arms here."""
        known = {"setting", "focal_indices", "method", "weights", "model", "backbone"}
        key = setting, arm.get("focal_indices", 4), arm.get("method") or arm.get("weights")
        fits = set(arm) <= known and arm.get("model", "afpe") == "afpe" and key in self.cells
        return {"paper": ""} if fits else {}

    def measure(self, metric: str, arm: Arm, setting: str, seed: str, starts: str, seeds: Sequence[str]) -> float:
        """A cell as printed, NaN where there is none."""
        cell = self.cells[setting, arm.get("focal_indices", 4), arm.get("method") or arm.get("weights")]
        return cell.get(metric, np.nan)


def needed(claim: Claim) -> Iterator[tuple[Arm, str]]:
    """Every plain arm (frontiers unfolded, those that choose stacks included) and setting that a claim compares."""
    for arm in (arm for pair in (*claim.pairs, *claim.beyond) for arm in pair if "value" not in arm):
        for setting in claim.settings or (arm["setting"],):
            yield from ((plain, setting) for plain in unfold(arm))
            if arm.get("stacks") == "hardest":
                yield _choosing(arm, setting)


def unfold(arm: Arm) -> list[Arm]:
    """The arms of a frontier, from the baseline on; any other arm is its own."""
    if "frontier" not in arm:
        return [arm]
    others = {name: value for name, value in arm.items() if name != "frontier"}
    return [others | {"weights": name} for name in ("baseline", *arm["frontier"].split(", "))]


def complete_seeds(claim: Claim, source: Stored | Printed) -> dict[Any, list[str]]:
    """Seed -> its runs, for the seeds of which every arm has its run, in order."""
    found = [source.runs(arm, setting) for arm, setting in needed(claim)]
    complete = set.intersection(*(set(runs) for runs in found))
    return {seed: sorted({runs[seed] for runs in found}) for seed in sorted(complete)}


def effects(claim: Claim, source: Stored | Printed, seeds: Sequence[Any]) -> pd.DataFrame:
    """A row for each test, pair, setting (empty where the arms name their own) and seed: its effect, and of which runs."""
    rows = []
    for metric, _, _ in claim.tests:
        for number, pair in enumerate(claim.pairs):
            for setting in claim.settings or ("",):
                for seed in seeds:

                    def measure(name: str, arm: Arm, setting: str = setting, seed: Any = seed) -> float:
                        place = setting or arm.get("setting", "")
                        return (
                            arm["value"] if "value" in arm else source.measure(name, arm, place, seed, claim.starts, seeds)
                        )

                    effect = _effect(metric, *pair, measure)
                    if claim.beyond:
                        effect -= _effect(metric, *claim.beyond[number], measure)
                    runs = {
                        source.runs(plain, setting or arm["setting"])[seed]
                        for arm in pair
                        if "value" not in arm
                        for plain in unfold(arm)
                    }
                    rows.append((metric, number, setting, seed, effect, ", ".join(sorted(runs))))
    return pd.DataFrame(rows, columns=["metric", "pair", "setting", "seed", "effect", "runs"])


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


def _choosing(arm: Arm, setting: str) -> tuple[Arm, str]:
    """The arm and setting whose spread over starts says which stacks are the hardest."""
    fields = {name: value for name, value in arm.items() if name in OF_CONFIG and name != "setting"}
    return fields | {"method": "fcl"}, f"{setting[0]}1"


def _identity(fields: dict[str, Any]) -> frozenset:
    """What the runs of an arm have in common: their config but for seed and weights."""
    return frozenset((name, value) for name, value in fields.items() if name != "seed" and not name.startswith("lambda_"))
