"""Showing and saving figures: a plotly chart also stands as a picture where no script runs.

nbviewer shows a chart's HTML, GitHub runs no script at all, and plotly's own export to pictures needs a Chrome. So each
chart is drawn a second time, by matplotlib from the same traces, and that picture stands in the HTML until the script
has drawn the chart. The pictures in `figs/` are drawn the same way.
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

# Pixels of a chart for a slide, beside words or, where it has many panels, below them. A slide of 1280 shows it a sixth
# larger, so that the smallest text is read from the last row.
_BESIDE, _BELOW = (720, 424), (1031, 412)
_HTML = """<div id="{place}" style="overflow-x: auto">{still}</div>
<script>
// All charts of a page wait for one script; where it can't be had, their pictures stay.
(window.plotlyOfPage ??= new Promise((loaded, failed) => document.head.append(Object.assign(document.createElement("script"), {{
  src: "https://cdn.plot.ly/plotly-{version}.min.js", charset: "utf-8", onload: loaded, onerror: failed
}})))).then(() => {{
  const place = document.getElementById("{place}"), chart = {chart};
  place.replaceChildren();
  place.style.height = (chart.layout.height || 450) + "px";
  Plotly.newPlot(place, chart.data, chart.layout);
}}, () => {{}});
</script>"""


def show_chart(figure, name=None):
    """Shows a plotly chart, interactive where scripts run and as a picture elsewhere.

    Args:
        figure: `plotly.graph_objects.Figure`.
        name: if given, it is also saved as `figs/<name>.png` at 300 dpi and `figs/<name>.svg`, in the proportions of a slide.
    """
    # The legend stands above the titles of panels, where there are any.
    height = figure.layout.height or 450
    head, legend, foot = static.room(figure, static.WIDTH)
    figure.update_xaxes(title_font_size=static.TEXT)
    figure.update_yaxes(title_font_size=static.TEXT)
    figure.update_layout(
        template="plotly_white",
        # Of one width, as a narrower chart would have titles over each other; where there is less room it can be scrolled.
        width=static.WIDTH,
        font_size=static.TEXT,
        title={"x": 0.02, "y": 1 - 14 / height, "yanchor": "top", "yref": "container", "font": {"size": static.TITLE}},
        title_subtitle={"text": data.image_source(), "font": {"size": static.SMALL, "color": "#666666"}},
        legend={"orientation": "h", "x": 0, "y": 1 + head / (height - 85 - head - legend - foot), "yanchor": "bottom"},
        margin={"l": 75, "r": 30, "t": 85 + head + legend, "b": foot},
    )
    twin = static.chart_to_matplotlib(figure)
    picture = io.BytesIO()
    twin.savefig(picture, format="png", dpi=static.DPI)
    plt.close(twin)
    if name:
        slide = static.chart_to_matplotlib(figure, _BELOW if len(static.axes_of(figure)) > 4 else _BESIDE)
        save_figure(slide, name)
        plt.close(slide)
    title = static.plain(figure.layout.title.text)
    still = f'<img alt="{html.escape(title)}" style="max-width:100%" src="data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}">'
    place = f"chart-{uuid.uuid4().hex}"
    page = _HTML.format(
        place=place, still=still, version=get_plotlyjs_version(), chart=figure.to_json().replace("</", "<\\/")
    )
    display(
        {"application/vnd.plotly.v1+json": figure.to_plotly_json(), "text/html": page, "text/plain": title}, raw=True
    )


def show_images(figure, name=None):
    """Shows a matplotlib figure of images and closes it.

    Args:
        figure: `matplotlib.figure.Figure`.
        name: if given, also saved as `figs/<name>.png` at 300 dpi and `figs/<name>.svg`.
    """
    # An inch holds some twelve letters of this size.
    note = textwrap.fill(data.image_source(), int(12 * figure.get_figwidth()))
    figure.supxlabel(note, fontsize=static.SMALL * static.POINT)
    if name:
        save_figure(figure, name)
    display(figure)
    plt.close(figure)


def save_figure(figure, name):
    """Saves a matplotlib figure as `figs/<name>.png` at 300 dpi, and as `figs/<name>.svg`, which slides can take apart."""
    for kind in ("png", "svg"):
        with atomic(config.home() / "figs" / f"{name}.{kind}") as part:
            figure.savefig(part, dpi=300)
