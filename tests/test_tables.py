"""Tables of results, on small made-up results whose every number can be worked out beside them."""

import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from fcl import tables
from fcl.runs import METHODS, ResultsError, parse_weights

PLAN = {"model": "afpe", "focal_indices": 4, "settings": ["D1", "I1"], "methods": list(METHODS)}
NAMES = {"baseline": "baseline", "msd": "msd6", "jsd": "jsd32", "kld": "kld4", "fcl": "msd4+kld4"}


def made_up(seeds=(0, 1, 2)):
    """One row per (setting, method, seed), the methods in order, metrics random."""
    random = np.random.default_rng(0)
    rows = [
        dict(setting=setting, views=setting[0], frames=1, method=method, seed=seed)
        | dict(zip(tables.METRICS, random.uniform(1, 2, 4), strict=True))
        for setting in PLAN["settings"]
        for method in METHODS
        for seed in seeds
    ]
    return pd.DataFrame(rows)


def pick(rows, setting, method, seed=None):
    chosen = rows[(rows.setting == setting) & (rows.method == method)]
    return chosen if seed is None else chosen[chosen.seed == seed].iloc[0]


def test_only_complete_seeds_are_used_and_controls_are_no_seeds(tmp_path):
    folder = tmp_path / "laptop" / "simulated"
    for group in ("afpe-D1-F4-seed0", "afpe-D1-F4-seed3", "afpe-I1-F4-seed0", "afpe-I1-F4-seed3"):
        (folder / group).mkdir(parents=True)
    for group in ("afpe-D1-F4-seed1", "afpe-D1-F4-seed2-shuffled", "afpe-I1-F4-seed2", "afpe-D1-F8-seed5"):
        (folder / group).mkdir()
    assert tables.complete_seeds(folder, PLAN) == [0, 3]
    assert tables.complete_seeds(folder, PLAN, "3") == [3]
    with pytest.raises(ResultsError, match="has no seed 1 7 with all of .*make figures PROFILE=laptop SEEDS='1 7'"):
        tables.complete_seeds(folder, PLAN, "7 1 0")
    with pytest.raises(ValueError, match='seeds must be "all" or whole numbers'):
        tables.complete_seeds(folder, PLAN, "0, 3")


def test_no_results_is_an_error_that_names_the_folder_and_the_commands(tmp_path):
    with pytest.raises(ResultsError, match="no seed with all of D1, I1.*make figures PROFILE=laptop"):
        tables.complete_seeds(tmp_path / "laptop" / "simulated", PLAN)


def test_planned_runs_name_the_chosen_weights_and_order_the_results():
    chosen = {method: parse_weights(name) for method, name in NAMES.items()}
    plan = PLAN | {"settings": ["I1", "D*"]}
    planned = tables.planned_runs(plan, {"I1": chosen, "D*": chosen}, [2, 7])
    assert planned.run.iloc[[0, 1, -1]].tolist() == [
        "afpe-I1-F4-seed2/baseline",
        "afpe-I1-F4-seed7/baseline",
        "afpe-Dall-F4-seed7/msd4+kld4",
    ]
    results = pd.DataFrame({"path": "/elsewhere/" + planned.run + ".json", "mae": np.arange(20.0)})
    shuffled = results.sample(frac=1, random_state=0)
    rows = tables.with_methods(shuffled, planned)
    assert rows.run.tolist() == planned.run.tolist() and rows.mae.tolist() == list(range(20))
    assert rows.method.tolist() == [method for _ in range(2) for method in METHODS for _ in range(2)]


def test_means_and_intervals_are_those_of_scipy():
    rows = made_up()
    summary = tables.summarise(rows)
    order = list(zip(summary.setting, summary.method, strict=True))
    assert order == [(setting, method) for setting in PLAN["settings"] for method in METHODS]
    tv = pick(rows, "I1", "kld").tv
    low, high = scipy.stats.ttest_1samp(tv, 0).confidence_interval(0.95)
    row = pick(summary, "I1", "kld").iloc[0]
    assert (row.tv, row.tv_half, row.seeds) == pytest.approx((tv.mean(), (high - low) / 2, 3))
    assert tables.summarise(made_up(seeds=[4])).tv_half.isna().all()


def test_changes_are_paired_by_setting_and_seed():
    rows = made_up()
    changed = tables.changes(rows.sample(frac=1, random_state=1))
    assert len(changed) == 2 * 4 * 3
    for row in changed.itertuples():
        baseline = pick(rows, row.setting, "baseline", row.seed).mae
        value = pick(rows, row.setting, row.method, row.seed).mae
        assert row.mae == pytest.approx(100 * (value - baseline) / baseline)


def test_change_from_a_baseline_of_zero_is_no_number_and_no_improvement():
    rows = made_up(seeds=[0])
    rows.loc[rows.method == "baseline", "tv"] = 0.0
    changed = tables.changes(rows)
    assert changed.tv.isna().all() and changed.mae.notna().all()
    assert (tables.count_lower(changed, changed)["TV"] == 0).all(axis=None)
    assert (tables.compare(rows, rows).tv_sign == "unclear").all()
    assert "–" in tables.comparison_html(tables.compare(rows, rows), "name")


def test_signs_agree_differ_or_are_unclear():
    def two_methods(changes):
        values = [(seed, method, value) for seed, change in enumerate(changes)
                  for method, value in (("baseline", 2.0), ("fcl", 2.0 + change))]
        rows = pd.DataFrame(values, columns=["seed", "method", "mae"])
        others = {name: rows.mae for name in ("rmse", "msd_star", "tv")}
        return rows.assign(setting="D1", views="D", frames=1, **others)

    paper = two_methods([-0.2])
    assert tables.compare(two_methods([-0.3, -0.31, -0.32]), paper).mae_sign.item() == "same"
    assert tables.compare(two_methods([0.3, 0.31, 0.32]), paper).mae_sign.item() == "opposite"
    assert tables.compare(two_methods([-0.3, 0.31, -0.32]), paper).mae_sign.item() == "unclear"
    assert tables.compare(two_methods([-0.1]), paper).mae_sign.item() == "same"  # one seed: no interval
    assert tables.compare(two_methods([0.0]), paper).mae_sign.item() == "unclear"
    assert tables.compare(two_methods([-0.3]), paper).mae_paper.item() == pytest.approx(-10)


def test_counts_by_seed_stand_beside_the_paper_s():
    rows, paper = made_up(), made_up(seeds=["paper"])
    counts = tables.count_lower(tables.changes(rows), tables.changes(paper))
    assert counts.index.tolist() == ["+MSD", "+JSD", "+KLD", "+FCL"]
    assert counts["TV"].columns.tolist() == [0, 1, 2, "paper"]
    for source, seeds in ((rows, (0, 1, 2)), (paper, ("paper",))):
        for seed in seeds:
            for method in METHODS[1:]:
                lower = 0
                for setting in PLAN["settings"]:
                    baseline = pick(source, setting, "baseline", seed).tv
                    lower += pick(source, setting, method, seed).tv < baseline
                assert counts.loc[tables.NAMES[method], ("TV", seed)] == lower


def test_equal_values_share_a_rank():
    summary = tables.summarise(made_up())
    summary.loc[summary.setting == "D1", "mae"] = [1.5, 1.2, 1.2, 1.7, 1.3]
    assert tables.ranks(summary).mae[summary.setting == "D1"].tolist() == [4, 1, 1, 5, 3]


def test_the_best_three_are_marked_by_number_and_colour():
    summary = tables.summarise(made_up(seeds=[0]))
    html = tables.table_html(summary, "made-up")
    cells = re.findall(r'<td id="(\w|-)*row(\d+)_col(\d+)"[^>]*>([^<]*)</td>', html)
    text = {(int(row), int(column)): value for _, row, column, value in cells}
    assert len(text) == 5 * 8
    for column, (setting, metric) in enumerate((s, m) for s in PLAN["settings"] for m in tables.METRICS):
        values = summary[summary.setting == setting][metric].tolist()
        for row, value in enumerate(values):
            rank = sorted(values).index(value) + 1
            assert text[row, column] == f"{value:.3f}" + {1: "¹", 2: "²", 3: "³"}.get(rank, "")
    for mark in tables.MARKS.values():
        colour = mark.split(";")[0]
        assert html.split("</style>")[0].count(colour) == 1  # one rule, shared by its eight cells
    assert html == tables.table_html(summary, "made-up")


def test_a_profile_with_fewer_one_channel_settings_leaves_their_cells_empty():
    rows = made_up(seeds=[0])
    rows = pd.concat([rows, rows[rows.setting == "D1"].assign(setting="D2", frames=2)])
    html = tables.table_html(tables.summarise(rows), "made-up")
    assert html.count("¹</td>") == 12 and html.count("></td>") == 5 * 4


def test_opposite_signs_are_marked():
    rows, paper = made_up(seeds=[0]), made_up(seeds=["paper"])
    html = tables.comparison_html(tables.compare(rows, paper), "made-up")
    assert ">opposite<" not in html and html.count(">same<") == 2 * 4 * 4
    flipped = paper.assign(mae=2 - paper.mae + paper.mae.max())
    html = tables.comparison_html(tables.compare(rows, flipped), "made-up")
    assert html.count(">opposite<") == 8 and tables.MARKS[2].split(";")[0] in html


def test_numbers_are_written_with_their_interval_where_there_is_one():
    assert tables.plus_minus(1.7604, 0.0213, 3) == "1.760 ± 0.021"
    assert tables.plus_minus(-1.2, np.nan, 1, "+") == "-1.2"
    assert tables.plus_minus(1.2, np.nan, 1, "+") == "+1.2"
    assert tables.plus_minus(np.nan, np.nan, 3) == "–"


def test_csv_has_four_decimals_and_plain_line_ends(tmp_path):
    tables.write_csv(pd.DataFrame({"setting": ["D1"], "mae": [1.23456]}), tmp_path / "new" / "table.csv")
    assert (tmp_path / "new" / "table.csv").read_bytes() == b"setting,mae\nD1,1.2346\n"
