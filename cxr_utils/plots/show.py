"""Shows figures in a notebook and saves them; a plotly chart also has a static image for viewers without JavaScript.

GitHub runs no JavaScript, nbviewer shows only the HTML of a chart, and plotly's image export needs Chrome. Therefore
each chart is drawn a second time with matplotlib, from the same traces. The HTML contains this static image, which the
script replaces by the interactive chart. The files in `figs/` are drawn with matplotlib as well.
"""

import base64
import html
import io
import textwrap
import uuid

import matplotlib.pyplot as plt
from IPython.display import display
from plotly.offline import get_plotlyjs_version

from cxr_utils import config, data
from cxr_utils._files import atomic
from cxr_utils.plots import static

# Width and height in pixels of a chart on a slide: next to the text, or below it if the chart has many panels. A slide
# 1280 pixels wide shows the chart about a sixth larger, so that its smallest text can be read from the last row.
_NEXT_TO_TEXT, _BELOW_TEXT = (720, 424), (1031, 412)
_HTML = """<div id="{element}" style="overflow-x: auto">{image}</div>
<script>
// All charts of a page share one script. If it cannot be loaded, the static images stay.
(window.plotlyOfPage ??= new Promise((loaded, failed) => document.head.append(
  Object.assign(document.createElement("script"), {{
    src: "https://cdn.plot.ly/plotly-{version}.min.js", charset: "utf-8", onload: loaded, onerror: failed
  }})
))).then(() => {{
  const element = document.getElementById("{element}"), chart = {chart};
  element.replaceChildren();
  element.style.height = (chart.layout.height || 450) + "px";
  Plotly.newPlot(element, chart.data, chart.layout);
}}, () => {{}});
</script>"""


def show_chart(figure, name=None):
    """Shows a plotly chart, interactive where JavaScript runs and as a static image elsewhere.

    Args:
        figure: `plotly.graph_objects.Figure`.
        name: str or `None`. If given, the chart is also saved as `figs/<name>.png` at 300 dpi and `figs/<name>.svg`, in
            the proportions of a slide.
    """
    height = figure.layout.height or 450
    # The legend is above the panel titles, if there are any.
    panel_titles, legend, axis_labels = static.margins(figure, static.WIDTH)
    legend_y = 1 + panel_titles / (height - 85 - panel_titles - legend - axis_labels)
    figure.update_xaxes(title_font_size=static.TEXT)
    figure.update_yaxes(title_font_size=static.TEXT)
    figure.update_layout(
        template="plotly_white",
        # A fixed width, because titles would overlap in a narrower chart. A narrow page scrolls instead.
        width=static.WIDTH,
        font_size=static.TEXT,
        title={"x": 0.02, "y": 1 - 14 / height, "yanchor": "top", "yref": "container", "font": {"size": static.TITLE}},
        title_subtitle={"text": data.image_source(), "font": {"size": static.SMALL, "color": "#666666"}},
        legend={"orientation": "h", "x": 0, "y": legend_y, "yanchor": "bottom"},
        margin={"l": 75, "r": 30, "t": 85 + panel_titles + legend, "b": axis_labels},
    )
    static_figure = static.chart_to_matplotlib(figure)
    png = io.BytesIO()
    static_figure.savefig(png, format="png", dpi=static.DPI)
    plt.close(static_figure)
    if name:
        size = _BELOW_TEXT if len(static.axes_of(figure)) > 4 else _NEXT_TO_TEXT
        slide_figure = static.chart_to_matplotlib(figure, size)
        save_figure(slide_figure, name)
        plt.close(slide_figure)
    title = static.plain(figure.layout.title.text)
    encoded = base64.b64encode(png.getvalue()).decode()
    image = f'<img alt="{html.escape(title)}" style="max-width:100%" src="data:image/png;base64,{encoded}">'
    element = f"chart-{uuid.uuid4().hex}"
    # "</" inside the script would end it.
    chart = figure.to_json().replace("</", "<\\/")
    page = _HTML.format(element=element, image=image, version=get_plotlyjs_version(), chart=chart)
    display(
        {"application/vnd.plotly.v1+json": figure.to_plotly_json(), "text/html": page, "text/plain": title}, raw=True
    )


def show_images(figure, name=None):
    """Shows a matplotlib figure of images, then closes it.

    Args:
        figure: `matplotlib.figure.Figure`.
        name: str or `None`. If given, the figure is also saved as `figs/<name>.png` at 300 dpi and `figs/<name>.svg`.
    """
    # About twelve letters of this size fit into an inch.
    note = textwrap.fill(data.image_source(), int(12 * figure.get_figwidth()))
    figure.supxlabel(note, fontsize=static.SMALL * static.POINT)
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
