"""The closed loop against a slow direct walk, graphs made by hand, and laws that every map obeys."""

import doctest
import math
import time

import numpy as np
import pytest

from fcl import closed_loop
from fcl.closed_loop import next_start, outcomes, overshoot, path, sweep_travel, trajectories

NAMES = ["settles_right", "settles_wrong", "cycles", "reversal_rate", "moves", "final_error", "travel", "span"]


def draw(stacks=20, starts=49, seed=0, spread=6):
    """Predictions around a label: many fixed points and cycles."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 49, stacks)
    noise = random.integers(-spread, spread + 1, (stacks, starts))
    return np.clip(labels[:, None] + noise, 0, 48).astype(np.uint8), labels


def walk(predictions, label, start, too_far=0):
    """What becomes of one lens, step by step, by following it for far longer than any map can surprise.

    too_far: how many indices it overshoots in the direction of its way to each prediction.
    """
    starts, frames = len(predictions), 50 - len(predictions)
    last, position, lens, travel, visited, moves = None, start, start, 0, [], []
    for _ in range(500):
        travel += abs(lens - start)  # to where the look begins
        lens = start
        travel += frames - 1
        lens += frames - 1
        k = int(predictions[start])
        k = min(max(k + too_far * int(np.sign(k - lens)), 0), 48)
        travel += abs(k - lens)
        lens = k
        moves.append(k - position)
        visited.append(k)
        hunts = k != last
        if not hunts:
            break
        position = last = k
        start = min(k, starts - 1)
    signs = [np.sign(move) for move in moves if move]
    reverses = any(a != b for a, b in zip(signs, signs[1:]))
    if hunts:
        period = next(c for c in range(1, 60) if visited[-c - 1] == visited[-1] and visited[-2 * c : -c] == visited[-c:])
        error = sum(abs(k - label) for k in visited[-period:]) / period
        span = max(visited[-period:]) - min(visited[-period:])
        return [False, False, True, reverses, math.nan, error, math.nan, span]
    error = abs(visited[-1] - label)
    return [error <= 1, error > 1, False, reverses, len(signs), error, travel, math.nan]


@pytest.mark.parametrize("starts", [49, 48, 45, 1])
@pytest.mark.parametrize("too_far", [0, 1])
def test_every_trajectory_is_the_slow_walk(starts, too_far):
    predictions, labels = draw(starts=starts)
    found = trajectories(overshoot(predictions) if too_far else predictions, labels)
    assert list(found) == NAMES
    for stack, start in np.ndindex(predictions.shape):
        expected = walk(predictions[stack].tolist(), labels[stack], start, too_far)
        assert [found[name][stack, start] for name in NAMES] == pytest.approx(expected, nan_ok=True), (stack, start)


def test_a_graph_made_by_hand():
    """5 rests right. 3 -> 4 -> 5: two moves one way. 9 -> 2 -> 4 -> 5 turns. 20 <-> 30; 40 -> 20. 48 rests, wrong."""
    curve = np.full(49, 5)
    curve[[3, 4, 5, 9, 2, 20, 30, 40, 48]] = [4, 5, 5, 2, 4, 30, 20, 20, 48]
    found = {name: values[0] for name, values in trajectories([curve], labels=[6]).items()}
    table = {start: [found[name][start] for name in NAMES] for start in (5, 3, 9, 20, 40, 48)}
    expected = {
        5: [True, False, False, False, 0, 1, 0, math.nan],
        3: [True, False, False, False, 2, 1, 2, math.nan],
        9: [True, False, False, True, 3, 1, 7 + 2 + 1, math.nan],
        20: [False, False, True, True, math.nan, (24 + 14) / 2, math.nan, 10],
        40: [False, False, True, True, math.nan, (24 + 14) / 2, math.nan, 10],
        48: [False, True, False, False, 0, 42, 0, math.nan],
    }
    for start, row in expected.items():
        assert table[start] == pytest.approx(row, nan_ok=True), start
    assert outcomes([curve], [6])["cycles"] == 3 / 49
    assert [path(curve, start) for start in (9, 40, 48)] == [[9, 2, 4, 5, 5], [40, 20, 30, 20], [48, 48]]


def test_several_frames_end_where_they_still_fit():
    """Five frames from 44 end at 48. From 40 the lens goes to 47, looks from 44, is sent to 46 and rests there."""
    curve = np.full(45, 46)
    curve[40] = 47
    found = trajectories([curve], labels=[46])
    assert next_start([47, 44, 3], 45).tolist() == [44, 44, 3]
    assert path(curve, 40) == [40, 47, 46]
    assert found["settles_right"].all() and found["moves"][0, [40, 44]].tolist() == [2, 1]
    assert found["reversal_rate"][0].nonzero()[0].tolist() == [40]  # up to 47, down to 46
    first, others = 4 + (47 - 44) + (47 - 44), 4 + (48 - 46)  # the third look confirms the second
    assert found["travel"][0, [40, 44]].tolist() == [first + others + (46 - 44) + others, others + (46 - 44) + others]


def test_outcomes_are_exclusive_and_cycles_always_reverse():
    predictions, labels = draw(stacks=200, spread=20)
    found = trajectories(predictions, labels)
    assert (found["settles_right"] + 0 + found["settles_wrong"] + found["cycles"] == 1).all()
    assert found["reversal_rate"][found["cycles"]].all() and found["cycles"].any() and not found["cycles"].all()


def test_a_lens_that_is_always_sent_to_the_label_rests_there_at_once():
    labels = np.arange(49)
    curves = np.repeat(labels[:, None], 49, axis=1)
    found = outcomes(curves, labels)
    expected = [1, 0, 0, 0, 48 / 49, 0, np.abs(labels[:, None] - labels).mean(), math.nan]
    assert found == pytest.approx(dict(zip(NAMES, expected)), nan_ok=True)
    assert outcomes(curves, labels, start=0)["travel"] == labels.mean()
    # One that goes too far comes back, goes too far on the other side, and so on: nothing but the label itself rests.
    inside = slice(1, 48)
    hunting = trajectories(overshoot(curves[inside]), labels[inside])["cycles"]
    assert (hunting == (labels[inside, None] != np.arange(49))).all()
    # With five frames it comes back from above at every look, and so to the same place, one too low.
    far = curves[2:44, :45]
    assert (outcomes(overshoot(far), labels[2:44])["settles_right"], overshoot(far)[0, :5].tolist()) == (1, [1, 1, 1, 1, 1])


def test_outcomes_from_one_start_are_means_over_its_trajectories():
    predictions, labels = draw(spread=20)
    found = trajectories(predictions, labels)
    for start in (0, 17):
        means = {name: np.nanmean(values[:, start]) for name, values in found.items()}
        assert outcomes(predictions, labels, start) == pytest.approx(means, nan_ok=True)


def test_no_mean_where_nothing_rests():
    found = outcomes([[48] + 48 * [0]], [5])
    assert math.isnan(found["moves"]) and math.isnan(found["travel"]) and found["cycles"] == 1 and found["span"] == 48


def test_overshooting_is_clipped_and_spares_those_that_stay():
    (found,) = overshoot(np.full((1, 49), 20, np.uint8))
    assert found.tolist() == 20 * [21] + [20] + 28 * [19]
    assert (overshoot([49 * [48]]) == 48).all() and (overshoot([49 * [0]]) == 0).all()
    (found,) = overshoot(np.full((1, 45), 20))  # five frames from 16 end at 20
    assert found.tolist() == 16 * [21] + [20] + 28 * [19]


def test_the_order_of_frames_costs_travel_on_the_other_side():
    up, down = sweep_travel([10, 30], 3), sweep_travel([10, 30], 3, increasing=False)
    assert up[0, [0, 10, 20]].tolist() == [10, 4, 14] and down[0, [10, 20]].tolist() == [4, 10]
    assert np.isnan(up[:, 47:]).all() and np.isnan(down[:, :2]).all() and np.isnan(up).sum() == np.isnan(down).sum() == 4
    assert (sweep_travel([10], 1) == np.abs(10 - np.arange(49))).all()


def test_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match=r"predictions must be indices 0\.\.48 for at most 49 starts, got 0\.\.49 for 2"):
        trajectories([[0, 49]], [1])
    with pytest.raises(ValueError, match="got 0..0 for 50"):
        trajectories(np.zeros((1, 50), int), [1])
    with pytest.raises(ValueError, match="2 stacks but 1 labels"):
        outcomes([[0, 1], [0, 1]], [1])
    with pytest.raises(ValueError, match="array of integers"):
        outcomes([[0.0, 1.0]], [1])


def test_a_setting_takes_seconds_at_most():
    predictions, labels = draw(stacks=480)
    began = time.perf_counter()
    for _ in range(5):
        outcomes(predictions, labels)
    assert time.perf_counter() - began < 5  # about 0.3 s on a free processor


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(closed_loop).failed == 0
