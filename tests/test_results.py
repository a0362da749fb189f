"""Reading results: the table, what is refused, publishing, and the way from training to the table."""

import json
import shutil
import subprocess
import sys
import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from tiny import ROOT, STACKS, make_project, random_stacks, store

from fcl import metrics, training
from fcl.checkpoints import load_model
from fcl.records import runs
from fcl.records.results import (
    ResultsError,
    is_finished,
    keep_networks,
    load_predictions,
    publish,
    read_results,
    test_labels,
)
from fcl.records.runs import open_group, resolve_methods, run_folder
from fcl.training import Config, score_run, train


@pytest.fixture
def root(tmp_path, monkeypatch):
    return make_project(tmp_path, monkeypatch)


def test_results_are_a_tidy_table_with_metrics_from_predictions(root):
    config = Config.from_profile("laptop")
    paths = [
        store(replace(config, **changes))
        for changes in (
            {},
            {"seed": 1, "lambda_msd": 4.0, "lambda_kld": 0.857},
            {"setting": "D2"},
            {"setting": "D*", "focal_indices": 1},
            {"pairing": "shuffled"},
        )
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read_results(root / "runs/laptop/simulated").set_index("path")
    assert len(table) == 5 and list(table.reset_index().columns[:3]) == ["path", "profile", "data"]
    row = table.loc[str(paths[1])]
    assert (row.model, row.setting, row.views, row.frames, row.F, row.seed) == ("afpe", "D1", "D", 1, 4, 1)
    assert (row.weights, row.lambda_msd, row.lambda_kld, row.lambda_jsd) == ("msd4+kld0.857", 4.0, 0.857, 0.0)
    stored = load_predictions(paths[1].with_suffix(".npz"))
    for name, value in metrics.evaluate(stored["argmax"], STACKS.labels).items():
        assert row[name] == value
    assert row.mean_entropy == pytest.approx(stored["entropy"].astype(float).mean())
    several = load_predictions(paths[2].with_suffix(".npz"))
    assert table.loc[str(paths[2])].mean_entropy == pytest.approx(
        several["mean_entropy"].astype(float).mean()
    )
    whole = table.loc[str(paths[3])]
    assert (whole.setting, whole.frames) == ("D*", 49) and np.isnan(whole.msd_star) and whole.mae > 0
    only = read_results(root / "runs/laptop/simulated", expected=["afpe-D1-F4-seed0/baseline"])
    assert only.path.tolist() == [str(paths[0])]


def test_labels_are_those_of_the_stacks(root):
    store(Config.from_profile("laptop"))
    store(Config.from_profile("laptop"), split="validation", stacks=random_stacks(6, seed=9))
    labels, categories, positions = test_labels(root / "runs/laptop/simulated")
    assert np.array_equal(labels, STACKS.labels) and np.array_equal(categories, STACKS.categories)
    assert np.array_equal(positions, STACKS.positions)
    assert not np.array_equal(test_labels(root / "runs/laptop/simulated-validation")[0], labels)
    assert len(read_results(root / "runs/laptop/simulated-validation")) == 1


def rewrite(path, **changes):
    """Edit a record, or the arrays of a predictions file."""
    if path.suffix == ".json":
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    else:
        with np.load(path) as file:
            arrays = dict(file) | changes
        np.savez(path, **{name: values for name, values in arrays.items() if values is not None})


def spoil_config(path, **changes):
    rewrite(path, config=json.loads(path.read_text())["config"] | changes)


FULL = np.zeros((6, 49))
SPOILERS = {
    "record missing": (lambda path: path.unlink(), "baseline.json is missing"),
    "predictions missing": (lambda path: path.with_suffix(".npz").unlink(), "baseline.npz is missing"),
    "record half-written": (
        lambda path: path.write_text(path.read_text()[:200]),
        "baseline.json is half-written",
    ),
    "record empty": (lambda path: path.write_text(""), "baseline.json is half-written"),
    "predictions half-written": (
        lambda path: path.with_suffix(".npz").write_bytes(path.with_suffix(".npz").read_bytes()[:300]),
        "baseline.npz is half-written",
    ),
    "predictions empty": (
        lambda path: path.with_suffix(".npz").write_bytes(b""),
        "baseline.npz is half-written",
    ),
    "pickled array": (
        lambda path: rewrite(path.with_suffix(".npz"), argmax=np.array([{}])),
        "baseline.npz is half-wr",
    ),
    "record of nothing": (lambda path: path.write_text("[]"), "is no record of a run"),
    "a key too many": (lambda path: rewrite(path, note="x"), "is no record of a run"),
    "other array": (
        lambda path: rewrite(path.with_suffix(".npz"), logits=FULL),
        "holds argmax, entropy, expected, logits",
    ),
    "array gone": (
        lambda path: rewrite(path.with_suffix(".npz"), expected=None),
        "instead of argmax, mean_entropy",
    ),
    "other type": (
        lambda path: rewrite(path.with_suffix(".npz"), argmax=FULL.astype(np.int64)),
        "argmax that is not uint8",
    ),
    "other shape": (
        lambda path: rewrite(path.with_suffix(".npz"), entropy=FULL[:, 1:].astype(np.float16)),
        "entropy of shape",
    ),
    "NaN": (
        lambda path: rewrite(path.with_suffix(".npz"), entropy=np.full((6, 49), np.nan, np.float16)),
        "or with NaN",
    ),
    "index 49": (
        lambda path: rewrite(path.with_suffix(".npz"), argmax=np.full((6, 49), 49, np.uint8)),
        "above 48",
    ),
    "copied run": (
        lambda path: [
            shutil.copy(path.with_suffix(kind), path.with_name(f"msd4{kind}")) for kind in (".json", ".npz")
        ],
        "msd4.json is a duplicate, or was renamed",
    ),
    "copied group": (lambda path: shutil.copytree(path.parent, path.parents[1] / "copy"), "is a duplicate"),
    "wrong weights": (lambda path: spoil_config(path, lambda_msd=4.0), "by its config, its weights are msd4"),
    "other stacks": (
        lambda path: rewrite(path, stacks={"digest": "x"}),
        "scored on other stacks than .*test.npz",
    ),
    "other setting": (lambda path: spoil_config(path, setting="D2"), "scored on other stacks"),
    "labels missing": (lambda path: (path.parents[1] / "test.npz").unlink(), "test.npz is missing"),
    "labels half-written": (
        lambda path: (path.parents[1] / "test.npz").write_bytes(b"PK"),
        "test.npz is half-written",
    ),
}


@pytest.mark.parametrize("spoiler", SPOILERS)
def test_spoilt_results_are_refused_by_name(root, spoiler):
    spoil, message = SPOILERS[spoiler]
    path = store(Config.from_profile("laptop"))
    assert len(read_results(root / "runs/laptop/simulated")) == 1
    spoil(path)
    with pytest.raises(ResultsError, match=message) as caught:
        read_results(root / "runs/laptop/simulated")
    assert "make figures PROFILE=laptop" in str(caught.value) and str(root) in str(caught.value)


def test_no_runs_expected_runs_and_runs_under_two_names_are_refused(root):
    path = store(Config.from_profile("laptop"))
    folder = path.parents[1]
    with pytest.raises(
        ResultsError, match="afpe-D1-F4-seed1/baseline.json is missing.*make figures PROFILE=laptop"
    ):
        read_results(folder, expected=["afpe-D1-F4-seed0/baseline", "afpe-D1-F4-seed1/baseline"])
    for name, command in (("learnaf", "make figures PROFILE=laptop DATA=learnaf SEEDS=3"),
                          ("simulated-validation", "make weights PROFILE=laptop`")):
        with pytest.raises(ResultsError, match=command):
            load_predictions(root / "runs/laptop" / name / "afpe-D1-F4-seed3/baseline.npz")
    with pytest.raises(ResultsError, match="no runs in .*make figures PROFILE=laptop"):
        read_results(folder, expected=[])
    twin = shutil.copytree(path.parent, folder / "twin")
    rewrite(twin / "baseline.json", run="twin/baseline")
    with pytest.raises(ResultsError, match="the same run is there twice.*afpe-D1.*twin"):
        read_results(folder)


def test_what_lies_beside_finished_runs_is_no_run(root):
    path = store(Config.from_profile("laptop"))
    open_group("laptop", Config.from_profile("laptop", seed=5), "digest")  # begun, nothing finished
    shutil.copytree(path.parent, path.parents[1] / ".stale" / "afpe-D1-F4-seed0-1")
    (path.parent / ".kld4.json.123").write_text("{")  # a write that was killed
    assert len(read_results(path.parents[1])) == 1


def test_finished_means_complete_same_config_same_stacks(root):
    config = Config.from_profile("laptop")
    path = store(config)
    assert is_finished(path.parent, "baseline", config, STACKS.digest)
    assert not is_finished(path.parent, "baseline", replace(config, learning_rate=1e-3), STACKS.digest)
    assert not is_finished(path.parent, "baseline", config, "other stacks")
    assert not is_finished(path.parent, "msd4", config, STACKS.digest)
    (path.parents[1] / "test.npz").rename(path.parents[1] / "aside")
    assert not is_finished(path.parent, "baseline", config, STACKS.digest)
    (path.parents[1] / "aside").rename(path.parents[1] / "test.npz")
    path.with_suffix(".npz").unlink()
    assert not is_finished(path.parent, "baseline", config, STACKS.digest)


def test_runs_on_other_stacks_do_not_mix(root):
    store(Config.from_profile("laptop"))
    with pytest.raises(ResultsError, match="describes other stacks"):
        store(Config.from_profile("laptop", seed=1), stacks=random_stacks(6, seed=9))


# Publishing


def test_publish_copies_records_and_predictions_and_nothing_else(root, capsys):
    config = Config.from_profile("laptop")
    paths = [store(config), store(replace(config, setting="D2", lambda_msd=4.0))]
    store(config, split="validation")
    (paths[0].parent / "trunk.safetensors").write_text("large")
    (root / "runs").rename(root / "large disk")  # where a person may well keep them
    (root / "runs").symlink_to(root / "large disk")
    open_group("laptop", replace(config, seed=5), "digest")
    runs.main(["publish", "--profile", "laptop"])
    assert "published 2 runs and 0 trained networks to results/laptop/" in capsys.readouterr().out
    copied = {
        path.relative_to(root / "results").as_posix()
        for path in (root / "results").rglob("*")
        if path.is_file()
    }
    assert copied == {"laptop/simulated/test.npz"} | {
        f"laptop/simulated/{path.parent.name}/{path.stem}{kind}"
        for path in paths
        for kind in (".json", ".npz")
    }
    for path in paths:
        assert (
            root / "results/laptop/simulated" / path.parent.name / path.name
        ).read_bytes() == path.read_bytes()
    table, published = (
        read_results(root / "runs/laptop/simulated"),
        read_results(root / "results/laptop/simulated"),
    )
    assert table.drop(columns="path").equals(published.drop(columns="path"))
    store(replace(config, seed=1))
    assert len(publish("laptop")) == 3  # what is there stays, what is new is added


def test_publish_refuses_smoke_nothing_spoilt_runs_and_other_stacks(root):
    store(Config.from_profile("smoke"), profile="smoke")
    with pytest.raises(ValueError, match="smoke runs are never written to results"):
        publish("smoke")
    with pytest.raises(ResultsError, match="no complete runs in .*make figures PROFILE=laptop"):
        publish("laptop")
    path = store(Config.from_profile("laptop"))
    publish("laptop")
    shutil.rmtree(root / "runs")
    store(Config.from_profile("laptop"), stacks=random_stacks(6, seed=9))
    with pytest.raises(ResultsError, match="on other test stacks"):
        publish("laptop")
    shutil.rmtree(root / "results")
    path.with_suffix(".npz").unlink()
    with pytest.raises(ResultsError, match="baseline.npz is missing"):
        publish("laptop")
    assert not (root / "results").exists()


def test_networks_named_in_the_plan_are_kept_without_their_training_state(root):
    config = Config.from_profile("laptop", width=0.25, patch=16, train_stacks=12, batch=8, iterations=2)
    checkpoint = run_folder("laptop", Config.from_profile("laptop")) / "baseline.safetensors"
    list(train(config, random_stacks(12), checkpoint=checkpoint))
    (kept,) = keep_networks("laptop")  # the others were not trained
    assert kept == root / "results/laptop/simulated/networks/afpe-D1-baseline.safetensors"
    assert kept.stat().st_size < checkpoint.stat().st_size / 2
    arguments = torch.rand(2, 1, 2, 16, 16), torch.tensor([0, 48]), torch.zeros(2, 2)
    assert torch.equal(load_model(kept)(*arguments), load_model(checkpoint)(*arguments))


def test_the_command_fails_with_one_line(root, capsys):
    with pytest.raises(SystemExit, match="publish: smoke runs are never written"):
        runs.main(["publish", "--profile", "smoke"])
    help_text = subprocess.run(
        [sys.executable, "-m", "fcl.records.runs", "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert help_text.returncode == 0 and "publish" in help_text.stdout


# From training to the table


def test_a_record_names_the_code_that_the_training_began_with(root, monkeypatch):
    config = Config.from_profile("smoke", width=0.25, patch=16, train_stacks=12, batch=8, iterations=4)
    stacks, test = random_stacks(12, seed=1), random_stacks(6)
    folder = open_group("smoke", config, stacks.digest)
    paths = {"checkpoint": folder / "baseline.safetensors", "trunk": folder / "trunk.safetensors"}
    for commit, clean, goes_on in (("old", True, lambda: train(
            config.trunk(), stacks, checkpoint=paths["trunk"], until=config.trunk_iterations)),
            ("newer", False, lambda: train(config, stacks, until=3, **paths)),
            ("newest", True, lambda: train(config, stacks, **paths))):
        monkeypatch.setattr(training, "code_state", lambda state={"commit": commit, "clean": clean}: state)
        list(goes_on())
    assert score_run(folder, "baseline", test, profile="smoke")["code"] == {"commit": "old", "clean": False}


def test_a_branch_is_trained_scored_and_read(root):
    config = Config.from_profile("smoke", width=0.25, patch=16, train_stacks=12, batch=8, iterations=4)
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
        assert record["stacks"] == {"split": "test", "count": 6, "seed": 7, "digest": test.digest,
                                    "train_digest": stacks.digest}
        assert all(seconds > 0 for seconds in record["seconds"].values()) and record["config"] == asdict(
            branch
        )
        curve = np.genfromtxt(folder / f"{weights.name}.csv", delimiter=",", names=True)
        assert curve["iteration"].tolist() == [1, 2, 3, 4] and (curve["consistency"][2:] > 0).all() == (
            label == "kld4"
        )
    assert read_results(folder.parent).weights.tolist() == ["baseline", "kld4"]
