"""The runs of an experiment as a table, on made-up runs."""

from pathlib import Path

import fake
import numpy as np
import pytest
import yaml
from tiny import CHOSEN, make_project, store

from companion.runs import tables, writing
from companion.runs.identity import ResultsError
from companion.runs.publish import publish
from companion.runs.reading import load_predictions
from fcl.config import Config
from fcl.metrics import mae, msd_star

PLAN = {"data": "simulated", "model": "afpe", "settings": ["D1", "I1"], "focal_indices": 4, "seeds": [0, 1]}
PLAN |= {"methods": ["baseline", "kld2"]}
WEIGHTS = {"baseline": {}, "kld2": {"lambda_kld": 2.0}}


@pytest.fixture
def root(tmp_path, monkeypatch):
    make_project(tmp_path, monkeypatch)
    monkeypatch.setattr(writing, "provenance", fake.no_provenance)
    (tmp_path / "experiments" / "made_up.yml").write_text(yaml.safe_dump(PLAN))
    return tmp_path


def fill(seeds=(0,), **keys):
    return [
        store(Config(setting=setting, seed=seed, **weights, **keys))
        for seed in seeds
        for setting in PLAN["settings"]
        for weights in WEIGHTS.values()
    ]


def complete(root, wanted="all"):
    return tables.complete_seeds(root / "runs/laptop/simulated", PLAN, "laptop", wanted)


def test_a_seed_counts_with_every_run(root):
    fill(seeds=[0, 1, 7, 8])
    folder = root / "runs/laptop/simulated"
    (folder / "afpe-I1-F4-seed1" / "kld2.json").unlink()
    (folder / "afpe-I1-F4-seed8" / "kld2.json").unlink()
    fill(seeds=[5], pairing="shuffled")
    assert complete(root) == [0, 7] and complete(root, "7 0") == [0, 7]
    with pytest.raises(ResultsError, match="has no seed 5 6 .*make all-figures PROFILE=laptop SEEDS='5 6'.*make publish"):
        complete(root, "6 0 5")
    with pytest.raises(ValueError, match='"all" or whole numbers'):
        complete(root, "0, 1")
    with pytest.raises(ResultsError, match="has no seed 1 .*make experiment NAME=made_up PROFILE=laptop SEEDS='1'"):
        tables.read_runs("made_up", "laptop", "runs", "1")


def test_a_published_run_that_is_lost_is_named(root):
    fill(seeds=[0, 1])
    publish("laptop")
    lost = root / "results/laptop/simulated/afpe-I1-F4-seed1"
    for path in lost.iterdir():
        path.unlink()
    lost.rmdir()
    with pytest.raises(
        ResultsError, match="I1-F4-seed1/.*json is missing. Run `git restore .* NAME=made_up .*SEEDS=1.*publish"
    ):
        tables.read_runs("made_up", "laptop")


def test_seeds_are_found_where_every_group_is_of_another_length(root):
    fill(seeds=[0, 3], iterations=1200)
    longer = PLAN | {"length": 2}
    assert tables.complete_seeds(root / "runs/laptop/simulated", longer, "laptop") == [0, 3]
    with pytest.raises(ResultsError, match="has no seed"):
        complete(root)


def test_no_seed_at_all_is_named_with_the_command(root):
    with pytest.raises(ResultsError, match="no seed with all .*make all-figures PROFILE=laptop"):
        complete(root)


def test_rows_come_in_the_experiment_s_order_with_its_names(root):
    fill(seeds=[0, 1])
    rows = tables.read_runs("made_up", "laptop", "runs")
    assert rows.run.tolist() == [
        f"afpe-{setting}-F4-seed{seed}/{name}" for seed in (0, 1) for setting in ("D1", "I1") for name in WEIGHTS
    ]
    assert rows.method.tolist() == ["baseline", "kld2"] * 4 and (rows.iterations == 600).all()
    for row in rows.itertuples():
        assert row.mae == mae(load_predictions(Path(row.path).with_suffix(".npz"))["argmax"], tables.labels_of(rows))


def test_one_run_may_have_two_names(root):
    planned = tables.planned_runs(PLAN | {"settings": ["D1"], "methods": ["fcl", CHOSEN["fcl"]]}, "laptop", [0])
    assert planned.method.tolist() == ["fcl", CHOSEN["fcl"]] and planned.run.nunique() == 1


def test_missing_and_damaged_predictions_are_named_with_the_command(root):
    path = fill(seeds=[0, 1])[-1]
    command = f"{path.parent.name}/kld2.* Run `make experiment NAME=made_up PROFILE=laptop SEEDS=1`"
    arrays = path.with_suffix(".npz")
    kept = arrays.read_bytes()
    arrays.write_bytes(kept[:100])
    with pytest.raises(ResultsError, match=command):
        tables.read_runs("made_up", "laptop", "runs")
    arrays.unlink()
    with pytest.raises(ResultsError, match=command):
        tables.read_runs("made_up", "laptop", "runs")


def test_other_answers_are_scored_again(root):
    fill()
    rows = tables.read_runs("made_up", "laptop", "runs", "0")
    labels, answers = tables.labels_of(rows), tables.predictions(rows)
    common = tables.on_common_starts(rows)
    assert common.mae.tolist() == [mae(answer[:, :45], labels) for answer in answers]
    same = tables.with_readout(rows, "argmax")
    assert np.allclose(same[["mae", "msd_star", "tv"]], rows[["mae", "msd_star", "tv"]])
    expected = tables.predictions(rows, "expected")[2]
    assert tables.with_readout(rows, "expected").msd_star[2] == msd_star(np.rint(expected).astype(int))
    split = tables.squared_errors(rows)
    assert np.allclose(split.squared_bias + split.variance, rows.rmse**2)


def test_changes_by_stack_have_the_changes_of_the_table_as_their_means(root):
    fill(seeds=[0, 1])
    rows = tables.read_runs("made_up", "laptop", "runs")
    rows = rows[rows.setting == "I1"]
    changed = tables.stack_changes(rows.sample(frac=1, random_state=0), "kld2")
    means = rows.groupby("method")[["mae", "msd_star", "tv"]].mean()
    assert np.allclose(changed.mean(), means.loc["kld2"] - means.loc["baseline"])


def test_frontiers_are_read_seed_by_seed(root):
    fill(seeds=[0, 1])
    rows = tables.read_runs("made_up", "laptop", "runs")
    found = tables.at_equal(rows, ["kld2"], ["kld2"])
    assert found[["setting", "seed"]].to_numpy().tolist() == [["D1", 0], ["I1", 0], ["D1", 1], ["I1", 1]]
    assert (found.treatment == found.control).all()
    halfway = rows.groupby(["seed", "setting"], sort=False)[["msd_star", "mae"]].mean().to_numpy()
    assert np.allclose(found[["msd_star", "treatment"]], halfway)  # between two points, the middle
    worse = rows.assign(msd_star=rows.msd_star.where(rows.method == "baseline", 2 * rows.msd_star))
    readings = [tables.at_equal(worse, ["kld2"], ["kld2"], capped=capped).msd_star.to_numpy() for capped in (False, True)]
    baseline = rows.msd_star[rows.method == "baseline"].to_numpy()
    assert (readings[0] > baseline).all() and np.allclose(readings[1], baseline)


def test_runs_that_one_fixed_answer_beats_are_named(root):
    fill(seeds=(0, 1))
    rows = tables.planned_results(root / "runs/laptop/simulated", PLAN, "laptop")
    labels = tables.labels_of(rows)
    bar = min(mae(np.full((len(labels), 1), answer), labels) for answer in range(49))
    assert tables.constant_answer(labels)[0] == pytest.approx(bar)
    rows["mae"] = np.linspace(bar - 1, bar, len(rows))
    assert tables.beaten_by_a_constant(rows).index.tolist() == [len(rows) - 1]
