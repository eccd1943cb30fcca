"""Drawing a plotly chart a second time with matplotlib, from the same traces: for where no script runs, and for files.

plotly's own export to pictures needs a Chrome.
"""

import math
import re

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
from matplotlib.colors import LinearSegmentedColormap

TITLE, TEXT, SMALL = 20, 15, 14  # sizes of text in pixels
WIDTH, DPI = 1000, 100  # of a chart in a notebook
POINT = 72 / DPI  # of matplotlib's points a pixel
_LINE = 26  # pixels of a line of the legend
_DASHES = {"dot": ":", "dash": "--", "solid": "-", None: "-"}


def chart_to_matplotlib(figure, size=None):
    """Draws a plotly chart with matplotlib, as the builders of `figures` make them: bars, lines, markers, heat maps.

    Args:
        figure: `plotly.graph_objects.Figure`.
        size: `(width, height)` in pixels, or `None` for the chart's own.

    Returns:
        `matplotlib.figure.Figure`.

    Raises:
        ValueError: the chart has a trace of another type.
    """
    unknown = {trace.type for trace in figure.data} - {"bar", "scatter", "heatmap"}
    if unknown:
        raise ValueError(
            f"The chart has traces of type {', '.join(unknown)}: a still picture is drawn of bar, scatter and heatmap."
        )
    total, height = size or (WIDTH, figure.layout.height or 450)
    twin = plt.figure(figsize=(total / DPI, height / DPI))
    # Room for titles and labels around plotly's plotting area, as shares of the picture.
    names = figure.layout.yaxis.ticktext or [name for trace in figure.data if _is_lying(trace) for name in trace.y]
    longest = max((len(str(name)) for name in names), default=0)
    left = max(80, 8 * longest + 30) / total
    head, legend, foot = room(figure, total)
    width, bottom, top = 0.97 - left, foot / height, 1 - (70 + head + legend) / height
    axes = {}
    for key in axes_of(figure):
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
        style = {"va": "bottom", "fontsize": (note.font.size or TEXT) * POINT, "ha": note.xanchor or "center"}
        if note.xref == "paper":
            y = bottom + (top - bottom) * note.y + 4 / height
            twin.text(left + width * note.x, y, plain(note.text), **style)
        else:
            axes[note.xref or "x", note.yref or "y"].text(note.x, note.y, note.text, color=note.font.color, **style)
    for text, size, color, line in (
        (plain(figure.layout.title.text), TITLE, "black", 14),
        (figure.layout.title.subtitle.text or "", SMALL, "#666666", 42),
    ):
        twin.text(0.02, 1 - line / height, text, fontsize=_fitting(text, size, 0.96 * total), va="top", color=color)
    if figure.layout.showlegend is not False and len(figure.data) > 1:
        shown = {name: handle for ax in axes.values() for handle, name in zip(*ax.get_legend_handles_labels())}
        place = {"loc": "lower left", "bbox_to_anchor": (0.01, top + head / height)}
        columns = math.ceil(len(shown) / (legend // _LINE))
        twin.legend(shown.values(), shown.keys(), ncols=columns, frameon=False, fontsize=TEXT * POINT, **place)
    return twin


def _draw_traces(ax, traces, barmode):
    bars = [trace for trace in traces if isinstance(trace, go.Bar)]
    for trace in traces:
        shown = trace.name if trace.name and trace.showlegend is not False else "_"
        if isinstance(trace, go.Bar):
            lying = _is_lying(trace)
            names, values = (trace.y, trace.x) if lying else (trace.x, trace.y)
            # A table may be empty.
            if not len(names):
                continue
            grouped = len(bars) > 1 and barmode == "group"
            thick = trace.width or (0.8 / len(bars) if grouped else 0.8)
            shift = (bars.index(trace) - (len(bars) - 1) / 2) * thick if grouped else 0
            at = np.arange(len(names)) if isinstance(names[0], str) else np.asarray(names)
            draw = ax.barh if lying else ax.bar
            lines = {"xerr": _ends(trace), "ecolor": trace.error_x.color, "error_kw": {"elinewidth": 1}}
            draw(at + shift, values, thick, color=trace.marker.color, label=shown, **lines)
            if isinstance(names[0], str):
                (ax.set_yticks if lying else ax.set_xticks)(at, names)
        elif isinstance(trace, go.Scatter):
            style = {"color": trace.line.color or trace.marker.color, "label": shown}
            style |= {"linestyle": _DASHES[trace.line.dash]} if "lines" in trace.mode else {"linestyle": ""}
            style |= (
                {"marker": "o", "markersize": 5} if "markers" in trace.mode else {"linewidth": trace.line.width or 2}
            )
            ax.errorbar(trace.x, trace.y, xerr=_ends(trace), **style)
        else:
            colors = LinearSegmentedColormap.from_list("plotly", [(at, color) for at, color in trace.colorscale])
            ax.imshow(trace.z, cmap=colors, aspect="auto")
            ax.set_xticks(range(len(trace.x)), trace.x)
            ax.set_yticks(range(len(trace.y)), trace.y)
            if trace.text is not None:
                for row, column in np.ndindex(*np.shape(trace.text)):
                    ax.text(column, row, trace.text[row][column], ha="center", va="center", fontsize=SMALL * POINT)


def _dress(ax, x_axis, y_axis, grid):
    for axis, side, set_label, set_ticks, set_limits in (
        (x_axis, "bottom", ax.set_xlabel, ax.set_xticks, ax.set_xlim),
        (y_axis, "left", ax.set_ylabel, ax.set_yticks, ax.set_ylim),
    ):
        label = plain(axis.title.text)
        # What would leave the picture at the side of a narrow chart is set smaller.
        side_px = ax.get_window_extent().width if axis is x_axis else math.inf
        set_label(label, fontsize=_fitting(label, TEXT, side_px))
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


def _fitting(text, size, width):
    """Returns a size of text in points: that given in pixels, or a smaller one where the text would be wider than `width` pixels."""
    # A letter is a little more than half as wide as it is high.
    return min(size, width / (0.54 * max(len(text), 1))) * POINT


def plain(text):
    """Returns a chart's text without its markup."""
    return re.sub(r"<[^>]+>", "", text or "")


def axes_of(figure):
    """Returns the names of a chart's pairs of axes, in order."""
    return list(dict.fromkeys((trace.xaxis or "x", trace.yaxis or "y") for trace in figure.data))


def room(figure, width):
    """Returns the heights in pixels of the titles of a chart's panels, of its legend, and of what stands below the axes."""
    head = 20 * any(note.xref == "paper" for note in figure.layout.annotations)
    shown = {trace.name for trace in figure.data if trace.name and trace.showlegend is not False}
    # A name of the legend takes less than nine pixels a letter and its sign fifty.
    rows = math.ceil(sum(8.6 * len(name) + 50 for name in shown) / (width - 30)) or 1
    return head, _LINE * min(rows, max(len(shown), 1)), 105 if figure.layout.xaxis.tickangle else 75


def _ends(trace):
    """Returns how far the interval of a trace reaches to the left and to the right, or `None`."""
    return None if trace.error_x.array is None else [trace.error_x.arrayminus, trace.error_x.array]


def _is_lying(trace):
    """Says whether the names of a chart stand along its left side."""
    if trace.type == "bar":
        return trace.orientation == "h"
    return trace.type == "heatmap" or (trace.type == "scatter" and trace.error_x.array is not None)
