"""The loader of the claims: what it gives, and what it refuses."""

import copy

import pytest
import yaml
from tiny import ROOT

from companion.claims.registry import config, load_claims
from companion.weights import METHODS

LEDGER = yaml.safe_load((ROOT / "experiments" / "claims.yml").read_text(encoding="utf-8"))
ASKED = """fcl-steadier fcl-steadier-everywhere l2a-fcl-steadier l2a-fcl-steadier-everywhere fcl-keeps-accuracy
    fcl-improves-accuracy terms-steadier mix-beats-parts kld-beats-jsd kld-beats-jsd-at-matched-pull
    kld-beats-jsd-at-equal-msd-star jsd-smoother frames-improve frames-help-one-channel-more f4-best-for-baseline
    f4-best-for-fcl f-leaves-baseline-msd-star fcl-steadier-for-each-f fcl-more-accurate-for-each-f range-of-weights
    free-at-inference wrong-at-truth-hunts hunting-nearly-gone frames-settle-the-hardest near-errs-far
    multi-depth-oscillates corner-cases-steadier corner-cases-accurate both-backbones longer-training""".split()


def load(tmp_path, **changes):
    """The ledger of one claim, fcl-steadier, with some keys changed; None takes a key away."""
    claim = {name: value for name, value in (LEDGER["claims"][0] | changes).items() if value is not None}
    return load_all(tmp_path, [claim])


def load_all(tmp_path, claims):
    path = tmp_path / "claims.yml"
    path.write_text(yaml.safe_dump({"margins": LEDGER["margins"], "claims": copy.deepcopy(claims)}))
    return load_claims(path)


def test_every_claim_that_was_asked_for_is_there():
    assert set(ASKED) <= {claim.id for claim in load_claims()}


def test_arms_resolve_to_configs_and_methods():
    for claim in load_claims():
        assert bool(claim.pairs) == bool(claim.tests) == (not claim.reason)
        for arm in (arm for pair in claim.pairs + claim.beyond for arm in pair if "value" not in arm):
            assert arm.get("method", "fcl") in METHODS
            for setting in claim.settings or [None]:
                assert config(arm, claim.profile, setting, seed=2).seed == 2


def test_lists_are_taken_in_step(tmp_path):
    both = {"focal_indices": [2, 8]}
    (claim,) = load(tmp_path, both=both, treatment={"weights": ["kld24", "kld1"]}, settings=["D1"])
    assert claim.pairs == (
        ({"focal_indices": 2, "weights": "kld24"}, {"focal_indices": 2, "method": "baseline"}),
        ({"focal_indices": 8, "weights": "kld1"}, {"focal_indices": 8, "method": "baseline"}),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seedz": 3}, "claim fcl-steadier: a key of a claim .* not 'seedz'. Did you mean 'seeds'"),
        ({"seeds": None}, "lacks seeds"),
        ({"seeds": True}, "seeds must be a whole number"),
        ({"tests": {"msdstar": ["lower", "visible"]}}, "metric .* Did you mean 'msd_star'"),
        ({"tests": {"tv": ["less", "visible"]}}, "direction must be one of"),
        ({"tests": {"tv": ["lower", "visble"]}}, "margin .* Did you mean 'visible'"),
        ({"tests": {"tv": ["lower", "noticeable"]}}, "another unit"),
        ({"tests": {"mae_at_msd_star": ["lower", "gain"]}}, "don't fit"),
        ({"treatment": {"method": "flc"}}, "method .* Did you mean 'fcl'"),
        ({"treatment": {"weights": "msd0"}}, "weights 'msd0'"),
        ({"treatment": {"method": "fcl", "weights": "kld4"}}, "exactly one of"),
        ({"treatment": {"method": ["fcl", "kld"], "stacks": ["near"]}}, "one length"),
        ({"treatment": {"method": ["fcl", "kld", "msd"]}, "control": {"weights": ["kld1", "kld2"]}}, "as many"),
        ({"treatment": {"method": "fcl", "focal_indices": 3}}, "batch must be a multiple"),
        ({"treatment": {"method": "fcl", "setting": "D5"}}, "either settings"),
        ({"settings": ["D6"]}, "setting must be one of"),
        ({"settings": None}, "either settings"),
        ({"control": {"value": 0}}, "can't be a value"),
        ({"profile": "desktop"}, "profile must be one of"),
        ({"testable": False, "reason": "none"}, "a key of a claim"),
    ],
)
def test_what_is_wrong_is_refused_by_name(tmp_path, changes, message):
    assert load(tmp_path)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, **changes)


def test_ids_are_unique_and_primary_claims_few(tmp_path):
    claim = LEDGER["claims"][0]
    with pytest.raises(ValueError, match="fcl-steadier: this id is there twice"):
        load_all(tmp_path, [claim, claim])
    with pytest.raises(ValueError, match="claim c8: is primary number 9, and at most 8"):
        load_all(tmp_path, [claim | {"id": f"c{number}"} for number in range(9)])
