"""Phase and contrast detection against NumPy, SciPy's optimum and stacks whose focus is known."""

import numpy as np
import pytest
import torch

from fcl.classical import gradient_energy, hill_climb, zero_shift_correlation
from fcl.randomness import torch_generator
from fcl.scenes import make_scene
from fcl.simulator import SceneBatch, expose, render


def test_zero_shift_correlation_is_numpys():
    slices = np.random.default_rng(0).integers(64, 1024, (5, 2, 12, 10)).astype(np.uint16)
    expected = [np.corrcoef(left.ravel(), right.ravel())[0, 1] for left, right in slices.astype(float)]
    np.testing.assert_allclose(zero_shift_correlation(slices), expected, rtol=1e-12)
    brighter = slices.astype(float) * np.array([2.0, 3.0])[:, None, None] + 7
    np.testing.assert_allclose(zero_shift_correlation(brighter), expected, rtol=1e-12)


def test_a_flat_view_correlates_with_nothing():
    slices = np.full((2, 2, 4, 4), 1023, np.uint16)
    slices[1, 0, 0, 0] = 64
    assert zero_shift_correlation(slices).tolist() == [0, 0]


def test_gradient_energy_of_a_ramp_and_of_its_scale():
    ramp = np.broadcast_to(3.0 * np.arange(8), (1, 2, 8, 8))
    assert gradient_energy(ramp).tolist() == [9]
    assert gradient_energy(np.concatenate([ramp, 0 * ramp])).tolist() == [9, 0]  # no slice sees its neighbours
    assert gradient_energy(ramp.swapaxes(2, 3))[0] == gradient_energy(ramp)[0]
    assert gradient_energy(2 * ramp)[0] == pytest.approx(4 * gradient_energy(ramp)[0])


def test_both_find_the_focus_of_bright_plain_scenes():
    scenes = [make_scene(4, number, 64, "plain") for number in range(30)]
    scenes = [scene for scene in scenes if len(scene.dioptres) == 1]
    errors = []
    for scene in scenes:
        light = render(SceneBatch([scene]), torch.arange(49)[None])
        noise = torch.tensor([[1e-5, 1e-7]])
        slices = expose(light, noise, torch_generator(0, "test"))[0].numpy()
        for measure in (zero_shift_correlation, gradient_energy):
            errors.append(abs(measure(slices).argmax() - scene.label()))
    assert len(scenes) >= 10 and np.mean(np.array(errors) <= 1) > 0.9


def test_climbing_one_hill_ends_on_top_from_everywhere():
    for top in range(49):
        hill = -np.abs(np.arange(49) - top)
        for start in range(49):
            best, looks, travel = hill_climb(hill, start)
            assert best == top and 2 <= looks <= 25 and travel >= abs(top - start)


def test_climbing_worked_by_hand():
    hill = -np.abs(np.arange(49) - 7)
    # From 0: 4, 8, 12 is lower, 4 was seen; then 9 is lower, 7, 6 is lower.
    assert hill_climb(hill, 0) == (7, 7, 12 + 3 + 2 + 1 + 1)
    assert hill_climb(hill, 7, steps=(1,)) == (7, 3, 1 + 2 + 1)


def test_climbing_stops_on_a_foothill_and_on_a_plain():
    hills = np.zeros(49)
    hills[[5, 6, 7]], hills[40] = [1, 2, 1], 9
    assert hill_climb(hills, 6)[0] == 6
    assert hill_climb(hills, 20)[:2] == (20, 5)  # 24 and 16, 21 and 19: nothing is sharper
    assert hill_climb(hills, 48)[0] == 48
