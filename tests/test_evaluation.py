"""Measures, against scikit-learn and by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

from cxr_utils import config, evaluation


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


def test_the_bootstrap_draws_patients_with_all_their_films(predictions):
    y_true, y_prob, patients = predictions
    samples = evaluation.bootstrap_auroc(y_true, y_prob, patients, resamples=60, seed=7)
    names = list(dict.fromkeys(patients))
    rng = np.random.default_rng(7)
    for sample in samples:
        drawn = rng.integers(0, len(names), len(names))
        films = np.concatenate([np.flatnonzero(patients == names[number]) for number in drawn])
        expected = [roc_auc_score(y_true[films, finding], y_prob[films, finding]) for finding in range(14)]
        assert sample == pytest.approx(expected, abs=1e-12)


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
    assert nothing.auroc.isna().all() and nothing.attrs["mean"]["findings"] == 0
    assert evaluation.describe_mean(nothing) == "n/a, no finding on 10 films"
    table.attrs["mean"] = {"auroc": 0.81149, "lower": 0.7, "upper": 0.9, "findings": 12}
    assert evaluation.describe_mean(table) == "0.811 (0.700–0.900), 12 findings"


def test_youden_by_hand():
    y_true, y_prob = np.zeros((60, 14)), np.zeros((60, 14))
    y_true[:, 0] = [0, 1, 0, 0, 1, 1] * 10
    y_prob[:, 0] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6] * 10
    y_true[:9, 1] = 1  # too few to choose by
    thresholds = evaluation.youden_thresholds(y_true, y_prob)
    # From 0.5 on 2 of 3 are found without a false alarm (2/3); from 0.2 on all, with 2 of 3 false alarms (1/3).
    assert thresholds["Atelectasis"] == 0.5
    assert thresholds.drop("Atelectasis").isna().all()


def test_errors_are_those_of_the_confusion_matrix(predictions):
    y_true, y_prob, _ = predictions
    thresholds = pd.Series(np.linspace(0.2, 0.6, 14), config.LABELS)
    table = evaluation.error_table(y_true, y_prob, thresholds)
    for finding, label in enumerate(config.LABELS):
        tn, fp, fn, tp = confusion_matrix(y_true[:, finding], y_prob[:, finding] >= thresholds[label]).ravel()
        row = table.loc[label]
        assert (row.true_negatives, row.false_positives, row.false_negatives, row.true_positives) == (tn, fp, fn, tp)
        assert (row.sensitivity, row.specificity) == pytest.approx((tp / (tp + fn), tn / (tn + fp)))
    few = y_true.copy()
    few[:, 0] = np.arange(400) < 9
    table = evaluation.error_table(few, y_prob, thresholds)
    assert (
        np.isnan(table.sensitivity["Atelectasis"])
        and table.specificity.notna().all()
        and table.sensitivity.notna().sum() == 13
    )
    thresholds["Mass"] = np.nan
    assert "Mass" not in evaluation.error_table(y_true, y_prob, thresholds).index


def test_means_are_in_percent(predictions):
    y_true, y_prob, _ = predictions
    table = evaluation.mean_table(y_true, y_prob, "pdx_base")
    assert list(table.columns) == ["label", "dx", "pdx_base"]
    assert table.dx[2] == pytest.approx(100 * y_true[:, 2].mean()) and table.pdx_base[2] == pytest.approx(
        100 * y_prob[:, 2].mean()
    )


@pytest.mark.parametrize("measure", [evaluation.auroc, evaluation.youden_thresholds])
def test_predictions_that_are_none_are_refused(predictions, measure):
    y_true, y_prob, _ = predictions
    with pytest.raises(ValueError, match=r"shape \(400, 14\), predictions \(399, 14\)"):
        measure(y_true, y_prob[:-1])
    for wrong in (np.nan, 1.2, -0.1):
        broken = y_prob.copy()
        broken[5, 5] = wrong
        with pytest.raises(ValueError, match=f"1 predictions are no number in .0, 1., the first is {wrong}"):
            measure(y_true, broken)
