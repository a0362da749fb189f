"""Figures of single stacks and of what the lens does with them: hunting curves beside patches, cobwebs, an animation.

Style, colours and the saver are those of companion.report.plots.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.animation import PillowWriter
from matplotlib.figure import Figure

from companion.report import plots
from companion.report.tables import NAMES, SENSORS
from fcl.closed_loop import path

OUTCOMES = {  # told apart by lightness alone
    "settles_right": dict(label="settles right", color="#009E73"),
    "settles_wrong": dict(label="settles wrong", color="#F0C060"),
    "cycles": dict(label="cycles", color="#222222"),
}


@plt.rc_context(plots.STYLE)
def hunting_figure(
    curves: Mapping[str, Mapping[str, np.ndarray]],
    labels: Sequence[int],
    slices: Sequence[np.ndarray],
    indices: Sequence[Sequence[int]],
    titles: Sequence[str],
    names: Mapping[str, str] = NAMES,
) -> Figure:
    """Figures G to N: per stack a row with its hunting curves and patches beside them, focal indices in red.

    curves: name of the row -> run name -> (starts,) int; labels: true index of each row; slices (k, H, W) and indices (k) of
    each row's patches; titles (k) of their columns; names: run name -> legend.
    """
    columns, ratio = len(titles), 2.3 if len(titles) > 4 else 1.6  # of the graph's width to a patch's
    size = (plots.PAGE, len(curves) * (plots.PAGE - 0.7) / (columns + ratio) * ratio * 0.85 + 0.9)
    ratios = [ratio, *[1] * columns]
    figure, axes = plt.subplots(len(curves), columns + 1, figsize=size, squeeze=False, width_ratios=ratios)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.04, wspace=0)
    for panels, (name, runs), label, images, shown in zip(axes, curves.items(), labels, slices, indices, strict=True):
        plots.hunting_panel(panels[0], runs, label, names)
        panels[0].set(xticks=[0, 24, 48], yticks=[0, 24, 48], ylabel=f"{name}\npredicted index")
        for panel in panels[1:]:
            panel.grid(False)
        plots.show_slices(panels[1:], images, shown, label)
    axes[-1, 0].set_xlabel("index of the first slice")
    for panel, title in zip(axes[0, 1:], titles, strict=True):
        panel.set_title(title)
    plots.legend_below(figure, axes[0, 0])
    return figure


@plt.rc_context(plots.STYLE)
def cobweb(predictions: Mapping[str, np.ndarray], labels: Sequence[int], starts: Sequence[int]) -> Figure:
    """The closed loop as a cobweb, a panel per title: up or down to the prediction, across to the diagonal, and again.

    predictions: title -> (49,) int of a setting with one frame; labels: true indices; starts: where each path begins.
    """
    figure, axes = plt.subplots(
        1, len(predictions), figsize=(plots.PAGE, 0.3 + plots.PAGE / len(predictions)), squeeze=False
    )
    for panel, (title, curve), label, start in zip(axes[0], predictions.items(), labels, starts, strict=True):
        panel.plot([0, 48], [0, 48], color=plots.QUIET, linewidth=0.7)
        panel.axhline(label, color=plots.TRUTH, linewidth=0.8)
        panel.plot(np.arange(len(curve)), curve, ".", color="#000000", markersize=3)
        visited = np.repeat(path(curve, start), 2)  # (i, i), (i, k), (k, k), ...
        panel.plot(visited[:-1], visited[1:], color="#0072B2", linewidth=1.4)
        panel.plot(start, start, "o", color="#0072B2", markersize=6)
        panel.set(xlim=(-1, 49), ylim=(-1, 49), aspect="equal", xlabel="index of the slice", title=title)
    axes[0, 0].set_ylabel("predicted index")
    return figure


@plt.rc_context(plots.STYLE | {"axes.grid": False})
def outcome_bars(table: pd.DataFrame) -> Figure:
    """Shares of the three outcomes of the closed loop, a bar per method, a panel per setting.

    table: one row per (setting, method) with views, frames and the shares; the order of the rows is that of the bars.
    """
    sensors, frames = list(dict.fromkeys(table.views)), sorted(set(table.frames))
    size = (plots.PAGE, 0.6 + 1.4 * len(sensors))
    figure, axes = plt.subplots(len(sensors), len(frames), figsize=size, squeeze=False, sharey=True, sharex=True)
    for row, sensor in zip(axes, sensors, strict=True):
        for panel, count in zip(row, frames, strict=True):
            bars = table[(table.views == sensor) & (table.frames == count)]
            left = np.zeros(len(bars))
            for outcome, style in OUTCOMES.items():
                panel.barh(bars.method.map(NAMES), bars[outcome], left=left, **style)
                left = left + bars[outcome].to_numpy()
            panel.set(xlim=(0, 1), xticks=[0, 0.5, 1], title=f"{sensor}{count}")
        row[0].set_ylabel(SENSORS[sensor])
    axes[0, 0].invert_yaxis()
    for panel in axes[-1]:
        panel.set_xlabel("share")
    plots.legend_below(figure, axes[0, 0])
    return figure


@plt.rc_context(plots.STYLE)
def error_by_signal(signal: np.ndarray, errors: Mapping[str, np.ndarray], title: str) -> Figure:
    """Mean error of each stack against its signal-to-noise ratio: points, and the mean of each fifth of the stacks.

    signal (stacks,), dB; errors: method -> (stacks,), steps.
    """
    figure, panel = plt.subplots(figsize=(plots.COLUMN, 2.8))
    fifths = np.array_split(np.argsort(signal, kind="stable"), 5)
    for method, values in errors.items():
        style = plots.look(method, list(errors)) | {"markersize": 6}
        panel.plot(signal, values, style["marker"], color=style["color"], markersize=2.5, alpha=0.4)
        means = [[numbers[fifth].mean() for fifth in fifths] for numbers in (signal, values)]
        panel.plot(*means, label=NAMES.get(method, method), **style)
    panel.set(xlabel="signal-to-noise ratio (dB)", ylabel="mean absolute error", title=title)
    panel.set_ylim(bottom=0)
    plots.legend_below(figure, panel)
    return figure


@plt.rc_context(plots.STYLE)
def error_by_start(errors: pd.DataFrame) -> Figure:
    """Absolute error against the start, a curve per column; rows are starts, NaN where there is no such start."""
    figure, panel = plt.subplots(figsize=(plots.COLUMN, 2.8))
    for name in errors:
        style = plots.look(name, list(errors)) | {"markevery": 6}
        panel.plot(errors.index, errors[name], label=NAMES.get(name, name), **style)
    panel.set(xlabel="index of the first slice", ylabel="absolute error (focal indices)", xlim=(-1, 49))
    panel.set_ylim(bottom=0)
    plots.legend_below(figure, panel, 2)
    return figure


@plt.rc_context(plots.STYLE)
def save_animation(
    file: Path, stacks: Mapping[str, np.ndarray], walks: Sequence[Sequence[int]], labels: Sequence[int]
) -> None:
    """GIF of one lens per title, side by side: what it sees above, its position look by look below.

    stacks: title -> slices (49, H, W); walks: positions of each lens, look by look, all equally long; labels: true indices,
    the red lines.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(2, len(stacks), figsize=(2.4 * len(stacks), 3.6), squeeze=False, height_ratios=[3, 2])
    looks, writer = len(walks[0]), PillowWriter(fps=1.5)
    with writer.saving(figure, file, dpi=100):
        for now in range(looks):
            for (view, track), (title, slices), walk, label in zip(axes.T, stacks.items(), walks, labels, strict=True):
                view.clear()
                view.grid(False)
                plots.show_slices([view], slices[walk[now]][None], [walk[now]], label)
                view.set_title(title)
                track.clear()
                track.axhline(label, color=plots.TRUTH, linewidth=0.8)
                track.plot(walk[: now + 1], "o-", color="#000000", markersize=3)
                track.set(xlim=(-0.5, looks - 0.5), ylim=(-1, 49), xlabel="look", yticks=[0, 24, 48])
            axes[1, 0].set_ylabel("lens position")
            plots.label_data(figure, "simulated")
            writer.grab_frame()
    plt.close(figure)
