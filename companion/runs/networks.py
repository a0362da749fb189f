"""Stored predictions of planned runs, and the networks that made them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from companion.runs.checksums import read_checked
from companion.runs.identity import ResultsError
from companion.runs.reading import load_record
from companion.runs.tables import planned_results, predictions
from fcl.checkpoints import load_model


def stored_predictions(folder: Path, plan: Mapping[str, Any], profile: str, seeds: str) -> pd.DataFrame:
    """One row per run of a plan, as `companion.runs.reading.read_results` gives them, with `method`, `run` and `argmax`.

    plan: an experiment, as `companion.experiments.read_experiment` gives it; seeds: "all", or as "0 1". argmax (stacks,
    starts) uint8. Raises ResultsError naming what is missing, and ValueError where weights are still to be chosen.
    """
    rows = planned_results(folder, plan, profile, seeds)
    return rows.assign(argmax=pd.Series(predictions(rows), dtype=object))


def scored_on(rows: pd.DataFrame) -> tuple[int, int]:
    """Seed and patch size (px) of the simulated stacks that runs were scored on."""
    record = load_record(Path(rows.path.iloc[0]))
    return record["stacks"]["seed"], record["config"]["patch"]


def trained_network(folder: Path, row: Any) -> nn.Module:
    """The network of a run (a row of `stored_predictions`): its checkpoint, else the kept one. ResultsError if neither.

    Only one seed is kept (experiments/kept_networks.yml): a kept network of another seed is not taken.
    """
    kept = Path(folder) / "networks" / f"{row.model}-{row.setting}-{row.method}.safetensors"
    for path in (Path(row.path).with_suffix(".safetensors"), kept):
        if path.is_file():
            read_checked(path)
            model = load_model(path)
            if model.config.seed == row.seed:
                return model
    raise ResultsError(
        f"{kept} is missing, or of another seed than {row.seed}: `make figures PROFILE={row.profile}` trains it, "
        "`make publish` keeps it"
    )
