"""Drawing charts in plotly, with one palette.

A function here draws and returns; nothing is shown or saved until a notebook calls `showing.show_chart`.
"""

import math

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.metrics import roc_curve

from cxr_utils import config

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
    numbers = [" / ".join(_number(table.auroc[label]) for _, _, table in sets.values()) for label in config.LABELS]
    figure = make_subplots(
        3, 5,
        subplot_titles=[f"{label.replace('_', ' ')}<br>{number}" for label, number in zip(config.LABELS, numbers)],
        shared_xaxes=True, shared_yaxes=True, horizontal_spacing=0.03, vertical_spacing=0.13,
    )  # fmt: skip
    chance = {"color": "#bbbbbb", "dash": "dot", "width": 1}
    for number, label in enumerate(config.LABELS):
        place = {"row": number // 5 + 1, "col": number % 5 + 1}
        figure.add_trace(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=chance, showlegend=False), **place)
        for (name, (y_true, y_prob, table)), colour in zip(sets.items(), colours):
            fpr, tpr = [None], [None]
            if not math.isnan(table.auroc[label]):
                fpr, tpr = _thin(*roc_curve(y_true[:, number], y_prob[:, number])[:2])
            line = {"color": colour, "width": 2}
            figure.add_trace(
                go.Scatter(x=fpr, y=tpr, mode="lines", line=line, name=name, showlegend=number == 0), **place
            )
    figure.update_xaxes(range=[0, 1], tickvals=[0, 0.5, 1])
    figure.update_yaxes(range=[0, 1.02], tickvals=[0, 0.5, 1])
    for column in range(1, 6):
        figure.update_xaxes(title="1 − specificity", row=3 if column < 5 else 2, col=column, showticklabels=True)
    for row in (1, 2, 3):
        figure.update_yaxes(title="sensitivity", row=row, col=1)
    figure.update_xaxes(visible=False, row=3, col=5)
    figure.update_yaxes(visible=False, row=3, col=5)
    figure.update_layout(title=title, height=760)
    return figure


def auroc_intervals(tables, title, colours):
    """Draws AUROC with its 95 % interval for each finding and the mean, one colour a table; what is n/a is said.

    Args:
        tables: dict of name → frame of `evaluation.auroc_table`.
        title: of the chart.
        colours: list of one colour for each table.

    Returns:
        `plotly.graph_objects.Figure`.
    """
    figure = go.Figure()
    ticks = [*config.LABELS, "mean"]
    known = {name: table for name, table in tables.items() if table.auroc.notna().any()}
    for number, label in enumerate(config.LABELS):
        missing = [name for name, table in known.items() if math.isnan(table.auroc[label])]
        if missing:
            ticks[number] += " (n/a)" if len(missing) == len(known) else f" (n/a: {', '.join(missing)})"
    for number, ((name, table), colour) in enumerate(zip(tables.items(), colours)):
        mean = table.attrs["mean"]
        values = np.r_[table.auroc, mean["auroc"]]
        lower, upper = np.r_[table.lower, mean["lower"]], np.r_[table.upper, mean["upper"]]
        legend = name if name in known else f"{name}: n/a, too few films"
        figure.add_trace(go.Scatter(
            y=np.arange(len(values)) + 0.3 * (number - (len(tables) - 1) / 2),
            x=values, name=legend, mode="markers", marker={"color": colour, "size": 8},
            error_x={"array": upper - values, "arrayminus": values - lower, "color": colour},
        ))  # fmt: skip
    figure.add_vline(x=0.5, line={"color": "#bbbbbb", "dash": "dot"})
    figure.update_yaxes(tickvals=list(range(15)), ticktext=ticks, range=[14.6, -0.6])
    figure.update_xaxes(title="AUROC, 95 % interval by patient bootstrap")
    figure.update_layout(title=title, height=620)
    return figure


def _number(value):
    return "n/a" if math.isnan(value) else f"{value:.2f}"


def _thin(x, y, points=200):
    """Leaves out points of a long curve that no eye could tell apart."""
    keep = np.unique(np.linspace(0, len(x) - 1, points).astype(int))
    return x[keep], y[keep]
