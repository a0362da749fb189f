"""Jeffreys against JSD: made-up runs with known differences, SciPy's paired test, frontiers that are straight lines."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import fake
import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy.stats import ttest_1samp, ttest_rel

from companion.profiles import profile_config
from companion.report import divergences
from companion.report.divergences import at_equal_consistency, at_ratio, comparisons, read_terms, verdicts
from companion.runs import writing
from companion.runs.identity import ResultsError, group_name
from companion.weights import parse_weights
from fcl.prediction import Predictions

STACKS = 12


def made_up(weights, seeds=(0, 1, 2), settings=("D1",), seed=0):
    """Rows as from `read_terms`, the values random."""
    random, rows = np.random.default_rng(seed), []
    for setting in settings:
        for number in seeds:
            for name in weights:
                term = name.rstrip("0123456789.")
                weight = float(name.removeprefix(term) or 0)
                values = dict(zip(divergences.VALUES, random.uniform(1, 2, 4)))
                pull = weight / (8 if term == "jsd" else 1)
                rows.append(dict(setting=setting, seed=number, weights=name, term=term, weight=weight, pull=pull, **values))
    return pd.DataFrame(rows)


def test_pairs_are_found_by_their_ratio_and_compared_seed_by_seed():
    rows = made_up(["baseline", "kld0.857", "kld4", "kld8", "jsd6.856", "jsd8", "jsd32"], settings=("D1", "I1"))
    equal, matched = at_ratio(rows, 1), at_ratio(rows.sample(frac=1, random_state=0), 8)
    assert equal[["setting", "kld", "jsd"]].values.tolist() == [["D1", "kld8", "jsd8"], ["I1", "kld8", "jsd8"]]
    assert matched[matched.setting == "D1"].kld.tolist() == ["kld0.857", "kld4"]
    jsd, kld = (rows[(rows.setting == "I1") & (rows.weights == name)].tv.to_numpy() for name in ("jsd32", "kld4"))
    row = matched[(matched.setting == "I1") & (matched.kld == "kld4")].iloc[0]
    low, high = ttest_rel(jsd, kld).confidence_interval()
    assert (row.seeds, row.tv, row.tv_half) == pytest.approx((3, (jsd - kld).mean(), (high - low) / 2))


def test_only_seeds_that_have_both_count_and_one_seed_has_no_interval():
    rows = made_up(["kld4", "jsd32"])
    row = at_ratio(rows[(rows.weights == "kld4") | (rows.seed == 2)], 8).iloc[0]
    assert row.seeds == 1 and np.isnan(row.mae_half)
    values = rows[rows.seed == 2].set_index("weights").mae
    assert row.mae == pytest.approx(values.jsd32 - values.kld4)
    assert at_ratio(rows[(rows.weights == "kld4") == (rows.seed == 1)], 8).empty


def test_parallel_frontiers_differ_by_their_distance_wherever_the_weights_lie():
    """Both values fall on lines over MSD*; those of JSD lie 0.3 higher, from the first weight on."""
    rows = made_up(["baseline", "kld1", "kld2", "kld4", "jsd8", "jsd16", "jsd32", "jsd64"])
    step = {"baseline": 0, "kld1": 1, "kld2": 2, "kld4": 3, "jsd8": 0.5, "jsd16": 2.5, "jsd32": 3.5, "jsd64": 9}
    rows["msd_star"] = 2 - 0.2 * rows.weights.map(step) + 0.01 * rows.seed
    higher = 0.3 * (rows.term == "jsd")
    rows = rows.assign(mae=4 - rows.msd_star + higher, mean_entropy=rows.msd_star - higher, tv=3 - rows.msd_star)
    row = at_equal_consistency(rows).iloc[0]
    assert (row.kld, row.jsd, row.seeds) == ("kld1, kld2, kld4", "jsd8, jsd16, jsd32", 3)  # pulls of both
    assert (row.mae, row.mean_entropy, row.tv) == pytest.approx((0.3, -0.3, 0))
    assert np.isnan(row.msd_star)
    part = rows[((rows.weights != "kld1") | (rows.seed > 0)) & ((rows.weights != "jsd64") | (rows.seed == 0))]
    fewer = at_equal_consistency(part).iloc[0]
    assert (fewer.kld, fewer.jsd, fewer.seeds) == ("kld2, kld4", "jsd16, jsd32", 3)  # what all seeds share
    chosen = rows[(rows.seed == 0) | rows.weights.isin(["baseline", "kld1", "jsd8"])]  # one weight is no frontier
    assert at_equal_consistency(chosen).seeds.tolist() == [1]
    assert at_equal_consistency(rows[rows.weights != "baseline"]).empty
    assert at_equal_consistency(rows[~rows.weights.isin(["kld1", "kld2"])]).empty


def test_seeds_with_one_divergence_alone_make_no_curve():
    rows = made_up(["baseline", "kld4", "kld8", "jsd32"])
    part = rows[((rows.seed == 0) & (rows.term != "jsd")) | ((rows.seed == 1) & (rows.term != "kld"))]
    assert divergences.same_seeds(part).empty and at_equal_consistency(part).empty
    part = rows[(rows.seed == 2) | ((rows.seed == 0) & (rows.term != "jsd"))]
    assert set(divergences.same_seeds(part).seed) == {2}
    plt.close(divergences.figure(part, "pull"))


@pytest.mark.parametrize(
    ("differences", "halves", "word"),
    [
        ([0.2, 0.3, 0.3], [0.1, 0.1, 0.4], "supported"),
        ([-0.2, -0.3, 0.3], [0.1, 0.1, 0.4], "contradicted"),
        ([-0.2, 0.3], [0.1, 0.4], "undecided"),  # one of two is not most
        ([-0.019, -0.018], [0.001, 0.001], "undecided"),  # sure, and too small to matter
        ([-0.021, -0.022], [0.001, 0.001], "contradicted"),
        ([-0.2, 0.5], [0.1, 0.4], "mixed"),
        ([-0.2, 0.3], [0.3, 0.4], "undecided"),
        ([0.2, 0.3, 0.3], [0.1, 0.4, 0.4], "undecided"),  # one of three may be chance
        ([-0.2, 0.3], [np.nan, np.nan], "undecided"),
        ([np.nan, np.nan], [np.nan, np.nan], "–"),
    ],
)
def test_verdicts_count_differences_that_are_clear_and_large_enough(differences, halves, word):
    table = pd.DataFrame({"comparison": "matched pull", **{value: differences for value in divergences.VALUES}})
    found = verdicts(table.assign(**{f"{value}_half": halves for value in divergences.VALUES}))
    assert found.loc["matched pull"].tolist() == [word] * 4


def test_all_comparisons_stand_below_each_other():
    table = comparisons(made_up(["baseline", "kld4", "kld8", "jsd8", "jsd32", "jsd64"]))
    assert table.comparison.tolist() == ["equal weight", "matched pull", "matched pull", "equal MSD*"]
    assert verdicts(table).index.tolist() == ["equal weight", "matched pull", "equal MSD*"]
    with pytest.raises(ResultsError, match="of jsd16, kld4 no two can be compared"):
        comparisons(made_up(["kld4", "jsd16"]))


def write_runs(folder: Path, profile: str, weights: dict[str, list[str]], seeds: list[int]) -> None:
    """Stored runs with one frame, {setting: names of weights}, and the baselines, in `folder` (results/<profile>/simulated).

    The stronger the pull, the less noise over starts and the more entropy, JSD's always 0.1 nats below Jeffreys'.
    """
    draw = np.random.default_rng(0)
    labels, positions = draw.integers(5, 44, STACKS), np.zeros((STACKS, 2), np.float32)
    stacks = dict(labels=labels, categories=["plain"] * STACKS, positions=positions, digest="made up")
    folder.mkdir(parents=True)
    writing.write_labels(folder, SimpleNamespace(**stacks))
    for setting, seed, name in ((a, b, c) for a in weights for b in seeds for c in ["baseline", *weights[a]]):
        chosen = parse_weights(name)
        config = profile_config(profile, setting=setting, seed=seed, **chosen.lambdas)
        group, pull = folder / group_name(config, profile), chosen.kld + chosen.jsd / 8 + chosen.msd
        noise = draw.normal(0, 3 / (1 + 0.2 * pull), (STACKS, 49)) + draw.normal(0, 1 + 0.1 * pull, (STACKS, 1))
        argmax = np.clip(labels[:, None] + noise, 0, 48).astype(np.uint8)
        entropy = 2.5 + 0.05 * pull - 0.1 * (chosen.jsd > 0) + draw.normal(0, 0.02, argmax.shape)
        halves = argmax.astype(np.float16), entropy.astype(np.float16)
        writing.write_predictions(group, name, Predictions(argmax, *halves, median=argmax))
        origin = {"split": "test", "count": STACKS, "seed": 0, "digest": "made up"}
        writing.write_record(group, config, profile=profile, stacks=origin, seconds=fake.SECONDS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "provenance", fake.no_provenance)
    folder = tmp_path / "laptop" / "simulated"
    write_runs(folder, "laptop", {"D1": ["kld4", "jsd4", "jsd32", "msd4+kld4", "msd6"], "I1": ["kld4"]}, [0, 1])
    return folder


def test_runs_with_one_divergence_are_read_and_no_others(folder):
    (folder / "afpe-D1-F4-seed0").rename(folder / "afpe-D1-F4-seed0-shuffled")  # a control, whose records now contradict
    rows = read_terms(folder)
    assert sorted(rows.weights) == ["baseline", "jsd32", "jsd4", "kld4"]
    assert set(rows.setting) == {"D1"} and set(rows.seed) == {1}
    assert rows.set_index("weights").pull.to_dict() == {"baseline": 0, "jsd32": 4, "jsd4": 0.5, "kld4": 4}
    assert rows.set_index("weights").term["jsd4"] == "jsd"


def test_seeds_can_be_asked_for(folder):
    assert set(read_terms(folder, "1").seed) == {1}
    with pytest.raises(ValueError, match="seeds must be"):
        read_terms(folder, "0, 1")
    with pytest.raises(ResultsError, match="has no seed 7 with runs of both divergences.*make all-figures PROFILE=laptop"):
        read_terms(folder, "1 7")


def test_nothing_to_compare_and_half_a_run_are_named(folder, tmp_path):
    with pytest.raises(ResultsError, match="has no setting with runs of both.*make all-figures PROFILE=paper"):
        read_terms(tmp_path / "paper" / "simulated")
    (folder / "afpe-D1-F4-seed0" / "jsd32.json").unlink()
    with pytest.raises(ResultsError, match="jsd32.json is missing"):
        read_terms(folder)


def test_settings_with_a_single_weight_are_drawn_only_when_there_are_no_others():
    single = made_up(["baseline", "kld4", "jsd16"], settings=("D2",))
    several = made_up(["baseline", "kld4", "kld1", "jsd8", "jsd32"])
    for rows, setting in ((pd.concat([single, several]), "D1"), (single, "D2")):
        drawing = divergences.figure(rows, "pull")
        assert [panel.get_ylabel() for panel in drawing.axes] == [f"{setting}, change", "", "", ""]
        plt.close(drawing)


@pytest.mark.parametrize(("over", "panels"), [("pull", 4), ("msd_star", 3)])
def test_curves_are_changes_against_the_baseline_of_the_same_seed(over, panels):
    rows = made_up(["baseline", "kld4", "kld1", "jsd8", "jsd32"], settings=("D1", "I1"))
    drawing = divergences.figure(rows, over)
    assert len(drawing.axes) == 2 * panels
    part = rows[(rows.setting == "I1")].set_index(["weights", "seed"]).mae
    expected = [(part[name] - part.baseline).mean() for name in ("kld1", "kld4")]
    assert drawing.axes[-1].lines[0].get_ydata() == pytest.approx(expected)
    plt.close(drawing)


@pytest.mark.slow
def test_the_notebook_prints_the_answer_that_the_runs_give(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "provenance", fake.no_provenance)
    notebook = tmp_path / "notebooks" / "05b_jeffreys_or_jensen_shannon.ipynb"
    fake.copy_project(tmp_path, ["D1", "I1"], [notebook.stem])
    weights = ["kld2", "kld4", "kld8", "jsd8", "jsd16", "jsd32", "jsd64"]
    write_runs(tmp_path / "results" / "laptop" / "simulated", "laptop", {"D1": weights, "I1": weights}, [0, 1, 2])
    done = subprocess.run(
        [sys.executable, "-m", "companion.batch.rendering", notebook.stem, "page.ipynb"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    outputs = [output for cell in nbformat.read(notebook, as_version=4).cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "At matched pull: JSD smoother: contradicted;" in printed
    assert "JSD makes smoother distributions, apart from pulling less: contradicted 2x" in printed
    assert not any(output.get("name") == "stderr" for output in outputs)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"divergences.csv"} | {
        f"divergences_{name}.{kind}" for name in ("pull", "msd_star") for kind in ("pdf", "png", "json")
    }


def test_pooled_differences_have_trunks_as_units():
    rows = made_up(["kld1", "kld4", "jsd8", "jsd32"], settings=("D1", "I1"))
    found = divergences.pooled(rows, 8)
    by_run = rows.set_index(["setting", "seed", "weights"]).mae.unstack()
    trunks = (by_run.jsd8 - by_run.kld1 + by_run.jsd32 - by_run.kld4) / 2
    low, high = ttest_1samp(trunks, 0).confidence_interval()
    assert (found["units"], found["mae"], found["mae_half"]) == pytest.approx((6, trunks.mean(), (high - low) / 2))
    with pytest.raises(ValueError, match="no JSD has 3 times"):
        divergences.pooled(rows, 3)
