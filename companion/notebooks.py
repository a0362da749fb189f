"""Running notebooks strictly: they check their own parameters, and only a page that is complete has its name.

python -m companion.notebooks notebooks/train.ipynb page.ipynb --parameters '{"profile": "smoke", "setting": "D2"}'
"""

import argparse
import ast
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from companion.project import project_root, use_own_caches
from fcl.config import closest

UNATTENDED = "FCL_UNATTENDED"  # in the environment of a kernel: nobody is there to move a slider
TYPES = {"str": (str,), "int": (int,), "float": (float, int), "bool": (bool,)}  # what fits a declared type


class ParameterError(ValueError):
    """A notebook was given a parameter that it doesn't have, or a value of another type."""


class NotebookFailed(RuntimeError):
    """A notebook stopped: the cell, the error and the file to open, in three lines."""


def _assigned(source: str) -> dict[str, str | None]:
    """name -> annotation of a cell that only assigns to plain names; nothing of any other cell."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a cell with magics
        return {}
    annotations: dict[str, str | None] = {}
    for statement in statements:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=ast.Name(id=annotation), value=ast.expr()):
                annotations[name] = annotation
            case ast.Assign(targets=[ast.Name(id=name)]):
                annotations[name] = None
            case _:
                return {}
    return annotations


def check_parameters(cells: Sequence[str], namespace: Mapping[str, Any]) -> None:
    """Refuse unknown, misspelt and mistyped parameters: `check_parameters(In, globals())` in a first cell.

    papermill assigns whatever it is given, in a cell that starts with "# Parameters", whether or not the notebook knows the
    name. cells: the sources of the cells run so far (IPython's `In`), among them the parameter cell, in which every line
    reads `name: type = literal  # help` with a type of str, int, float or bool. namespace: the values. Whether these are in
    range is for those to say who use them. Raises ParameterError with a line for each problem.
    """
    if not any(cells):  # nbval keeps no history, and runs the parameter cell as it stands
        return
    declared: dict[str, str] = {}
    for assigned in map(_assigned, cells):
        if assigned and None not in assigned.values():
            declared = assigned
    if not declared:
        raise ParameterError("the parameter cell wasn't run: run the notebook from its top")
    injected = [name for cell in cells if cell.startswith("# Parameters") for name in _assigned(cell)]
    problems = {
        f"there is no parameter {name!r}.{closest(name, declared)}": None for name in injected if name not in declared
    }
    for name, kind in declared.items():
        value = namespace[name]
        if type(value) not in TYPES[kind]:
            problems[f"{name} must be {kind}, not {value!r}, which is {type(value).__name__}."] = None
    if problems:
        raise ParameterError("\n".join([*problems, f"The parameters are {', '.join(declared)}."]))


def has_outputs(notebook: Path) -> bool:
    """Whether anything is stored in a notebook: a template, or a notebook that is still to be run, holds no outputs."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return any(cell.get("outputs") for cell in cells)


def follow(texts: Iterable[str]) -> None:
    """Show the last of `texts` in a line that is rewritten: one output of a cell, however long it works."""
    from IPython.display import Pretty, display

    line = display(Pretty("starting"), display_id=True)
    for text in texts:
        line.update(Pretty(text))


def interact(function: Callable[..., object], **controls: object) -> None:
    """Sliders as by `ipywidgets.interact` where a person can move them; the cell that follows draws their static twin."""
    if UNATTENDED not in os.environ:
        from ipywidgets import interact as sliders

        sliders(function, **controls)


def partial_page(page: Path) -> Path:
    """Where an executed notebook lies while it runs, and when it has failed."""
    return page.with_suffix(".partial.ipynb")


def execute(template: Path, page: Path, parameters: Mapping[str, Any]) -> None:
    """Run `template` with `parameters`; the executed notebook becomes `page` when it has come to its end.

    The kernel is the Python that calls this, starts in the project's folder and can import what lies there. Raises
    NotebookFailed; what was executed until then is at `partial_page(page)`.
    """
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError
    from papermill.log import logger

    root, template, page = project_root(), template.absolute(), page.absolute()
    use_own_caches()
    partial = partial_page(page)
    page.parent.mkdir(parents=True, exist_ok=True)
    logger.setLevel("ERROR")  # of unknown parameters it only warns, while check_parameters stops
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, [str(root), *paths])), UNATTENDED: "1"}
    cell = "(unknown)"
    try:
        with own_kernel() as options:
            execute_notebook(template, partial, dict(parameters), cwd=root, progress_bar=False, **options)
    except PapermillExecutionError as error:
        code = [line for line in error.source.splitlines() if not line.startswith(("#", "%", "import ", "from "))]
        cell, reason = f"[{error.exec_count}] {''.join(code[:1])}", f"{error.ename}: {error.evalue}"
    except RuntimeError as error:  # the kernel died, or didn't start
        reason = str(error)
    else:
        os.replace(partial, page)
        return
    raise NotebookFailed(f"cell  {cell}\nerror {' '.join(reason.split())}\nopen  {partial}")


@contextlib.contextmanager
def own_kernel() -> Iterator[dict[str, Any]]:
    """Options of papermill for a kernel of this very Python that talks through files of its own, removed at the end.

    A kernelspec named python3 may be another project's. TCP ports are raced for by kernels that start together.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from traitlets.config import Config

    class ThisPython(AsyncKernelManager):
        kernel_spec = KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])

    with tempfile.TemporaryDirectory(prefix="fcl", dir=_short_folder()) as folder:
        sockets = {} if sys.platform == "win32" else {"KernelManager": {"transport": "ipc", "ip": f"{folder}/k"}}
        yield {"kernel_name": "python3", "kernel_manager_class": ThisPython, "config": Config(sockets)}


def _short_folder() -> str | None:
    """A folder for sockets, whose paths have at most about 100 letters."""
    return "/tmp" if len(tempfile.gettempdir()) > 60 and os.access("/tmp", os.W_OK) else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one notebook. When it fails, say in three lines where to look, and exit with 1."""
    parser = argparse.ArgumentParser(prog="python -m companion.notebooks", description=main.__doc__)
    parser.add_argument("template", type=Path)
    parser.add_argument("page", type=Path)
    parser.add_argument("--parameters", type=json.loads, default={}, help="as JSON")
    options = parser.parse_args(arguments)
    try:
        execute(options.template, options.page, options.parameters)
    except NotebookFailed as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
