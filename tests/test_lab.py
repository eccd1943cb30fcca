"""Notebooks in a browser, restarted and run as users do, in JupyterLab, Notebook 7 and the classic Notebook.

Each runs the first two on a small phantom. If CXR_TEST_LAB is set, JupyterLab runs all seven with their defaults.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from typing import NamedTuple

import nbformat
import pytest
import requests
from playwright.sync_api import expect

from tests.helpers import only_in_ci
from tests.test_browser import MARKS, PLOTLY, PLOTLY_FILE, drawn, shown
from tests.test_notebooks import NOTEBOOKS

ALL = bool(os.environ.get("CXR_TEST_LAB"))
# Seconds for one notebook; those that train take longer on two cores.
LIMIT_S = {path.stem[:3]: 900 if path.stem[0] == "2" else 300 for path in NOTEBOOKS}
SETTINGS = {
    # All cells are in the page, also those below its end.
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false"},
}


class Window(NamedTuple):
    """Address of a notebook, condition for an idle kernel, buttons to restart and run it, selectors of its parts."""

    address: str
    ready: str
    press: list
    cell: str
    prompt: str
    output: str
    picture: str
    error: str


LAB = Window(
    "lab/workspaces/{1}/tree/{0}?reset",
    """() => {
      const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
      return kernel?.status === "idle" && kernel._futures.size === 0;
    }""",
    [
        "role=menuitem[name='Run']", "text=Restart Kernel and Run All Cells",
        "role=button[name='Confirm Kernel Restart']",
    ],
    ".jp-Notebook .jp-CodeCell", ".jp-InputPrompt", ".jp-OutputArea", ".jp-RenderedImage img",
    "[data-mime-type='application/vnd.jupyter.error']",
)  # fmt: skip
# Built from JupyterLab's parts; most hubs call it "Notebook".
SEVEN = LAB._replace(address="notebooks/{0}")
CLASSIC = Window(
    "nbclassic/notebooks/{0}",
    """() => {
      const {kernel, kernel_busy} = window.Jupyter?.notebook ?? {};
      return kernel?.is_connected() && kernel.info_reply.status === "ok" && kernel_busy === false
        && Object.keys(kernel._msg_callbacks).length === 0;
    }""",
    ["#kernellink", "#restart_run_all", ".modal-dialog .btn-danger"],
    ".code_cell", ".input_prompt", ".output_area", ".output_png img", ".output_error",
)  # fmt: skip
# `ready` must be true at ten polls in a row: a window sends its first requests (history, debugger) one after another.
# It must not be async: Playwright would take the promise itself as true and not wait at all.
SETTLED = """() => {
  window.readyPolls = (%s)() ? (window.readyPolls ?? 0) + 1 : 0;
  return window.readyPolls >= 10;
}"""
# The last cell gets a number when it has run. A cell that fails ends the run.
ENDED = """([error, cell, prompt, number]) => document.querySelector(error)
  || [...document.querySelectorAll(`${cell} ${prompt}`)].at(-1)?.textContent.trim().endsWith(`[${number}]:`)"""


@contextlib.contextmanager
def jupyter(folder, release):
    """Starts a Jupyter server with copies of the notebooks; yields its address."""
    project = folder / "project"
    project.mkdir()
    for path in NOTEBOOKS:
        book = nbformat.read(path, 4)
        # Without outputs, so that those found later are of this run.
        for cell in book.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(book, project / path.name)
    for name, settings in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    environment = os.environ | {
        "CXR_HOME": str(folder / "run"), "CXR_RELEASE": str(release), "CXR_RANDOM_START": "1",
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
    }  # fmt: skip
    exposed = [f"--{app}.expose_app_in_browser=True" for app in ("LabApp", "JupyterNotebookApp")]
    options = ["--no-browser", "--allow-root", "--port=0", "--IdentityProvider.token=", *exposed]
    options.append("--ServerApp.disable_check_xsrf=True")  # the test deletes kernels itself
    command = [sys.executable, "-m", "jupyterlab", *options]
    with subprocess.Popen(command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True) as server:
        said = next(filter(None, (re.search(r"http://localhost:\d+/", line) for line in server.stderr)), None)
        assert said, "JupyterLab ended before it answered"
        # It continues to write to stderr, which must be read.
        threading.Thread(target=server.stderr.read, daemon=True).start()
        try:
            yield said[0]
        finally:
            server.terminate()


@pytest.mark.slow
# The limit of all waits together: a failure then names the wait that was too long.
@pytest.mark.timeout(120 + sum(LIMIT_S.values() if ALL else [LIMIT_S["000"], LIMIT_S["100"]]))
@pytest.mark.parametrize("window", [
    pytest.param(LAB, id="lab"), pytest.param(SEVEN, id="notebook7", marks=only_in_ci),
    pytest.param(CLASSIC, id="classic", marks=only_in_ci),
])  # fmt: skip
def test_restart_and_run_all(window, browser, small_phantom, tmp_path):
    notebooks = NOTEBOOKS if window is LAB and ALL else NOTEBOOKS[:2]
    with jupyter(tmp_path, "phantom" if window is LAB and ALL else small_phantom) as address:
        for path in notebooks:
            restart_and_run_all(browser, window, address, path)
            # The next notebook has the machine to itself.
            for kernel in requests.get(f"{address}api/kernels", timeout=10).json():
                requests.delete(f"{address}api/kernels/{kernel['id']}", timeout=10).raise_for_status()


def restart_and_run_all(browser, window, address, path):
    """Opens a notebook, runs it from the menu, and fails unless all its figures are there and no cell has failed."""
    figures = shown(path)
    code = sum(cell.cell_type == "code" for cell in nbformat.read(path, 4).cells)
    with contextlib.closing(browser.new_page(viewport={"width": 1280, "height": 900})) as page:
        page.set_default_timeout(60_000)
        # The classic Notebook cannot draw plotly's own format and shows the HTML.
        page.route(PLOTLY, lambda route: route.fulfill(path=PLOTLY_FILE, content_type="text/javascript"))
        page.goto(address + window.address.format(path.name, path.stem[:3]))
        page.locator(window.cell).nth(code - 1).wait_for()
        # Restarted while it still connects, a window starts a kernel without asking or never shows its answers.
        page.wait_for_function(SETTLED % window.ready, polling=100)
        for button in window.press:
            page.locator(button).click()
        selectors, limit = [window.error, window.cell, window.prompt], 1000 * LIMIT_S[path.stem[:3]]
        page.wait_for_function(ENDED, arg=[*selectors, code], timeout=limit)
        assert page.locator(window.error).all_inner_texts() == []
        # JupyterLab shows a chart as a picture until the mouse is over it.
        for picture in page.locator("img.plot-img").all():
            picture.dispatch_event("mouseenter")
        charts = page.locator(f"{window.output} .js-plotly-plot")
        expect(charts).to_have_count(sum(figure is not None for figure in figures))
        for chart, figure in zip(charts.all(), filter(None, figures), strict=True):
            chart.scroll_into_view_if_needed()
            expect(chart.locator(MARKS)).to_have_count(len(drawn(figure)))
        pictures = page.locator(window.picture)
        expect(pictures).to_have_count(figures.count(None))
        for picture in pictures.all():
            assert picture.evaluate("picture => picture.naturalWidth") > 300
