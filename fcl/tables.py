"""Tables of results: which runs, means over seeds, changes against the baseline, ranks, HTML and CSV.

Every function takes and gives tidy DataFrames. A row names its setting (D1..D5, I1..I5), method and seed; the
four metrics are in focal indices, changes in percent of the same seed's baseline.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from fcl.runs import METHODS, ResultsError, Weights
from fcl.stats import interval

NAMES = dict(zip(METHODS, ("AFPE", "+MSD", "+JSD", "+KLD", "+FCL"), strict=True))
METRICS = {"mae": "MAE", "rmse": "RMSE", "msd_star": "MSD*", "tv": "TV"}
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


def experiment(path: Path, profile: str) -> dict:
    """What a table or figure runs: experiments/<name>.yml with the exceptions of that profile put in."""
    plan = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return plan | plan.get("profiles", {}).get(profile, {})


def _group(plan: Mapping, setting: str, seed: int | str) -> str:
    return f"{plan['model']}-{setting.replace('*', 'all')}-F{plan['focal_indices']}-seed{seed}"


def complete_seeds(folder: Path, plan: Mapping, wanted: str = "all") -> list[int]:
    """Seeds of which `folder` (results/<profile>/<data>) has a group for every setting of the plan.

    `wanted` names those asked for, as "0 1". Raises ValueError for a text that isn't, ResultsError naming the folder and
    the commands that fill it when one of them is missing or none is there.
    """
    found = []
    for setting in plan["settings"]:
        start = _group(plan, setting, "")
        endings = [path.name.removeprefix(start) for path in Path(folder).glob(f"{start}*")]
        found.append({int(text) for text in endings if text.isdigit()})  # not "0-shuffled"
    complete = set.intersection(*found)
    if wanted != "all" and not all(text.isdigit() for text in wanted.split()):
        raise ValueError(f'seeds must be "all" or whole numbers as in "0 1", not {wanted!r}')
    seeds = complete if wanted == "all" else {int(text) for text in wanted.split()}
    if not seeds or seeds - complete:
        missing = " ".join(map(str, sorted(seeds - complete)))
        raise ResultsError(
            f"{folder} has no {'seed' if not seeds else f'seed {missing}'} with all of {', '.join(plan['settings'])}. "
            f"`make figures PROFILE={Path(folder).parent.name}{f' SEEDS={missing!r}' * bool(missing)}` makes them in runs/ "
            "and draws from there; `make publish` copies finished runs to results/."
        )
    return sorted(seeds)


def planned_runs(
    plan: Mapping, weights: Mapping[str, Mapping[str, Weights]], seeds: Iterable[int]
) -> pd.DataFrame:
    """The runs of a table in its order, one row each: setting, method, seed and `run` ("<group>/<run>").

    weights: setting -> method -> the weights chosen for it (`fcl.runs.chosen_weights`).
    """
    rows = []
    for setting in plan["settings"]:
        for method in plan["methods"]:
            name = weights[setting][method].name
            for seed in seeds:
                run = f"{_group(plan, setting, seed)}/{name}"
                rows.append(dict(setting=setting, method=method, seed=seed, run=run))
    return pd.DataFrame(rows)


def with_methods(results: pd.DataFrame, planned: pd.DataFrame) -> pd.DataFrame:
    """`read_results(folder, expected=planned.run)` in the order of `planned`, with its method and run."""
    run = results.path.map(lambda path: f"{Path(path).parent.name}/{Path(path).stem}")
    return planned[["run", "method"]].merge(results.assign(run=run), on="run", validate="one_to_one")


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of each metric; `<metric>_half`, half its 95 % interval, is NaN for one seed."""
    records = []
    for (setting, method), runs in rows.groupby(["setting", "method"], sort=False):
        record = dict(setting=setting, views=runs.views.iloc[0], frames=runs.frames.iloc[0], method=method)
        record["seeds"] = len(runs)
        for metric in METRICS:
            record[metric], record[f"{metric}_half"] = interval(runs[metric])
        records.append(record)
    return pd.DataFrame(records)


def changes(rows: pd.DataFrame) -> pd.DataFrame:
    """All runs but the baselines, each metric as change in percent against its own baseline.

    100 (value / baseline - 1), the baseline being that of the same setting and seed; NaN where it is 0 (a
    network that always answers the same has MSD* 0).
    """
    keys, metrics = ["setting", "seed"], list(METRICS)
    baseline = rows[rows.method == "baseline"].set_index(keys)[metrics]
    out = rows[rows.method != "baseline"].reset_index(drop=True)
    reference = baseline.loc[pd.MultiIndex.from_frame(out[keys])].reset_index(drop=True)
    out[metrics] = 100 * (out[metrics] / reference.where(reference != 0) - 1)
    return out


def compare(rows: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """Changes in percent, ours and the paper's (`<metric>_paper`), and whether the signs agree.

    `<metric>_sign` is same, opposite or unclear: our 95 % interval over seeds contains zero, so the sign may
    be chance. One seed has no interval; its sign is taken as it is.
    """
    table = summarise(changes(rows))
    theirs = changes(paper).set_index(["setting", "method"])
    theirs = theirs.loc[pd.MultiIndex.from_frame(table[["setting", "method"]])].reset_index(drop=True)
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


def ranks(summary: pd.DataFrame) -> pd.DataFrame:
    """Rank of each row within its setting, metric by metric, 1 the lowest; equal values share a rank."""
    return summary.groupby("setting")[list(METRICS)].rank(method="min").astype("Int64")


def plus_minus(value: float, half: float, digits: int, sign: str = "") -> str:
    """'1.76 ± 0.02'; no half where it is NaN, a dash for a value that is NaN; sign "+" also writes a plus."""
    if pd.isna(value):
        return "–"
    return f"{value:{sign}.{digits}f}" + ("" if pd.isna(half) else f" ± {half:.{digits}f}")


def table_html(summary: pd.DataFrame, name: str) -> str:
    """Table A as the paper prints it: dual pixel left, one channel right, the best three marked.

    The lowest three of each setting and metric have a colour and a number. HTML whose ids come from `name`,
    so that the same numbers give the same text.
    """
    place, text, style = ranks(summary), {}, {}
    for row in summary.index:
        line = (summary.frames[row], NAMES[summary.method[row]])
        for metric, title in METRICS.items():
            column, rank = (VIEWS[summary.views[row]], title), place.loc[row, metric]
            value = plus_minus(summary.loc[row, metric], summary.loc[row, f"{metric}_half"], 3)
            text[column, line] = value + SUPERSCRIPTS.get(rank, "")
            style[column, line] = MARKS.get(rank, "")
    return _html(text, style, ["frames", ""], name)


def comparison_html(table: pd.DataFrame, name: str) -> str:
    """`compare` as HTML: per metric our change, the paper's, and their signs, opposite ones marked."""
    text, style = {}, {}
    for row in table.index:
        line = (table.setting[row], NAMES[table.method[row]])
        for metric, title in METRICS.items():
            sign = table.loc[row, f"{metric}_sign"]
            here = plus_minus(table.loc[row, metric], table.loc[row, f"{metric}_half"], 1, "+")
            paper = plus_minus(table.loc[row, f"{metric}_paper"], np.nan, 1, "+")
            for heading, cell in {"here, %": here, "paper, %": paper, "sign": sign}.items():
                text[(title, heading), line] = cell
                style[(title, heading), line] = MARKS[2] if cell == "opposite" else ""
    return _html(text, style, ["setting", ""], name)


def _html(text: Mapping[tuple, str], style: Mapping[tuple, str], names: Sequence[str], name: str) -> str:
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
    return styler.set_uuid(name).to_html()


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """A table as CSV with four decimals, the same bytes on every system."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(path, index=False, lineterminator="\n")
