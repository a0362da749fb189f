"""Notebooks as they are committed: executed in order, thin, and made as a lesson."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from companion.notebooks import has_outputs

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
LESSONS = sorted(FOLDER.glob("0[0-9]_*.ipynb"))
TEACHING = [*LESSONS, *sorted(FOLDER.glob("0[0-9][a-z]_*.ipynb"))]  # with what belongs to a lesson, which has no exercises
SOLUTIONS = sorted((FOLDER / "solutions").glob("*.ipynb"))
TEMPLATES = {"train", "evaluate"}
CHECKED = sorted(path for path in FOLDER.rglob("[!.]*.ipynb") if path.stem not in TEMPLATES)
WIDGET = "application/vnd.jupyter.widget-view+json"
PRIVATE = r" at 0x|site-packages|/(?:home|Users|root|tmp|work)/|it/s|█|Warning"


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def read(path):
    """The notebook's cells, and those of them with code."""
    cells = nbformat.read(path, as_version=4).cells
    return cells, [cell for cell in cells if cell.cell_type == "code"]


def calls(cell, *names):
    """Calls in a cell of functions or methods with these names."""
    found = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
    return [call for call in found if getattr(call.func, "id", getattr(call.func, "attr", None)) in names]


def prose(cells):
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def is_setup(cell):
    """Whether a cell has the parameters, or starts by importing."""
    return "parameters" in cell.metadata.get("tags", []) or cell.source.startswith(("import ", "from "))


# Outputs


@each(CHECKED)
def test_outputs_are_there_and_can_be_compared(path):
    _, code = read(path)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        slider = calls(cell, "interact")
        assert ("nbval-ignore-output" in cell.metadata.get("tags", [])) == bool(slider), cell.source
        if calls(cell, "print", "check", "display", "show") and not slider:
            assert cell.outputs, f"no output is stored of\n{cell.source}"
        for output in cell.outputs:
            assert output.output_type in ("stream", "display_data") and output.get("name") != "stderr", cell.source
            data = output.get("data", {})
            assert WIDGET not in data, "a stored slider is dead: leave it out, its static twin is drawn by another cell"
            text = output.get("text", "") + data.get("text/plain", "") + data.get("text/html", "")
            assert not re.search(PRIVATE, text), text
            shown = {"image/png", "image/gif", "text/html"} & set(data)
            assert shown or not data.get("text/plain", "").startswith("<"), text


@each(sorted(FOLDER / f"{name}.ipynb" for name in TEMPLATES))
def test_templates_hold_no_outputs_and_so_are_not_compared(path):
    assert not has_outputs(path)


@each(CHECKED)
def test_kernel_and_size(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.kernelspec.name == "python3" and "widgets" not in notebook.metadata
    assert path.stat().st_size < 3.5e6, "too large for a page: fewer or smaller pictures"  # Figures G to N need 3.3 MB


# Thinness


def names_of_fcl():
    statements = [node for file in (ROOT / "fcl").rglob("*.py") for node in ast.parse(file.read_text()).body]
    return {node.name for node in statements if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


@each(TEACHING + SOLUTIONS)
def test_thin(path):
    cells, code = read(path)
    lines = [line for cell in code for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) <= 120
    assert len(prose(cells).split()) >= 6 * len(lines)
    nodes = [node for cell in code for node in ast.walk(ast.parse(cell.source))]
    assert not [node.name for node in nodes if isinstance(node, ast.ClassDef)]
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    assert not defined & names_of_fcl(), "fcl defines these"


@each(sorted(FOLDER.rglob("*.ipynb")))
def test_parameters_are_declared_one_by_one(path):
    for cell in read(path)[1]:
        if "parameters" in cell.metadata.get("tags", []):
            for line in cell.source.splitlines():
                assert re.fullmatch(r"\w+: (str|int|float|bool) = .+  # .+", line), line
                ast.literal_eval(ast.parse(line).body[0].value)


# Lessons


def test_all_lessons_are_found():
    assert [path.name[:2] for path in LESSONS] == ["00", "01", "02", "03", "04", "05"]
    assert [path.name[:3] for path in TEACHING[6:]] == ["05b"]


@each(TEACHING)
def test_a_question_before_each_cell_and_prose_after_the_last(path):
    cells, _ = read(path)
    for before, cell in zip(cells, cells[1:]):
        if cell.cell_type == "code" and not is_setup(cell):
            assert before.cell_type == "markdown" and "?" in before.source, f"no question before\n{cell.source}"
    assert cells[-1].cell_type == "markdown"


@each(TEACHING)
def test_a_displayed_equation_is_checked_by_the_next_cell(path):
    cells, _ = read(path)
    for equation, cell in zip(cells, cells[1:]):
        if equation.cell_type == "markdown" and "$$" in equation.source:
            assert cell.cell_type == "code" and (calls(cell, "check") or "assert" in cell.source), equation.source


@each(LESSONS)
def test_sliders_have_static_twins(path):
    _, code = read(path)
    sliders = [call.args[0].id for cell in code for call in calls(cell, "interact")]
    assert sliders, "a lesson has a slider: `interact(function, ...)`"
    for name in sliders:
        twins = [cell for cell in code if calls(cell, name) and cell.outputs and not calls(cell, "interact")]
        assert twins or not any(cell.execution_count for cell in code), f"{name} is drawn by no other cell"


@each(LESSONS)
def test_two_exercises_with_solutions_and_a_last_section_of_doubts(path):
    cells, _ = read(path)
    headings = re.findall(r"^## (.+)$", prose(cells), re.MULTILINE)
    assert headings[-2:] == ["Exercises", "What could be wrong here"]
    solved, code = read(FOLDER / "solutions" / path.name)
    assert f"(solutions/{path.name})" in prose(cells)
    assert any(calls(cell, "check") for cell in code)
    for number in (1, 2):
        assert f"**Exercise {number}.**" in prose(cells) and f"## Exercise {number}" in prose(solved)
    assert prose(cells).count("*Hint:") == 2
