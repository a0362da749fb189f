"""The choice of weights follows the rule that was written down before."""

import pandas as pd
import pytest
import yaml
from tiny import ROOT, make_project

from companion.batch.selection import candidates, choose, chosen_entries, write_weights
from companion.experiments import parts
from companion.weights import READOUTS, Weights, chosen_readout, chosen_weights

AFPE, L2A, L2A_FRAMES = parts(yaml.safe_load((ROOT / "experiments" / "weight_selection.yml").read_text()))
PLAN = AFPE
TRIED = ["msd1.5", "msd3", "msd6", "msd12"]  # c = 1/4, 1/2, 1, 2


def table(**rows):
    """mae and msd_star by name of the weights."""
    return pd.DataFrame(rows, index=["mae", "msd_star"]).T


def test_the_rule_and_the_candidates_are_those_stated():
    names = {method: [w.name for w in tried.values()] for method, tried in candidates(PLAN).items()}
    assert names == {
        "msd": ["msd1.5", "msd3", "msd6", "msd12"],
        "jsd": ["jsd8", "jsd16", "jsd32", "jsd64"],
        "kld": ["kld1", "kld2", "kld4", "kld8"],
        "fcl": ["msd1+kld1", "msd2+kld2", "msd4+kld4", "msd8+kld8"],
    }
    assert candidates(L2A) == candidates(PLAN) and candidates(L2A_FRAMES) == {"fcl": candidates(PLAN)["fcl"]}
    assert sorted(L2A["settings"] + L2A_FRAMES["settings"]) == sorted(AFPE["settings"])
    assert (PLAN["tolerance"], PLAN["seeds"], PLAN["split"]) == (1.03, [1000, 1001], "validation")


@pytest.mark.parametrize(
    ("maes", "spreads", "chosen"),
    [
        ((2.0, 2.0, 2.0, 2.0), (1.9, 1.8, 1.7, 1.6), "msd12"),  # all allowed: the lowest MSD*
        ((2.0, 2.0, 2.0, 2.1), (1.9, 1.8, 1.7, 1.6), "msd6"),  # 2.1 > 1.03 x 2
        ((2.0, 2.0, 2.0, 2.06), (1.9, 1.8, 1.7, 1.6), "msd12"),  # at the limit is allowed
        ((2.1, 2.2, 2.3, 2.4), (1.9, 1.8, 1.7, 1.6), "msd1.5"),  # none allowed: the smallest factor
        ((2.1, 2.0, 2.2, 2.0), (1.0, 1.8, 1.0, 1.9), "msd3"),  # not monotonous
        ((2.0, 2.0, 2.0, 2.0), (1.5, 1.5, 1.5, 1.5), "msd1.5"),  # equal MSD*: the smaller factor
        ((2.0, 2.0, 2.0, 2.0), (2.4, 2.3, 2.2, 2.5), "msd6"),  # even if worse than the baseline's
    ],
)
def test_choice(maes, spreads, chosen):
    rows = {name: pair for name, *pair in zip(TRIED, maes, spreads, strict=True)}
    assert choose(table(baseline=(2.0, 2.0), **rows), TRIED, 1.03) == chosen


def results():
    """A made-up selection: larger weights lower MSD*, and in I1 they cost MAE."""
    rows = []
    for setting in ("D1", "I1"):
        for seed, extra in ((1000, -0.1), (1001, 0.1)):
            row = {"setting": setting, "model": "afpe", "seed": seed}
            rows.append(row | {"weights": "baseline", "mae": 2 + extra, "msd_star": 2.0})
            for step, name in enumerate(READOUTS):  # each steadier than the one before; the last costs I1 too much
                costs = 0.2 if setting == "I1" and name == "expected" else 0
                rows.append(row | {"weights": name, "mae": 2 + extra + costs, "msd_star": 2 - step / 4})
            for tried in candidates(PLAN).values():
                for c, chosen in tried.items():
                    mae = 2 + extra + (0.2 if setting == "I1" and c > 0.5 else 0)
                    rows.append(row | {"weights": chosen.name, "mae": mae, "msd_star": 2 - c / 2})
    return pd.DataFrame(rows)


def test_entry_is_read_back_and_other_profiles_stay(tmp_path, monkeypatch):
    make_project(tmp_path, monkeypatch)
    file = tmp_path / "experiments" / "weights.yml"
    other = "smoke:  # by hand\n  afpe:\n    D1: {msd: msd6, jsd: jsd32, kld: kld4, fcl: msd4+kld4}\n"
    file.write_text(f"# header\n\n{other}")
    plan = PLAN | {"settings": ["D1", "I1"]}
    for _ in range(2):  # writing the same choice again changes nothing
        for settings in (["I1"], ["D1"]):  # one after the other, as they are finished
            write_weights("laptop", chosen_entries(results(), plan | {"settings": settings}), plan)
        assert other in file.read_text() and file.read_text().count("laptop:") == 1
    assert chosen_weights("laptop", "afpe", "D1")["fcl"] == Weights(msd=8, kld=8)
    assert chosen_weights("laptop", "afpe", "I1")["fcl"] == Weights(msd=2, kld=2)
    assert (chosen_readout("laptop", "afpe", "D1"), chosen_readout("laptop", "afpe", "I1")) == ("expected", "median")
    with pytest.raises(ValueError, match="make weights PROFILE=smoke"):
        chosen_readout("smoke", "afpe", "D1")
    assert chosen_weights("smoke", "afpe", "D1")["msd"] == Weights(msd=6)
    mine = results().assign(model="l2a")
    write_weights("laptop", chosen_entries(mine, L2A_FRAMES | {"settings": ["D1"]}), L2A_FRAMES)
    fcl = chosen_weights("laptop", "l2a", "D1", ["baseline", "fcl"])
    assert fcl == {"baseline": Weights(), "fcl": Weights(msd=8, kld=8)}
    assert chosen_weights("laptop", "afpe", "I1")["fcl"] == Weights(msd=2, kld=2)
    line = "jsd: jsd64  # 0.25: 2.000 / 1.875, 0.5: 2.000 / 1.750, 1: 2.000 / 1.500, 2: 2.000 / 1.000"
    assert line in file.read_text()
    assert max(map(len, file.read_text().splitlines())) <= 110


@pytest.mark.parametrize("spoil", ["missing", "other seed"])
def test_incomplete_selections_are_refused(spoil):
    rows = results()
    hit = (rows.setting == "I1") & (rows.weights == "kld8") & (rows.seed == 1001)
    rows = rows[~hit] if spoil == "missing" else rows.assign(seed=rows.seed.where(~hit, 3))
    with pytest.raises(ValueError, match="I1 kld8 was run with the seeds"):
        chosen_entries(rows, PLAN | {"settings": ["D1", "I1"]})


def test_committed_weights_are_candidates():
    chosen = yaml.safe_load((ROOT / "experiments" / "weights.yml").read_text())
    for profile, models in chosen.items():
        entries = [methods for settings in models.values() for methods in settings.values()]
        for method, name in (choice for methods in entries for choice in methods.items()):
            known = READOUTS if method == "readout" else [w.name for w in candidates(PLAN)[method].values()]
            assert name in known, (profile, method, name)
