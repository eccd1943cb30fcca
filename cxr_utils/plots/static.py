"""Draws a plotly chart with matplotlib, from the same traces: for viewers without JavaScript, for paper, and for files.

plotly's own image export needs Chrome.
"""

import math
import re

import numpy as np
from matplotlib.artist import setp
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox, BboxTransformTo, blended_transform_factory

from cxr_utils import data
from cxr_utils.plots.supported import reject_unsupported

TITLE, TEXT, SMALL = 20, 15, 14  # text sizes in pixels
# Width and default height in pixels of a chart in a notebook. In a window of 1,100 pixels it does not scroll.
WIDTH, HEIGHT = 950, 450
DPI = 100
POINT = 72 / DPI  # size of a pixel in matplotlib's points
HEADER = 66  # height in pixels of the title and the source of the images
_LEGEND_LINE = 26  # height in pixels of a line of the legend
_DASHES = {"dot": ":", "dash": "--", "solid": "-", None: "-"}


def chart_to_matplotlib(figure, size=None, source_note=""):
    """Draws a plotly chart of `charts` or `panels` with matplotlib: bars, lines, markers and heat maps.

    The source of the images is below the title.

    Args:
        figure: `plotly.graph_objects.Figure`.
        size: `(width, height)` in pixels, or `None` for the size of the chart.
        source_note: str, shown with the source of the images.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: The chart uses a feature of plotly that is not supported.
    """
    reject_unsupported(figure)
    width, height = size or (WIDTH, figure.layout.height or HEIGHT)
    static_figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    axes, handles = {}, {}
    for key in dict.fromkeys(map(_axes, figure.data)):
        x_axis, y_axis = (figure.layout[name[0] + "axis" + name[1:]] for name in key)
        (x0, x1), (y0, y1) = x_axis.domain or (0, 1), y_axis.domain or (0, 1)
        ax = axes[key] = static_figure.add_axes([x0, y0, x1 - x0, y1 - y0])
        traces = [trace for trace in figure.data if _axes(trace) == key]
        for number, trace in enumerate(traces):
            handles[trace.name] = _DRAW[trace.type](ax, trace, number, traces, x_axis, y_axis)
        _format_axes(ax, x_axis, y_axis)
    # The axes fill the figure. Labels that are outside show how much space they need.
    box = Bbox.union([ax.get_tightbbox() for ax in axes.values()])
    header, names, lines = header_size(figure, width)
    area = BboxTransformTo(
        Bbox.from_extents(
            0.01 - box.x0 / width,
            0.02 - box.y0 / height,
            0.99 - max(box.x1 / width - 1, 0),
            1 - header / height,
        )
    )
    for ax in axes.values():
        ax.set_position(ax.get_position().transformed(area))
        ax.yaxis.label.set_size(_font_size(ax.get_ylabel(), TEXT, ax.get_window_extent().height))
    for line in figure.layout.shapes:
        ax = axes[line.xref, line.yref.removesuffix(" domain")]
        ax.plot(
            [line.x0, line.x1],
            [line.y0, line.y1],
            transform=ax.get_xaxis_transform(),
            color=line.line.color,
            linestyle=_DASHES[line.line.dash],
            linewidth=line.line.width or 1.5,
        )
    places = {name: ax.transData for key, ax in axes.items() for name in key}
    places["paper"] = area + static_figure.transFigure
    for note in figure.layout.annotations:
        static_figure.text(
            note.x,
            note.y,
            plain(note.text),
            transform=blended_transform_factory(places[note.xref], places[note.yref]),
            color=note.font.color,
            fontsize=(note.font.size or TEXT) * POINT,
            ha=note.xanchor,
            va="bottom",
        )
    for text, size, color, y in (
        (plain(figure.layout.title.text), TITLE, "black", 12),
        (data.image_source(source_note), SMALL, "#666666", 38),
    ):
        static_figure.text(
            0.02, 1 - y / height, text, fontsize=_font_size(text, size, 0.96 * width), va="top", color=color
        )
    if names:
        static_figure.legend(
            [handles[name] for name in names],
            names,
            loc="upper left",
            bbox_to_anchor=(0.01, 1 - HEADER / height),
            borderaxespad=0,
            ncols=math.ceil(len(names) / lines),
            frameon=False,
            fontsize=TEXT * POINT,
        )
    return static_figure


def plain(text):
    """Removes the markup from a text of a plotly chart."""
    return re.sub(r"<[^>]+>", "", (text or "").replace("<br>", "\n"))


def readable(name):
    """Returns the name of a finding or column with spaces instead of underscores."""
    return str(name).replace("_", " ")


def header_size(figure, width):
    """Computes the space that a chart needs above its plotting area.

    Args:
        figure: `plotly.graph_objects.Figure`.
        width: width of the chart in pixels.

    Returns:
        `(height, names, lines)`: the height in pixels of title, source of the images, legend and panel titles together;
        the names in the legend; the number of its lines.
    """
    panel_titles = 24 * any(note.xref == "paper" for note in figure.layout.annotations)
    names = dict.fromkeys(
        trace.name for trace in figure.data if trace.name and False not in (trace.showlegend, figure.layout.showlegend)
    )
    # In the legend a letter needs less than nine pixels and the symbol of an entry about fifty.
    lines = min(math.ceil(sum(8.6 * len(name) + 50 for name in names) / (width - 30)), len(names))
    return HEADER + lines * _LEGEND_LINE + panel_titles, list(names), lines


def _draw_bars(ax, trace, number, traces, x_axis, y_axis):
    """Draws the bars of the trace of this number, next to those of the other traces."""
    horizontal = trace.orientation == "h"
    names, values, others = (trace.y, trace.x, traces[0].y) if horizontal else (trace.x, trace.y, traces[0].x)
    if (
        {other.type for other in traces} != {"bar"}
        or (y_axis if horizontal else x_axis).type != "category"
        or list(names) != list(others)
        or len(set(names)) < len(names)
    ):
        raise ValueError("A static image can only show bars of the same names, each once, on an axis of type category.")
    positions = np.arange(len(names))
    draw, set_ticks = (ax.barh, ax.set_yticks) if horizontal else (ax.bar, ax.set_xticks)
    set_ticks(positions, names)
    width = 0.8 / len(traces)
    offset = width * (number - (len(traces) - 1) / 2)
    return draw(positions + offset, values, width, color=trace.marker.color)


def _draw_points(ax, trace, *_):
    """Draws a trace of lines or markers, with intervals if it has some."""
    return ax.errorbar(
        # Other values than numbers, which plotly shows on axes of other types, are rejected here.
        np.asarray(trace.x, object).astype(float),
        np.asarray(trace.y, object).astype(float),
        xerr=None if trace.error_x.array is None else [trace.error_x.arrayminus, trace.error_x.array],
        ecolor=trace.error_x.color,
        color=trace.line.color,
        linestyle=_DASHES[trace.line.dash] if "lines" in trace.mode else "",
        linewidth=(trace.line.width or 2) * POINT,
        marker="o" if "markers" in trace.mode else "",
        markersize=(trace.marker.size or 6) * POINT,
    )


def _draw_heat_map(ax, trace, *_):
    """Draws a heat map with its texts."""
    colors = LinearSegmentedColormap.from_list("plotly", [tuple(stop) for stop in trace.colorscale])
    ax.set_xticks(range(len(trace.x)), trace.x)
    ax.set_yticks(range(len(trace.y)), trace.y)
    if trace.texttemplate:
        for row, column in np.ndindex(*np.shape(trace.text)):
            ax.text(column, row, trace.text[row][column], ha="center", va="center", fontsize=SMALL * POINT)
    return ax.imshow(trace.z, cmap=colors, aspect="auto", origin="lower")


_DRAW = {"bar": _draw_bars, "heatmap": _draw_heat_map, "scatter": _draw_points}


def _format_axes(ax, x_axis, y_axis):
    """Applies the titles, ticks and limits of plotly's axes."""
    for name, axis, drawn in (("x", x_axis, ax.xaxis), ("y", y_axis, ax.yaxis)):
        drawn.set_label_text(plain(axis.title.text), fontsize=TEXT * POINT)
        named = axis.showticklabels is not False
        drawn.set_tick_params(labelsize=SMALL * POINT, labelbottom=named, labelleft=named, grid_color="#e6e6e6")
        drawn.grid(axis.type != "category" and not ax.images)
        drawn.set_inverted(axis.autorange == "reversed")
        if axis.tickvals is not None:
            drawn.set_ticks(axis.tickvals, axis.ticktext)
        if axis.range is not None:
            ax.set(**{f"{name}lim": axis.range})
        if axis.nticks:
            ax.locator_params(nbins=axis.nticks, axis=name)
        if axis.tickangle:
            setp(
                drawn.get_ticklabels(),
                rotation=-axis.tickangle,
                rotation_mode="anchor",
                ha="right" if axis.tickangle < 0 else "left",
            )
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _font_size(text, size, width):
    """Returns a font size in points: `size` pixels, or less if the text would be wider than `width` pixels."""
    # The width of a letter is a little more than half of its height.
    return min(size, width / (0.54 * max(len(text), 1))) * POINT


def _axes(trace):
    """Returns the names of the axes of a trace."""
    return trace.xaxis or "x", trace.yaxis or "y"
