"""Charts in plotly: bars, errors, training history and intervals.

Each function returns a figure. It is shown and saved by `show.show_chart`.
"""

import math
import re

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cxr_utils import config
from cxr_utils.plots import colors as palette

_LONGEST_NOTE = 20  # characters of a note next to the name of a row; a longer one is replaced by "partly n/a"


def horizontal_bars(series, title, unit):
    """Draws one bar for each entry of a series, the largest at the top.

    Args:
        series: Series of numbers, indexed by name.
        title: str, title of the chart.
        unit: str, what the bars measure.

    Returns:
        `plotly.graph_objects.Figure`.
    """
    series = series.sort_values()
    names = [str(name).replace("_", " ") for name in series.index]
    figure = go.Figure(go.Bar(x=series.to_numpy(), y=names, orientation="h", marker_color=palette.LABEL_COLOR))
    figure.update_layout(title=title, height=210 + 24 * len(series))
    figure.update_xaxes(title=unit)
    return figure


def grouped_bars(table, title, unit, colors):
    """Draws a group of bars for each row of a frame and a bar for each column.

    Args:
        table: frame of numbers.
        title: str, title of the chart.
        unit: str, what the bars measure.
        colors: list of one color for each column.

    Returns:
        `plotly.graph_objects.Figure`.
    """
    names = [str(name).replace("_", " ") for name in table.index]
    figure = go.Figure()
    for column, color in zip(table, colors, strict=False):
        figure.add_trace(go.Bar(x=names, y=table[column].to_numpy(), name=str(column), marker_color=color))
    figure.update_layout(title=title, barmode="group", height=460)
    figure.update_xaxes(tickangle=-40)
    figure.update_yaxes(title=unit)
    return figure


def error_chart(tables, title, colors):
    """Draws false negatives and false positives per 1,000 images for each finding, with 95 % intervals.

    False negatives extend to the left, false positives to the right.

    Args:
        tables: dict of name → frame of `evaluation.operating_table` with intervals; one set of bars for each.
        title: str, title of the chart.
        colors: list of one color for each table.

    Returns:
        `plotly.graph_objects.Figure`. A finding without a threshold, or with too few images, has no bars and is marked
        n/a.
    """
    figure, width, extremes = go.Figure(), 0.8 / len(tables), []
    tables = {name: table.reindex(config.LABELS) for name, table in tables.items()}
    for number, ((name, table), color) in enumerate(zip(tables.items(), colors, strict=False)):
        positives = table.true_positives + table.false_negatives
        negatives = table.false_positives + table.true_negatives
        position = np.arange(len(table)) + width * (number - (len(tables) - 1) / 2)
        for side, kind, rate, images in (
            (-1, "false negatives", "sensitivity", positives),
            (1, "false positives", "specificity", negatives),
        ):
            images = 1000 * images / (positives + negatives)
            upper, value, lower = (images * (1 - table[f"{rate}{end}"]) for end in ("_lower", "", "_upper"))
            lengths = {"array": upper - value, "arrayminus": value - lower}
            if side < 0:
                lengths = {"array": lengths["arrayminus"], "arrayminus": lengths["array"]}
            interval = lengths | {"color": "#222222", "thickness": 1, "width": 0}
            style = {"orientation": "h", "width": width, "marker_color": color, "showlegend": side > 0}
            style |= {"customdata": value.to_numpy(), "hovertemplate": "%{customdata:.0f} " + kind}
            figure.add_trace(go.Bar(x=side * value.to_numpy(), y=position, name=name, error_x=interval, **style))
            extremes.append(side * upper.max())
    low, high = -np.nanmin([0, *extremes]), np.nanmax([0, *extremes])
    step = 10 ** math.floor(math.log10(max(low, high, 1)))
    high = math.ceil(high / step or 1)
    # The left side is wide enough for its label, however few the false negatives are.
    low = -max(math.ceil(low / step), math.ceil(high / 3))
    ticks = np.arange(low, high + 1) * step
    figure.add_vline(x=0, line={"color": "#222222", "dash": "solid", "width": 1})
    for text, anchor in (("← false negatives ", "right"), (" false positives →", "left")):
        figure.add_annotation(text=text, x=0, y=-0.55, xanchor=anchor, yanchor="bottom", showarrow=False)
    names = _tick_labels(pd.concat({name: table.sensitivity for name, table in tables.items()}, axis=1))
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.4, -1.6])
    labels = [f"{abs(tick):.0f}" for tick in ticks]
    figure.update_xaxes(title="images per 1,000, 95 % CI by patient-level bootstrap")
    figure.update_xaxes(tickvals=ticks.tolist(), ticktext=labels, range=[ticks[0], ticks[-1]])
    figure.update_layout(title=title, barmode="overlay", height=660)
    return figure


def training_history(log, title, color):
    """Plots loss, AUROC and categorical accuracy of a training log over the epochs.

    Args:
        log: frame of `logs/*_training.csv`, also one of the seven columns that logs had in 2019.
        title: str, title of the chart.
        color: color of the model.

    Returns:
        `plotly.graph_objects.Figure`. Epochs are counted from 1. If the log has `val_mean_auroc`, a dotted line marks
        the epoch with the highest value.

    Raises:
        ValueError: a column of the log is missing.
    """
    required = ["auc", "categorical_accuracy", "loss", "val_auc", "val_categorical_accuracy", "val_loss"]
    missing = [name for name in required if name not in log]
    if missing:
        raise ValueError(f"The training log has no column {missing}: expected epoch, {', '.join(required)}.")
    panels = [
        ("Loss (binary cross-entropy)", "loss"),
        ("AUROC (thin lines: micro-average)", "auc"),
        ("Categorical accuracy", "categorical_accuracy"),
    ]
    figure = make_subplots(1, 3, subplot_titles=[title for title, _ in panels], horizontal_spacing=0.08)
    epochs = np.arange(1, len(log) + 1)
    for column, (_, name) in enumerate(panels, start=1):
        curves = [("training", name, {"dash": "dot", "width": 1.5}), ("validation", f"val_{name}", {"width": 1.5})]
        if name == "auc" and "val_mean_auroc" in log:
            curves.append(("validation, macro-average AUROC", "val_mean_auroc", {"width": 4}))
        for legend, key, line in curves:
            in_legend = column == 1 or key == "val_mean_auroc"
            line = line | {"color": color}
            trace = go.Scatter(x=epochs, y=log[key], mode="lines", name=legend, line=line, showlegend=in_legend)
            figure.add_trace(trace, 1, column)
    if "val_mean_auroc" in log:
        figure.add_vline(x=int(epochs[log.val_mean_auroc.argmax()]), line={"color": "#bbbbbb", "dash": "dot"})
    figure.update_xaxes(title="epoch", tickvals=np.unique(np.linspace(1, len(log), 6).astype(int)).tolist())
    figure.update_layout(title=title, height=420)
    return figure


def auroc_intervals(tables, title, colors):
    """Draws the AUROC of each finding and its mean with 95 % intervals, one color for each table.

    Args:
        tables: dict of name → frame of `evaluation.auroc_table`.
        title: str, title of the chart.
        colors: list of one color for each table.

    Returns:
        `plotly.graph_objects.Figure`. Findings without a value are marked n/a.
    """
    columns = ["auroc", "lower", "upper"]
    rows = {
        name: pd.concat([table[columns], pd.DataFrame(table.attrs["mean"], index=["mean"])[columns]])
        for name, table in tables.items()
    }
    return interval_chart(rows, title, "AUROC, 95 % CI by patient-level bootstrap", colors, reference=0.5)


def interval_chart(tables, title, unit, colors, reference=None):
    """Draws values with their intervals, one color for each table.

    Args:
        tables: dict of name → frame of three columns: value, lower limit and upper limit. All have the same index.
        title: str, title of the chart.
        unit: str, what the values measure.
        colors: list of one color for each table.
        reference: number marked by a dotted line, or `None`.

    Returns:
        `plotly.graph_objects.Figure`. Rows without a value are marked n/a.
    """
    figure = go.Figure()
    known = {name: table for name, table in tables.items() if table.iloc[:, 0].notna().any()}
    ticks = _tick_labels(pd.DataFrame({name: table.iloc[:, 0] for name, table in (known or tables).items()}))
    # One table with values is drawn at the height of its labels, several around it.
    offsets = {name: 0.3 * (number - (len(known) - 1) / 2) for number, name in enumerate(known)}
    for (name, table), color in zip(tables.items(), colors, strict=False):
        legend = name if name in known else f"{name}: n/a, too few images"
        figure.add_trace(_interval_trace(table, legend, color, offsets.get(name, 0)))
    if reference is not None:
        figure.add_vline(x=reference, line={"color": "#bbbbbb", "dash": "dot"})
    figure.update_yaxes(tickvals=list(range(len(ticks))), ticktext=ticks, range=[len(ticks) - 0.4, -0.6])
    figure.update_xaxes(title=unit)
    figure.update_layout(title=title, height=200 + 28 * len(ticks))
    return figure


def subgroup_chart(table, title, color):
    """Draws mean AUROC and false-negative rate of subgroups with their intervals, in two panels.

    Args:
        table: frame of `evaluation.subgroup_table`.
        title: str, title of the chart.
        color: color of the model.

    Returns:
        `plotly.graph_objects.Figure` of two panels. A group with too few images is marked n/a.
    """
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.05)
    for column, names in ((1, ["auroc", "lower", "upper"]), (2, ["fnr", "fnr_lower", "fnr_upper"])):
        figure.add_trace(_interval_trace(table[names], None, color), 1, column)
    ticks = []
    for (kind, group), row in table.iterrows():
        findings = f"{row.findings:.0f} finding{'' if row.findings == 1 else 's'}" if row.findings else "n/a"
        ticks.append(f"{kind}: {group} ({row.images:,.0f} images, {findings})")
    figure.update_yaxes(tickvals=list(range(len(ticks))), ticktext=ticks, range=[len(ticks) - 0.4, -0.6])
    figure.update_xaxes(nticks=5)
    figure.update_xaxes(title="mean AUROC (95 % CI)", col=1)
    figure.update_xaxes(title="false-negative rate (95 % CI)", col=2)
    figure.update_layout(title=title, height=220 + 28 * len(ticks), showlegend=False)
    return figure


def _tick_labels(values):
    """Returns the names of a frame's rows, with a note on the columns that have no value there."""
    names = []
    for row, known in values.notna().iterrows():
        # Space next to an axis is limited: a column is named without additions such as its number of images.
        missing = [re.split(r", | \(", name)[0] for name in known.index[~known]]
        columns = ", ".join(missing)
        note = f" (n/a: {columns})" if len(columns) <= _LONGEST_NOTE else " (partly n/a)"
        if len(missing) == len(known):
            note = " (n/a)"
        names.append(str(row).replace("_", " ") + (note if missing else ""))
    return names


def _interval_trace(table, name, color, offset=0):
    """Returns a trace with a marker and an interval for each row of a frame: value, lower limit, upper limit."""
    values, lower, upper = table.to_numpy(float).T
    interval = {"array": upper - values, "arrayminus": values - lower, "color": color}
    style = {"mode": "markers", "marker": {"color": color, "size": 9}}
    return go.Scatter(x=values, y=np.arange(len(values)) + offset, name=name, error_x=interval, **style)
