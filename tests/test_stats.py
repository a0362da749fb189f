"""Intervals against SciPy and tables of Student's t; the floor against loops over every start."""

import doctest

import numpy as np
import pytest
import scipy.stats

from fcl import stats


def test_interval_agrees_with_scipy_and_with_printed_tables_of_student_t():
    values = np.random.default_rng(0).normal(2.0, 0.3, 6)
    mean, half = stats.interval(values)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert np.allclose([mean - half, mean + half], expected)
    # For two values 0 and 2 the standard error is 1; t(1, 0.975) = 12.706 and t(1, 0.95) = 6.314.
    assert stats.interval([0.0, 2.0]) == pytest.approx((1.0, 12.706), abs=5e-4)
    assert stats.interval([0.0, 2.0], level=0.9) == pytest.approx((1.0, 6.314), abs=5e-4)


def test_interval_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(1).normal(0, 1, (2000, 6))
    covered = np.mean([abs(mean) <= half for mean, half in map(stats.interval, draws)])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_one_value_has_no_interval_and_none_is_an_error():
    mean, half = stats.interval([3.5])
    assert mean == 3.5 and np.isnan(half)
    with pytest.raises(ValueError, match="at least one value"):
        stats.interval([])


def test_paired_difference_agrees_with_scipy_and_wants_pairs():
    random = np.random.default_rng(2)
    baseline = random.normal(2.0, 0.3, 6)
    values = baseline + random.normal(-0.1, 0.02, 6)
    mean, half = stats.paired_difference(values, baseline)
    expected = scipy.stats.ttest_rel(values, baseline).confidence_interval(0.95)
    assert np.allclose([mean - half, mean + half], expected)
    with pytest.raises(ValueError, match="same seeds on both sides"):
        stats.paired_difference(values, baseline[:-1])


def test_floor_for_uniform_labels_is_that_of_the_best_guess_in_every_case():
    errors = []
    for start in range(49):
        for label in range(49):
            same_blur = {other for other in range(49) if abs(other - start) == abs(label - start)}
            errors.append(min(np.mean([abs(guess - other) for other in same_blur]) for guess in same_blur))
    assert stats.sign_ambiguity_floor() == pytest.approx(np.mean(errors))
    assert stats.sign_ambiguity_floor() == pytest.approx(9800 / 49**2)


def test_floor_of_given_labels_lets_the_other_stacks_decide():
    labels = np.random.default_rng(3).integers(20, 33, 40)
    errors = []
    for i, label in enumerate(labels):
        others = list(np.delete(labels, i))
        for start in range(49):
            rival = 2 * start - label
            error = 0.0
            if 0 <= rival < 49 and rival != label and others.count(rival) >= others.count(label):
                error = abs(rival - label) / (2 if others.count(rival) == others.count(label) else 1)
            errors.append(error)
    assert stats.sign_ambiguity_floor(labels) == pytest.approx(np.mean(errors))


def test_floor_of_given_labels_is_right_on_average_even_for_few_stacks():
    random = np.random.default_rng(4)
    floors = [stats.sign_ambiguity_floor(random.integers(0, 49, 60)) for _ in range(300)]
    assert np.mean(floors) == pytest.approx(9800 / 49**2, abs=4 * np.std(floors) / np.sqrt(300))
    assert stats.sign_ambiguity_floor(np.full(10, 24)) == 0.0  # nothing to guess


def test_examples_in_the_documentation():
    assert doctest.testmod(stats).failed == 0


def test_resampled_stacks_give_the_interval_of_a_mean():
    values = np.random.default_rng(5).normal(0.5, 2.0, 400)
    low, high = stats.bootstrap_stacks(values)
    assert (low, high) == stats.bootstrap_stacks(values)
    mean, half = stats.interval(values)  # for many independent values both agree
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.03)
