"""Tables of results: means over seeds, changes against the baseline, ranks, HTML and CSV.

Every function takes and gives tidy DataFrames. A row names its setting (D1..D5, I1..I5), method and seed; the
four metrics are in focal indices, changes in percent of the same seed's baseline.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from companion.statistics import interval
from companion.weights import METHODS

NAMES = dict(zip(METHODS, ("AFPE", "+MSD", "+JSD", "+KLD", "+FCL"), strict=True))
METRICS = {"mae": "MAE", "rmse": "RMSE", "msd_star": "MSD*", "tv": "TV"}
CARRIED = ("data", "setting", "views", "frames", "F", "iterations", "lambda_msd", "lambda_kld")
DATA = {"simulated": "simulated stacks", "learnaf": "Learning-to-Autofocus photographs"}
VIEWS = {"D": "dual pixel", "I": "one channel"}
SUPERSCRIPTS = {1: "¹", 2: "²", 3: "³"}
MARKS = {  # the paper's red, orange and yellow, told apart by lightness alone
    1: "background-color: #f2a19a; color: black",
    2: "background-color: #fbcf8d; color: black",
    3: "background-color: #fcf6b8; color: black",
}


def paper_table(path: Path, name: str = "table_a") -> pd.DataFrame:
    """One of the paper's tables (experiments/paper.yml), seed "paper"; its dagger rows have `reference` True.

    Raises ValueError naming the tables there are when `name` is none of them.
    """
    tables = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if name not in tables:
        raise ValueError(f"{path} has no table {name!r}; it has {', '.join(tables)}")
    table = pd.DataFrame(tables[name]["rows"])
    table["reference"] = table.get("reference", pd.Series(False, index=table.index)).eq(True)
    if "setting" in table:
        table["views"] = table.setting.str[0]
        table["frames"] = table.setting.str[1:].replace("*", "49").astype(int)
    return table.assign(seed="paper")


def summarise(rows: pd.DataFrame, within: Sequence[str] = ("setting",)) -> pd.DataFrame:
    """Mean over seeds of each metric; `<metric>_half`, half its 95 % interval, is NaN for one seed.

    A row for each method and value of the columns `within`; of CARRIED, the columns there are are kept.
    """
    records = []
    for keys, runs in rows.groupby([*within, "method"], sort=False):
        record = {name: runs[name].iloc[0] for name in CARRIED if name in runs}
        record |= dict(zip([*within, "method"], keys)) | {"seeds": len(runs)}
        for metric in METRICS:
            record[metric], record[f"{metric}_half"] = interval(runs[metric])
        records.append(record)
    return pd.DataFrame(records)


def changes(rows: pd.DataFrame, within: Sequence[str] = ("setting",)) -> pd.DataFrame:
    """All runs but the baselines, each metric as change in percent against its own baseline.

    100 (value / baseline - 1), the baseline being that of the same seed and columns `within`; NaN where it is
    0 (a network that always answers the same has MSD* 0).
    """
    keys, metrics = [*within, "seed"], list(METRICS)
    baseline = rows[rows.method == "baseline"].set_index(keys)[metrics]
    out = rows[rows.method != "baseline"].reset_index(drop=True)
    reference = baseline.loc[pd.MultiIndex.from_frame(out[keys])].reset_index(drop=True)
    out[metrics] = 100 * (out[metrics] / reference.where(reference != 0) - 1)
    return out


def compare(rows: pd.DataFrame, paper: pd.DataFrame, within: Sequence[str] = ("setting",)) -> pd.DataFrame:
    """Changes in percent, ours and the paper's (`<metric>_paper`), and whether the signs agree.

    `<metric>_sign` is same, opposite or unclear: our 95 % interval over seeds contains zero, so the sign may
    be chance. One seed has no interval; its sign is taken as it is. Only what the paper has too is kept.
    """
    keys = [*within, "method"]
    table = summarise(changes(rows, within), within)
    theirs = changes(paper, within).set_index(keys)
    table = table[pd.MultiIndex.from_frame(table[keys]).isin(theirs.index)].reset_index(drop=True)
    theirs = theirs.loc[pd.MultiIndex.from_frame(table[keys])].reset_index(drop=True)
    for metric in METRICS:
        table[f"{metric}_paper"] = theirs[metric]
        agreement = np.sign(table[metric]) * np.sign(theirs[metric])
        agreement = agreement.where(~(table[metric].abs() <= table[f"{metric}_half"]), 0)
        table[f"{metric}_sign"] = agreement.map({1: "same", -1: "opposite"}).fillna("unclear")
    return table


def count_lower(changed: pd.DataFrame, paper_changed: pd.DataFrame) -> pd.DataFrame:
    """In how many settings each method lowers MSD*, TV and MAE, seed by seed, the paper's count last."""
    parts = {}
    for metric in ("msd_star", "tv", "mae"):
        both = pd.concat([changed, paper_changed])
        lower = (both[metric] < 0).groupby([both.method, both.seed], sort=False).sum()
        parts[METRICS[metric]] = lower.unstack().loc[list(dict.fromkeys(changed.method))]
    return pd.concat(parts, axis=1, names=["settings with lower", "seed"]).rename(index=NAMES)


def rank_correlation(comparison: pd.DataFrame) -> pd.Series:
    """Spearman's rank correlation of our changes with the paper's, from `compare`: one number per metric.

    1 where both put all changes in the same order. NaN for metrics that the paper doesn't print, and for
    fewer than three changes.
    """
    found = {}
    for metric, name in METRICS.items():
        pairs = comparison[[metric, f"{metric}_paper"]].dropna()
        found[name] = pairs.rank().corr().iloc[0, 1] if len(pairs) > 2 else np.nan
    return pd.Series(found)


def seed_noise(rows: pd.DataFrame) -> pd.Series:
    """How much a metric moves when only the seed changes: the noise floor below which a change says nothing.

    The sample standard deviation over seeds of the baseline, root mean square over settings, in focal
    indices; NaN for one seed. A difference of two runs with unlike seeds scatters sqrt(2) times as much, one
    with a common trunk less.
    """
    baseline = rows[rows.method == "baseline"].drop_duplicates("run")
    variances = baseline.groupby(["model", "setting", "F"])[list(METRICS)].var(ddof=1)
    return np.sqrt(variances.mean())


def ranks(summary: pd.DataFrame) -> pd.DataFrame:
    """Rank of each row within its setting, metric by metric, 1 the lowest; equal values share a rank."""
    return summary.groupby("setting")[list(METRICS)].rank(method="min").astype("Int64")


def plus_minus(value: float, half: float, digits: int, sign: str = "") -> str:
    """'1.76 ± 0.02'; no half where it is NaN, a dash for a value that is NaN; sign "+" also writes a plus."""
    if pd.isna(value):
        return "–"
    return f"{value:{sign}.{digits}f}" + ("" if pd.isna(half) else f" ± {half:.{digits}f}")


def intervals(rows: pd.DataFrame, by: Sequence[str], names: Iterable[str]) -> pd.DataFrame:
    """Mean of the columns `names` over the rows (seeds) of each group, in their order, and `<name>_half`, half its 95 % interval.

    by: columns that make a group, the index of the result. Student's t; NaN for one seed.
    """
    groups, names = rows.groupby(list(by), sort=False), list(names)
    means, halves = (groups[names].agg(lambda values, side=side: interval(values)[side]) for side in (0, 1))
    return pd.DataFrame({key: table[name] for name in names for key, table in ((name, means), (f"{name}_half", halves))})


def differences(rows: pd.DataFrame, columns: Sequence[str], method: str = "fcl") -> pd.DataFrame:
    """A method less the baseline of the same setting and seed: setting, seed, and each of `columns` in its unit."""
    by_method = rows.set_index(["setting", "seed"])
    ours, baseline = (by_method[by_method.method == name][list(columns)] for name in (method, "baseline"))
    return (ours - baseline.loc[ours.index]).reset_index()


def over_seeds(rows: pd.DataFrame, by: Sequence[str], digits: Mapping[str, int]) -> pd.DataFrame:
    """`intervals` as texts: '1.76 ± 0.02', or '1.76' for one seed. digits: column -> decimals."""
    table = intervals(rows, by, digits)
    return pd.DataFrame(
        {
            name: [plus_minus(*pair, places) for pair in zip(table[name], table[f"{name}_half"])]
            for name, places in digits.items()
        },
        index=table.index,
    )


def pooled(changed: pd.DataFrame) -> dict[str, Any]:
    """Changes in percent of several pairs (setting, seed) as one, on the scale of the claims: the geometric mean.

    100 (exp(mean of log(1 + change / 100)) - 1), its 95 % interval by Student's t on the logarithms. changed: `changes`.
    pairs, how many; of each metric the mean, and `<metric>_shown`, the mean with both ends of the interval as text. One pair
    has no interval; no pair, and a ratio that is 0 or no number, leave NaN and a dash.
    """
    found: dict[str, Any] = {"pairs": len(changed)}
    for metric in METRICS:
        ratios = 1 + changed[metric] / 100
        mean, half = interval(np.log(ratios.where(ratios > 0))) if len(ratios) else (np.nan, np.nan)
        middle, low, high = (100 * np.expm1(end) for end in (mean, mean - half, mean + half))
        ends = "" if pd.isna(half) else f" [{low:+.1f}, {high:+.1f}]"
        found |= {metric: middle, f"{metric}_shown": "–" if pd.isna(middle) else f"{middle:+.1f} %{ends}"}
    return found


def in_words(change: Any, unit: str = "%") -> str:
    """A row of `summarise` or `intervals` of changes as text: 'MAE -1.2 ± 0.4 %, RMSE ...'. unit: theirs."""
    values = {name: (getattr(change, metric), getattr(change, f"{metric}_half")) for metric, name in METRICS.items()}
    return ", ".join(f"{name} {plus_minus(*pair, 1, '+')} {unit}" for name, pair in values.items())


def scatter(rows: pd.DataFrame) -> str:
    """`seed_noise` as text: 'MAE 0.221, RMSE ...', dashes for one seed."""
    return ", ".join(f"{METRICS[metric]} {plus_minus(value, np.nan, 3)}" for metric, value in seed_noise(rows).items())


def table_html(summary: pd.DataFrame, name: str, axis: str = "frames", names: Mapping[str, str] = NAMES) -> str:
    """Table A as the paper prints it: dual pixel left, one channel right, the best three marked.

    The lowest three of each setting and metric have a colour and a number. axis: the column that tells groups
    of lines apart; names: what each method is called. HTML whose ids come from `name`, so that the same
    numbers give the same text.
    """
    place, text, style = ranks(summary), {}, {}
    for row in summary.index:
        line, view = (summary.loc[row, axis], names[summary.method[row]]), summary.views[row]
        for metric, title in METRICS.items():
            column, rank = (VIEWS.get(view, view), title), place.loc[row, metric]
            value = plus_minus(summary.loc[row, metric], summary.loc[row, f"{metric}_half"], 3)
            text[column, line] = value + SUPERSCRIPTS.get(rank, "")
            style[column, line] = MARKS.get(rank, "")
    return _html(text, style, [axis, ""], name, data_name(summary))


def grid_html(summary: pd.DataFrame, metric: str, name: str) -> str:
    """Table B for one metric: lambda_KLD downwards, lambda_MSD to the right, the best two marked.

    summary: `summarise`, with the columns lambda_msd and lambda_kld.
    """
    place, text, style = summary[metric].rank(method="min"), {}, {}
    for row in summary.sort_values(["lambda_kld", "lambda_msd"]).index:
        rank = place[row] if place[row] <= 2 else 0
        cell = ("λ MSD", f"{summary.lambda_msd[row]:g}"), ("λ KLD", f"{summary.lambda_kld[row]:g}")
        text[cell] = plus_minus(summary.loc[row, metric], summary.loc[row, f"{metric}_half"], 3)
        text[cell] += SUPERSCRIPTS.get(rank, "")
        style[cell] = MARKS.get(rank, "")
    return _html(text, style, [METRICS[metric], ""], name, data_name(summary))


def comparison_html(table: pd.DataFrame, name: str, axis: str = "setting", names: Mapping[str, str] = NAMES) -> str:
    """`compare` as HTML: per metric our change, the paper's, and their signs, opposite ones marked."""
    text, style = {}, {}
    for row in table.index:
        line = (table.loc[row, axis], names[table.method[row]])
        for metric, title in METRICS.items():
            if table[f"{metric}_paper"].isna().all():  # the paper doesn't print it
                continue
            sign = table.loc[row, f"{metric}_sign"]
            here = plus_minus(table.loc[row, metric], table.loc[row, f"{metric}_half"], 1, "+")
            paper = plus_minus(table.loc[row, f"{metric}_paper"], np.nan, 1, "+")
            for heading, cell in {"here, %": here, "paper, %": paper, "sign": sign}.items():
                text[(title, heading), line] = cell
                style[(title, heading), line] = MARKS[2] if cell == "opposite" else ""
    return _html(text, style, [axis, ""], name, data_name(table))


def data_name(summary: pd.DataFrame) -> str:
    """What the rows of a table were scored on, in words; nothing for the paper's own numbers."""
    return DATA[summary["data"].iloc[0]] if "data" in summary else ""


def _html(text: Mapping[tuple, str], style: Mapping[tuple, str], names: Sequence[str], name: str, caption: str) -> str:
    """HTML of {(column, line): text}, styled by CSS; columns and lines are pairs, in order of first use."""
    columns, lines = (list(dict.fromkeys(key[side] for key in text)) for side in (0, 1))

    def grid(cells: Mapping[tuple, str]) -> pd.DataFrame:
        values = [[cells.get((column, line), "") for column in columns] for line in lines]
        index = pd.MultiIndex.from_tuples(lines, names=names)
        return pd.DataFrame(values, index=index, columns=pd.MultiIndex.from_tuples(columns))

    css = {
        "td, th": "text-align: right; white-space: nowrap; padding: 2px 8px",
        "th.col_heading.level0": "text-align: center",
        "th.row_heading.level0": "vertical-align: top",
    }
    styles = [dict(selector=selector, props=props) for selector, props in css.items()]
    for row, line in enumerate(lines):
        if row and line[0] != lines[row - 1][0]:  # a rule above each group of lines
            styles.append(dict(selector=f".row{row}", props="border-top: 1px solid #999999"))
    styler = grid(text).style.apply(lambda _: grid(style), axis=None).set_table_styles(styles)
    styler = styler.set_caption(caption) if caption else styler
    return styler.set_uuid(name).to_html()


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """A table as CSV with four decimals, the same bytes on every system."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(path, index=False, lineterminator="\n")
