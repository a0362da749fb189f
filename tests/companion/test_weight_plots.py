"""Figures over weights: the numbers drawn are those given, and the text is readable and inside the figure."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from test_plots import assert_readable

from companion.report import weight_plots


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def grid(half=None):
    cells = [
        dict(lambda_msd=msd, lambda_kld=kld, mae=2 + msd / 9 - kld / 30, msd_star=3 - msd / 10 - kld / 20)
        for msd in (0, 4, 10)
        for kld in (0, 0.5, 4)
    ]
    table = pd.DataFrame(cells)
    return table if half is None else table.assign(mae_half=half, msd_star_half=half)


def points():
    rows = [
        dict(setting=setting, method=method, msd_star=4 - step / 2, mae=2 + 9 * (step == 3), mean_entropy=2.5)
        for setting in ("D1", "I1")
        for method in ("msd", "kld", "readout")
        for step in range(4)
    ]
    return pd.DataFrame(rows).assign(msd_star_half=0.1, mae_half=np.nan, mean_entropy_half=0.02)


FIGURES = {
    "heat_maps": lambda: weight_plots.heat_maps({"here": grid(), "paper": grid()}),
    "weight_curves": lambda: weight_plots.weight_curves(grid(0.1), grid(), pd.Series({"mae": 1.0, "msd_star": 2.0})),
    "frontiers": lambda: weight_plots.frontiers(points(), ["D1", "I1"]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_readable_and_inside_the_figure(name):
    assert_readable(FIGURES[name]())


def test_maps_hold_every_cell_at_its_place_and_frame_two():
    table = grid()
    for panel, metric in zip(FIGURES["heat_maps"]().axes, ("mae", "msd_star"), strict=False):
        columns, rows = ([label.get_text() for label in axis.get_ticklabels()] for axis in (panel.xaxis, panel.yaxis))
        assert (columns, rows) == (["0", "4", "10"], ["0", "0.5", "4"])
        for text in panel.texts:
            column, row = text.get_position()
            cell = table[(table.lambda_msd == float(columns[column])) & (table.lambda_kld == float(rows[row]))]
            assert text.get_text() == f"{cell[metric].item():.2f}"
        framed = {(round(patch.get_x() + 0.46), round(patch.get_y() + 0.46)) for patch in panel.patches}
        assert framed == ({(0, 2), (0, 1)} if metric == "mae" else {(2, 2), (2, 1)})


def test_curves_are_the_row_and_the_column_through_four():
    table, axes = grid(0.1), FIGURES["weight_curves"]().axes
    for panel, (fixed, moving, metric) in zip(
        axes,
        [("msd", "kld", "mae"), ("kld", "msd", "mae"), ("msd", "kld", "msd_star"), ("kld", "msd", "msd_star")],
        strict=True,
    ):
        part = table[table[f"lambda_{fixed}"] == 4]
        for line in panel.lines[:2]:
            assert np.array_equal(line.get_xdata(), part[f"lambda_{moving}"])
            assert np.allclose(line.get_ydata(), part[metric])


def test_frontiers_keep_broken_networks_outside_and_say_so():
    figure = FIGURES["frontiers"]()
    assert figure.axes[0].get_title() == "D1 (3 points outside)"
    assert figure.axes[0].get_ylim()[1] < 3 and figure.axes[0].get_xlim()[0] > 2.5
    line = figure.axes[0].containers[0].lines[0]
    assert line.get_xdata().tolist() == [4, 3.5, 3, 2.5] and line.get_ydata().tolist() == [2, 2, 2, 11]


def test_losses_in_a_corner_are_enlarged():
    table = points()
    readout = pd.DataFrame(
        [
            dict(
                setting="D1",
                method="readout",
                msd_star=x,
                msd_star_half=0.1,
                mae=2.0,
                mae_half=0.1,
                mean_entropy=1.0,
                mean_entropy_half=0.1,
            )
            for x in (4.0, 0.2)
        ]
    )
    first, *others = weight_plots.frontiers(pd.concat([table, readout]), ["D1", "I1"]).axes
    (inset,) = first.child_axes[:1]
    assert inset.get_xlim()[0] > 2 > 0.2 > first.get_xlim()[0] and not others[0].child_axes
