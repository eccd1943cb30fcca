"""Every figure of the committed notebooks, the deck, and a printed page, in a real browser (Chromium)."""

import base64
import contextlib
import functools
import io
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import plotly
import pytest
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from PIL import Image, ImageColor
from playwright.sync_api import expect

from cxr_utils import config, evaluation, plots, run
from cxr_utils.plots import show
from tests.test_notebooks import each_notebook

pytestmark = pytest.mark.slow
PAGE = "http://page/"
PLOTLY = re.compile(r"https://cdn\.plot\.ly/plotly-[\d.]+\.min\.js")
PLOTLY_FILE = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
# What plotly draws of one trace: a group of bars, of lines and markers, or the image of a heat map.
MARKS = ".trace:has(path[d]), .hm:has(image)"
# GitHub takes scripts and styles out of a page and leaves few attributes: not `style`, `id` or `hidden`.
KEPT_ON_GITHUB = {"alt", "class", "colspan", "height", "href", "rowspan", "src", "width"}
# Elements that leave the slide, exceed their own box or overlap another; one pixel is allowed for rounding.
CUT_OFF = """slide => {
  const box = part => part.getBoundingClientRect(), frame = box(slide), parts = [slide, ...slide.querySelectorAll("*")];
  const outside = ({left, right, top, bottom}) =>
    left < frame.left - 1 || right > frame.right + 1 || top < frame.top - 1 || bottom > frame.bottom + 1;
  const longer = part => part.scrollWidth > part.clientWidth + 1 || part.scrollHeight > part.clientHeight + 1;
  const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  const upon = part => !part.children.length
    && parts.some(other => other !== part && !other.children.length && meet(box(part), box(other)));
  return parts.filter(part => outside(box(part)) || part.clientWidth && longer(part) || upon(part))
    .map(part => part.outerHTML.slice(0, 80));
}"""

# `lab` is what `cxr run` writes; nbviewer and GitHub put `basic`, the body of `classic`, into pages of their own.
each_template = pytest.mark.parametrize("template", ["classic", "lab"])


@contextlib.contextmanager
def opened(browser, html, may_ask=(), answer_plotly=False, **options):
    """Opens a page without a network, except for plotly's script on request; fails if the page reports an error.

    Args:
        browser: of the fixture.
        html: string, the page.
        may_ask: addresses that the page may request, without an answer; any other is an error.
        answer_plotly: bool, whether the page gets plotly's script, from the installed package.
        options: of Playwright's `new_context`.
    """
    errors = []

    def answer(route):
        url = route.request.url
        if url == PAGE:
            route.fulfill(body=html, content_type="text/html; charset=utf-8")
        elif answer_plotly and PLOTLY.fullmatch(url):
            route.fulfill(path=PLOTLY_FILE, content_type="text/javascript")
        else:
            route.abort()
            if url not in may_ask:
                errors.append(f"requests {url}")

    def note(message):
        # A blocked request is already in the list, by its address.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            errors.append(message.text)

    with contextlib.closing(browser.new_context(**options)) as context:
        context.route("**/*", answer)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(PAGE)
        yield page
    assert not errors


def shown(path):
    """Returns the figures of a notebook in order: the JSON of a plotly chart, `None` for a picture."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    chart = "application/vnd.plotly.v1+json"
    figures = [output.get(chart) for output in outputs if chart in output or "image/png" in output]
    assert figures, f"{path.name} contains no figure"
    return figures


@functools.cache
def as_html(path, template):
    """Converts a notebook, or one without cells for `None`, to a page."""
    book = nbformat.read(path, 4) if path else nbformat.v4.new_notebook()
    return HTMLExporter(template_name=template).from_notebook_node(book)[0]


def asked_by(template):
    """Returns the addresses in a page without cells: what the template itself loads."""
    return set(re.findall(r"https://[^\"' )]+", as_html(None, template)))


def as_on_github(html):
    """Returns what GitHub leaves of a page."""
    soup = BeautifulSoup(html, "html.parser")
    for tag in soup(["script", "style"]):
        tag.decompose()
    for tag in soup(True):
        tag.attrs = {name: value for name, value in tag.attrs.items() if name in KEPT_ON_GITHUB}
    return str(soup)


def drawn(chart):
    """Returns the traces of a chart that have something to draw; a finding that is n/a has empty ones."""

    def holds(values):
        if isinstance(values, dict):
            values = np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])
        return pd.notna(pd.Series(list(values), dtype=object)).any()

    return [trace for trace in chart["data"] if all(holds(trace[axis]) for axis in "xyz" if axis in trace)]


def assert_seen(figure, chart=None):
    """Fails unless a figure is large, is not blank, and has the colors of its chart."""
    picture = Image.open(io.BytesIO(figure.screenshot())).convert("RGB")
    pixels = picture.width * picture.height
    assert picture.width > 600 and picture.height > 200
    colors = picture.getcolors(pixels)
    assert len(colors) > 100 and max(colors)[0] < 0.99 * pixels
    found = np.array([color for _, color in colors])
    for trace in drawn(chart) if chart else ():
        color = (trace.get("line") or trace.get("marker") or {}).get("color")
        if color:
            # A thin line rarely has its full color.
            assert np.abs(found - ImageColor.getrgb(color)).max(axis=1).min() < 40, trace.get("name")


def assert_pictures(page, charts):
    """Fails unless the page shows each figure, and all of them as pictures."""
    pictures = page.locator("img")
    expect(pictures).to_have_count(len(charts))
    expect(page.locator(".js-plotly-plot")).to_have_count(0)
    for picture, chart in zip(pictures.all(), charts, strict=True):
        assert picture.evaluate("picture => picture.naturalWidth") > 0
        assert_seen(picture, chart)


@each_notebook
@each_template
def test_charts_are_interactive_where_plotly_s_script_loads(path, template, browser):
    charts = shown(path)
    with opened(browser, as_html(path, template), asked_by(template), answer_plotly=True) as page:
        expect(page.locator(".js-plotly-plot")).to_have_count(len(charts) - charts.count(None))
        # On a screen the picture of an interactive chart is hidden.
        figures = page.locator("img:visible, .js-plotly-plot:visible")
        expect(figures).to_have_count(len(charts))
        for figure, chart in zip(figures.all(), charts, strict=True):
            if chart:
                expect(figure.locator(MARKS)).to_have_count(len(drawn(chart)))
            assert_seen(figure, chart)


@each_notebook
@each_template
def test_every_figure_is_a_picture_without_network(path, template, browser):
    html = as_html(path, template)
    with opened(browser, html, asked_by(template) | set(PLOTLY.findall(html))) as page:
        assert_pictures(page, shown(path))


@each_notebook
def test_every_figure_is_a_picture_on_github(path, browser):
    with opened(browser, as_on_github(as_html(path, "basic")), java_script_enabled=False) as page:
        assert_pictures(page, shown(path))


@pytest.fixture
def small_notebook(predictions, monkeypatch):
    """A notebook with a chart of 14 panels and a wide table."""
    outputs = []
    monkeypatch.setattr(show, "display", lambda bundle, raw: outputs.append(bundle))
    y_true, y_prob, _ = predictions
    table = evaluation.auroc_table(y_true, y_prob)
    plots.show_chart(plots.roc_panels({"all": (y_true, y_prob, table)}, "ROC", [plots.BASELINE_COLOR]))
    columns = [f"average precision, {subset} {number}" for subset in config.SUBSETS.values() for number in range(3)]
    plots.show_table(pd.DataFrame("0.957 (0.943–0.967)", config.LABELS, [*columns, "brier_prevalence"]))
    cells = [
        nbformat.v4.new_code_cell(execution_count=1, outputs=[nbformat.v4.new_output("display_data", bundle)])
        for bundle in outputs
    ]
    return nbformat.v4.new_notebook(cells=cells)


# Parts of a page that are wider than it or scroll, and intervals that take more than one line.
CUT_OR_BROKEN = """() => [...document.querySelectorAll("table, img, .js-plotly-plot")].filter(part =>
    part.getBoundingClientRect().right > innerWidth || part.parentElement.scrollWidth > part.parentElement.clientWidth
  ).concat([...document.querySelectorAll("td")].filter(cell => {
    const text = document.createRange();
    text.selectNodeContents(cell);
    return new Set([...text.getClientRects()].map(line => line.top)).size > 1;
  })).map(part => part.outerHTML.slice(0, 80))"""


@each_template
def test_charts_and_wide_tables_fit_the_screen_and_the_paper(template, browser, small_notebook):
    html = HTMLExporter(template_name=template).from_notebook_node(small_notebook)[0]
    # The template "classic" leaves 775 of 1,100 pixels for outputs.
    screen = {"lab": 1100, "classic": 1300}[template]
    options = {"answer_plotly": True, "viewport": {"width": screen, "height": 800}}
    with opened(browser, html, asked_by(template), **options) as page:
        chart, picture = page.locator(".js-plotly-plot"), page.locator("img")
        expect(chart.locator(MARKS).first).to_be_visible()
        expect(picture).to_be_hidden()
        assert page.evaluate(CUT_OR_BROKEN) == []
        # The width of A4 between margins of 10 mm.
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 718, "height": 1047})
        expect(chart).to_be_hidden()
        expect(picture).to_be_visible()
        assert page.evaluate(CUT_OR_BROKEN) == []
        width, height, natural = picture.evaluate(
            "image => [image.width, image.height, image.naturalWidth / image.naturalHeight]"
        )
        assert width > 500 and width / height == pytest.approx(natural, rel=0.01)


def test_intervals_stay_in_one_line_without_styles(browser, small_notebook):
    html = as_on_github(HTMLExporter(template_name="basic").from_notebook_node(small_notebook)[0])
    with opened(browser, html, java_script_enabled=False, viewport={"width": 500, "height": 800}) as page:
        rows = [row.bounding_box()["height"] for row in page.locator("tbody tr").all()]
        expect(page.locator("img")).to_have_count(1)
        # Only "Pleural Thickening" may take a second line.
        assert len(rows) == 14 and sorted(rows)[12] < 1.2 * min(rows) and min(rows) < 30


def test_the_deck_opens_without_network_and_nothing_is_cut_off(browser):
    deck = (run.REPOSITORY / "docs" / "slides.html").read_text(encoding="utf-8")
    with opened(browser, deck, viewport={"width": 1280, "height": 720}) as page:
        assert page.locator("section").count() > 1 and page.locator("section img").count() > 0
        for slide in page.locator("section").all():
            assert slide.evaluate(CUT_OFF) == []
        for picture in page.locator("section img").all():
            assert picture.evaluate("picture => picture.naturalWidth") > 0
            assert_seen(picture)
