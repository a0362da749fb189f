"""The closed loop in fresh noise: without noise it is the loop of stored predictions, with noise it can be told by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fcl import fresh_noise
from fcl.closed_loop import trajectories
from fcl.fresh_noise import LOOKS, fresh_trajectories, look_again, noise_free
from fcl.prediction import predict
from fcl.randomness import torch_generator
from fcl.scenes import make_scene
from fcl.settings import parse_setting
from fcl.simulator import simulate_stack
from fcl.stacks import FocalStacks


class Told(nn.Module):
    """Answers by a function of the starts and of the slices it sees."""

    def __init__(self, answer, setting="D1"):
        super().__init__()
        self.answer, self.setting = answer, parse_setting(setting)
        self.nothing = nn.Parameter(torch.zeros(1))  # by its parameters, a model is asked for its device

    def forward(self, slices, start, position):
        return nn.functional.one_hot(self.answer(slices, start).long(), 49).float()


def looks_of(model, seed=5):
    scene = make_scene(1, 0, 16)
    return look_again(model.eval(), scene, noise_free(scene), torch_generator(seed, "test"))


@pytest.mark.parametrize("setting", ["D1", "D3"])
def test_without_noise_it_is_the_loop_of_stored_predictions(setting, monkeypatch):
    def silent(seed, number, patch):
        return replace(make_scene(seed, number, patch), noise=(0.0, 0.0))

    monkeypatch.setattr(fresh_noise, "make_scene", silent)
    # Any map will do: 20 to 28, by the sum of all counts seen.
    model = Told(lambda slices, start: 20 + (slices * 959).round().sum((1, 2, 3, 4)) % 9, setting)
    scenes = [silent(3, number, 16) for number in range(3)]
    slices = np.stack([simulate_stack(scene, 3, number) for number, scene in enumerate(scenes)])
    labels, positions = np.array([scene.label() for scene in scenes]), np.stack([scene.position for scene in scenes])
    stacks = FocalStacks(slices, labels, positions, np.array(["plain"] * 3))
    predictions = predict(model, stacks, setting).argmax
    expected = trajectories(predictions, labels)
    assert 0.2 < expected["cycles"].mean() < 0.8
    found = fresh_trajectories({"one": model}, 3, range(3), 16)["one"]
    for name in ("settles_right", "settles_wrong", "cycles", "reversal_rate", "moves", "travel"):
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    rests = ~expected["cycles"]
    assert (found["final_error"] == expected["final_error"])[rests].all()


def test_every_look_has_its_own_noise_and_the_generator_decides_it():
    seen = []
    model = Told(lambda slices, start: seen.append(slices.clone()) or (start + 1) % 49)
    looks = looks_of(model)
    assert looks[0].tolist() == list(range(1, LOOKS + 1)) and looks[47, :4].tolist() == [48, 0, 1, 2]
    assert len(seen) == LOOKS
    first, later = seen[0][1], seen[1][0]  # the slice at index 1 in two looks, one from start 1 and one after a move
    assert not torch.equal(first, later) and torch.allclose(first.mean(), later.mean(), rtol=0.1)
    again = seen.copy()
    seen.clear()
    looks_of(model)
    assert all(torch.equal(*pair) for pair in zip(seen, again))


def test_a_lens_at_rest_is_not_asked_again():
    asked = []
    model = Told(lambda slices, start: asked.append(len(start)) or torch.where(start < 10, 5, 48 - start))
    looks = looks_of(model)
    assert (looks[:10] == 5).all() and looks[40].tolist() == [8] + [5] * (LOOKS - 1)
    assert asked[:3] == [49, 49, 49 - 12] and asked[-1] == 28  # 0..9, 24, 43 rest first; 10..38 but 24 swap for ever


def test_nothing_rests_if_the_answer_is_new_each_time():
    model = Told(lambda slices, start: (start + 7) % 49)
    found = fresh_trajectories({"restless": model}, 1, [0, 1], 16)["restless"]
    assert found["cycles"].all() and found["reversal_rate"].all() and found["cycles"].shape == (2, 49)
    labels = np.array([make_scene(1, number, 16).label() for number in (0, 1)])
    last = (np.arange(49) + 7 * LOOKS) % 49
    np.testing.assert_array_equal(found["final_error"], np.abs(last - labels[:, None]))
