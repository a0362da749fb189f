"""Draw every table and figure from stored results: execute the section notebooks, which read and never train.

    python -m companion.report.render [--profile laptop] [--source results|runs] [--seeds "0 1"] [--out FOLDER]

A section notebook is one with a parameter `figures`, the folder it draws into. The committed rendering (its own
defaults) is written back into notebooks/; any other lies beside the figures it drew.
"""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import nbformat
from papermill import inspect_notebook

from companion.notebooks import NotebookFailed, execute
from companion.project import project_root
from fcl.config import closest


def _defaults(notebook: Path) -> dict[str, str]:
    """Declared parameters and the texts they stand at."""
    declared = inspect_notebook(str(notebook))
    return {name: entry["default"].strip("\"'") for name, entry in declared.items()}


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


def render(notebook: Path, profile: str, source: str, figures: Path, seeds: str = "all", data: str = "simulated") -> Path:
    """Execute a section notebook, which draws into `figures`, and return where the executed one lies.

    Raises NotebookFailed, naming the cell, the error and the file to open; the notebook is then as before.
    """
    root = project_root()
    wanted = {"profile": profile, "source": source, "seeds": seeds, "data": data}
    wanted["figures"] = os.path.relpath(figures, root)
    declared = _defaults(notebook)
    if profile == "laptop":
        del wanted["profile"]  # every notebook's default, but where another profile is all it shows
    wanted = {name: value for name, value in wanted.items() if name in declared}
    if not wanted.items() <= declared.items():
        execute(notebook, figures / notebook.name, wanted)
        return figures / notebook.name
    page = root / "runs" / "rendering" / notebook.name
    execute(notebook, page, {})
    # Only the outputs go back, so that drawing the same numbers again leaves the committed file as it is.
    committed, executed = (nbformat.read(path, as_version=4) for path in (notebook, page))
    for cell, done in zip(committed.cells, executed.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = _stored(done.outputs), done.execution_count
    nbformat.write(committed, page)
    os.replace(page, notebook)
    return notebook


def _stored(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs as they are committed: one for what a cell printed in one go, which a busy machine may deliver in several
    pieces, and none for a slider, which is dead without a kernel (the next cell draws its static twin)."""
    stored = []
    for output in outputs:
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
            continue
        if stored and output.output_type == "stream" and output.get("name") == stored[-1].get("name"):
            stored[-1].text += output.text
        else:
            stored.append(output)
    return stored


def output_folder(profile: str, source: str, out: str | None = None, data: str = "simulated") -> Path:
    """Where figures go: `out`, else figures/ for the published results and runs/<profile>/figures for runs, those of other
    data in a folder of their own in there.

    Raises ValueError rather than mix smoke, or what was made here, with what is committed.
    """
    root = project_root()
    own = "" if data == "simulated" else f"/{data}"
    if source == "runs":
        folder = root / (out or f"runs/{profile}/figures{own}")
    elif profile == "smoke":
        raise ValueError("smoke runs are never published: add SOURCE=runs")
    else:
        folder = root / (out or ("figures" if profile == "laptop" else f"figures/{profile}") + own)
    folder = folder.resolve()
    for committed in ("figures", "results"):
        if source == "runs" and folder.is_relative_to(root / committed):
            raise ValueError(f"runs made here are not drawn into {committed}/, which holds what is published")
    return folder


def main(arguments: list[str] | None = None) -> None:
    """Command line. Tries every notebook; when some stop, says where to look and exits with 1."""
    parser = argparse.ArgumentParser(prog="python -m companion.report.render", description="Draw every table and figure.")
    parser.add_argument("--profile", default="laptop", help="whose runs (default: laptop)")
    parser.add_argument("--data", default="simulated", choices=["simulated", "learnaf"])
    parser.add_argument("--source", default="results", choices=["results", "runs"])
    parser.add_argument("--seeds", default="all", help='which seeds, as "0 1" (default: all that are complete)')
    parser.add_argument("--only", nargs="+", help="names of notebooks (default: all)")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="notebooks at once")
    parser.add_argument("--out", help="folder for figures (default: figures, or runs/<profile>/figures)")
    options = parser.parse_args(arguments)
    if options.cores < 1:
        parser.error(f"cores must be at least 1, not {options.cores}")
    try:
        figures = output_folder(options.profile, options.source, options.out, options.data)
    except ValueError as error:
        parser.error(str(error))
    found = section_notebooks(project_root() / "notebooks", options.data, options.profile, options.source)
    sections = {path.stem: path for path in found}
    for name in set(options.only or ()) - set(sections):
        known = f"{closest(name, sections)} There are {', '.join(sections)}"
        parser.error(f"{name!r} is no section notebook of profile {options.profile}.{known}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the notebooks share the cores, not each notebook all of them
    wanted = [path for name, path in sections.items() if name in (options.only or sections)]
    failed = []
    with ProcessPoolExecutor(options.cores) as pool:
        how = options.profile, options.source, figures, options.seeds, options.data
        pages = {pool.submit(render, notebook, *how): notebook for notebook in wanted}
        for page in as_completed(pages):
            try:
                print(f"rendered {os.path.relpath(page.result())}", flush=True)
            except NotebookFailed as error:
                failed.append(f"{pages[page].name} stopped:\n{error}")
    if failed:
        sys.exit("\n\n".join(failed))
    print(f"figures and tables are in {os.path.relpath(figures)}")


if __name__ == "__main__":
    main()
