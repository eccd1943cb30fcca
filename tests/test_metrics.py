"""Metrics and bootstrap, checked against scikit-learn and values by hand."""

import io

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cxr_utils import config, evaluation
from cxr_utils.evaluation import metrics, resampling
from tests.helpers import from_csv, numbers, seeded


@pytest.mark.slow
def test_auroc_and_average_precision_equal_scikit_learns(predictions):
    y_true, y_prob, patients = predictions
    table = evaluation.auroc_table(y_true, y_prob, patients)
    assert list(table.index) == config.LABELS
    expected = [roc_auc_score(y_true[:, finding], y_prob[:, finding]) for finding in range(14)]
    assert table.auroc.to_numpy() == pytest.approx(expected, abs=1e-12)
    assert table.positives.tolist() == y_true.sum(axis=0).tolist()
    assert (table.positives + table.negatives == 400).all()
    for value, name in ((1, "positive_patients"), (0, "negative_patients")):
        assert table[name].tolist() == [len(set(patients[labels == value])) for labels in y_true.T]
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
    # Each resampled image keeps all its findings. Where there are many patients, the interval is that of a bootstrap.
    samples = list(_micro_by_hand(y_true, y_prob, patients))
    assert (micro["lower"], micro["upper"]) == pytest.approx(np.percentile(samples, [2.5, 97.5]), abs=0.006)


def _micro_by_hand(y_true, y_prob, patients):
    rng, names = seeded(5), np.unique(patients)
    for _ in range(1000):
        resampled = rng.choice(names, len(names))
        images = np.concatenate([np.flatnonzero(patients == name) for name in resampled])
        yield roc_auc_score(y_true[images].ravel(), y_prob[images].ravel())


@pytest.mark.slow
def test_bootstrap_resamples_patients_with_all_their_images(predictions):
    y_true, y_prob, patients = predictions
    samples, precisions = resampling.bootstrap_auroc(y_true, y_prob, patients, resamples=60, seed=7)
    names = list(dict.fromkeys(patients))
    rng = seeded(7)
    for sample, precision in zip(samples, precisions, strict=True):
        resampled = rng.integers(0, len(names), len(names))
        images = np.concatenate([np.flatnonzero(patients == names[number]) for number in resampled])
        expected = [roc_auc_score(y_true[images, finding], y_prob[images, finding]) for finding in range(14)]
        assert sample == pytest.approx(expected, abs=1e-12)
        expected = [average_precision_score(y_true[images, finding], y_prob[images, finding]) for finding in range(14)]
        assert precision == pytest.approx(expected, abs=1e-12)


def test_rare_findings_are_not_available_and_not_in_the_mean(predictions):
    y_true, y_prob, patients = predictions
    y_true = y_true.copy()
    y_true[:, 3] = 0
    y_true[:9, 4], y_true[9:, 4] = 1, 0
    table = evaluation.auroc_table(y_true, y_prob, patients)
    assert table.index[table.auroc.isna()].tolist() == ["Pneumothorax", "Edema"]
    assert table.attrs["mean"]["findings"] == 12
    assert table.attrs["mean"]["auroc"] == pytest.approx(table.auroc.dropna().mean())
    for read in (table, from_csv(table)):
        sentence = evaluation.not_available(read)
        assert "Pneumothorax (0)" in sentence and "Edema (9)" in sentence and numbers(sentence) == [10, 0, 9]
    assert evaluation.not_available(evaluation.auroc_table(predictions[0], y_prob)) == ""
    nothing = evaluation.auroc_table(np.zeros((5, 14)), y_prob[:5], patients[:5])
    assert nothing.auroc.isna().all() and nothing.attrs["mean"]["findings"] == 0
    assert evaluation.describe_mean(nothing).startswith("n/a")
    table.attrs["mean"] = {"auroc": 0.81149, "lower": 0.7, "upper": 0.9, "findings": 12.0}
    assert evaluation.describe_mean(table) == "0.811 (0.700–0.900), 12 findings"


def test_ten_patients_with_and_ten_without_the_finding_are_enough(predictions):
    _, y_prob, _ = predictions
    # Two images of each patient: with 20 images of 10 patients a finding is reported, with 18 images of 9 it is not.
    pairs = np.arange(400) // 2
    for images, known in ((18, False), (20, True), (380, True), (382, False)):
        y_true = np.tile(np.arange(400) < images, (14, 1)).T.astype(float)
        assert evaluation.enough_cases(y_true, patients=pairs).all() == known
        assert evaluation.auroc_table(y_true, y_prob, pairs).auroc.notna().all() == known
        assert evaluation.calibration_table(y_true, y_prob, pairs).oe.notna().all() == known
        assert evaluation.choose_thresholds(y_true, y_prob, pairs).specific.notna().all() == known
    # Without patients, each image counts as one.
    for cases, known in ((9, False), (10, True), (390, True), (391, False)):
        y_true = np.tile(np.arange(400) < cases, (14, 1)).T.astype(float)
        assert evaluation.enough_cases(y_true).all() == known and evaluation.enough_cases(y_true).any() == known
        assert evaluation.auroc_table(y_true, y_prob).auroc.notna().all() == known


@pytest.mark.slow
def test_resamples_without_a_finding_do_not_shift_the_interval_of_the_mean(monkeypatch):
    # All images with the second finding are of one patient, and its AUROC is always 1. About a third of the resamples
    # do not contain this patient: the mean's deviation is then that of the first finding, otherwise half of it.
    rng = seeded(0)
    patients = np.repeat(np.arange(20), 12)
    y_true = np.column_stack([rng.random(240) < 0.4, patients == 3]).astype(float)
    monkeypatch.setattr(metrics, "enough_cases", lambda *_, **__: np.array([True, True]))
    y_prob = np.column_stack([np.clip(0.3 * y_true[:, 0] + 0.7 * rng.random(240), 0, 1), 0.5 + 0.4 * y_true[:, 1]])
    mean = metrics.metric_table(y_true, y_prob, patients).attrs["mean"]
    rng, deviations = np.random.default_rng(config.SEED), []
    value = roc_auc_score(y_true[:, 0], y_prob[:, 0])
    for _ in range(resampling.RESAMPLES):
        resampled = rng.integers(0, 20, 20)
        images = (resampled[:, None] * 12 + np.arange(12)).ravel()
        deviation = roc_auc_score(y_true[images, 0], y_prob[images, 0]) - value
        deviations.append(deviation / 2 if 3 in resampled else deviation)
    expected = (value + 1) / 2 + np.percentile(deviations, [2.5, 97.5])
    assert (mean["lower"], mean["upper"]) == pytest.approx(expected, abs=1e-9)


def test_prevalence_and_mean_predicted_risk_are_in_percent(predictions):
    y_true, y_prob, _ = predictions
    table = evaluation.prevalence_table(y_true, y_prob, "pdx_base")
    assert list(table.columns) == ["label", "dx", "pdx_base"]
    assert table.dx[2] == pytest.approx(100 * y_true[:, 2].mean())
    assert table.pdx_base[2] == pytest.approx(100 * y_prob[:, 2].mean())


@pytest.mark.parametrize("measure", [evaluation.auroc, evaluation.auroc_table, evaluation.choose_thresholds])
def test_invalid_labels_and_predictions_raise(predictions, measure):
    y_true, y_prob, _ = predictions
    with pytest.raises(ValueError, match=r"\(400, 14\).*\(399, 14\)"):
        measure(y_true, y_prob[:-1])
    with pytest.raises(ValueError, match=r"\(400, 13\).*\(400, 14\)"):
        measure(y_true[:, 1:], y_prob[:, 1:])
    for wrong in (np.nan, 1.2, -0.1):
        broken = y_prob.copy()
        broken[5, 5] = wrong
        with pytest.raises(ValueError, match=rf"\b1\b.*\b5600\b.*{wrong}"):
            measure(y_true, broken)
    with pytest.raises(ValueError, match=r"DataFrame.*NumPy"):
        measure(pd.DataFrame(y_true), y_prob)
    labels = y_true.copy()
    labels[7, 7] = 2
    with pytest.raises(ValueError, match=r"\b1\b.*\b5600\b.*\b2\b"):
        measure(labels, y_prob)


def test_images_without_a_patient_id_raise(predictions):
    y_true, y_prob, patients = predictions
    with pytest.raises(ValueError, match=r"399.*400"):
        evaluation.auroc_table(y_true, y_prob, patients[:-1])
    with pytest.raises(ValueError, match=r"\b0\b.*400"):
        resampling.bootstrap_auroc(y_true, y_prob, None)
    with pytest.raises(ValueError, match=r"400.*\b1\b"):
        evaluation.auroc_table(y_true, y_prob, np.where(np.arange(400) == 3, np.nan, patients.astype(float)))


def test_bootstrap_share_resamples_patients(predictions):
    y_true, _, patients = predictions
    hits, cases = y_true[:, 2] * (np.arange(400) % 3 > 0), y_true[:, 2]
    samples = resampling.bootstrap_share(hits, cases, patients, resamples=50, seed=7)
    names = list(dict.fromkeys(patients))
    rng = seeded(7)
    for sample in samples:
        images = np.concatenate([np.flatnonzero(patients == names[i]) for i in rng.integers(0, len(names), len(names))])
        assert sample == pytest.approx(hits[images].sum() / cases[images].sum(), abs=1e-12)
    # Several proportions at once are equal to each alone.
    both = resampling.bootstrap_share(
        np.column_stack([hits, cases]), np.column_stack([cases, cases]), patients, resamples=50, seed=7
    )
    assert np.array_equal(both[:, 0], samples) and (both[:, 1] == 1).all()


def test_the_sentence_names_the_findings_with_the_highest_and_lowest_auroc(predictions):
    y_true, y_prob, patients = predictions
    y_prob = y_prob.copy()
    y_prob[:, 4], y_prob[:, 9] = y_true[:, 4], 1 - y_true[:, 9]
    table = evaluation.auroc_table(y_true, y_prob, patients)
    sentence = evaluation.describe_extremes(table)
    assert sentence.index("Edema") < sentence.index("Pleural Thickening")
    # Even a perfect AUROC has an interval.
    shown = numbers(sentence)
    assert shown[0] == shown[2] == 1 > shown[1] > 0.7 and shown[3] == shown[4] == 0 < shown[5] < 0.3
    assert evaluation.describe_extremes(from_csv(table)) == sentence
    # Ties: two findings have the highest AUROC, five the lowest.
    y_prob[:, 6] = y_true[:, 6]
    y_prob[:, 9:] = 1 - y_true[:, 9:]
    table = evaluation.auroc_table(y_true, y_prob, patients)
    for read in (table, from_csv(table)):
        named, rest = evaluation.describe_extremes(read).split(";")
        assert [label for label in config.LABELS if label in named] == ["Edema", "Fibrosis"]
        assert [name for name in ("Pleural Thickening", "Cardiomegaly", "Nodule", "Mass") if name in rest] == [
            "Pleural Thickening", "Cardiomegaly", "Nodule",
        ]  # fmt: skip
        assert "2 more" in rest
    assert "n/a" in evaluation.describe_extremes(evaluation.auroc_table(y_true[:5], y_prob[:5]))


def test_the_sentence_names_the_finding_with_the_largest_difference_from_the_prevalence():
    y_true, y_prob = np.zeros((50, 14)), np.zeros((50, 14))
    y_true[:, 9] = 1
    means = evaluation.prevalence_table(y_true, y_prob, "p")
    for read in (means, pd.read_csv(io.StringIO(means.to_csv(index=False)))):
        sentence = evaluation.describe_prevalence(read, "p")
        assert "Pleural Thickening" in sentence and numbers(sentence) == [0, 100]
