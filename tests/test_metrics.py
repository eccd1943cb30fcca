"""Measures, against scikit-learn and by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cxr_utils import config, evaluation
from cxr_utils.evaluation import metrics, resampling


def test_auroc_is_scikit_learns(predictions):
    y_true, y_prob, patients = predictions
    table = evaluation.auroc_table(y_true, y_prob, patients)
    assert list(table.index) == config.LABELS
    expected = [roc_auc_score(y_true[:, finding], y_prob[:, finding]) for finding in range(14)]
    assert table.auroc.to_numpy() == pytest.approx(expected, abs=1e-12)
    assert table.positives.tolist() == y_true.sum(axis=0).tolist()
    assert (table.positives + table.negatives == 400).all()
    mean = table.attrs["mean"]
    assert mean["auroc"] == pytest.approx(np.mean(expected)) and mean["findings"] == 14
    assert ((table.lower < table.auroc) & (table.auroc < table.upper)).all()
    assert mean["lower"] < mean["auroc"] < mean["upper"]
    assert mean["upper"] - mean["lower"] < (table.upper - table.lower).min()
    expected = [average_precision_score(y_true[:, finding], y_prob[:, finding]) for finding in range(14)]
    assert table.ap.to_numpy() == pytest.approx(expected, abs=1e-12) and mean["ap"] == pytest.approx(np.mean(expected))
    assert ((table.ap_lower < table.ap) & (table.ap < table.ap_upper)).all()
    assert table.prevalence.to_numpy() == pytest.approx(y_true.mean(axis=0))
    micro = table.attrs["micro-average"]
    assert micro["auroc"] == pytest.approx(roc_auc_score(y_true.ravel(), y_prob.ravel()), abs=1e-12)
    assert micro["ap"] == pytest.approx(average_precision_score(y_true.ravel(), y_prob.ravel()), abs=1e-12)
    # In a draw of patients the images of a patient keep all their findings.
    samples = list(_micro_by_hand(y_true, y_prob, patients))
    assert (micro["lower"], micro["upper"]) == pytest.approx(np.percentile(samples, [2.5, 97.5]), abs=0.004)


def _micro_by_hand(y_true, y_prob, patients):
    rng, names = np.random.default_rng(5), np.unique(patients)
    for _ in range(1000):
        drawn = rng.choice(names, len(names))
        images = np.concatenate([np.flatnonzero(patients == name) for name in drawn])
        yield roc_auc_score(y_true[images].ravel(), y_prob[images].ravel())


def test_the_bootstrap_draws_patients_with_all_their_images(predictions):
    y_true, y_prob, patients = predictions
    samples, precisions = resampling.bootstrap_auroc(y_true, y_prob, patients, resamples=60, seed=7)
    names = list(dict.fromkeys(patients))
    rng = np.random.default_rng(7)
    for sample, precision in zip(samples, precisions):
        drawn = rng.integers(0, len(names), len(names))
        images = np.concatenate([np.flatnonzero(patients == names[number]) for number in drawn])
        expected = [roc_auc_score(y_true[images, finding], y_prob[images, finding]) for finding in range(14)]
        assert sample == pytest.approx(expected, abs=1e-12)
        expected = [average_precision_score(y_true[images, finding], y_prob[images, finding]) for finding in range(14)]
        assert precision == pytest.approx(expected, abs=1e-12)


def test_a_rare_finding_is_not_available_and_not_in_the_mean(predictions):
    y_true, y_prob, patients = predictions
    y_true = y_true.copy()
    y_true[:, 3] = 0
    y_true[:9, 4], y_true[9:, 4] = 1, 0
    table = evaluation.auroc_table(y_true, y_prob, patients)
    assert table.index[table.auroc.isna()].tolist() == ["Pneumothorax", "Edema"]
    assert table.attrs["mean"]["findings"] == 12
    assert table.attrs["mean"]["auroc"] == pytest.approx(table.auroc.dropna().mean())
    nothing = evaluation.auroc_table(np.zeros((5, 14)), y_prob[:5], patients[:5])
    assert evaluation.not_available(table) == (
        "n/a, on fewer than 10 images or absent from fewer: Pneumothorax (0), Edema (9)."
    )
    assert nothing.auroc.isna().all() and nothing.attrs["mean"]["findings"] == 0
    assert evaluation.describe_mean(nothing) == "n/a, no finding on 10 images"
    table.attrs["mean"] = {"auroc": 0.81149, "lower": 0.7, "upper": 0.9, "findings": 12}
    assert evaluation.describe_mean(table) == "0.811 (0.700–0.900), 12 findings"


def test_ten_images_with_and_ten_without_are_enough(predictions):
    _, y_prob, _ = predictions
    for cases, known in ((9, False), (10, True), (390, True), (391, False)):
        y_true = np.tile(np.arange(400) < cases, (14, 1)).T.astype(float)
        assert evaluation.enough_cases(y_true).all() == known and evaluation.enough_cases(y_true).any() == known
        assert evaluation.auroc_table(y_true, y_prob).auroc.notna().all() == known


def test_the_mean_does_not_wander_where_a_draw_lacks_a_finding():
    # All images with the second finding are of one patient, and it is always found: a third of the draws hold no case, the rest an
    # AUROC of 1. Whether it is in a draw or not, the mean deviates from its value by what the first finding does, shared or not.
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 12)
    y_true = np.column_stack([rng.random(240) < 0.4, patients == 3]).astype(float)
    y_prob = np.column_stack([np.clip(0.3 * y_true[:, 0] + 0.7 * rng.random(240), 0, 1), 0.5 + 0.4 * y_true[:, 1]])
    mean = metrics.metric_table(y_true, y_prob, patients).attrs["mean"]
    rng, deviations = np.random.default_rng(config.SEED), []
    value = roc_auc_score(y_true[:, 0], y_prob[:, 0])
    for _ in range(resampling.RESAMPLES):
        drawn = rng.integers(0, 20, 20)
        images = (drawn[:, None] * 12 + np.arange(12)).ravel()
        own = roc_auc_score(y_true[images, 0], y_prob[images, 0]) - value
        deviations.append(own / 2 if 3 in drawn else own)
    expected = (value + 1) / 2 + np.percentile(deviations, [2.5, 97.5])
    assert (mean["lower"], mean["upper"]) == pytest.approx(expected, abs=1e-9)


def test_means_are_in_percent(predictions):
    y_true, y_prob, _ = predictions
    table = evaluation.prevalence_table(y_true, y_prob, "pdx_base")
    assert list(table.columns) == ["label", "dx", "pdx_base"]
    assert table.dx[2] == pytest.approx(100 * y_true[:, 2].mean()) and table.pdx_base[2] == pytest.approx(
        100 * y_prob[:, 2].mean()
    )


@pytest.mark.parametrize("measure", [evaluation.auroc, evaluation.auroc_table, evaluation.choose_thresholds])
def test_predictions_that_are_none_are_refused(predictions, measure):
    y_true, y_prob, _ = predictions
    with pytest.raises(ValueError, match=r"shape \(400, 14\), predictions \(399, 14\): expected \(400, 14\) of both"):
        measure(y_true, y_prob[:-1])
    with pytest.raises(ValueError, match=r"shape \(400, 13\), predictions \(400, 13\): expected \(400, 14\) of both"):
        measure(y_true[:, 1:], y_prob[:, 1:])
    for wrong in (np.nan, 1.2, -0.1):
        broken = y_prob.copy()
        broken[5, 5] = wrong
        with pytest.raises(ValueError, match=f"1 predictions are no number in .0, 1., the first is {wrong}"):
            measure(y_true, broken)
    with pytest.raises(ValueError, match="Labels are a DataFrame: expected a NumPy array"):
        measure(pd.DataFrame(y_true), y_prob)
    labels = y_true.copy()
    labels[7, 7] = 2
    with pytest.raises(ValueError, match="1 labels are neither 0 nor 1, the first is 2"):
        measure(labels, y_prob)


def test_images_without_a_patient_are_refused(predictions):
    y_true, y_prob, patients = predictions
    with pytest.raises(
        ValueError, match="399 patients are given for 400 images, 0 of them missing: expected one for each"
    ):
        evaluation.auroc_table(y_true, y_prob, patients[:-1])
    with pytest.raises(ValueError, match="0 patients are given for 400 images"):
        resampling.bootstrap_auroc(y_true, y_prob, None)
    with pytest.raises(ValueError, match="400 images, 1 of them missing"):
        evaluation.auroc_table(y_true, y_prob, np.where(np.arange(400) == 3, np.nan, patients.astype(float)))


def test_a_share_of_images_is_resampled_by_patient(predictions):
    y_true, _, patients = predictions
    hits, cases = y_true[:, 2] * (np.arange(400) % 3 > 0), y_true[:, 2]
    samples = resampling.bootstrap_share(hits, cases, patients, resamples=50, seed=7)
    names = list(dict.fromkeys(patients))
    rng = np.random.default_rng(7)
    for sample in samples:
        images = np.concatenate([np.flatnonzero(patients == names[i]) for i in rng.integers(0, len(names), len(names))])
        assert sample == pytest.approx(hits[images].sum() / cases[images].sum(), abs=1e-12)
    # Several at once are each as by itself.
    both = resampling.bootstrap_share(
        np.column_stack([hits, cases]), np.column_stack([cases, cases]), patients, resamples=50, seed=7
    )
    assert np.array_equal(both[:, 0], samples) and (both[:, 1] == 1).all()


def test_sentences_name_the_extremes(predictions):
    y_true, y_prob, patients = predictions
    y_prob = y_prob.copy()
    y_prob[:, 4], y_prob[:, 9] = y_true[:, 4], 1 - y_true[:, 9]
    table = evaluation.auroc_table(y_true, y_prob, patients)
    assert evaluation.describe_extremes(table) == (
        "Told apart best: Edema 1.000 (1.000–1.000); worst: Pleural Thickening 0.000 (0.000–0.000)."
    )
    assert "nothing can be told apart" in evaluation.describe_extremes(evaluation.auroc_table(y_true[:5], y_prob[:5]))
    y_prob[:, 2] = 0
    y_true = np.zeros_like(y_true)
    y_true[:, 2] = 1
    assert evaluation.describe_prevalence(evaluation.prevalence_table(y_true, y_prob, "p"), "p") == (
        "Furthest from each other at Infiltration: predicted 0.0 % on average, diagnosed on 100.0 % of the images."
    )
