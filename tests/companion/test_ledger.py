"""The ledger in words, and what the README and the notebooks quote of it."""

import json

import made_claims
import pytest
import yaml
from fake import ROOT

from companion import project
from companion.claims import __main__ as command
from companion.claims import ledger, quotes
from companion.claims.registry import load_claims
from companion.claims.verdicts import CONTRADICTED, INCONCLUSIVE, SUPPORTED, UNTESTABLE

FIGURES = ROOT / "figures"
TEST = {
    "metric": "msd_star",
    "of": "D1",
    "direction": "lower",
    "margin": 0.05,
    "n": 6,
    "effect": -0.105361,
    "low": -0.2,
    "high": -0.05,
    "detectable": 0.05,
    "p_support": 0.01,
    "p_contradiction": 1.0,
    "paper": None,
    "spoilt": None,
}
RESULT = {
    "id": "one",
    "claim": "it is so",
    "where": "Sec. A",
    "primary": True,
    "profile": "laptop",
    "verdict": SUPPORTED,
    "reason": "",
    "evidence": "confirmatory",
    "would_be": "",
    "paper": "yes",
    "seeds_wanted": 2,
    "seeds": [0, 1],
    "later_seeds": [],
    "tests": [TEST],
    "runs": ["afpe-D1-F4-seed0/kld4", "afpe-D1-F4-seed1/kld4"],
}


def test_effects_are_spoken_of_in_their_units():
    assert ledger.shown(TEST) == "-10.0 % [-18.1, -4.9]"
    assert ledger.claimed(TEST) == "lower by 5.0 %" and ledger.visible_from(TEST) == "-4.9 %"
    assert ledger.claimed(TEST | {"direction": "equal"}) == "equal within 5.0 %"
    assert ledger.amount("cycles", 0.025) == "+2.5 points" and ledger.amount("signed_error", -0.5) == "-0.500 steps"
    assert ledger.amount("mae", None) == "–"


def test_the_deciding_test_is_the_weakest_or_what_contradicts():
    strong = TEST | {"of": "D2", "p_support": 0.001, "p_contradiction": 0.5}
    against = TEST | {"of": "D3", "p_support": 1.0, "p_contradiction": 0.001}
    assert ledger.deciding_test(RESULT | {"tests": [strong, TEST]}) == TEST
    assert ledger.deciding_test(RESULT | {"verdict": CONTRADICTED, "tests": [strong, TEST, against]}) == against
    assert ledger.deciding_test(RESULT | {"tests": []}) is None


def test_a_contradicted_claim_says_whether_the_effect_is_small_or_the_other_way_round():
    higher = TEST | {"direction": "higher"}
    for test, words in (
        (TEST | {"low": -0.01, "high": 0.02}, "claimed lower by 5.0 % (less than that)"),
        (TEST | {"low": 0.01, "high": 0.02}, "claimed lower by 5.0 % (the other way round)"),
        (higher | {"low": -0.02, "high": 0.01}, "claimed higher by 5.0 % (less than that)"),
        (higher, "claimed higher by 5.0 % (the other way round)"),
        (TEST | {"direction": "not_higher"}, "claimed not higher by 5.0 %, visible"),
    ):
        assert words in ledger.evidence(RESULT | {"verdict": CONTRADICTED, "tests": [test]})
    assert "(" not in ledger.evidence(RESULT)


def test_the_terminal_s_table_fits_and_says_everything():
    partial = {"verdict": INCONCLUSIVE, "reason": "1 of 2 seeds are missing", "seeds": [0], "evidence": "partial"}
    without = {"tests": [], "seeds": [], "runs": [], "verdict": UNTESTABLE}
    text = ledger.terminal([RESULT, RESULT | partial, RESULT | without])
    assert max(map(len, text.splitlines())) <= ledger.WIDTH
    assert "1 of 2 seeds are missing" in " ".join(text.split()) and "2 of 2" in text
    assert "1 supported, 0 contradicted, 1 inconclusive, 1 not testable here (1 without runs yet)." in text
    assert "claims.json" in text.splitlines()[-1]


def test_html_links_each_run_s_folder():
    page = ledger.html([RESULT], "../results")
    assert 'afpe-D1-F4-seed <a href="../results/laptop/simulated/afpe-D1-F4-seed0">0</a>' in page
    assert "seed1" in page and ": kld4" in page and "2 runs" in page


def test_quotes_come_from_tables_by_reference(tmp_path):
    ledger.write([RESULT], tmp_path)
    text = "MSD* <!-- quote claims.csv id=one metric=msd_star: shown -->x<!-- end -->, <!-- quote {} -->9<!-- end -->"
    done = quotes.requoted(text.format("claims.csv id=one: effect .2f"), tmp_path)
    assert "-->-10.0 % [-18.1, -4.9]<!-- end -->" in done and "-->-0.11<!-- end -->" in done
    assert quotes.requoted(done, tmp_path) == done
    for reference, complaint in {
        "claims.csv id=two: verdict": "no such row",
        "claims.csv id=one: mean": "no columns mean",
        "other.csv id=one: mae": "no other.csv",
        "one": "write <file>.csv",
    }.items():
        with pytest.raises(ValueError, match=complaint):
            quotes.requoted(text.format(reference), tmp_path)
    ledger.write([RESULT | {"tests": [TEST, TEST | {"of": "D2 kld4", "effect": 0.2}]}], tmp_path)
    assert quotes.quote('claims.csv id=one of="D2 kld4": effect .2f', tmp_path) == "0.20"
    with pytest.raises(ValueError, match="2 rows of claims.csv fit"):
        quotes.quote("claims.csv id=one: effect", tmp_path)
    assert quotes.quote("claims.csv id=one: verdict", tmp_path) == SUPPORTED  # the same in both
    block = quotes.requoted("<!-- quote claims --><!-- end -->", tmp_path)
    assert "| it is so (`one`) | supported | msd_star D1 -10.0 % [-18.1, -4.9]" in block


def test_a_counter_claim_is_three_lines_that_use_the_margins_of_the_claims():
    path = ROOT / "experiments" / "counter_claim.yml"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    (claim,) = load_claims(path)
    assert len(lines) == 3 and claim.tests == (("within1", "not_higher", 0.02),)
    notebook = json.loads((ROOT / "notebooks" / "claims.ipynb").read_text(encoding="utf-8"))
    assert "\n".join(lines) in "\n".join("".join(cell["source"]) for cell in notebook["cells"])


def test_claims_of_one_s_own_may_add_margins_but_not_move_them(tmp_path):
    path, own = tmp_path / "mine.yml", yaml.safe_load((ROOT / "experiments" / "counter_claim.yml").read_text())
    margins = {"tiny": {"unit": "share", "value": 0.001, "because": "so"}}
    own["claims"][0]["tests"] = {"within1": ["higher", "tiny"]}
    path.write_text(yaml.safe_dump(own | {"margins": margins}))
    assert load_claims(path)[0].tests == (("within1", "higher", 0.001),)
    path.write_text(yaml.safe_dump(own | {"margins": {"noticeable": margins["tiny"]}}))
    with pytest.raises(ValueError, match="margin noticeable is another"):
        load_claims(path)


# What is committed


def test_nothing_is_rewritten_while_a_published_run_is_missing(tmp_path, monkeypatch, capsys):
    folder = made_claims.project(tmp_path, monkeypatch)
    made_claims.write_seeds(folder)
    made_claims.write(folder, "msd6", 0, 5)
    claims, plan = tmp_path / "experiments" / "claims.yml", tmp_path / "experiments" / "one.yml"
    claims.write_text(yaml.safe_dump(yaml.safe_load(claims.read_text(encoding="utf-8")) | {"claims": [made_claims.BASE]}))
    planned = {"renders": [], "data": "simulated", "settings": ["D1"], "methods": ["msd"], "seeds": [0]}
    plan.write_text(yaml.safe_dump(planned))
    (tmp_path / "notebooks").mkdir()
    readme, quoting = tmp_path / "README.md", "<!-- quote claims.csv id=one: verdict -->{}<!-- end -->"
    readme.write_text(quoting.format("nothing"))
    command.main([])
    figures = {path: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert len(figures) == 2 and readme.read_text() == quoting.format("supported")
    readme.write_text(quoting.format("old"))
    for run, verdict in (("afpe-D1-F4-seed1/baseline.json", "inconclusive"), ("afpe-D1-F4-seed0/msd6.npz", "supported")):
        capsys.readouterr()
        lost = (folder / run).rename(tmp_path / "lost")  # a run that claims.json names; one that an experiment makes
        with pytest.raises(SystemExit, match=f"results/laptop/simulated/{run}. `git checkout -- results` .*`make publish`"):
            command.main([])
        assert f"1 {verdict}" in capsys.readouterr().out  # the ledger is told all the same
        assert {path: path.read_bytes() for path in figures} == figures and readme.read_text() == quoting.format("old")
        lost.rename(folder / run)


def prose():
    """(name, text) of every page, and the prose of every notebook."""
    for path in project.prose():
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            cells = json.loads(text)["cells"]
            text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        yield path.name, text


def test_nothing_that_is_quoted_has_drifted():
    for name, text in prose():
        assert quotes.requoted(text, FIGURES) == text, f"{name} quotes old numbers: run `make claims`"


@pytest.mark.parametrize("page", ["README.md", "RESULTS.md"])
def test_pages_give_verdicts_by_reference_alone(page):
    text = dict(prose())[page]
    assert "<!-- quote claims" in text
    own_words = quotes.QUOTE.sub("", text)
    for verdict in (SUPPORTED, CONTRADICTED, INCONCLUSIVE, "no verdict"):
        assert verdict not in own_words.lower(), f"'{verdict}' stands in {page} without a reference that keeps it true"


def test_the_committed_ledger_is_that_of_the_committed_results():
    results = ROOT / "results" / "laptop" / "simulated"
    committed = FIGURES / "claims.json"
    assert committed.exists() == (results / "test.npz").exists(), "run `make claims` and commit figures/claims.*"
    if committed.exists():
        stored = json.loads(committed.read_text(encoding="utf-8"))
        asking = [result for result in stored if result["profile"] == "laptop"]
        assert not [result["id"] for result in asking if ledger.awaits_runs(result)], "claims without a run"
        for result in stored:
            folder = ROOT / "results" / result["profile"] / "simulated"
            missing = [run for run in result["runs"] if not (folder / f"{run}.npz").exists()]
            assert not missing, f"{result['id']} lists runs that are missing: {missing}"
        fresh = ledger.ledger()
        for one, other in zip(stored, fresh, strict=True):
            if "unchecked" not in (one["evidence"], other["evidence"]):  # a shallow clone knows less than a whole one
                assert one == other, f"{one['id']} has drifted: run `make claims`"
