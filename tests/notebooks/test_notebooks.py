"""Notebooks are strict about their parameters, and executed pages are complete or carry another name."""

import ast
import json
import subprocess
import sys
import tempfile

import nbformat
import pytest
from tiny import ROOT

from companion.notebooks import NotebookFailed, ParameterError, check_parameters, execute, partial_page

TRAIN = nbformat.read(ROOT / "notebooks" / "train.ipynb", as_version=4)
CODE = [cell.source for cell in TRAIN.cells if cell.cell_type == "code"]
DECLARED = 'name: str = "a"  # help\nsteps: int = 3\nrate: float = 0.5\nflip: bool = True'


def run_check(injected, declared=DECLARED):
    """What a kernel does: run the parameter cell and papermill's, then check."""
    cells, namespace = ["", declared, f"# Parameters\n{injected}\n", "check_parameters(In, globals())"], {}
    for cell in cells[:3]:
        exec(cell, namespace)
    check_parameters(cells, namespace)


@pytest.mark.parametrize("injected", ["", "steps = 4", 'rate = 2\nname = "b"', "rate = 1e-3\nflip = False"])
def test_declared_parameters_of_the_declared_type_pass(injected):
    run_check(injected)


@pytest.mark.parametrize(
    ("injected", "complaint"),
    [
        ("step = 4", "no parameter 'step'. Did you mean 'steps'?"),
        ("zzz = None", "no parameter 'zzz'"),
        ('steps = "4"', "steps must be int, not '4', which is str"),
        ("steps = 4.0", "steps must be int, not 4.0"),
        ("steps = True", "steps must be int, not True"),
        ("rate = False", "rate must be float, not False"),
        ("name = 3", "name must be str, not 3"),
        ("flip = 1", "flip must be bool, not 1"),
        ("name = None", "name must be str, not None"),
    ],
)
def test_other_parameters_are_refused_by_name(injected, complaint):
    with pytest.raises(ParameterError, match="The parameters are name, steps, rate, flip") as error:
        run_check(injected)
    assert complaint in str(error.value)


def test_every_problem_is_named_at_once():
    with pytest.raises(ParameterError) as error:
        run_check('nam = "x"\nsteps = "4"')
    assert "'nam'" in str(error.value) and "steps must be int" in str(error.value)


def test_other_cells_and_names_of_a_running_session_do_not_matter():
    cells = ["", "import os", DECLARED, "%matplotlib inline", "zzz = 3", "check_parameters(In, globals())"]
    check_parameters(cells, {"name": "a", "steps": 1, "rate": 1.0, "flip": True, "zzz": 3})


def test_a_notebook_run_from_its_middle_says_so():
    with pytest.raises(ParameterError, match="from its top"):
        check_parameters(["", "x = 3"], {"x": 3})


# train.ipynb


def start_train(**parameters):
    """Run train.ipynb up to the point where it opens its group: whatever is wrong must be noticed by then."""
    injected = "\n".join(["# Parameters", *(f"{name} = {value!r}" for name, value in parameters.items())])
    opening = next(number for number, cell in enumerate(CODE) if "Group.open" in cell)
    namespace = {"In": [""]}
    for cell in [CODE[0], injected, *CODE[1 : opening + 1]]:
        namespace["In"].append(cell)
        exec(cell, namespace)


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"sed": 1}, "Did you mean 'seed'"),
        ({"seed": "0"}, "seed must be int"),
        ({"seed": -1}, "seed must be"),
        ({"profile": "smok"}, "Did you mean 'smoke'"),
        ({"profile": "smoke", "setting": "D7"}, "setting must be"),
        ({"profile": "smoke", "model": "AFPE"}, "model must be"),
        ({"profile": "smoke", "data": "real"}, "data must be"),
        ({"profile": "smoke", "methods": "baseline, fc"}, "Did you mean 'fcl'"),
        ({"profile": "smoke", "methods": ""}, "methods"),
        ({"profile": "smoke", "methods": "fcl, fcl"}, "twice"),
        ({"profile": "smoke", "focal_indices": 3}, "batch"),
        ({"profile": "smoke", "consistency_start": 1.5}, "consistency_start must be"),
        ({"profile": "smoke", "iterations": -24}, "iterations must be"),
        ({"profile": "smoke", "pairing": "other"}, "pairing must be"),
        ({"profile": "smoke", "split": "train"}, "split must be"),
    ],
)
def test_train_refuses_bad_parameters_before_any_work(parameters, complaint):
    with pytest.raises(ValueError) as error:
        start_train(**parameters)
    assert complaint in str(error.value)


def test_papermill_by_hand_fails_on_a_misspelt_parameter(tmp_path):
    template, page = ROOT / "notebooks" / "train.ipynb", tmp_path / "page.ipynb"
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(template), str(page), "-p", "sed", "1"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode != 0
    assert "there is no parameter 'sed'. Did you mean 'seed'?" in result.stderr


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_templates_are_short_commented_and_tagged(name):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.metadata.get("tags", []) == ["parameters"] for cell in cells] == [True] + [False] * (len(cells) - 1)
    assert all(len(cell.source.splitlines()) <= 12 for cell in cells)
    for line, statement in zip(cells[0].source.splitlines(), ast.parse(cells[0].source).body, strict=True):
        assert isinstance(statement, ast.AnnAssign) and "  # " in line
    defined = (ast.FunctionDef, ast.ClassDef)
    assert not any(isinstance(node, defined) for cell in cells for node in ast.walk(ast.parse(cell.source)))


# Execution


def write_notebook(path, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})
    nbformat.write(notebook, path)
    return path


def test_a_page_is_replaced_only_on_success_and_failures_name_cell_error_and_file(tmp_path):
    sources = ["steps: int = 3  # help", "import fcl\nprint(fcl.__name__, 10 // steps)"]
    template = write_notebook(tmp_path / "template.ipynb", *sources)
    page = tmp_path / "folder" / "page.ipynb"
    execute(template, page, {"steps": 5})
    done = page.read_bytes()
    assert b"fcl 2" in done and not partial_page(page).exists()
    with pytest.raises(NotebookFailed) as error:
        execute(template, page, {"steps": 0})
    cell, reason, file = str(error.value).splitlines()
    assert cell == "cell  [3] print(fcl.__name__, 10 // steps)"
    assert reason.startswith("error ZeroDivisionError") and file == f"open  {partial_page(page)}"
    assert page.read_bytes() == done and b"ZeroDivisionError" in partial_page(page).read_bytes()


def test_a_kernel_that_dies_is_a_failure_too(tmp_path):
    template = write_notebook(tmp_path / "template.ipynb", "steps: int = 3", "import os\nos._exit(1)")
    with pytest.raises(NotebookFailed, match="error .*died"):
        execute(template, tmp_path / "page.ipynb", {})


def test_the_kernel_is_this_python_whatever_another_project_has_registered(tmp_path, monkeypatch):
    other = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps({"argv": ["false", "{connection_file}"], "display_name": "other", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    deep = tmp_path / ("d" * 80)  # sockets have short paths
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    sources = [
        "steps: int = 3",
        "import sys\nprint(sys.executable)",
        "from companion.notebooks import interact\ninteract(print)",
    ]
    page = tmp_path / "page.ipynb"
    execute(write_notebook(tmp_path / "template.ipynb", *sources), page, {})
    _, program, sliders = nbformat.read(page, as_version=4).cells
    assert program.outputs[0].text.strip() == sys.executable
    assert sliders.outputs == []  # nobody is there to move them
