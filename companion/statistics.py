"""Intervals and tests over seeds, and the floor of a sensor that cannot tell the two sides of focus apart.

A seed is one complete training. All seeds are scored on the same test stacks, so an interval over seeds says
how much a number moves when the training is repeated; it doesn't say how much it would move on other stacks.
"""

import math
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import nctdtrinc, stdtr, stdtrit


def interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Mean of independent values and half the width of its Student-t interval.

    mean +- t(n - 1, (1 + level) / 2) * s / sqrt(n), with s the sample standard deviation (n - 1 below the
    line). values (n,), one per seed, in any unit, which both results share. One value has no interval: its
    half width is NaN. Raises ValueError for no values at all.

    >>> mean, half_width = interval([1.0, 2.0, 3.0])
    >>> round(mean, 3), round(half_width, 3)
    (2.0, 2.484)
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not 0 < level < 1:
        raise ValueError(
            f"interval needs a list of at least one value and a level between 0 and 1, got an array of shape "
            f"{values.shape} and {level}"
        )
    if len(values) == 1:
        return float(values[0]), math.nan
    spread = values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean()), float(stdtrit(len(values) - 1, (1 + level) / 2) * spread)


def paired_difference(values: ArrayLike, baseline: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Mean of values - baseline, seed by seed, and half the width of its Student-t interval.

    Both (n,), in the same order of seeds. Runs of one seed share their first half, data order included, so
    the difference is steadier than either number. Raises ValueError when the lengths differ.
    """
    values, baseline = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if values.shape != baseline.shape:
        raise ValueError(f"pairs need the same seeds on both sides, got {values.shape} and {baseline.shape}")
    return interval(values - baseline, level)


def bootstrap_stacks(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Interval of the mean of values (stacks,), one per stack, from 2000 resamplings of the stacks.

    Given these networks: it says how much the mean would move on other stacks of the same kind, and nothing
    about other trainings. Percentile method, the same numbers each time.
    """
    from scipy.stats import bootstrap  # not above: it takes seconds to import

    values = np.asarray(values, dtype=np.float64)
    found = bootstrap((values,), np.mean, n_resamples=2000, confidence_level=level, method="percentile", rng=0)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def p_above(values: ArrayLike, bound: float = 0.0) -> float:
    """How surely the mean of independent values lies above a bound: 1 - the level of the interval that ends there.

        p = 2 (1 - T((mean - bound) sqrt(n) / s)),  T of Student's t with n - 1 degrees of freedom

    So p < 0.05 says that the whole 95 % interval of `interval` lies above. values (n,), n > 1. 1 if the mean doesn't lie
    above; 0 if it does and all values are equal. Raises ValueError for fewer than two values, or NaN.
    """
    values = _several(values)
    gap, spread = values.mean() - bound, values.std(ddof=1) / math.sqrt(len(values))
    if gap <= 0:
        return 1.0
    return float(2 * stdtr(len(values) - 1, -gap / spread)) if spread else 0.0


def detectable(values: ArrayLike, level: float = 0.95, power: float = 0.8) -> float:
    """The smallest true mean whose interval would lie above 0 with probability `power`, by noncentral Student's t.

    d s / sqrt(n), where 1 - T_d(t(n - 1, (1 + level) / 2)) = power and T_d has noncentrality d. values (n,), n > 1: what
    counts is how many they are and how they spread, s; the result is in their unit. ValueError as for `p_above`.
    """
    values = _several(values)
    freedom = len(values) - 1
    shift = nctdtrinc(freedom, 1 - power, stdtrit(freedom, (1 + level) / 2))
    return float(shift * values.std(ddof=1) / math.sqrt(len(values)))


def _several(values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"two or more finite values are needed, got {values.tolist()}")
    return values


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's step-down procedure: adjusted p values (m,), of which those at most alpha pass at family-wise level alpha.

    With p_(1) <= ... <= p_(m), adjusted p_(k) = max over j <= k of (m - j + 1) p_(j), at most 1.
    Holm, Scandinavian Journal of Statistics 6, 1979.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = p.argsort()
    steps = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = steps.clip(max=1.0)
    return adjusted


def sign_ambiguity_floor(labels: ArrayLike | None = None, indices: int = 49) -> float:
    """Lowest MAE, in focal indices, of one who sees how blurred a slice is but not on which side of focus.

    With one frame, one channel and a symmetric blur, start s and distance d leave two labels, s - d and
    s + d. The best answer is the likelier one, and it misses by 2 d as often as the other is true:

        floor = mean over s of the sum over d > 0 of 2 d min(p(s - d), p(s + d))

    Without labels, p is uniform and the floor 9800 / 49^2 = 4.08. With labels (stacks,) int, it is estimated
    for stacks like these: for each stack, the likelier label is the one more frequent among the other stacks
    (counting its own label too would look like knowledge of the side). Starts are uniform over all indices. Raises
    ValueError for labels that are no focal indices.

    >>> round(sign_ambiguity_floor(), 2)
    4.08
    """
    starts = np.arange(indices)
    if labels is None:
        return float(sum(2 * np.arange(1, min(s, indices - 1 - s) + 1).sum() for s in starts) / indices**2)
    labels = np.asarray(labels)
    if not (labels.size and np.issubdtype(labels.dtype, np.integer) and labels.min() >= 0 and labels.max() < indices):
        raise ValueError(f"labels must be focal indices 0..{indices - 1}, at least one, not {labels.dtype} {labels}")
    labels = labels.astype(np.int64)
    count = np.bincount(labels, minlength=indices)
    mirrored = 2 * starts - labels[:, None]  # (stacks, starts): the label that would look the same
    doubt = (mirrored >= 0) & (mirrored < indices) & (mirrored != labels[:, None])
    rivals = count[np.where(doubt, mirrored, 0)]
    wrong = (1 + np.sign(rivals - (count[labels] - 1)[:, None])) / 2  # 1, 0, or 1/2 when equally frequent
    return float(np.mean(doubt * wrong * np.abs(mirrored - labels[:, None])))


def at_equal_msd_star(treatment: ArrayLike, control: ArrayLike, highest: float = np.inf) -> tuple[float, float, float]:
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
            raise ValueError(f"a frontier needs two or more points (MSD*, value), all finite, got {curve.tolist()}")
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
