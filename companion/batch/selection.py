"""Choosing the weights of each loss by a rule written down beforehand: experiments/weight_selection.yml."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from companion.experiments import groups, parts, read_experiment
from companion.project import project_root
from companion.runs.identity import run_folder
from companion.runs.reading import read_results
from companion.runs.tables import with_readout
from companion.weights import READOUTS, Weights, parse_weights, resolve_methods, weights_key
from fcl.files import replacing
from fcl.settings import parse_setting

SELECTION = "weight_selection"

HEADER = """\
# Weights of each loss, chosen per setting by `make weights` with the rule of weight_selection.yml: of the
# candidates whose validation MAE is at most {tolerance:g} times the baseline's, the one with the lowest
# validation MSD*; if there is none, the smallest factor c. Means over the seeds {seeds}, which no
# table or figure uses. Beside each choice stands every candidate: c: MAE / MSD*. The same rule says how the
# baseline of one frame is best read out; if nothing is allowed, by argmax.
"""


def candidates(plan: Mapping[str, Any]) -> dict[str, dict[float, Weights]]:
    """method -> factor c, increasing -> the method's base weights times c."""
    table = {}
    for method, base in plan["base"].items():
        terms = asdict(parse_weights(base))
        factors = sorted(plan["factors"])
        table[method] = {c: Weights(**{term: c * value for term, value in terms.items()}) for c in factors}
    return table


def read_selection(profile: str, data: str = "") -> list[dict[str, Any]]:
    """How weights are chosen: each part with the candidates as its methods."""
    selections = parts(read_experiment(SELECTION, profile, data))
    for part in selections:
        names = (weights.name for tried in candidates(part).values() for weights in tried.values())
        part["methods"] = list(dict.fromkeys(["baseline", *names]))
    return selections


def choose(metrics: pd.DataFrame, tried: Sequence[str], tolerance: float) -> str:
    """The candidate that the rule takes. Of two with the same MSD*, the first; if none is allowed, the first.

    metrics: validation `mae` and `msd_star` by name of the candidate, "baseline" among them. tried: by name,
    weakest first.
    """
    limit = tolerance * metrics.mae["baseline"]
    allowed = [name for name in tried if metrics.mae[name] <= limit]
    return min(allowed, key=lambda name: metrics.msd_star[name], default=tried[0])


def chosen_entries(results: pd.DataFrame, plan: Mapping[str, Any]) -> dict[str, str]:
    """setting -> its lines of experiments/weights.yml: the choices and, as comments, what they were made from.

    results: `companion.runs.reading.read_results` of the selection runs, and for one frame the baseline read out in each
    way, its `weights` the name of the readout. Raises ValueError unless every candidate of every setting is there with
    exactly the selection seeds.
    """
    entries = {}
    for setting in plan["settings"]:
        rows = results[(results.setting == setting) & (results.model == plan["model"])]
        table = {
            method: {f"{c:g}": weights.name for c, weights in tried.items()} for method, tried in candidates(plan).items()
        }
        if parse_setting(setting).frames == 1:
            table["readout"] = {name: name for name in READOUTS}
        for name in ["baseline", *(name for tried in table.values() for name in tried.values())]:
            seeds, asked = sorted(rows.seed[rows.weights == name]), sorted(plan["seeds"])
            if seeds != asked:
                raise ValueError(f"{setting} {name} was run with the seeds {seeds} instead of {asked}")
        means = rows.groupby("weights")[["mae", "msd_star"]].mean()
        text = {name: f"{row.mae:.3f} / {row.msd_star:.3f}" for name, row in means.iterrows()}
        lines = [f"    {setting}:  # baseline {text['baseline']}"]
        for method, tried in table.items():
            beside = ", ".join(f"{label}: {text[name]}" for label, name in tried.items())
            lines.append(f"      {method}: {choose(means, list(tried.values()), plan['tolerance'])}  # {beside}")
        entries[setting] = "\n".join(lines) + "\n"
    return entries


def write_weights(profile: str, entries: Mapping[str, str], plan: Mapping[str, Any]) -> None:
    """Put the entries of some settings into experiments/weights.yml; all others stay as they are."""
    path = project_root() / "experiments" / "weights.yml"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    # By indentation: a profile at the margin, a model at 2, a setting at 4 with what belongs to it.
    tree: dict[str, dict[str, dict[str, str]]] = {}
    for part in re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]:
        head, *models = re.split(r"^(?=  \w)", part, flags=re.MULTILINE)
        tree[head] = {}
        for model in models:
            first, *settings = re.split(r"^(?=    \w)", model, flags=re.MULTILINE)
            tree[head][first] = {setting.split(":")[0].strip(): setting.rstrip() + "\n" for setting in settings}
    head = next((head for head in tree if head.startswith(f"{profile}:")), f"{profile}:\n")
    model = f"  {plan['model']}:\n"
    mine = tree.setdefault(head, {}).setdefault(model, {}) | entries
    tree[head][model] = dict(sorted(mine.items()))
    header = HEADER.format(tolerance=plan["tolerance"], seeds=" and ".join(map(str, plan["seeds"])))
    body = [
        "".join([head, *("".join([model, *settings.values()]) for model, settings in models.items())])
        for head, models in tree.items()
    ]
    with replacing(path) as temporary:
        temporary.write_text("\n".join([header, *body]), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Choose the weights of a profile from its complete validation runs, and write them to experiments/weights.yml."""
    parser = argparse.ArgumentParser(prog="python -m companion.batch.selection", description=main.__doc__)
    for name in ("profile", "data", "settings", "model"):
        parser.add_argument(f"--{name}", default={"profile": "laptop", "data": "simulated"}.get(name, ""))
    options = parser.parse_args(arguments)
    for part in read_selection(options.profile, options.data):
        part["settings"] = [name for name in part["settings"] if name in (options.settings.split() or part["settings"])]
        if part["settings"] and part["model"] == (options.model or part["model"]):
            try:
                entries = chosen_entries(_selection_runs(part, options.profile), part)
            except ValueError as error:
                sys.exit(str(error))
            write_weights(weights_key(options.profile, options.data), entries, part)
    print("Chosen weights are in experiments/weights.yml")


def _selection_runs(part: Mapping[str, Any], profile: str) -> pd.DataFrame:
    """The runs of one part, and those of one frame read out in each way."""
    runs = []
    for seed in part["seeds"]:
        for config, methods in groups(part, profile, seed):
            folder = run_folder(profile, config, part["split"])
            chosen = resolve_methods(", ".join(methods), profile, config.model, config.setting, config.data)
            runs += [f"{folder.name}/{weights.name}" for _, weights in chosen]
    results = read_results(folder.parent, expected=runs)
    one = results[(results.weights == "baseline") & (results.frames == 1)]
    return pd.concat([results, *(with_readout(one, name).assign(weights=name) for name in READOUTS if len(one))])


if __name__ == "__main__":
    main()
