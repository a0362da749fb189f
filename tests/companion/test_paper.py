"""The paper's tables as data: shape, laws that any run obeys, cells printed twice, what the text says."""

import numpy as np
import pytest

from companion.experiments import read_experiment
from companion.paper import paper_table
from companion.report.tables import METRICS
from companion.weights import METHODS

SETTINGS = [view + str(frames) for view in "DI" for frames in range(1, 6)]


def table_a():
    rows = paper_table("table_a")
    return rows[~rows.reference].set_index(["setting", "method"])


def test_table_a_has_every_setting_with_every_method_and_two_rows_from_elsewhere():
    rows = paper_table("table_a")
    assert list(table_a().index) == [(setting, method) for setting in SETTINGS for method in METHODS]
    assert not table_a()[list(METRICS)].isna().any(axis=None)
    elsewhere = rows[rows.reference]
    assert elsewhere.setting.tolist() == ["D*", "I*"] and elsewhere.frames.tolist() == [49, 49]
    assert elsewhere[["msd_star", "tv"]].isna().all(axis=None)


def test_tables_b_and_c_are_complete():
    grid = paper_table("table_b").pivot(index="lambda_kld", columns="lambda_msd", values="mae")
    assert grid.index.tolist() == list(range(6)) and grid.columns.tolist() == list(range(0, 11, 2))
    assert not grid.isna().any(axis=None)
    rows = paper_table("table_c")
    assert rows.reference.tolist() == [True] + [False] * 7
    assert rows.focal_indices.tolist() == [1, 1, 2, 4, 8, 2, 4, 8]


@pytest.mark.parametrize("name", ["table_a", "table_b", "table_c"])
def test_numbers_have_three_decimals_and_obey_the_laws_of_the_metrics(name):
    rows = paper_table(name)
    numbers = rows[[metric for metric in METRICS if metric in rows]]
    assert np.allclose(numbers, numbers.round(3), equal_nan=True)
    if "rmse" in rows:
        assert (rows.mae <= rows.rmse).all()
        # MSD* is a mean of standard deviations, the square of each at most that stack's squared error.
        assert (rows.msd_star.dropna() <= rows.rmse[rows.msd_star.notna()]).all()


def test_cells_that_two_tables_print_agree():
    a, b = table_a().loc["D1"], paper_table("table_b").set_index(["lambda_msd", "lambda_kld"])
    for weights, method in {(0, 0): "baseline", (6, 0): "msd", (0, 4): "kld", (4, 4): "fcl"}.items():
        assert b.loc[weights, ["mae", "msd_star"]].equals(a.loc[method, ["mae", "msd_star"]]), method
    c = paper_table("table_c")
    for row in c[c.focal_indices == 4].itertuples():
        assert a.loc[row.method, list(METRICS)].tolist() == [row.mae, row.rmse, row.msd_star, row.tv]


def test_what_the_text_says_of_the_tables_holds():
    a = table_a()
    for metric in ("msd_star", "tv"):  # Sec. C: every loss is more consistent than the baseline, FCL the most
        values = a[metric].unstack()
        assert (values.drop(columns="baseline").max(axis=1) < values.baseline).all()
        assert (values.idxmin(axis=1) == "fcl").all()
        for view in "DI":  # and every curve of Figure A falls
            curves = values[values.index.str.startswith(view)]
            assert (curves.diff().iloc[1:] < 0).all(axis=None)
    b = paper_table("table_b").pivot(index="lambda_kld", columns="lambda_msd", values="msd_star")
    assert (b.diff().iloc[1:] < 0).all(axis=None)  # Sec. D: MSD* falls as lambda_kld grows
    c = paper_table("table_c")
    ours = c[~c.reference]
    for method in ("baseline", "fcl"):  # Sec. E: F = 4 is the most accurate
        rows = ours[ours.method == method]
        assert rows.focal_indices[rows.mae.idxmin()] == 4
    pairs = ours.focal_indices * (ours.focal_indices - 1) / 2
    fcl = ours.method == "fcl"
    assert np.allclose((ours.lambda_kld * pairs)[fcl], 24, rtol=1e-3)  # its weights keep weight times pairs


def test_the_plan_of_table_a_is_the_paper_s_table():
    plan = read_experiment("table_a", "laptop")
    assert plan["settings"] == SETTINGS and tuple(plan["methods"]) == METHODS and plan["focal_indices"] == 4


def test_an_unknown_table_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="no table 'table_x'; it has table_a, table_b, table_c"):
        paper_table("table_x")
