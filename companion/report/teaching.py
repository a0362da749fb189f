"""What the teaching notebooks share: an equation checked in code, with a printed line that is the same everywhere."""

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from companion.report.plots import COLUMN, LOOKS, STYLE


def check(name: str, value: ArrayLike, expected: ArrayLike, tolerance: float = 1e-9) -> None:
    """Print a line when |value - expected| <= tolerance, stop otherwise.

    value, a number or an array (tensors too); expected, a number or an array of the same shape. Numbers are shown to four
    digits, the value only as far as the tolerance goes, so that the last bits of another processor don't change the line.
    Raises AssertionError, naming the farthest value, where they disagree or are NaN; ValueError for other shapes or nothing.

    >>> check("a triangle's angles in degrees", 30 + 60 + 90, 180)
    ok  a triangle's angles in degrees: 180 (expected 180)
    """
    found, wanted = np.asarray(value, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if found.size == 0 or wanted.shape not in ((), found.shape):
        raise ValueError(f"{name}: values of shape {found.shape} can't be compared with shape {wanted.shape}")
    wanted = np.broadcast_to(wanted, found.shape)
    error = np.abs(found - wanted)
    if not (error <= tolerance).all():
        worst = np.unravel_index(error.argmax(), error.shape)  # NaN counts as the largest
        raise AssertionError(f"{name}: {found[worst]:.10g} is not {wanted[worst]:.10g} within {tolerance:g}")
    if found.ndim == 0:
        print(f"ok  {name}: {_shown(found, tolerance)} (expected {_shown(wanted, 1e-12)})")
    else:
        print(f"ok  {name}: {found.size} value{'s' * (found.size > 1)} as expected")


def _shown(number: np.ndarray, tolerance: float) -> str:
    decimals = math.ceil(-math.log10(max(tolerance, 1e-12)))
    steady = round(float(f"{number:.10g}"), decimals) + 0.0  # + 0.0 turns -0 into 0
    return f"{steady:.4g}"


def curves(x: ArrayLike, panels: Mapping[str, Mapping[str, ArrayLike]], **axes: object) -> Figure:
    """Curves over one x, in a panel for each title: {title: {name of the curve: values (len(x),)}}.

    axes are properties of every panel, as in `Axes.set`: xlabel, ylabel, ylim, yscale. Curves of one name look alike.
    """
    names = list(dict.fromkeys(name for values in panels.values() for name in values))
    with plt.rc_context(STYLE):
        figure, row = plt.subplots(1, len(panels), figsize=(COLUMN * len(panels), 2.6), squeeze=False)
        for panel, (title, values) in zip(row[0], panels.items()):
            for name, curve in values.items():
                style = LOOKS[names.index(name)]
                panel.plot(x, curve, label=name, **style, markevery=max(1, len(x) // 8))
            panel.set(title=title, **axes)
        handles = {name: line for panel in row[0] for line, name in zip(*panel.get_legend_handles_labels())}
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=2 * len(panels))
    return figure
