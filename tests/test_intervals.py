"""Intervals by patient bootstrap hold the truth as often as they say; those by image do not."""

import os

import numpy as np
import pytest
from scipy.stats import bootstrap, norm
from sklearn.metrics import roc_auc_score

from cxr_utils import evaluation
from cxr_utils.evaluation import resampling

ALL = bool(os.environ.get("CXR_TEST_ALL"))
SETS, RESAMPLES = (2000, 2000) if ALL else (200, 500)
PATIENTS, CUT = 200, 0.5  # with 100 patients intervals are a little narrow: they held the truth in 92.9 % of 1,000 sets


def _simulate(rng):
    """Images of patients whose effect makes up half of the variance of label and score alike."""
    images = rng.integers(1, 21, PATIENTS)
    patients = np.repeat(np.arange(PATIENTS), images)
    effect = np.sqrt(0.5) * rng.normal(size=PATIENTS)[patients]
    own = np.sqrt(0.5) * rng.normal(size=(2, len(patients)))
    return (effect + own[0] > CUT).astype(float)[:, None], (effect + own[1])[:, None], patients


def _true_auroc():
    """AUROC of images of different patients, by quadrature over the effects of the two."""
    u = np.linspace(-8, 8, 2001)
    positive = norm.pdf(u) * norm.sf(CUT, loc=np.sqrt(0.5) * u, scale=np.sqrt(0.5))
    negative = norm.pdf(u) - positive
    higher = norm.cdf(np.sqrt(0.5) * (u[:, None] - u))
    return positive @ higher @ negative / (positive.sum() * negative.sum())


def test_the_true_auroc_is_that_of_very_many_patients():
    rng = np.random.default_rng(0)
    effect = np.sqrt(0.5) * rng.normal(size=400_000)
    own = np.sqrt(0.5) * rng.normal(size=(2, 400_000))
    assert roc_auc_score(effect + own[0] > CUT, effect + own[1]) == pytest.approx(_true_auroc(), abs=0.003)


def test_intervals_by_patient_cover_and_intervals_by_image_do_not():
    rng, truth = np.random.default_rng(1), _true_auroc()
    held = {"patient": 0, "image": 0}
    for _ in range(SETS):
        y_true, score, patients = _simulate(rng)
        for unit, whose in (("patient", patients), ("image", np.arange(len(patients)))):
            samples, _ = resampling.bootstrap_auroc(
                y_true, score, whose, RESAMPLES if unit == "patient" else RESAMPLES // 4
            )
            lower, upper = resampling.percentile_interval(samples[:, 0])
            held[unit] += lower <= truth <= upper
    shares = {unit: count / SETS for unit, count in held.items()}
    print(f"held the truth in {SETS:,} sets:", shares)
    # Fewer sets leave more to chance: 2.6 standard errors of a share of 0.95.
    slack = 0 if ALL else 2.6 * np.sqrt(0.95 * 0.05 / SETS)
    assert 0.93 - slack <= shares["patient"] <= 0.97 + slack
    assert shares["image"] < 0.91


def test_the_interval_is_that_of_scipys_bootstrap():
    y_true, score, patients = _simulate(np.random.default_rng(2))
    images = [np.flatnonzero(patients == patient) for patient in range(PATIENTS)]

    def statistic(drawn):
        some = np.concatenate([images[patient] for patient in drawn])
        return roc_auc_score(y_true[some, 0], score[some, 0])

    expected = bootstrap(
        (np.arange(PATIENTS),), statistic, n_resamples=2000, vectorized=False, method="percentile",
        rng=np.random.default_rng(3),
    ).confidence_interval  # fmt: skip
    samples, _ = resampling.bootstrap_auroc(y_true, score, patients)
    assert resampling.percentile_interval(samples[:, 0]) == pytest.approx(expected, abs=0.006)


def _leaky(predictions):
    """Predictions that are right on images of patients below 20 and chance on others."""
    y_true, y_prob, patients = predictions
    chance = np.random.default_rng(4).random(y_prob.shape)
    seen = patients < 20
    return y_true, np.where(seen[:, None], y_prob, chance), patients, seen


def test_the_leak_is_the_difference_of_scikit_learns_means_over_findings_that_both_can_judge(predictions):
    y_true, y_prob, patients, seen = _leaky(predictions)
    table = evaluation.leakage_table(y_true, y_prob, patients, seen)
    both = [i for i in range(14) if min(y_true[seen, i].sum(), y_true[~seen, i].sum()) >= 10]
    assert 0 < len(both) < 14 and (table.findings == len(both)).all()
    means = [np.mean([roc_auc_score(y_true[some, i], y_prob[some, i]) for i in both]) for some in (seen, ~seen)]
    assert table.auroc.tolist() == pytest.approx([*means, means[0] - means[1]], abs=1e-12)
    assert (table.lower < table.auroc).all() and (table.auroc < table.upper).all()
    assert table.images.tolist() == [seen.sum(), (~seen).sum(), 400]
    # Of independent groups the variances of the means add up.
    widths = (table.upper - table.lower).to_numpy()
    assert widths[2] == pytest.approx(np.hypot(*widths[:2]), rel=0.1)
    assert table.lower["difference"] > 0.1


def test_a_draw_without_a_rare_finding_does_not_move_the_leak():
    # On seen patients nothing is ever wrong, so the difference is 1 less what unseen ones have, and so is its interval.
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 10)
    y_true = np.zeros((600, 14))
    y_true[:, 0] = rng.random(600) < 0.4
    y_true[np.isin(patients, [3, 40]), 1] = 1
    seen = patients < 30
    y_prob = np.where(seen[:, None], y_true, np.clip(0.2 * y_true + 0.8 * rng.random((600, 14)), 0, 1))
    y_prob[:, 1] = y_true[:, 1]
    table = evaluation.leakage_table(y_true, y_prob, patients, seen)
    assert table.findings["difference"] == 2 and table.auroc["seen"] == 1
    unseen = table.loc["unseen"]
    assert table.loc["difference", ["lower", "upper"]].tolist() == pytest.approx(
        [1 - unseen.upper, 1 - unseen.lower], abs=0.004
    )


def test_the_leak_needs_a_patient_for_each_image(predictions):
    y_true, y_prob, patients, seen = _leaky(predictions)
    with pytest.raises(ValueError, match=r"Patients have the shape \(400,\), seen \(399,\): expected \(400,\) of both"):
        evaluation.leakage_table(y_true, y_prob, patients, seen[1:])


def test_one_sentence_says_what_the_leak_means(predictions):
    y_true, y_prob, patients, seen = _leaky(predictions)
    told = evaluation.describe_leakage(evaluation.leakage_table(y_true, y_prob, patients, seen))
    assert f"{seen.sum()} images of seen patients, {(~seen).sum()} of unseen ones" in told
    assert told.endswith("Expect the lower figure for new patients.") and "recognizes them, or they" in told
    told = evaluation.describe_leakage(evaluation.leakage_table(y_true, predictions[1], patients, seen))
    assert told.endswith("can't tell whether the model profits from having seen the patients.")
    told = evaluation.describe_leakage(evaluation.leakage_table(y_true, y_prob, patients, ~seen))
    assert "Unseen patients fare better here" in told
    told = evaluation.describe_leakage(evaluation.leakage_table(y_true, y_prob, patients, seen & False))
    assert told.startswith("No test image shows a patient of training or validation, by check of all 400")
    few = np.arange(400) < 5
    assert "no finding is on 10 images of both" in evaluation.describe_leakage(
        evaluation.leakage_table(y_true, y_prob, patients, ~few)
    )
