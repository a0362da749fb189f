"""Drawing tables and figures from stored results: section notebooks are executed, which read and never train.

    python -m companion.batch.rendering table_a PAGE [--profile laptop] [--source results|runs] [--seeds "0 1"]

A section notebook is one with a parameter `figures`, the folder it draws into. Of the committed rendering (its own defaults)
the outputs go back into notebooks/; any other leaves the executed notebook alone, at PAGE.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
from papermill import inspect_notebook

from companion.notebooks import NotebookFailed, execute
from companion.project import project_root
from fcl.files import replacing

WIDGET = "application/vnd.jupyter.widget-view+json"


def _defaults(notebook: Path) -> dict[str, str]:
    """Declared parameters and the texts they stand at."""
    return {name: entry["default"].strip("\"'") for name, entry in inspect_notebook(str(notebook)).items()}


def section_notebooks(folder: Path, data: str = "simulated", profile: str = "laptop", source: str = "results") -> list[Path]:
    """The notebooks of a folder that render a section of the supplement, by name. Of other data, those that can.

    One whose default is another profile than the laptop's needs runs of that profile: it is left out where others are drawn,
    except with all that is published.
    """
    wanted = {"figures"} | ({"data"} if data != "simulated" else set())
    everything = (profile, source) == ("laptop", "results")
    declared = {path: _defaults(path) for path in sorted(folder.glob("*.ipynb"))}
    return [
        path
        for path, defaults in declared.items()
        if wanted <= set(defaults) and (everything or defaults.get("profile", "laptop") in ("laptop", profile))
    ]


def output_folder(profile: str, source: str, data: str = "simulated") -> str:
    """Where figures go, seen from the project's folder: figures/ for what is published, runs/<profile>/figures for runs;
    those of other profiles and data into folders of their own in there. ValueError for smoke results: there are none.
    """
    if source == "results" and profile == "smoke":
        raise ValueError("smoke runs are never published: add SOURCE=runs")
    published = "figures" if profile == "laptop" else f"figures/{profile}"
    return (published if source == "results" else f"runs/{profile}/figures") + ("" if data == "simulated" else f"/{data}")


def render(notebook: Path, page: Path, wanted: Mapping[str, str]) -> None:
    """Execute a section notebook, which becomes `page`. wanted: the parameters that it takes, if it declares them.

    Raises NotebookFailed, naming the cell, the error and the file to open; the notebook is then as before.
    """
    declared = _defaults(notebook)
    parameters = {name: value for name, value in wanted.items() if name in declared}
    if wanted["profile"] == "laptop":
        parameters.pop("profile", None)  # every notebook's default, but where another profile is all it shows
    if not parameters.items() <= declared.items():
        execute(notebook, page, parameters)
        return
    execute(notebook, page, {})
    # Only the outputs go back, so that drawing the same numbers again leaves the committed file as it is.
    committed, executed = (nbformat.read(path, as_version=4) for path in (notebook, page))
    for cell, done in zip(committed.cells, executed.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = _stored(done.outputs), done.execution_count
    with replacing(notebook) as temporary:
        nbformat.write(committed, temporary)


def _stored(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs as they are committed: one for what a cell printed in one go, which a busy machine may deliver in several
    pieces, and no widget, which is dead without a kernel.
    """
    stored: list[nbformat.NotebookNode] = []
    for output in outputs:
        if stored and output.output_type == "stream" and output.get("name") == stored[-1].get("name"):
            stored[-1].text += output.text
        elif WIDGET not in output.get("data", {}):
            stored.append(output)
    return stored


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what one section notebook shows. When it stops, say where to look and exit with 1."""
    parser = argparse.ArgumentParser(prog="python -m companion.batch.rendering", description=main.__doc__)
    parser.add_argument("notebook", help="its name, such as table_a")
    parser.add_argument("page", type=Path, help="where the executed notebook goes")
    parser.add_argument("--profile", default="laptop", help="whose runs (default: laptop)")
    parser.add_argument("--data", default="simulated", choices=["simulated", "learnaf"])
    parser.add_argument("--source", default="results", choices=["results", "runs"])
    parser.add_argument("--seeds", default="all", help='which seeds, as "0 1" (default: all that are complete)')
    options = parser.parse_args(arguments)
    wanted = {name: getattr(options, name) for name in ("profile", "data", "source", "seeds")}
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # notebooks share the cores, not each notebook all of them
    try:
        wanted["figures"] = output_folder(options.profile, options.source, options.data)
        render(project_root() / "notebooks" / f"{options.notebook}.ipynb", options.page, wanted)
    except (NotebookFailed, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
