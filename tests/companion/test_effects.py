"""Effects: what is measured on the arms of claims, on stored runs with known predictions, and how it is put together."""

import made_claims
import numpy as np
import pytest
from made_claims import LABELS, judge, swinging, write, write_seeds

from companion import weights
from companion.claims.effects import Stored, _effect


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return made_claims.project(tmp_path, monkeypatch)


def test_arms_take_their_stacks_starts_and_factors(folder):
    write_seeds(folder)
    source = Stored(folder)

    def measure(metric, arm, seed=0, starts="all"):
        return source.measure(metric, {"method": "fcl", "setting": "D1"} | arm, seed, starts, (0, 1, 2))

    near = source.categories == "near"
    argmax = swinging(1)
    assert measure("mae", {"stacks": "near"}, seed=1) == np.abs(argmax - LABELS[:, None])[near].mean()
    assert measure("msd_star", {"times": 0.5}) == pytest.approx(2.0, rel=1e-3)  # 25 starts on one side
    assert measure("signed_error", {}, starts="all") == pytest.approx(-4 / 49)  # 25 starts err far, 24 near
    assert measure("signed_error", {}, starts="common") == pytest.approx(-4 / 45)
    assert measure("mae", {"readout": "expected"}) == 4
    assert np.isnan(measure("mae", {"stacks": "right_at_truth"})) and measure("mae", {"stacks": "wrong_at_truth"}) == 4
    # Two stacks, a tenth of 18, with the largest spread in seeds 0 and 1: the first, which errs by one more, and the next.
    assert measure("mae", {"stacks": "hardest"}, seed=2) == 5
    assert measure("cycles", {}) + measure("settles_right", {}) + measure("settles_wrong", {}) == pytest.approx(1)


def test_pairs_settings_wins_and_differences_of_differences(folder):
    for seed in range(3):
        for setting, far in (("D1", 9), ("I1", 9), ("D3", 0)):
            write(folder, "baseline", seed, far, setting)
            write(folder, "msd4+kld4", seed, 0 if setting == "I1" else far, setting)
    settings = {"settings": ["D1", "I1"], "tests": {"mae": ["lower", "gain"]}}
    own = {
        "settings": [],
        "treatment": {"setting": "I1", "method": "fcl"},
        "control": {"setting": "I1", "method": "baseline"},
        "beyond": {"treatment": {"setting": "D3", "method": "fcl"}, "control": {"setting": "D1", "method": "fcl"}},
        "tests": {"mae": ["lower", "gain"]},
    }
    bar = {"control": {"value": 0.5}, "tests": {"cycles": ["higher", "any_share"]}}
    apart = settings | {"each": ["setting"]}
    pooled, apart, wins, beyond, bar = judge(
        folder, settings, apart, settings | {"tests": {"wins": ["higher", "frequent"]}}, own, bar
    )
    gain = np.log(4 / 4.5)
    assert pooled["tests"][0]["n"] == 6 and pooled["tests"][0]["effect"] == pytest.approx(gain / 2)
    assert [(test["of"], test["n"]) for test in apart["tests"]] == [("D1", 3), ("I1", 3)]
    assert apart["verdict"] == "contradicted"  # nothing happens in D1
    assert wins["tests"][0]["n"] == 3 and wins["tests"][0]["effect"] == pytest.approx(0.25)  # I1 won, D1 tied
    assert beyond["tests"][0]["effect"] == pytest.approx(0) and beyond["tests"][0]["n"] == 3
    assert bar["tests"][0]["effect"] in (0.5, -0.5) and bar["tests"][0]["of"] == "against 0.5"


def test_frontiers_are_read_at_the_middle_of_what_both_reach():
    points = {"msd1": (2.0, 2.0), "kld1": (1.0, 7.0), "jsd1": (9.0, 1.0)}  # MSD* and MAE; the baseline has (4, 1)

    def effect(control, baseline=(4.0, 1.0)):
        def measure(metric, arm):
            return {"baseline": baseline, **points}[arm.get("weights", "baseline")][metric == "mae"]

        return _effect("mae_at_msd_star", {"frontier": "msd1"}, {"frontier": control}, measure)

    assert effect("kld1") == pytest.approx(np.log(1.5 / 3.0))  # both at MSD* 3
    assert effect("jsd1") == pytest.approx(0)  # they share the baseline alone
    assert np.isnan(effect("kld1", baseline=(np.nan, 1.0)))


def test_a_method_of_a_model_with_few_chosen_weights_is_found(folder, monkeypatch):
    write_seeds(folder)
    few, read = {"laptop": {"afpe": {"D1": {"fcl": "msd4+kld4"}}}}, weights.read_data
    monkeypatch.setattr(weights, "read_data", lambda name, schema: few if name == "weights.yml" else read(name, schema))
    assert Stored(folder).runs({"method": "fcl", "setting": "D1"})
