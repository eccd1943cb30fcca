"""Coverage: intervals by patient contain the true value in 95 % of simulations, intervals by image do not."""

import os

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import bootstrap, norm
from sklearn.metrics import roc_auc_score

from benchmarks import coverage
from cxr_utils import evaluation
from cxr_utils.evaluation import intervals, resampling
from tests.helpers import from_csv, numbers, seeded

ALL = bool(os.environ.get("CXR_TEST_ALL"))
SETS, RESAMPLES = (2000, 2000) if ALL else (200, 500)
# With 100 patients, intervals are slightly too narrow: they contained the true value in 92.9 % of 1,000 simulated sets.
PATIENTS, CUTOFF = 200, 0.5


def _simulate(rng):
    """Simulates images of patients; a patient effect is half of the variance of both the label and the score."""
    images = rng.integers(1, 21, PATIENTS)
    patients = np.repeat(np.arange(PATIENTS), images)
    effect = np.sqrt(0.5) * rng.normal(size=PATIENTS)[patients]
    noise = np.sqrt(0.5) * rng.normal(size=(2, len(patients)))
    return (effect + noise[0] > CUTOFF).astype(float)[:, None], (effect + noise[1])[:, None], patients


def _true_auroc():
    """True AUROC for pairs of images of different patients, by numerical integration over both patient effects."""
    u = np.linspace(-8, 8, 2001)
    positive = norm.pdf(u) * norm.sf(CUTOFF, loc=np.sqrt(0.5) * u, scale=np.sqrt(0.5))
    negative = norm.pdf(u) - positive
    higher = norm.cdf(np.sqrt(0.5) * (u[:, None] - u))
    return positive @ higher @ negative / (positive.sum() * negative.sum())


def test_the_true_auroc_equals_that_of_very_many_patients():
    rng = seeded(0)
    effect = np.sqrt(0.5) * rng.normal(size=400_000)
    noise = np.sqrt(0.5) * rng.normal(size=(2, 400_000))
    assert roc_auc_score(effect + noise[0] > CUTOFF, effect + noise[1]) == pytest.approx(_true_auroc(), abs=0.003)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_intervals_by_patient_have_95_percent_coverage_and_intervals_by_image_do_not():
    rng, truth = seeded(1), _true_auroc()
    covered = {"patient": 0, "image": 0}
    for _ in range(SETS):
        y_true, score, patients = _simulate(rng)
        for unit, clusters in (("patient", patients), ("image", np.arange(len(patients)))):
            samples, _ = resampling.bootstrap_auroc(
                y_true, score, clusters, RESAMPLES if unit == "patient" else RESAMPLES // 4
            )
            lower, upper = resampling.percentile_interval(samples[:, 0])
            covered[unit] += lower <= truth <= upper
    coverage = {unit: count / SETS for unit, count in covered.items()}
    print(f"coverage in {SETS:,} simulated sets:", coverage)
    # With few sets, coverage varies more: allow 2.6 standard errors of a proportion of 0.95.
    tolerance = 0 if ALL else 2.6 * np.sqrt(0.95 * 0.05 / SETS)
    assert 0.93 - tolerance <= coverage["patient"] <= 0.97 + tolerance
    assert coverage["image"] < 0.91


@pytest.mark.slow
def test_the_interval_equals_scipys_bootstrap():
    y_true, score, patients = _simulate(seeded(2))
    images = [np.flatnonzero(patients == patient) for patient in range(PATIENTS)]

    def statistic(resampled):
        selected = np.concatenate([images[patient] for patient in resampled])
        return roc_auc_score(y_true[selected, 0], score[selected, 0])

    expected = bootstrap(
        (np.arange(PATIENTS),), statistic, n_resamples=2000, vectorized=False, method="percentile",
        rng=seeded(3),
    ).confidence_interval  # fmt: skip
    samples, _ = resampling.bootstrap_auroc(y_true, score, patients)
    assert resampling.percentile_interval(samples[:, 0]) == pytest.approx(expected, abs=0.006)


@pytest.mark.slow
def test_the_interval_of_few_patients_has_its_coverage_and_percentiles_do_not():
    # Ten patients with the finding and a true AUROC of 0.95: of the strata that `benchmarks.coverage` simulates, one of
    # those in which the percentiles of a bootstrap contain it least often.
    found = [coverage.auroc_set(10, 300, 0.95, number) for number in range(SETS)]
    means = {name: np.mean([each[name] for each in found if name in each]) for name in found[0]}
    print(f"coverage in {SETS:,} simulated sets:", means)
    tolerance = 2.6 * np.sqrt(0.95 * 0.05 / SETS)
    assert means["evaluation"] >= 0.93 - tolerance and means["percentiles"] < 0.9


def test_the_interval_of_auroc_equals_values_by_hand():
    # Two patients with one image with the finding (scores 3, 1), two with one image without it (2, 0): AUROC 3/4. Added
    # are half a patient with and half a one without the finding; half of their comparisons are correct. Shares of
    # correct comparisons: 1, 1/2 and 1/2 of weight 1/2, so (1 + 1/2 + 1/4) / 2.5 = 0.7; the same for those without it.
    errors = np.array([1 - 0.7, 0.5 - 0.7, (0.5 - 0.7) / 2]) / 2.5 * np.sqrt(3 / 2)
    # The added two are one patient.
    variance = 2 * (errors[:2] ** 2).sum() + (2 * errors[2]) ** 2
    area = 0.5 + (0.75 - 0.5) / 1.25**2
    # Two effective patients on each side: Student's t with one degree of freedom.
    half = 12.706205 * np.sqrt(variance) / (area * (1 - area))
    found = intervals.auroc_interval(np.array([1, 1, 0, 0]), np.array([3, 1, 2, 0]), np.arange(4))
    assert found == pytest.approx(expit(np.log(area / (1 - area)) + half * np.array([-1, 1])), abs=1e-6)


def test_a_perfect_auroc_has_an_interval_and_copies_of_images_do_not_change_it():
    for patients, lowest in ((10, 0.6), (100, 0.94)):
        true, score = np.repeat([1, 0], patients), np.repeat([0.9, 0.1], patients)
        lower, upper = intervals.auroc_interval(true, score, np.arange(2 * patients))
        assert lowest < lower < 1 == upper
        copied = intervals.auroc_interval(*(np.repeat(values, 3) for values in (true, score, np.arange(2 * patients))))
        assert copied == pytest.approx((lower, upper))
        worst = intervals.auroc_interval(1 - true, score, np.arange(2 * patients))
        assert worst == pytest.approx((0, 1 - lower))


def _leaky(predictions):
    """Predictions that are informative for patients 0 to 19, who count as `seen`, and random for all others."""
    y_true, y_prob, patients = predictions
    chance = seeded(4).random(y_prob.shape)
    seen = patients < 20
    return y_true, np.where(seen[:, None], y_prob, chance), patients, seen


def test_leakage_is_the_difference_of_scikit_learns_means_over_common_findings(predictions):
    y_true, y_prob, patients, seen = _leaky(predictions)
    table = evaluation.leakage_table(y_true, y_prob, patients, seen)
    common = [i for i in range(14) if min(y_true[seen, i].sum(), y_true[~seen, i].sum()) >= 10]
    assert 0 < len(common) < 14 and (table.findings == len(common)).all()
    groups = (seen, ~seen)
    means = [np.mean([roc_auc_score(y_true[group, i], y_prob[group, i]) for i in common]) for group in groups]
    assert table.auroc.tolist() == pytest.approx([*means, means[0] - means[1]], abs=1e-12)
    assert (table.lower < table.auroc).all() and (table.auroc < table.upper).all()
    assert table.images.tolist() == [seen.sum(), (~seen).sum(), 400]
    # The groups are independent, so the variances of their means add up.
    widths = (table.upper - table.lower).to_numpy()
    assert widths[2] == pytest.approx(np.hypot(*widths[:2]), rel=0.1)
    assert table.lower["difference"] > 0.1


def test_a_rare_finding_does_not_shift_the_leakage_interval():
    # AUROC is always 1 for patients in the development set, so difference and interval are 1 minus those of the others.
    rng = seeded(0)
    patients = np.repeat(np.arange(60), 10)
    y_true = np.zeros((600, 14))
    y_true[:, 0] = rng.random(600) < 0.4
    y_true[np.isin(patients % 30, range(10)), 1] = 1  # ten patients in each group
    seen = patients < 30
    y_prob = np.where(seen[:, None], y_true, np.clip(0.2 * y_true + 0.8 * rng.random((600, 14)), 0, 1))
    y_prob[:, 1] = y_true[:, 1]
    table = evaluation.leakage_table(y_true, y_prob, patients, seen)
    assert table.findings["difference"] == 2 and table.auroc["seen"] == 1
    unseen = table.loc["unseen"]
    assert table.loc["difference", ["lower", "upper"]].tolist() == pytest.approx(
        [1 - unseen.upper, 1 - unseen.lower], abs=0.004
    )


def test_leakage_needs_one_value_per_image(predictions):
    y_true, y_prob, patients, seen = _leaky(predictions)
    with pytest.raises(ValueError, match=r"shape \(400,\) and seen has shape \(399,\); expected \(400,\) for both"):
        evaluation.leakage_table(y_true, y_prob, patients, seen[1:])


@pytest.mark.slow
def test_the_sentence_states_both_results_and_their_difference_with_its_interval(predictions):
    y_true, y_prob, patients, seen = _leaky(predictions)
    table = evaluation.leakage_table(y_true, y_prob, patients, seen)
    reverse = evaluation.leakage_table(y_true, y_prob, patients, ~seen)
    chance = evaluation.leakage_table(y_true, predictions[1], patients, seen)
    assert table.lower["difference"] > 0 > reverse.upper["difference"]
    assert chance.lower["difference"] < 0 < chance.upper["difference"]
    columns = ["auroc", "lower", "upper", "images"]
    for result in (table, reverse, chance):
        sentence = evaluation.describe_leakage(result)
        expected = result.loc[["seen", "unseen", "difference"], columns].to_numpy().ravel()[:-1]
        found = numbers(sentence.replace("95 % CI", ""))
        assert found == pytest.approx([result.findings["seen"], *expected], abs=5.1e-4)
        assert (result is chance) == ("no statistically significant difference" in sentence)
        assert evaluation.describe_leakage(from_csv(result)) == sentence and len(sentence) <= 240


def test_the_sentence_on_leakage_without_overlap_or_with_too_few_images_has_no_result(predictions):
    y_true, y_prob, patients, seen = _leaky(predictions)
    sentence = evaluation.describe_leakage(evaluation.leakage_table(y_true, y_prob, patients, seen & False))
    assert numbers(sentence) == [400]
    few = np.arange(400) < 5
    table = evaluation.leakage_table(y_true, y_prob, patients, ~few)
    assert not table.findings.any() and table.auroc.isna().all()
    assert numbers(evaluation.describe_leakage(table)) == [395, 5]
