"""Showing and saving figures: a plotly chart also stands as a picture where no script runs.

nbviewer shows a chart's HTML, GitHub runs no script at all, and plotly's own export to pictures needs a Chrome. So each
chart is drawn a second time, by matplotlib from the same traces, and that picture stands in the HTML until the script
has drawn the chart. The pictures in `figs/` are drawn the same way.
"""

import base64
import html
import io
import math
import re
import uuid

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
from IPython.display import display
from matplotlib.colors import LinearSegmentedColormap
from plotly.offline import get_plotlyjs_version

from cxr_utils import config
from cxr_utils.files import atomic

_WIDTH, _DPI = 1000, 100
# Sizes of text in pixels of a chart 1000 wide: on a slide of 1280 the smallest is read from the last row.
_TITLE, _TEXT, _SMALL = 20, 15, 14
_LINE = 26  # pixels of a line of the legend
_POINT = 72 / _DPI  # of matplotlib's points a pixel
_HTML = """<div id="{place}">{still}</div>
<script>
// All charts of a page wait for one script; where it can't be had, their pictures stay.
(window.plotlyOfPage ??= new Promise((loaded, failed) => document.head.append(Object.assign(document.createElement("script"), {{
  src: "https://cdn.plot.ly/plotly-{version}.min.js", charset: "utf-8", onload: loaded, onerror: failed
}})))).then(() => {{
  const place = document.getElementById("{place}"), chart = {chart};
  place.replaceChildren();
  place.style.height = (chart.layout.height || 450) + "px";
  Plotly.newPlot(place, chart.data, chart.layout, {{responsive: true}});
}}, () => {{}});
</script>"""
_DASHES = {"dot": ":", "dash": "--", "solid": "-", None: "-"}


def films_note():
    """Returns one sentence on where the films come from, as `data/RELEASE.txt` says; figures and tables carry it."""
    note = config.home() / "data" / config.RELEASE_NOTE
    return (
        f"Films: {note.read_text().strip()}" if note.is_file() else "Films: source not recorded (no data/RELEASE.txt)"
    )


def show_chart(figure, name=None):
    """Shows a plotly chart, interactive where scripts run and as a picture elsewhere.

    Args:
        figure: `plotly.graph_objects.Figure`.
        name: if given, the picture is also saved as `figs/<name>.png` at 300 dpi and `figs/<name>.svg`.
    """
    # The legend stands above the titles of panels, where there are any.
    (head, legend, foot), height = _room(figure), figure.layout.height or 450
    figure.update_layout(
        template="plotly_white",
        font_size=_TEXT,
        title={"x": 0.02, "y": 1 - 14 / height, "yanchor": "top", "yref": "container", "font": {"size": _TITLE}},
        title_subtitle={"text": films_note(), "font": {"size": _SMALL, "color": "#666666"}},
        legend={"orientation": "h", "x": 0, "y": 1 + head / (height - 85 - head - legend - foot), "yanchor": "bottom"},
        margin={"l": 75, "r": 30, "t": 85 + head + legend, "b": foot},
    )
    twin = chart_to_matplotlib(figure)
    picture = io.BytesIO()
    twin.savefig(picture, format="png", dpi=_DPI)
    if name:
        save_picture(twin, name)
    plt.close(twin)
    title = _plain(figure.layout.title.text)
    still = f'<img alt="{html.escape(title)}" style="max-width:100%" src="data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}">'
    place = f"chart-{uuid.uuid4().hex}"
    page = _HTML.format(
        place=place, still=still, version=get_plotlyjs_version(), chart=figure.to_json().replace("</", "<\\/")
    )
    display(
        {"application/vnd.plotly.v1+json": figure.to_plotly_json(), "text/html": page, "text/plain": title}, raw=True
    )


def show_films(figure, name=None):
    """Shows a matplotlib figure of films and closes it.

    Args:
        figure: `matplotlib.figure.Figure`.
        name: if given, also saved as `figs/<name>.png` at 300 dpi and `figs/<name>.svg`.
    """
    figure.supxlabel(films_note(), fontsize=_SMALL * _POINT)
    if name:
        save_picture(figure, name)
    display(figure)
    plt.close(figure)


def save_picture(figure, name):
    """Saves a matplotlib figure as `figs/<name>.png` at 300 dpi, and as `figs/<name>.svg`, which slides can take apart."""
    for kind in ("png", "svg"):
        with atomic(config.home() / "figs" / f"{name}.{kind}") as part:
            figure.savefig(part, dpi=300)


def chart_to_matplotlib(figure):
    """Draws a plotly chart with matplotlib, as the builders of `figures` make them: bars, lines, markers, heat maps.

    Args:
        figure: `plotly.graph_objects.Figure`.

    Returns:
        `matplotlib.figure.Figure` of the chart's proportions.

    Raises:
        ValueError: the chart has a trace of another type.
    """
    unknown = {trace.type for trace in figure.data} - {"bar", "scatter", "heatmap"}
    if unknown:
        raise ValueError(
            f"The chart has traces of type {', '.join(unknown)}: a still picture is drawn of bar, scatter and heatmap."
        )
    height = figure.layout.height or 450
    twin = plt.figure(figsize=(_WIDTH / _DPI, height / _DPI))
    # Room for titles and labels around plotly's plotting area, as shares of the picture.
    names = figure.layout.yaxis.ticktext or [name for trace in figure.data if _is_lying(trace) for name in trace.y]
    longest = max((len(str(name)) for name in names), default=0)
    left = max(80, 8 * longest + 30) / _WIDTH
    head, legend, foot = _room(figure)
    width, bottom, top = 0.97 - left, foot / height, 1 - (70 + head + legend) / height
    axes = {}
    for key in dict.fromkeys((trace.xaxis or "x", trace.yaxis or "y") for trace in figure.data):
        x_axis, y_axis = (figure.layout[name[0] + "axis" + name[1:]] for name in key)
        (x0, x1), (y0, y1) = x_axis.domain or (0, 1), y_axis.domain or (0, 1)
        axes[key] = twin.add_axes(
            [left + width * x0, bottom + (top - bottom) * y0, width * (x1 - x0), (top - bottom) * (y1 - y0)]
        )
        _draw_traces(
            axes[key], [t for t in figure.data if (t.xaxis or "x", t.yaxis or "y") == key], figure.layout.barmode
        )
        _dress(axes[key], x_axis, y_axis, grid="x" if any(_is_lying(trace) for trace in figure.data) else "y")
    for line in figure.layout.shapes:
        ax = next(ax for (x, _), ax in axes.items() if x == line.xref)
        ax.axvline(line.x0, color=line.line.color, linestyle=_DASHES[line.line.dash], linewidth=line.line.width or 1.5)
    for note in figure.layout.annotations:
        y = bottom + (top - bottom) * note.y + 4 / height
        twin.text(left + width * note.x, y, _plain(note.text), ha=note.xanchor or "center", va="bottom", fontsize=_TEXT * _POINT)
    twin.text(0.02, 1 - 14 / height, _plain(figure.layout.title.text), fontsize=_TITLE * _POINT, va="top")
    note = figure.layout.title.subtitle.text or ""
    twin.text(0.02, 1 - 42 / height, note, fontsize=_SMALL * _POINT, va="top", color="#666666")
    if figure.layout.showlegend is not False and len(figure.data) > 1:
        shown = {name: handle for ax in axes.values() for handle, name in zip(*ax.get_legend_handles_labels())}
        place = {"loc": "lower left", "bbox_to_anchor": (left, top + head / height)}
        columns = math.ceil(len(shown) / (legend // _LINE))
        twin.legend(shown.values(), shown.keys(), ncols=columns, frameon=False, fontsize=_TEXT * _POINT, **place)
    return twin


def _draw_traces(ax, traces, barmode):
    bars = [trace for trace in traces if isinstance(trace, go.Bar)]
    for trace in traces:
        shown = trace.name if trace.name and trace.showlegend is not False else "_"
        if isinstance(trace, go.Bar):
            lying = _is_lying(trace)
            names, values = (trace.y, trace.x) if lying else (trace.x, trace.y)
            # No finding may have a threshold, and so no bar.
            if not len(names):
                continue
            grouped = len(bars) > 1 and barmode == "group"
            thick = 0.8 / len(bars) if grouped else 0.8
            shift = (bars.index(trace) - (len(bars) - 1) / 2) * thick if grouped else 0
            at = np.arange(len(names)) if isinstance(names[0], str) else np.asarray(names)
            thick = thick if isinstance(names[0], str) or len(at) < 2 else thick * (at[1] - at[0])
            draw = ax.barh if lying else ax.bar
            start = {} if trace.base is None else {"left" if lying else "bottom": trace.base}
            draw(at + shift, values, thick, color=trace.marker.color, label=shown, **start)
            if isinstance(names[0], str):
                (ax.set_yticks if lying else ax.set_xticks)(at, names)
        elif isinstance(trace, go.Scatter):
            style = {"color": trace.line.color or trace.marker.color, "label": shown}
            style |= {"linestyle": _DASHES[trace.line.dash]} if "lines" in trace.mode else {"linestyle": ""}
            style |= (
                {"marker": "o", "markersize": 5} if "markers" in trace.mode else {"linewidth": trace.line.width or 2}
            )
            error = None if trace.error_x.array is None else [trace.error_x.arrayminus, trace.error_x.array]
            ax.errorbar(trace.x, trace.y, xerr=error, **style)
        else:
            colours = LinearSegmentedColormap.from_list("plotly", [(at, colour) for at, colour in trace.colorscale])
            ax.imshow(trace.z, cmap=colours, aspect="auto")
            ax.set_xticks(range(len(trace.x)), trace.x)
            ax.set_yticks(range(len(trace.y)), trace.y)
            if trace.text is not None:
                for row, column in np.ndindex(*np.shape(trace.text)):
                    ax.text(column, row, trace.text[row][column], ha="center", va="center", fontsize=8)


def _dress(ax, x_axis, y_axis, grid):
    for axis, side, set_label, set_ticks, set_limits in (
        (x_axis, "bottom", ax.set_xlabel, ax.set_xticks, ax.set_xlim),
        (y_axis, "left", ax.set_ylabel, ax.set_yticks, ax.set_ylim),
    ):
        set_label(_plain(axis.title.text), fontsize=_TEXT * _POINT)
        if axis.tickvals is not None:
            set_ticks(axis.tickvals, axis.ticktext if axis.ticktext is not None else axis.tickvals)
        if axis.range is not None:
            set_limits(*axis.range)
        if axis.showticklabels is False:
            ax.tick_params(**{f"label{side}": False})
    if x_axis.tickangle:
        plt.setp(ax.get_xticklabels(), rotation=-x_axis.tickangle, ha="right", rotation_mode="anchor")
    ax.tick_params(labelsize=_SMALL * _POINT)
    if not ax.images:
        ax.grid(axis=grid, color="#e6e6e6", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_visible(x_axis.visible is not False)


def _room(figure):
    """Returns the heights in pixels of the titles of a chart's panels, of its legend, and of what stands below the axes."""
    head = max((20 * (note.text.count("<br>") + 1) for note in figure.layout.annotations), default=0)
    shown = {trace.name for trace in figure.data if trace.name and trace.showlegend is not False}
    # A name of the legend takes some nine pixels a letter and its sign fifty.
    rows = math.ceil(sum(9 * len(name) + 50 for name in shown) / (_WIDTH - 75)) or 1
    return head, _LINE * min(rows, max(len(shown), 1)), 105 if figure.layout.xaxis.tickangle else 75


def _is_lying(trace):
    """Says whether the names of a chart stand along its left side."""
    if trace.type == "bar":
        return trace.orientation == "h"
    return trace.type == "heatmap" or (trace.type == "scatter" and trace.error_x.array is not None)


def _plain(text):
    return re.sub(r"<[^>]+>", "", (text or "").replace("<br>", "\n"))
