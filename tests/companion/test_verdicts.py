"""Verdicts: every branch of the rules against hand-made effects, and claims on stored runs with known effects."""

import shutil
import subprocess

import fake
import made_claims
import numpy as np
import pytest
import scipy.stats
import yaml
from made_claims import BASE, LABELS, judge, write, write_seeds
from tiny import use_project

from companion.claims import ledger, verdicts
from companion.claims import registry as claims
from companion.claims.effects import Printed
from companion.profiles import profile_config
from companion.runs import provenance
from companion.runs.identity import ResultsError


def units(mean, half):
    """Six effects with this mean and half width of their 95 % interval."""
    values = np.array([-1.0, 1, -1, 1, -1, 1])
    return mean + half * values * np.sqrt(6) / values.std(ddof=1) / scipy.stats.t.ppf(0.975, 5)


BRANCHES = [  # direction, mean, half width, verdict; the margin is 0.05
    ("lower", -0.10, 0.05, "supported"),
    ("lower", -0.06, 0.07, "inconclusive"),
    ("lower", -0.04, 0.02, "inconclusive"),
    ("lower", -0.03, 0.01, "contradicted"),
    ("lower", 0.10, 0.05, "contradicted"),
    ("lower", 0.0, 0.2, "inconclusive"),
    ("higher", 0.10, 0.05, "supported"),
    ("higher", 0.04, 0.02, "inconclusive"),
    ("higher", -0.1, 0.05, "contradicted"),
    ("not_higher", 0.0, 0.04, "supported"),
    ("not_higher", -0.2, 0.1, "supported"),
    ("not_higher", 0.0, 0.1, "inconclusive"),
    ("not_higher", 0.10, 0.05, "contradicted"),
    ("not_higher", 0.04, 0.02, "inconclusive"),
    ("not_lower", 0.0, 0.04, "supported"),
    ("not_lower", -0.1, 0.05, "contradicted"),
    ("not_lower", 0, 0.1, "inconclusive"),
    ("equal", 0.0, 0.04, "supported"),
    ("equal", 0.02, 0.01, "supported"),
    ("equal", 0.10, 0.05, "contradicted"),
    ("equal", -0.1, 0.05, "contradicted"),
    ("equal", 0.04, 0.02, "inconclusive"),
    ("equal", 0.0, 0.1, "inconclusive"),
]


@pytest.mark.parametrize(("direction", "mean", "half", "expected"), BRANCHES)
def test_each_branch_of_the_rules(direction, mean, half, expected):
    support, contradiction = verdicts.p_values(units(mean, half), direction, 0.05, 0.05)
    assert verdicts.decide([support], [contradiction]) == expected


def test_p_values_say_what_the_interval_says():
    random = np.random.default_rng(0)
    for _ in range(300):
        values, s = random.normal(random.normal(0, 0.1), 0.1, 6), 0.05
        m, (lo, hi) = values.mean(), scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
        rules = {  # (supported, contradicted), as the head of claims.yml words them
            "higher": (lo > 0 and m >= s, hi < s),
            "lower": (hi < 0 and -m >= s, -lo < s),
            "not_higher": (hi < s, lo > 0 and m >= s),
            "not_lower": (-lo < s, hi < 0 and -m >= s),
            "equal": (-s < lo and hi < s, (lo > 0 or hi < 0) and abs(m) >= s),
        }
        for direction, expected in rules.items():
            assert tuple(p < 0.05 for p in verdicts.p_values(values, direction, s, s)) == expected, direction


def test_margins_of_ratios_are_logarithms_and_several_tests_share_the_level():
    assert verdicts.limits("mae", 0.05) == pytest.approx((-np.log(0.95), np.log(1.05)))
    assert verdicts.limits("cycles", 0.05) == (0.05, 0.05)
    assert verdicts.decide([0.01, 0.04], [1, 1]) == "supported" and verdicts.decide([0.01, 0.06], [1, 1]) == "inconclusive"
    assert verdicts.decide([1, 1, 1], [0.02, 1, 1]) == "inconclusive"  # 3 x 0.02
    assert verdicts.decide([1, 1, 1], [0.01, 1, 1]) == "contradicted"


# Claims on stored runs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return made_claims.project(tmp_path, monkeypatch)


def test_effect_interval_and_verdict_of_known_runs(folder):
    write_seeds(folder)
    (result,) = judge(folder, {})
    expected = np.log((4 + np.array([0, 1, 2]) / 18) / 4.5)
    (test,) = result["tests"]
    assert test["effect"] == pytest.approx(expected.mean())
    interval = scipy.stats.ttest_1samp(expected, 0).confidence_interval()
    assert (test["low"], test["high"]) == pytest.approx(tuple(interval))
    assert result["verdict"] == "supported" and result["evidence"] == "confirmatory" and result["seeds"] == [0, 1, 2]
    assert result["runs"][0] == "afpe-D1-F4-seed0/baseline" and len(result["runs"]) == 6
    # Table A, D1: 1.070 against 1.338.
    assert result["paper"] == "yes" and test["paper"] == pytest.approx(np.log(1.070 / 1.338))


def test_too_few_seeds_are_counted_and_later_ones_change_nothing(folder):
    write_seeds(folder, (0, 1), (9, 9))
    (few,) = judge(folder, {})
    assert (few["verdict"], few["reason"]) == ("inconclusive", "1 of 3 seeds are missing") and few["tests"]
    write(folder, "baseline", 2, 9)  # half of a seed is none
    assert judge(folder, {})[0]["seeds"] == [0, 1]
    write_seeds(folder)
    before = judge(folder, {})[0]
    write(folder, "baseline", 7, 0)
    write(folder, "msd4+kld4", 7, 18)
    after = judge(folder, {})[0]
    assert after["later_seeds"] == [7] and after["verdict"] == before["verdict"] == "supported"
    later = after["tests"][0].pop("effect_with_later")
    assert after["tests"] == before["tests"] and later > before["tests"][0]["effect"]


def test_no_runs_untestable_claims_and_unchosen_weights(folder):
    assert judge(folder, {})[0]["reason"] == "there are no runs of the profile laptop here"
    write_seeds(folder)
    told, unchosen, paper = judge(folder, {}, {"settings": ["D5"]}, {"profile": "paper"})
    assert told["verdict"] == "supported" and unchosen["reason"] == "3 of 3 seeds are missing"
    assert paper["verdict"] == "not testable here" and "profile paper" in paper["reason"]


def test_what_spoils_a_verdict_is_named(folder):
    for seed in range(3):
        write(folder, "msd4+kld4", seed, 0, step=4)
        config = profile_config("laptop", seed=seed)
        fake.write_run(folder, config, np.repeat(LABELS[:, None], 49, 1).astype(np.uint8))  # MSD* 0: no ratio
    (result,) = judge(folder, {})
    assert result["verdict"] == "inconclusive"
    assert "msd_star gives no finite effect: see afpe-D1-F4-seed0" in result["reason"]
    (folder / "afpe-D1-F4-seed1" / "msd4+kld4.npz").unlink()
    with pytest.raises(ResultsError, match="seed1/msd4.kld4.npz is missing"):
        judge(folder, {})


def test_results_without_labels_are_no_missing_results(folder, monkeypatch):
    (folder / "afpe-D1-F4-seed0").mkdir()
    (folder / "afpe-D1-F4-seed0" / "group.json").write_text("{}")
    labels = (folder / "test.npz").rename(folder / "aside")
    assert {result["verdict"] for result in ledger.ledger()} == {"not testable here"}  # a training has begun
    labels.rename(folder / "test.npz")
    write_seeds(folder)
    (folder / "test.npz").unlink()
    with pytest.raises(ResultsError, match="test.npz is missing"):
        ledger.ledger()


def test_primary_claims_must_pass_holm_together(folder):
    write_seeds(folder, (0, 0, 4))  # p of support is 0.03: enough alone, not beside a second one like it
    primary = {"primary": True, "tests": {"msd_star": ["lower", "slight"]}}
    (alone,) = judge(folder, primary)
    assert alone["verdict"] == "supported" and 0.025 < alone["p_support"] < 0.05
    both = judge(folder, primary, primary)
    assert [result["verdict"] for result in both] == ["inconclusive"] * 2
    assert "correction for 2" in both[0]["reason"]
    assert both[0]["p_support"] == pytest.approx(2 * alone["p_support"])


def test_a_method_of_weight_zero_is_the_baseline_and_earns_nothing(folder):
    write_seeds(folder)
    (same,) = judge(folder, {"treatment": {"weights": "baseline"}})
    assert same["tests"][0]["effect"] == 0 and same["verdict"] == "contradicted"


def test_pairs_of_different_scenes_are_never_credited_to_fcl(folder):
    for seed in range(3):
        write(folder, "baseline", seed, 9)
        write(folder, "msd4+kld4", seed, 0, pairing="shuffled")
    credited, control = judge(folder, {}, {"treatment": {"method": "fcl", "pairing": "shuffled"}})
    assert credited["seeds"] == [] and credited["verdict"] == "inconclusive"
    assert control["seeds"] == [0, 1, 2] and control["verdict"] == "supported"  # it has an arm of its own, by name


def test_the_paper_contradicts_its_own_sentence_where_f_is_eight():
    paper = Printed()
    told = {claim.id: verdicts.printed(claim, paper)[0] for claim in claims.load_claims()}
    assert told["fcl-steadier-everywhere"] == "yes" and told["fcl-more-accurate-for-each-f"] == "no"
    assert told["hunting-rarer"] == "–" and told["l2a-fcl-steadier"] == "–"
    (claim,) = [claim for claim in claims.load_claims() if claim.id == "fcl-more-accurate-for-each-f"]
    last = [test for test in verdicts.printed(claim, paper)[1] if test["metric"] == "mae"][-1]
    assert last["effect"] == pytest.approx(np.log(1.908 / 1.851))


def test_a_run_decides_only_if_its_commit_held_the_claim(tmp_path, monkeypatch):
    def git(*arguments):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(**changes):
        kept = {name: value for name, value in (BASE | changes).items() if value is not None}
        ledger.write_text(yaml.safe_dump({"margins": margins, "claims": [kept]}))
        (tmp_path / "experiments" / "weights.yml").write_text(yaml.safe_dump({"laptop": {"afpe": {"D1": chosen}}}))
        git("add", "."), git("commit", "-m", "x")
        return git("rev-parse", "HEAD")

    (tmp_path / "experiments").mkdir()
    shutil.copy(fake.ROOT / "experiments" / "profiles.yml", tmp_path / "experiments")
    chosen = {"fcl": "msd4+kld4"}
    ledger, margins = tmp_path / claims.LEDGER, {"visible": {"unit": "relative", "value": 0.05, "because": "so"}}
    use_project(tmp_path, monkeypatch)
    git("init", "-q")
    other = commit(seeds=2)
    reworded = commit(claim="put otherwise")
    margins["visible"]["value"] = 0.04
    milder = commit()
    margins["visible"]["value"] = 0.05
    chosen["fcl"] = "msd2+kld2"
    otherwise = commit()
    chosen |= {"fcl": "msd4+kld4", "readout": "median"}
    now = commit()
    (claim,) = claims.load_claims(ledger)

    record = {"profile": "laptop", "config": {"model": "afpe", "setting": "D1"}}

    def stands(commit, clean=True):
        return verdicts.standing(claim, record | {"code": {"commit": commit, "clean": clean}}, ledger)

    assert stands(now) == stands(reworded) == "confirmatory"
    assert stands(other) == stands(milder) == "trained before the claim was written down"
    assert stands(otherwise) == "trained before its weights were chosen"
    assert "not committed" in stands(now, clean=False) and "outside" in stands(None)
    assert "not in the history" in stands("0" * 40)
    provenance.in_history.cache_clear()
    monkeypatch.setattr(provenance, "_git", lambda *arguments: None)  # a download without history
    assert stands(now) == "unchecked"
    provenance.in_history.cache_clear()


def test_exploratory_runs_are_shown_and_do_not_decide(folder, monkeypatch):
    write_seeds(folder)
    monkeypatch.setattr(verdicts, "standing", lambda claim, record, ledger: "trained before the claim was written down")
    (result,) = judge(folder, {})
    assert (result["verdict"], result["would_be"], result["evidence"]) == ("inconclusive", "supported", "exploratory")
    assert "trained before the claim was written down" in result["reason"]
