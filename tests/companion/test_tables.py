"""Tables of results, on small made-up results whose every number can be worked out beside them."""

import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from companion.report import tables
from companion.statistics import interval
from companion.weights import METHODS

SETTINGS = ["D1", "I1"]


def made_up(seeds=(0, 1, 2)):
    """One row per (setting, method, seed), the methods in order, metrics random."""
    random = np.random.default_rng(0)
    rows = [
        dict(setting=setting, views=setting[0], frames=1, method=method, seed=seed)
        | dict(zip(tables.METRICS, random.uniform(1, 2, 4), strict=True))
        for setting in SETTINGS
        for method in METHODS
        for seed in seeds
    ]
    return pd.DataFrame(rows)


def pick(rows, setting, method, seed=None):
    chosen = rows[(rows.setting == setting) & (rows.method == method)]
    return chosen if seed is None else chosen[chosen.seed == seed].iloc[0]


def test_means_and_intervals_are_those_of_scipy():
    rows = made_up()
    summary = tables.summarise(rows)
    order = list(zip(summary.setting, summary.method, strict=True))
    assert order == [(setting, method) for setting in SETTINGS for method in METHODS]
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
    assert "–" in tables.comparison_html(tables.compare(rows, made_up(seeds=["paper"])), "name")


def test_signs_agree_differ_or_are_unclear():
    def two_methods(changes):
        values = [
            (seed, method, value)
            for seed, change in enumerate(changes)
            for method, value in (("baseline", 2.0), ("fcl", 2.0 + change))
        ]
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
                for setting in SETTINGS:
                    baseline = pick(source, setting, "baseline", seed).tv
                    lower += pick(source, setting, method, seed).tv < baseline
                assert counts.loc[tables.NAMES[method], ("TV", seed)] == lower


def test_equal_values_share_a_rank():
    summary = tables.summarise(made_up(seeds=[0]))
    summary.loc[summary.setting == "D1", "mae"] = [1.5, 1.2, 1.2, 1.7, 1.3]
    cells = re.findall(r"_row\d_col0\"[^>]*>([^<]*)</td>", tables.table_html(summary, "made-up"))
    assert cells == ["1.500", "1.200¹", "1.200¹", "1.700", "1.300³"]


def test_the_best_three_are_marked_by_number_and_colour():
    summary = tables.summarise(made_up(seeds=[0]))
    html = tables.table_html(summary, "made-up")
    cells = re.findall(r'<td id="(\w|-)*row(\d+)_col(\d+)"[^>]*>([^<]*)</td>', html)
    text = {(int(row), int(column)): value for _, row, column, value in cells}
    assert len(text) == 5 * 8
    for column, (setting, metric) in enumerate((s, m) for s in SETTINGS for m in tables.METRICS):
        values = summary[summary.setting == setting][metric].tolist()
        for row, value in enumerate(values):
            rank = sorted(values).index(value) + 1
            assert text[row, column] == f"{value:.3f}" + {1: "¹", 2: "²", 3: "³"}.get(rank, "")
    for _, style in tables.MARKS.values():
        colour = style.split(";")[0]
        assert html.split("</style>")[0].count(colour) == 1  # one rule, shared by its eight cells
    assert html == tables.table_html(summary, "made-up")


def test_a_profile_with_fewer_one_channel_settings_leaves_their_cells_empty():
    rows = made_up(seeds=[0])
    rows = pd.concat([rows, rows[rows.setting == "D1"].assign(setting="D2", frames=2)])
    html = tables.table_html(tables.summarise(rows), "made-up")
    assert html.count("¹</td>") == 12 and html.count("></td>") == 5 * 4


def test_what_the_paper_does_not_print_has_no_column():
    rows, paper = made_up(seeds=[0]), made_up(seeds=["paper"]).assign(tv=np.nan)
    html = tables.comparison_html(tables.compare(rows, paper), "made-up")
    assert "RMSE" in html and "TV" not in html


def test_opposite_signs_are_marked():
    rows, paper = made_up(seeds=[0]), made_up(seeds=["paper"])
    html = tables.comparison_html(tables.compare(rows, paper), "made-up")
    assert ">opposite<" not in html and html.count(">same<") == 2 * 4 * 4
    flipped = paper.assign(mae=2 - paper.mae + paper.mae.max())
    html = tables.comparison_html(tables.compare(rows, flipped), "made-up")
    assert html.count(">opposite<") == 8 and tables.MARKS[2][1].split(";")[0] in html


def test_changes_may_be_within_other_columns_than_the_setting():
    rows = pd.concat([made_up().assign(F=F, mae=lambda rows, F=F: rows.mae + F) for F in (2, 8)])
    changed = tables.changes(rows, ["setting", "F"])
    for row in changed.itertuples():
        baseline = pick(rows[rows.F == row.F], row.setting, "baseline", row.seed).mae
        value = pick(rows[rows.F == row.F], row.setting, row.method, row.seed).mae
        assert row.mae == pytest.approx(100 * (value / baseline - 1))
    paper = rows[(rows.seed == 0) & (rows.F == 8) & rows.method.isin(["baseline", "fcl"])]
    table = tables.compare(rows, paper, ["setting", "F"])  # only what the paper has too
    assert table[["setting", "F", "method"]].to_numpy().tolist() == [["D1", 8, "fcl"], ["I1", 8, "fcl"]]


def test_rank_correlation_is_that_of_the_orders():
    table = pd.DataFrame({metric: [3.0, 1.0, 2.0, 9.0] for metric in tables.METRICS})
    table["mae_paper"], table["rmse_paper"] = [30, 10, 20, 90], [-3, -1, -2, -9]
    table["msd_star_paper"], table["tv_paper"] = [1.0, 3.0, 2.0, np.nan], np.nan
    found = tables.rank_correlation(table)
    assert found[["MAE", "RMSE", "MSD*"]].tolist() == pytest.approx([1, -1, -1]) and np.isnan(found["TV"])


def test_means_over_seeds_as_texts_in_the_order_of_the_rows():
    rows = pd.DataFrame({"method": ["b", "b", "a"], "x": [1.0, 2.0, 3.0], "y": [1.0, np.nan, 0.5]})
    table = tables.over_seeds(rows, ["method"], {"x": 2, "y": 1})
    assert table.index.tolist() == ["b", "a"]
    assert table.x.tolist() == [f"1.50 ± {interval([1, 2])[1]:.2f}", "3.00"] and table.y.tolist() == ["–", "0.5"]


def test_pooled_changes_are_geometric_means_with_scipy_s_interval():
    changed = tables.changes(made_up())
    changed = changed[changed.method == "fcl"]
    found = tables.pooled(changed)
    ratios = 1 + changed.tv / 100
    low, high = scipy.stats.ttest_1samp(np.log(ratios), 0).confidence_interval(0.95)
    assert found["pairs"] == 6 and found["tv"] == pytest.approx(100 * (scipy.stats.gmean(ratios) - 1))
    ends = [f"{100 * (np.exp(end) - 1):+.1f}" for end in (low, high)]
    assert found["tv_shown"] == f"{found['tv']:+.1f} % [{ends[0]}, {ends[1]}]"
    both = pd.DataFrame([dict.fromkeys(tables.METRICS, change) for change in (100, -50)])  # twice and half
    assert tables.pooled(both)["mae"] == pytest.approx(0)
    assert tables.pooled(both[:1])["mae_shown"] == "+100.0 %"
    assert tables.pooled(both[:0])["mae_shown"] == "–"
    nothing = tables.pooled(both.replace(-50, -100))  # a network that gives one answer has MSD* 0
    assert nothing["mae_shown"] == "–" and np.isnan(nothing["mae"])


def test_differences_are_paired_and_their_intervals_may_be_of_nothing():
    rows = made_up().sample(frac=1, random_state=1)
    found = tables.differences(rows, ["tv"]).set_index(["setting", "seed"]).tv
    for setting in SETTINGS:
        for seed in (0, 1, 2):
            expected = pick(rows, setting, "fcl", seed).tv - pick(rows, setting, "baseline", seed).tv
            assert found[setting, seed] == pytest.approx(expected)
    table = tables.intervals(found.reset_index(), ["setting"], ["tv"])
    assert table.loc["I1"].tolist() == pytest.approx(interval(found["I1"]))
    assert tables.over_seeds(found.reset_index()[:0], ["setting"], {"tv": 2}).empty


def test_noise_is_the_scatter_of_the_baseline_over_seeds():
    rows = made_up().assign(model="afpe", F=4)
    rows["run"] = rows.setting + rows.method + rows.seed.astype(str)
    twice = pd.concat([rows, rows[rows.method == "baseline"]])  # a run that two experiments read counts once
    variances = [pick(rows, setting, "baseline").tv.var() for setting in SETTINGS]
    assert tables.seed_noise(twice).tv == pytest.approx(np.sqrt(np.mean(variances)))
    assert tables.seed_noise(rows[rows.seed == 0]).isna().all()
    assert f"TV {np.sqrt(np.mean(variances)):.3f}" in tables.scatter(rows)
    assert tables.scatter(rows[rows.seed == 0]) == "MAE –, RMSE –, MSD* –, TV –"


def test_the_grid_has_a_line_for_each_kld_and_marks_two():
    cells = [
        dict(lambda_msd=msd, lambda_kld=kld, mae=1 + msd + 0.1 * kld, mae_half=np.nan)
        for msd in (0, 4)
        for kld in (0, 0.5, 24)
    ]
    html = tables.grid_html(pd.DataFrame(cells), "mae", "made-up")
    text = re.findall(r'<td id="[^"]*"[^>]*>([^<]*)</td>', html)
    assert text == ["1.000¹", "5.000", "1.050²", "5.050", "3.400", "7.400"]
    assert "λ KLD" in html and ">0.5<" in html and "³" not in html


def test_numbers_are_written_with_their_interval_where_there_is_one():
    assert tables.plus_minus(1.7604, 0.0213, 3) == "1.760 ± 0.021"
    assert tables.plus_minus(-1.2, np.nan, 1, "+") == "-1.2"
    assert tables.plus_minus(1.2, np.nan, 1, "+") == "+1.2"
    assert tables.plus_minus(np.nan, np.nan, 3) == "–"


def test_a_change_is_told_in_words():
    rows = tables.summarise(tables.changes(made_up(seeds=[0])))
    first = next(rows.itertuples())
    assert tables.in_words(first).startswith(f"MAE {first.mae:+.1f} %, RMSE {first.rmse:+.1f} %, MSD* ")


def test_csv_has_four_decimals_and_plain_line_ends(tmp_path):
    tables.write_csv(pd.DataFrame({"setting": ["D1"], "mae": [1.23456]}), tmp_path / "new" / "table.csv")
    assert (tmp_path / "new" / "table.csv").read_bytes() == b"setting,mae\nD1,1.2346\n"
