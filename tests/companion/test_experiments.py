"""Files of experiments/: what is refused, with file and line; groups of an experiment."""

import shutil

import numpy as np
import pytest
from tiny import ROOT, use_project

from companion.experiments import KEPT_NETWORKS, groups, read_experiment
from companion.profiles import profile_config, read_data, read_profile
from companion.strict_yaml import parse_yaml
from companion.weights import chosen_readout, chosen_weights

READERS = {
    "profiles": lambda: [read_profile("smoke")]
    + [profile_config(profile, model=model) for profile in read_data("profiles.yml") for model in ("afpe", "l2a")],
    "weights": lambda: chosen_weights("laptop", "afpe", "D1") and chosen_readout("laptop", "afpe", "D1"),
    "kept_networks": lambda: read_data("kept_networks.yml", KEPT_NETWORKS),
    "weight_selection": lambda: read_experiment("weight_selection", "laptop"),
    "table_b": lambda: list(groups(read_experiment("table_b", "laptop"), "laptop", 0)),
    "table_c": lambda: list(groups(read_experiment("table_c", "laptop"), "laptop", 0)),
    "training_length": lambda: list(groups(read_experiment("training_length", "laptop"), "laptop", 0)),
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    return use_project(tmp_path, monkeypatch)


WRONG = [
    (
        "table_c",
        "focal_indices: 2",
        "focal_indeces: 2",
        r"line 10: parts: 1: focal_indeces: there is no such key. Did you mean 'focal_indices'",
    ),
    ("table_c", "settings: [D1]", "settings: [D1]\nsettings: [D2]", "line 7: 'settings' is there twice"),
    ("table_c", "settings: [D1]", "settings: [D6]", "line 6: settings: 0: setting must be one of D1"),
    ("table_c", "settings: [D1]\n", "", "each part needs settings"),
    (
        "table_c",
        "focal_indices: 2",
        "focal_indices: 3",
        "table_c.yml, profile laptop: batch must be a multiple of focal_indices = 3",
    ),
    (
        "table_c",
        "focal_indices: 2",
        "focal_indices: true",
        "line 10: parts: 1: focal_indices: must be a valid integer, not True",
    ),
    ("table_c", "msd4+kld24", "msd4+kdl24", "line 10: parts: 1: methods: 1: weights 'msd4.kdl24': 'kdl24' is not msd"),
    ("table_c", "seeds: [0, 1, 2]", "seeds: [0, 1, -2]", "line 7: seeds: 2: must be greater than or equal to 0, not -2"),
    ("table_c", "seeds: [0, 1, 2]", "seeds: 3", "line 7: seeds: must be a valid list, not 3"),
    (
        "table_c",
        "  smoke:",
        "  smok:",
        "line 14: profiles: smok: profile must be one of smoke, .*not 'smok'. Did you mean 'smoke'",
    ),
    ("table_c", "data: simulated", "data: [simulated", "line 5: "),
    ("table_c", "model: afpe", "model: afep", "line 5: model: must be 'afpe' or 'l2a', not 'afep'"),
    ("table_b", "grid: {msd: [0", "grid: {mds: [0", "line 7: grid: mds: must be 'msd', 'kld' or 'jsd'"),
    ("training_length", "length: [1, 3, 10]", "length: [1, 0]", "line 7: length: 1: must be greater than 0, not 0"),
    ("weight_selection", "tolerance: 1.03\n", "", "a base needs factors, tolerance and split"),
    ("weight_selection", "fcl: msd4+kld4}\nfactors", "flc: msd4+kld4}\nfactors", "line 9: base: flc: must be 'msd'"),
    ("weights", "laptop:\n  afpe:", "laptop:\n  afep:", r"line \d+: laptop: afep: must be 'afpe' or 'l2a'"),
    (
        "weights",
        "readout: argmax}",
        "readout: argmin}",
        r"line \d+: smoke: afpe: D1: readout: must be 'argmax', 'median' or 'expected'",
    ),
    ("kept_networks", "seed: 0\n", "", "line 1: seed is missing"),
    ("profiles", "rendered: true", "rendered: 'no'", r"line \d+: paper: rendered: must be a valid boolean, not 'no'"),
    ("profiles", "test_stacks: 12", "test_stacks: -3", r"line \d+: smoke: test_stacks: .*must be greater than 0, not -3"),
    ("profiles", "test_stacks: 12", "tset_stacks: 12", r"line 5: smoke: test_stacks is missing"),
    (
        "profiles",
        "iterations: 24",
        "iteratoins: 24",
        "line 5: smoke: Config has no field 'iteratoins'. Did you mean 'iterations'",
    ),
    (
        "profiles",
        "learning_rate: 5.0e-3",
        "learning_rate: 5e-3",
        "line 5: smoke: learning_rate must be a number from .*, not '5e-3'",
    ),
    ("profiles", "{afpe: 1.0, l2a: 4.0}", "{afpe: 1.0, l2b: 4.0}", r"line \d+: paper: width must be a number"),
]


@pytest.mark.parametrize(("name", "old", "new", "message"), WRONG)
def test_what_is_wrong_is_named_with_file_and_line(root, name, old, new, message):
    path = root / "experiments" / f"{name}.yml"
    READERS[name]()
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(
        ValueError, match=rf"experiments/{name}.yml, {message}" if message[:4] == "line" else message
    ) as caught:
        READERS[name]()
    assert str(caught.value).startswith(f"experiments/{name}.yml, ")


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_refused_by_name_or_read(root, name):
    path, refused = root / "experiments" / f"{name}.yml", 0
    content, numbers = path.read_bytes(), np.random.default_rng(0)
    for place in numbers.integers(0, len(content), 60).tolist():
        other = bytes([numbers.choice(list(b"\x00\xff:-[]{}&*\"'\n\t #!%@09az"))])
        path.write_bytes(content[:place] + numbers.choice([other, b""]) + content[place + 1 :])
        try:
            READERS[name]()
        except ValueError as error:
            assert "experiments/" in str(error), place
            refused += 1
    assert refused
    for text in (
        b"",
        b"[]",
        b"3",
        b"- a\n- b",
        b"a: &a [*a]",
        b"when: 2020-13-45",
        b"[" * 5000,
        b"\xff\xfe",
        b"{a: b}: c",
        b"a: b: c",
    ):
        path.write_bytes(text)
        with pytest.raises(ValueError, match=f"experiments/{name}.yml"):
            READERS[name]()
    path.unlink()
    with pytest.raises(ValueError, match=f"experiments/{name}.yml is missing"):
        READERS[name]()


def test_an_unknown_profile_is_named(root):
    for read in (read_profile, lambda profile: read_experiment("table_a", profile)):
        with pytest.raises(
            ValueError, match="profile must be one of smoke, laptop, paper, not 'laptpo'. Did you mean 'laptop'"
        ):
            read("laptpo")


def test_a_value_is_what_yaml_says():
    assert parse_yaml("a: {b: [1, 2.5, x]}\nc: null") == {"a": {"b": [1, 2.5, "x"]}, "c": None} and parse_yaml("") == {}
