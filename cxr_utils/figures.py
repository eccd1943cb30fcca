"""Drawing: X-rays in matplotlib, charts in plotly, one palette; `show` and `save` mark and keep them.

A function here draws and returns; nothing is shown or saved until a notebook calls `show_chart` or `show_films`.
"""

import math

import matplotlib.pyplot as plt
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
    figure.update_layout(title=title, height=120 + 24 * len(series))
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
    figure = go.Figure([go.Bar(x=names, y=table[c].to_numpy(), name=str(c), marker_color=colour) for c, colour in zip(table, colours)])
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
    panels = [
        ("loss", "binary cross-entropy", [("loss", "training"), ("val_loss", "validation")]),
        ("AUROC", "AUROC", [("auc", "training, flattened"), ("val_auc", "validation, flattened"), ("val_mean_auroc", "validation, mean of findings")]),
        ("categorical accuracy", "share", [("categorical_accuracy", "training"), ("val_categorical_accuracy", "validation")]),
    ]  # fmt: skip
    style = {"training": (DIAGNOSIS, "dot"), "validation": (BASELINE, "solid"), "mean": (PRETRAINED, "solid")}
    figure = make_subplots(1, 3, subplot_titles=[panel[0] for panel in panels], horizontal_spacing=0.08)
    epochs = np.arange(1, len(log) + 1)
    shown = set()
    for column, (_, unit, curves) in enumerate(panels, start=1):
        for name, legend in curves:
            if name in log:
                colour, dash = style["mean" if "mean" in legend else legend.split(",")[0]]
                key = "validation, mean of findings" if "mean" in legend else legend.split(",")[0]
                line = go.Scatter(x=epochs, y=log[name], mode="lines", name=key, line={"color": colour, "dash": dash}, showlegend=key not in shown)
                figure.add_trace(line, 1, column)
                shown.add(key)
        figure.update_yaxes(title=unit, row=1, col=column)
    figure.update_xaxes(title="epoch")
    figure.update_layout(title=title, height=400)
    return figure


def roc_panels(y_true, y_prob, table, title, colour):
    """Draws the ROC curve of each finding in a panel of its own.

    Args:
        y_true: `(n, 14)`.
        y_prob: `(n, 14)`.
        table: of `evaluation.auroc_table`, for the numbers.
        title: of the chart.
        colour: of the curves.

    Returns:
        `plotly.graph_objects.Figure` of 14 panels.
    """
    names = [f"{label.replace('_', ' ')}: {_number(table.auroc[label])}" for label in config.LABELS]
    figure = make_subplots(3, 5, subplot_titles=names, shared_xaxes=True, shared_yaxes=True, horizontal_spacing=0.03, vertical_spacing=0.11)
    for number, label in enumerate(config.LABELS):
        place = {"row": number // 5 + 1, "col": number % 5 + 1}
        figure.add_trace(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": "#bbbbbb", "dash": "dot", "width": 1}), **place)
        if not math.isnan(table.auroc[label]):
            fpr, tpr, _ = roc_curve(y_true[:, number], y_prob[:, number])
            fpr, tpr = _thin(fpr, tpr)
            figure.add_trace(go.Scatter(x=fpr, y=tpr, mode="lines", line={"color": colour, "width": 2}), **place)
    figure.update_xaxes(range=[0, 1], tickvals=[0, 0.5, 1])
    figure.update_yaxes(range=[0, 1.02], tickvals=[0, 0.5, 1])
    for column in range(1, 6):
        figure.update_xaxes(title="1 − specificity", row=3 if column < 5 else 2, col=column, showticklabels=True)
    for row in (1, 2, 3):
        figure.update_yaxes(title="sensitivity", row=row, col=1)
    figure.update_xaxes(visible=False, row=3, col=5)
    figure.update_yaxes(visible=False, row=3, col=5)
    figure.update_layout(title=title, height=680, showlegend=False)
    return figure


def auroc_intervals(tables, title, colours):
    """Draws AUROC with its 95 % interval for each finding and the mean, one colour a table.

    Args:
        tables: dict of name → frame of `evaluation.auroc_table`.
        title: of the chart.
        colours: list of one colour for each table.

    Returns:
        `plotly.graph_objects.Figure`.
    """
    figure = go.Figure()
    ticks = {label: label for label in [*config.LABELS, "mean"]}
    for number, ((name, table), colour) in enumerate(zip(tables.items(), colours)):
        mean = table.attrs["mean"]
        values = np.r_[table.auroc, mean["auroc"]]
        lower, upper = np.r_[table.lower, mean["lower"]], np.r_[table.upper, mean["upper"]]
        figure.add_trace(go.Scatter(
            y=np.arange(len(values)) + 0.3 * (number - (len(tables) - 1) / 2),
            x=values, name=name, mode="markers", marker={"color": colour, "size": 8},
            error_x={"array": upper - values, "arrayminus": values - lower, "color": colour},
        ))  # fmt: skip
        for label in table.index[table.auroc.isna()]:
            ticks[label] += f" (n/a: {name})"
    figure.add_vline(x=0.5, line={"color": "#bbbbbb", "dash": "dot"})
    figure.update_yaxes(tickvals=list(range(15)), ticktext=list(ticks.values()), range=[14.6, -0.6])
    figure.update_xaxes(title="AUROC, 95 % interval by patient bootstrap")
    figure.update_layout(title=title, height=620)
    return figure


def films(images, captions, columns=4):
    """Draws films in a grid.

    Args:
        images: `(n, size, size)` uint8.
        captions: list of n strings.
        columns: int.

    Returns:
        `matplotlib.figure.Figure`.
    """
    rows = math.ceil(len(images) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3 * columns, 3.6 * rows), squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, caption in zip(axes.flat, images, captions):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255)
        ax.set_title(caption, fontsize=9)
    return figure


def prediction_caption(row, y_prob):
    """Says a film's diagnosis and the three findings predicted highest: `"diagnosis: Mass\\nMass 61 %, …"`."""
    best = np.argsort(-y_prob)[:3]
    guesses = "\n".join(f"{config.LABELS[finding]} {y_prob[finding]:.0%}" for finding in best)
    return f"diagnosis: {row.label.replace('|', ', ')}\n{guesses}"


def layers(film, maps, captions, columns=6):
    """Draws a film and, below it row by row, what each layer makes of it.

    Args:
        film: `(size, size)` uint8.
        maps: list of `(height, width, columns)` arrays, one a layer.
        captions: list of one caption for each layer.
        columns: int, maps of each layer.

    Returns:
        `matplotlib.figure.Figure`.
    """
    figure, axes = plt.subplots(len(maps), columns + 1, figsize=(13.3, 1.9 * len(maps)), layout="constrained")
    for ax in axes.flat:
        ax.axis("off")
    axes[0, 0].imshow(film, cmap="gray", vmin=0, vmax=255)
    axes[0, 0].set_title("the film", fontsize=10)
    for row, (layer, caption) in enumerate(zip(maps, captions)):
        axes[row, 1].set_title(caption, fontsize=10, loc="left")
        for column in range(min(columns, layer.shape[2])):
            axes[row, column + 1].imshow(layer[..., column], cmap="magma")
    return figure


def _number(value):
    return "n/a" if math.isnan(value) else f"{value:.2f}"


def _thin(x, y, points=200):
    """Leaves out points of a long curve that no eye could tell apart."""
    keep = np.unique(np.linspace(0, len(x) - 1, points).astype(int))
    return x[keep], y[keep]
