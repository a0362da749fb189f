"""From training to the table: a branch is scored, its record written, and read."""

from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
from tiny import make_project, random_stacks

from companion.batch.groups import score_run
from companion.profiles import profile_config
from companion.runs.reading import is_finished, read_results
from companion.runs.writing import open_group
from companion.weights import resolve_methods
from fcl.training import train


@pytest.fixture
def root(tmp_path, monkeypatch):
    return make_project(tmp_path, monkeypatch)


def test_a_record_names_the_code_that_the_training_began_with(root, monkeypatch):
    config = profile_config("smoke", width=0.25, patch=16, train_stacks=12, batch=8, iterations=4)
    stacks, test = random_stacks(12, seed=1), random_stacks(6)
    folder = open_group("smoke", config, stacks.digest)
    paths = {"checkpoint": folder / "baseline.safetensors", "trunk": folder / "trunk.safetensors"}
    for commit, clean, goes_on in (
        ("old", True, partial(train, config.trunk(), stacks, checkpoint=paths["trunk"], until=config.trunk_iterations)),
        ("newer", False, partial(train, config, stacks, until=3, **paths)),
        ("newest", True, partial(train, config, stacks, **paths)),
    ):
        list(goes_on(code={"commit": commit, "clean": clean}))
    assert score_run(folder, "baseline", test, profile="smoke")["code"] == {"commit": "old", "clean": False}


def test_a_branch_is_trained_scored_and_read(root):
    config = profile_config("smoke", width=0.25, patch=16, train_stacks=12, batch=8, iterations=4)
    stacks, test = random_stacks(12, seed=1), random_stacks(6)
    test.source["simulator_seed"] = 7
    folder = open_group("smoke", config, stacks.digest)
    trunk = folder / "trunk.safetensors"
    assert len(list(train(config.trunk(), stacks, checkpoint=trunk, until=config.trunk_iterations))) == 2
    for label, weights in resolve_methods("baseline, kld4", "smoke", "afpe", "D1"):
        branch = replace(config, **weights.lambdas)
        assert not is_finished(folder, weights.name, branch, test.digest)
        list(train(branch, stacks, checkpoint=folder / f"{weights.name}.safetensors", trunk=trunk))
        record = score_run(folder, weights.name, test, profile="smoke")
        assert is_finished(folder, weights.name, branch, test.digest) and record["weights"] == label
        assert record["stacks"] == {
            "split": "test",
            "count": 6,
            "seed": 7,
            "digest": test.digest,
            "train_digest": stacks.digest,
        }
        assert all(seconds > 0 for seconds in record["seconds"].values()) and record["config"] == asdict(branch)
        curve = np.genfromtxt(folder / f"{weights.name}.csv", delimiter=",", names=True)
        assert curve["iteration"].tolist() == [1, 2, 3, 4] and (curve["consistency"][2:] > 0).all() == (label == "kld4")
    assert read_results(folder.parent).weights.tolist() == ["baseline", "kld4"]
