"""Accuracy (MAE, RMSE, within k) and consistency (MSD*, TV) of predicted focal indices. It needs NumPy alone.

Shapes
    predictions  (stacks, starts), integers: the predicted index for each start position of each stack
    labels       (stacks,), integers: the true index of each stack

All are in steps of the focal index, but `within` is a fraction. Any integer type will do: nothing wraps around. An empty
array, or one of another shape or type, raises ValueError. MSD* and TV are to be read beside MAE: for each stack the mean
squared error is exactly the squared mean error plus the variance over starts, so that a network can buy consistency with
bias. A constant prediction has MSD* 0.
"""

import numpy as np
from numpy.typing import ArrayLike

WITHIN = (0, 1, 2, 4)  # the tolerances that "Learning to Autofocus" reports


def mae(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Mean absolute error over all samples: mean_{s,i} |yhat_si - g_s|."""
    return float(np.abs(errors(predictions, labels)).mean())


def rmse(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Root mean squared error over all samples: sqrt(mean_{s,i} (yhat_si - g_s)^2)."""
    return float(np.sqrt(np.square(errors(predictions, labels)).mean()))


def within(predictions: ArrayLike, labels: ArrayLike, k: int) -> float:
    """Fraction of all samples, in [0, 1], with |yhat_si - g_s| <= k. ValueError for a negative k."""
    if not k >= 0:
        raise ValueError(f"k must be 0 or more steps, got {k}")
    return float((np.abs(errors(predictions, labels)) <= k).mean())


def msd_star(predictions: ArrayLike) -> float:
    """Mean over stacks of the population standard deviation over starts: mean_s std_i yhat_si.

    The definition is inferred from the supplement's tables. A single start has no spread: NaN.
    """
    predictions = _integers("predictions (stacks, starts)", predictions, axes=2)
    return float(predictions.std(axis=1).mean()) if predictions.shape[1] > 1 else float("nan")


def total_variation(predictions: ArrayLike) -> float:
    """Mean absolute step between neighbouring starts: mean_s mean_i |yhat_s,i+1 - yhat_si|.

    A mean over the steps, as a sum could not be below MSD* in the supplement's tables. A single start: NaN.
    """
    predictions = _integers("predictions (stacks, starts)", predictions, axes=2)
    return float(np.abs(np.diff(predictions, axis=1)).mean()) if predictions.shape[1] > 1 else float("nan")


def constant_answer(labels: ArrayLike) -> tuple[float, float]:
    """MAE and RMSE of one answer for all samples, the median label: the bar for having learnt anything at all.

    No other constant has a lower MAE. The median of an even number of labels may lie between two indices.

    >>> constant_answer([10, 20, 24])
    (4.666666666666667, 6.2182527020592095)
    """
    labels = _integers("labels (stacks,)", labels, axes=1)
    away = labels - np.median(labels)
    return float(np.abs(away).mean()), float(np.sqrt(np.square(away).mean()))


def evaluate(predictions: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """All metrics by name: mae, rmse, msd_star, tv, within0, within1, within2, within4.

    >>> evaluate([[23, 25], [30, 30]], labels=[24, 30])["mae"]
    0.5
    """
    return {
        "mae": mae(predictions, labels),
        "rmse": rmse(predictions, labels),
        "msd_star": msd_star(predictions),
        "tv": total_variation(predictions),
        **{f"within{k}": within(predictions, labels, k) for k in WITHIN},
    }


def bias_and_variance(predictions: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Where the squared error of each stack goes: squared bias and variance over starts, both (stacks,).

    mean_i (yhat_si - g_s)^2 = (mean_i yhat_si - g_s)^2 + var_i yhat_si, exactly, in squared steps of the focal index. A
    consistency loss lowers the second; whether it pays with the first is the question. predictions (stacks, starts) and
    labels (stacks,) are integers.
    """
    signed = errors(predictions, labels)
    return signed.mean(axis=1) ** 2, signed.var(axis=1)


def errors(predictions: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Signed errors yhat_si - g_s (stacks, starts), negative = too far."""
    predictions = _integers("predictions (stacks, starts)", predictions, axes=2)
    labels = _integers("labels (stacks,)", labels, axes=1)
    if len(predictions) != len(labels):
        raise ValueError(f"there are predictions for {len(predictions)} stacks but {len(labels)} labels")
    return predictions - labels[:, None]


def _integers(what: str, values: ArrayLike, axes: int) -> np.ndarray:
    """As int64, in which no difference of focal indices wraps around as it would in uint8."""
    values = np.asarray(values)
    if values.ndim != axes or values.size == 0 or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{what} must be a non-empty array of integers, got {values.dtype} of shape {values.shape}")
    return values.astype(np.int64)
