"""notebooks/00_start_here.ipynb, drawn from results that no network made, until there are published ones."""

import json
import shutil

import fake
import nbformat
import numpy as np
from tiny import use_project

from companion import notebooks
from companion.runs import writing
from companion.runs.reading import load_predictions, test_labels


def test_it_shows_the_median_stack_and_checks_what_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "provenance", fake.no_provenance)
    fake.copy_project(tmp_path, ["D1"])
    shutil.copy(fake.ROOT / "requirements.lock", tmp_path)
    folder = tmp_path / "results/laptop/simulated"
    fake.write_results(folder, "laptop", ["D1"], seeds=[0, 1])
    use_project(tmp_path, monkeypatch)
    monkeypatch.setenv("PYTHONPATH", "")
    page = tmp_path / "page.ipynb"
    notebooks.execute(fake.ROOT / "notebooks" / "00_start_here.ipynb", page, {})

    drawn = json.loads((tmp_path / "figures" / "start_here.json").read_text())
    assert drawn["runs"] == ["afpe-D1-F4-seed0/baseline", "afpe-D1-F4-seed0/msd4+kld4"]
    baseline, fcl = (load_predictions(folder / f"{run}.npz")["argmax"] for run in drawn["runs"])
    stack, spread = drawn["numbers"]["stack"], np.std(baseline, axis=1)
    assert (spread < spread[stack]).sum() == len(spread) // 2
    assert drawn["numbers"]["baseline"] == baseline[stack].tolist() and drawn["numbers"]["fcl"] == fcl[stack].tolist()
    assert drawn["numbers"]["label"] == test_labels(folder)[0][stack]
    cells = nbformat.read(page, as_version=4).cells
    said = "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))
    assert "ok  MSD* of +FCL" in said and "ok  problems that must be solved first: 0 (expected 0)" in said
