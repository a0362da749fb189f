"""The published predictions: whole, and a negative control."""

import numpy as np
import pytest
from tiny import ROOT

from companion.batch.plan import experiment_names
from companion.experiments import read_experiment
from companion.runs.checksums import published, read_checked
from companion.runs.reading import load_predictions, test_labels
from companion.runs.tables import complete_seeds
from fcl.metrics import evaluate

PUBLISHED = ROOT / "results" / "laptop" / "simulated"


@pytest.mark.parametrize("name", experiment_names())
def test_an_experiment_is_published_with_all_its_seeds(name):
    profile = "paper" if name == "backbones" else "laptop"
    plan = read_experiment(name, profile)
    assert set(plan["seeds"]) <= set(complete_seeds(ROOT / "results" / profile / plan["data"], plan, profile))


@pytest.mark.parametrize("folder", sorted((ROOT / "results").glob("*/*")), ids=lambda path: path.parent.name)
def test_what_is_published_is_what_the_list_says(folder):
    files = {path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS"}
    assert {folder / name for name in published(folder)} == files
    for path in files:
        read_checked(path)


@pytest.mark.parametrize("setting", ["D1", "D5", "I5"])
def test_permuted_labels_give_an_error_at_chance(setting):
    """The published networks know these stacks, not just how often each answer is right."""
    folder, random = PUBLISHED / f"afpe-{setting}-F4-seed0", np.random.default_rng(0)
    answers, labels = load_predictions(folder / "baseline.npz")["argmax"], test_labels(PUBLISHED)[0]
    often = [np.bincount(values.ravel(), minlength=49) / values.size for values in (answers, labels)]
    chance = (np.outer(*often) * np.abs(np.subtract.outer(np.arange(49), np.arange(49)))).sum()
    errors = [evaluate(answers, random.permutation(labels))["mae"] for _ in range(30)]
    assert abs(np.mean(errors) - chance) < 4 * np.std(errors) / 30**0.5
    assert evaluate(answers, labels)["mae"] < min(errors) / 2
