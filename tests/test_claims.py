"""The claims are written down completely, in words that the project knows, before any run decides them."""

import re

import pytest
import yaml
from tiny import ROOT

from fcl.models import parse_setting
from fcl.runs import METHODS, parse_weights
from fcl.scenes import CATEGORIES

LEDGER = yaml.safe_load((ROOT / "experiments" / "claims.yml").read_text(encoding="utf-8"))
CLAIMS = {claim["id"]: claim for claim in LEDGER["claims"]}
HEAD = (ROOT / "experiments" / "claims.yml").read_text(encoding="utf-8").split("margins:")[0]
STORED = ("mae", "rmse", "msd_star", "tv", "within0", "within1", "within2", "within4", "mean_entropy")  # fcl.results
TESTED = [claim for claim in LEDGER["claims"] if claim.get("testable", True)]


def listed(value):
    return value if isinstance(value, list) else [value]


def test_ids_are_unique_and_at_most_eight_are_primary():
    assert len(CLAIMS) == len(LEDGER["claims"])
    assert sum(claim.get("primary", False) for claim in TESTED) <= 8


@pytest.mark.parametrize("claim", TESTED, ids=lambda claim: claim["id"])
def test_a_claim_says_what_is_compared_and_how(claim):
    needed = {"id", "where", "claim", "treatment", "control", "tests", "seeds"}
    assert needed <= set(claim) <= needed | {"both", "beyond", "settings", "each", "starts", "profile", "primary"}
    for metric, (direction, margin) in claim["tests"].items():
        assert (metric in STORED or re.search(rf"\b{metric}\b", HEAD)) and margin in LEDGER["margins"]
        assert direction in ("lower", "higher", "not_lower", "not_higher", "equal")
    for setting in claim.get("settings", []):
        parse_setting(setting)


@pytest.mark.parametrize("claim", TESTED, ids=lambda claim: claim["id"])
def test_its_arms_can_be_run(claim):
    for side in ("treatment", "control"):
        arm = claim.get("both", {}) | claim[side]
        assert len({"method", "weights", "frontier", "value"} & set(arm)) == 1, side
        for method in listed(arm.get("method", [])):
            assert method in METHODS
        for weights in [*listed(arm.get("weights", [])), *", ".join(listed(arm.get("frontier", []))).split(", ")]:
            assert not weights or parse_weights(weights).name == weights
        for setting in listed(arm.get("setting", [])):
            parse_setting(setting)
        for stacks in listed(arm.get("stacks", [])):
            assert stacks in CATEGORIES or stacks in ("wrong_at_truth", "right_at_truth", "hardest")
        assert "value" in arm or "setting" in arm or "settings" in claim


def test_what_cannot_be_tested_says_why():
    for claim in LEDGER["claims"]:
        if not claim.get("testable", True):
            assert set(claim) == {"id", "where", "claim", "testable", "reason"} and claim["reason"]
