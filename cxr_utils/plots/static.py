"""Draws a plotly chart with matplotlib, from the same traces: for viewers without JavaScript, and for files.

plotly's own image export needs Chrome.
"""

import math
import re

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
from matplotlib.colors import LinearSegmentedColormap

TITLE, TEXT, SMALL = 20, 15, 14  # text sizes in pixels
WIDTH, DPI = 1000, 100  # width in pixels and resolution of a chart in a notebook
POINT = 72 / DPI  # size of a pixel in matplotlib's points
_LEGEND_LINE = 26  # height in pixels of a line of the legend
_DASHES = {"dot": ":", "dash": "--", "solid": "-", None: "-"}


def chart_to_matplotlib(figure, size=None):
    """Draws a plotly chart of `charts` or `panels` with matplotlib: bars, lines, markers and heat maps.

    Args:
        figure: `plotly.graph_objects.Figure`.
        size: `(width, height)` in pixels, or `None` for the size of the chart.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: the chart has a trace of a type that is not supported.
    """
    unknown = {trace.type for trace in figure.data} - {"bar", "scatter", "heatmap"}
    if unknown:
        raise ValueError(
            f"The chart has traces of type {', '.join(unknown)}. A static image can only show bar, scatter and heatmap."
        )
    total, height = size or (WIDTH, figure.layout.height or 450)
    static_figure = plt.figure(figsize=(total / DPI, height / DPI))
    # Space for titles and labels around plotly's plotting area, as fractions of the image.
    names = figure.layout.yaxis.ticktext or [
        name for trace in figure.data if _has_names_on_y(trace) for name in trace.y
    ]
    longest = max((len(str(name)) for name in names), default=0)
    left = max(80, 8 * longest + 30) / total
    panel_titles, legend, axis_labels = margins(figure, total)
    width, bottom, top = 0.97 - left, axis_labels / height, 1 - (70 + panel_titles + legend) / height
    axes = {}
    for key in axes_of(figure):
        x_axis, y_axis = (figure.layout[name[0] + "axis" + name[1:]] for name in key)
        (x0, x1), (y0, y1) = x_axis.domain or (0, 1), y_axis.domain or (0, 1)
        axes[key] = static_figure.add_axes(
            [left + width * x0, bottom + (top - bottom) * y0, width * (x1 - x0), (top - bottom) * (y1 - y0)]
        )
        traces = [trace for trace in figure.data if (trace.xaxis or "x", trace.yaxis or "y") == key]
        _draw_traces(axes[key], traces, figure.layout.barmode)
        _format_axes(axes[key], x_axis, y_axis, grid="x" if any(map(_has_names_on_y, figure.data)) else "y")
    for line in figure.layout.shapes:
        ax = next(ax for (x, _), ax in axes.items() if x == line.xref)
        ax.axvline(line.x0, color=line.line.color, linestyle=_DASHES[line.line.dash], linewidth=line.line.width or 1.5)
    for note in figure.layout.annotations:
        style = {"va": "bottom", "fontsize": (note.font.size or TEXT) * POINT, "ha": note.xanchor or "center"}
        if note.xref == "paper":
            y = bottom + (top - bottom) * note.y + 4 / height
            static_figure.text(left + width * note.x, y, plain(note.text), **style)
        else:
            axes[note.xref or "x", note.yref or "y"].text(note.x, note.y, note.text, color=note.font.color, **style)
    for text, size, color, line in (
        (plain(figure.layout.title.text), TITLE, "black", 14),
        (figure.layout.title.subtitle.text or "", SMALL, "#666666", 42),
    ):
        static_figure.text(
            0.02, 1 - line / height, text, fontsize=_font_size(text, size, 0.96 * total), va="top", color=color
        )
    if figure.layout.showlegend is not False and len(figure.data) > 1:
        shown = {
            name: handle for ax in axes.values() for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        position = {"loc": "lower left", "bbox_to_anchor": (0.01, top + panel_titles / height)}
        style = {"ncols": math.ceil(len(shown) / (legend // _LEGEND_LINE)), "frameon": False, "fontsize": TEXT * POINT}
        static_figure.legend(shown.values(), shown.keys(), **style, **position)
    return static_figure


def _draw_traces(ax, traces, barmode):
    bars = [trace for trace in traces if isinstance(trace, go.Bar)]
    for trace in traces:
        shown = trace.name if trace.name and trace.showlegend is not False else "_"
        if isinstance(trace, go.Bar):
            horizontal = _has_names_on_y(trace)
            names, values = (trace.y, trace.x) if horizontal else (trace.x, trace.y)
            # A table may be empty.
            if not len(names):
                continue
            grouped = len(bars) > 1 and barmode == "group"
            width = trace.width or (0.8 / len(bars) if grouped else 0.8)
            shift = (bars.index(trace) - (len(bars) - 1) / 2) * width if grouped else 0
            positions = np.arange(len(names)) if isinstance(names[0], str) else np.asarray(names)
            draw = ax.barh if horizontal else ax.bar
            lines = {"xerr": _interval_lengths(trace), "ecolor": trace.error_x.color, "error_kw": {"elinewidth": 1}}
            draw(positions + shift, values, width, color=trace.marker.color, label=shown, **lines)
            if isinstance(names[0], str):
                (ax.set_yticks if horizontal else ax.set_xticks)(positions, names)
        elif isinstance(trace, go.Scatter):
            style = {"color": trace.line.color or trace.marker.color, "label": shown}
            style |= {"linestyle": _DASHES[trace.line.dash]} if "lines" in trace.mode else {"linestyle": ""}
            style |= (
                {"marker": "o", "markersize": 5} if "markers" in trace.mode else {"linewidth": trace.line.width or 2}
            )
            ax.errorbar(trace.x, trace.y, xerr=_interval_lengths(trace), **style)
        else:
            colors = LinearSegmentedColormap.from_list("plotly", [tuple(stop) for stop in trace.colorscale])
            ax.imshow(trace.z, cmap=colors, aspect="auto")
            ax.set_xticks(range(len(trace.x)), trace.x)
            ax.set_yticks(range(len(trace.y)), trace.y)
            if trace.text is not None:
                for row, column in np.ndindex(*np.shape(trace.text)):
                    ax.text(column, row, trace.text[row][column], ha="center", va="center", fontsize=SMALL * POINT)


def _format_axes(ax, x_axis, y_axis, grid):
    for axis, side, set_label, set_ticks, set_limits in (
        (x_axis, "bottom", ax.set_xlabel, ax.set_xticks, ax.set_xlim),
        (y_axis, "left", ax.set_ylabel, ax.set_yticks, ax.set_ylim),
    ):
        label = plain(axis.title.text)
        # A label that is wider than a narrow chart gets a smaller font.
        side_px = ax.get_window_extent().width if axis is x_axis else math.inf
        set_label(label, fontsize=_font_size(label, TEXT, side_px))
        if axis.tickvals is not None:
            set_ticks(axis.tickvals, axis.ticktext if axis.ticktext is not None else axis.tickvals)
        if axis.range is not None:
            set_limits(*axis.range)
        if axis.showticklabels is False:
            ax.tick_params(**{f"label{side}": False})
        if axis.nticks:
            ax.locator_params(nbins=axis.nticks, axis="x" if axis is x_axis else "y")
    if x_axis.tickangle:
        plt.setp(ax.get_xticklabels(), rotation=-x_axis.tickangle, ha="right", rotation_mode="anchor")
    ax.tick_params(labelsize=SMALL * POINT)
    if not ax.images:
        ax.grid(axis=grid, color="#e6e6e6", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _font_size(text, size, width):
    """Returns a font size in points: `size` pixels, or less if the text would be wider than `width` pixels."""
    # The width of a letter is a little more than half of its height.
    return min(size, width / (0.54 * max(len(text), 1))) * POINT


def plain(text):
    """Removes the markup from a text of a plotly chart."""
    return re.sub(r"<[^>]+>", "", text or "")


def axes_of(figure):
    """Returns the names of a chart's pairs of axes, such as `("x2", "y2")`, in order."""
    return list(dict.fromkeys((trace.xaxis or "x", trace.yaxis or "y") for trace in figure.data))


def margins(figure, width):
    """Computes the space that a chart needs around its plotting area.

    Args:
        figure: `plotly.graph_objects.Figure`.
        width: width of the chart in pixels.

    Returns:
        `(panel_titles, legend, axis_labels)`, the heights in pixels of the panel titles, of the legend, and of the tick
        and axis labels below the plot.
    """
    panel_titles = 20 * any(note.xref == "paper" for note in figure.layout.annotations)
    shown = {trace.name for trace in figure.data if trace.name and trace.showlegend is not False}
    # In the legend a letter needs less than nine pixels and the symbol of an entry about fifty.
    rows = math.ceil(sum(8.6 * len(name) + 50 for name in shown) / (width - 30)) or 1
    axis_labels = 105 if figure.layout.xaxis.tickangle else 75
    return panel_titles, _LEGEND_LINE * min(rows, max(len(shown), 1)), axis_labels


def _interval_lengths(trace):
    """Returns how far the interval of a trace extends to the left and to the right, or `None`."""
    return None if trace.error_x.array is None else [trace.error_x.arrayminus, trace.error_x.array]


def _has_names_on_y(trace):
    """Returns whether a trace has its names along the y axis, as horizontal bars, intervals and heat maps have."""
    if trace.type == "bar":
        return trace.orientation == "h"
    return trace.type == "heatmap" or (trace.type == "scatter" and trace.error_x.array is not None)
