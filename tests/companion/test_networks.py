"""Stored predictions of planned runs: all there or named, and networks found."""

from types import SimpleNamespace

import fake
import numpy as np
import pytest

from companion import weights
from companion.runs import networks
from companion.runs.identity import ResultsError
from companion.runs.reading import load_predictions
from companion.weights import parse_weights

PLAN = {
    "data": "simulated",
    "model": "afpe",
    "settings": ["D1", "D5"],
    "methods": ["baseline", "fcl"],
    "focal_indices": 4,
    "seeds": [0, 1],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    chosen = {"baseline": parse_weights("baseline")} | {name: parse_weights(text) for name, text in fake.WEIGHTS.items()}
    monkeypatch.setattr(weights, "chosen_weights", lambda *arguments: chosen)
    path = tmp_path / "laptop" / "simulated"
    fake.write_results(path, "laptop", PLAN["settings"], [0, 1])
    return path


def test_each_planned_run_comes_with_its_predictions(folder):
    rows = networks.stored_predictions(folder, PLAN, "laptop", "all")
    assert list(zip(rows.setting, rows.method, rows.seed)) == [
        (setting, method, seed) for seed in (0, 1) for setting in ("D1", "D5") for method in ("baseline", "fcl")
    ]
    assert [argmax.shape[1] for argmax in rows.argmax] == [49, 49, 45, 45] * 2
    expected = load_predictions(folder / "afpe-D5-F4-seed1" / "msd4+kld4.npz")["argmax"]
    assert np.array_equal(rows.argmax.iloc[-1], expected)
    assert networks.scored_on(rows) == (0, 64)


def test_what_is_missing_is_named(folder):
    with pytest.raises(ResultsError, match="no seed with all that this experiment needs"):
        networks.stored_predictions(folder, PLAN | {"model": "l2a"}, "laptop", "all")
    (folder / "afpe-D1-F4-seed0" / "baseline.npz").unlink()
    with pytest.raises(ResultsError, match="afpe-D1-F4-seed0/baseline.npz is missing"):
        networks.stored_predictions(folder, PLAN, "laptop", "0")


def test_a_network_is_the_checkpoint_or_the_kept_one_of_that_seed_or_named(folder, monkeypatch):
    seeds = {}
    load = lambda path: SimpleNamespace(config=SimpleNamespace(seed=seeds[path]), path=path)  # noqa: E731
    monkeypatch.setattr(networks, "load_model", load)
    row = next(networks.stored_predictions(folder, PLAN, "laptop", "0").itertuples())
    kept = folder / "networks" / "afpe-D1-baseline.safetensors"
    kept.parent.mkdir()
    for _ in ("absent", "of seed 3"):
        with pytest.raises(ResultsError, match="networks/afpe-D1-baseline.safetensors is missing, or of another seed"):
            networks.trained_network(folder, row)
        kept.touch()
        seeds[kept] = 3
    seeds[kept] = 0
    assert networks.trained_network(folder, row).path == kept
    checkpoint = folder / "afpe-D1-F4-seed0" / "baseline.safetensors"
    checkpoint.touch()
    seeds[checkpoint] = 0
    assert networks.trained_network(folder, row).path == checkpoint
