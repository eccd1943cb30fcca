"""Thresholds, errors at a threshold and calibration, checked against scikit-learn and values by hand."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, confusion_matrix

from cxr_utils import config, evaluation, reports
from cxr_utils.evaluation import calibration
from tests.helpers import from_csv, numbers, seeded


def test_thresholds_equal_values_by_hand():
    y_true, y_prob = np.zeros((60, 14)), np.zeros((60, 14))
    y_true[:, 0] = [0, 1, 0, 0, 1, 1] * 10
    y_prob[:, 0] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6] * 10
    y_true[:9, 1] = 1  # too few to choose a threshold
    chosen = evaluation.choose_thresholds(y_true, y_prob)
    # At 0.5, sensitivity is 2/3 and specificity 1 (sum 5/3); at 0.2, they are 1 and 1/3 (sum 4/3). The thresholds are
    # midway to the next lower predictions, 0.4 and 0.1.
    assert chosen.loc["Atelectasis", ["youden", "sensitive"]].tolist() == pytest.approx([0.45, 0.15], abs=1e-15)
    assert chosen.drop("Atelectasis").isna().all(axis=None)
    # Below the lowest prediction, midway to 0; a lowest prediction of 0 is flagged as well.
    y_true[:, 0] = [1, 1, 0, 0, 1, 1] * 10
    assert evaluation.choose_thresholds(y_true, y_prob).sensitive["Atelectasis"] == 0.05
    y_prob[::6, 0] = 0
    assert evaluation.choose_thresholds(y_true, y_prob).sensitive["Atelectasis"] == 0


def _operating_points(y_true, y_prob):
    """Sensitivity and specificity `(2, points)` of one finding at each of its predictions, from the highest one on."""
    flagged = y_prob >= np.unique(y_prob)[::-1, None]
    return np.array([flagged[:, y_true == 1].mean(axis=1), 1 - flagged[:, y_true == 0].mean(axis=1)])


def test_rounding_of_the_predictions_changes_no_flag(predictions):
    y_true, y_prob, _ = predictions
    y_prob = np.clip(y_prob, 0.01, 0.99).astype(np.float32)
    chosen = evaluation.choose_thresholds(y_true, y_prob)
    # As with a batch of one image instead of 128.
    other = y_prob + seeded(6).uniform(-2e-6, 2e-6, y_prob.shape)
    for rule in ("youden", "sensitive"):
        thresholds = chosen[rule].to_numpy()
        assert np.array_equal(y_prob >= thresholds, other >= thresholds)
        assert np.array_equal(y_prob >= thresholds, y_prob - 2e-6 >= thresholds)
    # The flags are those at the best of the predictions themselves.
    tables = {rule: evaluation.operating_table(y_true, y_prob, chosen[rule]) for rule in ("youden", "sensitive")}
    for finding, label in enumerate(config.LABELS):
        points = _operating_points(y_true[:, finding], y_prob[:, finding])
        best = {"youden": points.sum(axis=0).argmax(), "sensitive": (points[0] >= 0.9).argmax()}
        for rule, table in tables.items():
            found = table.loc[label, ["sensitivity", "specificity"]].tolist()
            assert found == pytest.approx(points[:, best[rule]], abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_threshold_between_adjacent_floating_point_numbers_separates_them(dtype):
    for low in (0.3, 0.5, np.nextafter(dtype(0.5), dtype(1)), 1e-30, 0):
        low = dtype(low)
        y_true, y_prob = np.zeros((40, 14)), np.full((40, 14), low)
        y_true[:20], y_prob[:20] = 1, np.nextafter(low, dtype(1))
        chosen = evaluation.choose_thresholds(y_true, y_prob.astype(dtype))
        for rule in ("youden", "sensitive"):
            flagged = y_prob.astype(dtype) >= chosen[rule].to_numpy()
            assert flagged[:20].all() and not flagged[20:].any()


def test_no_youden_threshold_if_none_is_better_than_chance(predictions):
    y_true, _, _ = predictions
    for y_prob in (np.full((400, 14), 0.5), np.where(y_true == 1, 0.1, 0.9)):
        chosen = evaluation.choose_thresholds(y_true, y_prob)
        assert chosen.youden.isna().all() and np.isfinite(chosen.sensitive).all()


def test_the_sensitive_threshold_is_the_highest_with_90_percent_sensitivity(predictions):
    y_true, y_prob, _ = predictions
    chosen = evaluation.choose_thresholds(y_true, y_prob).sensitive
    for finding, label in enumerate(config.LABELS):
        positives = y_prob[y_true[:, finding] == 1, finding]
        flagged = positives >= chosen[label]
        assert flagged.mean() >= 0.9 > (positives > positives[flagged].min()).mean()


def test_operating_points_equal_the_confusion_matrix(predictions):
    y_true, y_prob, _ = predictions
    thresholds = pd.Series(np.linspace(0.2, 0.6, 14), config.LABELS)
    table = evaluation.operating_table(y_true, y_prob, thresholds)
    for finding, label in enumerate(config.LABELS):
        tn, fp, fn, tp = confusion_matrix(y_true[:, finding], y_prob[:, finding] >= thresholds[label]).ravel()
        row = table.loc[label]
        assert (row.true_negatives, row.false_positives, row.false_negatives, row.true_positives) == (tn, fp, fn, tp)
        assert (row.sensitivity, row.specificity) == pytest.approx((tp / (tp + fn), tn / (tn + fp)), abs=1e-12)
        assert (row.ppv, row.npv) == pytest.approx((tp / (tp + fp), tn / (tn + fn)), abs=1e-12)
        assert (row.fp_per_1000, row.fn_per_1000) == pytest.approx((fp / 0.4, fn / 0.4), abs=1e-9)
    few = y_true.copy()
    few[:, 0] = np.arange(400) < 9
    table = evaluation.operating_table(few, y_prob, thresholds)
    assert table.index[table.sensitivity.isna()].tolist() == ["Atelectasis"]
    thresholds["Mass"] = np.nan
    assert "Mass" not in evaluation.operating_table(y_true, y_prob, thresholds).index


@pytest.mark.slow
def test_operating_points_have_intervals_by_a_patient_level_bootstrap(predictions):
    y_true, y_prob, patients = predictions
    y_true = y_true.copy()
    y_true[:, 0] = np.arange(400) < 9
    thresholds = pd.Series(np.linspace(0.2, 0.6, 14), config.LABELS)
    table = evaluation.operating_table(y_true, y_prob, thresholds, patients)
    rates = ["sensitivity", "specificity", "ppv", "npv"]
    assert table.loc["Atelectasis", "sensitivity":"specificity_upper"].isna().all()
    assert np.isfinite(table.loc["Atelectasis", "ppv_upper"])
    for rate in rates:
        lower, value, upper = (table[f"{rate}{end}"].iloc[1:] for end in ("_lower", "", "_upper"))
        # A rate of 1 is 1 in every resample.
        assert ((lower <= value) & (value <= upper) & ((lower < upper) | (value == 1))).all()
    # The intervals of Mass by hand, with other resamples of the same patients.
    flagged, names = y_prob[:, 12] >= thresholds["Mass"], np.unique(patients)
    rng, samples = seeded(9), []
    for _ in range(1000):
        images = np.concatenate([np.flatnonzero(patients == name) for name in rng.choice(names, len(names))])
        tn, fp, fn, tp = confusion_matrix(y_true[images, 12], flagged[images]).ravel()
        samples.append([tp / (tp + fn), tn / (tn + fp), tp / (tp + fp), tn / (tn + fn)])
    expected = np.percentile(samples, [2.5, 97.5], axis=0)
    for rate, limits in zip(rates, expected.T, strict=True):
        assert table.loc["Mass", [f"{rate}_lower", f"{rate}_upper"]].tolist() == pytest.approx(limits, abs=0.015)
    without = evaluation.operating_table(y_true, y_prob, thresholds)
    pd.testing.assert_frame_equal(table[without.columns], without)


def test_thresholds_and_calibration_are_stored_exactly_and_the_model_file_is_unchanged(home, predictions):
    y_true, y_prob, _ = predictions
    y_true = y_true.copy()
    y_true[:, 3] = 0
    chosen = evaluation.choose_thresholds(y_true, y_prob)
    assert chosen.loc["Pneumothorax"].isna().all()
    path = home / "cnnmodels" / "baseline_model.h5"
    path.parent.mkdir()
    path.write_bytes(b"a model")
    facts = {"network": "baseline", "weights": "random initialization", "pretrained": False, "members": 1}
    facts |= {"image_size": 48, "parameters": 1, "model_sha256": hashlib.sha256(b"a model").hexdigest()}
    reports.save_inference_settings("baseline", chosen, facts, "Images: phantom", 400)
    loaded = reports.load_inference_settings(path)
    pd.testing.assert_frame_equal(loaded, chosen, check_exact=True)
    assert (loaded.attrs["images"], loaded.attrs["validation_images"]) == ("Images: phantom", 400)
    assert path.read_bytes() == b"a model"


@pytest.mark.slow
def test_platt_calibration_equals_scikit_learns(predictions):
    y_true, y_prob = predictions[0], np.clip(predictions[1], 0.005, 0.995)
    logit = np.log(y_prob / (1 - y_prob))
    calibrated = evaluation.apply_platt(y_prob, calibration.fit_platt(y_true, y_prob))
    for finding in range(14):
        # scikit-learn calibrates a fitted classifier. Any linear function of the logits gives the same probabilities.
        classifier = FrozenEstimator(LogisticRegression(C=np.inf).fit(logit[:, [finding]], y_true[:, finding]))
        platt = CalibratedClassifierCV(classifier, method="sigmoid", ensemble=False).fit(
            logit[:, [finding]], y_true[:, finding]
        )
        assert calibrated[:, finding] == pytest.approx(platt.predict_proba(logit[:, [finding]])[:, 1], abs=5e-4)


def test_perfect_separation_on_validation_images_does_not_give_0_or_100_percent():
    y_true, y_prob = np.zeros((40, 14)), np.full((40, 14), 0.2)
    y_true[:10], y_prob[:10] = 1, 0.7
    calibrated = evaluation.apply_platt(y_prob, calibration.fit_platt(y_true, y_prob))
    # Laplace's rule of succession for 10 of 10 and 0 of 30 images.
    assert calibrated[[0, -1], 0] == pytest.approx([11 / 12, 1 / 32], abs=1e-4)


def test_findings_that_cannot_be_calibrated_are_unchanged(predictions):
    y_true, y_prob, _ = predictions
    y_true, y_prob = y_true.copy(), y_prob.copy()
    y_true[:, 3] = 0  # no positive image
    y_prob[:, 4] = 1 - y_prob[:, 4]  # lower for positive images
    y_prob[0, 5], y_prob[1, 5] = 0, 1  # infinite logits
    platt = calibration.fit_platt(y_true, y_prob)
    assert platt.index[platt.slope.isna()].tolist() == ["Pneumothorax", "Edema"]
    calibrated = evaluation.apply_platt(y_prob, platt)
    assert np.array_equal(calibrated[:, 3:5], y_prob[:, 3:5]) and np.isfinite(calibrated).all()


def test_reliability_equals_scikit_learns_calibration_curve(predictions):
    y_true, y_prob, _ = predictions
    for finding in range(14):
        bins = evaluation.reliability(y_true[:, finding], y_prob[:, finding])
        observed, predicted = calibration_curve(y_true[:, finding], y_prob[:, finding], n_bins=10, strategy="quantile")
        assert bins.observed.to_numpy() == pytest.approx(observed, abs=1e-12)
        assert bins.predicted.to_numpy() == pytest.approx(predicted, abs=1e-12)
        assert bins.images.sum() == 400 and bins.images.between(25, 55).all()  # scores have ties


def test_calibration_equals_values_by_hand(predictions):
    y_true, y_prob, _ = predictions
    table = evaluation.calibration_table(y_true, y_prob)
    for finding, label in enumerate(config.LABELS):
        assert table.brier[label] == pytest.approx(brier_score_loss(y_true[:, finding], y_prob[:, finding]), abs=1e-12)
        prevalence = y_true[:, finding].mean()
        expected = brier_score_loss(y_true[:, finding], np.full(400, prevalence))
        assert table.brier_prevalence[label] == pytest.approx(expected, abs=1e-9)
    assert table.ece["mean"] == pytest.approx(table.ece[config.LABELS].mean())
    # Two bins of 30 images: predicted 0.2, observed 1/3; predicted 0.8, observed 1.
    # (30·|0.2−1/3| + 30·|0.8−1|) / 60 = 1/6.
    prob, true = np.repeat([0.2, 0.8], 30), np.r_[[1.0, 0, 0] * 10, np.ones(30)]
    assert calibration.calibration_error(true, prob) == pytest.approx(1 / 6, abs=1e-12)
    calibrated = evaluation.apply_platt(y_prob, calibration.fit_platt(y_true, y_prob))
    assert evaluation.calibration_table(y_true, calibrated).brier["mean"] < table.brier["mean"]


def test_the_sentence_states_calibration_before_and_after(predictions):
    y_true, y_prob, _ = predictions
    y_true = y_true.copy()
    y_true[:, 3] = 0
    calibrated = evaluation.apply_platt(y_prob, calibration.fit_platt(y_true, y_prob))
    before, after = (evaluation.calibration_table(y_true, prob) for prob in (y_prob, calibrated))
    sentence = evaluation.describe_calibration(before, after)
    first, second = before.loc["mean"], after.loc["mean"]
    expected = [first.ece, second.ece, 13, first.brier, second.brier, second.brier_prevalence]
    assert numbers(sentence) == pytest.approx(expected, abs=5.1e-4) and len(sentence) <= 240
    assert evaluation.describe_calibration(from_csv(before), from_csv(after)) == sentence
    nothing = evaluation.calibration_table(y_true[:5], y_prob[:5])
    for table in (nothing, from_csv(nothing)):
        sentence = evaluation.describe_calibration(table, table)
        assert not numbers(sentence) and "nan" not in sentence


def test_the_sentence_names_all_findings_with_the_most_errors():
    y_true, y_prob = np.zeros((40, 14)), np.zeros((40, 14))
    y_true[:10] = y_prob[:10] = 1
    y_prob[10:20, 3], y_prob[:6, 8] = 1, 0
    # Hernia has too few images to be named.
    y_true[:, 13], y_prob[:, 13] = 0, 1
    thresholds = pd.Series(0.5, config.LABELS)
    table = evaluation.operating_table(y_true, y_prob, thresholds)
    for read in (table, from_csv(table)):
        positives, negatives = evaluation.describe_errors(read).split(";")
        assert "Pneumothorax" in positives and numbers(positives.replace("1,000", "")) == [250]
        assert "Pneumonia" in negatives and numbers(negatives) == [150]
    # Ties: five findings have the most false positives, two the most false negatives.
    y_prob[10:20, [2, 5, 9, 12]], y_prob[:6, 11] = 1, 0
    table = evaluation.operating_table(y_true, y_prob, thresholds)
    for read in (table, from_csv(table)):
        positives, negatives = evaluation.describe_errors(read).split(";")
        named = [label for label in config.LABELS if label.replace("_", " ") in positives]
        assert named == ["Infiltration", "Pneumothorax", "Emphysema"] and "2 more" in positives
        assert [label for label in config.LABELS if label in negatives] == ["Pneumonia", "Nodule"]
    assert not numbers(evaluation.describe_errors(table[:0]))
