"""Figures show the given data, in plotly and in the static image."""

import base64
import io
import itertools
import json
import re

import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from bs4 import BeautifulSoup
from matplotlib.colors import to_hex
from nbconvert import LatexExporter
from PIL import Image
from plotly.subplots import make_subplots

from cxr_utils import config, data, evaluation, explain, models, plots
from cxr_utils.evaluation import intervals
from cxr_utils.plots import show, static

SLIDE = 1190 / 440  # width to height of the space for a figure on a slide


@pytest.fixture
def shown(monkeypatch):
    """List of what was shown in the notebook."""
    bundles = []
    monkeypatch.setattr(show, "display", lambda bundle, raw=False: bundles.append(bundle))
    return bundles


def test_bars_have_the_length_of_their_values():
    table = pd.DataFrame({"a": [3.0, 1.0], "b": [2.0, 5.0]}, index=["x", "y"])
    ax = static.chart_to_matplotlib(plots.grouped_bars(table, "title", "images", ["red", "blue"])).axes[0]
    heights = [bar.get_height() for bar in ax.patches]
    centers = [bar.get_x() + bar.get_width() / 2 for bar in ax.patches]
    assert heights == [3, 1, 2, 5] and centers == pytest.approx([-0.2, 0.8, 0.2, 1.2])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["x", "y"] and ax.get_ylabel() == "images"
    ax = static.chart_to_matplotlib(plots.horizontal_bars(pd.Series({"few": 1, "many": 9}), "title", "images")).axes[0]
    assert [bar.get_width() for bar in ax.patches] == [1, 9]
    nothing = static.chart_to_matplotlib(plots.grouped_bars(table[:0], "title", "images", ["red", "blue"])).axes[0]
    assert not nothing.patches and nothing.get_ylabel() == "images"
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["few", "many"]


def notes_in_panels(figure):
    """Returns the texts of a static image that are inside each of its axes."""
    figure.draw_without_rendering()
    boxes = [ax.get_window_extent() for ax in figure.axes]
    places = {text: text.get_window_extent() for text in figure.texts}
    inside = [[text for text, at in places.items() if box.contains(*((at.p0 + at.p1) / 2))] for box in boxes]
    return [[text.get_text() for text in texts] for texts in inside]


def test_bars_stay_apart_if_their_names_are_numbers():
    table = pd.DataFrame({"images": [3, 2, 1]}, index=["1", "2", "50"])
    chart = plots.grouped_bars(table, "title", "images", ["red"])
    ax = static.chart_to_matplotlib(chart).axes[0]
    assert chart.layout.xaxis.type == "category"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "2", "50"]
    assert [bar.get_x() + bar.get_width() / 2 for bar in ax.patches] == pytest.approx([0, 1, 2])
    assert plots.horizontal_bars(table.images, "title", "images").layout.yaxis.type == "category"


@pytest.mark.slow
def test_roc_panels_contain_the_curve_and_its_auroc(predictions):
    y_true, y_prob, _ = predictions
    table = evaluation.auroc_table(y_true, y_prob)
    table.loc["Hernia", "auroc"] = np.nan
    chart = plots.roc_panels({"all": (y_true, y_prob, table)}, "title", ["#ff0000"])
    curves = [trace for trace in chart.data if trace.line.color == "#ff0000"]
    assert len(curves) == 14 and curves[13].x == (None,)
    for curve, area in zip(curves[:13], table.auroc[:13], strict=True):
        assert np.trapezoid(curve.y, curve.x) == pytest.approx(area, abs=0.01)
    static_figure = static.chart_to_matplotlib(chart)
    titles = [text.get_text() for text in static_figure.texts][:14]
    assert titles == [label.replace("_", " ") for label in config.LABELS]
    # Each panel of the chart and of its static image contains the AUROC of its finding.
    notes = {note.xref: note.text for note in chart.layout.annotations if note.xref != "paper"}
    for curve, shown, area in zip(curves, notes_in_panels(static_figure), table.auroc, strict=True):
        expected = "n/a" if np.isnan(area) else f"{area:.2f}"
        assert notes[curve.xaxis] == expected and shown == [expected]
    # Each set has its curve and its AUROC in one color, the text in a darker shade. A set without AUROC has no text.
    worse = evaluation.auroc_table(y_true, y_prob.round())
    some = {
        "all": (y_true, y_prob, table),
        "worse": (y_true, y_prob.round(), worse),
        "none": (y_true, y_prob, table.assign(auroc=np.nan)),
    }
    chart = plots.roc_panels(some, "title", ["#ff0000", "#00ff00", "#0000ff"])
    first = [
        (note.text, note.font.color)
        for note in sorted(chart.layout.annotations, key=lambda note: -note.y)
        if note.xref == "x"
    ]
    assert first == [(f"{table.auroc.iloc[0]:.2f}", "#990000"), (f"{worse.auroc.iloc[0]:.2f}", "#009900")]
    areas = [
        np.trapezoid(trace.y, trace.x) for trace in chart.data if trace.xaxis == "x" and trace.name in ("all", "worse")
    ]
    assert areas == pytest.approx([table.auroc.iloc[0], worse.auroc.iloc[0]], abs=0.01)


def test_reliability_panels_show_predicted_and_observed_shares(predictions):
    y_true, y_prob, _ = predictions
    y_true = y_true.copy()
    y_true[:, 13] = 0
    chart = plots.reliability_panels(y_true, {"raw": y_prob, "halved": y_prob / 2}, "title", ["red", "blue"])
    for name, scale in (("raw", 1), ("halved", 0.5)):
        curves = [trace for trace in chart.data if trace.name == name]
        assert len(curves) == 13 and [trace.showlegend for trace in curves].count(True) == 1
        for finding, curve in enumerate(curves):
            bins = evaluation.reliability(y_true[:, finding], y_prob[:, finding])
            assert np.asarray(curve.x) == pytest.approx(bins.predicted * scale)
            assert np.asarray(curve.y) == pytest.approx(bins.observed)
            # The curve never turns back, and the panel ends just beyond the highest values of both curves.
            assert (np.diff(curve.x) > 0).all()
            ends = [chart.layout[axis[0] + "axis" + axis[1:]].range[1] for axis in (curve.xaxis, curve.yaxis)]
            assert ends == pytest.approx([1.05 * bins.predicted.max(), 1.05 * bins.observed.max()])
    assert notes_in_panels(static.chart_to_matplotlib(chart)) == [[]] * 13 + [["n/a"]]


def test_interval_chart_marks_the_reference_and_missing_values():
    one = pd.DataFrame({"fnr": [0.2, np.nan], "lower": [0.1, np.nan], "upper": [0.4, np.nan]}, index=["F", "M"])
    chart = plots.interval_chart({"one": one}, "title", "rate", ["red"], reference=0)
    (trace,) = chart.data
    assert (trace.x[0], trace.error_x.array[0], trace.error_x.arrayminus[0]) == pytest.approx((0.2, 0.2, 0.1))
    assert list(chart.layout.yaxis.ticktext) == ["F", "M (n/a)"] and chart.layout.xaxis.title.text == "rate"
    assert [shape.x0 for shape in chart.layout.shapes] == [0]


def test_error_chart_shows_false_negatives_and_false_positives_with_their_intervals(predictions):
    y_true, y_prob, patients = predictions
    y_true = y_true.copy()
    y_true[9:, 12] = 0
    thresholds = pd.Series(0.5, config.LABELS)
    thresholds["Hernia"] = np.nan
    probabilities = {"a": y_prob, "b": y_prob**2}
    tables = {
        name: evaluation.operating_table(y_true, prob, thresholds, patients) for name, prob in probabilities.items()
    }
    chart = plots.error_chart(tables, "title", ["red", "blue"])
    for panel, kind in enumerate(("negatives", "positives")):
        title = (chart.layout.xaxis, chart.layout.xaxis2)[panel].title.text
        assert f"false {kind} per 1,000 images" in title
        for trace, (name, prob) in zip(chart.data[2 * panel : 2 * panel + 2], probabilities.items(), strict=True):
            wrong = ((y_true == 1) & (prob < 0.5), (y_true == 0) & (prob >= 0.5))[panel]
            expected = 1000 * wrong.mean(axis=0)
            # Mass has too few images and Hernia no threshold: no marker, because one at 0 would show no errors.
            expected[12:] = np.nan
            assert trace.name == name and trace.x == pytest.approx(expected, nan_ok=True)
            # The interval is that of the share of wrong results among all images, as it is on the axis.
            limits = 1000 * intervals.wilson_interval(wrong, np.ones_like(wrong), patients)[:, :12]
            assert (trace.x - trace.error_x.arrayminus)[:12] == pytest.approx(limits[0])
            assert (trace.x + trace.error_x.array)[:12] == pytest.approx(limits[1])
    assert list(chart.layout.yaxis.ticktext) == [
        label.replace("_", " ") + " (n/a)" * (label in ("Mass", "Hernia")) for label in config.LABELS
    ]
    # One set of markers needs no legend.
    assert plots.error_chart({"a": tables["a"]}, "title", ["red"]).layout.showlegend is False


def test_subgroup_chart_shows_the_differences_and_names_the_groups(predictions):
    y_true, y_prob, patients = predictions
    frame = pd.DataFrame(
        {"patientID": patients, "gender": np.where(patients % 3, "M", "F"), "age": 50, "viewposition": "PA"}
    )
    table = evaluation.subgroup_table(frame, y_true, y_prob, pd.Series(0.5, config.LABELS))
    chart = plots.subgroup_chart(table, "title", "red")
    for trace, measure in zip(chart.data, ("auroc", "sensitivity", "false_positive_rate"), strict=True):
        ends = [trace.x, trace.x - trace.error_x.arrayminus, trace.x + trace.error_x.array]
        rows = table.xs(measure, level="measure")[["difference", "difference_lower", "difference_upper"]]
        assert np.array(ends).T == pytest.approx(rows.to_numpy(), nan_ok=True)
        assert np.isfinite(trace.x).sum() == 1
    # No difference is at 0 in each panel.
    assert [(line.x0, line.x1) for line in chart.layout.shapes] == [(0, 0)] * 3
    left, *others = static.chart_to_matplotlib(chart).axes
    names = [tick.get_text() for tick in left.get_yticklabels()]
    women = (frame.gender == "F").sum()
    assert names[:2] == [f"sex: female ({women} images)", f"sex: male ({400 - women} images, reference)"]
    assert len(names) == 4
    assert not any(ax.yaxis.get_tick_params()["labelleft"] for ax in others)
    few = table.assign(findings=0, reference=np.nan)
    assert plots.subgroup_chart(few, "title", "red").layout.yaxis.ticktext[0] == f"sex: female ({women} images, n/a)"


def test_auroc_intervals_have_the_limits_of_the_table(predictions):
    y_true, y_prob, patients = predictions
    table = evaluation.auroc_table(y_true, y_prob, patients)
    (trace,) = plots.auroc_intervals({"all": table}, "title", ["red"]).data
    assert trace.x[14] == table.attrs["mean"]["auroc"]
    assert trace.x[:14] - trace.error_x.arrayminus[:14] == pytest.approx(table.lower)
    assert trace.x[:14] + trace.error_x.array[:14] == pytest.approx(table.upper)
    empty = evaluation.auroc_table(y_true[:5], y_prob[:5], patients[:5])
    chart = plots.auroc_intervals({"all": table, "new": empty}, "title", ["red", "blue"])
    assert [trace.name for trace in chart.data] == ["all", "new: n/a, too few patients"]
    assert chart.layout.yaxis.ticktext[0] == "Atelectasis"
    table.loc["Atelectasis", "auroc"] = np.nan
    assert plots.auroc_intervals({"all": table}, "title", ["red"]).layout.yaxis.ticktext[0] == "Atelectasis (n/a)"


OLD = ["epoch", "auc", "categorical_accuracy", "loss", "val_auc", "val_categorical_accuracy", "val_loss"]


@pytest.mark.parametrize("more", [[], ["val_mean_auroc", "learning_rate"]])
def test_training_history_accepts_old_and_new_logs(more):
    log = pd.DataFrame(np.arange(3 * len(OLD + more)).reshape(3, -1), columns=OLD + more)
    chart = plots.training_history(log, "title", "red")
    assert len(chart.data) == 6 + bool(more)
    for trace in chart.data:
        assert list(trace.x) == [1, 2, 3] and any(list(trace.y) == log[name].tolist() for name in log)
    assert [shape.x0 for shape in chart.layout.shapes] == [3] * 3 * bool(more)
    with pytest.raises(ValueError, match=r"no column \['val_loss'\]"):
        plots.training_history(log.drop(columns="val_loss"), "title", "red")


def test_a_chart_is_shown_with_and_without_scripts_and_names_the_source_of_the_images(shown, home):
    (home / "data").mkdir()
    (home / "data" / config.RELEASE_NOTE).write_text("Phantom: drawn\n")
    chart = plots.horizontal_bars(pd.Series({"</script>": 2}), 'A "title"', "images")
    before = chart.to_json()
    plots.show_chart(chart, "label_counts")
    assert chart.to_json() == before
    (bundle,) = shown
    assert set(bundle) == {"application/vnd.plotly.v1+json", "text/html", "image/png", "text/plain"}
    assert "Images: Phantom: drawn" in json.dumps(bundle["application/vnd.plotly.v1+json"]["layout"]["title"])
    before_scripts = bundle["text/html"].partition("<script")[0]
    image = re.search(r'<img alt="A &quot;title&quot;" [^>]*src="data:image/png;base64,([^"]*)"', before_scripts)
    assert image[1] == bundle["image/png"]
    assert bundle["text/html"].count("</script>") == 1
    picture = Image.open(home / "figs" / "label_counts.png")
    assert picture.info["dpi"] == pytest.approx((300, 300), abs=1) and picture.width > 2000
    assert "<svg" in (home / "figs" / "label_counts.svg").read_text()


def test_a_chart_is_in_a_pdf(shown):
    plots.show_chart(plots.horizontal_bars(pd.Series({"a": 2}), "title", "images"))
    cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", shown[0])])
    # Only Markdown cells would need pandoc.
    page, resources = LatexExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    ((name, picture),) = resources["outputs"].items()
    assert f"{{{name}}}" in page and picture == base64.b64decode(shown[0]["image/png"])
    width, height = Image.open(io.BytesIO(picture)).size
    assert width > 900 and height > 200


def test_a_static_image_contains_its_whole_legend_below_the_subtitle():
    names = [f"{model}, random initialization: {error}" for model in ("baseline", "MobileNet") for error in "ab"]
    chart = plots.grouped_bars(pd.DataFrame(1, index=["x"], columns=names), "title", "images", ["red", "blue"] * 2)
    static_figure = static.chart_to_matplotlib(chart)
    (legend,), subtitle = static_figure.legends, static_figure.texts[-1]
    assert [text.get_text() for text in legend.get_texts()] == names and subtitle.get_text() == data.image_source()
    longer = plots.grouped_bars(
        pd.DataFrame(1, index=["x"], columns=["a"]), "Title of many words " * 7, "images", ["red"]
    )
    assert static.chart_to_matplotlib(longer, (500, 300)).texts[0].get_window_extent().x1 <= 500
    box = legend.get_window_extent()
    assert (
        box.x1 <= static_figure.bbox.x1
        and box.y1 <= subtitle.get_window_extent().y0
        and box.y0 >= static_figure.axes[0].get_window_extent().y1
    )


@pytest.mark.parametrize("rows", [config.LABELS, [*config.LABELS, "mean"]], ids=len)
def test_the_file_for_a_slide_has_its_proportions_and_space_for_all_rows(shown, home, monkeypatch, rows):
    table = pd.DataFrame({"auroc": np.linspace(0.5, 0.9, len(rows)), "lower": 0.4, "upper": 1.0}, index=rows)
    tables = {"baseline, random initialization": table, "MobileNet, ImageNet weights": table / 2}
    chart = plots.interval_chart(tables, "title", "difference in AUROC, 95 % CI by paired bootstrap", ["red", "blue"])
    saved = []
    monkeypatch.setattr(show, "save_figure", lambda figure, name: saved.append(figure))
    plots.show_chart(chart, "name")
    (figure,) = saved
    assert figure.bbox.width / figure.bbox.height == pytest.approx(SLIDE, rel=0.02)
    figure.draw_without_rendering()
    labels = figure.axes[0].get_yticklabels()
    boxes = [label.get_window_extent() for label in labels]
    assert len(boxes) == len(rows) and all(label.get_fontsize() >= 10 for label in labels)
    # From the first row at the top to the last; a letter needs two thirds of the height of its line.
    assert all(upper.y0 - lower.y0 >= 0.67 * lower.height for upper, lower in itertools.pairwise(boxes))
    for box in (*boxes, figure.axes[0].xaxis.label.get_window_extent(), figure.legends[0].get_window_extent()):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_a_static_image_draws_the_same_as_its_chart():
    table = pd.DataFrame({"a": [0.2, 0.4], "lower": [0.1, 0.35], "upper": [0.5, 0.6]}, index=["x", "y"])
    chart = plots.interval_chart({"one": table}, "title", "rate", ["#ff0000"], reference=0.3)
    ax = static.chart_to_matplotlib(chart).axes[0]
    (lines,) = [collection.get_segments() for collection in ax.collections]
    assert [line[:, 0].tolist() for line in lines] == [pytest.approx([0.1, 0.5]), pytest.approx([0.35, 0.6])]
    reference = next(line for line in ax.lines if list(line.get_xdata()) == [0.3, 0.3])
    assert reference.get_linestyle() == ":" and ax.get_ylim() == (1.6, -0.6)
    bars = static.chart_to_matplotlib(
        plots.grouped_bars(table[["a", "upper"]], "title", "images", ["#ff0000", "#0000ff"])
    ).axes[0]
    assert [to_hex(bar.get_facecolor()) for bar in bars.patches] == ["#ff0000"] * 2 + ["#0000ff"] * 2
    curve = (
        static.chart_to_matplotlib(go.Figure(go.Scatter(x=[0, 1], y=[1, 0], mode="lines", line={"color": "#00ff00"})))
        .axes[0]
        .lines[0]
    )
    assert curve.get_color() == "#00ff00"
    heat = go.Heatmap(
        z=[[1, 2], [3, 4]],
        x=["a", "b"],
        y=["c", "d"],
        text=[["1", "2"], ["3", "4"]],
        texttemplate="%{text}",
        colorscale=[[0, "#fff"], [1, "#000"]],
        showscale=False,
    )
    cells = static.chart_to_matplotlib(go.Figure(heat)).axes[0]
    assert {text.get_position(): text.get_text() for text in cells.texts} == {
        (0, 0): "1",
        (1, 0): "2",
        (0, 1): "3",
        (1, 1): "4",
    }


def test_a_row_without_a_value_in_one_table_names_that_table_briefly():
    one = pd.DataFrame({"auroc": [0.7, 0.8], "lower": 0.6, "upper": 0.9}, index=["Mass", "Hernia"])
    two = one.assign(auroc=[0.7, np.nan])
    tables = {"all test images (332)": one, "patients not in the development set (48)": two}
    chart = plots.interval_chart(tables, "title", "AUROC", ["red", "blue"])
    assert list(chart.layout.yaxis.ticktext) == ["Mass", "Hernia (partly n/a)"]
    # In a table without any value it is not said again in each row.
    chart = plots.interval_chart({"one": one, "two": one.assign(auroc=np.nan)}, "title", "AUROC", ["red", "blue"])
    assert list(chart.layout.yaxis.ticktext) == ["Mass", "Hernia"] and chart.data[1].name.startswith("two: n/a")


def bars(**properties):
    return go.Figure(go.Bar({"x": ["a", "b"], "y": [1, 2], "marker": {"color": "red"}} | properties)).update_xaxes(
        type="category"
    )


def lines(**properties):
    return go.Figure(go.Scatter({"x": [1, 2], "y": [1, 2], "mode": "lines", "line": {"color": "red"}} | properties))


def cells(**properties):
    colors = [[0, "#ffffff"], [1, "#000000"]]
    given = {"x": ["a"], "y": ["b"], "z": [[1]], "colorscale": colors, "showscale": False}
    return go.Figure(go.Heatmap(given | properties))


UNSUPPORTED = {
    "pie": go.Figure(go.Pie(values=[1])),
    "error_y": lines(error_y={"array": [1, 1]}),
    "arrayminus": lines(error_x={"array": [1, 1], "color": "red"}),
    "fill": lines(fill="tozeroy"),
    "stackgroup": lines(stackgroup="one"),
    "line.shape": lines(line={"color": "red", "shape": "hv"}),
    "line.dash": lines(line={"color": "red", "dash": "longdash"}),
    "scatter.line": go.Figure(go.Scatter(x=[1], y=[1], mode="lines")),
    "mode": lines(mode="markers+text", text=["a", "b"]),
    "marker.symbol": lines(mode="markers", marker={"symbol": "x"}),
    "marker.color": lines(mode="markers", marker={"color": "blue"}),
    "opacity": lines(opacity=0.5),
    "visible": lines(visible=False),
    "scatter.x": go.Figure(go.Scatter(y=[1], mode="lines", line={"color": "red"})),
    "xaxis.type": lines().update_xaxes(type="log"),
    "yaxis.type": lines().update_yaxes(type="log"),
    "yaxis.side": lines().update_yaxes(side="right"),
    "yaxis.overlaying": lines().add_trace(lines(yaxis="y2").data[0]).update_layout(yaxis2={"overlaying": "y"}),
    "barmode": bars().add_trace(bars(name="b").data[0]).update_layout(barmode="stack"),
    "bar.base": bars(base=[1, 1]),
    "bar.text": bars(text=["1", "2"]),
    "category": bars().update_xaxes(type=None),
    "showscale": cells(showscale=None),
    "zmax": cells(zmin=0, zmax=9),
    "texttemplate": cells(text=[["a"]], texttemplate="%{z}"),
    "showarrow": lines().add_annotation(text="a", x=1, y=1, xref="x", yref="y"),
    "shapes.type": lines().add_vrect(x0=0, x1=1),
    "shapes.yref": lines().add_hline(y=1),
    "images": lines().add_layout_image(source="a.png"),
    "legend.orientation": lines().update_layout(legend_orientation="v"),
}


@pytest.mark.parametrize("feature", UNSUPPORTED)
def test_a_chart_that_a_static_image_cannot_show_is_rejected(shown, feature):
    with pytest.raises(ValueError, match=re.escape(feature)):
        plots.show_chart(UNSUPPORTED[feature])
    assert not shown


@pytest.mark.parametrize("others", [["b", "a"], ["a", "c"], ["a", "b", "c"], ["a", "a"]])
def test_bars_with_different_names_are_rejected(others):
    other = bars(x=others, y=[1] * len(others))
    static.chart_to_matplotlib(bars())
    for chart in (bars().add_trace(other.data[0]), other.add_trace(bars().data[0])):
        with pytest.raises(ValueError, match="same names"):
            static.chart_to_matplotlib(chart)
    with pytest.raises(ValueError, match="same names"):
        static.chart_to_matplotlib(bars().add_trace(lines().data[0]))


@pytest.mark.parametrize("values", [["a", "b"], pd.to_datetime(["2020", "2021"])])
def test_points_that_are_not_numbers_are_rejected(values):
    with pytest.raises((TypeError, ValueError)):
        static.chart_to_matplotlib(lines(x=values))


def test_a_static_image_draws_what_plotly_does_by_default():
    # Several traces of bars are next to each other; a heat map starts at the bottom; its texts need a template.
    chart = bars().add_trace(bars(name="more").data[0])
    assert len({bar.get_x() for bar in static.chart_to_matplotlib(chart).axes[0].patches}) == 4
    assert not static.chart_to_matplotlib(cells(text=[["a"]])).axes[0].texts
    for chart, upwards in ((cells(), True), (cells().update_yaxes(autorange="reversed"), False)):
        bottom, top = static.chart_to_matplotlib(chart).axes[0].get_ylim()
        assert (top > bottom) == upwards
    # Lines and notes are where plotly has them, whichever axis they refer to.
    chart = make_subplots(1, 2).add_traces([lines().data[0]] * 2, [1, 1], [1, 2])
    chart.add_vline(x=1.5, col=2)
    chart.add_annotation(text="note", x=2, y=0, xref="x2", yref="paper", showarrow=False)
    chart.update_annotations(xanchor="right", yanchor="bottom")
    figure = static.chart_to_matplotlib(chart.update_traces(line_color="red"))
    figure.draw_without_rendering()
    assert [len(ax.lines) for ax in figure.axes] == [1, 2]
    note, panel = figure.texts[0].get_window_extent(), figure.axes[1].get_window_extent()
    assert note.x1 == pytest.approx(figure.axes[1].transData.transform((2, 1))[0], abs=2)
    assert note.y0 == pytest.approx(panel.y0, abs=4)


def read_table(page):
    """Returns the cells of each row of the table in a page, spaces and joiners as they are."""
    rows = BeautifulSoup(page, "html.parser").select("tr")
    return [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in rows]


def test_a_table_shows_numbers_with_few_decimals_and_missing_values_as_not_available(shown):
    table = pd.DataFrame(
        {
            "auroc": [0.95678, 1.0, np.nan, -0.0001],
            "images": [1962.0, 24.0, 8.0, np.nan],
            "patients": [7, 5, 6, 4],
            "interval": ["0.957 (0.943–0.967)", "n/a", "", None],
            "significant": [True, False, True, False],
            "model": ["a <b>", None, "c", "d"],
        },
        index=pd.Index(["Mass", "Pleural_Thickening", "Edema", "Hernia"], name="label"),
    )
    before = table.copy()
    plots.show_table(table)
    pd.testing.assert_frame_equal(table, before)
    (bundle,) = shown
    assert set(bundle) == {"text/html", "text/plain"}
    header, *rows = read_table(bundle["text/html"])
    assert header == ["", "auroc", "images", "patients", "interval", "significant", "model"]
    assert rows == [
        ["Mass", "0.957", "1,962", "7", "0.957\u00a0(0.943–\u20600.967)", "yes", "a <b>"],
        ["Pleural Thickening", "1.000", "24", "5", "n/a", "no", "n/a"],
        ["Edema", "n/a", "8", "6", "n/a", "yes", "c"],
        ["Hernia", "0.000", "n/a", "4", "n/a", "no", "d"],
    ]
    assert "0.957 (0.943–0.967)" in bundle["text/plain"] and "No values" not in bundle["text/plain"]
    plots.show_table(table, digits=1)
    assert read_table(shown[1]["text/html"])[1][1] == "1.0"


def test_rows_and_columns_without_values_are_named_below_the_table(shown):
    table = pd.DataFrame({"auroc": [0.5, np.nan], "ap_lower": ["n/a", ""]}, index=["Mass", "Pleural_Thickening"])
    plots.show_table(table)
    assert read_table(shown[0]["text/html"]) == [["", "auroc"], ["Mass", "0.500"]]
    plots.show_table(table[1:])
    assert not read_table(shown[1]["text/html"])
    for number, names in ((0, ("ap lower", "Pleural Thickening")), (1, ("auroc", "ap lower"))):
        assert all(name in shown[number]["text/plain"].splitlines()[-1] for name in names)
        assert shown[number]["text/html"].endswith(f"<p>{shown[number]['text/plain'].splitlines()[-1]}</p>")
    assert len(shown[1]["text/plain"].splitlines()) == 1


def test_a_table_may_have_several_levels_of_names_and_long_texts(shown):
    part = pd.DataFrame({"sensitivity": [0.5, 0.25], "n/a": [np.nan] * 2}, index=["Mass", "Hernia"])
    table = pd.concat({"one": part, "two": part}, axis=1)
    longer = table.copy()
    longer["text", ""] = "word " * 29 + "end"
    table = pd.concat({"youden": table, "sensitive": longer}, names=["rule", "label"])
    plots.show_table(table)
    rows = read_table(shown[0]["text/html"])
    assert rows[0] == ["", "", "one", "two", "text"] and rows[1][-3:] == ["sensitivity", "sensitivity", ""]
    assert rows[2] == ["youden", "Mass", "0.500", "0.500", "n/a"]
    assert rows[3] == ["Hernia", "0.250", "0.250", "n/a"]
    assert rows[4] == ["sensitive", "Mass", "0.500", "0.500", "word " * 29 + "end"]
    assert all(name in shown[0]["text/plain"].splitlines()[-1] for name in ("one n/a", "two n/a"))


def test_images_and_feature_maps_show_their_pixels(shown, home):
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8)
    figure = plots.image_grid(images, list("abcde"))
    assert [ax.get_subplotspec().rowspan.start for ax in figure.axes] == [0, 0, 0, 0, 1]
    drawn = [ax.images[0] for ax in figure.axes if ax.images]
    assert all(
        np.array_equal(a.get_array(), b) and a.get_clim() == (0, 255) for a, b in zip(drawn, images, strict=True)
    )
    maps = [np.random.default_rng(0).random((size, size, 6)) for size in (8, 4)]
    figure = plots.layer_maps(images[0], "an image", maps, ["one", "two"])
    assert len([ax for ax in figure.axes if ax.images]) == 13
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == ["one", "two"]
    (home / "data").mkdir()
    (home / "data" / config.RELEASE_NOTE).write_text("Phantom: " + "drawn for a test " * 20)
    plots.show_images(figure, "baseline_layers")
    note = figure.texts[-1]
    assert note.get_text().startswith("Images: Phantom: drawn") and note.get_window_extent().width <= figure.bbox.width
    width, height = Image.open(home / "figs" / "baseline_layers.png").size
    assert width / height == pytest.approx(SLIDE, rel=0.02)


def test_captions_of_images_with_their_predictions_do_not_overlap():
    row = pd.Series({"label": "Mass|Pleural_Thickening"})
    captions = [plots.prediction_caption(row, np.linspace(0.1, 0.9, 14))] * 8
    figure = plots.image_grid(np.zeros((8, 32, 32), np.uint8), captions)
    figure.supxlabel("source of the images")
    figure.draw_without_rendering()
    boxes = [ax.title.get_window_extent() for ax in figure.axes]
    for row in (boxes[:4], boxes[4:]):
        assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(row))
        assert row[0].x0 >= 0 and row[-1].x1 <= figure.bbox.x1 and row[0].y1 <= figure.bbox.y1
    images = [ax.get_window_extent() for ax in figure.axes]
    assert boxes[4].y1 <= images[0].y0


def test_a_caption_contains_the_label_and_the_three_highest_predictions():
    y_prob = np.zeros(14)
    y_prob[[9, 0, 13]] = 0.9, 0.5, 0.2
    caption = plots.prediction_caption(pd.Series({"label": "Mass|Pleural_Thickening"}), y_prob)
    assert caption.splitlines() == [
        "label: Mass, Pleural Thickening",
        "predicted:",
        "Pleural Thickening 90 %",
        "Atelectasis 50 %",
        "Hernia 20 %",
    ]


def test_a_box_is_drawn_at_its_place():
    # Bright where the box is: x 256…512, y 512…896 of 1024 pixels, in an image of 32.
    image, heat = np.zeros((32, 32), np.uint8), np.zeros((32, 32))
    image[16:28, 8:16] = heat[16:28, 8:16] = 1
    figure = plots.heat_map_grid([image, image], [heat, heat * 0], [[(256, 512, 256, 384)], []], ["a", "b"])
    boxed, plain = figure.axes[:2]
    (box,) = boxed.patches
    # A pixel extends half a pixel to each side of its index.
    assert box.get_bbox().extents.tolist() == [7.5, 15.5, 15.5, 27.5] and not plain.patches
    drawn, shown = (image.get_array() for image in boxed.images)
    assert np.array_equal(drawn, image) and np.array_equal(shown, heat)
    # Without heat, the image is unchanged.
    assert boxed.images[1].get_alpha()[20, 10] > 0 and not plain.images[1].get_alpha().any()


def test_activations_are_the_outputs_of_the_layers():
    model = models.build_baseline(48)
    image = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    activations = explain.activations(model, image, ["block1_conv", "findings"])
    assert activations["findings"] == pytest.approx(model.predict(image[None, ..., None], verbose=0)[0], abs=1e-6)
    # The convolution computed by hand at one position: standardized image, three equal channels, ReLU.
    scaled = image / 255.0
    scaled = (scaled - scaled.mean()) / np.sqrt(scaled.var() + 1e-3)
    kernel, bias = model.get_layer("block1_conv").get_weights()
    expected = np.maximum(np.einsum("ij,ijcf->f", scaled[9:12, 19:22], kernel) + bias, 0)
    assert activations["block1_conv"][10, 20] == pytest.approx(expected, abs=1e-3)
    with pytest.raises(ValueError, match="no_such_layer"):
        explain.activations(model, image, ["no_such_layer"])


def test_the_feature_maps_that_vary_most_come_first():
    maps = np.zeros((4, 4, 3))
    maps[0, 0, 1], maps[..., 0], maps[::2, :, 2] = 0.1, 5, 1
    assert explain.most_variable(maps, 2).tolist() == [2, 1]
