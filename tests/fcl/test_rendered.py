"""Slices rendered on demand against the stored stacks of the same seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from tiny import TINY, assert_same_state, finish, use_project

from companion.batch import groups, plan
from companion.profiles import profile_config
from fcl.rendered import RenderedStacks
from fcl.scenes import make_scene
from fcl.simulator import SPLIT_SEEDS, simulate_stack, simulate_stacks
from fcl.training import train

COUNT, SEED, PATCH = 12, 1, 16


@pytest.fixture(scope="module")
def rendered():
    return RenderedStacks(COUNT, SEED, PATCH)


@pytest.fixture(scope="module")
def stored():
    return simulate_stacks(COUNT, SEED, PATCH)


def test_scenes_labels_and_positions_are_the_stored_ones(rendered, stored):
    assert len(rendered) == COUNT and rendered.slices.shape == stored.slices.shape
    assert np.array_equal(rendered.labels, stored.labels) and np.array_equal(rendered.positions, stored.positions)


def test_the_digest_tells_scenes_apart(rendered):
    other = RenderedStacks(COUNT, SEED, PATCH)
    assert other.digest == rendered.digest
    other = RenderedStacks(COUNT, SEED, PATCH)
    other.scenes.radiance[3] *= 0.5
    assert other.digest != rendered.digest


def test_without_noise_the_slices_are_the_stored_ones():
    """Up to one count, where another order of the same sums rounds the other way."""
    quiet, scenes, starts = RenderedStacks(4, SEED, PATCH), np.array([3, 0, 3]), np.array([0, 11, 40])
    quiet.scenes.noise.zero_()
    found = quiet.observe(scenes, starts, 5) * (1023 - 64) + 64
    assert found.shape == (3, 5, 2, PATCH, PATCH) and found.dtype == torch.float32
    for slices, scene, start in zip(found, scenes, starts):
        whole = simulate_stack(replace(make_scene(SEED, scene, PATCH), noise=(0.0, 0.0)), SEED, scene)
        difference = np.abs(slices.numpy() - whole[start : start + 5])
        assert difference.max() < 1.01 and (difference > 0.01).mean() < 0.01


def test_the_noise_has_the_stored_strength(rendered, stored):
    """Two stacks that differ by independent noise alone: mean 0, and in the dark stack twice its variance."""
    dark = int(np.flatnonzero(stored.categories == "dark")[0])
    ask = np.full(45, dark), np.arange(45)
    first, second, third = (source.observe(*ask) for source in (rendered, stored, rendered))
    assert torch.equal(first, third)  # the same request, the same noise: a resumed training sees it again
    fresh = rendered.observe(ask[0][:40], ask[1][:40])
    other = stored.observe(ask[0][:40], ask[1][:40])
    assert (first[:40] - fresh).var() == pytest.approx(2 * _variance(rendered, dark), rel=0.1)
    assert (first - second).var() == pytest.approx(2 * _variance(rendered, dark), rel=0.1)
    assert abs((fresh - other).mean()) < 5 * (fresh - other).std() / fresh.numel() ** 0.5


def _variance(rendered, scene):
    """Of a flat patch as dark as this one: 0.625 (a x + b), and that of two roundings."""
    a, b = rendered.scenes.noise[scene].tolist()
    light = rendered.observe(np.full(49, scene), np.arange(49)).mean().item()
    return 0.625 * (a * light + b) + (0.625 + 1) / 12 / 959**2


def test_a_killed_training_sees_the_same_slices_again(rendered, tmp_path):
    finish(TINY, rendered, checkpoint=tmp_path / "whole")
    killed = train(TINY, rendered, checkpoint=tmp_path / "killed", checkpoint_every=2)
    for _ in range(5):
        next(killed)
    killed.close()
    finish(TINY, rendered, checkpoint=tmp_path / "killed")
    assert_same_state(tmp_path / "whole", tmp_path / "killed")


def test_a_profile_decides_and_then_no_training_stacks_are_asked_for(monkeypatch, tmp_path):
    (tmp_path / "experiments").mkdir()
    profile = {"patch": PATCH, "train_stacks": COUNT, "batch": 16, "validation_stacks": 4, "test_stacks": 4}
    profiles = {"stored": profile, "lazy": profile | {"rendered": True}}
    (tmp_path / "experiments" / "profiles.yml").write_text(yaml.safe_dump(profiles))
    use_project(tmp_path, monkeypatch)
    config = profile_config("lazy")
    assert config == profile_config("stored")
    source = groups.training_stacks("lazy", config, "cpu")
    assert isinstance(source, RenderedStacks) and source.seed == SPLIT_SEEDS["train"]
    with pytest.raises(ValueError, match="simulate"):
        groups.training_stacks("stored", config, "cpu")
    for name, splits in (("stored", ["train", "test"]), ("lazy", ["test"])):
        job = plan.Job("page", {"profile": name, "split": "test"}, config, {})
        assert job.stacks == [f"data/{name}/simulated/{split}/stacks.json" for split in splits]
