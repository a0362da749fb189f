"""The metrics against slow loops, an exact identity, and small cases worked by hand."""

import doctest
import math

import numpy as np
import pytest

from fcl import metrics
from fcl.metrics import evaluate, mae, msd_star, rmse, total_variation, within

KEYS = ["mae", "rmse", "msd_star", "tv", "within0", "within1", "within2", "within4"]


def draw(stacks=30, starts=49, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 49, stacks)
    return np.clip(labels[:, None] + generator.integers(-6, 7, (stacks, starts)), 0, 48), labels


def test_all_metrics_are_their_slow_loops():
    predictions, labels = draw()
    errors, spreads, variations = [], [], []
    for row, label in zip(predictions.tolist(), labels.tolist()):
        errors += [prediction - label for prediction in row]
        mean = sum(row) / len(row)
        spreads.append(math.sqrt(sum((prediction - mean) ** 2 for prediction in row) / len(row)))
        variations.append(sum(abs(b - a) for a, b in zip(row, row[1:])) / (len(row) - 1))
    expected = {
        "mae": sum(map(abs, errors)) / len(errors),
        "rmse": math.sqrt(sum(error**2 for error in errors) / len(errors)),
        "msd_star": sum(spreads) / len(spreads),
        "tv": sum(variations) / len(variations),
        **{f"within{k}": sum(abs(error) <= k for error in errors) / len(errors) for k in (0, 1, 2, 4)},
    }
    found = evaluate(predictions, labels)
    assert list(found) == KEYS and all(type(value) is float for value in found.values())
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_case_worked_by_hand():
    predictions, labels = [[10, 12, 14], [5, 5, 5]], [12, 7]
    assert mae(predictions, labels) == (2 + 0 + 2 + 2 + 2 + 2) / 6
    assert rmse(predictions, labels) == pytest.approx(math.sqrt(20 / 6))
    assert within(predictions, labels, 1) == 1 / 6
    assert msd_star(predictions) == pytest.approx(math.sqrt(8 / 3) / 2)
    assert total_variation(predictions) == 1.0


@pytest.mark.parametrize("prediction_type", [np.uint8, np.int8, np.uint16, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("label_type", [np.uint8, np.int64, np.uint64])
def test_no_integer_type_wraps_around(prediction_type, label_type):
    predictions, labels = np.array([[0, 48, 0], [3, 2, 1]]), np.array([48, 2])
    expected = evaluate(predictions, labels)
    assert expected["mae"] == (48 + 0 + 48 + 1 + 0 + 1) / 6 and expected["tv"] == (96 / 2 + 2 / 2) / 2
    assert evaluate(predictions.astype(prediction_type), labels.astype(label_type)) == expected


def test_squared_error_is_squared_bias_plus_variance_in_every_stack():
    predictions, labels = draw()
    for row, label in zip(predictions, labels):
        mean_squared_error = rmse(row[None], label[None]) ** 2
        bias, spread = row.mean() - label, msd_star(row[None])
        assert mean_squared_error == pytest.approx(bias**2 + spread**2, rel=1e-12)


def test_a_constant_prediction_is_perfectly_consistent():
    predictions, labels = np.full((49, 49), 24), np.arange(49)
    found = evaluate(predictions, labels)
    assert found["msd_star"] == found["tv"] == 0.0
    assert found["mae"] == pytest.approx(600 / 49)


def test_the_order_of_the_starts_matters_to_total_variation_alone():
    predictions, labels = draw()
    ordered = np.sort(predictions, axis=1)
    before, after = evaluate(predictions, labels), evaluate(ordered, labels)
    assert after.pop("tv") < before.pop("tv")
    assert after == pytest.approx(before)


def test_one_start_has_no_consistency(recwarn):
    found = evaluate([[3], [4]], [3, 5])
    assert math.isnan(found["msd_star"]) and math.isnan(found["tv"])
    assert found["mae"] == found["within0"] == 0.5
    assert not recwarn.list


@pytest.mark.parametrize(
    "predictions, labels, message",
    [
        ([3, 4], [3, 4], r"predictions \(stacks, starts\) must be .* got int64 of shape \(2,\)"),
        ([[3.0, 4.0]], [3], "got float64"),
        ([[True, False]], [1], "got bool"),
        (np.empty((0, 49), int), np.empty(0, int), "non-empty"),
        ([[3, 4]], [[3]], r"labels \(stacks,\) must be .* got int64 of shape \(1, 1\)"),
        ([[3, 4]], [3.5], "labels .* got float64"),
        ([[3, 4]], [3, 4], "predictions for 1 stacks but 2 labels"),
    ],
)
def test_what_cannot_be_measured_is_refused(predictions, labels, message):
    with pytest.raises(ValueError, match=message):
        evaluate(predictions, labels)


def test_a_negative_tolerance_is_refused():
    with pytest.raises(ValueError, match="k must be 0 or more"):
        within([[3]], [3], -1)


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(metrics).failed == 0
