"""A finding that no training image shows: its predictions are NaN, and all results are those of the other 13."""

import io
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from cxr_utils import config, data, evaluation, plots, reports
from cxr_utils.evaluation import calibration
from cxr_utils.plots import static
from tests.helpers import from_csv, seeded

HERNIA, OTHERS = 13, slice(0, 13)
THRESHOLDS = pd.Series(0.4, config.LABELS)


@pytest.fixture
def absent(predictions):
    """`(y_true, y_prob, frame)`: all findings are frequent, and Hernia, the most frequent one, is not predicted."""
    y_true, y_prob, patients = predictions
    y_prob = y_prob.copy()
    y_prob[:, HERNIA] = np.nan
    frame = pd.DataFrame({
        "imgindex": [f"{number}.png" for number in range(400)], "patientID": patients, "gender": ["M", "F"] * 200,
        "age": 50.0, "viewposition": ["PA"] * 200 + ["AP"] * 200,
    })  # fmt: skip
    return y_true, y_prob, frame


def _other(y_true, y_prob):
    """Predictions of a second model, with all 14 findings."""
    other = y_prob**2 * (1 - y_true / 3)
    other[:, HERNIA] = seeded(3).random(len(other))
    return other


def _auroc(y_true, y_prob, frame):
    table = evaluation.auroc_table(y_true, y_prob, frame.patientID)
    return pd.concat([table, pd.DataFrame(table.attrs).T])


def _adjudicated(y_true, y_prob, frame):
    # Hernia takes the place of Mass here.
    order = [*range(12), HERNIA, 12]
    labels = pd.DataFrame(y_true[:, :3] > 0, frame.imgindex, [*data.ADJUDICATED]).assign(part="test")
    table = evaluation.adjudicated_table(frame, y_true[:, order], y_prob[:, order], labels, THRESHOLDS)
    table = table.loc["test"].drop("confirmed", level="measure").unstack("measure")
    return table.set_axis(table.columns.map("_".join), axis=1).rename({"Nodule or mass": "Hernia"})


def _operating(y_true, y_prob, frame):
    table = evaluation.operating_table(y_true, y_prob, THRESHOLDS, frame.patientID)
    return table.reindex(config.LABELS)


def _agreement(y_true, y_prob, frame):
    other = _other(y_true, y_prob)
    table = evaluation.agreement_table(y_prob, other, THRESHOLDS, THRESHOLDS - 0.1, frame.patientID)
    # The models' agreement on Hernia does not depend on the labels, so it is in the mean of the reference.
    assert table.kappa["mean"] == pytest.approx(table.kappa[config.LABELS].mean(), abs=1e-12)
    return table.drop("mean")


MEASURES = {
    "auroc": lambda true, prob, _: pd.DataFrame({"auroc": evaluation.auroc(true, prob)}, config.LABELS),
    "auroc_table": _auroc,
    "choose_thresholds": lambda true, prob, _: evaluation.choose_thresholds(true, prob),
    "fit_platt": lambda true, prob, _: calibration.fit_platt(true, prob),
    "calibration_table": lambda true, prob, _: evaluation.calibration_table(true, prob),
    "operating_table": _operating,
    "difference_table": lambda true, prob, frame: evaluation.difference_table(
        true, prob, _other(true, prob), frame.patientID, 0.01
    ),
    "the same with the models exchanged": lambda true, prob, frame: evaluation.difference_table(
        true, _other(true, prob), prob, frame.patientID, 0.01
    ),
    "agreement_table": _agreement,
    "leakage_table": lambda true, prob, frame: evaluation.leakage_table(
        true, prob, frame.patientID, frame.patientID < 45
    ),
    "subgroup_table": lambda true, prob, frame: evaluation.subgroup_table(frame, true, prob, THRESHOLDS),
    "adjudicated_table": _adjudicated,
}


@pytest.mark.slow
@pytest.mark.parametrize("measure", MEASURES)
def test_all_results_are_those_without_the_finding(absent, predictions, measure):
    y_true, y_prob, frame = absent
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = MEASURES[measure](y_true, y_prob, frame)
    # The reference: predictions of Hernia that nothing depends on, because no image is labeled with it.
    rare = y_true.copy()
    rare[:, HERNIA] = 0
    expected = MEASURES[measure](rare, predictions[1], frame)
    rows = [row for row in found.index if row != "Hernia"]
    pd.testing.assert_frame_equal(found.loc[rows], expected.loc[rows], check_dtype=False)
    if "Hernia" in found.index:
        counts = found.filter(regex="positive|negative|images|patients|prevalence").columns
        assert found.loc["Hernia"].drop(counts).isna().all()


@pytest.mark.slow
def test_the_means_are_scikit_learns_of_the_other_findings(absent):
    y_true, y_prob, frame = absent
    true, prob = y_true[:, OTHERS], y_prob[:, OTHERS]
    table = evaluation.auroc_table(y_true, y_prob, frame.patientID)
    for score, name in ((roc_auc_score, "auroc"), (average_precision_score, "ap")):
        assert table.attrs["mean"][name] == pytest.approx(score(true, prob, average="macro"), abs=1e-12)
        assert table.attrs["micro-average"][name] == pytest.approx(score(true, prob, average="micro"), abs=1e-12)
    assert table.attrs["mean"]["findings"] == table.attrs["micro-average"]["findings"] == 13
    brier = np.mean([brier_score_loss(*columns) for columns in zip(true.T, prob.T, strict=True)])
    assert evaluation.calibration_table(y_true, y_prob).brier["mean"] == pytest.approx(brier, abs=1e-12)
    other = _other(y_true, y_prob)
    difference = evaluation.difference_table(y_true, y_prob, other, frame.patientID, 0.01).loc["mean"]
    expected = [roc_auc_score(true, prob), roc_auc_score(true, other[:, OTHERS])]
    assert difference[["first", "second"]].tolist() == pytest.approx(expected, abs=1e-12)
    groups = evaluation.subgroup_table(frame, y_true, y_prob, THRESHOLDS)
    women = (frame.gender == "F").to_numpy()
    common = [i for i in range(13) if min(y_true[women, i].sum(), y_true[~women, i].sum()) >= 10]
    assert groups.findings["sex", "female", "auroc"] == len(common)
    expected = roc_auc_score(y_true[women][:, common], y_prob[women][:, common])
    assert groups.value["sex", "female", "auroc"] == pytest.approx(expected, abs=1e-12)


def test_the_micro_average_is_over_the_findings_of_the_mean(absent):
    y_true, y_prob, _ = absent
    y_true = y_true.copy()
    y_true[9:, 2] = 0  # too few images
    known = [finding for finding in range(13) if finding != 2]
    micro = evaluation.auroc_table(y_true, y_prob).attrs["micro-average"]
    expected = roc_auc_score(y_true[:, known], y_prob[:, known], average="micro")
    assert micro["auroc"] == pytest.approx(expected, abs=1e-12) and micro["findings"] == 12


def test_predictions_missing_for_some_images_or_all_findings_raise(absent):
    y_true, y_prob, _ = absent
    for wrong, count in ((np.where(np.arange(400)[:, None] < 7, y_prob, 0.5), 7), (y_prob * np.nan, 5600)):
        with pytest.raises(ValueError, match=f"^{count} of 5600 predictions .* nan"):
            evaluation.auroc_table(y_true, wrong)


def test_no_sentence_ranks_the_finding(absent):
    y_true, y_prob, frame = absent
    table = evaluation.auroc_table(y_true, y_prob, frame.patientID)
    means = evaluation.prevalence_table(y_true, y_prob, "p")
    assert means.dx[HERNIA] == pytest.approx(100 * y_true[:, HERNIA].mean()) and np.isnan(means.p[HERNIA])
    difference = evaluation.difference_table(y_true, y_prob, _other(y_true, y_prob), frame.patientID, 0.01)
    operating = evaluation.operating_table(y_true, y_prob, THRESHOLDS, frame.patientID)
    for read in (lambda frame: frame, from_csv):
        sentences = [
            evaluation.describe_extremes(read(table)),
            evaluation.describe_errors(read(operating)),
            evaluation.describe_difference(read(difference), "first", "second"),
            evaluation.describe_prevalence(means, "p"),
            evaluation.describe_prevalence(pd.read_csv(io.StringIO(means.to_csv(index=False))), "p"),
        ]
        assert not [sentence for sentence in sentences if "Hernia" in sentence or "nan" in sentence]
        # It has many images, so their number is not the reason.
        reason = evaluation.not_available(read(table))
        assert "Hernia" in reason and "Hernia (" not in reason and str(evaluation.MIN_CASES) not in reason
    assert "13 findings" in evaluation.describe_mean(table)
    few = y_true.copy()
    few[9:, 4] = 0
    both = evaluation.not_available(evaluation.auroc_table(few, y_prob))
    assert f"Edema ({few[:, 4].sum():.0f})" in both and both.index("Edema") < both.index("Hernia")


def test_calibration_leaves_the_finding_unknown(absent):
    y_true, y_prob, _ = absent
    calibrated = evaluation.apply_platt(y_prob, evaluation.choose_thresholds(y_true, y_prob))
    assert np.isnan(calibrated[:, HERNIA]).all() and np.isfinite(calibrated[:, OTHERS]).all()
    # Also with a calibration that was fitted elsewhere.
    fitted = pd.DataFrame({"slope": 1.0, "intercept": 0.0}, config.LABELS)
    assert np.isnan(evaluation.apply_platt(y_prob, fitted)[:, HERNIA]).all()


@pytest.mark.slow
def test_charts_mark_the_finding(absent):
    y_true, y_prob, frame = absent
    table = evaluation.auroc_table(y_true, y_prob, frame.patientID)
    charts = {
        "roc": plots.roc_panels({"all": (y_true, y_prob, table)}, "title", ["#ff0000"]),
        "reliability": plots.reliability_panels(
            y_true, {"a": y_prob, "b": _other(y_true, y_prob)}, "title", ["red", "blue"]
        ),
        "auroc": plots.auroc_intervals({"all": table}, "title", ["red"]),
        "errors": plots.error_chart(
            {"all": evaluation.operating_table(y_true, y_prob, THRESHOLDS, frame.patientID)}, "title", ["red"]
        ),
        "bars": plots.grouped_bars(
            evaluation.prevalence_table(y_true, y_prob, "p").set_index("label"), "title", "%", ["gray", "red"]
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for chart in charts.values():
            static.chart_to_matplotlib(chart).draw_without_rendering()
    for name in ("roc", "reliability"):
        notes = [(note.text, note.xref) for note in charts[name].layout.annotations if note.text == "n/a"]
        assert notes == [("n/a", "x14")]
    for name in ("auroc", "errors"):
        marked = [text for text in charts[name].layout.yaxis.ticktext if "n/a" in text]
        assert len(marked) == 1 and marked[0].startswith("Hernia")
    marked = [text for text in charts["bars"].data[0].x if "n/a" in text]
    assert len(marked) == 1 and marked[0].startswith("Hernia")


def test_captions_show_predictions_only():
    row = pd.Series({"label": "Hernia"})
    y_prob = np.linspace(0.1, 0.75, 14)
    y_prob[HERNIA] = np.nan
    assert [line.split()[0] for line in plots.prediction_caption(row, y_prob).splitlines()[2:]] == [
        "Mass", "Nodule", "Cardiomegaly",
    ]  # fmt: skip
    y_prob[2:] = np.nan
    assert len(plots.prediction_caption(row, y_prob).splitlines()) == 4


def test_files_keep_the_finding_unknown(absent, home):
    y_true, y_prob, frame = absent
    reports.save_predictions(frame, [y_prob[:150], y_prob[150:]], "baseline_test")
    written = pd.read_csv(home / "test_results" / "predictions_baseline_test.csv")
    assert written.Hernia.isna().all() and written[config.LABELS[:13]].notna().all(axis=None)
    loaded = reports.load_predictions("baseline_test", frame)
    assert np.array_equal(loaded, y_prob.astype(np.float32), equal_nan=True)
    table = evaluation.auroc_table(y_true, loaded, frame.patientID)
    reports.save_auroc({"all": table}, "baseline", "baseline", "Images: some")
    found, *_ = reports.load_auroc("baseline")
    for row in ("mean", "micro-average"):
        assert found.attrs[row] == pytest.approx(table.attrs[row])
    assert evaluation.not_available(found) == evaluation.not_available(table)
    assert reports.auroc_columns(found).loc["Hernia", "AUROC (95 % CI)"] == "n/a"
    assert data.absent(pd.DataFrame(y_true, columns=config.LABELS)) == []
