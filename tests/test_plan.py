"""Which notebooks a target needs."""

from pathlib import Path

import pytest

from fcl import plan

RUNS = "runs/smoke/simulated"


def test_figures_are_one_notebook_for_each_setting_and_seed_longest_first():
    jobs = plan.jobs("figures", "smoke", [0, 3])
    groups = [Path(job.page).parent.name for job in jobs]
    assert sorted(groups) == sorted(
        f"afpe-{setting}-F4-seed{seed}" for setting in ("D1", "D2", "I1") for seed in (0, 3)
    )
    assert groups[0].startswith("afpe-D2") and groups[1].startswith("afpe-D2")
    first = jobs[0]
    assert first.page == f"{RUNS}/{groups[0]}/train.ipynb"
    assert first.stacks == [f"data/smoke/simulated/{split}/stacks.json" for split in ("train", "test")]
    assert first.parameters["methods"] == "baseline, msd, jsd, kld, fcl"
    assert first.weights["fcl"] == "msd4+kld4" and first.config.iterations == 24


def test_weights_are_chosen_on_validation_stacks_from_seventeen_runs_per_notebook():
    jobs = plan.jobs("weights", "smoke", [0])
    assert {job.config.seed for job in jobs} == {1000, 1001} and len(jobs) == 6
    assert all(job.page.startswith("runs/smoke/simulated-validation/") for job in jobs)
    assert all(job.parameters["split"] == "validation" and len(job.weights) == 17 for job in jobs)


def test_experiments_that_share_a_group_share_its_notebook(monkeypatch):
    table = plan.read_experiment("table_a.yml", "smoke")
    other = table | {"settings": ["D1"], "methods": ["baseline", "msd4+kld4", "jsd64"]}
    monkeypatch.setattr(plan, "_figures", lambda target, profile: [table, other])
    shared = {job.config.setting: job for job in plan.jobs("all-figures", "smoke", [0])}
    assert len(shared) == 3
    assert list(shared["D1"].weights) == ["baseline", "msd", "jsd", "kld", "fcl", "jsd64"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("figure", "smoke", [0]), "target must be one of"),
        (("figures", "smok", [0]), "Did you mean 'smoke'"),
        (("figures", "smoke", [0, 1001]), r"seeds \[1001\] chose the weights"),
    ],
)
def test_impossible_plans_are_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        plan.jobs(*arguments)
