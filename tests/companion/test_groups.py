"""A group makes each of its runs once, whatever fails or changes around it."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from tiny import CHOSEN, finish, make_project, random_stacks

from companion.batch import groups
from companion.batch.groups import Group, RunsFailed, hold
from companion.profiles import profile_config
from companion.runs.reading import load_predictions
from companion.runs.writing import rounded
from fcl.checkpoints import load_model
from fcl.prediction import predict
from fcl.stacks import StacksWriter

PROFILE = {"width": 0.25, "patch": 16, "train_stacks": 12, "batch": 16, "iterations": 8}


def put_stacks(root, split, count, seed):
    stacks = random_stacks(count, PROFILE["patch"], seed)
    writer = StacksWriter(count, PROFILE["patch"], root / "data" / "tiny" / "simulated" / split)
    writer.slices[:] = stacks.slices
    depth = np.zeros((4, 4))
    writer.label(0, [*zip(stacks.labels, stacks.positions, stacks.categories, [depth] * count, strict=True)])
    writer.finish({"simulator_seed": seed})


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project with a profile of its own, `tiny`, and stacks of noise for it."""
    make_project(tmp_path, monkeypatch)
    profiles = {"tiny": PROFILE | {"test_stacks": 5, "validation_stacks": 4}}
    (tmp_path / "experiments" / "profiles.yml").write_text(yaml.safe_dump(profiles))
    chosen = {"tiny": {"afpe": {"D1": CHOSEN}}}
    (tmp_path / "experiments" / "weights.yml").write_text(yaml.safe_dump(chosen))
    for number, (split, count) in enumerate((("train", 12), ("test", 5), ("validation", 4))):
        put_stacks(tmp_path, split, count, number)
    monkeypatch.setattr(groups, "PATIENCE", 0.0)
    return tmp_path


def opened(methods="baseline, fcl", split="test"):
    return Group.open("tiny", profile_config("tiny"), methods, split)


def make(*arguments):
    group = opened(*arguments)
    said = list(group.work())
    group.lock.close()
    return group, said


def times(folder, kind):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(f"*.{kind}")}


def test_every_run_is_the_run_in_one_piece(root):
    group, said = make()
    assert said[-1] == "2 of 2 runs are complete"
    assert json.loads((group.folder / ".progress").read_text()) == {"text": said[-1], "fraction": 1.0}
    config = replace(profile_config("tiny"), lambda_msd=4, lambda_kld=4)
    finish(config, group.train_stacks, checkpoint=root / "whole.safetensors")
    whole = predict(load_model(root / "whole.safetensors"), group.scored_stacks, "D1")
    stored = load_predictions(group.folder / "msd4+kld4.npz")
    assert np.array_equal(stored["argmax"], whole.argmax)
    for name in ("expected", "entropy"):
        assert np.array_equal(stored[name], rounded(getattr(whole, name))), name
    assert list(group.curves()["fcl"].iteration) == list(range(1, 9))


def test_tables_and_predictions_go_by_method(root):
    group, _ = make("fcl, baseline, jsd8")
    assert list(group.metrics().index) == ["fcl", "baseline", "jsd8"]
    assert list(group.metrics().weights) == ["msd4+kld4", "baseline", "jsd8"]
    answers = group.predictions()["fcl"]
    assert answers.shape == (5, 49)
    errors = np.abs(answers.astype(int) - group.scored_stacks.labels[:, None])
    assert group.metrics().mae["fcl"] == pytest.approx(errors.mean())


def test_complete_runs_are_skipped_and_new_ones_start_from_the_trunk(root):
    group, _ = make()
    before = times(group.folder, "json") | times(group.folder, "safetensors")
    _, said = make()
    assert said == ["2 of 2 runs are complete"]
    group, _ = make("baseline, fcl, kld")
    after = times(group.folder, "json") | times(group.folder, "safetensors")
    assert set(after) - set(before) == {"kld4.json", "kld4.safetensors"}
    assert all(after[name] == before[name] for name in before if name != "group.json")


def test_a_failing_run_is_named_and_stops_no_other(root):
    group = opened("baseline, fcl, kld")
    (group.folder / "msd4+kld4.safetensors").write_bytes(b"no checkpoint")
    with pytest.raises(RunsFailed, match=r"1 of 3 runs failed: fcl \(msd4\+kld4\): .*can't be read or is damaged"):
        list(group.work())
    assert {"baseline.json", "kld4.json"} < {path.name for path in group.folder.glob("*.json")}


def test_other_test_stacks_score_again_without_training(root):
    group, _ = make()
    networks, records = times(group.folder, "safetensors"), times(group.folder, "json")
    put_stacks(root, "test", 5, 9)
    group, _ = make()
    assert times(group.folder, "safetensors") == networks
    assert all(times(group.folder, "json")[name] > records[name] for name in ("baseline.json", "msd4+kld4.json"))
    assert len(group.metrics()) == 2


def test_validation_runs_lie_apart(root):
    group, _ = make("baseline", "validation")
    assert group.folder == root / "runs" / "tiny" / "simulated-validation" / "afpe-D1-F4-seed0"
    assert group.predictions()["baseline"].shape == (4, 49)


@pytest.mark.parametrize(("split", "count"), [("train", 11), ("test", 6)])
def test_stacks_that_do_not_fit_the_profile_are_refused(root, split, count):
    put_stacks(root, split, count, 0)
    with pytest.raises(ValueError, match=f"{split} holds {count} stacks of 16 px"):
        opened()


def test_a_folder_has_one_worker(root):
    group = opened()
    with pytest.raises(RuntimeError, match=f"process {os.getpid()} is at work in .*afpe-D1-F4-seed0"):
        opened()
    group.lock.close()
    opened().lock.close()


def test_hold_waits_for_the_other(tmp_path):
    with hold(tmp_path / "lock", 0.0), pytest.raises(BlockingIOError):
        hold(tmp_path / "lock", 0.3)
    hold(tmp_path / "lock", 0.0).close()


def test_notebooks_spread_over_the_gpus(root):
    places = [groups.free_gpu(2) for _ in range(5)]
    assert [gpu for gpu, _ in places] == [0, 1, 0, 1, 0]
    places[1][1].close()
    assert groups.free_gpu(2)[0] == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_the_batch_counts_on_is_not_replaced_by_the_cpu(monkeypatch):
    assert groups.take_device() == ("cpu", None)
    monkeypatch.setenv("FCL_GPU", "1")
    with pytest.raises(RuntimeError, match="counts on a GPU"):
        groups.take_device()
