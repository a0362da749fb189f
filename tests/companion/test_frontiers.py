"""Frontiers against a dense polyline, drawn points and closed forms; the split of squared error."""

import numpy as np
import pytest

from companion.statistics import at_equal_msd_star
from fcl.metrics import bias_and_variance, msd_star, rmse


def dense(curve, steps=20001):
    """Points along the polyline, close together."""
    share = np.linspace(0, 1, steps)[:, None]
    return np.concatenate([(1 - share) * a + share * b for a, b in zip(curve[:-1], curve[1:], strict=True)])


@pytest.mark.parametrize("seed", range(5))
def test_readings_are_the_lowest_points_of_a_polyline_that_may_turn(seed):
    random = np.random.default_rng(seed)
    curves = [np.column_stack([random.uniform(1, 3, 5), random.uniform(2, 4, 5)]) for _ in range(2)]
    curves[1][0] = curves[0][0]  # both begin at one baseline, so their ranges meet
    at, *values = at_equal_msd_star(*curves)
    ends = [(curve[:, 0].min(), curve[:, 0].max()) for curve in curves]
    assert at == pytest.approx((max(low for low, _ in ends) + min(high for _, high in ends)) / 2)
    for curve, value in zip(curves, values, strict=True):
        points = dense(curve)
        near = points[np.abs(points[:, 0] - at) < 2e-4]
        assert value == pytest.approx(near[:, 1].min(), abs=1e-2)


def test_a_frontier_that_turns_back_is_read_at_its_better_branch():
    turning = [[4, 2.0], [2, 2.0], [4, 9.0]]  # the strongest weight breaks the network
    assert at_equal_msd_star(turning, [[4, 2.0], [2, 3.0]]) == (3.0, 2.0, 2.5)


def test_a_range_may_end_at_the_baseline():
    broken = [[4, 2.0], [2, 2.0], [8, 9.0]]
    assert at_equal_msd_star(broken, broken)[0] == 5.0 and at_equal_msd_star(broken, broken, highest=4) == (3.0, 2.0, 2.0)


def test_frontiers_that_go_apart_meet_in_their_baseline_alone():
    assert at_equal_msd_star([[4, 2.0], [3, 2.5]], [[4, 2.0], [5, 1.0]]) == (4.0, 2.0, 2.0)
    assert at_equal_msd_star([[4, 2.0], [4, 1.5]], [[4, 2.0], [3, 1.0]]) == (4.0, 1.5, 2.0)


@pytest.mark.parametrize(
    ("treatment", "message"),
    [
        ([[4, 2.0]], "two or more points"),
        ([[4, 2.0], [np.nan, 2.0]], "all finite"),
        ([4, 2.0], "two or more points"),
        ([[9, 2.0], [8, 2.0]], "share no MSD"),
    ],
)
def test_frontiers_that_cannot_be_compared_are_refused(treatment, message):
    with pytest.raises(ValueError, match=message):
        at_equal_msd_star(treatment, [[4, 2.0], [2, 3.0]])


def test_squared_error_is_bias_and_variance_and_nothing_else():
    random = np.random.default_rng(0)
    predictions, labels = random.integers(0, 49, (20, 49)).astype(np.uint8), random.integers(0, 49, 20)
    bias, variance = bias_and_variance(predictions, labels)
    assert (bias + variance).mean() == pytest.approx(rmse(predictions, labels) ** 2)
    assert np.sqrt(variance).mean() == pytest.approx(msd_star(predictions))
    bias, variance = bias_and_variance(np.full((1, 49), 30), [27])
    assert (bias.item(), variance.item()) == (9, 0)
