"""Layers, signal-to-noise and the choice of rows: closed forms, scenes made by hand, and the simulator's own words."""

import doctest
from dataclasses import replace

import numpy as np
import pytest

from companion.report import corner_cases
from companion.report.corner_cases import (
    at_quantiles,
    at_truth,
    corner_rows,
    hunting_rows,
    layer_indices,
    layer_shares,
    layer_switches,
    scored_scenes,
    signal_to_noise,
    slices_of,
)
from companion.runs.identity import ResultsError
from fcl import optics
from fcl.scenes import MARGIN, Scene, make_scene
from fcl.simulator import simulate_stacks

LAYERS = np.array([[10, 30, np.nan], [5, 20, 40]])


def flat(values, opacities, noise, patch=16):
    shape = (patch // 2 + MARGIN, patch + 2 * MARGIN)
    radiance = np.stack([np.full(shape, value, np.float32) for value in values])
    opacity = np.stack([np.full(shape, value, np.float32) for value in opacities])
    return Scene(radiance, opacity, np.float32([1, 5][: len(values)]), np.float32([0, 0]), noise, "plain", patch)


def test_layers_are_where_a_layer_is_sharpest_and_one_of_them_is_the_label():
    scenes = [make_scene(3, number, 32, "multi_depth") for number in range(20)]
    layers = layer_indices(scenes)
    for row, scene in zip(layers, scenes):
        blur = np.abs(optics.blur_diameter(scene.dioptres[:, None], np.array(optics.FOCUS_DIOPTRES)))
        found = row[~np.isnan(row)]
        assert np.abs(found - blur.argmin(1)).max() <= 1  # nearest in dioptres, not in blur
        assert scene.label() in found and (np.diff(found) >= 4).all()
    assert layers.shape[1] == 4 and np.isnan(layers[:, -1]).any()


def test_scenes_are_drawn_again_and_a_changed_simulator_is_noticed():
    labels = np.array([make_scene(3, number, 32).label() for number in range(6)])
    assert [scene.category for scene in scored_scenes(labels, 3, 32)][:3] == ["plain", "multi_depth", "dark"]
    labels[4] += 1
    with pytest.raises(ResultsError, match="other scenes from seed 3"):
        scored_scenes(labels, 3, 32)


def test_switches_by_hand():
    predictions = np.array([[0, 19, 20, 21, 48], [12, 13, 29, 31, 0]], np.uint8)
    # Nearest are layers 0, 0, 0, 1, 1 and 0, 1, 1, 2, 0: of two as near, the farther one.
    assert layer_switches(predictions, LAYERS) == (1 + 3) / 8
    assert np.isnan(layer_switches(predictions[:, :1], LAYERS))
    with pytest.raises(ValueError, match="2 stacks but layers of 1"):
        layer_switches(predictions, LAYERS[:1])


def test_layer_shares_by_hand_sum_to_one():
    predictions = np.array([[9, 12, 31, 48], [40, 21, 4, 10]])
    shares = layer_shares(predictions, [10, 20], LAYERS)
    assert shares == {"true layer": 2 / 8, "other layer": 3 / 8, "no layer": 3 / 8}


def test_signal_to_noise_has_its_closed_form():
    scene = flat([0.5, 0.1], [1, 0], (1e-3, 1e-6))
    scene.opacity[1, :, ::2] = 1  # every other column is the near layer: 0.1 and 0.5
    expected = 20 * np.log10(0.2 / np.sqrt(1e-3 * 0.3 + 1e-6))
    assert signal_to_noise(scene) == pytest.approx(expected, rel=1e-6)
    brighter = replace(scene, radiance=scene.radiance * np.float32(10))  # the far layer clips at 1, the near one just so
    brighter.opacity[1] = 0
    brighter.radiance[0, :, ::2] = 0
    assert signal_to_noise(brighter) == pytest.approx(20 * np.log10(0.5 / np.sqrt(0.5e-3 + 1e-6)), rel=1e-6)
    assert signal_to_noise(flat([2.0], [1], (1e-3, 1e-6))) == -np.inf


def test_dark_and_textureless_scenes_have_the_least_signal():
    mean = {
        category: np.mean([signal_to_noise(make_scene(5, number, 32, category)) for number in range(40)])
        for category in ("plain", "dark", "textureless")
    }
    assert mean["dark"] < mean["plain"] - 6 and mean["textureless"] < mean["plain"] - 6


def test_stacks_at_quantiles_are_those_numpy_names_nearest():
    values = np.random.default_rng(0).permutation(101).astype(float)
    quantiles = [0, 0.25, 0.5, 0.9, 1]
    stacks = at_quantiles(values, quantiles)
    np.testing.assert_array_equal(values[stacks], np.quantile(values, quantiles, method="nearest"))
    assert at_quantiles([7, 7, 7], [0, 1]) == [0, 2]


def test_predictions_at_the_true_slice_or_the_last_start_before_it():
    predictions = np.arange(3 * 45).reshape(3, 45)
    assert at_truth(predictions, [0, 44, 48]).tolist() == [0, 45 + 44, 90 + 44]


def test_rows_of_corner_cases_follow_their_rule():
    random = np.random.default_rng(1)
    labels = np.full(40, 20)
    baseline = np.clip(20 + random.integers(-9, 10, (40, 49)), 0, 48)
    five = np.full((40, 45), 21, np.uint8)
    among = np.arange(40) % 2 == 1
    table = corner_rows({"AFPE": baseline, "+FCL (D5)": five}, labels, among)
    assert table.columns.tolist() == ["input", "AFPE", "+FCL (D5)", "ground truth"]
    mean = np.abs(baseline[:, :45] - 20).mean(1)
    chosen = table.index.tolist()
    assert all(among[chosen]) and (np.diff(mean[chosen]) >= 0).all() and mean[chosen[-1]] == mean[among].max()
    assert (mean[among] < mean[chosen[0]]).sum() == pytest.approx(len(mean[among]) / 2, abs=1)
    for stack, row in zip(chosen, table.itertuples(index=False)):
        assert row[1] == baseline[stack, row[0]] and row[2] == 21 and row[3] == 20
        assert abs(abs(row[1] - 20) - mean[stack]) <= 1


def test_rows_of_hunting_curves_show_the_true_slice_and_each_answer_to_it():
    curves = {"baseline": np.arange(4 * 49).reshape(4, 49) % 49, "D5": np.full((4, 45), 7)}
    rows = hunting_rows(curves, np.array([3, 5, 48, 9]), [2, 0], {"baseline": "AFPE"})
    assert rows["indices"].tolist() == [[48, 48, 7], [3, 3, 7]] and rows["titles"] == ["truth", "AFPE", "D5"]
    assert rows["labels"].tolist() == [48, 3] and list(rows["curves"]) == ["stack 2", "stack 0"]
    assert (rows["curves"]["stack 2"]["baseline"] == curves["baseline"][2]).all()


def test_slices_are_those_of_the_stored_stacks():
    stacks = simulate_stacks(3, seed=6, patch=16)
    scenes = scored_scenes(stacks.labels, 6, 16)
    (shown,) = slices_of(scenes, 6, [2], np.array([[0, 48, 5]]))
    np.testing.assert_array_equal(shown, stacks.slices[2, [0, 48, 5]].mean(1))


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(corner_cases).failed == 0
