"""Intervals against SciPy and tables of Student's t; the floor against loops over every start."""

import doctest
import itertools

import numpy as np
import pytest
import scipy.stats

from companion import statistics as stats


def test_interval_agrees_with_scipy_and_with_printed_tables_of_student_t():
    values = np.random.default_rng(0).normal(2.0, 0.3, 6)
    mean, half = stats.interval(values)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert np.allclose([mean - half, mean + half], expected)
    # For two values 0 and 2 the standard error is 1, and t(1, 0.975) = 12.706.
    assert stats.interval([0.0, 2.0]) == pytest.approx((1.0, 12.706), abs=5e-4)


def test_interval_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(1).normal(0, 1, (2000, 6))
    covered = np.mean([abs(mean) <= half for mean, half in map(stats.interval, draws)])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_one_value_has_no_interval_and_none_is_an_error():
    mean, half = stats.interval([3.5])
    assert mean == 3.5 and np.isnan(half)
    with pytest.raises(ValueError, match="at least one value"):
        stats.interval([])
    for test in (stats.p_above, stats.detectable):
        for values in ([1.0], [np.nan, 1.0, 2.0]):
            with pytest.raises(ValueError, match="two or more finite values"):
                test(values)
    for labels in ([], [3.7, 4.2], [60, 3]):
        with pytest.raises(ValueError, match="labels must be focal indices 0..48"):
            stats.sign_ambiguity_floor(labels)


def test_paired_difference_agrees_with_scipy_and_wants_pairs():
    random = np.random.default_rng(2)
    baseline = random.normal(2.0, 0.3, 6)
    values = baseline + random.normal(-0.1, 0.02, 6)
    mean, half = stats.paired_difference(values, baseline)
    expected = scipy.stats.ttest_rel(values, baseline).confidence_interval(0.95)
    assert np.allclose([mean - half, mean + half], expected)
    with pytest.raises(ValueError, match="same seeds on both sides"):
        stats.paired_difference(values, baseline[:-1])


def test_pooled_trunks_are_covered_too_though_their_settings_differ():
    random = np.random.default_rng(5)
    truth = random.normal(-0.2, 0.05, 10)  # one effect for each setting; the claim is about their mean
    draws = truth[:, None] + random.normal(0, 0.05, (2000, 10, 6))
    covered = [abs(mean - truth.mean()) <= half for mean, half in (stats.interval(draw.ravel()) for draw in draws)]
    assert np.mean(covered) >= 0.95  # more than promised: what settings differ by is counted as chance


def test_p_is_that_of_the_interval_that_ends_at_the_bound():
    values = np.random.default_rng(6).normal(0.3, 0.4, 6)
    for bound in (values.mean() - 0.5, values.mean() - 0.01):
        p = stats.p_above(values, bound)
        assert p == pytest.approx(scipy.stats.ttest_1samp(values, bound).pvalue)
        assert scipy.stats.ttest_1samp(values, 0).confidence_interval(1 - p).low == pytest.approx(bound)
    assert stats.p_above(values, values.mean() + 0.01) == 1
    assert stats.p_above([0.0, 0.0, 0.0]) == 1 and stats.p_above([0.5, 0.5, 0.5]) == 0  # nothing varies


def test_a_detectable_effect_is_detected_in_four_of_five_repetitions():
    random = np.random.default_rng(7)
    for units in (3, 6):
        values = random.normal(0, 1, units)
        values = (values - values.mean()) / values.std(ddof=1)
        draws = random.normal(stats.detectable(values), 1, (20_000, units))
        found = draws.mean(1) > scipy.stats.t.ppf(0.975, units - 1) * draws.std(1, ddof=1) / np.sqrt(units)
        assert found.mean() == pytest.approx(0.8, abs=0.012)


def test_holm_agrees_with_a_case_by_hand_and_with_closed_testing():
    # 4 * 0.005, 3 * 0.01, 2 * 0.03; then 0.04 would be lower than the one before, which it may not be.
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    p = np.random.default_rng(8).uniform(0, 0.2, 5)
    for i in range(5):  # Holm rejects what Bonferroni rejects in every family that has it
        families = [family for size in range(1, 6) for family in itertools.combinations(range(5), size) if i in family]
        assert stats.holm(p)[i] == pytest.approx(min(1, max(len(family) * p[list(family)].min() for family in families)))


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
