"""Drawing a panel for each of the 14 findings in plotly: ROC curves, reliability curves.

A function here draws and returns; nothing is shown or saved until a notebook calls `showing.show_chart`.
"""

import math

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.metrics import roc_curve

from cxr_utils import calibration, config, evaluation


def roc_panels(sets, title, colours):
    """Draws the ROC curves of each finding in a panel of its own, with their AUROC in its title.

    Args:
        sets: dict of name → `(y_true, y_prob, table)`, the table of `evaluation.auroc_table`; a curve for each.
        title: of the chart.
        colours: list of one colour for each set.

    Returns:
        `plotly.graph_objects.Figure` of 14 panels.
    """
    notes = [" / ".join(_number(table.auroc[label]) for _, _, table in sets.values()) for label in config.LABELS]
    figure = _finding_panels(notes, "1 − specificity", "sensitivity", shared_xaxes=True, shared_yaxes=True)
    for number, label in enumerate(config.LABELS):
        curves = {}
        for name, (y_true, y_prob, table) in sets.items():
            known = not math.isnan(table.auroc[label])
            curves[name] = _thin(*roc_curve(y_true[:, number], y_prob[:, number])[:2]) if known else ([None], [None])
        _add_curves(figure, number, curves, colours, limit=1, mode="lines", named=number == 0)
    figure.update_xaxes(range=[0, 1], tickvals=[0, 0.5, 1])
    figure.update_yaxes(range=[0, 1.02], tickvals=[0, 0.5, 1])
    figure.update_xaxes(showticklabels=True, row=2, col=5)
    figure.update_layout(title=title, height=760)
    return figure


def reliability_panels(y_true, sets, title, colours):
    """Draws each finding's share of films with it over the predicted probability, in a panel of its own.

    On the dotted line predictions are probabilities. Each panel has a scale of its own, as rare findings have small ones.

    Args:
        y_true: `(n, 14)` 0 or 1.
        sets: dict of name → `(n, 14)` in [0, 1]; a curve for each.
        title: of the chart.
        colours: list of one colour for each set.

    Returns:
        `plotly.graph_objects.Figure` of 14 panels; one of a finding that too few films show is empty.
    """
    known = evaluation.enough(y_true)
    notes = ["" if enough else "n/a" for enough in known]
    figure = _finding_panels(notes, "predicted", "observed", horizontal_spacing=0.06, vertical_spacing=0.16)
    for number in range(len(known)):
        shown = sets if known[number] else {}
        bins = {name: calibration.reliability(y_true[:, number], y_prob[:, number]) for name, y_prob in shown.items()}
        limit = max((table[["predicted", "observed"]].max(axis=None) for table in bins.values()), default=1) * 1.05
        curves = {name: (table.predicted, table.observed) for name, table in bins.items()}
        _add_curves(figure, number, curves, colours, limit, mode="lines+markers", named=number == known.argmax())
        place = {"row": number // 5 + 1, "col": number % 5 + 1}
        figure.update_xaxes(range=[0, limit], nticks=4, **place)
        figure.update_yaxes(range=[0, limit], nticks=4, **place)
    figure.update_layout(title=title, height=800)
    return figure


def _finding_panels(notes, x_title, y_title, **grid):
    """Returns 14 empty panels in three rows, each under its finding and a note."""
    titles = [f"{label.replace('_', ' ')}<br>{note}" for label, note in zip(config.LABELS, notes)]
    grid = {"horizontal_spacing": 0.03, "vertical_spacing": 0.13} | grid
    figure = make_subplots(3, 5, subplot_titles=titles, **grid)
    for column in range(1, 6):
        figure.update_xaxes(title=x_title, row=3 if column < 5 else 2, col=column)
    for row in (1, 2, 3):
        figure.update_yaxes(title=y_title, row=row, col=1)
    figure.update_xaxes(visible=False, row=3, col=5)
    figure.update_yaxes(visible=False, row=3, col=5)
    return figure


def _add_curves(figure, number, curves, colours, limit, mode, named):
    """Draws curves and the diagonal into the panel of a finding, in the legend where they are to be named."""
    place = {"row": number // 5 + 1, "col": number % 5 + 1}
    diagonal = {"color": "#bbbbbb", "dash": "dot", "width": 1}
    figure.add_trace(go.Scatter(x=[0, limit], y=[0, limit], mode="lines", line=diagonal, showlegend=False), **place)
    for (name, (x, y)), colour in zip(curves.items(), colours):
        style = {"mode": mode, "line": {"color": colour, "width": 2}, "marker": {"size": 5}}
        figure.add_trace(go.Scatter(x=x, y=y, name=name, showlegend=bool(named), **style), **place)


def _number(value):
    return "n/a" if math.isnan(value) else f"{value:.2f}"


def _thin(x, y, points=200):
    """Leaves out points of a long curve that no eye could tell apart."""
    keep = np.unique(np.linspace(0, len(x) - 1, points).astype(int))
    return x[keep], y[keep]
