"""Drawing a panel for each of the 14 findings in plotly: ROC curves, reliability curves.

A function here draws and returns; nothing is shown or saved until a notebook calls `showing.show_chart`.
"""

import math

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.metrics import roc_curve

from cxr_utils import config, evaluation

_COLUMNS = 7


def roc_panels(sets, title, colors):
    """Draws the ROC curves of each finding in a panel of its own, with their AUROC in the corner that curves leave free.

    Args:
        sets: dict of name → `(y_true, y_prob, table)`, the table of `evaluation.auroc_table`; a curve for each.
        title: of the chart.
        colors: list of one color for each set.

    Returns:
        `plotly.graph_objects.Figure` of 14 panels.
    """
    figure = _finding_panels("1 − specificity", "sensitivity", shared_xaxes=True, shared_yaxes=True)
    for number, label in enumerate(config.LABELS):
        curves = {}
        for name, (y_true, y_prob, table) in sets.items():
            known = not math.isnan(table.auroc[label])
            curves[name] = _thin(*roc_curve(y_true[:, number], y_prob[:, number])[:2]) if known else ([None], [None])
        _add_curves(figure, number, curves, colors, limit=1, mode="lines", named=number == 0)
        # A set that has no AUROC at all says so in its name.
        areas = [
            (table.auroc[label], color)
            for (_, _, table), color in zip(sets.values(), colors)
            if table.auroc.notna().any()
        ]
        for line, (area, color) in enumerate(reversed(areas)):
            _add_note(figure, number, "n/a" if math.isnan(area) else f"{area:.2f}", _dark(color), 0.98, 0.2 * line)
    figure.update_xaxes(range=[0, 1], tickvals=[0, 1])
    figure.update_yaxes(range=[0, 1.02], tickvals=[0, 1])
    figure.update_layout(title=title, height=540)
    return figure


def reliability_panels(y_true, sets, title, colors):
    """Draws each finding's share of images with it over the predicted probability, in a panel of its own.

    On the dotted line predictions are probabilities. Each panel has a scale of its own, as rare findings have small ones.

    Args:
        y_true: `(n, 14)` 0 or 1.
        sets: dict of name → `(n, 14)` in [0, 1]; a curve for each.
        title: of the chart.
        colors: list of one color for each set.

    Returns:
        `plotly.graph_objects.Figure` of 14 panels; one of a finding that too few images show is empty.
    """
    known = evaluation.enough_cases(y_true)
    figure = _finding_panels("predicted", "observed", horizontal_spacing=0.045, vertical_spacing=0.2)
    for number in range(len(known)):
        shown = sets if known[number] else {}
        bins = {name: evaluation.reliability(y_true[:, number], y_prob[:, number]) for name, y_prob in shown.items()}
        limit = max((table[["predicted", "observed"]].max(axis=None) for table in bins.values()), default=1) * 1.05
        curves = {name: (table.predicted, table.observed) for name, table in bins.items()}
        _add_curves(figure, number, curves, colors, limit, mode="lines+markers", named=number == known.argmax())
        if not known[number]:
            _add_note(figure, number, "n/a", "#222222", 0.98, 0)
        # The largest round number on the scale says enough of it.
        step = 10 ** math.floor(math.log10(limit))
        ticks = [0, limit // step * step]
        scale = {"range": [0, limit], "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
        figure.update_xaxes(**scale, **_place(number))
        figure.update_yaxes(**scale, **_place(number))
    figure.update_layout(title=title, height=560)
    return figure


def _finding_panels(x_title, y_title, **grid):
    """Returns 14 empty panels, each under its finding."""
    titles = [label.replace("_", " ") for label in config.LABELS]
    grid = {"horizontal_spacing": 0.02, "vertical_spacing": 0.15} | grid
    figure = make_subplots(2, _COLUMNS, subplot_titles=titles, **grid)
    figure.update_annotations(font_size=14)
    # One name in the middle stands for the row.
    figure.update_xaxes(title=x_title, row=2, col=_COLUMNS // 2 + 1)
    figure.update_yaxes(title=y_title, col=1)
    return figure


def _add_curves(figure, number, curves, colors, limit, mode, named):
    """Draws curves and the diagonal into the panel of a finding, in the legend where they are to be named."""
    diagonal = {"color": "#bbbbbb", "dash": "dot", "width": 1}
    figure.add_trace(
        go.Scatter(x=[0, limit], y=[0, limit], mode="lines", line=diagonal, showlegend=False), **_place(number)
    )
    for (name, (x, y)), color in zip(curves.items(), colors):
        style = {"mode": mode, "line": {"color": color, "width": 2}, "marker": {"size": 5}}
        figure.add_trace(go.Scatter(x=x, y=y, name=name, showlegend=bool(named), **style), **_place(number))


def _add_note(figure, number, text, color, x, y):
    """Writes into the panel of a finding; `x` and `y` are of the text's lower right corner, in the panel's own numbers."""
    figure.add_annotation(
        text=text, x=x, y=y, xanchor="right", yanchor="bottom", showarrow=False, font={"color": color}, **_place(number)
    )


def _dark(color):
    """Returns a color of `figures` dark enough for letters on white."""
    return "#" + "".join(f"{int(color[at : at + 2], 16) * 6 // 10:02x}" for at in (1, 3, 5))


def _place(number):
    return {"row": number // _COLUMNS + 1, "col": number % _COLUMNS + 1}


def _thin(x, y, points=200):
    """Leaves out points of a long curve that no eye could tell apart."""
    keep = np.unique(np.linspace(0, len(x) - 1, points).astype(int))
    return x[keep], y[keep]
