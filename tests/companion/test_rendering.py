"""Rendering from stored results, in a copy of the project with results that no network made."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import fake
import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_notebook, new_output

from companion.batch import plan, rendering
from companion.notebooks import NotebookFailed
from companion.runs import writing

SMOKE = ["D1", "D2", "I1"]
LAPTOP = [view + str(frames) for view in "DI" for frames in range(1, 6)]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the project without results; records are written without asking git for each."""
    monkeypatch.setattr(writing, "provenance", fake.no_provenance)
    fake.copy_project(tmp_path, LAPTOP)
    return tmp_path


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "companion.batch.rendering", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(project)}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


def contents(*folders: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def outputs(notebook: Path) -> list:
    cells = nbformat.read(notebook, as_version=4).cells
    return [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]


def test_published_results_are_drawn_in_place(project):
    fake.write_results(project / "results/laptop/simulated", "laptop", LAPTOP, seeds=[0, 1])
    page = "runs/rendering/laptop/simulated/table_a.ipynb"
    first = run(project, "table_a", page)
    assert first.returncode == 0, first.stderr
    assert (project / page).exists()
    drawn = contents(project / "figures", project / "notebooks")
    figures = [f"{name}.{kind}" for name in ("figure_a", "figure_a_paper") for kind in ("pdf", "png", "json")]
    tables = {
        f"table_a{part}.csv" for part in ("", "_changes", "_pooled", "_terms", "_squared_errors", "_squared_errors_fcl")
    }
    assert {path.name for path in drawn} == {*figures, *tables, "table_a.ipynb"}
    notebook = project / "notebooks" / "table_a.ipynb"
    before = nbformat.read(fake.ROOT / "notebooks" / "table_a.ipynb", as_version=4)
    after = nbformat.read(notebook, as_version=4)
    assert [cell.source for cell in after.cells] == [cell.source for cell in before.cells]
    assert after.metadata == before.metadata
    shown = outputs(notebook)
    assert shown and not any(output.get("name") == "stderr" for output in shown)
    words = "".join(output.text for output in shown if output.output_type == "stream")
    assert "10 settings x 5 losses x 2 seeds = 100 runs" in words
    assert "+FCL lowers MSD* in 10 of 10 settings with every seed, TV in 10." in words
    everything = str(shown)
    assert str(project) not in everything and " at 0x" not in everything  # no paths, no addresses


@pytest.mark.slow
def test_every_section_is_drawn_from_stored_runs_and_only_again_when_these_change(tmp_path):
    sections = ["table_a", "table_b", "table_c", "figure_b", "whole_stack", "frontiers", "training_length"]
    fake.copy_project(tmp_path, LAPTOP, sections)
    names = [name for name in plan.experiment_names() if name != "backbones"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(fake.ROOT / "tests" / "fake.py"), "laptop", "0 1", *names]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    (tmp_path / "README.md").write_text("It quotes nothing.\n")
    for notebook in (tmp_path / "notebooks").glob("*.ipynb"):  # nor do they: not everything that is quoted is drawn here
        notebook.write_text(notebook.read_text(encoding="utf-8").replace("<!-- quote ", "<!-- "), encoding="utf-8")
    (tmp_path / "experiments/backbones.yml").unlink()
    for name in names:  # what is published is what was made up
        file = tmp_path / "experiments" / f"{name}.yml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"seeds": [0, 1]}))
    claims = yaml.safe_load((tmp_path / "experiments/claims.yml").read_text())
    claims["claims"] = [claim for claim in claims["claims"] if "layer_switches" not in str(claim)]  # these simulate again
    (tmp_path / "experiments/claims.yml").write_text(yaml.safe_dump(claims))
    batch = partial(subprocess.run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    draw = [sys.executable, "-m", "companion.batch", "render", "--cores", "2"]
    done = batch(draw)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in sections:
        shown = outputs(tmp_path / "notebooks" / f"{name}.ipynb")
        assert shown and not any(output.get("name") == "stderr" for output in shown), name
        assert str(tmp_path) not in str(shown) and " at 0x" not in str(shown), name
    figures = "figure_a figure_a_paper figure_b frontiers table_b table_b_curves table_c training_length claims".split()
    assert {path.stem for path in (tmp_path / "figures").glob("*.json")} == set(figures)
    assert "done: table_a" in done.stdout and "done:" not in batch(draw).stdout
    drawn = contents(tmp_path / "figures", tmp_path / "notebooks")
    for path in tmp_path.glob("runs/rendering/laptop/simulated/*.ipynb"):
        path.unlink()
    assert "done: table_a" in batch(draw).stdout and contents(tmp_path / "figures", tmp_path / "notebooks") == drawn
    broken = tmp_path / "results/laptop/simulated/afpe-D1-F8-seed1/baseline.npz"
    broken.write_bytes(broken.read_bytes()[:50])
    before = contents(tmp_path / "figures")
    failed = batch(draw)
    assert failed.returncode == 1 and "afpe-D1-F8-seed1/baseline.npz is" in failed.stderr
    assert "make experiment NAME=table_c PROFILE=laptop SEEDS=1" in failed.stderr
    assert contents(tmp_path / "figures") == before


def test_text_that_came_in_pieces_is_joined_and_sliders_are_left_out():
    def stream(text, name="stdout"):
        return new_output("stream", name=name, text=text)

    picture = new_output("display_data", data={"text/plain": "<Figure>"})
    slider = new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {}, "text/plain": "interactive"})
    pieces = [slider, stream("a\n"), stream("b\n"), stream("c\n", "stderr"), picture, stream("d\n"), stream("e\n")]
    expected = [stream("a\nb\n"), stream("c\n", "stderr"), picture, stream("d\ne\n")]
    assert rendering._stored(pieces) == expected


def test_runs_made_here_are_drawn_beside_them_and_a_missing_one_is_named(project):
    folder = project / "runs/smoke/simulated"
    fake.write_results(folder, "smoke", SMOKE, seeds=[0])
    committed = contents(project / "notebooks")
    page, how = "runs/smoke/figures/table_a.ipynb", ["--profile", "smoke", "--source", "runs"]
    done = run(project, "table_a", page, *how)
    assert done.returncode == 0, done.stderr
    assert (project / "runs/smoke/figures/figure_a.png").exists()
    assert "1 seeds = 15 runs" in str(outputs(project / page))
    (folder / "afpe-D2-F4-seed0" / "kld4.npz").unlink()
    failed = run(project, "table_a", page, *how)
    assert failed.returncode == 1 and "make experiment NAME=table_a" in failed.stderr
    assert "afpe-D2-F4-seed0/kld4.npz is missing" in failed.stderr
    assert contents(project / "notebooks") == committed
    assert not (project / "figures").exists() and not (project / "results").exists()


def test_what_is_committed_is_kept_apart_from_what_was_made_here():
    assert rendering.output_folder("laptop", "results") == "figures"
    assert rendering.output_folder("paper", "results") == "figures/paper"
    assert rendering.output_folder("laptop", "results", "learnaf") == "figures/learnaf"
    assert rendering.output_folder("smoke", "runs", "learnaf") == "runs/smoke/figures/learnaf"


def test_section_notebooks_are_known_by_their_parameters(tmp_path):
    sources = {
        "b_section": 'profile: str = "laptop"\nsource: str = "results"\nseeds: str = "all"\nfigures: str = "figures"',
        "a_template": 'profile: str = "laptop"\nseed: int = 0',
        "c_lesson": "1 + 1",
    }
    for name, source in sources.items():
        cell = new_code_cell(source, metadata={"tags": ["parameters"]} if ":" in source else {})
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = new_notebook(cells=[cell], metadata={"kernelspec": kernel})
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    assert rendering.section_notebooks(tmp_path) == [tmp_path / "b_section.ipynb"]
    assert fake.ROOT / "notebooks/table_a.ipynb" in rendering.section_notebooks(fake.ROOT / "notebooks")


def test_a_notebook_of_another_profile_is_drawn_with_what_is_published_and_with_its_own():
    def drawn(profile, source):
        return {path.stem for path in rendering.section_notebooks(fake.ROOT / "notebooks", profile=profile, source=source)}

    assert "backbones" in drawn("laptop", "results") & drawn("paper", "results") & drawn("paper", "runs")
    assert drawn("laptop", "results") - {"backbones"} == drawn("laptop", "runs") == drawn("smoke", "runs")


@pytest.mark.parametrize(("profile", "given"), [("laptop", []), ("paper", ["figures", "profile", "seeds", "source"])])
def test_what_is_published_is_drawn_with_the_defaults_of_each_notebook(profile, given, monkeypatch):
    def execute(notebook, page, parameters):
        raise NotebookFailed(sorted(parameters))

    monkeypatch.setattr(rendering, "execute", execute)
    wanted = {"profile": profile, "data": "simulated", "source": "results", "seeds": "all"}
    wanted["figures"] = rendering.output_folder(profile, "results")
    with pytest.raises(NotebookFailed) as found:
        rendering.render(fake.ROOT / "notebooks/backbones.ipynb", Path("page.ipynb"), wanted)
    assert found.value.args == (given,)
