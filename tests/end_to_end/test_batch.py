"""The batch: what it plans, what Snakemake makes of it and, in the slow tests, what it survives."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import ROOT, finish

from companion.batch import plan
from companion.batch import starter as batch
from companion.batch.groups import hold
from companion.batch.starter import BatchFailed, end_leftovers
from companion.runs.reading import load_predictions
from companion.runs.writing import rounded
from fcl.checkpoints import load_model, read_checkpoint
from fcl.learnaf import learnaf_stacks
from fcl.prediction import predict
from fcl.stacks import FocalStacks

RUNS = "runs/smoke/simulated"


@pytest.mark.parametrize("arguments", [["--seeds", "0,1"], ["--seeds", ""], ["--cores", "0"], ["--sed", "1"]])
def test_bad_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        batch.main(["figures", "--profile", "smoke", *arguments])
    assert stop.value.code == 2 and arguments[0].strip("-") in capsys.readouterr().err


# Snakemake


def copy_project(folder):
    """The project without results and lessons, with a smoke profile that is smaller still and two of its settings."""
    for name in ("fcl", "companion", "notebooks", "experiments", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "0*.ipynb"))
    for name in ("Snakefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    sizes = {"patch": 16, "width": 0.25, "batch": 16, "iterations": 80}
    edit(folder, "profiles", smoke=sizes | {"train_stacks": 12, "validation_stacks": 6, "test_stacks": 6})
    edit(folder, "table_a", profiles={"smoke": {"settings": ["D1", "I1"]}})
    l2a = {"model": "l2a", "settings": ["D1"], "base": {"fcl": "msd4+kld4"}}
    edit(folder, "weight_selection", profiles={"smoke": {"parts": [{"model": "afpe", "settings": ["D1", "I1"]}, l2a]}})
    return folder


def edit(folder, name, **changes):
    """Change some keys of the mappings in experiments/<name>.yml."""
    file = folder / "experiments" / f"{name}.yml"
    content = yaml.safe_load(file.read_text())
    for key, value in changes.items():
        content[key] = content[key] | value
    file.write_text(yaml.safe_dump(content))


def start(folder, *arguments):
    command = [sys.executable, "-m", "companion.batch", *arguments, "--profile", "smoke", "--cores", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


def make(folder, *arguments, code=0):
    process = start(folder, *arguments)
    said, _ = process.communicate(timeout=500)
    assert process.returncode == code, said
    return said


def test_dry_run_expands_to_two_simulations_and_a_notebook_per_setting_and_seed(tmp_path):
    copy_project(tmp_path)
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "2", "--config", "profile=smoke", "seeds=0 1"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    counts = dict(re.findall(r"^(simulate|train|draw|total) +(\d+)$", said, re.MULTILINE))
    assert counts == {"simulate": "2", "train": "4", "draw": "1", "total": "8"}
    pages = set(re.findall(r"output: (\S+/train.ipynb)", said))
    assert pages == {f"{RUNS}/afpe-{setting}-F4-seed{seed}/train.ipynb" for setting in ("D1", "I1") for seed in (0, 1)}


# Leftovers of a killed batch


def leftover(file):
    """A process that holds the lock as its standard input, in a group whose id is in the file."""
    with hold(file, 0.0) as lock:
        noting = ["sh", "-c", 'echo $$ > "$0"; sleep 60 & sleep 60', str(file)]
        process = subprocess.Popen(noting, stdin=lock, start_new_session=True)
    while not file.read_text().strip():
        time.sleep(0.01)
    return process


def test_leftovers_are_ended(tmp_path):
    process = leftover(tmp_path / "lock")
    end_leftovers(tmp_path / "lock")
    assert process.wait(5) == -signal.SIGKILL
    hold(tmp_path / "lock", 0.0).close()


def test_nobody_else_is_ended(tmp_path):
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    (tmp_path / "lock").write_text(f"{other.pid}\n")  # the group of a batch long gone, its number used again
    end_leftovers(tmp_path / "lock")
    assert other.poll() is None
    other.kill()
    other.wait()


def test_leftovers_of_unknown_group_are_named(tmp_path):
    with hold(tmp_path / "lock", 0.0), pytest.raises(BatchFailed, match="end process group of unknown id by hand"):
        end_leftovers(tmp_path / "lock", patience=0.3)


def test_a_second_starter_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FCL_PROJECT", str(copy_project(tmp_path)))
    refusal = pytest.raises(BatchFailed, match="already at work in this folder, process of unknown id")
    with hold(tmp_path / batch.STARTER, 0.0), refusal:
        batch.run("figures", "smoke", 1)


def test_the_time_left_is_told_by_what_was_done_since_the_start(tmp_path):
    wanted = plan.make("table_a", "smoke")  # D2 first, as it takes longest
    longest, done, waiting = (tmp_path / page for page in wanted.jobs)
    for page in (longest, done):
        page.parent.mkdir(parents=True)
    done.touch()  # by an earlier batch, whose traces may be gone
    began = time.time() - 60
    (longest.parent / ".progress").write_text(json.dumps({"text": "kld, iteration 12 of 24", "fraction": 0.25}))
    cost = [job.cost for job in wanted.jobs.values()]
    minutes = (0.75 * cost[0] + cost[2]) / (0.25 * cost[0])
    told = f"about {minutes:.0f} min left | afpe-D2-F4-seed0: kld, iteration 12 of 24 (25%)"
    assert batch.standing(tmp_path, wanted, began) == told


# From start to end


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("project"))


def times(folder, pattern):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.glob(pattern))}


def wait_for(path, process):
    for _ in range(3000):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


@pytest.mark.slow
def test_figures_from_nothing_and_then_nothing_to_do(project):
    said = make(project, "figures", "--seeds", "0")
    assert "done: afpe-D1-F4-seed0" in said and "All 2 notebooks are done" in said
    assert (project / "runs/smoke/figures/figure_a.png").exists()
    assert not (project / "figures").exists() and not (project / "results").exists()
    pages, records = times(project, f"{RUNS}/*/train.ipynb"), times(project, f"{RUNS}/*/*.json")
    assert len(pages) == 2
    make(project, "figures", "--seeds", "0")
    assert (pages, records) == (times(project, f"{RUNS}/*/train.ipynb"), times(project, f"{RUNS}/*/*.json"))


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "victims"), [(4, "asked"), (5, "starter"), (6, "snakemake"), (7, "all"), (8, "kernel")])
def test_killed_anywhere_the_same_command_goes_on(project, seed, victims, monkeypatch):
    monkeypatch.setenv("FCL_PROJECT", str(project))
    groups = [project / RUNS / f"afpe-{setting}-F4-seed{seed}" for setting in ("D1", "I1")]
    process = start(project, "figures", "--seeds", str(seed))
    wait_for(groups[0] / "baseline.json", process)
    family = int((project / batch.CHILDREN).read_text())
    if victims in ("snakemake", "all"):
        (os.kill if victims == "snakemake" else os.killpg)(family, signal.SIGKILL)
    if victims in ("starter", "all"):
        process.kill()
    if victims == "asked":
        process.terminate()
    if victims == "kernel":
        os.kill(int((groups[0] / ".lock").read_text()), signal.SIGKILL)
    process.communicate(timeout=300)
    assert process.returncode != 0
    before = times(project, f"{RUNS}/*-seed{seed}/[!g]*.json")
    assert before
    make(project, "figures", "--seeds", str(seed))
    after = times(project, f"{RUNS}/*-seed{seed}/[!g]*.json")
    assert len(after) == 10 and {name: after[name] for name in before} == before
    stacks = {split: FocalStacks.load(project / "data/smoke/simulated" / split) for split in ("train", "test")}
    for folder in groups:
        config = read_checkpoint(folder / "msd4+kld4.safetensors").config
        finish(config, stacks["train"], checkpoint=folder / "whole")
        whole = predict(load_model(folder / "whole"), stacks["test"], config.setting)
        (folder / "whole").unlink()
        stored = load_predictions(folder / "msd4+kld4.npz")
        assert np.array_equal(stored["expected"], rounded(whole.expected)), "not the run in one piece"


@pytest.mark.slow
def test_changes_run_again_what_depends_on_them(tmp_path, monkeypatch):
    project = copy_project(tmp_path)
    monkeypatch.setenv("FCL_PROJECT", str(project))
    make(project, "figures", "--seeds", "0")
    pages, records = (times(project, f"{RUNS}/*-seed0/train.ipynb"), times(project, f"{RUNS}/*-seed0/[!g]*.json"))
    chosen = {"D1": {"msd": "msd6", "jsd": "jsd32", "kld": "kld4", "fcl": "msd4+kld4"}}
    chosen["I1"] = chosen["D1"] | {"fcl": "msd2+kld2"}
    edit(project, "weights", smoke={"afpe": chosen})
    make(project, "figures", "--seeds", "0")
    new = times(project, f"{RUNS}/*-seed0/[!g]*.json")
    assert set(new) - set(records) == {f"{RUNS}/afpe-I1-F4-seed0/msd2+kld2.json"}
    assert {name: new[name] for name in records} == records
    new_pages = times(project, f"{RUNS}/*-seed0/train.ipynb")
    assert [name for name in pages if new_pages[name] != pages[name]] == [f"{RUNS}/afpe-I1-F4-seed0/train.ipynb"]
    networks = times(project, f"{RUNS}/*-seed0/*.safetensors")
    edit(project, "profiles", smoke={"test_stacks": 7})
    make(project, "figures", "--seeds", "0")
    assert times(project, f"{RUNS}/*-seed0/*.safetensors") == networks
    assert all(len(load_predictions(path)["argmax"]) == 7 for path in project.glob(f"{RUNS}/afpe-D1-F4-seed0/*.npz"))


@pytest.mark.slow
def test_a_failing_run_is_named_and_stops_no_other(project):
    folder = project / RUNS / "afpe-D1-F4-seed9"
    folder.mkdir(parents=True)
    (folder / "kld4.safetensors").write_bytes(b"no checkpoint")
    said = make(project, "figures", "--seeds", "9", code=1)
    assert "failed: afpe-D1-F4-seed9" in said and "done: afpe-I1-F4-seed9" in said
    assert re.search(r"cell  \[\d\] follow\(group.work\(\)\)", said) and "1 of 5 runs failed: kld (kld4)" in said
    page = Path(re.search(r"open  (\S+)", said)[1])
    assert page.exists() and "RunsFailed" in page.read_text()
    assert len(list(folder.glob("[!g]*.json"))) == 4
    (folder / "kld4.safetensors").unlink()
    make(project, "figures", "--seeds", "9")
    assert not page.exists() and len(list(folder.glob("[!g]*.json"))) == 5


@pytest.mark.slow
def test_weights_are_chosen_from_nothing(project):
    make(project, "weights")
    text = (project / "experiments/weights.yml").read_text()
    chosen = yaml.safe_load(text)["smoke"]
    smoke = text[text.index("\nsmoke:") : text.index("\nsmoke-learnaf:")]
    assert re.findall(r"(\w\d):  # baseline ", smoke) == ["D1", "D1", "I1"]  # of L2A, and of AFPE
    assert set(chosen["afpe"]["D1"]) == {"msd", "jsd", "kld", "fcl", "readout"}
    assert set(chosen["l2a"]["D1"]) == {"fcl", "readout"}
    assert chosen["afpe"]["D2"]["fcl"] == "msd4+kld4"  # was not asked for, and stays
    assert "jobs" not in text and not (project / "results").exists()


@pytest.mark.slow
def test_photographs_from_their_files_to_a_figure(miniature, tmp_path, monkeypatch):
    project = copy_project(tmp_path)
    monkeypatch.setenv("FCL_PROJECT", str(project))
    edit(project, "profiles", smoke={"train_stacks": 8, "test_stacks": 4})
    subprocess.run([sys.executable, "-m", "companion.photographs", "collect", miniature], cwd=project, check=True)
    said = make(project, "figures", "--data", "learnaf", "--seeds", "0")
    assert "All 2 notebooks are done" in said and not (project / "data/smoke/simulated").exists()
    assert (project / "runs/smoke/figures/learnaf/figure_a.png").exists()
    stacks = learnaf_stacks(miniature, split="test", patch=16, count=4)
    for setting in ("D1", "I1"):
        folder = project / f"runs/smoke/learnaf/afpe-{setting}-F4-seed0"
        whole = predict(load_model(folder / "msd4+kld4.safetensors"), stacks, setting)
        stored = load_predictions(folder / "msd4+kld4.npz")
        assert np.array_equal(stored["argmax"], whole.argmax) and whole.argmax.shape == (4, 49)
