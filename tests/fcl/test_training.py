"""Training: the pieces against slow or independent forms, and what is bit-identical to what."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import TINY, assert_same_state, finish, random_stacks

from fcl import training
from fcl.checkpoints import load_model, read_checkpoint
from fcl.losses import focal_consistency_loss, ordinal_loss
from fcl.prediction import predict
from fcl.stacks import FocalStacks
from fcl.training import learning_rate, shuffle_pairs, train

BASELINE = TINY.trunk()


@pytest.fixture(scope="module")
def stacks():
    return random_stacks()


# The pieces


@pytest.mark.parametrize("iterations", [1, 2, 7, 24, 600])
def test_onecycle_is_torchs(iterations):
    config = replace(BASELINE, schedule="onecycle", iterations=iterations)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=iterations, cycle_momentum=False
    )
    for iteration in range(iterations):
        assert learning_rate(iteration, config) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        if iteration + 1 < iterations:
            scheduler.step()


def test_cosine_is_torchs():
    config = replace(BASELINE, schedule="cosine", iterations=50, learning_rate=1e-3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    for iteration in range(50):
        assert learning_rate(iteration, config) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        scheduler.step()


def test_shuffled_pairs_come_from_different_scenes():
    scene = torch.arange(5.0)[:, None, None].expand(5, 4, 2)
    column = torch.arange(4.0)[None, :, None].expand(5, 4, 2)
    scenes, columns = shuffle_pairs(scene)[..., 0], shuffle_pairs(column)[..., 0]
    assert torch.equal(columns, column[..., 0])
    for s in range(5):
        assert scenes[s].tolist() == [(s - f) % 5 for f in range(4)]
        assert len(set(scenes[s].tolist())) == 4


def test_batch_is_scene_major_and_flips_across_the_baseline(stacks):
    flipping, plain = (training._Run(TINY, stacks, "cpu"), training._Run(replace(TINY, flip=False), stacks, "cpu"))
    sampler = copy.deepcopy(flipping.sampler)
    flipped = 0
    for _ in range(4):
        batch = next(sampler)
        slices, starts, positions, labels = flipping.batch()
        slices_plain, starts_plain, positions_plain, labels_plain = plain.batch()
        assert torch.equal(starts, starts_plain) and torch.equal(labels, labels_plain)
        for sample in range(16):
            scene, flip = batch.scenes[sample // 4], batch.flips[sample // 4]
            assert labels[sample] == stacks.labels[scene] and starts[sample] == batch.starts[sample // 4, sample % 4]
            view = (stacks.slices[scene, starts[sample]].astype(np.float32) - 64) / (1023 - 64)
            x, y = stacks.positions[scene]
            np.testing.assert_allclose(slices_plain[sample, 0], view, rtol=1e-6)
            np.testing.assert_allclose(slices[sample, 0], view[:, ::-1] if flip else view, rtol=1e-6)
            assert positions[sample].tolist() == [x, -y if flip else y]
            flipped += flip
    assert 0 < flipped < 64


@pytest.mark.parametrize("pairing", ["same", "shuffled"])
def test_losses_are_equation_9(stacks, pairing):
    config = replace(TINY, consistency_start=0, lambda_jsd=3, pairing=pairing)
    run = training._Run(config, stacks, "cpu")
    reference = copy.deepcopy(run)
    *inputs, labels = reference.batch()
    logits = reference.model(*inputs)
    grouped = logits.reshape(4, 4, 49)
    if pairing == "shuffled":
        grouped = torch.stack([torch.stack([grouped[(s - f) % 4, f] for f in range(4)]) for s in range(4)])
    ordinal = sum(ordinal_loss(logits[b : b + 1], labels[b : b + 1])[0] for b in range(16)) / 16
    consistency = sum(focal_consistency_loss(grouped[s : s + 1], 4, 2, 3)[0] for s in range(4)) / 4
    step = run.step()
    assert step.ordinal == pytest.approx(ordinal.item(), rel=1e-5)
    assert step.consistency == pytest.approx(consistency.item(), rel=1e-4) and step.consistency > 0
    assert step.loss == step.ordinal + step.consistency and step.iteration == 1


def test_update_is_adam_with_l2_in_the_gradient(stacks):
    """Two iterations against the formulas of Kingma and Ba (2015), written out."""
    config = replace(BASELINE, iterations=8, schedule="cosine", weight_decay=0.1)
    run = training._Run(config, stacks, "cpu")
    means = [torch.zeros_like(p) for p in run.model.parameters()]
    squares = [torch.zeros_like(p) for p in run.model.parameters()]
    for t in (1, 2):
        before = [p.detach().clone() for p in run.model.parameters()]
        rate = run.step().learning_rate
        for p, old, m, v in zip(run.model.parameters(), before, means, squares, strict=True):
            gradient = p.grad + 0.1 * old
            m.mul_(0.5).add_(gradient, alpha=0.5)
            v.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            expected = old - rate * (m / (1 - 0.5**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
            torch.testing.assert_close(p.detach(), expected, rtol=1e-4, atol=1e-6)


# Bit for bit


def test_branch_is_the_run_in_one_piece(stacks, tmp_path):
    whole, trunk, branch = (tmp_path / f"{name}.safetensors" for name in ("whole", "trunk", "branch"))
    curve = finish(TINY, stacks, checkpoint=whole)
    first = finish(BASELINE, stacks, checkpoint=trunk, until=TINY.trunk_iterations)
    second = finish(TINY, stacks, checkpoint=branch, trunk=trunk)
    assert first + second == curve == read_checkpoint(branch).curve and len(first) == 4 == len(second)
    assert [step.consistency > 0 for step in curve] == [False] * 4 + [True] * 4
    assert_same_state(whole, branch)
    assert finish(TINY, stacks, checkpoint=branch, trunk=trunk) == []  # a finished run stays as it is


@pytest.mark.parametrize("start", [0, 1])
def test_a_trunk_may_be_nothing_or_everything(stacks, tmp_path, start):
    config = replace(TINY, consistency_start=start, iterations=3)
    trunk, branch, whole = (tmp_path / f"{name}.safetensors" for name in ("trunk", "branch", "whole"))
    assert len(finish(config.trunk(), stacks, checkpoint=trunk, until=config.trunk_iterations)) == 3 * start
    finish(config, stacks, checkpoint=branch, trunk=trunk)
    curve = finish(config, stacks, checkpoint=whole)
    assert_same_state(branch, whole)
    assert all(step.consistency == 0 for step in curve) is bool(start)


@pytest.mark.parametrize(("backbone", "part"), [("compact", "trunk"), ("compact", "branch"), ("mobilenet_v2", "branch")])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, backbone, part):
    stacks = random_stacks(patch=32)
    config = replace(TINY, backbone=backbone, patch=32, width=0.25 if backbone == "compact" else 0.1)
    if part == "trunk":
        options = {"config": config.trunk(), "until": 4}
    else:
        finish(config.trunk(), stacks, checkpoint=tmp_path / "trunk", until=4)
        options = {"config": config, "trunk": tmp_path / "trunk"}
    finish(stacks=stacks, checkpoint=tmp_path / "whole", **options)
    killed = train(stacks=stacks, checkpoint=tmp_path / "killed", checkpoint_every=2, **options)
    for _ in range(3):
        torch.rand(5)  # the caller's own random numbers, which must not matter
        next(killed)
    killed.close()  # one iteration after the last checkpoint
    done = len(read_checkpoint(tmp_path / "killed").curve)
    assert done == (2 if part == "trunk" else 6)
    assert [step.iteration for step in finish(stacks=stacks, checkpoint=tmp_path / "killed", **options)][0] == done + 1
    assert_same_state(tmp_path / "whole", tmp_path / "killed")
    assert not list(tmp_path.glob(".*"))  # no temporary file is left behind
    if backbone == "mobilenet_v2":  # which has dropout: its masks must not repeat
        begun, done = (load_file(tmp_path / "trunk")["dropout.cpu"], load_file(tmp_path / "whole")["dropout.cpu"])
        assert not torch.equal(begun, done)


def test_methods_of_one_seed_see_the_same_batches(stacks, monkeypatch):
    seen = []
    monkeypatch.setattr(
        training,
        "ordinal_loss",
        lambda logits, labels, temperature: (seen[-1].append(labels.tolist()) or ordinal_loss(logits, labels, temperature)),
    )
    curves = []
    for changes in ({"lambda_msd": 0, "lambda_kld": 0}, {}, {"lambda_jsd": 32}, {"pairing": "shuffled"}, {"seed": 4}):
        seen.append([])
        curves.append(finish(replace(TINY, **changes), stacks))
    assert seen[0] == seen[1] == seen[2] == seen[3] != seen[4]
    assert curves[0][:4] == curves[1][:4] == curves[3][:4] and curves[0][5] != curves[1][5] != curves[3][5]


def test_weight_zero_is_the_baseline(stacks, tmp_path):
    finish(replace(TINY, lambda_msd=0.0, lambda_kld=0.0), stacks, checkpoint=tmp_path / "zero")
    finish(replace(TINY, **dict.fromkeys(TINY.lambdas, 0)), stacks, checkpoint=tmp_path / "baseline")
    assert_same_state(tmp_path / "zero", tmp_path / "baseline")
    one_slice = replace(TINY, focal_indices=1, batch=8)  # F = 1 has no pairs: any weight is weight zero
    a, b = finish(one_slice, stacks), finish(one_slice.trunk(), stacks)
    assert a == b


@pytest.mark.parametrize("backbone", ["compact", "mobilenet_v2"])
def test_the_callers_random_numbers_are_left_alone(tmp_path, backbone):
    stacks, config = (random_stacks(patch=32), replace(TINY, backbone=backbone, patch=32, width=0.1, iterations=2))
    torch.manual_seed(5)
    np.random.seed(5)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    finish(config, stacks, checkpoint=tmp_path / "run")
    predict(load_model(tmp_path / "run"), random_stacks(2, 32), "D1")
    assert torch.equal(state, torch.get_rng_state()) and np.array_equal(numpy_state, np.random.get_state()[1])


# Other precision, another device


def test_reduced_precision_trains_and_says_so(stacks, tmp_path):
    config = replace(BASELINE, precision="bfloat16")
    reduced, full = finish(config, stacks, checkpoint=tmp_path / "run"), finish(BASELINE, stacks)
    assert reduced[0].ordinal == pytest.approx(full[0].ordinal, rel=0.02) and reduced != full
    assert all(values.dtype != torch.bfloat16 for values in load_file(tmp_path / "run").values())


def test_a_tiny_problem_is_learnt():
    """Brightness tells the label: a network that learns at all gets far below ln 49 = 3.89."""
    numbers = np.random.default_rng(2)
    labels = np.repeat([8, 24, 40], 8)
    slices = numbers.integers(300, 700, (24, 49, 2, 16, 16)).astype(np.uint16)
    slices[labels == 8, ..., :8] += 300
    slices[labels == 40, ..., 8:] += 300
    stacks = FocalStacks(slices, labels, np.zeros((24, 2), np.float32), np.full(24, "plain"), black=64, white=1023)
    curve = finish(replace(TINY, train_stacks=24, batch=32, iterations=60, width=0.5), stacks)
    assert curve[0].ordinal > 3.5 and curve[-1].ordinal < 2


@pytest.mark.parametrize(("model", "setting"), [("afpe", "D1"), ("l2a", "I3")])
def test_nothing_waits_for_a_device_between_mini_batch_and_gradients(stacks, model, setting):
    """On the meta device, which has shapes and no values: whatever looks at a value raises there."""
    config = replace(TINY, model=model, setting=setting, backbone="mobilenet_v2", consistency_start=0.0, lambda_jsd=1)
    run = training._Run(config, stacks, "cpu")
    *inputs, labels = (values.to("meta") for values in run.batch())
    network = run.model.to("meta")
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    sum(run.losses(compiled(*inputs), labels)).backward()
    assert all(weights.grad.shape == weights.shape for weights in network.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_trains_resumes_and_predicts(tmp_path, precision):
    stacks = random_stacks(patch=32)
    config = replace(TINY, backbone="mobilenet_v2", patch=32, width=0.25, precision=precision)
    state = torch.cuda.get_rng_state()
    killed = train(config, stacks, checkpoint=tmp_path / "run", checkpoint_every=2, device="cuda")
    steps = [next(killed) for _ in range(6)]
    killed.close()
    steps += finish(config, stacks, checkpoint=tmp_path / "run", device="cuda")
    whole = finish(config, stacks, device="cuda")
    np.testing.assert_allclose(np.array(steps), np.array(whole), rtol=0.05)
    assert torch.equal(state, torch.cuda.get_rng_state())
    there = predict(load_model(tmp_path / "run", "cuda"), random_stacks(2, 32), "D1")
    here = predict(load_model(tmp_path / "run"), random_stacks(2, 32), "D1")
    np.testing.assert_allclose(there.expected, here.expected, atol=0.1)
