"""Which notebooks a target needs."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import fake
import pytest
from tiny import use_project

from companion import experiments
from companion.batch import plan
from companion.claims import registry as claims

RUNS = "runs/smoke/simulated"


def test_figures_are_one_notebook_for_each_setting_and_seed_longest_first():
    jobs = list(plan.jobs("figures", "smoke", [0, 3]).values())
    groups = [Path(job.page).parent.name for job in jobs]
    assert sorted(groups) == sorted(f"afpe-{setting}-F4-seed{seed}" for setting in ("D1", "D2", "I1") for seed in (0, 3))
    assert groups[0].startswith("afpe-D2") and groups[1].startswith("afpe-D2")
    first = jobs[0]
    assert first.page == f"{RUNS}/{groups[0]}/train.ipynb"
    assert first.stacks == [f"data/smoke/simulated/{split}/stacks.json" for split in ("train", "test")]
    assert first.parameters["methods"] == "baseline, msd, jsd, kld, fcl"
    assert first.weights["fcl"] == "msd4+kld4" and first.config.iterations == 24


def test_weights_are_chosen_on_validation_stacks_from_all_candidates():
    jobs = list(plan.jobs("weights", "smoke", [0]).values())
    assert {job.config.seed for job in jobs} == {1000, 1001} and len(jobs) == 8
    assert all(job.page.startswith("runs/smoke/simulated-validation/") for job in jobs)
    assert all(job.parameters["split"] == "validation" for job in jobs)
    assert all(len(job.weights) == (17 if job.config.model == "afpe" else 5) for job in jobs)
    some = list(plan.jobs("weights", "smoke", [0], ["I1"]).values())
    assert [(job.config.model, job.config.setting) for job in some] == [("afpe", "I1")] * 2
    some = list(plan.jobs("weights", "smoke", [0], model="l2a").values())
    assert [(job.config.model, job.config.setting) for job in some] == [("l2a", "D2")] * 2


def test_an_experiment_runs_for_some_settings_alone():
    some = list(plan.jobs("table_a", "laptop", [], ["D1", "I1"]).values())
    assert len(some) == 12 and {job.config.setting for job in some} == {"D1", "I1"}


def test_experiments_that_share_a_group_share_its_notebook():
    shared = {Path(job.page).parent.name: job for job in plan.jobs("all-figures", "smoke", [0]).values()}
    first = shared["afpe-D1-F4-seed0"]
    assert list(first.weights)[:5] == ["baseline", "msd", "jsd", "kld", "fcl"]  # called as in Table A
    assert {"jsd64", "msd8+kld8", "jsd4"} <= set(first.weights)  # of the frontiers
    assert len(set(first.weights.values())) == len(first.weights)
    asked = {"consistency_start", "iterations", "pairing"}
    assert not asked & set(first.parameters)
    unusual = {name: {key: job.parameters[key] for key in asked & set(job.parameters)} for name, job in shared.items()}
    assert {name: keys for name, keys in unusual.items() if keys} == {
        "afpe-D1-F4-seed0-start0": {"consistency_start": 0.0},
        "afpe-D1-F4-seed0-shuffled": {"pairing": "shuffled"},
        "afpe-D1-F4-seed0-iterations72": {"iterations": 72},
    }
    assert {"l2a-D2-F4-seed0", "l2a-Iall-F1-seed0", "afpe-Dall-F1-seed0", "afpe-D1-F1-seed0"} <= set(shared)


def expand(**keys):
    shared = {"data": "simulated", "model": "afpe", "focal_indices": 4}
    return [(config, methods) for config, methods in experiments.groups(shared | keys, "laptop", 5)]


def test_lists_are_combined_parts_override_and_grids_add_methods():
    found = expand(settings=["D1", "I1"], length=[1, 3], methods=["baseline"])
    assert [(config.setting, config.iterations) for config, _ in found] == [
        ("D1", 600),
        ("D1", 1800),
        ("I1", 600),
        ("I1", 1800),
    ]
    assert all(config.seed == 5 and methods == ["baseline"] for config, methods in found)
    [(shorter, _)] = expand(settings=["D1"], length=0.07)
    assert shorter.iterations == 42 and type(shorter.iterations) is int
    eight, grid = {"focal_indices": 8, "methods": ["kld1"]}, {"grid": {"msd": [0, 4], "kld": [0, 2]}}
    found = expand(settings=["D1"], parts=[eight, grid])
    assert [(config.focal_indices, methods) for config, methods in found] == [
        (8, ["kld1"]),
        (4, ["baseline", "kld2", "msd4", "msd4+kld2"]),
    ]
    with pytest.raises(ValueError, match="pairing must be 'same' or 'shuffled'"):
        expand(settings=["D1"], methods=["fcl"], pairing="mixed")


def test_published_seeds_are_those_that_each_experiment_names():
    assert plan.read_seeds("published") == [] and plan.read_seeds(" 2 0 2") == [0, 2]
    for text in ("", "0,1", "all", "-1"):
        with pytest.raises(ValueError, match="seeds must be published or whole numbers"):
            plan.read_seeds(text)
    assert {job.config.seed for job in plan.jobs("frontiers", "smoke", []).values()} == {0}
    assert {job.config.seed for job in plan.jobs("frontiers", "smoke", [4, 7]).values()} == {4, 7}


def made(profile, names):
    """(config, weights) of every run that these experiments make with their published seeds."""
    for name in names:
        entry = experiments.read_experiment(name, profile)
        for config, methods in experiments.groups(entry, profile, 0):
            configs = [replace(config, seed=seed) for seed in entry["seeds"]]
            yield from itertools.product(configs, methods)


def test_every_run_that_a_claim_asks_for_is_made():
    names = plan.experiment_names()
    runs = {profile: set(made(profile, names)) for profile in ("laptop", "paper")}
    asked = 0
    for claim in claims.load_claims():
        arms = [arm for pair in (*claim.pairs, *claim.beyond) for arm in pair if "value" not in arm]
        for arm in arms:
            if "frontier" in arm:
                methods = ["baseline", *arm["frontier"].split(", ")]
            else:
                methods = [arm.get("method", arm.get("weights"))]
            for setting in claim.settings or [None]:
                config = claims.config(arm, claim.profile, setting)
                for seed, method in itertools.product(range(claim.seeds), methods):
                    run = (replace(config, seed=seed), method)
                    assert run in runs[claim.profile], (claim.id, setting, seed, method)
                    asked += 1
    assert asked > 1000


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"target": "figure"}, "target must be one of .* Did you mean 'figures'"),
        ({"target": "weights", "settings": "D7"}, "setting must be one of D1..D5"),
        ({"target": "weights", "model": "l2"}, "model must be 'afpe' or 'l2a', not 'l2'"),
        ({"target": "weights", "model": "l2a", "settings": "D1"}, "weights has no runs of l2a D1 in profile smoke"),
        ({"profile": "smok"}, "Did you mean 'smoke'"),
        ({"target": "render", "profile": "../../evil"}, "profile must be one of"),
        ({"seeds": [0, 1001]}, r"seeds \[1001\] chose the weights"),
        ({"target": "render"}, "smoke runs are never published"),
    ],
)
def test_impossible_plans_are_refused(asked, complaint):
    with pytest.raises(ValueError, match=complaint):
        plan.make(**{"target": "figures", "profile": "smoke"} | asked)


def test_figures_are_drawn_from_what_is_trained_and_rendering_trains_nothing():
    figures, committed, mine = (
        plan.make("figures", "smoke"),
        plan.make("render"),
        plan.make("render", "smoke", source="runs"),
    )
    assert figures.goals == list(figures.notebooks) == ["runs/smoke/figures/table_a.ipynb"] and figures.jobs
    assert not committed.jobs and "runs/rendering/laptop/simulated/table_b.ipynb" in committed.goals
    assert committed.goals[-1] == "runs/rendering/results-laptop-claims.txt"
    assert not mine.jobs and "runs/smoke/figures/table_b.ipynb" in mine.goals


def test_what_is_drawn_is_out_of_date_when_results_or_cells_change_but_not_with_outputs(tmp_path, monkeypatch):
    fake.copy_project(tmp_path, ["D1"])
    use_project(tmp_path, monkeypatch)
    record = tmp_path / "results/laptop/simulated/a/b.json"
    record.parent.mkdir(parents=True)
    marks = []
    for text in ("1", "22"):
        record.write_text(text)
        marks.append(plan.make("render").stored)
    assert len({"", *marks}) == 3
    notebook, cells = tmp_path / "notebooks/table_a.ipynb", plan.cells_digest("table_a")
    content = json.loads(notebook.read_text())
    for cell in content["cells"]:
        cell.pop("outputs", None)
    notebook.write_text(json.dumps(content))
    assert plan.cells_digest("table_a") == cells
    content["cells"][-1]["source"] = ["1 + 1"]
    content["cells"][-1]["cell_type"] = "code"
    notebook.write_text(json.dumps(content))
    assert plan.cells_digest("table_a") != cells
    code = plan.code_digest()
    weights = tmp_path / "experiments/weights.yml"
    weights.write_text(weights.read_text() + "# chosen anew\n")
    assert plan.code_digest() != code
    code = plan.code_digest()
    (tmp_path / "companion/report/tables.py").write_text("")
    assert plan.code_digest() != code
