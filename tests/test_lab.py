"""JupyterLab as people use it: notebooks opened in a browser, "Restart Kernel and Run All Cells", figures seen.

The first two by default; all seven with their defaults where CXR_TEST_LAB is set, which takes as long as training does.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading

import nbformat
import pytest
import requests

from playwright.sync_api import expect

from cxr_utils import run
from tests.test_browser import MARKS, browser, drawn, shown  # noqa: F401
from tests.test_notebooks import NOTEBOOKS

SETTINGS = {
    # All cells are in the page, also those below its end.
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false"},
}
ERROR = "[data-mime-type='application/vnd.jupyter.error']"
# The last cell has a number as soon as it has run, which none has before; a cell that fails ends the run.
ENDED = f"""number => document.querySelector("{ERROR}")
  || [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")].at(-1)?.textContent.trim() === `[${{number}}]:`"""


@pytest.fixture
def lab(tmp_path):
    """Address of a JupyterLab that shows a copy of the project, and the folder of that copy."""
    folder = tmp_path / "project"
    shutil.copytree(run.REPOSITORY / "cxr_utils", folder / "cxr_utils")
    for path in NOTEBOOKS:
        book = nbformat.read(path, 4)
        # What is seen afterwards has come from this run.
        for cell in book.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(book, folder / path.name)
    for name, settings in SETTINGS.items():
        path = tmp_path / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    environment = os.environ | {
        "CXR_HOME": str(tmp_path / "run"), "CXR_RELEASE": "phantom", "CXR_RANDOM_START": "1",
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0", "--IdentityProvider.token="]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as server:
        said = next(filter(None, (re.search(r"http://localhost:\d+/", line) for line in server.stderr)), None)
        assert said, "JupyterLab ended before it answered"
        # It goes on talking, to whoever listens.
        threading.Thread(target=server.stderr.read, daemon=True).start()
        yield said[0], folder
        server.terminate()


def test_restart_and_run_all(lab, browser):  # noqa: F811
    address, folder = lab
    for path in NOTEBOOKS if os.environ.get("CXR_TEST_LAB") else NOTEBOOKS[:2]:
        figures = shown(path)
        code = sum(cell.cell_type == "code" for cell in nbformat.read(path, 4).cells)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        page.goto(f"{address}lab/workspaces/{path.stem[:3]}/tree/{path.name}?reset")
        page.locator(".jp-Notebook .jp-CodeCell").nth(code - 1).wait_for()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Restart Kernel and Run All Cells").click()
        page.get_by_role("button", name="Confirm Kernel Restart").click()
        page.wait_for_function(ENDED, arg=code, timeout=1_800_000)
        assert page.locator(ERROR).all_inner_texts() == []
        charts = page.locator(".jp-OutputArea .js-plotly-plot")
        expect(charts).to_have_count(sum(figure is not None for figure in figures))
        for chart, figure in zip(charts.all(), filter(None, figures), strict=True):
            chart.scroll_into_view_if_needed()
            expect(chart.locator(MARKS)).to_have_count(len(drawn(figure)))
        pictures = page.locator(".jp-RenderedImage img")
        expect(pictures).to_have_count(figures.count(None))
        for picture in pictures.all():
            assert picture.evaluate("picture => picture.naturalWidth") > 300
        page.close()
        # The next notebook has the machine to itself.
        for kernel in requests.get(f"{address}api/kernels", timeout=10).json():
            requests.delete(f"{address}api/kernels/{kernel['id']}", timeout=10)
