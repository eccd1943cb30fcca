"""Figures show the given data, in plotly and in the static image."""

import json
import re

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from matplotlib.colors import to_hex
from PIL import Image
from sklearn.calibration import calibration_curve

from cxr_utils import config, data, evaluation, explain, models, plots
from cxr_utils.plots import show, static


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
    for curve, ax, area in zip(curves, static_figure.axes, table.auroc, strict=True):
        expected = "n/a" if np.isnan(area) else f"{area:.2f}"
        assert notes[curve.xaxis] == expected and [text.get_text() for text in ax.texts] == [expected]
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
            # Bins with equal numbers of images, by predicted probability: scikit-learn's quantile strategy.
            observed, predicted = calibration_curve(
                y_true[:, finding], y_prob[:, finding], n_bins=10, strategy="quantile"
            )
            assert np.asarray(curve.x) == pytest.approx(predicted * scale)
            assert np.asarray(curve.y) == pytest.approx(observed)
    notes = [[text.get_text() for text in ax.texts] for ax in static.chart_to_matplotlib(chart).axes]
    assert notes == [[]] * 13 + [["n/a"]]


def test_interval_chart_marks_the_reference_and_missing_values():
    one = pd.DataFrame({"fnr": [0.2, np.nan], "lower": [0.1, np.nan], "upper": [0.4, np.nan]}, index=["F", "M"])
    chart = plots.interval_chart({"one": one}, "title", "rate", ["red"], reference=0)
    (trace,) = chart.data
    assert (trace.x[0], trace.error_x.array[0], trace.error_x.arrayminus[0]) == pytest.approx((0.2, 0.2, 0.1))
    assert list(chart.layout.yaxis.ticktext) == ["F", "M (n/a)"] and chart.layout.xaxis.title.text == "rate"
    assert [shape.x0 for shape in chart.layout.shapes] == [0]


def test_error_chart_shows_false_negatives_left_and_false_positives_right(predictions):
    y_true, y_prob, patients = predictions
    y_true = y_true.copy()
    y_true[9:, 12] = 0
    thresholds = pd.Series(0.5, config.LABELS)
    thresholds["Hernia"] = np.nan
    tables = {
        name: evaluation.operating_table(y_true, prob, thresholds, patients)
        for name, prob in (("a", y_prob), ("b", y_prob**2))
    }
    chart = plots.error_chart(tables, "title", ["red", "blue"])
    ax = static.chart_to_matplotlib(chart).axes[0]
    for number, (table, prob) in enumerate(zip(tables.values(), (y_prob, y_prob**2), strict=True)):
        false_negatives = 1000 * ((y_true == 1) & (prob < 0.5)).mean(axis=0)
        false_positives = 1000 * ((y_true == 0) & (prob >= 0.5)).mean(axis=0)
        # Mass has too few images and Hernia no threshold: they have no bars, which would show zero errors.
        false_negatives[12:] = false_positives[12:] = np.nan
        bars = [patch.get_width() for patch in ax.patches[28 * number : 28 * (number + 1)]]
        assert bars == pytest.approx([*-false_negatives, *false_positives], nan_ok=True)
        # The interval of the false-negative rate is one minus that of the sensitivity.
        left, right = chart.data[2 * number : 2 * number + 2]
        with_it = 1000 * y_true.mean(axis=0)[:12]
        ends = -left.x[:12] - left.error_x.array[:12], -left.x[:12] + left.error_x.arrayminus[:12]
        assert ends == (
            pytest.approx(with_it * (1 - table.sensitivity_upper[:12])),
            pytest.approx(with_it * (1 - table.sensitivity_lower[:12])),
        )
        ends = right.x[:12] - right.error_x.arrayminus[:12], right.x[:12] + right.error_x.array[:12]
        without = 1000 - with_it
        assert ends == (
            pytest.approx(without * (1 - table.specificity_upper[:12])),
            pytest.approx(without * (1 - table.specificity_lower[:12])),
        )
    low, high = ax.get_xlim()
    assert low <= -np.nanmax(false_negatives) and high >= np.nanmax(false_positives)
    assert ax.get_xticklabels()[0].get_text() == f"{-low:.0f}"
    assert [text.get_text().strip() for text in ax.texts] == ["← false negatives", "false positives →"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        label.replace("_", " ") + " (n/a)" * (label in ("Mass", "Hernia")) for label in config.LABELS
    ]


def test_subgroup_chart_shows_both_rates_and_names_the_groups(predictions):
    y_true, y_prob, patients = predictions
    frame = pd.DataFrame(
        {"patientID": patients, "gender": np.where(patients % 2, "M", "F"), "age": 50, "viewposition": "PA"}
    )
    table = evaluation.subgroup_table(frame, y_true, y_prob, pd.Series(0.5, config.LABELS))
    chart = plots.subgroup_chart(table, "title", "red")
    for trace, names in zip(chart.data, (["auroc", "lower", "upper"], ["fnr", "fnr_lower", "fnr_upper"]), strict=True):
        ends = [trace.x, trace.x - trace.error_x.arrayminus, trace.x + trace.error_x.array]
        assert np.array(ends).T == pytest.approx(table[names].to_numpy(), nan_ok=True)
    left, right = static.chart_to_matplotlib(chart).axes
    assert (
        plots.subgroup_chart(table.assign(findings=0), "title", "red")
        .layout.yaxis.ticktext[0]
        .endswith(" images, n/a)")
    )
    names = [tick.get_text() for tick in left.get_yticklabels()]
    findings = table.loc[("sex", "male"), "findings"]
    assert names[1] == f"sex: male ({(frame.gender == 'M').sum()} images, {findings} findings)"
    assert len(names) == len(table)
    assert not right.yaxis.get_tick_params()["labelleft"]


def test_auroc_intervals_have_the_limits_of_the_table(predictions):
    y_true, y_prob, patients = predictions
    table = evaluation.auroc_table(y_true, y_prob, patients)
    (trace,) = plots.auroc_intervals({"all": table}, "title", ["red"]).data
    assert trace.x[14] == table.attrs["mean"]["auroc"]
    assert trace.x[:14] - trace.error_x.arrayminus[:14] == pytest.approx(table.lower)
    assert trace.x[:14] + trace.error_x.array[:14] == pytest.approx(table.upper)
    empty = evaluation.auroc_table(y_true[:5], y_prob[:5], patients[:5])
    chart = plots.auroc_intervals({"all": table, "new": empty}, "title", ["red", "blue"])
    assert [trace.name for trace in chart.data] == ["all", "new: n/a, too few images"]
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
    plots.show_chart(chart, "label_counts")
    (bundle,) = shown
    assert set(bundle) == {"application/vnd.plotly.v1+json", "text/html", "text/plain"}
    assert "Images: Phantom: drawn" in json.dumps(bundle["application/vnd.plotly.v1+json"]["layout"]["title"])
    before_scripts = bundle["text/html"].partition("<script")[0]
    assert re.search(r'<img alt="A &quot;title&quot;" [^>]*src="data:image/png;base64,', before_scripts)
    assert bundle["text/html"].count("</script>") == 1
    picture = Image.open(home / "figs" / "label_counts.png")
    assert picture.info["dpi"] == pytest.approx((300, 300), abs=1) and picture.width > 2000
    assert "<svg" in (home / "figs" / "label_counts.svg").read_text()


def test_a_static_image_contains_its_whole_legend_below_the_subtitle(shown):
    names = [f"{model}, random initialization: {error}" for model in ("baseline", "MobileNet") for error in "ab"]
    chart = plots.grouped_bars(pd.DataFrame(1, index=["x"], columns=names), "title", "images", ["red", "blue"] * 2)
    plots.show_chart(chart)
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
        colorscale=[[0, "#fff"], [1, "#000"]],
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
    tables = {"baseline": one, "MobileNet, random initialization": two}
    chart = plots.interval_chart(tables, "title", "AUROC", ["red", "blue"])
    assert list(chart.layout.yaxis.ticktext) == ["Mass", "Hernia (n/a: MobileNet)"]
    # Next to such a long name, the axis title stays inside the image.
    chart.update_xaxes(title="difference in AUROC, 95 % interval by paired patient-level bootstrap")
    static_figure = static.chart_to_matplotlib(chart, (720, 424))
    static_figure.canvas.draw()
    assert static_figure.axes[0].xaxis.label.get_window_extent().x1 <= 720


def test_a_trace_that_a_static_image_cannot_show_is_rejected():
    with pytest.raises(ValueError, match=r"traces of type pie\. A static image can only show bar"):
        static.chart_to_matplotlib(go.Figure(go.Pie(values=[1])))


def test_images_and_feature_maps_show_their_pixels(shown, home):
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8)
    figure = plots.image_grid(images, list("abcde"))
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
    # On a slide it is below the text, so it is wide.
    assert width > 2 * height


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
