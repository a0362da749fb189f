"""Run identity and storage: names, folders, records."""

import hashlib
import json
import math
import subprocess
from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest
import yaml
from tiny import CHOSEN, ROOT, make_project, store, use_project

from companion import project
from companion.profiles import profile_config, read_profile
from companion.project import project_root
from companion.runs import provenance, writing
from companion.runs.identity import group_name, run_folder
from companion.runs.reading import load_predictions, load_record
from companion.runs.writing import open_group
from companion.weights import Weights, chosen_weights, parse_weights, resolve_methods
from fcl.config import Config
from fcl.files import replacing
from fcl.prediction import Predictions


@pytest.fixture
def root(tmp_path, monkeypatch):
    return make_project(tmp_path, monkeypatch)


# Names


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        (Weights(), "baseline"),
        (Weights(msd=6), "msd6"),
        (Weights(kld=4.0), "kld4"),
        (Weights(jsd=32), "jsd32"),
        (Weights(4, 4), "msd4+kld4"),
        (Weights(1, 2, 3), "msd1+kld2+jsd3"),
        (Weights(4, 0.857), "msd4+kld0.857"),
        (Weights(msd=0.25, jsd=8), "msd0.25+jsd8"),
        (Weights(kld=4 * 6 / 28), "kld0.8571428571428571"),
        (Weights(kld=1e-7), "kld1e-07"),
        (Weights(msd=1000), "msd1000"),
    ],
)
def test_weights_and_names_are_one_to_one(weights, name):
    assert weights.name == name and parse_weights(name) == weights
    config = replace(Config(), **weights.lambdas)
    assert Weights.of(config) == weights and config.lambdas == weights.lambdas


def test_the_order_of_terms_does_not_matter():
    assert parse_weights("jsd2+kld4+msd1").name == "msd1+kld4+jsd2"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "msd",
        "4",
        "msd0",
        "msd0.0",
        "msd-4",
        "kld4+kld4",
        "kld4+kld2",
        "msd4+",
        "+msd4",
        "msd4 + kld4",
        "lmsd4",
        "msdnan",
        "msdinf",
        "msd4_0",
        "msd1e3",
        "MSD4",
        "msd2000",
        "baseline+msd4",
        "fcl",
        "msd٤",
    ],
)
def test_other_names_of_weights_are_refused(text):
    with pytest.raises(ValueError, match="weight"):
        parse_weights(text)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "4", True, None, 1001])
def test_other_weights_are_refused(value):
    with pytest.raises(ValueError, match="the weight of kld must be a number from 0 to 1000"):
        Weights(kld=value)


def test_chosen_weights_come_from_the_file(root):
    chosen = chosen_weights("laptop", "afpe", "D1")
    assert {method: weights.name for method, weights in chosen.items()} == {"baseline": "baseline"} | CHOSEN
    for profile, model, setting in (("laptop", "afpe", "I1"), ("laptop", "l2a", "D1"), ("paper", "afpe", "D1")):
        with pytest.raises(ValueError, match=f"has no msd, .*, fcl for {profile}, {model}, {setting}.*make weights"):
            chosen_weights(profile, model, setting)
    (root / "experiments" / "weights.yml").write_text(yaml.safe_dump({"laptop": {"afpe": {"D1": {"msd": "msd6"}}}}))
    with pytest.raises(ValueError, match="has no jsd, kld, fcl for laptop"):
        chosen_weights("laptop", "afpe", "D1")
    assert chosen_weights("laptop", "afpe", "D1", ["msd"]) == {"msd": Weights(msd=6)}  # as L2A, where FCL is enough
    (root / "experiments" / "weights.yml").write_text(
        yaml.safe_dump({"laptop": {"afpe": {"D1": CHOSEN | {"flc": "msd4+kld4"}}}})
    )
    with pytest.raises(
        ValueError, match="weights.yml, line 5: laptop: afpe: D1: flc: there is no such key. Did you mean 'fcl'"
    ):
        chosen_weights("laptop", "afpe", "D1")


def test_methods_resolve_in_order(root):
    def resolve(methods, setting="D1"):
        return [(label, weights.name) for label, weights in resolve_methods(methods, "laptop", "afpe", setting)]

    assert resolve("baseline, fcl,jsd8") == [("baseline", "baseline"), ("fcl", "msd4+kld4"), ("jsd8", "jsd8")]
    assert resolve("fcl, msd4+kld4, kld4+msd4") == [("fcl", "msd4+kld4")]  # one run, however often it is meant
    assert resolve("baseline, kld3", "I1") == [("baseline", "baseline"), ("kld3", "kld3")]  # nothing chosen, or needed
    for wrong, message in (
        ("", "a name is missing"),
        ("fcl,", "a name is missing"),
        ("fcl, fcl", "'fcl' is there twice"),
        ("baseline, fclx", "Did you mean 'fcl'"),
        ("msd0", "leave a weight of 0 out"),
    ):
        with pytest.raises(ValueError, match=message):
            resolve(wrong)
    with pytest.raises(ValueError, match="make weights"):
        resolve("baseline, fcl", "I1")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "afpe-D1-F4-seed0"),
        ({"setting": "I3", "seed": 12, "lambda_kld": 4.0, "data": "learnaf"}, "afpe-I3-F4-seed12"),
        ({"setting": "D*", "focal_indices": 1}, "afpe-Dall-F1-seed0"),
        ({"consistency_start": 0}, "afpe-D1-F4-seed0-start0"),
        ({"iterations": 6000}, "afpe-D1-F4-seed0-iterations6000"),
        ({"pairing": "shuffled"}, "afpe-D1-F4-seed0-shuffled"),
        (
            {"focal_indices": 8, "consistency_start": 0.25, "learning_rate": 1e-3, "flip": False},
            "afpe-D1-F8-seed0-start0.25-learning_rate0.001-flipFalse",
        ),
    ],
)
def test_group_names_say_what_differs_from_the_profile(changes, name):
    assert group_name(replace(profile_config("laptop"), **changes), "laptop") == name


def test_group_names_follow_the_model_of_a_profile():
    assert group_name(profile_config("paper", model="l2a"), "paper") == "l2a-D1-F4-seed0"


def test_folders(root):
    config = profile_config("laptop", setting="D2")
    assert run_folder("laptop", config) == root / "runs/laptop/simulated/afpe-D2-F4-seed0"
    assert run_folder("laptop", config, "validation") == root / "runs/laptop/simulated-validation/afpe-D2-F4-seed0"
    with pytest.raises(ValueError, match="split must be one of validation, test"):
        run_folder("laptop", config, "train")


def test_the_project_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert project_root() == ROOT
    monkeypatch.setattr(
        project, "__file__", str(tmp_path / "site-packages" / "companion" / "project.py")
    )  # installed elsewhere
    with pytest.raises(FileNotFoundError, match="no checkout of fcl-companion"):
        project_root()
    monkeypatch.chdir(ROOT / "tests")
    assert project_root() == ROOT


def test_profiles_hold_counts_of_stacks():
    for profile in ("smoke", "laptop", "paper"):
        entries = read_profile(profile, "l2a")
        assert all(type(entries[f"{split}_stacks"]) is int for split in ("train", "validation", "test"))


# Writing


def test_half_a_file_is_never_seen(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(KeyError), replacing(path) as temporary:
        temporary.write_text("ne")
        assert path.read_text() == "old"
        raise KeyError
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"] and path.read_text() == "old"


def test_another_config_is_moved_aside_and_nothing_is_lost(root):
    config = profile_config("laptop")
    folder = open_group("laptop", config, "digest")
    (folder / "trunk.safetensors").write_text("1")
    (folder / "train.ipynb").write_text("a notebook, perhaps being written")
    assert open_group("laptop", replace(config, lambda_msd=4.0), "digest") == folder  # a branch shares the trunk
    assert (folder / "trunk.safetensors").exists()
    for number, (learning_rate, digest) in enumerate([(1e-3, "digest"), (1e-3, "other stacks")], 1):
        profiles = yaml.safe_load((root / "experiments/profiles.yml").read_text())
        profiles["laptop"]["learning_rate"] = learning_rate
        (root / "experiments/profiles.yml").write_text(yaml.safe_dump(profiles))
        assert open_group("laptop", profile_config("laptop"), digest) == folder
        assert sorted(path.name for path in folder.iterdir()) == ["group.json", "train.ipynb"]
        aside = root / f"runs/laptop/simulated/.stale/afpe-D1-F4-seed0-{number}"
        assert (aside / "trunk.safetensors").exists() and (aside / "group.json").exists()
        (folder / "trunk.safetensors").write_text("2")


def test_a_record_says_where_a_number_comes_from(root):
    record = load_record(store(profile_config("laptop", lambda_msd=4, lambda_kld=4, seed=2)))
    assert record["run"] == "afpe-D1-F4-seed2/msd4+kld4" and record["weights"] == "msd4+kld4"
    assert Config(**record["config"]).seed == 2
    assert record["versions"]["torch"] == metadata.version("torch") and record["versions"]["numpy"] == np.__version__
    assert record["machine"]["threads"] == 1 and record["machine"]["cores"] >= 1 and record["machine"]["processor"]
    assert 10 < record["peak_memory_mb"] < 1e6 and record["finished"].endswith("+00:00")
    commit = record["code"]["commit"]
    assert commit is None or len(commit) == 40


def test_code_state_without_and_with_a_repository(tmp_path, monkeypatch):
    use_project(tmp_path, monkeypatch)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.code_state() == {"commit": None, "clean": None}

    def git(*arguments):
        subprocess.run(
            ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments],
            check=True,
            capture_output=True,
        )

    (tmp_path / "fcl").mkdir()
    (tmp_path / "fcl" / "losses.py").write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    assert provenance.code_state()["clean"] is True and len(provenance.code_state()["commit"]) == 40
    (tmp_path / "notes.txt").write_text("doesn't decide a result")
    assert provenance.code_state()["clean"] is True
    (tmp_path / "fcl" / "losses.py").write_text("2")
    assert provenance.code_state()["clean"] is False
    monkeypatch.setenv("PATH", str(tmp_path))  # no git at all
    assert provenance.code_state() == {"commit": None, "clean": None}


def stored(config, predictions):
    """What is read again of predictions that a run has written."""
    path = store(config)
    writing.write_predictions(path.parent, path.stem, predictions)
    record = json.loads(path.read_text())
    record["files"][".npz"] = hashlib.sha256(path.with_suffix(".npz").read_bytes()).hexdigest()
    path.write_text(json.dumps(record))
    return load_predictions(path.with_suffix(".npz"))


def test_predictions_of_several_frames_keep_means_per_stack(root):
    numbers = np.random.default_rng(0)
    one = Predictions(
        *(numbers.uniform(0, 40, (6, 49)).astype(kind) for kind in (np.uint8, np.float16, np.float16, np.uint8))
    )
    two = Predictions(*(array[:, :48] for array in one))
    for name, values in stored(profile_config("laptop"), one).items():
        given = getattr(one, name)
        assert values.dtype == given.dtype and np.abs(values.astype(float) - given).max() <= 1 / 64
        assert (values.astype(float) * 32 % 1 == 0).all()
    means = stored(profile_config("laptop", setting="D2"), two)
    assert set(means) == {"argmax", "mean_expected", "mean_entropy"} and np.array_equal(means["argmax"], two.argmax)
    np.testing.assert_allclose(means["mean_entropy"], [row.astype(float).mean() for row in two.entropy], rtol=1e-3)
