"""Publishing: what is copied to results/, what is refused, which networks are kept."""

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from tiny import ROOT, make_project, random_stacks, store

from companion.profiles import profile_config
from companion.runs.checksums import published
from companion.runs.identity import ResultsError, run_folder
from companion.runs.publish import keep_networks, main, publish
from companion.runs.reading import read_results
from companion.runs.writing import open_group
from fcl.checkpoints import load_model
from fcl.training import train


@pytest.fixture
def root(tmp_path, monkeypatch):
    return make_project(tmp_path, monkeypatch)


def test_publish_copies_records_and_predictions_and_nothing_else(root, capsys):
    config = profile_config("laptop")
    paths = [store(config), store(replace(config, setting="D2", lambda_msd=4.0))]
    store(config, split="validation")
    (paths[0].parent / "trunk.safetensors").write_text("large")
    (root / "runs").rename(root / "large disk")  # where a person may well keep them
    (root / "runs").symlink_to(root / "large disk")
    open_group("laptop", replace(config, seed=5), "digest")
    main(["--profile", "laptop"])
    assert "published 2 runs and 0 trained networks to results/laptop/" in capsys.readouterr().out
    copied = {path.relative_to(root / "results").as_posix() for path in (root / "results").rglob("*") if path.is_file()}
    assert copied == {"laptop/simulated/test.npz", "laptop/simulated/SHA256SUMS"} | {
        f"laptop/simulated/{path.parent.name}/{path.stem}{kind}" for path in paths for kind in (".json", ".npz")
    }
    for path in paths:
        assert (root / "results/laptop/simulated" / path.parent.name / path.name).read_bytes() == path.read_bytes()
    table, published = (read_results(root / "runs/laptop/simulated"), read_results(root / "results/laptop/simulated"))
    assert table.drop(columns="path").equals(published.drop(columns="path"))
    store(replace(config, seed=1))
    assert len(publish("laptop")[0]) == 3  # what is there stays, what is new is added


def checked(folder):
    """What the standard tool says of the list, a line for each file."""
    command = ["sha256sum" if shutil.which("sha256sum") else "gsha256sum", "-c", "SHA256SUMS"]
    return sorted(subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout.splitlines())


@pytest.mark.skipif(not (shutil.which("sha256sum") or shutil.which("gsha256sum")), reason="no sha256sum here")
def test_the_list_of_published_files_is_kept_up_to_date(root, capsys):
    config, folder = profile_config("laptop"), root / "results/laptop/simulated"
    first, second = store(config), store(replace(config, seed=1))
    main(["--profile", "laptop"])
    groups = [f"afpe-D1-F4-seed{seed}/baseline" for seed in range(3)]
    names = [f"{group}.{kind}: OK" for group in groups for kind in ("json", "npz")]
    assert checked(folder) == [*names[:4], "test.npz: OK"]
    first.write_text(first.read_text().replace('"predict": 1.0', '"predict": 2.0'))
    store(replace(config, seed=2))
    shutil.rmtree(second.parent), shutil.rmtree(folder / second.parent.name)
    (folder / "SHA256SUMS").unlink()  # as before there was one
    main(["--profile", "laptop"])
    assert checked(folder) == [*names[:2], *names[4:], "test.npz: OK"] and "no longer" not in capsys.readouterr().out
    shutil.rmtree(folder / "afpe-D1-F4-seed2"), shutil.rmtree(root / "runs/laptop/simulated/afpe-D1-F4-seed2")
    main(["--profile", "laptop"])
    assert checked(folder) == [*names[:2], "test.npz: OK"]
    assert "no longer listed as published, as they are gone: " in capsys.readouterr().out


def test_publish_refuses_smoke_nothing_spoilt_runs_and_other_stacks(root):
    store(profile_config("smoke"), profile="smoke")
    with pytest.raises(ValueError, match="smoke runs are never written to results"):
        publish("smoke")
    with pytest.raises(ResultsError, match="no complete runs in .*make figures PROFILE=laptop"):
        publish("laptop")
    path = store(profile_config("laptop"))
    publish("laptop")
    shutil.rmtree(root / "runs")
    store(profile_config("laptop"), stacks=random_stacks(6, seed=9))
    with pytest.raises(ResultsError, match="on other test stacks"):
        publish("laptop")
    shutil.rmtree(root / "results")
    path.with_suffix(".npz").unlink()
    with pytest.raises(ResultsError, match="baseline.npz is missing"):
        publish("laptop")
    assert not (root / "results").exists()


def test_publish_keeps_the_runs_of_a_group_to_one_trunk(root):
    config = profile_config("laptop")
    baseline, other = store(config), store(replace(config, lambda_msd=4.0))
    publish("laptop")
    for path in (baseline, other):  # trained again, on another machine
        path.write_text(path.read_text().replace('"trunk": 1.0', '"trunk": 2.0'))
    record = other.read_text()
    other.unlink(), other.with_suffix(".npz").unlink()
    with pytest.raises(ResultsError, match="afpe-D1-F4-seed0 would hold runs of two trunks.*Train msd4 again too"):
        publish("laptop")
    other.with_suffix(".npz").write_bytes(baseline.with_suffix(".npz").read_bytes())
    other.write_text(record)
    assert len(publish("laptop")[0]) == 2
    other.write_text(record.replace('"trunk": 2.0', '"trunk": 3.0'))
    with pytest.raises(ResultsError, match="two of these"):
        publish("laptop")


def test_networks_named_in_the_plan_are_kept_without_their_training_state(root):
    config = profile_config("laptop", width=0.25, patch=16, train_stacks=12, batch=8, iterations=2)
    checkpoint = run_folder("laptop", profile_config("laptop")) / "baseline.safetensors"
    list(train(config, random_stacks(12), checkpoint=checkpoint))
    (kept,) = keep_networks("laptop")  # the others were not trained
    assert kept == root / "results/laptop/simulated/networks/afpe-D1-baseline.safetensors"
    assert kept.stat().st_size < checkpoint.stat().st_size / 2
    assert list(published(kept.parents[1])) == ["networks/afpe-D1-baseline.safetensors"]
    arguments = torch.rand(2, 1, 2, 16, 16), torch.tensor([0, 48]), torch.zeros(2, 2)
    assert torch.equal(load_model(kept)(*arguments), load_model(checkpoint)(*arguments))


def test_the_command_fails_with_one_line(root, capsys):
    with pytest.raises(SystemExit, match="publish: smoke runs are never written"):
        main(["--profile", "smoke"])
    command = [sys.executable, "-m", "companion.runs.publish", "--help"]
    assert "--profile" in subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
