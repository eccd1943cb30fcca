"""Charts in plotly: bars, errors, training history and intervals.

Each function returns a figure. It is shown and saved by `show.show_chart`.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cxr_utils import config, evaluation
from cxr_utils.plots import colors as palette
from cxr_utils.plots.static import readable

# The curves of a training log: number of the panel, column of the log, name in the legend, dashes, width.
_HISTORY = [
    (1, "loss", "training", "dot", 1.5),
    (1, "val_loss", "validation", None, 1.5),
    (2, "auc", "training", "dot", 1.5),
    (2, "val_auc", "validation", None, 1.5),
    (2, "val_mean_auroc", "validation, macro-average AUROC", None, 4),
    (3, "categorical_accuracy", "training", "dot", 1.5),
    (3, "val_categorical_accuracy", "validation", None, 1.5),
]


def horizontal_bars(series, title, unit):
    """Draws one bar for each entry of a series, the largest at the top.

    Args:
        series: Series of numbers, indexed by name.
        title: str, title of the chart.
        unit: str, what the bars measure.

    Returns:
        `plotly.graph_objects.Figure`.
    """
    series = series.rename(readable).sort_values()
    figure = go.Figure(
        go.Bar(x=series.to_numpy(), y=list(series.index), orientation="h", marker_color=palette.LABEL_COLOR)
    )
    # Without the type plotly would read names such as "10" as numbers.
    return figure.update_layout(title=title, height=210 + 24 * len(series), xaxis_title=unit, yaxis_type="category")


def grouped_bars(table, title, unit, colors):
    """Draws a group of bars for each row of a frame and a bar for each column.

    Args:
        table: frame of numbers.
        title: str, title of the chart.
        unit: str, what the bars measure.
        colors: list of one color for each column.

    Returns:
        `plotly.graph_objects.Figure`. Rows with a missing value are marked n/a.
    """
    names = _row_names({column: table[[column]] for column in table})
    figure = go.Figure(
        [
            go.Bar(x=names, y=table[column].to_numpy(), name=str(column), marker_color=color)
            for column, color in zip(table, colors, strict=False)
        ]
    )
    figure.update_xaxes(tickangle=-25, type="category")
    return figure.update_layout(title=title, barmode="group", height=460, yaxis_title=unit)


def error_chart(tables, title, colors):
    """Draws false negatives and false positives per 1,000 images for each finding, with 95 % intervals, in two panels.

    Args:
        tables: dict of name → frame of `evaluation.operating_table` with intervals; one color for each.
        title: str, title of the chart.
        colors: list of one color for each table.

    Returns:
        `plotly.graph_objects.Figure` of two panels, each with its own scale. A finding without a threshold, or with too
        few patients, is marked n/a.
    """
    tables = {name: table.dropna(subset="sensitivity").reindex(config.LABELS) for name, table in tables.items()}
    panels = {
        f"{words} per 1,000 images (95 % CI)": {
            name: table[[rate, f"{rate}_lower", f"{rate}_upper"]] for name, table in tables.items()
        }
        for words, rate in (("false negatives", "fn_per_1000"), ("false positives", "fp_per_1000"))
    }
    return _interval_panels(panels, title, colors, _row_names(next(iter(panels.values()))))


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
    required = sorted({name for _, name, *_ in _HISTORY} - {"val_mean_auroc"})
    missing = [name for name in required if name not in log]
    if missing:
        raise ValueError(f"The training log has no column {missing}: expected epoch, {', '.join(required)}.")
    titles = ["Loss (binary cross-entropy)", "AUROC (thin lines: micro-average)", "Categorical accuracy"]
    figure = make_subplots(1, 3, subplot_titles=titles, horizontal_spacing=0.08)
    epochs = np.arange(1, len(log) + 1)
    for panel, name, legend, dash, width in _HISTORY:
        if name in log:
            figure.add_scatter(
                x=epochs,
                y=log[name],
                name=legend,
                mode="lines",
                line={"color": color, "dash": dash, "width": width},
                showlegend=panel == 1 or name == "val_mean_auroc",
                row=1,
                col=panel,
            )
    if "val_mean_auroc" in log:
        figure.add_vline(x=int(epochs[log.val_mean_auroc.argmax()]), line={"color": "#bbbbbb", "dash": "dot"})
    figure.update_xaxes(title="epoch", tickvals=np.unique(np.linspace(1, len(log), 6).astype(int)).tolist())
    return figure.update_layout(title=title, height=420)


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
    return interval_chart(rows, title, "AUROC (95 % CI)", colors, reference=0.5)


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
    return _interval_panels({unit: tables}, title, colors, _row_names(tables), reference)


def subgroup_chart(table, title, color):
    """Draws the differences of subgroups from the largest group of their kind with their intervals, in three panels.

    Args:
        table: frame of `evaluation.subgroup_table`.
        title: str, title of the chart.
        color: color of the model.

    Returns:
        `plotly.graph_objects.Figure` of three panels: mean AUROC, sensitivity and false-positive rate (means over the
        findings). The group that the others are compared with is named, and one with too few images is marked n/a.
    """
    panels = {}
    for measure in ("auroc", "sensitivity", "false_positive_rate"):
        shown = table.xs(measure, level="measure")
        panels[f"Δ {evaluation.MEASURES[measure]}"] = {
            title: shown[["difference", "difference_lower", "difference_upper"]]
        }
    names = [
        f"{kind}: {group} ({row.images:,.0f} images{', reference' if group == row.reference else ''}"
        f"{')' if row.findings else ', n/a)'}"
        for (kind, group), row in shown.iterrows()
    ]
    return _interval_panels(panels, title, [color], names, reference=0)


def _interval_panels(panels, title, colors, names, reference=None):
    """Draws values with their intervals in one or more panels side by side.

    Args:
        panels: dict of unit → dict of name → frame of three columns: value, lower limit and upper limit. All frames
            have the same index.
        title: str, title of the chart.
        colors: list of one color for each table of a panel.
        names: list of the names of the rows.
        reference: number marked by a dotted line, or `None`.

    Returns:
        `plotly.graph_objects.Figure`.
    """
    figure = make_subplots(1, len(panels), shared_yaxes=True, horizontal_spacing=0.05)
    for column, (unit, tables) in enumerate(panels.items(), start=1):
        known = [name for name, table in tables.items() if table.iloc[:, 0].notna().any()]
        # One table with values is drawn at the height of its labels, several around it.
        offsets = {name: 0.3 * (number - (len(known) - 1) / 2) for number, name in enumerate(known)}
        for (name, table), color in zip(tables.items(), colors, strict=False):
            value, lower, upper = table.to_numpy(float).T
            figure.add_scatter(
                x=value,
                y=np.arange(len(table)) + offsets.get(name, 0),
                name=name if name in known else f"{name}: n/a, too few patients",
                mode="markers",
                line={"color": color},
                marker={"size": 9},
                error_x={"array": upper - value, "arrayminus": value - lower, "color": color},
                showlegend=column == 1,
                row=1,
                col=column,
            )
        figure.update_xaxes(title=unit, nticks=10 // len(panels), col=column)
    if reference is not None:
        figure.add_vline(x=reference, line={"color": "#bbbbbb", "dash": "dot"})
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.4, -0.6])
    return figure.update_layout(title=title, height=200 + 28 * len(names), showlegend=len(tables) > 1)


def _row_names(tables):
    """Returns the names of the rows of frames with the same index. Rows without a value in a frame are marked."""
    # A frame without any value is named in the legend instead.
    values = pd.DataFrame({name: table.iloc[:, 0] for name, table in tables.items()}).dropna(axis=1, how="all")
    notes = {values.shape[1]: "", 0: " (n/a)"}
    return [readable(row) + notes.get(count, " (partly n/a)") for row, count in values.notna().sum(axis=1).items()]
