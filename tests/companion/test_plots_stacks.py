"""Figures of single stacks: what is drawn is what was given, and all of it is inside and readable."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_plots import assert_readable

from companion.report import plots_stacks
from companion.report.tables import NAMES
from companion.weights import METHODS

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def hunting(titles=("truth", "AFPE", "+FCL")):
    curves = {name: {"baseline": RANDOM.integers(0, 49, 49), "fcl": RANDOM.integers(0, 49, 45)} for name in ("3", "8")}
    indices = [[20, 30, 20], [7, 7, 8]]
    return plots_stacks.hunting_figure(curves, [20, 7], RANDOM.random((2, 3, 8, 8)), indices, titles), curves


def outcomes():
    shares = RANDOM.dirichlet([1, 1, 1], 10)
    rows = [
        dict(zip(plots_stacks.OUTCOMES, share), views=view, frames=1, method=method)
        for share, (view, method) in zip(shares, ((view, method) for view in "DI" for method in METHODS))
    ]
    return pd.DataFrame(rows)


def signals():
    return RANDOM.normal(10, 3, 40), {"baseline": RANDOM.random(40), "fcl": RANDOM.random(40)}


FIGURES = {
    "hunting": lambda: hunting()[0],
    "cobweb": lambda: plots_stacks.cobweb({"a": np.roll(np.arange(49), 1), "b": np.full(49, 9)}, [3, 9], [0, 40]),
    "outcomes": lambda: plots_stacks.outcome_bars(outcomes()),
    "signal": lambda: plots_stacks.error_by_signal(*signals(), "dark"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_readable_and_inside_the_figure(name):
    assert_readable(FIGURES[name]())


def test_hunting_figure_has_a_row_of_curves_and_patches_per_stack():
    figure, curves = hunting()
    panels = np.array(figure.axes).reshape(2, 4)
    for row, label, runs in zip(panels, (20, 7), curves.values(), strict=True):
        _, truth, *lines = row[0].lines
        assert set(truth.get_ydata()) == {label}
        for line, curve in zip(lines, runs.values(), strict=True):
            assert np.array_equal(line.get_ydata(), curve) and len(line.get_xdata()) == len(curve)
    assert [panel.get_title() for panel in panels[0, 1:]] == ["truth", "AFPE", "+FCL"]
    assert [[panel.texts[0].get_text() for panel in row[1:]] for row in panels] == [["20", "30", "20"], ["7", "7", "8"]]
    assert [[bool(panel.patches) for panel in row[1:]] for row in panels] == [[True, False, True], [True, True, False]]


def test_cobweb_climbs_to_the_map_and_crosses_to_the_diagonal():
    swapping = np.arange(49)
    swapping[[5, 9, 30]] = [9, 5, 9]
    (panel,) = plots_stacks.cobweb({"one": swapping}, [12], [30]).axes
    staircase = panel.lines[3]
    assert staircase.get_xdata().tolist() == [30, 30, 9, 9, 5, 5, 9]
    assert staircase.get_ydata().tolist() == [30, 9, 9, 5, 5, 9, 9]


def test_bars_of_outcomes_are_the_shares_and_fill_the_panel():
    table = outcomes()
    figure = plots_stacks.outcome_bars(table)
    for panel, view in zip(figure.axes, "DI", strict=True):
        part = table[table.views == view]
        for bars, name in zip(panel.containers, plots_stacks.OUTCOMES, strict=True):
            assert np.allclose([bar.get_width() for bar in bars], part[name])
        ends = [bar.get_x() + bar.get_width() for bar in panel.containers[-1]]
        assert np.allclose(ends, 1)
        assert [text.get_text() for text in panel.get_yticklabels()] == list(NAMES.values())


def test_error_by_signal_draws_every_stack_and_means_of_fifths():
    signal, errors = signals()
    panel = plots_stacks.error_by_signal(signal, errors, "dark").axes[0]
    points, means = panel.lines[:2]
    assert np.array_equal(points.get_xdata(), signal) and np.array_equal(points.get_ydata(), errors["baseline"])
    order = np.argsort(signal)
    assert np.allclose(means.get_ydata(), errors["baseline"][order].reshape(5, 8).mean(1))


def test_animation_has_a_picture_per_look_and_the_same_bytes_again(tmp_path):
    seen = RANDOM.random((49, 8, 8))
    for name in ("one", "two"):
        walks = [[0, 9, 0, 9], [5, 5, 5, 5]]
        plots_stacks.save_animation(tmp_path / f"{name}.gif", {"a": seen, "b": seen}, walks, [9, 5])
    assert (tmp_path / "one.gif").read_bytes() == (tmp_path / "two.gif").read_bytes()
    with Image.open(tmp_path / "one.gif") as animation:
        assert animation.n_frames == 4
