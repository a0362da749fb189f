"""Jeffreys against Jensen-Shannon on trained networks: the argument of supplement B, put to stored runs.

The supplement supposes that JSD, whose average of two distributions is smoother than either, leads to smoother answers
and so to worse ones. Near agreement JSD is an eighth of Jeffreys' divergence, so that one weight for both compares two
strengths. Here the two meet at equal weight, at matched pull (JSD with 8 times the weight) and at equal MSD*.

Every difference is JSD minus Jeffreys, seed by seed; entropy is in nats, the metrics are in focal indices.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from companion.report.plots import PAGE, QUIET, STYLE, look
from companion.runs.identity import ResultsError
from companion.runs.reading import read_results
from companion.statistics import at_equal_msd_star, interval, paired_difference

MATCHED = 8  # near agreement J = 8 JSD
TERMS = {"kld": "Jeffreys", "jsd": "JSD"}
VALUES = {"mean_entropy": "entropy (nats)"}
VALUES |= {"msd_star": "MSD* (focal indices)", "tv": "TV (focal indices)", "mae": "MAE (focal indices)"}


def read_terms(folder: Path, seeds: str = "all", model: str = "afpe", focal_indices: int = 4) -> pd.DataFrame:
    """The runs of a folder of results (results/<profile>/<data>) with one divergence alone, and their baselines.

    Rows of `companion.runs.reading.read_results` of the settings for which both divergences are stored, with `run`
    ("<group>/<run>"), `term` (baseline, kld, jsd), `weight`, and `pull`: the weight, for JSD an eighth of it. Controls
    (other schedules, shuffled pairs) are left out. seeds is "all" or those wanted, as in "0 1". Raises ValueError for
    another text, ResultsError naming the folder and the command where a seed, or every setting with both divergences, is
    missing.
    """
    if seeds != "all" and not all(text.isdigit() for text in seeds.split()):
        raise ValueError(f'seeds must be "all" or whole numbers as in "0 1", not {seeds!r}')
    wanted = r"\d+" if seeds == "all" else "|".join(str(int(seed)) for seed in seeds.split())
    group, run = re.compile(rf"{model}-[DI]\d-F{focal_indices}-seed({wanted})"), re.compile(r"baseline|(kld|jsd)\d.*")
    found = {
        f"{path.parent.name}/{path.stem}"
        for kind in ("json", "npz")
        for path in Path(folder).glob(f"[!.]*/[!.]*.{kind}")
        if group.fullmatch(path.parent.name) and run.fullmatch(path.stem) and "+" not in path.stem
    }
    rows = read_results(folder, expected=found) if found else pd.DataFrame(columns=["setting", "weights", "seed"])
    rows["term"] = rows.weights.str.extract(r"([a-z]+)", expand=False)
    both = [setting for setting, part in rows.groupby("setting") if set(TERMS) <= set(part.term)]
    rows = rows[rows.setting.isin(both)].reset_index(drop=True)
    missing = set() if seeds == "all" else {int(seed) for seed in seeds.split()} - set(rows.seed)
    if missing or rows.empty:
        what = f"seed {' '.join(map(str, sorted(missing)))}" if missing else "setting"
        profile = Path(folder).parent.name
        raise ResultsError(
            f"{folder} has no {what} with runs of both divergences. `make all-figures PROFILE={profile}` "
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
    records = []
    for setting, both in _pairs(rows, ratio):
        names = {term: both[f"weights_{term}"].iloc[0] for term in TERMS}
        values = {value: (both[f"{value}_jsd"], both[f"{value}_kld"]) for value in VALUES}
        records.append({"setting": setting, **names, "seeds": len(both), **_differences(values)})
    return pd.DataFrame(records)


def pooled(rows: pd.DataFrame, ratio: float) -> dict[str, float]:
    """JSD minus Jeffreys over all stored pairs of weights with that ratio together, as one mean and interval per value.

    The unit is a trunk, a (setting, seed), whose pairs are averaged first. Keys: units, how many, and VALUES as in
    `at_ratio`. Raises ValueError where no pair is stored.
    """
    parts = [
        pd.DataFrame(
            {"setting": setting, "seed": both.seed}
            | {value: both[f"{value}_jsd"] - both[f"{value}_kld"] for value in VALUES}
        )
        for setting, both in _pairs(rows, ratio)
    ]
    if not parts:
        raise ValueError(f"no JSD has {ratio:g} times the weight of a stored Jeffreys")
    units = pd.concat(parts).groupby(["setting", "seed"])[list(VALUES)].mean()
    return {
        "units": len(units),
        **{key: number for value in VALUES for key, number in zip((value, f"{value}_half"), interval(units[value]))},
    }


def _pairs(rows: pd.DataFrame, ratio: float) -> Iterator[tuple[str, pd.DataFrame]]:
    """(setting, a row for each seed with both) of every stored pair of weights with that ratio."""
    for setting, part in rows.groupby("setting"):
        kld, jsd = (dict(list(part[part.term == term].groupby("weight"))) for term in TERMS)
        for weight, other in itertools.product(kld, jsd):
            if np.isclose(other, ratio * weight):
                both = kld[weight].merge(jsd[other], on="seed", suffixes=("_kld", "_jsd"))
                if len(both):
                    yield setting, both


def at_equal_consistency(rows: pd.DataFrame) -> pd.DataFrame:
    """JSD minus Jeffreys where both are equally consistent, read off frontiers over the weight.

    For each seed both frontiers run from the baseline through the weights in their order, and are read at one MSD* by
    `companion.statistics.at_equal_msd_star`. They are those of `same_seeds`, at the pulls that both divergences have, of which
    there must be two or more. Columns as in `at_ratio`; msd_star, equal by construction, is NaN.
    """
    records = []
    for setting, part in same_seeds(rows).groupby("setting"):
        common = set.intersection(*(set(part.pull[part.term == term]) for term in TERMS))
        part = part[(part.term == "baseline") | part.pull.isin(common)]
        if len(common) < 2 or "baseline" not in set(part.term):
            continue
        names = part.sort_values("weight").groupby("term").weights.unique()
        found = {value: ([], []) for value in VALUES if value != "msd_star"}
        for _, runs in part.groupby("seed"):
            curves = [runs[runs.term.isin(["baseline", term])].sort_values("weight") for term in ("jsd", "kld")]
            for value, sides in found.items():
                _, *read = at_equal_msd_star(*(curve[["msd_star", value]] for curve in curves))
                for side, number in zip(sides, read):
                    side.append(number)
        shown = {term: ", ".join(names[term]) for term in TERMS}
        nothing = {"msd_star": np.nan, "msd_star_half": np.nan}
        records.append({"setting": setting, **shown, "seeds": part.seed.nunique(), **_differences(found), **nothing})
    return pd.DataFrame(records)


def same_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """The runs of which curves over the weight are made: of each setting the seeds that have the most weights, of both
    divergences, and the weights that all of these have. Points of other seeds would lie higher or lower for that reason alone.
    """
    rows = rows.groupby(["setting", "seed"]).filter(lambda part: set(TERMS) <= set(part.term))
    count = rows.groupby(["setting", "seed"]).weights.transform("nunique")
    rows = rows[count == count.groupby(rows.setting).transform("max")]
    seeds = rows.groupby(["setting", "weights"]).seed.transform("nunique")
    return rows[seeds == rows.groupby("setting").seed.transform("nunique")]


def comparisons(rows: pd.DataFrame) -> pd.DataFrame:
    """`at_ratio` 1 (equal weight), `at_ratio` 8 (matched pull) and `at_equal_consistency`, with a column `comparison`.

    Raises ResultsError, naming the stored weights, when none of the three has anything to compare.
    """
    parts = {"equal weight": at_ratio(rows, 1), "matched pull": at_ratio(rows, MATCHED)}
    parts["equal MSD*"] = at_equal_consistency(rows)
    parts = [part.assign(comparison=name) for name, part in parts.items() if len(part)]
    if not parts:
        stored = ", ".join(sorted(set(rows.weights)))
        raise ResultsError(f"of {stored} no two can be compared: `make all-figures` makes more")
    return pd.concat(parts, ignore_index=True)


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """What `comparisons` say of "JSD has the higher value": a word for each comparison (row) and each of VALUES.

    A difference is clear when its 95 % interval doesn't contain zero. supported: half or more are clear and positive,
    none is clear and negative; contradicted: the other way round; mixed: both signs are clear somewhere; undecided:
    anything else, such as one clear difference among many, or a single seed. A dash where nothing is asked: MSD* at equal
    MSD*.
    """
    found = {}
    for comparison, part in table.groupby("comparison", sort=False):
        found[comparison] = {}
        for value in VALUES:
            higher = (part[value] > part[f"{value}_half"]).mean()
            lower = (-part[value] > part[f"{value}_half"]).mean()
            found[comparison][value] = _word(higher, lower) if part[value].notna().any() else "–"
    return pd.DataFrame(found).T


def _word(higher: float, lower: float) -> str:
    if higher and lower:
        return "mixed"
    return "supported" if higher >= 0.5 else "contradicted" if lower >= 0.5 else "undecided"


def figure(rows: pd.DataFrame, over: str) -> Figure:
    """Change of each of VALUES against the same seed's baseline, over the pull of the loss or the change of MSD*.

    rows: from `read_terms`; those of `same_seeds` are drawn. over: "pull" or "msd_star". A row of panels per setting that has
    two or more weights of each divergence (per setting, if none has), a curve per divergence; bars are 95 % intervals over
    seeds, absent for one seed.
    """
    rows = same_seeds(rows)
    values = [value for value in VALUES if value != over]
    baseline = rows[rows.term == "baseline"].set_index(["setting", "seed"])[list(VALUES)]
    runs = rows[rows.term != "baseline"].set_index(["setting", "seed"])
    runs = runs.assign(**runs[list(VALUES)] - baseline.reindex(runs.index)).dropna(subset=list(VALUES)).reset_index()
    weights = runs.groupby(["setting", "term"]).weights.nunique().groupby("setting").min()
    settings = list(weights.index[weights > 1]) or list(weights.index)
    with plt.rc_context(STYLE):
        size = (PAGE, 0.5 + 1.8 * len(settings))
        drawing, axes = plt.subplots(len(settings), len(values), figsize=size, squeeze=False, sharex="row")
        for panels, setting in zip(axes, settings):
            for term, name in TERMS.items():
                part = runs[(runs.setting == setting) & (runs.term == term)]
                if part.empty:
                    continue
                points = [group for _, group in part.groupby("weight")]
                x = [group[over].mean() for group in points]
                for panel, value in zip(panels, values):
                    mean, half = np.transpose([interval(group[value]) for group in points])
                    panel.errorbar(x, mean, half, label=name, elinewidth=0.6, **look(term, []))
            for panel, value in zip(panels, values):
                panel.axhline(0, color=QUIET, linewidth=0.7)
                panel.set_title(VALUES[value])
                if over == "pull":
                    panel.set_xscale("log", base=2)
                    panel.xaxis.set_major_formatter("{x:g}")
                panel.set_xlabel("weight (JSD: weight / 8)" if over == "pull" else "change of MSD* (focal indices)")
            panels[0].set_ylabel(f"{setting}, change")
        drawing.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return drawing


def _differences(values: Mapping[str, tuple]) -> dict[str, float]:
    found = {value: paired_difference(jsd, kld) for value, (jsd, kld) in values.items()}
    return {key: number for value, pair in found.items() for key, number in zip((value, f"{value}_half"), pair)}
