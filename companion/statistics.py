"""Intervals and tests over seeds, frontiers read at equal MSD*, and the error of a sensor that can't see the side of focus.

A seed is one complete training. All seeds are scored on the same test stacks, so an interval over seeds says how much a
number moves when the training is repeated, and not how much it would move on other stacks.
"""

import math
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import nctdtrinc, stdtr, stdtrit  # scipy.stats takes a second to import

from fcl.settings import N


def interval(values: ArrayLike) -> tuple[float, float]:
    """Mean of independent values (n,) and half the width of its 95 % interval by Student's t, in their unit.

        t(n - 1, 0.975) s / sqrt(n),  s the sample standard deviation with n - 1 below the line

    One value has no interval: its half width is NaN. Raises ValueError for no values at all.

    >>> mean, half_width = interval([1.0, 2.0, 3.0])
    >>> round(mean, 3), round(half_width, 3)
    (2.0, 2.484)
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"an interval needs a list of at least one value, not an array of shape {values.shape}")
    if len(values) == 1:
        return float(values[0]), math.nan
    error = values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean()), float(stdtrit(len(values) - 1, 0.975) * error)


def paired_difference(values: ArrayLike, baseline: ArrayLike) -> tuple[float, float]:
    """`interval` of values - baseline, seed by seed: both (n,), in the same order of seeds. ValueError for other lengths.

    Runs of one seed share their first half, the order of their data included: the difference is steadier than either number.
    """
    values, baseline = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if values.shape != baseline.shape:
        raise ValueError(f"pairs need the same seeds on both sides, got {values.shape} and {baseline.shape}")
    return interval(values - baseline)


def bootstrap_stacks(values: ArrayLike) -> tuple[float, float]:
    """Both ends of the 95 % interval of the mean of values (stacks,), from 2000 resamplings of the stacks by percentiles.

    Given these networks, it says how much the mean would move on other stacks of the same kind. The same numbers each time.
    """
    from scipy.stats import bootstrap

    resampled = bootstrap((np.asarray(values, dtype=np.float64),), np.mean, n_resamples=2000, method="percentile", rng=0)
    return float(resampled.confidence_interval.low), float(resampled.confidence_interval.high)


def p_above(values: ArrayLike, bound: float = 0.0) -> float:
    """1 - the level of the interval of the mean that ends at a lower bound: p < 0.05 says that the one of 95 % lies above.

        p = 2 (1 - T((mean - bound) sqrt(n) / s)),  T of Student's t with n - 1 degrees of freedom

    values (n,), n > 1. It is 1 if the mean doesn't lie above; 0 if it does and all values are equal. Raises ValueError for
    fewer than two values, or NaN.
    """
    values = _two_or_more(values)
    gap, error = values.mean() - bound, values.std(ddof=1) / math.sqrt(len(values))
    if gap <= 0:
        return 1.0
    return float(2 * stdtr(len(values) - 1, -gap / error)) if error else 0.0


def detectable(values: ArrayLike) -> float:
    """The smallest true mean whose 95 % interval would lie above 0 with a probability of 80 %, by noncentral Student's t.

    d s / sqrt(n), where 1 - T_d(t(n - 1, 0.975)) = 0.8 and T_d has noncentrality d. Of the values (n,), n > 1, only their
    number and their spread s count; the result is in their unit. ValueError as for `p_above`.
    """
    values = _two_or_more(values)
    freedom = len(values) - 1
    noncentrality = nctdtrinc(freedom, 1 - 0.8, stdtrit(freedom, 0.975))
    return float(noncentrality * values.std(ddof=1) / math.sqrt(len(values)))


def _two_or_more(values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"two or more finite values are needed, got {values.tolist()}")
    return values


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's step-down procedure: adjusted p values (m,), of which those at most alpha pass at family-wise level alpha.

    With p_(1) <= ... <= p_(m), adjusted p_(k) = max over j <= k of (m - j + 1) p_(j), at most 1. Holm, Scandinavian Journal
    of Statistics 6, 1979.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order, adjusted = p.argsort(), np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.arange(len(p), 0, -1) * p[order]).clip(max=1.0)
    return adjusted


def sign_ambiguity_floor(labels: ArrayLike | None = None) -> float:
    """Lowest MAE, in focal indices, of a network that sees how blurred a slice is but not on which side of focus.

    With one frame, one channel and a symmetric blur, start s and distance d leave two labels, s - d and s + d. The best
    answer is the likelier one, and it misses by 2 d as often as the other is true:

        floor = mean over s of the sum over d > 0 of 2 d min(p(s - d), p(s + d))

    Without labels, p is uniform and the floor 9800 / 49^2 = 4.08. With labels (stacks,) int, it is estimated for stacks like
    these: for each stack, the likelier label is the one more frequent among the other stacks (counting its own label too
    would look like knowledge of the side). Starts are uniform. Raises ValueError for labels that are no focal indices.

    >>> round(sign_ambiguity_floor(), 2)
    4.08
    """
    starts = np.arange(N)
    if labels is None:
        return float(sum(2 * np.arange(1, min(s, N - 1 - s) + 1).sum() for s in starts) / N**2)
    labels = np.asarray(labels)
    if not (labels.size and np.issubdtype(labels.dtype, np.integer) and labels.min() >= 0 and labels.max() < N):
        raise ValueError(f"labels must be focal indices 0..{N - 1}, at least one, not {labels.dtype} {labels}")
    labels = labels.astype(np.int64)
    count = np.bincount(labels, minlength=N)
    mirrored = 2 * starts - labels[:, None]  # (stacks, starts): the label that would look the same
    ambiguous = (mirrored >= 0) & (mirrored < N) & (mirrored != labels[:, None])
    rivals = count[np.where(ambiguous, mirrored, 0)]
    wrong = (1 + np.sign(rivals - (count[labels] - 1)[:, None])) / 2  # 1, 0, or 1/2 when equally frequent
    return float(np.mean(ambiguous * wrong * np.abs(mirrored - labels[:, None])))


def at_equal_msd_star(treatment: ArrayLike, control: ArrayLike, highest: float = np.inf) -> tuple[float, float, float]:
    """Read two frontiers where both are equally consistent: MSD*, the treatment's value, the control's.

    Each is (points, 2), MSD* and the value to be read (MAE, mean entropy, in their units), in the order of the weights with
    the baseline first; straight lines join its points. Both are read at the middle of the range of MSD* that both reach, no
    further up than `highest`, and take the lowest value where they reach it twice. Raises ValueError for fewer than two
    points, numbers that are not finite, and ranges that don't meet.

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
    return middle, *(_lowest(curve, middle) for curve in curves)


def _lowest(curve: np.ndarray, msd_star: float) -> float:
    values = []
    for ends in pairwise(curve):
        (x0, low), (x1, high) = sorted(map(tuple, ends))
        if x0 <= msd_star <= x1:
            values.append(low if x0 == x1 else np.interp(msd_star, [x0, x1], [low, high]))
    return float(min(values))
