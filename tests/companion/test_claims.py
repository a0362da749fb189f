"""The loader of the claims: what it gives, and what it refuses."""

import copy

import pytest
import yaml
from tiny import ROOT

from companion.claims.registry import load_claims

LEDGER = yaml.safe_load((ROOT / "experiments" / "claims.yml").read_text(encoding="utf-8"))


def load(tmp_path, **changes):
    """The ledger of one claim, fcl-steadier, with some keys changed; None takes a key away."""
    claim = {name: value for name, value in (LEDGER["claims"][0] | changes).items() if value is not None}
    return load_all(tmp_path, [claim])


def load_all(tmp_path, claims):
    path = tmp_path / "claims.yml"
    path.write_text(yaml.safe_dump({"margins": LEDGER["margins"], "claims": copy.deepcopy(claims)}))
    return load_claims(path)


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
