"""One function per figure, arrays or tables in and a Figure out; one saver, which keeps the numbers drawn.

Every method has its own colour (Okabe and Ito's, safe for the colour-blind), marker and line, so that figures read in grey
too.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from companion.report.tables import DATA, METRICS, NAMES, SENSORS
from companion.runs.provenance import code_state
from companion.weights import METHODS
from fcl.files import replacing

COLUMN, PAGE = 3.5, 7.0  # widths in inches: one column, both columns
STYLE = {
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize", "legend.fontsize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), 7),
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6},
    **{"axes.grid": True, "grid.linewidth": 0.4, "grid.color": "#dddddd", "lines.linewidth": 1.2, "lines.markersize": 4},
    **{"legend.frameon": False, "legend.handlelength": 3.2},
    **{"figure.dpi": 120, "figure.constrained_layout.use": True, "pdf.fonttype": 42},
}
LOOKS = (
    dict(color="#000000", marker="o", linestyle="-"),
    dict(color="#E69F00", marker="s", linestyle="--"),
    dict(color="#56B4E9", marker="^", linestyle="-."),
    dict(color="#009E73", marker="D", linestyle=":"),
    dict(color="#D55E00", marker="v", linestyle=(0, (6, 1.5))),
    dict(color="#CC79A7", marker="P", linestyle=(0, (3, 1, 1, 1))),
    dict(color="#0072B2", marker="X", linestyle=(0, (1, 1))),
)
TRUTH, QUIET = "#CC0000", "#666666"  # the true index, as the paper marks it; notes beside the data


def look(name: str, names: Sequence[str]) -> dict:
    """Colour, marker and line of a curve: methods keep theirs, other runs take the spare ones in turn."""
    if name in METHODS:
        return LOOKS[METHODS.index(name)]
    others = [other for other in names if other not in METHODS]
    spare = LOOKS[len(METHODS) :] if len(others) < len(names) else LOOKS
    return spare[others.index(name) % len(spare)]


def legend_below(figure: Figure, panel: Axes, columns: int | None = None) -> None:
    """The curves of one panel, as the legend of the whole figure: in one line, or in so many columns."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns or len(labels))


def figure_a(
    summary: pd.DataFrame,
    floors: Mapping[str, float] | None = None,
    noise: Mapping[str, pd.Series] | None = None,
    names: Mapping[str, str] = NAMES,
    paper: pd.DataFrame | None = None,
) -> Figure:
    """Figures A and B: four metrics against the number of frames, dual pixel above one channel.

    summary: `companion.report.tables.summarise`, a curve per method; the band is its 95 % interval, absent for one seed.
    floors (name of a distribution of labels -> focal indices; one or two) are lines in the one-channel MAE panel: the best
    that one frame can do if the blur is symmetric and labels are distributed like that
    (`companion.statistics.sign_ambiguity_floor`). noise: sensor ("D", "I") -> `companion.report.tables.seed_noise`, a bar of
    twice that length in each panel. names: what each method is called. paper: `summarise` of the paper's Table A, drawn in a
    row of its own below each of ours. Every panel has its own scale: its curves compare with the paper's by shape and order.
    """
    tables = {"": summary} if paper is None else {", here": summary, ", paper": paper}
    sensors = [(sensor, source) for sensor in SENSORS if sensor in set(summary.views) for source in tables]
    rows = [(tables[source][tables[source].views == sensor], SENSORS[sensor] + source) for sensor, source in sensors]
    figure = metric_figure(rows, "frames", noise and [noise[sensor] for sensor, _ in sensors], names)
    for number, (sensor, _) in enumerate(sensors):
        if sensor == "I" and floors:
            _mark_floors(figure.axes[4 * number], floors)
    return figure


@plt.rc_context(STYLE)
def metric_figure(
    rows: Sequence[tuple[pd.DataFrame, str]],
    x: str,
    noise: Sequence[pd.Series] | None = None,
    names: Mapping[str, str] = NAMES,
) -> Figure:
    """A row of four panels, one per metric, for each (summary, label): a curve per method over column `x`.

    Arguments as in `figure_a`, noise one for each row. Rows without intervals, such as the paper's, have no bar of noise:
    theirs isn't known.
    """
    figure, axes = plt.subplots(len(rows), 4, figsize=(PAGE, 0.4 + 1.6 * len(rows)), squeeze=False)
    for panels, (summary, label), scatter in zip(axes, rows, noise or [None] * len(rows), strict=True):
        for panel, metric in zip(panels, METRICS, strict=True):
            _metric_panel(panel, summary, metric, x, names)
            if scatter is not None and np.isfinite(scatter[metric]) and summary[f"{metric}_half"].notna().any():
                beside = dict(transform=panel.get_yaxis_transform(), clip_on=False)  # at the right edge
                bar = dict(color=QUIET, capsize=2, linewidth=1, label="± scatter of one seed")
                panel.errorbar([1.0], [np.mean(panel.get_ylim())], [scatter[metric]], **beside, **bar)
        panels[0].set_ylabel(label)
    for top, bottom, title in zip(axes[0], axes[-1], METRICS.values(), strict=True):
        top.set_title(f"{title} (focal indices)")
        bottom.set_xlabel(x)
    legend_below(figure, axes[0, 1])
    return figure


def _metric_panel(panel: Axes, summary: pd.DataFrame, metric: str, x: str, names: Mapping[str, str]) -> None:
    methods, ticks = list(dict.fromkeys(summary.method)), sorted(set(summary[x]))
    for method in methods:
        curve, style = summary[summary.method == method].sort_values(x), look(method, methods)
        panel.plot(curve[x], curve[metric], label=names[method], **style)
        low, high = curve[metric] - curve[f"{metric}_half"], curve[metric] + curve[f"{metric}_half"]
        panel.fill_between(curve[x], low, high, color=style["color"], alpha=0.15, linewidth=0)
    if ticks[-1] > 7 * ticks[0]:  # each step is a factor
        panel.set_xscale("log")
        panel.set_xlim(ticks[0] / 1.2, ticks[-1] * 1.2)
    else:
        panel.set_xlim(ticks[0] - 0.3, ticks[-1] + 0.3)
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.set_xticks([], minor=True)


def _mark_floors(panel: Axes, floors: Mapping[str, float]) -> None:
    lines = [
        panel.axhline(floor, color=QUIET, linewidth=0.8, linestyle=line, label=f"{name} {floor:.2f}")
        for (name, floor), line in zip(floors.items(), ("-", ":"))
    ]
    low, high = panel.get_ylim()
    low = min(low, min(floors.values()) - 0.06 * (high - low))  # not on the axis
    below_legend = 0.85 - 0.12 * len(lines)  # fraction of the panel's height
    panel.set_ylim(low, max(high, low + (max(floors.values()) - low) / below_legend))
    small = dict(fontsize=7, title_fontsize=7, labelcolor=QUIET, handlelength=1.5, borderpad=0.3)
    panel.legend(handles=lines, title="floor of I1, labels", loc="upper right", **small)


@plt.rc_context(STYLE)
def training_curve(curves: Mapping[str, pd.DataFrame], trunk_iterations: int) -> Figure:
    """Training losses of all branches of one trunk: ordinal, the same enlarged, consistency.

    curves: run name -> table with columns iteration, ordinal, consistency (nats; the fields of `fcl.training.Step`). Up to
    trunk_iterations every branch is the same run: drawn once, in grey, from whichever tables hold those iterations. Running
    means over a twentieth of a curve. The consistency terms have different weights and units: compare their slopes, not
    their heights.
    """
    shared = pd.concat(list(curves.values())).query("iteration <= @trunk_iterations").drop_duplicates("iteration")
    branches = {name: _smooth(curve[curve.iteration > trunk_iterations]) for name, curve in curves.items()}
    branches = {name: curve for name, curve in branches.items() if len(curve)}
    figure, (whole, enlarged, consistency) = plt.subplots(1, 3, figsize=(PAGE, 2.5))
    whole.plot(_smooth(shared).ordinal, color="#999999", label="shared part")
    for name, curve in branches.items():
        style = look(name, list(branches)) | {"markevery": max(1, len(curve) // 5)}
        whole.plot(curve.ordinal, **style | {"marker": ""})
        enlarged.plot(curve.ordinal, label=NAMES.get(name, name), **style)
        if (curve.consistency != 0).any():
            consistency.plot(curve.consistency, **style)
    for panel, title in (
        (whole, "ordinal loss (nats)"),
        (enlarged, "the same, enlarged"),
        (consistency, "consistency × weight"),
    ):
        panel.set(title=title, xlabel="iteration")
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.legend(loc="outside lower center", ncols=min(6, len(branches) + 1))
    return figure


def _smooth(curve: pd.DataFrame) -> pd.DataFrame:
    curve = curve.sort_values("iteration").set_index("iteration")[["ordinal", "consistency"]]
    return curve.rolling(max(1, len(curve) // 20), min_periods=1).mean()


@plt.rc_context(STYLE)
def hunting_curve(predictions: Mapping[str, np.ndarray], label: int) -> Figure:
    """Predicted index against the index of the first observed slice, one stack: `hunting_panel` by itself."""
    figure, panel = plt.subplots(figsize=(COLUMN, 3.2))
    hunting_panel(panel, predictions, label)
    panel.set(xlabel="index of the first slice", ylabel="predicted index", title=f"true index {label} (red line)")
    legend_below(figure, panel, min(3, len(predictions)))
    return figure


def hunting_panel(panel: Axes, predictions: Mapping[str, np.ndarray], label: int, names: Mapping[str, str] = NAMES) -> None:
    """The left graphs of Figures G to N: predicted index against start, one stack.

    predictions: run name -> (starts,) int; label is the true index, the red line; names: run name -> legend. Where a curve
    meets the diagonal the lens would stay. The ideal curve is flat and on the line.
    """
    panel.plot([0, 48], [0, 48], color=QUIET, linewidth=0.7)
    panel.text(45, 47, "stay", ha="right", va="bottom", fontsize=7, color=QUIET)
    panel.axhline(label, color=TRUTH, linewidth=0.8, zorder=3)  # above the curves, which ideally lie on it
    for name, curve in predictions.items():
        style = look(name, list(predictions)) | {"markevery": 4}
        panel.plot(np.arange(len(curve)), curve, label=names.get(name, name), **style)
    panel.set(xlim=(-1, 49), ylim=(-1, 49))


@plt.rc_context(STYLE | {"axes.grid": False})
def slices_grid(
    rows: Mapping[str, np.ndarray],
    indices: Sequence[Sequence[int]],
    labels: Sequence[int | None],
    titles: Sequence[str] = (),
) -> Figure:
    """Contact sheet: a row of k slices (k, H, W) per name, each with its focal index in red, the label's framed.

    indices: the k focal indices of each row; labels: one per row, None frames nothing; titles: of the columns. Every row has
    a grey scale of its own.
    """
    columns = len(indices[0])
    figure, axes = plt.subplots(len(rows), columns, figsize=(PAGE, PAGE * len(rows) / columns), squeeze=False)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    for panels, (name, slices), shown, label in zip(axes, rows.items(), indices, labels, strict=True):
        show_slices(panels, slices, shown, label)
        panels[0].set_ylabel(name)
    for panel, title in zip(axes[0], titles):
        panel.set_title(title)
    return figure


def show_slices(panels: Sequence[Axes], slices: np.ndarray, indices: Sequence[int], label: int | None) -> None:
    """Slices (k, H, W) of one stack in k panels, on one grey scale, from the 0.5th to the 99.5th percentile."""
    low, high = np.percentile(slices, [0.5, 99.5])
    for panel, image, index in zip(panels, slices, indices, strict=True):
        panel.imshow(image, cmap="gray", vmin=low, vmax=high)
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set(visible=True, color=QUIET, linewidth=0.5)  # a patch may be white to its edges
        corner = dict(transform=panel.transAxes, va="top", fontsize=9, fontweight="bold")
        outline = [withStroke(linewidth=1.5, foreground="white")]
        panel.text(0.05, 0.95, str(index), color="#FF2020", path_effects=outline, **corner)
        if index == label:
            frame = dict(transform=panel.transAxes, fill=False, edgecolor="#FF2020", linewidth=3)
            panel.add_patch(plt.Rectangle((0, 0), 1, 1, **frame))


def label_data(figure: Figure, data: str) -> Figure:
    """Say above a figure which data it shows (simulated, learnaf, or in words), and return it."""
    figure.suptitle(DATA.get(data, data), x=0.99, ha="right", fontsize=7, color=QUIET)
    return figure


def save_figure(
    figure: Figure, name: str, numbers: pd.DataFrame | Mapping, runs: Iterable[str], folder: Path, data: str = "simulated"
) -> None:
    """Label a figure with its data, and write <name>.pdf, <name>.png (200 dpi) and <name>.json: numbers drawn, runs, commit.

    Numbers keep six decimals, NaN becomes null, and the same figure gives the same bytes. A JSON file that already holds
    these numbers and runs is left alone: its commit is the first that drew them (null outside a git checkout), and drawing
    again changes nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    label_data(figure, data)
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    figure.savefig(folder / f"{name}.png", dpi=200)
    table = pd.Series(numbers.to_dict(orient="list") if isinstance(numbers, pd.DataFrame) else numbers)
    content = {"figure": name, "data": data, "numbers": json.loads(table.to_json(double_precision=6))}
    content["runs"] = sorted(set(runs))
    sidecar = folder / f"{name}.json"
    old = json.loads(sidecar.read_text(encoding="utf-8")) if sidecar.exists() else {}
    if {key: old.get(key) for key in content} != content:
        with replacing(sidecar) as temporary:
            temporary.write_text(json.dumps(content | code_state(), indent=1) + "\n", encoding="utf-8")
