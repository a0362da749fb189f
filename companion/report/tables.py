"""Tables of results: means over seeds, changes against the baseline, ranks, HTML and CSV.

Every function takes and gives tidy DataFrames. A row names its setting (D1..D5, I1..I5), method and seed; the four metrics
are in focal indices, changes in percent of the same seed's baseline. A half is half the width of a 95 % interval over seeds
by Student's t (`companion.statistics.interval`), NaN for one seed.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from companion.statistics import interval
from companion.weights import METHODS

NAMES = dict(zip(METHODS, ("AFPE", "+MSD", "+JSD", "+KLD", "+FCL"), strict=True))
METRICS = {"mae": "MAE", "rmse": "RMSE", "msd_star": "MSD*", "tv": "TV"}
CARRIED = ("data", "setting", "views", "frames", "F", "iterations", "lambda_msd", "lambda_kld")
DATA = {"simulated": "simulated stacks", "learnaf": "Learning-to-Autofocus photographs"}
SENSORS = {"D": "dual pixel", "I": "one channel"}  # what the column `views` names
MARKS = {  # of the lowest three: number, and the paper's red, orange and yellow, told apart by lightness alone
    1: ("¹", "background-color: #f2a19a; color: black"),
    2: ("²", "background-color: #fbcf8d; color: black"),
    3: ("³", "background-color: #fcf6b8; color: black"),
}


def intervals(rows: pd.DataFrame, by: Sequence[str], columns: Iterable[str]) -> pd.DataFrame:
    """Mean of some columns over the rows (seeds) of each group, and `<column>_half`. The columns `by` become the index."""
    groups, columns = rows.groupby(list(by), sort=False), list(columns)
    means, halves = (groups[columns].agg(lambda values, side=side: interval(values)[side]) for side in (0, 1))
    return pd.DataFrame({key: of[name] for name in columns for key, of in ((name, means), (f"{name}_half", halves))})


def summarise(rows: pd.DataFrame, within: Sequence[str] = ("setting",)) -> pd.DataFrame:
    """Mean over seeds of each metric and `<metric>_half`, a row for each method and value of the columns `within`.

    `seeds` counts the runs. The columns of CARRIED are kept.
    """
    keys = [*within, "method"]
    kept = dict.fromkeys([*(name for name in CARRIED if name in rows), *keys])
    table = rows.drop_duplicates(keys)[list(kept)].assign(seeds=rows.groupby(keys, sort=False).size().to_numpy())
    return table.join(intervals(rows, keys, METRICS), on=keys).reset_index(drop=True)


def changes(rows: pd.DataFrame, within: Sequence[str] = ("setting",)) -> pd.DataFrame:
    """All runs but the baselines, each metric as change in percent against its own baseline.

    100 (value / baseline - 1), the baseline being that of the same seed and columns `within`; NaN where it is 0 (a network
    that always answers the same has MSD* 0).
    """
    keys, metrics = [*within, "seed"], list(METRICS)
    baseline = rows[rows.method == "baseline"].set_index(keys)[metrics]
    changed = rows[rows.method != "baseline"].reset_index(drop=True)
    own_baseline = baseline.loc[pd.MultiIndex.from_frame(changed[keys])].reset_index(drop=True)
    changed[metrics] = 100 * (changed[metrics] / own_baseline.where(own_baseline != 0) - 1)
    return changed


def differences(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """FCL less the baseline of the same setting and seed: setting, seed, and each of `columns` in its unit."""
    runs = rows.set_index(["setting", "seed"])
    fcl, baseline = (runs[runs.method == name][list(columns)] for name in ("fcl", "baseline"))
    return (fcl - baseline.loc[fcl.index]).reset_index()


def compare(rows: pd.DataFrame, paper: pd.DataFrame, within: Sequence[str] = ("setting",)) -> pd.DataFrame:
    """Changes in percent, ours and the paper's (`<metric>_paper`), of what the paper has too, and whether the signs agree.

    `<metric>_sign` is same, opposite or unclear: our 95 % interval contains zero, so the sign may be chance. One seed has no
    interval; its sign is taken as it is.
    """
    keys = [*within, "method"]
    theirs = changes(paper, within).set_index(keys)
    table = summarise(changes(rows, within), within).set_index(keys, drop=False)
    table = table[table.index.isin(theirs.index)].copy()
    for metric in METRICS:
        table[f"{metric}_paper"] = theirs[metric]
        agreement = np.sign(table[metric]) * np.sign(table[f"{metric}_paper"])
        agreement = agreement.where(~(table[metric].abs() <= table[f"{metric}_half"]), 0)
        table[f"{metric}_sign"] = agreement.map({1: "same", -1: "opposite"}).fillna("unclear")
    return table.reset_index(drop=True)


def count_lower(changed: pd.DataFrame, paper_changed: pd.DataFrame) -> pd.DataFrame:
    """In how many settings each method lowers MSD*, TV and MAE, seed by seed, the paper's count last."""
    both = pd.concat([changed, paper_changed]).rename(columns=METRICS)
    lower = (both[["MSD*", "TV", "MAE"]] < 0).groupby([both.method, both.seed], sort=False).sum().unstack()
    return lower.loc[list(dict.fromkeys(changed.method))].rename_axis(columns=["settings with lower", "seed"]).rename(NAMES)


def rank_correlation(comparison: pd.DataFrame) -> pd.Series:
    """Spearman's rank correlation of our changes with the paper's, from `compare`: one number per metric.

    NaN for metrics that the paper doesn't print, and for fewer than three changes.
    """
    pairs = {name: comparison[[metric, f"{metric}_paper"]].dropna() for metric, name in METRICS.items()}
    return pd.Series({name: of.rank().corr().iloc[0, 1] if len(of) > 2 else np.nan for name, of in pairs.items()})


def seed_noise(rows: pd.DataFrame) -> pd.Series:
    """Scatter of a metric when only the seed changes, below which a change says nothing; NaN for one seed.

    The sample standard deviation over seeds of the baseline, root mean square over settings, in focal indices. A difference
    of two runs with unlike seeds scatters sqrt(2) times as much, one with a common trunk less.
    """
    baseline = rows[rows.method == "baseline"].drop_duplicates("run")
    return np.sqrt(baseline.groupby(["model", "setting", "F"])[list(METRICS)].var(ddof=1).mean())


def pooled(changed: pd.DataFrame) -> dict[str, Any]:
    """`changes` of several pairs (setting, seed) as one, on the scale of the claims: the geometric mean.

    100 (exp(mean of log(1 + change / 100)) - 1), its 95 % interval by Student's t on the logarithms. `pairs` counts them; of
    each metric the mean, and `<metric>_shown`, with both ends of the interval as text. One pair has no interval; no pair,
    and a ratio that is 0 or no number, leave NaN and a dash.
    """
    pool: dict[str, Any] = {"pairs": len(changed)}
    for metric in METRICS:
        ratios = 1 + changed[metric] / 100
        mean, half = interval(np.log(ratios.where(ratios > 0))) if len(ratios) else (np.nan, np.nan)
        middle, low, high = (100 * np.expm1(end) for end in (mean, mean - half, mean + half))
        ends = "" if pd.isna(half) else f" [{low:+.1f}, {high:+.1f}]"
        pool |= {metric: middle, f"{metric}_shown": "–" if pd.isna(middle) else f"{middle:+.1f} %{ends}"}
    return pool


def plus_minus(value: float, half: float, digits: int, sign: str = "") -> str:
    """'1.76 ± 0.02'; no half where it is NaN, a dash for a value that is NaN; sign "+" also writes a plus."""
    if pd.isna(value):
        return "–"
    return f"{value:{sign}.{digits}f}" + ("" if pd.isna(half) else f" ± {half:.{digits}f}")


def over_seeds(rows: pd.DataFrame, by: Sequence[str], digits: Mapping[str, int]) -> pd.DataFrame:
    """`intervals` as texts: '1.76 ± 0.02', or '1.76' for one seed. digits: column -> decimals."""
    table = intervals(rows, by, digits)
    for name, places in digits.items():
        table[name] = [plus_minus(mean, half, places) for mean, half in zip(table[name], table[f"{name}_half"])]
    return table[list(digits)]


def in_words(change: Any, unit: str = "%") -> str:
    """A row of `summarise` or `intervals` of changes, in `unit`, as text: 'MAE -1.2 ± 0.4 %, RMSE ...'."""
    values = {name: (getattr(change, metric), getattr(change, f"{metric}_half")) for metric, name in METRICS.items()}
    return ", ".join(f"{name} {plus_minus(*value, 1, '+')} {unit}" for name, value in values.items())


def scatter(rows: pd.DataFrame) -> str:
    """`seed_noise` as text: 'MAE 0.221, RMSE ...', dashes for one seed."""
    return ", ".join(f"{METRICS[metric]} {plus_minus(value, np.nan, 3)}" for metric, value in seed_noise(rows).items())


def table_html(summary: pd.DataFrame, name: str, axis: str = "frames", names: Mapping[str, str] = NAMES) -> str:
    """Table A as the paper prints it: dual pixel left, one channel right, the best three marked.

    The lowest three of each setting and metric have a colour and a number; equal values share them. axis: the column that
    tells groups of lines apart; names: what each method is called. HTML ids come from `name`: same numbers, same text.
    """
    ranks, cells = summary.groupby("setting")[list(METRICS)].rank(method="min"), {}
    for row in summary.index:
        line, sensor = (summary.loc[row, axis], names[summary.method[row]]), summary.views[row]
        for metric, title in METRICS.items():
            column = SENSORS.get(sensor, sensor), title
            cells[column, line] = _ranked(summary.loc[row], metric, ranks.loc[row, metric])
    return _html(cells, axis, name, summary)


def grid_html(summary: pd.DataFrame, metric: str, name: str) -> str:
    """Table B for one metric: lambda_KLD downwards, lambda_MSD to the right, the best two marked.

    summary: `summarise`, with the columns lambda_msd and lambda_kld.
    """
    ranks, cells = summary[metric].rank(method="min"), {}
    for row in summary.sort_values(["lambda_kld", "lambda_msd"]).index:
        place = ("λ MSD", f"{summary.lambda_msd[row]:g}"), ("λ KLD", f"{summary.lambda_kld[row]:g}")
        cells[place] = _ranked(summary.loc[row], metric, ranks[row] if ranks[row] <= 2 else 0)
    return _html(cells, METRICS[metric], name, summary)


def comparison_html(table: pd.DataFrame, name: str, axis: str = "setting") -> str:
    """`compare` as HTML: per metric our change, the paper's, and their signs, opposite ones marked."""
    cells = {}
    for _, row in table.iterrows():
        line = row[axis], NAMES[row.method]
        for metric, title in METRICS.items():
            if table[f"{metric}_paper"].isna().all():  # the paper doesn't print it
                continue
            here = plus_minus(row[metric], row[f"{metric}_half"], 1, "+")
            paper, sign = plus_minus(row[f"{metric}_paper"], np.nan, 1, "+"), row[f"{metric}_sign"]
            for heading, text in {"here, %": here, "paper, %": paper, "sign": sign}.items():
                cells[(title, heading), line] = text, MARKS[2][1] if text == "opposite" else ""
    return _html(cells, axis, name, table)


def _ranked(row: pd.Series, metric: str, rank: float) -> tuple[str, str]:
    number, style = MARKS.get(rank, ("", ""))
    return plus_minus(row[metric], row[f"{metric}_half"], 3) + number, style


def _html(cells: Mapping[tuple, tuple[str, str]], axis: str, name: str, table: pd.DataFrame) -> str:
    """HTML of {(column, line): (text, CSS)}; columns and lines are pairs, in order of first use. table: which data."""
    columns, lines = (list(dict.fromkeys(place[side] for place in cells)) for side in (0, 1))
    index, heading = pd.MultiIndex.from_tuples(lines, names=[axis, ""]), pd.MultiIndex.from_tuples(columns)
    text, style = (
        pd.DataFrame([[cells.get((column, line), ("", ""))[part] for column in columns] for line in lines], index, heading)
        for part in (0, 1)
    )
    css = {
        "td, th": "text-align: right; white-space: nowrap; padding: 2px 8px",
        "th.col_heading.level0": "text-align: center",
        "th.row_heading.level0": "vertical-align: top",
    }
    new_groups = [row for row in range(1, len(lines)) if lines[row][0] != lines[row - 1][0]]
    css |= {f".row{row}": "border-top: 1px solid #999999" for row in new_groups}
    styles = [{"selector": selector, "props": props} for selector, props in css.items()]
    styler = text.style.apply(lambda _: style, axis=None).set_table_styles(styles)
    if "data" in table:  # the paper's own numbers have none
        styler = styler.set_caption(DATA[table["data"].iloc[0]])
    return styler.set_uuid(name).to_html()


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """A table as CSV with four decimals, the same bytes on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(path, index=False, lineterminator="\n")
