"""Shows figures and tables in a notebook and saves figures.

GitHub runs no JavaScript, nbviewer shows only the HTML of a chart, PDF and Word files contain only pictures, and
plotly's image export needs Chrome. Therefore each chart is drawn a second time with matplotlib, from the same traces.
The HTML contains this static image, which the script replaces by the interactive chart, except on paper. The files in
`figs/` are drawn with matplotlib as well.
"""

import base64
import html
import io
import re
import textwrap
import uuid

import matplotlib.pyplot as plt
import pandas as pd
import plotly.graph_objects as go
from IPython.display import display
from plotly.offline import get_plotlyjs_version

from cxr_utils import config, data
from cxr_utils._files import atomic
from cxr_utils.plots import static

# Width and height in pixels of a chart on a slide. A slide of 1280×720 pixels shows the chart about a sixth larger, so
# that its smallest text can be read from the last row.
_SLIDE = (1020, 377)
_CHART = """<style>
@media screen {{ .interactive-chart > img {{ display: none }} }}
@media print {{ .interactive-chart > div {{ display: none }} }}
</style>
<div id="{element}" style="overflow-x: auto">{image}<div></div></div>
<script>
// All charts of a page share one script. If it cannot be loaded, the static images stay.
(window.plotlyOfPage ??= new Promise((loaded, failed) => document.head.append(
  Object.assign(document.createElement("script"), {{
    src: "https://cdn.plot.ly/plotly-{version}.min.js", charset: "utf-8", onload: loaded, onerror: failed
  }})
))).then(() => {{
  const element = document.getElementById("{element}"), chart = {chart};
  element.className = "interactive-chart";
  element.lastElementChild.style.height = chart.layout.height + "px";
  Plotly.newPlot(element.lastElementChild, chart.data, chart.layout);
}}, () => {{}});
</script>"""
# The letters of a table get smaller if it is wider than the page.
_TABLE = """<style>
#{element} {{ font-size: clamp(8px, 100cqw / {width:.0f}, 13px) }}
#{element} :is(th, td) {{ padding: .3em .5em; text-align: right; vertical-align: top }}
#{element} :is(tbody th{left}) {{ text-align: left }}
#{element} th[colspan] {{ text-align: center }}
@media print {{ #{element} {{ font-size: min(100cqw / {width:.0f}, 13px) }} }}
</style>
<div style="container-type: inline-size; overflow-x: auto">{table}</div>"""


def show_chart(figure, name=None, note=""):
    """Shows a plotly chart, interactive where JavaScript runs and as a static image elsewhere.

    Args:
        figure: `plotly.graph_objects.Figure`.
        name: str or `None`. If given, the chart is also saved as `figs/<name>.png` at 300 dpi and `figs/<name>.svg`, in
            the proportions of a slide.
        note: str, shown with the source of the images, such as `data.describe_overlap`.

    Raises:
        ValueError: The chart uses a feature that a static image cannot show.
    """
    png = io.BytesIO()
    static.chart_to_matplotlib(figure, source_note=note).savefig(png, format="png")
    if name:
        save_figure(static.chart_to_matplotlib(figure, _SLIDE, note), name)
    figure = go.Figure(figure)
    height = figure.layout.height or static.HEIGHT
    header, names, _ = static.header_size(figure, static.WIDTH)
    figure.update_xaxes(title_font_size=static.TEXT)
    figure.update_yaxes(title_font_size=static.TEXT)
    figure.update_layout(
        template="plotly_white",
        # A fixed width, because titles would overlap in a narrower chart. A narrow window scrolls instead.
        width=static.WIDTH,
        height=height,
        font_size=static.TEXT,
        title={"x": 0.02, "y": 1 - 12 / height, "yanchor": "top", "yref": "container", "font": {"size": static.TITLE}},
        title_subtitle={"text": data.image_source(note), "font": {"size": static.SMALL, "color": "#666666"}},
        legend={"orientation": "h", "x": 0.02, "xref": "container", "y": 1 - static.HEADER / height, "yanchor": "top"},
        legend_yref="container",
        showlegend=bool(names),
        margin={"l": 75, "r": 30, "t": header + 10, "b": 60},
    )
    title = static.plain(figure.layout.title.text)
    encoded = base64.b64encode(png.getvalue()).decode()
    chart = _CHART.format(
        element=f"chart-{uuid.uuid4().hex}",
        image=f'<img alt="{html.escape(title)}" style="max-width:100%" src="data:image/png;base64,{encoded}">',
        version=get_plotlyjs_version(),
        # "</" inside the script would end it.
        chart=figure.to_json().replace("</", "<\\/"),
    )
    kinds = {"text/html": chart, "image/png": encoded, "text/plain": title}
    display({"application/vnd.plotly.v1+json": figure.to_plotly_json(), **kinds}, raw=True)


def show_images(figure, name=None, note=""):
    """Shows a matplotlib figure of images, then closes it.

    Args:
        figure: `matplotlib.figure.Figure`.
        name: str or `None`. If given, the figure is also saved as `figs/<name>.png` at 300 dpi and `figs/<name>.svg`.
        note: str, shown with the source of the images, such as `data.describe_overlap`.
    """
    # About twelve letters of this size fit into an inch.
    figure.supxlabel(
        textwrap.fill(data.image_source(note), int(12 * figure.get_figwidth())), fontsize=static.SMALL * static.POINT
    )
    if name:
        save_figure(figure, name)
    display(figure)
    plt.close(figure)


def save_figure(figure, name):
    """Saves a matplotlib figure as `figs/<name>.png` at 300 dpi and as `figs/<name>.svg`, which slide editors can edit.

    Args:
        figure: `matplotlib.figure.Figure`.
        name: str, name of the files without suffix.
    """
    for kind in ("png", "svg"):
        with atomic(config.home() / "figs" / f"{name}.{kind}") as part:
            figure.savefig(part, dpi=300)


def show_table(table, digits=3):
    """Shows a frame, as wide as the page. Missing values are marked n/a.

    Rows and columns without any value are left out and named below the table.

    Args:
        table: frame. Missing values are NaN, `None`, `"n/a"` and `""`.
        digits: int, decimals of numbers that are not whole.
    """
    table = table.astype(object).rename(index=static.readable, columns=static.readable)
    known = table.notna() & ~table.isin(["n/a", ""])
    rows, columns = known.any(axis=1), known.any()
    # In a table without any value, the names of its columns are enough.
    empty = [*table.columns[~columns], *table.index[~rows & columns.any()]]
    names = ", ".join(" ".join(name) if isinstance(name, tuple) else name for name in empty)
    note = f"No values (n/a): {names}." if empty else ""
    table = (
        table.where(known, "n/a")
        .loc[rows, columns]
        .apply(_as_text, digits=digits)
        .rename_axis(index=[None] * table.index.nlevels)
    )
    with pd.option_context("display.max_colwidth", None):
        text, page = ("", "") if table.empty else (f"{table.to_string()}\n", _as_page(table))
    paragraph = f"<p>{html.escape(note)}</p>" if note else ""
    display({"text/html": page + paragraph, "text/plain": text + note}, raw=True)


def _as_text(column, digits):
    """Returns the values of a column as texts. Its numbers have `digits` decimals, unless all of them are whole."""
    whole = all(value % 1 == 0 for value in column if isinstance(value, float))
    number = f"{{:z,.{0 if whole else digits}f}}".format
    words = {"True": "yes", "False": "no"}
    return column.map(lambda value: number(value) if isinstance(value, float) else words.get(str(value), str(value)))


def _as_page(table):
    """Returns a frame of texts as HTML that fits the width of the page."""
    # The longest word of each column has to fit. A letter is about 0.64 em wide.
    cells = table.T.reset_index().T.reset_index().astype(str)
    width = (1 + 0.64 * cells.map(lambda text: max(map(len, _unbroken(text).split(" ")))).max()).sum()
    texts = table.iloc[:, ::-1].apply(lambda column: column.str.match(r"(?!n/a$)[^\W\d]").any())
    left = "".join(f", tr > :nth-last-child({number})" for number in texts.to_numpy().nonzero()[0] + 1)
    element = f"table-{uuid.uuid4().hex}"
    return _TABLE.format(
        element=element, width=width, left=left, table=_unbroken(table.to_html(border=0, table_id=element))
    )


def _unbroken(text):
    """Returns a text in which lines do not break inside an interval such as 0.95 (0.93–0.97)."""
    return re.sub(r"(?<=\d) (?=[(%])", "\u00a0", text).replace("–", "–\u2060")
