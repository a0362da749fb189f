"""DATA=learnaf: the same experiments on photographs, with places, weights and sizes of their own."""

import json

import matplotlib.pyplot as plt
import pytest
from PIL import Image
from test_tables import made_up

from companion import weights
from companion.batch import plan, rendering
from companion.profiles import profile_config, read_profile
from companion.project import project_root
from companion.report import plots, tables
from companion.weights import chosen_weights


def test_photographs_are_asked_for_before_anything_runs(monkeypatch):
    monkeypatch.setattr(plan, "PHOTOGRAPHS", "data/nowhere/report.txt")
    with pytest.raises(ValueError, match="nowhere/report.txt is missing: run `make learnaf ROOT=...`"):
        plan.jobs("figures", "smoke", [0], data="learnaf")


def test_the_same_runs_in_a_place_of_their_own(monkeypatch):
    monkeypatch.setattr(plan, "PHOTOGRAPHS", "pyproject.toml")
    simulated, photographs = (
        list(plan.jobs("figures", "smoke", [0], data=data).values()) for data in ("simulated", "learnaf")
    )
    assert [job.page.replace("/simulated/", "/learnaf/") for job in simulated] == [job.page for job in photographs]
    everything = [plan.jobs("all-figures", "smoke", [0], data=data) for data in ("simulated", "learnaf")]
    assert len(everything[0]) == len(everything[1]) > len(simulated)
    assert {job.parameters["data"] for job in photographs} == {"learnaf"}
    assert photographs[0].stacks == [f"data/smoke/learnaf/{split}/stacks.json" for split in ("train", "test")]
    validation = plan.jobs("weights", "smoke", [], data="learnaf").values()
    assert all(job.page.startswith("runs/smoke/learnaf-validation/") for job in validation)


def test_weights_of_photographs_are_their_own(monkeypatch):
    entry = {method: "msd1" for method in ("msd", "jsd", "kld", "fcl")}
    monkeypatch.setattr(weights, "read_data", lambda name, schema: {"laptop": {"afpe": {"D1": entry}}})
    assert chosen_weights("laptop", "afpe", "D1")["fcl"].msd == 1
    with pytest.raises(ValueError, match="no msd, .* for laptop-learnaf, afpe, D1.*PROFILE=laptop DATA=learnaf"):
        chosen_weights("laptop", "afpe", "D1", data="learnaf")


def test_sizes_may_depend_on_the_data():
    assert profile_config("paper").train_stacks == read_profile("paper")["train_stacks"] == 16384
    stacks = read_profile("paper", data="learnaf")["train_stacks"]
    assert profile_config("paper", data="learnaf").train_stacks == stacks > 16384


def test_photographs_are_drawn_by_the_notebooks_that_can():
    notebooks = project_root() / "notebooks"
    simulated, photographs = (
        {path.name for path in rendering.section_notebooks(notebooks, data)} for data in ("simulated", "learnaf")
    )
    sections = {"table_a", "figure_b", "whole_stack", "table_b", "table_c", "frontiers", "training_length"}
    assert {f"{name}.ipynb" for name in sections} == photographs < simulated


def test_every_table_and_figure_says_what_it_is_of(tmp_path):
    summary = tables.summarise(made_up(seeds=[0, 1]).assign(data="learnaf"))
    assert (summary["data"] == "learnaf").all()
    assert "Learning-to-Autofocus photographs</caption>" in tables.table_html(summary, "name")
    assert "<caption>" not in tables.table_html(summary.drop(columns="data"), "name")
    figure = plots.figure_a(summary)
    plots.save_figure(figure, "figure", summary, [], tmp_path, "learnaf")
    assert figure.get_suptitle() == "Learning-to-Autofocus photographs"
    assert json.loads((tmp_path / "figure.json").read_text())["data"] == "learnaf"
    assert Image.open(tmp_path / "figure.png").width > 100
    assert plots.label_data(figure, "own photographs").get_suptitle() == "own photographs"
    plt.close(figure)
