"""Drawing charts in plotly, with one palette.

A function here draws and returns; nothing is shown or saved until a notebook calls `showing.show_chart`.
"""

import math
import re

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cxr_utils import config
from cxr_utils.plots import colors as palette


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
    bars = go.Bar(
        y=[str(name).replace("_", " ") for name in series.index],
        x=series.to_numpy(),
        orientation="h",
        marker_color=palette.LABEL_COLOR,
    )
    figure = go.Figure(bars)
    figure.update_layout(title=title, height=210 + 24 * len(series))
    figure.update_xaxes(title=unit)
    return figure


def grouped_bars(table, title, unit, colors):
    """Draws a group of bars for each row of a frame, a bar for each column.

    Args:
        table: frame of numbers.
        title: of the chart.
        unit: what the bars measure.
        colors: list of one color for each column.

    Returns:
        `plotly.graph_objects.Figure`.
    """
    names = [str(name).replace("_", " ") for name in table.index]
    figure = go.Figure(
        [go.Bar(x=names, y=table[c].to_numpy(), name=str(c), marker_color=color) for c, color in zip(table, colors)]
    )
    figure.update_layout(title=title, barmode="group", height=460)
    figure.update_xaxes(tickangle=-40)
    figure.update_yaxes(title=unit)
    return figure


def error_chart(tables, title, colors):
    """Draws for each finding how many of 1,000 images are missed, to the left, and called in vain, to the right, with 95 % intervals.

    Args:
        tables: dict of name → frame of `decisions.operating_table` with intervals; bars for each.
        title: of the chart.
        colors: list of one color for each table.

    Returns:
        `plotly.graph_objects.Figure`; a finding without a threshold, or on too few images, has no bars and is n/a.
    """
    figure, thick, furthest = go.Figure(), 0.8 / len(tables), []
    tables = {name: table.reindex(config.LABELS) for name, table in tables.items()}
    for number, ((name, table), color) in enumerate(zip(tables.items(), colors)):
        with_it, without = table.true_positives + table.false_negatives, table.false_positives + table.true_negatives
        for side, rate, images in ((-1, "sensitivity", with_it), (1, "specificity", without)):
            images = 1000 * images / (with_it + without)
            most, value, least = (images * (1 - table[f"{rate}{end}"]) for end in ("_lower", "", "_upper"))
            ends = {"array": most - value, "arrayminus": value - least}
            if side < 0:
                ends = {"array": ends["arrayminus"], "arrayminus": ends["array"]}
            figure.add_trace(go.Bar(
                y=np.arange(len(table)) + thick * (number - (len(tables) - 1) / 2), x=side * value.to_numpy(), width=thick, orientation="h",
                name=name, showlegend=side > 0, marker_color=color, error_x=ends | {"color": "#222222", "thickness": 1, "width": 0},
                customdata=value.to_numpy(), hovertemplate="%{customdata:.0f} " + ("called in vain" if side > 0 else "missed"),
            ))  # fmt: skip
            furthest.append(side * most.max())
    low, high = -np.nanmin([0, *furthest]), np.nanmax([0, *furthest])
    step = 10 ** math.floor(math.log10(max(low, high, 1)))
    low, high = -math.ceil(low / step or 1), math.ceil(high / step or 1)
    ticks = np.arange(low, high + 1) * step
    figure.add_vline(x=0, line={"color": "#222222", "dash": "solid", "width": 1})
    for text, side in (("← missed ", "right"), (" called in vain →", "left")):
        figure.add_annotation(text=text, x=0, y=-0.55, xanchor=side, yanchor="bottom", showarrow=False)
    names = _ticks(pd.concat({name: table.sensitivity for name, table in tables.items()}, axis=1))
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.4, -1.6])
    figure.update_xaxes(title="images in 1,000, 95 % interval by patient bootstrap", tickvals=ticks.tolist(),
                        ticktext=[f"{abs(tick):.0f}" for tick in ticks], range=[ticks[0], ticks[-1]])  # fmt: skip
    figure.update_layout(title=title, barmode="overlay", height=660)
    return figure


def training_history(log, title, color):
    """Plots a training log, ours or an old one of seven columns.

    Args:
        log: frame of `logs/*_training.csv`.
        title: of the chart.
        color: of the model.

    Returns:
        `plotly.graph_objects.Figure`: loss, AUROC and categorical accuracy over the epochs, counted from 1; a dotted line stands at
        the best epoch, that of the highest mean validation AUROC, where the log has it.

    Raises:
        ValueError: a column of the log is missing.
    """
    old = ["auc", "categorical_accuracy", "loss", "val_auc", "val_categorical_accuracy", "val_loss"]
    missing = [name for name in old if name not in log]
    if missing:
        raise ValueError(f"The training log has no column {missing}: expected epoch, {', '.join(old)}.")
    panels = [
        ("Loss (binary cross-entropy)", "loss"),
        ("AUROC (thin: all findings flattened)", "auc"),
        ("Categorical accuracy", "categorical_accuracy"),
    ]
    figure = make_subplots(1, 3, subplot_titles=[title for title, _ in panels], horizontal_spacing=0.08)
    epochs = np.arange(1, len(log) + 1)
    for column, (_, name) in enumerate(panels, start=1):
        curves = [("training", name, {"dash": "dot", "width": 1.5}), ("validation", f"val_{name}", {"width": 1.5})]
        if name == "auc" and "val_mean_auroc" in log:
            curves.append(("validation, mean AUROC of the findings", "val_mean_auroc", {"width": 4}))
        for legend, key, line in curves:
            shown = column == 1 or key == "val_mean_auroc"
            line = line | {"color": color}
            trace = go.Scatter(x=epochs, y=log[key], mode="lines", name=legend, line=line, showlegend=shown)
            figure.add_trace(trace, 1, column)
    if "val_mean_auroc" in log:
        figure.add_vline(x=int(epochs[log.val_mean_auroc.argmax()]), line={"color": "#bbbbbb", "dash": "dot"})
    figure.update_xaxes(title="epoch", tickvals=np.unique(np.linspace(1, len(log), 6).astype(int)).tolist())
    figure.update_layout(title=title, height=420)
    return figure


def auroc_intervals(tables, title, colors):
    """Draws AUROC with its 95 % interval for each finding and the mean, one color a table; what is n/a is said.

    Args:
        tables: dict of name → frame of `evaluation.auroc_table`.
        title: of the chart.
        colors: list of one color for each table.

    Returns:
        `plotly.graph_objects.Figure`.
    """
    columns = ["auroc", "lower", "upper"]
    rows = {
        name: pd.concat([table[columns], pd.DataFrame(table.attrs["mean"], index=["mean"])[columns]])
        for name, table in tables.items()
    }
    return interval_chart(rows, title, "AUROC, 95 % interval by patient bootstrap", colors, reference=0.5)


def interval_chart(tables, title, unit, colors, reference=None):
    """Draws values with their intervals, one color a table; what is n/a is said.

    Args:
        tables: dict of name → frame of three columns: value, lower and upper end; all of the same index.
        title: of the chart.
        unit: what the values measure.
        colors: list of one color for each table.
        reference: number at which a dotted line stands, or `None`.

    Returns:
        `plotly.graph_objects.Figure`.
    """
    figure = go.Figure()
    known = {name: table for name, table in tables.items() if table.iloc[:, 0].notna().any()}
    ticks = _ticks(pd.DataFrame({name: table.iloc[:, 0] for name, table in (known or tables).items()}))
    for number, ((name, table), color) in enumerate(zip(tables.items(), colors)):
        offset = 0.3 * (number - (len(tables) - 1) / 2)
        figure.add_trace(_with_limits(table, name if name in known else f"{name}: n/a, too few images", color, offset))
    if reference is not None:
        figure.add_vline(x=reference, line={"color": "#bbbbbb", "dash": "dot"})
    figure.update_yaxes(tickvals=list(range(len(ticks))), ticktext=ticks, range=[len(ticks) - 0.4, -0.6])
    figure.update_xaxes(title=unit)
    figure.update_layout(title=title, height=200 + 28 * len(ticks))
    return figure


def subgroup_chart(table, title, color):
    """Draws mean AUROC and false-negative rate of subgroups with their intervals, side by side.

    Args:
        table: of `subgroups.subgroup_table`.
        title: of the chart.
        color: of the model.

    Returns:
        `plotly.graph_objects.Figure` of two panels; a group that can't be judged is n/a.
    """
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.05)
    for column, names in ((1, ["auroc", "lower", "upper"]), (2, ["fnr", "fnr_lower", "fnr_upper"])):
        figure.add_trace(_with_limits(table[names], None, color), 1, column)
    ticks = []
    for (kind, group), row in table.iterrows():
        findings = f"{row.findings:.0f} finding{'' if row.findings == 1 else 's'}" if row.findings else "n/a"
        ticks.append(f"{kind}: {group} ({row.images:,.0f} images, {findings})")
    figure.update_yaxes(tickvals=list(range(len(ticks))), ticktext=ticks, range=[len(ticks) - 0.4, -0.6])
    figure.update_xaxes(nticks=5)
    figure.update_xaxes(title="mean AUROC (95 % interval)", col=1)
    figure.update_xaxes(title="false-negative rate (95 %)", col=2)
    figure.update_layout(title=title, height=220 + 28 * len(ticks), showlegend=False)
    return figure


def _ticks(values):
    """Names the rows of a frame with a column for each of several things, and says which of these have no value there."""
    names = []
    for row, known in values.notna().iterrows():
        # Without what follows a name, such as how many images it is of: there is little room beside an axis.
        missing = [re.split(r", | \(", name)[0] for name in known.index[~known]]
        note = " (n/a)" if len(missing) == len(known) else f" (n/a: {', '.join(missing)})"
        names.append(str(row).replace("_", " ") + (note if missing else ""))
    return names


def _with_limits(table, name, color, offset=0):
    """Returns the trace of a frame of value, lower and upper end, a mark for each row."""
    values, lower, upper = table.to_numpy(float).T
    return go.Scatter(
        x=values, y=np.arange(len(values)) + offset, name=name, mode="markers", marker={"color": color, "size": 9},
        error_x={"array": upper - values, "arrayminus": values - lower, "color": color},
    )  # fmt: skip
