"""Figures over the weights of a loss: Table B as a map, its row and column, frontiers. Style as in report.plots."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from companion.report.plots import PAGE, QUIET, STYLE, legend_below, look
from companion.report.tables import METRICS, NAMES

LIMIT = 25  # percent: the curves of Figure 6 are drawn up to here
BROKEN = 1.2  # times the baseline's MAE or MSD*: a network beyond has stopped learning and lies outside its panel


@plt.rc_context(STYLE | {"axes.grid": False})
def heat_maps(grids: Mapping[str, pd.DataFrame]) -> Figure:
    """Table B as maps: MAE left, MSD* right, a row for each source ("here", "paper").

    grids: source -> a row per cell with lambda_msd, lambda_kld, mae, msd_star in focal indices. Dark is low, hence good; the
    best two of each map are framed. Each map has its own scale, from its lowest value to 1.1 times that of weights (0, 0):
    whatever lies above is bad, and how bad is written in it.
    """
    figure, axes = plt.subplots(len(grids), 2, figsize=(PAGE, 0.3 + 2.6 * len(grids)), squeeze=False)
    for panels, (source, cells) in zip(axes, grids.items(), strict=True):
        for panel, metric in zip(panels, ("mae", "msd_star"), strict=True):
            grid = cells.pivot(index="lambda_kld", columns="lambda_msd", values=metric)
            best, top = np.sort(grid, axis=None)[:2], 1.1 * grid.loc[0, 0]
            panel.imshow(grid, cmap="cividis", vmin=best[0], vmax=top, origin="lower", aspect="auto")
            for (row, column), value in np.ndenumerate(grid):
                shade = "white" if value < (best[0] + top) / 2 else "black"
                panel.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=shade)
                if value <= best[-1]:
                    frame = dict(fill=False, edgecolor="#D55E00", linewidth=1.8)
                    panel.add_patch(plt.Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, **frame))
            panel.set_xticks(range(grid.shape[1]), [f"{weight:g}" for weight in grid.columns])
            panel.set_yticks(range(grid.shape[0]), [f"{weight:g}" for weight in grid.index])
            panel.set(title=f"{METRICS[metric]}, {source}", xlabel="λ MSD", ylabel="λ KLD")
    return figure


@plt.rc_context(STYLE)
def weight_curves(ours: pd.DataFrame, paper: pd.DataFrame, noise: pd.Series) -> Figure:
    """The row and the column of Table B through (4, 4), which Figure 6 of the paper draws.

    ours, paper: change in percent against weights (0, 0), a row per cell with lambda_msd, lambda_kld, mae and msd_star; ours
    also `<metric>_half`, drawn as a band. noise: metric -> scatter of one seed in percent, a grey band about zero. The
    vertical scale ends at 25 % to both sides, where arrows mark what lies beyond.
    """
    figure, axes = plt.subplots(2, 2, figsize=(PAGE, 3.8), sharey="row")
    for panels, metric in zip(axes, ("mae", "msd_star"), strict=True):
        for panel, (fixed, moving) in zip(panels, (("msd", "kld"), ("kld", "msd")), strict=True):
            for table, name, style in ((ours, "here", look("fcl", [])), (paper, "paper", look("baseline", []))):
                curve = table[table[f"lambda_{fixed}"] == 4].sort_values(f"lambda_{moving}")
                x, y = curve[f"lambda_{moving}"], curve[metric]
                panel.plot(x, y, label=name, **style)
                for edge, beyond, arrow in ((1, y > LIMIT, "^"), (0, y < -LIMIT, "v")):
                    at_edge = dict(transform=panel.get_xaxis_transform(), clip_on=False, zorder=3)
                    panel.scatter(x[beyond], [edge] * beyond.sum(), 16, style["color"], marker=arrow, **at_edge)
                if f"{metric}_half" in curve:
                    half = curve[f"{metric}_half"]
                    panel.fill_between(x, y - half, y + half, color=style["color"], alpha=0.15, linewidth=0)
            if np.isfinite(noise[metric]):
                band = dict(color=QUIET, alpha=0.2, linewidth=0, label="± scatter of one seed")
                panel.axhspan(-noise[metric], noise[metric], **band)
            panel.axhline(0, color=QUIET, linewidth=0.7)
            panel.set_xlabel(f"λ {moving.upper()}, with λ {fixed.upper()} = 4")
        low, high = panels[0].get_ylim()  # of both
        panels[0].set(ylim=(max(low, -LIMIT), min(high, LIMIT)), ylabel=f"{METRICS[metric]}, change in %")
    legend_below(figure, axes[0, 0])
    return figure


@plt.rc_context(STYLE)
def frontiers(curves: pd.DataFrame, settings: Sequence[str]) -> Figure:
    """What each loss pays for consistency: MAE above, mean entropy below, over MSD*; a column per setting.

    curves: a row per point, in the order of the weights with the baseline first: setting, method, and mean and half interval
    over seeds of msd_star, mae (focal indices) and mean_entropy (nats). Better is lower left. BROKEN networks lie outside.
    Where the readout leaves the losses a corner of the panel, they stand enlarged beside it.
    """
    figure, axes = plt.subplots(2, len(settings), figsize=(PAGE, 4.6), sharex="col", squeeze=False)
    for column, setting in zip(axes.T, settings, strict=True):
        points = curves[curves.setting == setting]
        baseline = points.iloc[0]
        inside = (points.mae <= BROKEN * baseline.mae) & (points.msd_star <= BROKEN * baseline.msd_star)
        losses = inside & (points.method != "readout")
        left, right = (points.msd_star + side * points.msd_star_half.fillna(0) for side in (-1, 1))
        for panel, value in zip(column, ("mae", "mean_entropy"), strict=True):
            _draw_frontiers(panel, points, value, inside)
            narrow = right[losses].max() - left[losses].min() < 0.4 * np.ptp(panel.get_xlim())
            if narrow and points.msd_star[losses].nunique() > 1:  # more than the baseline
                inset = panel.inset_axes([0.09, 0.36, 0.55, 0.6])
                _draw_frontiers(inset, points, value, losses)
                inset.spines[:].set(visible=True, color=QUIET)
                panel.indicate_inset_zoom(inset, edgecolor=QUIET)
        column[0].set_title(setting + f" ({(~inside).sum()} points outside)" * (not inside.all()))
        column[1].set_xlabel("MSD* (focal indices)")
    axes[0, 0].set_ylabel("MAE (focal indices)")
    axes[1, 0].set_ylabel("mean entropy (nats)")
    legend_below(figure, axes[0, 0])
    return figure


def _draw_frontiers(panel: Axes, points: pd.DataFrame, value: str, inside: pd.Series) -> None:
    """The curves of one setting in a panel that ends around the points `inside`."""
    methods = list(dict.fromkeys(points.method))
    for method in methods:
        curve = points[points.method == method]
        bars = dict(xerr=curve.msd_star_half, yerr=curve[f"{value}_half"], elinewidth=0.5)
        panel.errorbar(curve.msd_star, curve[value], label=NAMES.get(method, method), **bars, **look(method, methods))
    for limit, axis in ((panel.set_xlim, "msd_star"), (panel.set_ylim, value)):
        values, halves = points[axis][inside], points[f"{axis}_half"][inside].fillna(0)
        margin = 0.08 * (values.max() - values.min()) or 0.1
        limit((values - halves).min() - margin, (values + halves).max() + margin)
