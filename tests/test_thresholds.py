"""Thresholds, errors at a threshold and calibration, checked against scikit-learn and values by hand."""

import hashlib
import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student_t
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, confusion_matrix

from cxr_utils import config, evaluation, reports
from cxr_utils.evaluation import calibration, intervals
from tests.helpers import from_csv, numbers, seeded


def test_thresholds_equal_values_by_hand():
    y_true, y_prob = np.zeros((60, 14)), np.zeros((60, 14))
    y_true[:, 0] = [0, 1, 0, 0, 1, 1] * 10
    y_prob[:, 0] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6] * 10
    y_true[:9, 1] = 1  # too few to choose a threshold
    chosen = evaluation.choose_thresholds(y_true, y_prob)
    # At 0.5, sensitivity is 2/3 and specificity 1 (sum 5/3); at 0.2, they are 1 and 1/3 (sum 4/3). The thresholds are
    # midway to the next lower predictions, 0.4 and 0.1.
    # Without a flagged negative image, specificity is 1; at 0.4, it is 2/3.
    found = chosen.loc["Atelectasis", ["youden", "sensitive", "specific"]].tolist()
    assert found == pytest.approx([0.45, 0.15, 0.45], abs=1e-15)
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
    for rule in config.THRESHOLD_RULES:
        thresholds = chosen[rule].to_numpy()
        assert np.array_equal(y_prob >= thresholds, other >= thresholds)
        assert np.array_equal(y_prob >= thresholds, y_prob - 2e-6 >= thresholds)
    # The flags are those at the best of the predictions themselves.
    tables = {rule: evaluation.operating_table(y_true, y_prob, chosen[rule]) for rule in ("youden", "specific")}
    for finding, label in enumerate(config.LABELS):
        points = _operating_points(y_true[:, finding], y_prob[:, finding])
        best = {"youden": points.sum(axis=0).argmax(), "specific": np.flatnonzero(points[1] >= 0.95)[-1]}
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
        for rule in config.THRESHOLD_RULES:
            flagged = y_prob.astype(dtype) >= chosen[rule].to_numpy()
            assert flagged[:20].all() and not flagged[20:].any()


def test_no_youden_threshold_if_none_is_better_than_chance(predictions):
    y_true, _, _ = predictions
    for y_prob in (np.full((400, 14), 0.5), np.where(y_true == 1, 0.1, 0.9)):
        chosen = evaluation.choose_thresholds(y_true, y_prob)
        assert chosen.youden.isna().all() and np.isfinite(chosen.sensitive).all()


def _wilson(hits, cases, patients, probability=0.975):
    """Wilson's limits at the effective sample size, from its definition and pandas."""
    sums = pd.DataFrame({"hits": hits, "cases": cases}).astype(float).groupby(patients).sum().query("cases > 0")
    count, total, p = len(sums), sums.cases.sum(), sums.hits.sum() / sums.cases.sum()
    variance = count / (count - 1) * ((sums.hits - p * sums.cases) ** 2).sum() / total**2
    effective = total**2 / (sums.cases**2).sum()
    n = min(p * (1 - p) / variance, total) if variance > 0 else effective
    t = student_t.ppf(probability, effective - 1)
    half = t * np.sqrt(p * (1 - p) / n + t**2 / 4 / n**2)
    return [(p + t**2 / 2 / n - half) / (1 + t**2 / n), (p + t**2 / 2 / n + half) / (1 + t**2 / n)]


def test_the_sensitive_threshold_is_the_highest_with_90_percent_sensitivity_at_90_percent_confidence(predictions):
    y_true, y_prob, patients = predictions
    # Too few patients with the first finding.
    y_true = y_true.copy()
    y_true[y_true[:, 0].nonzero()[0][14:], 0] = 0
    chosen = evaluation.choose_thresholds(y_true, y_prob, patients)
    for finding, label in enumerate(config.LABELS):
        positive = y_true[:, finding] == 1
        scores = np.unique(y_prob[positive, finding])[::-1]
        limits = [
            _wilson(y_prob[positive, finding] >= score, np.ones(positive.sum()), patients[positive], 0.9)[0]
            for score in scores
        ]
        reached = scores[np.array(limits) >= 0.9]
        lower = y_prob[y_prob[:, finding] < reached[0], finding].max(initial=0) if len(reached) else np.nan
        expected = (reached[0] + lower) / 2 if len(reached) else np.nan
        assert chosen.sensitive[label] == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert 0 < chosen.sensitive.isna().sum() < 14


def test_the_target_names_the_findings_without_enough_patients():
    y_true, y_prob = np.zeros((60, 14)), np.tile(np.linspace(0, 1, 60), (14, 1)).T
    # Perfect predictions of 16 and 17 patients. The lower limit of 17 of 17 is the first one of at least 90 %.
    for finding, patients in ((0, 16), (1, 17)):
        y_true[-patients:, finding] = 1
    chosen = evaluation.choose_thresholds(y_true, y_prob, np.arange(60))
    assert np.isnan(chosen.sensitive["Atelectasis"]) and chosen.sensitive["Consolidation"] > 0.7
    # Two images of each patient add nothing if they agree.
    twice = np.repeat(y_true, 2, axis=0), np.repeat(y_prob, 2, axis=0), np.repeat(np.arange(60), 2)
    pd.testing.assert_frame_equal(evaluation.choose_thresholds(*twice)[["sensitive"]], chosen[["sensitive"]])
    for labels, patients in ((y_true, np.arange(60)), (twice[0], twice[2])):
        sentence = evaluation.describe_target(chosen, labels, patients)
        assert "Atelectasis (16)" in sentence and "Consolidation" not in sentence and "At least 17" in sentence


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


def test_operating_points_have_wilsons_intervals_at_the_effective_sample_size(predictions):
    y_true, y_prob, patients = predictions
    y_true = y_true.copy()
    y_true[:, 0] = np.arange(400) < 9
    thresholds = pd.Series(np.linspace(0.2, 0.6, 14), config.LABELS)
    table = evaluation.operating_table(y_true, y_prob, thresholds, patients)
    assert table.loc["Atelectasis", "sensitivity":"specificity_upper"].isna().all()
    assert np.isfinite(table.loc["Atelectasis", "ppv_upper"])
    for finding, label in enumerate(config.LABELS[1:], start=1):
        true, flagged = y_true[:, finding] == 1, y_prob[:, finding] >= thresholds[label]
        every = np.ones(400)
        for rate, hits, cases, scale in (
            ("sensitivity", true & flagged, true, 1), ("specificity", ~true & ~flagged, ~true, 1),
            ("ppv", true & flagged, flagged, 1), ("npv", ~true & ~flagged, ~flagged, 1),
            ("fp_per_1000", ~true & flagged, every, 1000), ("fn_per_1000", true & ~flagged, every, 1000),
        ):  # fmt: skip
            found = table.loc[label, [f"{rate}_lower", f"{rate}_upper"]].tolist()
            assert found == pytest.approx(scale * np.array(_wilson(hits, cases, patients)), abs=1e-9)
            # No interval is without width, also that of a rate of 1 or 0.
            assert found[0] <= table.loc[label, rate] <= found[1] and found[1] - found[0] > 1e-3
    without = evaluation.operating_table(y_true, y_prob, thresholds)
    pd.testing.assert_frame_equal(table[without.columns], without)


def test_wilsons_interval_equals_values_by_hand():
    # 10 of 10 patients: 10 / (10 + t²) with t = 2.262157, the 97.5 % quantile of Student's t with 9 degrees of freedom.
    ten = np.ones(10)
    assert intervals.wilson_interval(ten, ten, np.arange(10)) == pytest.approx([10 / (10 + 2.262157**2), 1], abs=1e-6)
    # 3 of 4 images of two patients, (1, 1) and (1, 0): variance 2 · (0.5² + 0.5²) / 16 = 1/16, so n = 3/16 · 16 = 3;
    # two effective patients, t = 12.706205.
    limits = intervals.wilson_interval(np.array([1, 1, 1, 0]), np.ones(4), np.array([1, 1, 2, 2]))
    z = 12.706205**2
    center, half = 0.75 + z / 6, np.sqrt(z * (0.75 * 0.25 / 3 + z / 36))
    assert limits == pytest.approx(np.array([center - half, center + half]) / (1 + z / 3), abs=1e-6)
    assert np.isnan(intervals.wilson_interval(np.zeros(3), np.zeros(3), np.arange(3))).all()


def test_predictive_values_at_another_prevalence_follow_from_bayes_theorem(predictions):
    y_true, y_prob, patients = predictions
    table = evaluation.operating_table(y_true, y_prob, pd.Series(0.5, config.LABELS), patients)
    for finding, label in enumerate(config.LABELS):
        # At the prevalence of the images, they are those of the images.
        at = evaluation.at_prevalence(table, y_true[:, finding].mean())
        assert at.loc[label, ["ppv", "npv"]].tolist() == pytest.approx(table.loc[label, ["ppv", "npv"]].tolist())
    # Sensitivity 0.8 (0.7–0.88), specificity 0.9 (0.85–0.94), prevalence 1 %: PPV 0.008 / (0.008 + 0.099).
    row = {"sensitivity": 0.8, "sensitivity_lower": 0.7, "sensitivity_upper": 0.88}
    row |= {"specificity": 0.9, "specificity_lower": 0.85, "specificity_upper": 0.94}
    found = evaluation.at_prevalence(pd.DataFrame([row]), 0.01).iloc[0]
    expected = [0.008 / 0.107, 0.007 / (0.007 + 0.1485), 0.0088 / (0.0088 + 0.0594)]
    assert found[["ppv", "ppv_lower", "ppv_upper"]].tolist() == pytest.approx(expected)
    expected = [0.891 / (0.891 + 0.002), 0.8415 / (0.8415 + 0.003), 0.9306 / (0.9306 + 0.0012)]
    assert found[["npv", "npv_lower", "npv_upper"]].tolist() == pytest.approx(expected)
    perfect = row | {"specificity": 1.0, "specificity_lower": 0.9, "specificity_upper": 1.0}
    found = evaluation.at_prevalence(pd.DataFrame([perfect]), 0.01).iloc[0]
    assert found.ppv == found.ppv_upper == 1 and found.ppv_lower == pytest.approx(0.007 / (0.007 + 0.099))


def test_net_benefit_equals_dcurves():
    # Values of the Python package dcurves 1.1.7 on the same data, at thresholds of 0, 5, 20 and 50 %.
    rng = np.random.default_rng(0)
    prob = rng.random(200).round(3)
    true = (rng.random(200) < prob**2).astype(float)
    table = evaluation.net_benefit(true, prob, np.array([0, 0.05, 0.2, 0.5]))
    assert table.model.tolist() == pytest.approx([0.4, 0.37157894736842106, 0.28875, 0.195], abs=1e-12)
    assert table["all"].tolist() == pytest.approx([0.4, 0.368421052631579, 0.25, -0.2], abs=1e-12)


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


def test_bins_of_a_reliability_curve_have_equal_numbers_of_expected_images(predictions):
    y_true, y_prob, _ = predictions
    # Without ties.
    y_prob = y_prob**4 + 1e-6 * seeded(8).random(y_prob.shape)
    for finding in range(14):
        true, prob = y_true[:, finding], y_prob[:, finding]
        bins = evaluation.reliability(true, prob)
        assert len(bins) == min(10, prob.sum() // 5) and bins.images.sum() == 400
        # A bin has at most one image more or less than its share, and no prediction is above 1.
        assert (bins.predicted * bins.images).tolist() == pytest.approx([prob.sum() / len(bins)] * len(bins), abs=1)
        assert (np.diff(bins.predicted) > 0).all()
        order, edges = np.argsort(prob), np.append(0, bins.images.cumsum())
        for name, values in (("predicted", prob), ("observed", true)):
            expected = [values[order][start:end].mean() for start, end in itertools.pairwise(edges)]
            assert bins[name].tolist() == pytest.approx(expected)


def test_observed_shares_of_a_calibrated_model_are_not_biased_in_any_bin():
    rng, bins = seeded(9), []
    for _ in range(400):
        prob = np.sort(rng.beta(0.5, 9, 1000))
        table = evaluation.reliability((rng.random(1000) < prob).astype(float), prob)
        bins.append((table.observed - table.predicted).iloc[[0, -1]].to_numpy())
    # The mean difference is 0, within four standard errors.
    assert (np.abs(np.mean(bins, axis=0)) < 4 * np.std(bins, axis=0) / 20).all()


def test_the_calibration_error_equals_scikit_learns_calibration_curve(predictions):
    y_true, y_prob, _ = predictions
    y_prob = 0.99 * y_prob + 1e-6 * seeded(8).random(y_prob.shape)
    for true, prob in zip(y_true.T, y_prob.T, strict=True):
        observed, predicted = calibration_curve(true, prob, n_bins=10, strategy="quantile")
        # All bins have 40 images.
        assert calibration.calibration_error(true, prob) == pytest.approx(np.abs(observed - predicted).mean(), abs=1e-9)


def test_a_perfectly_calibrated_model_has_the_calibration_error_that_is_given():
    rng = seeded(3)
    prob = rng.beta(1, 9, 1000)
    simulated = [calibration.calibration_error(rng.random(1000) < prob, prob) for _ in range(400)]
    # Two means of 100 and 400 draws.
    tolerance = 4 * np.std(simulated) * np.sqrt(1 / 100 + 1 / 400)
    assert calibration.error_if_calibrated(prob) == pytest.approx(np.mean(simulated), abs=tolerance)
    assert np.mean(simulated) > 0.01


def test_calibration_equals_values_by_hand(predictions):
    y_true, y_prob, _ = predictions
    table = evaluation.calibration_table(y_true, y_prob)
    for finding, label in enumerate(config.LABELS):
        assert table.brier[label] == pytest.approx(brier_score_loss(y_true[:, finding], y_prob[:, finding]), abs=1e-12)
        prevalence = y_true[:, finding].mean()
        expected = brier_score_loss(y_true[:, finding], np.full(400, prevalence))
        assert table.brier_prevalence[label] == pytest.approx(expected, abs=1e-9)
        assert table.brier_skill[label] == pytest.approx(1 - table.brier[label] / expected, abs=1e-9)
    assert table.ece["mean"] == pytest.approx(table.ece[config.LABELS].mean())
    # Two bins of 30 images: predicted 0.2, observed 1/3; predicted 0.8, observed 1.
    # (30·|0.2−1/3| + 30·|0.8−1|) / 60 = 1/6.
    prob, true = np.repeat([0.2, 0.8], 30), np.r_[[1.0, 0, 0] * 10, np.ones(30)]
    assert calibration.calibration_error(true, prob) == pytest.approx(1 / 6, abs=1e-12)
    calibrated = evaluation.apply_platt(y_prob, calibration.fit_platt(y_true, y_prob))
    assert evaluation.calibration_table(y_true, calibrated).brier["mean"] < table.brier["mean"]


def _one_finding():
    """Labels and predictions of 200 images of 60 patients, with 13 findings that no image shows."""
    rng = np.random.default_rng(0)
    y_true, y_prob = np.zeros((200, 14)), np.full((200, 14), 0.5)
    y_prob[:, 0] = rng.random(200).round(3).clip(0.001, 0.999)
    y_true[:, 0] = rng.random(200) < y_prob[:, 0] ** 2
    return y_true, y_prob, rng.integers(0, 60, 200)


def test_platt_calibration_equals_statsmodels():
    # GLM with the family Binomial of statsmodels 0.15.0 on the same targets.
    found = calibration.fit_platt(*_one_finding()).loc["Atelectasis"].tolist()
    assert found == pytest.approx([1.2856281375578034, -1.06202292747337], abs=1e-9)


def test_slope_intercept_and_observed_over_expected_equal_statsmodels():
    y_true, y_prob, patients = _one_finding()
    row = evaluation.calibration_table(y_true, y_prob, patients).loc["Atelectasis"]
    # GLM with the family Binomial of statsmodels 0.15.0, cov_type="cluster" without correction; 58 patients, so the
    # errors are multiplied by √(58 / 57).
    positives = np.bincount(patients, y_true[:, 0])
    t = student_t.ppf(0.975, positives.sum() ** 2 / (positives**2).sum() - 1)
    for name, value, error in (
        ("slope", 1.379005721781597, 0.1896263993442311),
        ("intercept", -0.8887568113242006, 0.16877946396254956),
    ):
        found = row[[name, f"{name}_lower", f"{name}_upper"]].tolist()
        assert found == pytest.approx([value, value - t * error, value + t * error], abs=1e-8)
    assert row.oe == pytest.approx(y_true[:, 0].sum() / y_prob[:, 0].sum())
    # The error of the logarithm, from its definition.
    sums = pd.DataFrame({"observed": y_true[:, 0], "expected": y_prob[:, 0]}).groupby(patients).sum()
    shares = (sums / sums.sum()).diff(axis=1).expected
    error = np.sqrt((shares**2).sum() * len(sums) / (len(sums) - 1))
    assert [row.oe_lower, row.oe_upper] == pytest.approx(row.oe * np.exp([-t * error, t * error]))


def test_perfect_separation_has_no_slope():
    y_true, y_prob, patients = _one_finding()
    y_true[:, 0] = y_prob[:, 0] > 0.5
    row = evaluation.calibration_table(y_true, y_prob, patients).loc["Atelectasis"]
    assert row[["slope", "slope_lower", "slope_upper"]].isna().all() and np.isfinite(row.intercept)


def test_the_sentence_states_calibration_before_and_after(predictions):
    y_true, y_prob, _ = predictions
    y_true = y_true.copy()
    y_true[:, 3] = 0
    calibrated = evaluation.apply_platt(y_prob, calibration.fit_platt(y_true, y_prob))
    before, after = (evaluation.calibration_table(y_true, prob) for prob in (y_prob, calibrated))
    sentence = evaluation.describe_calibration(before, after)
    first, second = before.loc["mean"], after.loc["mean"]
    within = [
        ((table[f"{name}_lower"] <= 1) & (table[f"{name}_upper"] >= 1)).sum()
        for name in ("slope", "oe")
        for table in (before, after)
    ]
    expected = [13, 95, 1, *within, first.ece, second.ece, first.ece_if_calibrated, second.ece_if_calibrated]
    expected += [first.brier_skill, second.brier_skill]
    assert numbers(sentence) == pytest.approx(expected, abs=5.1e-4) and len(sentence) <= 240
    assert evaluation.describe_calibration(from_csv(before), from_csv(after)) == sentence
    nothing = evaluation.calibration_table(y_true[:5], y_prob[:5])
    for table in (nothing, from_csv(nothing)):
        sentence = evaluation.describe_calibration(table, table)
        assert not numbers(sentence) and "nan" not in sentence


def test_the_sentence_names_all_findings_with_the_highest_rates_of_errors():
    y_true, y_prob, patients = np.zeros((40, 14)), np.zeros((40, 14)), np.arange(40)
    y_true[:10] = y_prob[:10] = 1
    y_prob[10:20, 3], y_prob[:6, 8] = 1, 0
    # Mass is missed on more images, but less often than Pneumonia.
    y_true[:20, 12], y_prob[:12, 12] = 1, 1
    # Hernia has too few images to be named.
    y_true[:, 13], y_prob[:, 13] = 0, 1
    thresholds = pd.Series(0.5, config.LABELS)
    table = evaluation.operating_table(y_true, y_prob, thresholds, patients)
    for read in (table, from_csv(table)):
        missed, flagged = evaluation.describe_errors(read).replace("95 % CI", "").split(";")
        assert "Pneumonia" in missed and "Mass" not in missed and "Pneumothorax" in flagged
        for part, hits, cases in ((missed, 6, 10), (flagged, 10, 30)):
            limits = _wilson(np.arange(cases) < hits, np.ones(cases), np.arange(cases))
            assert numbers(part) == pytest.approx([100 * hits / cases, *(100 * np.array(limits))], abs=0.51)
    # Ties: five findings have the highest false-positive rate, two the highest false-negative rate.
    y_prob[10:20, [2, 5, 9, 10]], y_prob[:6, 11] = 1, 0
    table = evaluation.operating_table(y_true, y_prob, thresholds, patients)
    for read in (table, from_csv(table)):
        missed, flagged = evaluation.describe_errors(read).split(";")
        named = [label for label in config.LABELS if label.replace("_", " ") in flagged]
        assert named == ["Infiltration", "Pneumothorax", "Emphysema"] and "2 more" in flagged
        assert [label for label in config.LABELS if label in missed] == ["Pneumonia", "Nodule"]
    assert not numbers(evaluation.describe_errors(table[:0]))
