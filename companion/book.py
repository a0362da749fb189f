"""The book: every notebook as a page for a browser, with figures, records of runs and an index.

    python -m companion.book

Reading it takes no kernel and no network. Pages show the outputs that the notebooks store; nothing is executed. They lie as
the notebooks do (book/notebooks/), hold their own style and plots, and have equations as MathML, which browsers draw without
a script. Whatever a notebook holds, a page runs nothing, and nothing from outside the project gets into it.
"""

import logging
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from math_core import LatexError, LatexToMathML
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook, new_output

from companion.batch.rendering import WIDGET, section_notebooks
from companion.notebooks import has_outputs
from companion.project import project_root
from fcl.files import make_anew

# nbconvert's own page, without the scripts that it loads from the network.
PAGE = """{%- extends "index.html.j2" -%}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}<style>
  math { font-family: math; font-size: 110%; }
  main { max-width: 68rem; margin: 0 auto; }
  .highlight pre { overflow-x: auto; }
  .gallery { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: end; }
  .gallery figure { margin: 0; width: 18rem; }
  math[display="block"] { margin: 0.7em 0; font-size: 120%; overflow-x: auto; overflow-y: hidden; }
</style>{% endblock %}
"""
TITLE = """# The companion to "Stable Autofocus with Focal Consistency Loss", to read

Every notebook with the outputs stored in it, and every figure. In the project itself, `make lab` opens the notebooks to
run and change them and to move their sliders."""
FIGURE = """<figure><a href="figures/{name}.pdf"><img src="figures/{name}.png" alt="{name}" loading="lazy"></a>
<figcaption>{name} (<a href="figures/{name}.json">numbers</a>)</figcaption></figure>"""
BACK = '<a href="{up}index.html">All notebooks and figures</a>'
NOT_RUN = "\n\n*This notebook has no stored outputs: only its text and code are shown.*"
SLIDER = "<p><em>A slider: it moves in JupyterLab (<code>make lab</code>).</em></p>"


class BookError(ValueError):
    """A notebook can't become a page."""


class _Renderer(IPythonRenderer):
    """Markdown to HTML: equations become MathML, and links lead to pages of the book, to the web, or are text."""

    latex = LatexToMathML(fancy_error=False)

    def block_math(self, body: str) -> str:
        return self.latex.convert_with_local_state(body, displaystyle=True)

    def inline_math(self, body: str) -> str:
        return self.latex.convert_with_local_state(body, displaystyle=False)

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if "://" in url or url.startswith("#"):
            return super().link(text, url, title)
        return super().link(text, url.replace(".ipynb", ".html"), title) if ".ipynb" in url else text


def _to_html(markdown: str) -> str:
    try:
        return MarkdownWithMath(renderer=_Renderer(escape=False)).render(markdown)
    except LatexError as error:
        raise BookError(f"an equation can't be drawn ({error}) in the cell\n{markdown}") from None


def _write_page(notebook: NotebookNode, page: Path, title: str, up: str = "") -> None:
    """Write one page. `up` is the way from it to the book's folder."""
    exporter = HTMLExporter(raw_template=PAGE, filters={"markdown2html": _to_html})
    exporter.log.setLevel(logging.ERROR)  # it warns of every plot that has no description
    notebook.metadata["title"] = title
    html, _ = exporter.from_notebook_node(notebook, {"up": up})
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(_inert(html), encoding="utf-8")


def _inert(html: str) -> str:
    """A page without anything that runs or loads something: a notebook may come from somebody's pull request."""
    page = BeautifulSoup(html, "html.parser")
    for tag in page(["script", "iframe", "object", "embed", "form", "link", "base"]) + page("meta", {"http-equiv": True}):
        tag.decompose()
    for tag in page(True):
        for name, value in list(tag.attrs.items()):
            runs = str(value).strip().lower().startswith(("javascript:", "data:text"))
            if name.startswith("on") or (name in ("href", "src") and runs) or (name == "style" and "url(" in value):
                del tag[name]
    return str(page)


def _inside(path: Path) -> Path:
    """The same path; BookError for a link, which may lead out of the project."""
    if path.is_symlink():
        raise BookError(f"{path} is a link: put the file there itself")
    return path


def _links(folder: str, names: list[str]) -> set[str]:
    """For `shutil.copytree`: what must not be followed."""
    return {name for name in names if (Path(folder) / name).is_symlink()}


def _title(notebook: NotebookNode, name: str) -> str:
    """The first heading, or the name of a notebook that has none."""
    lines = [line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    return next((line.removeprefix("# ") for line in lines if line.startswith("# ")), name)


def _without_widgets(notebook: NotebookNode) -> None:
    """Put a note where a slider would need a kernel: a widget that is stored, or `interact` without outputs."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            shown = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
            if len(shown) < len(cell.outputs) or ("interact(" in cell.source and not shown):
                shown.append(new_output("display_data", {"text/html": SLIDER}))
            cell.outputs = shown
    notebook.metadata.pop("widgets", None)


def _write_notebook(path: Path, page: Path, up: str) -> str:
    """Write the page of one notebook and return its title."""
    notebook = nbformat.read(_inside(path), as_version=4)
    title = _title(notebook, path.stem)
    _without_widgets(notebook)
    top = BACK.format(up=up) + ("" if has_outputs(path) else NOT_RUN)
    notebook.cells.insert(0, new_markdown_cell(top))
    _write_page(notebook, page, title, up)
    return title


def _chapters(folder: Path) -> dict[str, Iterable[Path]]:
    lessons, sections = sorted(folder.glob("[0-9]*.ipynb")), section_notebooks(folder)
    others = [path for path in sorted(folder.glob("*.ipynb")) if path not in {*lessons, *sections}]
    return {
        "Lessons": lessons,
        "Solutions of the exercises": sorted(folder.glob("solutions/*.ipynb")),
        "Tables, figures and what they show": [path for path in sections if path not in lessons],
        "Templates, executed once for every training or evaluation": others,
    }


def make_book(folder: Path) -> Path:
    """Write the book of this project into `folder` and return its index.

    Raises BookError, naming the notebook, where an equation has a command that MathML lacks.
    """
    root, lines = project_root(), [TITLE]
    for chapter, notebooks in _chapters(root / "notebooks").items():
        lines.append(f"\n## {chapter}\n" if notebooks else "")
        for path in notebooks:
            place = path.relative_to(root)
            try:
                title = _write_notebook(path, folder / place.with_suffix(".html"), "../" * (len(place.parts) - 1))
            except BookError as error:
                raise BookError(f"{path}: {error}") from None
            lines.append(f"- [{title}]({place.as_posix()})" + ("" if has_outputs(path) else ", without outputs"))
    shutil.copytree(root / "figures", folder / "figures", dirs_exist_ok=True, ignore=_links)
    if (root / "results").exists():  # the records that the ledger links to
        others = shutil.ignore_patterns("*.npz", "networks")
        skipped = lambda place, names: _links(place, names) | others(place, names)  # noqa: E731
        shutil.copytree(root / "results", folder / "results", dirs_exist_ok=True, ignore=skipped)
    figures = [FIGURE.format(name=path.stem) for path in sorted((folder / "figures").glob("*.png"))]
    lines += ["\n## Figures\n", '<div class="gallery">', *figures, "</div>"]
    index = new_notebook(cells=[new_markdown_cell("\n".join(lines))])
    _write_page(index, folder / "index.html", "Stable Autofocus with Focal Consistency Loss: a companion")
    return folder / "index.html"


def main() -> None:
    """Command line: write book/ anew."""
    try:
        index = make_book(make_anew(project_root() / "book"))
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"book: {error}")
    print(f"open {os.path.relpath(index)} in a browser")


if __name__ == "__main__":
    main()
