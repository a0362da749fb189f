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
    values, wanted = np.asarray(value, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if values.size == 0 or wanted.shape not in ((), values.shape):
        raise ValueError(f"{name}: values of shape {values.shape} can't be compared with shape {wanted.shape}")
    wanted = np.broadcast_to(wanted, values.shape)
    error = np.abs(values - wanted)
    if not (error <= tolerance).all():
        worst = error.argmax()  # NaN counts as the largest
        raise AssertionError(f"{name}: {values.flat[worst]:.10g} is not {wanted.flat[worst]:.10g} within {tolerance:g}")
    if values.ndim == 0:
        print(f"ok  {name}: {_rounded(values, tolerance)} (expected {_rounded(wanted, 1e-12)})")
    else:
        print(f"ok  {name}: {values.size} value{'s' * (values.size > 1)} as expected")


def _rounded(number: np.ndarray, tolerance: float) -> str:
    decimals = math.ceil(-math.log10(max(tolerance, 1e-12)))
    steady = round(float(f"{number:.10g}"), decimals) + 0.0  # + 0.0 turns -0 into 0
    return f"{steady:.4g}"


@plt.rc_context(STYLE)
def curves(x: ArrayLike, panels: Mapping[str, Mapping[str, ArrayLike]], **axes: object) -> Figure:
    """Curves over one x, in a panel for each title: {title: {name of the curve: values (len(x),)}}.

    axes are properties of every panel, as in `Axes.set`: xlabel, ylabel, ylim, yscale. Curves of one name look alike.
    """
    names = list(dict.fromkeys(name for values in panels.values() for name in values))
    figure, row = plt.subplots(1, len(panels), figsize=(COLUMN * len(panels), 2.6), squeeze=False)
    for panel, (title, values) in zip(row[0], panels.items()):
        for name, curve in values.items():
            panel.plot(x, curve, label=name, **LOOKS[names.index(name)], markevery=max(1, len(x) // 8))
        panel.set(title=title, **axes)
    handles = {name: line for panel in row[0] for line, name in zip(*panel.get_legend_handles_labels())}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=2 * len(panels))
    return figure
