"""What a reader sees: JupyterLab with a slider that moves a plot, and the book without a network, in headless Chromium."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from playwright.sync_api import expect, sync_playwright
from tiny import ROOT

from companion.book import make_book

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
LESSON = "01_focus_and_hunting.ipynb"
PATIENCE = 300_000  # ms: two busy cores are slow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome here: install one"),
]

# Cells that run before the kernel has answered are lost without a word. The run itself isn't awaited.
RUN_ALL = """async () => {
    const panel = window.jupyterapp.shell.currentWidget;
    await panel.revealed;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
    window.jupyterapp.commands.execute('notebook:run-all-cells');
}"""
CELLS = "Array.from(window.jupyterapp.shell.currentWidget.content.model.cells).filter(cell => cell.type == 'code')"
ERRORS = f"() => {CELLS}.flatMap(cell => cell.outputs.toJSON()).filter(output => output.output_type == 'error')"
STOPPED = f"() => {CELLS}.every(cell => cell.executionCount) || ({ERRORS})().length > 0"
# Refused where an image is broken. A browser leaves out lazy ones below the window until they are near.
IMAGES = "() => Promise.all(Array.from(document.images, image => { image.loading = 'eager'; return image.decode(); }))"
EQUATIONS = """async () => [
    Array.from(document.querySelectorAll('math'), math => math.getBoundingClientRect().height),
    Array.from(await document.fonts.ready, font => font.status),
]"""


@pytest.fixture
def page():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])  # root can't have one
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on a copy of the lesson, with settings of its own; gives its address, up to the token."""
    (tmp_path / "work").mkdir()
    shutil.copy(ROOT / "notebooks" / LESSON, tmp_path / "work")
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    own = {name: str(tmp_path / name) for name in names}
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ServerApp.port=0",
        f"--ServerApp.root_dir={tmp_path / 'work'}",
        "--LabApp.expose_app_in_browser=True",
    ]
    with open(tmp_path / "lab.log", "w") as log:
        environment = os.environ | own | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        while not (found := list((tmp_path / "JUPYTER_RUNTIME_DIR").glob("jpserver-*.json"))):
            assert server.poll() is None, (tmp_path / "lab.log").read_text()
            time.sleep(0.2)
        about = json.loads(found[0].read_text())
        yield f"{about['url']}lab/tree/{LESSON}?reset&token={about['token']}"
    finally:
        server.terminate()  # which ends its kernels too
        server.wait(60)


def test_a_notebook_runs_in_jupyterlab_and_its_slider_moves_the_plot(lab, page, tmp_path):
    page.goto(lab)
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext")
    page.evaluate(RUN_ALL)
    page.wait_for_function(STOPPED)
    assert page.evaluate(ERRORS) == []
    cell = page.locator(".jp-CodeCell", has=page.locator(".noUi-handle")).first
    slider, plot, reading = cell.locator(".noUi-handle").first, cell.locator("img"), cell.locator(".widget-readout").first
    slider.scroll_into_view_if_needed()
    before, number = plot.get_attribute("src"), int(reading.text_content())
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(reading).to_have_text(str(number + 1))
    expect(plot).not_to_have_attribute("src", before, timeout=PATIENCE)
    page.screenshot(path=tmp_path / "lab.png")
    page.keyboard.press("ArrowLeft")
    expect(plot).to_have_attribute("src", before, timeout=PATIENCE)


def test_the_book_needs_no_network_and_shows_its_equations(page, tmp_path):
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    make_book(tmp_path / "book")
    for file in (tmp_path / "book").rglob("*.html"):
        page.goto(file.as_uri())
        page.evaluate(IMAGES)
        heights, fonts = page.evaluate(EQUATIONS)
        assert all(height > 2 for height in heights) and fonts == [], file  # the system's own font for mathematics
        page.screenshot(path=tmp_path / f"{file.stem}.png", full_page=True)
    assert asked and all(url.startswith(("file:", "data:")) for url in asked) and said == []
