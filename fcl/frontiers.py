"""Accuracy and consistency together: frontiers over the weight of a loss, and where squared error
goes. NumPy alone.

A constant prediction is perfectly consistent, so a lower MSD* alone says little. A method is better if it is
more accurate where both are equally consistent.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from fcl.metrics import errors


def at_equal_msd_star(
    treatment: ArrayLike, control: ArrayLike, highest: float = np.inf
) -> tuple[float, float, float]:
    """Read two frontiers where both are equally consistent: MSD*, the treatment's value, the control's.

    Each is (points, 2), MSD* and the value to be read (MAE, mean entropy, in their units), in the order of
    the weights with the baseline first; straight lines join its points. Both are read at the middle of the
    range of MSD* that both reach, no further up than `highest`, and take the lowest value where they reach it
    twice. Raises ValueError for fewer than two points, numbers that are not finite, and ranges that don't meet.

    >>> at_equal_msd_star([[4, 2.0], [2, 2.2]], [[4, 2.0], [3, 2.0], [2, 2.8]])
    (3.0, 2.1, 2.0)
    """
    curves = [np.asarray(curve, dtype=np.float64) for curve in (treatment, control)]
    for curve in curves:
        if curve.ndim != 2 or curve.shape[1] != 2 or len(curve) < 2 or not np.isfinite(curve).all():
            raise ValueError("a frontier needs two or more points (MSD*, value), all finite, "
                             f"got {curve.tolist()}")
    low, high = max(curve[:, 0].min() for curve in curves), min(highest, *(curve[:, 0].max() for curve in curves))
    if low > high:
        raise ValueError(f"the frontiers share no MSD*: one begins at {low:.4g}, the other ends at {high:.4g}")
    middle = float((low + high) / 2)
    return middle, _lowest(curves[0], middle), _lowest(curves[1], middle)


def _lowest(curve: np.ndarray, msd_star: float) -> float:
    values = []
    for ends in pairwise(curve):
        (x0, low), (x1, high) = sorted(map(tuple, ends))
        if x0 <= msd_star <= x1:
            values.append(low if x0 == x1 else np.interp(msd_star, [x0, x1], [low, high]))
    return float(min(values))


def bias_and_variance(predictions: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Where the squared error of each stack goes: squared bias and variance over starts, both (stacks,).

    mean_i (yhat_si - g_s)^2 = (mean_i yhat_si - g_s)^2 + var_i yhat_si, exactly, in squared steps of the
    focal index. A consistency loss lowers the second; whether it pays with the first is the question.
    predictions (stacks, starts) and labels (stacks,) are integers.
    """
    found = errors(predictions, labels)
    return found.mean(axis=1) ** 2, found.var(axis=1)
