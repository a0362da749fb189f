"""Checkpoints and networks: what is refused, what divergence leaves, what is loaded, what is predicted."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import TINY, assert_same_state, damaged, finish, random_stacks

from fcl import training
from fcl.checkpoints import load_model, new_model, read_checkpoint, read_tensors, save_model
from fcl.config import Config
from fcl.losses import ordinal_loss
from fcl.prediction import predict
from fcl.training import TrainingDiverged

BASELINE = TINY.trunk()


@pytest.fixture(scope="module")
def stacks():
    return random_stacks()


# Refusals


def test_a_checkpoint_of_another_config_is_refused_by_field(stacks, tmp_path):
    finish(BASELINE, stacks, checkpoint=tmp_path / "trunk", until=4)
    other = replace(TINY, seed=4, learning_rate=1e-3)
    for options in ({"checkpoint": tmp_path / "trunk"}, {"trunk": tmp_path / "trunk"}):
        with pytest.raises(ValueError, match="learning_rate = 0.002 instead of 0.001, seed = 3 instead of 4"):
            finish(other, stacks, **options)
    with pytest.raises(ValueError, match="lambda_msd = 0.0 instead of 4.0"):  # a branch begun from nothing
        finish(TINY, stacks, checkpoint=tmp_path / "trunk")


def test_an_unfinished_trunk_a_kept_network_and_foreign_files_are_refused(stacks, tmp_path):
    finish(BASELINE, stacks, checkpoint=tmp_path / "trunk", until=3)
    with pytest.raises(ValueError, match="holds 3 iterations where the trunk of this config has 4"):
        finish(TINY, stacks, trunk=tmp_path / "trunk")
    save_model(load_model(tmp_path / "trunk"), TINY, tmp_path / "kept")
    with pytest.raises(ValueError, match="kept network"):
        finish(TINY, stacks, checkpoint=tmp_path / "kept")
    with pytest.raises(ValueError, match="kept network"):
        read_checkpoint(tmp_path / "kept")
    save_file({"model.weight": torch.zeros(2)}, tmp_path / "foreign")
    for read in (load_model, read_checkpoint):
        with pytest.raises(ValueError, match="no checkpoint of this project"):
            read(tmp_path / "foreign")
        with pytest.raises(ValueError, match="nowhere is missing"):
            read(tmp_path / "nowhere")


def test_damaged_checkpoints_are_refused_by_name(stacks, tmp_path):
    """Or they read as before: safetensors itself takes any weights."""
    path, tried = tmp_path / "run", 0
    finish(BASELINE, stacks, checkpoint=path, until=3)
    model, before, content = load_model(path).state_dict(), read_checkpoint(path), path.read_bytes()
    header = int.from_bytes(content[:8], "little") + 8
    damages = [(damage, head + content[header:]) for damage, head in damaged(content[:header], 90)]
    for damage, other in [*damages, *damaged(content, 30)]:
        path.write_bytes(other)
        for read in (load_model, read_checkpoint, lambda path: finish(BASELINE, stacks, checkpoint=path, until=3)):
            try:
                again = read(path)
            except ValueError as error:
                assert str(error).startswith(f"{path} ") and "move this one away" in str(error), damage
                tried += 1
            else:
                if read is load_model:
                    assert all(torch.equal(values, model[name]) for name, values in again.state_dict().items()), damage
                elif read is read_checkpoint:
                    assert again == before, damage
    assert tried > 200


@pytest.mark.parametrize("shape", [(1,), (3, 3)])
def test_a_moment_of_another_shape_is_refused(stacks, tmp_path, shape):
    path = tmp_path / "run"
    finish(BASELINE, stacks, checkpoint=path, until=3)
    tensors, texts = read_tensors(path)
    tensors["adam.0.exp_avg"] = torch.zeros(shape)
    save_file(tensors, path, texts)
    with pytest.raises(ValueError, match=r"run .*adam.0.exp_avg has the shape .*move this one away"):
        finish(BASELINE, stacks, checkpoint=path)


def test_stacks_that_are_not_the_configs_are_refused():
    for wrong in (random_stacks(11), random_stacks(patch=32)):
        with pytest.raises(ValueError, match="train_stacks"):
            finish(TINY, wrong)
    with pytest.raises(ValueError, match="until must be from 0 to the config's 8"):
        finish(TINY, random_stacks(), until=9)


@pytest.mark.parametrize("factor", [math.nan, math.inf, 100.0])
def test_divergence_keeps_the_last_good_checkpoint(stacks, tmp_path, monkeypatch, factor):
    finish(TINY, stacks, checkpoint=tmp_path / "good", until=4)
    calls = []
    monkeypatch.setattr(
        training,
        "ordinal_loss",
        lambda *arguments: calls.append(1) or ordinal_loss(*arguments) * (factor if len(calls) == 6 else 1),
    )
    with pytest.raises(TrainingDiverged, match="loss of iteration 6 .*run.safetensors holds the last good state.*Try"):
        finish(TINY, stacks, checkpoint=tmp_path / "run.safetensors", checkpoint_every=4)
    assert_same_state(tmp_path / "good", tmp_path / "run.safetensors")


def test_weights_that_are_not_finite_are_never_kept(stacks, tmp_path, monkeypatch):
    def infinite_slope(logits, **lambdas):
        return (logits - logits.detach()).sum((1, 2)).sqrt()  # the value is 0

    monkeypatch.setattr(training, "focal_consistency_loss", infinite_slope)
    with pytest.raises(TrainingDiverged, match="after iteration 5 not all weights are finite"):
        finish(TINY, stacks, checkpoint=tmp_path / "run", checkpoint_every=1)
    assert len(read_checkpoint(tmp_path / "run").curve) == 4
    assert all(values.isfinite().all() for values in load_model(tmp_path / "run").state_dict().values())


# Networks and predictions


def test_kept_networks_and_checkpoints_load_as_the_same_network(stacks, tmp_path):
    finish(TINY, stacks, checkpoint=tmp_path / "run")
    model = load_model(tmp_path / "run")
    save_model(model, TINY, tmp_path / "kept")
    kept = load_model(tmp_path / "kept")
    assert not model.training and not kept.training and model.config == kept.config == TINY
    for name, values in model.state_dict().items():
        assert torch.equal(values, kept.state_dict()[name]), name
    assert (tmp_path / "kept").stat().st_size < (tmp_path / "run").stat().st_size / 2
    untrained = new_model(TINY)
    assert any(not torch.equal(untrained.state_dict()[name], value) for name, value in model.state_dict().items())


def test_no_index_is_made_of_nan_or_by_the_wrong_network():
    model = new_model(TINY)
    with pytest.raises(ValueError, match="made for D with 1 frames, not I1"):
        predict(model, random_stacks(2), "I1")
    with torch.no_grad():
        model.backbone.body[-1].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="answers are not finite"):
        predict(model, random_stacks(2), "D1")


@pytest.mark.parametrize("setting", ["D1", "I3", "D*"])
def test_predictions_are_those_of_a_slow_loop(setting):
    test = random_stacks(3, seed=1)
    config = Config(setting=setting, width=0.25, patch=16, focal_indices=1, train_stacks=128)
    model, reported = new_model(config), []
    with torch.no_grad():
        model.backbone.body[-1].weight.mul_(100)  # an untrained head says much the same of everything
    found = predict(model, test, setting, batch=50, progress=lambda done, total: reported.append((done, total)))
    frames = {"D1": 1, "I3": 3, "D*": 49}[setting]
    starts = 50 - frames
    assert [array.shape for array in found] == [(3, starts)] * 4
    assert [array.dtype for array in found] == [np.uint8, np.float16, np.float16, np.uint8]
    assert reported[-1] == (3 * starts, 3 * starts)
    model.eval()
    for s in range(3):
        for start in range(0, starts, 5):
            slices = torch.from_numpy((test.slices[s, start : start + frames].astype(np.float32) - 64) / (1023 - 64))
            with torch.no_grad():
                logits = model(slices[None], torch.tensor([start]), torch.from_numpy(test.positions[s : s + 1]))[0]
            p = np.exp(logits.double().numpy() - logits.double().logsumexp(0).item())
            assert found.argmax[s, start] == p.argmax()
            median = found.median[s, start]
            assert p[:median].sum() < 0.5 + 1e-6 and p[median + 1 :].sum() < 0.5 + 1e-6
            assert found.expected[s, start] == pytest.approx((np.arange(49) * p).sum(), rel=2e-3)
            assert found.entropy[s, start] == pytest.approx(-(p * np.log(p)).sum(), rel=2e-3)
