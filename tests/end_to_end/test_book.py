"""The book: complete, with working links, equations drawn, and nothing that it would load from the network."""

import shutil
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from tiny import ROOT, use_project

from companion import book
from companion.book import BookError, make_book

WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "interactive(children=())"}


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The book of this project: its folder, and every page as parsed HTML."""
    folder = make_book(tmp_path_factory.mktemp("book")).parent
    return folder, {page: BeautifulSoup(page.read_text(), "html.parser") for page in folder.rglob("*.html")}


def test_every_notebook_and_figure_is_in_the_index(real):
    folder, pages = real
    linked = {link["href"] for link in pages[folder / "index.html"]("a")}
    for path in (ROOT / "notebooks").rglob("*.ipynb"):
        assert path.relative_to(ROOT).with_suffix(".html").as_posix() in linked
    for path in (ROOT / "figures").glob("*.png"):
        assert {f"figures/{path.stem}.pdf", f"figures/{path.stem}.json"} <= linked


def test_links_and_pictures_lead_into_the_book_or_to_the_web(real):
    for page, html in real[1].items():
        for url in [link["href"] for link in html("a")] + [picture["src"] for picture in html("img")]:
            file, _, anchor = url.partition("#")
            assert url.startswith(("http", "data:")) or (page.parent / file).exists(), (page, url)
            assert file or html.find(id=anchor), (page, url)


def test_no_script_or_style_is_loaded(real):
    for page, html in real[1].items():
        assert not html("script") and not html("link") and "@import" not in str(html("style")), page
        assert all(not picture["src"].startswith("http") for picture in html("img")), page


def test_every_slider_has_a_note_in_its_place(real):
    for path in (ROOT / "notebooks").rglob("*.ipynb"):
        code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code" and not cell.outputs]
        page = real[0] / path.relative_to(ROOT).with_suffix(".html")
        assert page.read_text().count(book.SLIDER) == sum("interact(" in cell.source for cell in code), path


def test_all_equations_are_drawn(real):
    for page, html in real[1].items():
        for code in html(["pre", "code", "style", "annotation"]):
            code.decompose()
        assert "$" not in html.get_text() and "\\" not in html.get_text(), page


def write_project(folder: Path, monkeypatch, *markdown: str, code="1 + 1", outputs=()) -> Path:
    """A project of one lesson; returns the page of it that a book will have."""
    cells = [new_markdown_cell(text) for text in ("# A lens", *markdown)] + [new_code_cell(code, outputs=list(outputs))]
    (folder / "notebooks" / "solutions").mkdir(parents=True)
    shutil.copytree(ROOT / "figures", folder / "figures")
    nbformat.write(new_notebook(cells=cells), folder / "notebooks" / "01_lens.ipynb")
    use_project(folder, monkeypatch)
    return folder / "book" / "notebooks" / "01_lens.html"


def test_an_equation_becomes_mathml_and_keeps_what_it_says(tmp_path, monkeypatch):
    page = write_project(tmp_path, monkeypatch, r"At $p_k < 1$:" + "\n\n" + r"$$\sum_k \frac{p_k}{q_k}$$", "`$5` a piece")
    make_book(tmp_path / "book")
    inline, block = BeautifulSoup(page.read_text(), "html.parser")("math")
    assert inline.get_text() == "pk<1" and not inline.get("display") and inline.msub
    assert block["display"] == "block" and block.mfrac.get_text() == "pkqk"
    assert "<code>$5</code>" in page.read_text()


def test_an_equation_that_cannot_be_drawn_is_named(tmp_path, monkeypatch):
    write_project(tmp_path, monkeypatch, r"See $\fraction{1}{2}$.")
    with pytest.raises(BookError, match=r"01_lens.ipynb: an equation .*fraction(.|\n)*See \$"):
        make_book(tmp_path / "book")


def test_links_between_notebooks_follow_and_other_files_are_named(tmp_path, monkeypatch):
    links = "[next](01_lens.ipynb#A-lens) [losses.py](../fcl/losses.py) [web](https://python.org/a.ipynb)"
    page = write_project(tmp_path, monkeypatch, links)
    make_book(tmp_path / "book")
    html = BeautifulSoup(page.read_text(), "html.parser")
    found = {link.get_text(): link["href"] for link in html("a")}
    assert found["next"] == "01_lens.html#A-lens" and found["web"] == "https://python.org/a.ipynb"
    assert "losses.py" not in found and "losses.py" in html.get_text()


def test_a_slider_is_replaced_by_a_note(tmp_path, monkeypatch):
    outputs = [new_output("display_data", WIDGET), new_output("stream", text="seen\n")]
    page = write_project(tmp_path, monkeypatch, outputs=outputs)
    make_book(tmp_path / "book")
    text = BeautifulSoup(page.read_text(), "html.parser").get_text()
    assert "make lab" in text and "interactive(" not in text and "seen" in text and "no stored outputs" not in text


def test_a_slider_without_outputs_has_a_note_and_one_with_a_picture_none(tmp_path, monkeypatch):
    for name, outputs, noted in (("bare", [], True), ("drawn", [new_output("stream", text="seen\n")], False)):
        page = write_project(tmp_path / name, monkeypatch, code="interact(draw, index=(0, 48));", outputs=outputs)
        make_book(tmp_path / name / "book")
        assert (book.SLIDER in page.read_text()) == noted


def test_a_notebook_without_outputs_says_so(tmp_path, monkeypatch):
    page = write_project(tmp_path, monkeypatch)
    index = make_book(tmp_path / "book")
    assert "no stored outputs" in page.read_text() and "without outputs" in index.read_text()


def test_nothing_that_a_notebook_holds_runs_or_loads_anything(tmp_path, monkeypatch):
    evil = (
        "<script>alert(1)</script><p onclick='x()'>text</p><a href='javascript:x()'>go</a><iframe src='http://a.b'></iframe>"
    )
    output = new_output("display_data", {"text/html": evil + "<style>td { color: red }</style>"})
    page = write_project(tmp_path, monkeypatch, evil, outputs=[output])
    make_book(tmp_path / "book")
    html = page.read_text()
    assert not any(word in html for word in ("alert(1)", "onclick", "javascript:", "<iframe", "<script"))
    assert html.count(">text</p>") == 2 and "td { color: red }" in html


def test_links_are_never_followed(tmp_path, monkeypatch):
    write_project(tmp_path, monkeypatch)
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret")
    (tmp_path / "figures" / "leak.png").symlink_to(secret)
    make_book(tmp_path / "book")
    assert not any(
        "a secret" in path.read_text(errors="ignore") for path in (tmp_path / "book").rglob("*") if path.is_file()
    )
    (tmp_path / "notebooks" / "02_link.ipynb").symlink_to(tmp_path / "notebooks" / "01_lens.ipynb")
    with pytest.raises(BookError, match="02_link.ipynb is a link"):
        make_book(tmp_path / "book")


def test_a_folder_of_somebody_else_is_left_alone(tmp_path, monkeypatch):
    write_project(tmp_path, monkeypatch)
    mine = tmp_path / "book" / "chapter.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(SystemExit, match="was not made by this project"):
        book.main()
    assert mine.read_text() == "mine"
    mine.unlink()
    for _ in range(2):  # it replaces its own
        book.main()
    assert (tmp_path / "book" / "index.html").exists()
