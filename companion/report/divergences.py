"""Jeffreys against Jensen-Shannon on trained networks: the argument of supplement B, put to stored runs.

The supplement supposes that JSD, whose average of two distributions is smoother than either, leads to smoother answers and
so to worse ones. Near agreement JSD is an eighth of Jeffreys' divergence: one weight for both compares two strengths. Here
the two meet at equal weight, at matched pull (JSD with 8 times the weight) and at equal MSD*.

Every difference is JSD minus Jeffreys, seed by seed; entropy is in nats, the metrics are in focal indices.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from companion.report.plots import PAGE, QUIET, STYLE, legend_below, look
from companion.report.tables import intervals
from companion.runs.identity import ResultsError
from companion.runs.reading import read_results
from companion.runs.tables import at_equal

MATCHED = 8  # near agreement J = 8 JSD
LEAST = 0.02  # nats or focal indices: what a difference must reach to count; the claims ask as much entropy
TERMS = {"kld": "Jeffreys", "jsd": "JSD"}
VALUES = {"mean_entropy": "entropy (nats)"}
VALUES |= {"msd_star": "MSD* (focal indices)", "tv": "TV (focal indices)", "mae": "MAE (focal indices)"}


def read_terms(folder: Path, seeds: str = "all") -> pd.DataFrame:
    """AFPE's runs with F = 4 in a folder of results (results/<profile>/<data>) with one divergence alone, and the baselines.

    Rows of `companion.runs.reading.read_results` of the settings for which both divergences are stored, with `run`
    ("<group>/<run>"), `term` (baseline, kld, jsd), `weight`, and `pull`: the weight, for JSD an eighth of it. Controls
    (other schedules, shuffled pairs) are left out. seeds is "all" or those wanted, as in "0 1". Raises ValueError for
    another text, ResultsError naming the folder and the command where a seed, or every setting with both divergences, is
    missing.
    """
    if seeds != "all" and not all(text.isdigit() for text in seeds.split()):
        raise ValueError(f'seeds must be "all" or whole numbers as in "0 1", not {seeds!r}')
    wanted = set() if seeds == "all" else set(map(int, seeds.split()))
    run = re.compile(r"afpe-[DI]\d-F4-seed(\d+)/(baseline|(kld|jsd)[\d.e-]+)")
    stored = {f"{path.parent.name}/{path.stem}" for kind in ("json", "npz") for path in folder.glob(f"[!.]*/[!.]*.{kind}")}
    matches = filter(None, map(run.fullmatch, stored))
    expected = [match[0] for match in matches if seeds == "all" or int(match[1]) in wanted]
    rows = read_results(folder, expected) if expected else pd.DataFrame(columns=["setting", "weights", "seed"])
    rows["term"] = rows.weights.str.extract(r"([a-z]+)", expand=False)
    rows = rows.groupby("setting").filter(lambda runs: set(TERMS) <= set(runs.term)).reset_index(drop=True)
    missing = wanted - set(rows.seed)
    if missing or rows.empty:
        what = f"seed {' '.join(map(str, sorted(missing)))}" if missing else "setting"
        raise ResultsError(
            f"{folder} has no {what} with runs of both divergences. `make all-figures PROFILE={folder.parent.name}` "
            "makes them in runs/; `make publish` copies them to results/."
        )
    rows["run"] = rows.path.map(lambda path: f"{Path(path).parent.name}/{Path(path).stem}")
    rows["weight"] = rows.lambda_kld + rows.lambda_jsd
    rows["pull"] = rows.lambda_kld + rows.lambda_jsd / MATCHED
    return rows


def at_ratio(rows: pd.DataFrame, ratio: float) -> pd.DataFrame:
    """JSD minus Jeffreys for every stored pair of weights with that ratio: 1 is equal weight, 8 is matched pull.

    rows: from `read_terms`. A row per setting and pair: setting, kld and jsd (names of the weights), seeds (how many have
    both), and of each of VALUES the mean difference and `<value>_half`, half its 95 % interval, NaN for one seed.
    """
    return _over_seeds(_pairs(rows, ratio))


def pooled(rows: pd.DataFrame, ratio: float) -> dict[str, float]:
    """JSD minus Jeffreys over all stored pairs of weights with that ratio together, as one mean and interval per value.

    The unit is a trunk, a (setting, seed), whose pairs are averaged first. Keys: units, how many, and VALUES as in
    `at_ratio`. Raises ValueError where no pair is stored.
    """
    pairs = _pairs(rows, ratio)
    if pairs.empty:
        raise ValueError(f"no JSD has {ratio:g} times the weight of a stored Jeffreys")
    units = pairs.groupby(["setting", "seed"])[list(VALUES)].mean().assign(all="all")
    return {"units": len(units), **intervals(units, ["all"], VALUES).iloc[0]}


def _pairs(rows: pd.DataFrame, ratio: float) -> pd.DataFrame:
    """The difference of each of VALUES for every setting, pair of weights with that ratio, and seed that has both."""
    kld, jsd = (rows[rows.term == term] for term in TERMS)
    both = kld.merge(jsd, on=["setting", "seed"], suffixes=("_kld", "_jsd"))
    both = both[np.isclose(both.weight_jsd, ratio * both.weight_kld)]
    both = both.sort_values(["setting", "weight_kld", "weight_jsd"], kind="stable")
    both = both.rename(columns={f"weights_{term}": term for term in TERMS})
    values = {value: both[f"{value}_jsd"] - both[f"{value}_kld"] for value in VALUES}
    return both[["setting", *TERMS, "seed"]].assign(**values)


def at_equal_consistency(rows: pd.DataFrame) -> pd.DataFrame:
    """JSD minus Jeffreys where both are equally consistent, read off frontiers over the weight.

    For each seed both frontiers run from the baseline through the weights in their order, and are read at one MSD* by
    `companion.statistics.at_equal_msd_star`. They are those of `same_seeds`, at the pulls that both divergences have, two or
    more. Columns as in `at_ratio`; msd_star, equal by construction, is NaN.
    """
    differences = [pd.DataFrame(columns=["setting", *TERMS, "seed", *VALUES])]
    for setting, runs in same_seeds(rows).groupby("setting"):
        pulls = set.intersection(*(set(runs.pull[runs.term == term]) for term in TERMS))
        if len(pulls) < 2 or "baseline" not in set(runs.term):
            continue
        ordered = runs[runs.pull.isin(pulls)].sort_values("weight")
        names = {term: list(dict.fromkeys(ordered.weights[ordered.term == term])) for term in TERMS}
        values = {value: at_equal(runs, names["jsd"], names["kld"], value) for value in VALUES if value != "msd_star"}
        table = pd.DataFrame({value: read.treatment - read.control for value, read in values.items()})
        listed = {term: ", ".join(names[term]) for term in TERMS}
        differences.append(table.assign(setting=setting, **listed, seed=values["mae"].seed, msd_star=np.nan))
    return _over_seeds(pd.concat(differences[1:] or differences))


def _over_seeds(differences: pd.DataFrame) -> pd.DataFrame:
    by = ["setting", *TERMS]
    seeds = differences.groupby(by, sort=False).size().rename("seeds")
    return pd.concat([seeds, intervals(differences, by, VALUES)], axis=1).reset_index()


def same_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """The runs of which curves over the weight are made: of each setting the seeds that have the most weights, of both
    divergences, and the weights that all of these have. Points of other seeds would lie higher or lower by chance alone.
    """
    rows = rows.groupby(["setting", "seed"]).filter(lambda runs: set(TERMS) <= set(runs.term))
    count = rows.groupby(["setting", "seed"]).weights.transform("nunique")
    rows = rows[count == count.groupby(rows.setting).transform("max")]
    seeds = rows.groupby(["setting", "weights"]).seed.transform("nunique")
    return rows[seeds == rows.groupby("setting").seed.transform("nunique")]


def comparisons(rows: pd.DataFrame) -> pd.DataFrame:
    """`at_ratio` 1 (equal weight), `at_ratio` 8 (matched pull) and `at_equal_consistency`, with a column `comparison`.

    Raises ResultsError, naming the stored weights, when none of the three has anything to compare.
    """
    tables = {"equal weight": at_ratio(rows, 1), "matched pull": at_ratio(rows, MATCHED)}
    tables["equal MSD*"] = at_equal_consistency(rows)
    tables = [table.assign(comparison=name) for name, table in tables.items() if len(table)]
    if not tables:
        stored = ", ".join(sorted(set(rows.weights)))
        raise ResultsError(f"of {stored} no two can be compared: `make all-figures` makes more")
    return pd.concat(tables, ignore_index=True)


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """What `comparisons` say of "JSD has the higher value": a word for each comparison (row) and each of VALUES.

    A difference counts when its 95 % interval doesn't contain zero and it is `LEAST` or more. supported: more than half
    count and are positive, none is negative; contradicted: the other way round; mixed: both signs count somewhere;
    undecided: anything else, such as one among many, or a single seed. A dash where nothing is asked: MSD* at equal MSD*.
    """

    def word(differences: pd.Series, halves: pd.Series) -> str:
        if differences.isna().all():
            return "–"
        counts = (differences.abs() > halves) & (differences.abs() >= LEAST)
        higher, lower = (counts & (differences > 0)).mean(), (counts & (differences < 0)).mean()
        if higher and lower:
            return "mixed"
        return "supported" if higher > 0.5 else "contradicted" if lower > 0.5 else "undecided"

    tables = table.groupby("comparison", sort=False)
    return pd.DataFrame(
        {name: {value: word(part[value], part[f"{value}_half"]) for value in VALUES} for name, part in tables}
    ).T


@plt.rc_context(STYLE)
def figure(rows: pd.DataFrame, over: str) -> Figure:
    """Change of each of VALUES against the same seed's baseline, over the pull of the loss or the change of MSD*.

    rows: from `read_terms`; those of `same_seeds` are drawn. over: "pull" or "msd_star". A row of panels per setting that
    has two or more weights of each divergence (per setting, if none has), a curve per divergence; bars are 95 % intervals.
    """
    runs = same_seeds(rows).set_index(["setting", "seed"])
    baseline, runs = runs[runs.term == "baseline"][list(VALUES)], runs[runs.term != "baseline"]
    runs = runs.assign(**runs[list(VALUES)] - baseline.reindex(runs.index)).dropna(subset=list(VALUES)).reset_index()
    weights = runs.groupby(["setting", "term"]).weights.nunique().groupby("setting").min()
    settings, values = list(weights.index[weights > 1]) or list(weights.index), [value for value in VALUES if value != over]
    size = (PAGE, 0.5 + 1.8 * len(settings))
    drawing, axes = plt.subplots(len(settings), len(values), figsize=size, squeeze=False, sharex="row")
    for panels, setting in zip(axes, settings):
        for term, name in TERMS.items():
            drawn = runs[(runs.setting == setting) & (runs.term == term)].sort_values("weight", kind="stable")
            curve = intervals(drawn, ["weight"], [*VALUES, "pull"])
            for panel, value in zip(panels, values if len(curve) else ()):
                panel.errorbar(
                    curve[over], curve[value], curve[f"{value}_half"], label=name, elinewidth=0.6, **look(term, [])
                )
        for panel, value in zip(panels, values):
            panel.axhline(0, color=QUIET, linewidth=0.7)
            panel.set(title=VALUES[value], xlabel="change of MSD* (focal indices)")
            if over == "pull":
                panel.set_xscale("log", base=2)
                panel.xaxis.set_major_formatter("{x:g}")
                panel.set_xlabel("weight (JSD: weight / 8)")
        panels[0].set_ylabel(f"{setting}, change")
    legend_below(drawing, axes[0, 0])
    return drawing
