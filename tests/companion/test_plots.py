"""Figures: the numbers drawn are those given, nothing is clipped or too small, saving is repeatable."""

import json

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from companion.report import plots, tables
from companion.weights import METHODS


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def summary(settings=("D1", "D2", "D3", "D4", "D5", "I1", "I2", "I3", "I4", "I5"), seeds=3):
    random = np.random.default_rng(0)
    rows = [
        dict(setting=setting, views=setting[0], frames=int(setting[1]), method=method, seed=seed)
        | {metric: random.uniform(1, 6) / int(setting[1]) for metric in tables.METRICS}
        for setting in settings
        for method in METHODS
        for seed in range(seeds)
    ]
    return tables.summarise(pd.DataFrame(rows))


def curves(trunk=40, iterations=100, names=METHODS):
    random = np.random.default_rng(1)
    iteration = np.arange(1, iterations + 1)
    shared = random.normal(3, 0.1, trunk)
    return {
        name: pd.DataFrame(
            {
                "iteration": iteration,
                "loss": 0.0,
                "ordinal": np.concatenate([shared, random.normal(2, 0.1, iterations - trunk)]),
                "consistency": 0.0 if name == "baseline" else np.where(iteration > trunk, 0.3, 0.0),
            }
        )
        for name in names
    }


def hunting():
    random = np.random.default_rng(2)
    return {name: random.integers(0, 49, 49) for name in ("baseline", "fcl", "msd4+kld2")}


FIGURES = {
    "figure_a": lambda: plots.figure_a(summary(), {"uniform": 4.08, "as here": 3.4}),
    "figure_b": lambda: plots.figure_a(
        summary(),
        noise=dict.fromkeys("DI", pd.Series(dict.fromkeys(tables.METRICS, 0.1))),
        names=tables.NAMES | {"baseline": "L2A"},
    ),
    "figure_a_smoke": lambda: plots.figure_a(summary(("D1", "D2", "I1"), seeds=1), {"uniform": 4.08}),
    "figure_a_paper": lambda: plots.figure_a(summary(), {"uniform": 4.08}, paper=summary(seeds=1)),
    "training": lambda: plots.training_curve(curves(), 40),
    "hunting": lambda: plots.hunting_curve(hunting(), 27),
    "slices": lambda: plots.slices_grid({"left": np.random.default_rng(3).random((5, 8, 8))}, [range(5)], [4]),
}


def assert_readable(figure):
    """No text is smaller than 7 points, nothing is cut off, and the figure is as wide as a column or a page."""
    assert figure.get_figwidth() in (plots.COLUMN, plots.PAGE)
    figure.canvas.draw()
    assert all(text.get_fontsize() >= 7 for text in figure.findobj(Text) if text.get_text())
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= width and drawn.y1 <= height


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_readable_and_inside_the_figure(name):
    assert_readable(FIGURES[name]())


def test_noise_is_a_bar_of_its_length_where_there_are_intervals():
    noise = pd.Series(dict.fromkeys(tables.METRICS, 0.25))
    rows = [(summary(("D1", "D2")), "here"), (summary(("D1", "D2"), seeds=1), "paper")]
    figure = plots.metric_figure(rows, "frames", [noise] * len(rows))
    for number, panel in enumerate(figure.axes):
        bars = [bar for bar in panel.containers if "scatter" in bar.get_label()]
        assert len(bars) == (number < 4)
        for bar in bars:
            ((low, high),) = (segment[:, 1] for segment in bar.lines[2][0].get_segments())
            assert high - low == pytest.approx(0.5)


def brightness(colour):
    """Relative luminance of a colour, 0 black to 1 white: what is left of it in grey."""
    red, green, blue = matplotlib.colors.to_rgb(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_method_has_its_own_colour_marker_and_line():
    styles = [plots.look(method, METHODS) for method in METHODS]
    for property in ("color", "marker", "linestyle"):
        assert len({str(style[property]) for style in styles}) == len(METHODS)
    assert plots.look("fcl", ["fcl"]) == plots.look("fcl", METHODS)
    others = [plots.look(name, ["baseline", "msd2", "msd4"]) for name in ("msd2", "msd4")]
    assert others[0] != others[1] and not any(style in styles for style in others)
    colours = [style.split(";")[0].split()[-1] for _, style in tables.MARKS.values()]
    first, second, third = map(brightness, colours)
    assert first + 0.1 < second and second + 0.1 < third


def test_figure_a_draws_the_means_and_a_band_of_the_interval():
    table = summary()
    axes = np.array(plots.figure_a(table, {"uniform": 4.08}).axes).reshape(2, 4)
    for view, row in zip("DI", axes, strict=True):
        for metric, panel in zip(tables.METRICS, row, strict=True):
            for method, line, band in zip(METHODS, panel.lines, panel.collections, strict=False):
                part = table[(table.views == view) & (table.method == method)]
                assert line.get_label() == tables.NAMES[method]
                assert np.array_equal(line.get_xdata(), [1, 2, 3, 4, 5])
                assert np.allclose(line.get_ydata(), part[metric])
                low = band.get_paths()[0].vertices[:, 1].min()
                assert low == pytest.approx((part[metric] - part[f"{metric}_half"]).min())
    assert axes[1, 0].lines[-1].get_ydata()[0] == 4.08  # the floor, in the one-channel MAE panel alone
    assert [len(panel.lines) for panel in axes.flat] == [5, 5, 5, 5, 6, 5, 5, 5]


def test_the_paper_s_row_stands_below_ours():
    ours, paper = summary(), summary(seeds=1)
    axes = np.array(plots.figure_a(ours, paper=paper).axes).reshape(4, 4)
    labels = [row[0].get_ylabel() for row in axes]
    assert labels == ["dual pixel, here", "dual pixel, paper", "one channel, here", "one channel, paper"]
    for row, table, view in ((0, ours, "D"), (1, paper, "D"), (2, ours, "I"), (3, paper, "I")):
        expected = table[(table.views == view) & (table.method == "fcl")].tv
        assert np.allclose(axes[row, 3].lines[4].get_ydata(), expected)


def test_training_curve_draws_the_trunk_once_and_the_branches_after_it():
    whole, enlarged, consistency = plots.training_curve(curves(), 40).axes
    assert [len(panel.lines) for panel in (whole, enlarged, consistency)] == [6, 5, 4]
    assert whole.lines[0].get_xdata().tolist() == list(range(1, 41))
    for line in [*whole.lines[1:], *enlarged.lines, *consistency.lines]:
        assert line.get_xdata().tolist() == list(range(41, 101))
    assert np.allclose(consistency.lines[0].get_ydata(), 0.3)  # no ramp from the trunk's zeros
    means = curves()["kld"].ordinal[40:].rolling(3, min_periods=1).mean()
    assert np.allclose(enlarged.lines[3].get_ydata(), means)


@pytest.mark.parametrize("trunk", [0, 100])
def test_training_curve_without_trunk_or_without_branches(trunk):
    figure = plots.training_curve(curves(trunk=trunk, names=["baseline"]), trunk)
    figure.canvas.draw()
    assert len(figure.axes[1].lines) == (1 if trunk == 0 else 0)


def test_hunting_curve_draws_predictions_diagonal_and_truth():
    predictions = hunting()
    diagonal, truth, *lines = plots.hunting_curve(predictions, 27).axes[0].lines
    assert np.array_equal(diagonal.get_xdata(), diagonal.get_ydata()) and set(truth.get_ydata()) == {27}
    for line, (name, curve) in zip(lines, predictions.items(), strict=True):
        assert line.get_label() == tables.NAMES.get(name, name)
        assert np.array_equal(line.get_xdata(), np.arange(49)) and np.array_equal(line.get_ydata(), curve)


def test_slices_grid_shows_the_indices_frames_the_label_and_scales_each_row():
    left, right = np.random.default_rng(4).random((2, 3, 8, 8))
    figure = plots.slices_grid({"left": left, "right": 9 * right}, [[0, 20, 48], [0, 20, 48]], [20, None])
    panels = figure.axes
    assert np.array_equal(panels[1].images[0].get_array(), left[1])
    assert [panel.texts[0].get_text() for panel in panels] == ["0", "20", "48"] * 2
    assert [bool(panel.patches) for panel in panels] == [False, True, False, False, False, False]
    scales = [panel.images[0].get_clim() for panel in panels]
    assert len(set(scales[:3])) == len(set(scales[3:])) == 1 and scales[0] != scales[3]
    assert [panels[0].get_ylabel(), panels[3].get_ylabel()] == ["left", "right"]


def test_saving_twice_gives_the_same_bytes_and_leaves_the_sidecar_alone(tmp_path, monkeypatch):
    table = summary(seeds=1)
    for folder, commit in (("one", "first"), ("two", "first"), ("one", "second")):
        monkeypatch.setattr(plots, "code_state", lambda commit=commit: {"commit": commit, "clean": True})
        figure = plots.hunting_curve(hunting(), 27)
        plots.save_figure(figure, "figure", table, ["b", "a", "b"], tmp_path / folder)
    for kind in ("pdf", "png", "json"):
        one, two = (tmp_path / folder / f"figure.{kind}" for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    sidecar = json.loads((tmp_path / "one" / "figure.json").read_text())
    assert sidecar["commit"] == "first" and sidecar["runs"] == ["a", "b"]
    assert sidecar["numbers"]["mae"] == pytest.approx(table.mae.tolist(), abs=1e-6)
    assert set(sidecar["numbers"]["mae_half"]) == {None}  # one seed: no interval


def test_other_numbers_or_other_runs_write_a_new_sidecar(tmp_path, monkeypatch):
    figure = plots.hunting_curve(hunting(), 27)
    for commit, number, run in (("1", 1, "a"), ("2", 2, "a"), ("3", 2, "b")):
        monkeypatch.setattr(plots, "code_state", lambda commit=commit: {"commit": commit, "clean": True})
        plots.save_figure(figure, "figure", {"x": [number]}, [run], tmp_path)
        assert json.loads((tmp_path / "figure.json").read_text())["commit"] == commit


def test_arrays_and_numpy_numbers_become_plain_json(tmp_path):
    curve = np.arange(3, dtype=np.uint8)
    numbers = {"curve": curve, "mean": np.float32(0.5), "inf": np.inf, 4: [np.nan, 1.23456789]}
    plots.save_figure(plots.hunting_curve(hunting(), 27), "figure", numbers, [], tmp_path)
    saved = json.loads((tmp_path / "figure.json").read_text())["numbers"]
    assert saved == {"curve": [0, 1, 2], "mean": 0.5, "inf": None, "4": [None, 1.234568]}
