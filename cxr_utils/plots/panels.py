"""ROC, reliability and decision curves in plotly, one panel for each of the 14 findings.

Each function returns a figure. It is shown and saved by `show.show_chart`.
"""

import math

import numpy as np
from plotly.subplots import make_subplots
from sklearn.metrics import roc_curve

from cxr_utils import config, evaluation
from cxr_utils.plots import colors as palette
from cxr_utils.plots.static import readable

_ROWS, _COLUMNS = 2, 7  # of panels, for the 14 findings


def roc_panels(sets, title, colors):
    """Draws the ROC curves of each finding in its panel, with the AUROC in the lower right corner.

    Args:
        sets: dict of name → `(y_true, y_prob, table)`, where `table` is a frame of `evaluation.auroc_table`; one curve
            for each.
        title: str, title of the chart.
        colors: list of one color for each set.

    Returns:
        `plotly.graph_objects.Figure` of 14 panels.
    """
    figure = _finding_panels(
        "1 − specificity",
        "sensitivity",
        horizontal_spacing=0.02,
        vertical_spacing=0.15,
        shared_xaxes=True,
        shared_yaxes=True,
    )
    for number, label in enumerate(config.LABELS):
        curves, notes = {}, []
        for (name, (y_true, y_prob, table)), color in zip(sets.items(), colors, strict=False):
            known = not math.isnan(table.auroc[label])
            curves[name] = _thin(*roc_curve(y_true[:, number], y_prob[:, number])[:2]) if known else ([None], [None])
            # A set without any AUROC is marked n/a in the legend.
            if table.auroc.notna().any():
                notes.append((f"{table.auroc[label]:.2f}" if known else "n/a", _dark(color)))
        _draw_panel(figure, number, curves, colors, notes, ([0, 1], [0, 1]), "lines", named=number == 0)
    figure.update_xaxes(range=[0, 1], tickvals=[0, 1])
    figure.update_yaxes(range=[0, 1.02], tickvals=[0, 1])
    return figure.update_layout(title=title, height=540)


def reliability_panels(y_true, sets, title, colors, patients=None):
    """Draws the observed share of images with the finding against the predicted probability, one panel per finding.

    On the dotted line, predicted and observed are equal. Each panel has its own scales, because rare findings have
    small probabilities.

    Args:
        y_true: `(n, 14)` 0 or 1.
        sets: dict of name → `(n, 14)` in [0, 1]; one curve for each.
        title: str, title of the chart.
        colors: list of one color for each set.
        patients: `(n,)`, patient ID of each image, or `None` if each image is of another patient.

    Returns:
        `plotly.graph_objects.Figure` of 14 panels. The panel of a finding with too few patients, or without predictions
        in one of the sets, is empty.
    """

    def curves(number):
        bins = {name: evaluation.reliability(y_true[:, number], y_prob[:, number]) for name, y_prob in sets.items()}
        return {name: (table.predicted, table.observed) for name, table in bins.items()}

    known = evaluation.enough_cases(y_true, *sets.values(), patients=patients)
    figure = _curve_panels(known, curves, ("predicted", "observed"), 1, "lines+markers", colors)
    return figure.update_layout(title=title, height=560)


def net_benefit_panels(y_true, y_prob, title, color, patients=None):
    """Draws decision curves: net benefit against the threshold probability, up to four times the prevalence.

    The dotted line is the net benefit of flagging no image, which is 0.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1], calibrated probabilities.
        title: str, title of the chart.
        color: color of the model.
        patients: `(n,)`, patient ID of each image, or `None` if each image is of another patient.

    Returns:
        `plotly.graph_objects.Figure` of 14 panels. The panel of a finding with too few patients, or without
        predictions, is empty.
    """

    def curves(number):
        highest = min(4 * y_true[:, number].mean(dtype=float), 0.99)
        table = evaluation.net_benefit(y_true[:, number], y_prob[:, number], np.linspace(0, highest, 100))
        return {"flag all images": (table.index, table["all"]), "model": (table.index, table.model)}

    known = evaluation.enough_cases(y_true, y_prob, patients=patients)
    colors = [palette.LABEL_COLOR_LIGHT, color]
    figure = _curve_panels(known, curves, ("threshold probability", "net benefit"), 0, "lines", colors)
    return figure.update_layout(title=title, height=560)


def _curve_panels(known, curves_of, axes, slope, mode, colors):
    """Draws a panel with its own scales for each finding that is `known`; `slope` is that of its dotted line."""
    figure = _finding_panels(*axes, horizontal_spacing=0.045, vertical_spacing=0.2)
    for number in range(len(known)):
        curves, notes = (curves_of(number), []) if known[number] else ({}, [("n/a", "#222222")])
        limits = [max((curve[axis].max() for curve in curves.values()), default=1) for axis in (0, 1)]
        reference = [0, min(limits) if slope else limits[0]], [0, slope * min(limits)]
        _draw_panel(figure, number, curves, colors, notes, reference, mode, named=number == known.argmax())
        for update, limit in zip((figure.update_xaxes, figure.update_yaxes), limits, strict=True):
            # Two ticks fit: 0 and the largest round number up to the limit. Curves and dots at the edges are not cut.
            step = 10 ** math.floor(math.log10(limit))
            ticks = [0, limit // step * step]
            update(
                range=[-0.05 * limit, 1.05 * limit],
                tickvals=ticks,
                ticktext=[f"{tick:g}" for tick in ticks],
                **_place(number),
            )
    return figure


def _finding_panels(x_title, y_title, **grid):
    """Returns 14 empty panels with the names of the findings as titles."""
    figure = make_subplots(_ROWS, _COLUMNS, subplot_titles=[readable(label) for label in config.LABELS], **grid)
    figure.update_annotations(font_size=14)
    # One axis title in the middle is enough for the whole row.
    figure.update_xaxes(title=x_title, row=_ROWS, col=_COLUMNS // 2 + 1)
    figure.update_yaxes(title=y_title, col=1)
    return figure


def _draw_panel(figure, number, curves, colors, notes, reference, mode, named):
    """Draws a dotted line, the curves and the notes of a finding; `named` adds the curves to the legend."""
    figure.add_scatter(
        x=reference[0],
        y=reference[1],
        mode="lines",
        line={"color": "#bbbbbb", "dash": "dot", "width": 1},
        showlegend=False,
        **_place(number),
    )
    for (name, (x, y)), color in zip(curves.items(), colors, strict=False):
        figure.add_scatter(
            x=x,
            y=y,
            name=name,
            mode=mode,
            line={"color": color, "width": 2},
            marker={"size": 5},
            showlegend=bool(named),
            **_place(number),
        )
    # From the lower right corner upwards.
    for line, (text, color) in enumerate(reversed(notes)):
        figure.add_annotation(
            text=text,
            x=0.98 * reference[0][1],
            y=0.2 * line * reference[0][1],
            xanchor="right",
            yanchor="bottom",
            showarrow=False,
            font={"color": color},
            **_place(number),
        )


def _dark(color):
    """Returns a darker shade of a color, for text on white."""
    return "#" + "".join(f"{int(color[at : at + 2], 16) * 6 // 10:02x}" for at in (1, 3, 5))


def _place(number):
    return {"row": number // _COLUMNS + 1, "col": number % _COLUMNS + 1}


def _thin(x, y, points=200):
    """Keeps at most `points` points of a long curve, which look the same in a small panel."""
    keep = np.unique(np.linspace(0, len(x) - 1, points).astype(int))
    return x[keep], y[keep]
