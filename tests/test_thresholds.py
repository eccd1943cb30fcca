"""Thresholds, calibration and what is counted by them, against scikit-learn and by hand."""

import h5py
import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, confusion_matrix

from cxr_utils import config, evaluation, models, reports
from cxr_utils.evaluation import calibration
from cxr_utils.training import artifacts


def test_thresholds_by_hand():
    y_true, y_prob = np.zeros((60, 14)), np.zeros((60, 14))
    y_true[:, 0] = [0, 1, 0, 0, 1, 1] * 10
    y_prob[:, 0] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6] * 10
    y_true[:9, 1] = 1  # too few to choose by
    chosen = evaluation.choose_thresholds(y_true, y_prob)
    # From 0.5 on 2 of 3 are found without a false alarm (2/3); from 0.2 on all, with 2 of 3 false alarms (1/3).
    assert chosen.youden["Atelectasis"] == 0.5 and chosen.sensitive["Atelectasis"] == 0.2
    assert chosen.drop("Atelectasis").isna().all(axis=None)


def test_no_threshold_is_chosen_where_none_is_better_than_chance(predictions):
    y_true, _, _ = predictions
    for y_prob in (np.full((400, 14), 0.5), np.where(y_true == 1, 0.1, 0.9)):
        chosen = evaluation.choose_thresholds(y_true, y_prob)
        assert chosen.youden.isna().all() and np.isfinite(chosen.sensitive).all()


def test_the_sensitive_threshold_is_the_highest_that_finds_nine_in_ten(predictions):
    y_true, y_prob, _ = predictions
    chosen = evaluation.choose_thresholds(y_true, y_prob).sensitive
    for finding, label in enumerate(config.LABELS):
        found = np.sort(y_prob[y_true[:, finding] == 1, finding])
        assert (found >= chosen[label]).mean() >= 0.9
        above = found[found > chosen[label]]
        assert len(above) / len(found) < 0.9


def test_operating_points_are_those_of_the_confusion_matrix(predictions):
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


def test_operating_points_have_intervals_by_patient(predictions):
    y_true, y_prob, patients = predictions
    y_true = y_true.copy()
    y_true[:, 0] = np.arange(400) < 9
    thresholds = pd.Series(np.linspace(0.2, 0.6, 14), config.LABELS)
    table = evaluation.operating_table(y_true, y_prob, thresholds, patients)
    rates = ["sensitivity", "specificity", "ppv", "npv"]
    assert table.loc["Atelectasis", "sensitivity":"specificity_upper"].isna().all() and np.isfinite(
        table.loc["Atelectasis", "ppv_upper"]
    )
    for rate in rates:
        lower, value, upper = (table[f"{rate}{end}"].iloc[1:] for end in ("_lower", "", "_upper"))
        # Where not one image was missed no draw has a miss either.
        assert ((lower <= value) & (value <= upper) & ((lower < upper) | (value == 1))).all()
    # Of Mass by hand, by other draws of the same patients.
    called, rng, names, drawn = y_prob[:, 12] >= thresholds["Mass"], np.random.default_rng(9), np.unique(patients), []
    for _ in range(1000):
        images = np.concatenate([np.flatnonzero(patients == name) for name in rng.choice(names, len(names))])
        tn, fp, fn, tp = confusion_matrix(y_true[images, 12], called[images]).ravel()
        drawn.append([tp / (tp + fn), tn / (tn + fp), tp / (tp + fp), tn / (tn + fn)])
    expected = np.percentile(drawn, [2.5, 97.5], axis=0)
    for rate, ends in zip(rates, expected.T):
        assert table.loc["Mass", [f"{rate}_lower", f"{rate}_upper"]].tolist() == pytest.approx(ends, abs=0.015)
    plain = evaluation.operating_table(y_true, y_prob, thresholds)
    pd.testing.assert_frame_equal(table[plain.columns], plain)


def test_decisions_are_read_back_from_the_model_and_leave_it_as_it_was(home, predictions):
    y_true, y_prob, _ = predictions
    y_true = y_true.copy()
    y_true[:, 3] = 0
    model = models.build_baseline(48)
    path = home / "cnnmodels" / "baseline_model.h5"
    artifacts.save_model(model, path)
    assert reports.load_inference_settings(path) is None
    chosen = evaluation.choose_thresholds(y_true, y_prob)
    for _ in range(2):
        reports.save_inference_settings(chosen, "baseline", "Images: phantom", 400)
    again = reports.load_inference_settings(path)
    pd.testing.assert_frame_equal(again, chosen, check_exact=True)
    assert (
        again.attrs == {"images": "Images: phantom", "validation_images": 400}
        and again.loc["Pneumothorax"].isna().all()
    )
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1), np.uint8)
    loaded = keras.models.load_model(path, compile=False)
    assert np.array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))
    with h5py.File(path) as file:
        assert len(file["model_weights"])
    assert [path.name for path in path.parent.iterdir()] == ["baseline_model.h5"]


def test_scaling_is_platts_as_scikit_learn_has_it(predictions):
    y_true, y_prob = predictions[0], np.clip(predictions[1], 0.005, 0.995)
    logit = np.log(y_prob / (1 - y_prob))
    scaled = evaluation.apply_platt(y_prob, calibration.fit_platt(y_true, y_prob))
    for finding in range(14):
        # Any rising function of the logits is calibrated to the same probabilities; scikit-learn wants a fitted classifier.
        steep = FrozenEstimator(LogisticRegression(C=np.inf).fit(logit[:, [finding]], y_true[:, finding]))
        platt = CalibratedClassifierCV(steep, method="sigmoid", ensemble=False).fit(
            logit[:, [finding]], y_true[:, finding]
        )
        assert scaled[:, finding] == pytest.approx(platt.predict_proba(logit[:, [finding]])[:, 1], abs=5e-4)


def test_a_finding_that_validation_images_separate_is_not_certain_ever_after():
    y_true, y_prob = np.zeros((40, 14)), np.full((40, 14), 0.2)
    y_true[:10], y_prob[:10] = 1, 0.7
    scaled = evaluation.apply_platt(y_prob, calibration.fit_platt(y_true, y_prob))
    # Laplace's rule of succession: 10 of 10 images, none of 30.
    assert scaled[[0, -1], 0] == pytest.approx([11 / 12, 1 / 32], abs=1e-4)


def test_what_cannot_be_scaled_stays_as_it_is(predictions):
    y_true, y_prob, _ = predictions
    y_true, y_prob = y_true.copy(), y_prob.copy()
    y_true[:, 3] = 0  # no image to fit on
    y_prob[:, 4] = 1 - y_prob[:, 4]  # predicted lower where it is present
    y_prob[0, 5], y_prob[1, 5] = 0, 1  # no logit
    scaling = calibration.fit_platt(y_true, y_prob)
    assert scaling.index[scaling.slope.isna()].tolist() == ["Pneumothorax", "Edema"]
    scaled = evaluation.apply_platt(y_prob, scaling)
    assert np.array_equal(scaled[:, 3:5], y_prob[:, 3:5]) and np.isfinite(scaled).all()


def test_reliability_is_scikit_learns_calibration_curve(predictions):
    y_true, y_prob, _ = predictions
    for finding in range(14):
        bins = evaluation.reliability(y_true[:, finding], y_prob[:, finding])
        observed, predicted = calibration_curve(y_true[:, finding], y_prob[:, finding], n_bins=10, strategy="quantile")
        assert bins.observed.to_numpy() == pytest.approx(observed, abs=1e-12)
        assert bins.predicted.to_numpy() == pytest.approx(predicted, abs=1e-12)
        assert bins.images.sum() == 400 and bins.images.between(25, 55).all()  # scores are tied


def test_calibration_by_hand(predictions):
    y_true, y_prob, _ = predictions
    table = evaluation.calibration_table(y_true, y_prob)
    for finding, label in enumerate(config.LABELS):
        assert table.brier[label] == pytest.approx(brier_score_loss(y_true[:, finding], y_prob[:, finding]), abs=1e-12)
        share = y_true[:, finding].mean()
        expected = brier_score_loss(y_true[:, finding], np.full(400, share))
        assert table.brier_prevalence[label] == pytest.approx(expected, abs=1e-9)
    assert table.ece["mean"] == pytest.approx(table.ece[config.LABELS].mean())
    # Two values, a bin of 30 images for each: 0.2 where 1/3 show it, 0.8 where all do. (30·|0.2−1/3| + 30·|0.8−1|) / 60 = 1/6.
    prob, true = np.repeat([0.2, 0.8], 30), np.r_[[1.0, 0, 0] * 10, np.ones(30)]
    assert calibration.calibration_error(true, prob) == pytest.approx(1 / 6, abs=1e-12)
    after = evaluation.apply_platt(y_prob, calibration.fit_platt(y_true, y_prob))
    assert evaluation.calibration_table(y_true, after).brier["mean"] < table.brier["mean"]


def test_one_sentence_names_the_worst_errors():
    y_true, y_prob = np.zeros((40, 14)), np.zeros((40, 14))
    y_true[:10] = y_prob[:10] = 1
    y_prob[10:20, 3], y_prob[:6, 8] = 1, 0
    # Hernia is on too few images to be spoken of.
    y_true[:, 13], y_prob[:, 13] = 0, 1
    table = evaluation.operating_table(y_true, y_prob, pd.Series(0.5, config.LABELS))
    assert evaluation.describe_errors(table) == (
        "Most often called in vain: Pneumothorax, 250 of 1,000 images; most often missed: Pneumonia, 150 of 1,000."
    )
    assert "No finding" in evaluation.describe_errors(table[:0])
