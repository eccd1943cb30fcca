"""Drawing charts in plotly, with one palette.

A function here draws and returns; nothing is shown or saved until a notebook calls `showing.show_chart`.
"""

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.metrics import roc_curve

from cxr_utils import calibration, config, evaluation

# Okabe & Ito's palette, safe for colour-blind eyes: the same three colours for the same three things everywhere.
DIAGNOSIS = "#4d4d4d"
BASELINE = "#e69f00"
PRETRAINED = "#0072b2"
UNSEEN = "#009e73"


def horizontal_bars(series, title, unit):
    """Draws one bar for each entry of a series, the largest on top.

    Args:
        series: numbers, indexed by name.
        title: of the chart.
        unit: what the bars measure.

    Returns:
        `plotly.graph_objects.Figure`.
    """
    series = series.sort_values()
    bars = go.Bar(y=[str(name) for name in series.index], x=series.to_numpy(), orientation="h", marker_color=DIAGNOSIS)
    figure = go.Figure(bars)
    figure.update_layout(title=title, height=210 + 24 * len(series))
    figure.update_xaxes(title=unit)
    return figure


def grouped_bars(table, title, unit, colours):
    """Draws a group of bars for each row of a frame, a bar for each column.

    Args:
        table: frame of numbers.
        title: of the chart.
        unit: what the bars measure.
        colours: list of one colour for each column.

    Returns:
        `plotly.graph_objects.Figure`.
    """
    names = [str(name) for name in table.index]
    figure = go.Figure(
        [go.Bar(x=names, y=table[c].to_numpy(), name=str(c), marker_color=colour) for c, colour in zip(table, colours)]
    )
    figure.update_layout(title=title, barmode="group", height=460)
    figure.update_xaxes(tickangle=-40)
    figure.update_yaxes(title=unit)
    return figure


def history(log, title):
    """Plots a training log, ours or an old one of seven columns.

    Args:
        log: frame of `logs/*_training.csv`.
        title: of the chart.

    Returns:
        `plotly.graph_objects.Figure`: loss and AUROC over the epochs, counted from 1.

    Raises:
        ValueError: a column of the log is missing.
    """
    old = ["auc", "categorical_accuracy", "loss", "val_auc", "val_categorical_accuracy", "val_loss"]
    missing = [name for name in old if name not in log]
    if missing:
        raise ValueError(f"The training log has no column {missing}: expected epoch, {', '.join(old)}.")
    training, validation = {"color": DIAGNOSIS, "dash": "dot"}, {"color": BASELINE}
    panels = [
        ("Loss (binary cross-entropy)", "loss"),
        ("AUROC (grey, orange: all labels flattened)", "auc"),
        ("Categorical accuracy", "categorical_accuracy"),
    ]
    figure = make_subplots(1, 3, subplot_titles=[title for title, _ in panels], horizontal_spacing=0.08)
    epochs = np.arange(1, len(log) + 1)
    for column, (_, name) in enumerate(panels, start=1):
        curves = [("training", name, training), ("validation", f"val_{name}", validation)]
        if name == "auc" and "val_mean_auroc" in log:
            curves.append(("validation, mean AUROC of the findings", "val_mean_auroc", {"color": PRETRAINED}))
        for legend, key, line in curves:
            shown = column == 1 or key == "val_mean_auroc"
            trace = go.Scatter(x=epochs, y=log[key], mode="lines", name=legend, line=line, showlegend=shown)
            figure.add_trace(trace, 1, column)
    figure.update_xaxes(title="epoch", tickvals=np.unique(np.linspace(1, len(log), 6).astype(int)).tolist())
    figure.update_layout(title=title, height=400)
    return figure


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


def auroc_intervals(tables, title, colours):
    """Draws AUROC with its 95 % interval for each finding and the mean, one colour a table; what is n/a is said.

    Args:
        tables: dict of name → frame of `evaluation.auroc_table`.
        title: of the chart.
        colours: list of one colour for each table.

    Returns:
        `plotly.graph_objects.Figure`.
    """
    columns = ["auroc", "lower", "upper"]
    rows = {
        name: pd.concat([table[columns], pd.DataFrame(table.attrs["mean"], index=["mean"])[columns]])
        for name, table in tables.items()
    }
    return intervals(rows, title, "AUROC, 95 % interval by patient bootstrap", colours, reference=0.5)


def intervals(tables, title, unit, colours, reference=None):
    """Draws values with their intervals, one colour a table; what is n/a is said.

    Args:
        tables: dict of name → frame of three columns: value, lower and upper end; all of the same index.
        title: of the chart.
        unit: what the values measure.
        colours: list of one colour for each table.
        reference: number at which a dotted line stands, or `None`.

    Returns:
        `plotly.graph_objects.Figure`.
    """
    figure = go.Figure()
    known = {name: table for name, table in tables.items() if table.iloc[:, 0].notna().any()}
    ticks = []
    for row in next(iter(tables.values())).index:
        missing = [name for name, table in known.items() if math.isnan(table.loc[row].iloc[0])]
        note = " (n/a)" if len(missing) == len(known) else f" (n/a: {', '.join(missing)})"
        ticks.append(str(row).replace("_", " ") + (note if missing else ""))
    for number, ((name, table), colour) in enumerate(zip(tables.items(), colours)):
        values, lower, upper = table.to_numpy(float).T
        figure.add_trace(go.Scatter(
            y=np.arange(len(values)) + 0.3 * (number - (len(tables) - 1) / 2),
            x=values, name=name if name in known else f"{name}: n/a, too few films", mode="markers",
            marker={"color": colour, "size": 8},
            error_x={"array": upper - values, "arrayminus": values - lower, "color": colour},
        ))  # fmt: skip
    if reference is not None:
        figure.add_vline(x=reference, line={"color": "#bbbbbb", "dash": "dot"})
    figure.update_yaxes(tickvals=list(range(len(ticks))), ticktext=ticks, range=[len(ticks) - 0.4, -0.6])
    figure.update_xaxes(title=unit)
    figure.update_layout(title=title, height=200 + 28 * len(ticks))
    return figure


def _number(value):
    return "n/a" if math.isnan(value) else f"{value:.2f}"


def _thin(x, y, points=200):
    """Leaves out points of a long curve that no eye could tell apart."""
    keep = np.unique(np.linspace(0, len(x) - 1, points).astype(int))
    return x[keep], y[keep]
