"""Calibration: of the images with a predicted probability of 30 %, do 30 % show the finding?"""

from functools import partial

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.metrics import brier_score_loss

from cxr_utils import config
from cxr_utils.evaluation import intervals, logistic, metrics
from cxr_utils.evaluation.resampling import by_patient

BINS, LEAST = 10, 5  # highest number of bins, and lowest number of images with the finding expected in one
DRAWS = 100  # of the labels that a perfectly calibrated model would have
_ESTIMATES = ("slope", "intercept", "oe")
_COLUMNS = [
    *(name + end for name in _ESTIMATES for end in ("", "_lower", "_upper")),
    *("brier_skill", "ece", "ece_if_calibrated", "brier", "brier_prevalence", "prevalence", "predicted"),
]
_MARGIN = 1e-6  # The logit of 0 and of 1 is infinite: probabilities are kept this far from both.


def fit_platt(y_true, y_prob, patients=None):
    """Fits the Platt calibration of each finding: a logistic regression on the logit of its predictions (Platt 1999).

    Fit it on validation images, never on test images. As in Platt's paper, the targets are `(p + 1) / (p + 2)` for the
    p positive images and `1 / (q + 2)` for the q negative ones: with 1 and 0, a finding that is separated perfectly on
    the validation images would only get probabilities of 0 % and 100 %.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1], uncalibrated probabilities.
        patients: `(n,)`, patient ID of each image, or `None` if each image is of another patient.

    Returns:
        DataFrame indexed by label with `slope` and `intercept`. Both are NaN for a finding without predictions or with
        fewer than `metrics.MIN_CASES` patients with or without it, and for one whose fitted slope is not positive.

    Raises:
        ValueError: The arrays are not valid (`metrics.check_arrays`), or an image has no patient ID.
    """
    patients = np.arange(len(y_true)) if patients is None else patients
    return metrics.by_finding(partial(_platt, patients=patients), ["slope", "intercept"], y_true, y_prob, patients)


def apply_platt(y_prob, platt):
    """Calibrates probabilities; those of a finding without a fitted calibration are returned unchanged.

    Args:
        y_prob: `(n, 14)` in [0, 1], uncalibrated probabilities.
        platt: DataFrame with `slope` and `intercept`, returned by `fit_platt` or `choose_thresholds`.

    Returns:
        `(n, 14)` float64 in [0, 1], calibrated probabilities.
    """
    slope, intercept = platt.slope.to_numpy(), platt.intercept.to_numpy()
    return np.where(np.isnan(slope), y_prob, expit(slope * _logit(y_prob) + intercept))


def reliability(y_true, y_prob):
    """Computes mean predicted risk and observed prevalence in bins of predictions, for a reliability curve.

    The bins have equal sums of predictions, which is the expected number of images with the finding: at most ten bins,
    with at least `LEAST` such images expected in each. Most findings are rare: bins with equal numbers of images would
    nearly all be at 0. (Bins chosen by the labels would be biased.)

    Args:
        y_true: `(n,)` 0 or 1.
        y_prob: `(n,)` in [0, 1].

    Returns:
        DataFrame with one row per non-empty bin: `predicted` (mean predicted risk), `observed` (observed prevalence)
        and `images`. Both the predicted risk and its bin rise from row to row; tied predictions share a bin.
    """
    ordered, expected = np.sort(y_prob), np.cumsum(np.sort(y_prob), dtype=np.float64)
    count = int(np.clip(expected[-1] // LEAST, 1, BINS))
    edges = ordered[np.searchsorted(expected, expected[-1] * np.arange(1, count) / count)]
    bins = pd.DataFrame({"predicted": y_prob, "observed": y_true}).groupby(np.searchsorted(edges, y_prob))
    return bins.mean().assign(images=bins.size())


def calibration_error(y_true, y_prob):
    """Computes the expected calibration error (Naeini et al. 2015).

    It is |predicted − observed| of ten bins of predictions with equal numbers of images, averaged over the images.

    Args:
        y_true: `(n,)` 0 or 1.
        y_prob: `(n,)` in [0, 1].

    Returns:
        float in [0, 1].
    """
    edges = np.quantile(y_prob, np.arange(1, BINS) / BINS)
    return np.abs(np.bincount(np.searchsorted(edges, y_prob), y_prob - y_true)).sum() / len(y_true)


def error_if_calibrated(y_prob):
    """Computes the mean `calibration_error` of a perfectly calibrated model with these predictions, by simulation.

    It is above 0, because the share of a few images with a finding differs from its probability by chance.

    Args:
        y_prob: `(n,)` in [0, 1].

    Returns:
        float in [0, 1], over `DRAWS` simulated sets of labels with the seed of the project.
    """
    rng = np.random.default_rng(config.SEED)
    return np.mean([calibration_error(rng.random(len(y_prob)) < y_prob, y_prob) for _ in range(DRAWS)])


def calibration_table(y_true, y_prob, patients=None):
    """Computes measures of calibration for each finding.

    Slope and intercept are those of a logistic regression of the labels on the logit of the predictions (Van Calster et
    al. 2019), the intercept with a slope of 1 (calibration-in-the-large): 1 and 0 are perfect. The standard errors of
    their 95 % intervals have patients as clusters.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].
        patients: `(n,)`, patient ID of each image, or `None` if each image is of another patient.

    Returns:
        DataFrame indexed by label, with a last row `"mean"` (macro-average, without intervals): `slope` (below 1:
        predictions too extreme), `intercept` (below 0: predictions too high) and `oe` (observed / expected number of
        images with the finding), each with its 95 % interval, such as `oe_lower` and `oe_upper`; `brier_skill` (share
        by which the Brier score is lower than that of always predicting the prevalence), `ece` (expected calibration
        error), `ece_if_calibrated` (see `error_if_calibrated`), `brier` (Brier score, the mean squared error),
        `brier_prevalence` (that of always predicting the prevalence), `prevalence` (observed) and `predicted` (mean
        predicted risk). A finding without predictions or with fewer than `metrics.MIN_CASES` patients with or without
        it is NaN and not part of the mean. The slope is NaN if a threshold separates the images perfectly.

    Raises:
        ValueError: The arrays are not valid (`metrics.check_arrays`), or an image has no patient ID.
    """
    patients = np.arange(len(y_true)) if patients is None else patients
    table = metrics.by_finding(partial(_calibration, patients=patients), _COLUMNS, y_true, y_prob, patients)
    table.loc["mean"] = table.drop(columns=table.filter(regex="_(lower|upper)$")).mean()
    return table


def describe_calibration(uncalibrated, calibrated):
    """States slope, observed/expected, calibration error and Brier skill before and after calibration.

    Args:
        uncalibrated: DataFrame returned by `calibration_table`, of uncalibrated probabilities.
        calibrated: DataFrame returned by `calibration_table`, of calibrated probabilities of the same images.

    Returns:
        str.
    """
    before, after = uncalibrated.loc["mean"], calibrated.loc["mean"]
    if np.isnan(before.ece):
        return "No finding has enough patients to measure calibration."
    slope, oe = (
        " and ".join(
            str(((t[f"{name}_lower"] <= 1) & (t[f"{name}_upper"] >= 1)).sum()) for t in (uncalibrated, calibrated)
        )
        for name in ("slope", "oe")
    )
    skill = f"{before.brier_skill:.3f} and {after.brier_skill:.3f}".replace("-", "−")
    return (
        f"Uncalibrated and calibrated, {uncalibrated.ece.count() - 1} findings: the 95 % CI includes 1 for {slope} "
        f"slopes, {oe} observed/expected ratios. Mean ECE {before.ece:.3f} and {after.ece:.3f} (if perfectly "
        f"calibrated {before.ece_if_calibrated:.3f} and {after.ece_if_calibrated:.3f}). Mean Brier skill {skill}."
    )


def prevalence_table(y_true, y_prob, column):
    """Computes observed prevalence and mean predicted risk of each finding, in % of images.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].
        column: str, name of the column of predictions, such as `"pdx_base"`.

    Returns:
        DataFrame with `label`, `dx` (observed prevalence) and `column` (mean predicted risk, NaN for a finding without
        predictions).

    Raises:
        ValueError: The arrays are not valid (`metrics.check_arrays`).
    """
    metrics.check_arrays(y_true, y_prob)
    return pd.DataFrame({"label": config.LABELS, "dx": y_true.mean(axis=0) * 100, column: y_prob.mean(axis=0) * 100})


def describe_prevalence(means, column):
    """Names the finding with the largest difference between mean predicted risk and observed prevalence.

    Args:
        means: DataFrame returned by `prevalence_table`.
        column: str, name of its column of predictions.

    Returns:
        str.
    """
    row = means.loc[(means[column] - means.dx).abs().idxmax()]
    return (
        f"Largest difference between mean predicted risk and observed prevalence: {row.label.replace('_', ' ')}, "
        f"{row[column]:.1f} % predicted, {row.dx:.1f} % observed."
    )


def _platt(true, prob, patients):
    """Returns slope and intercept of one finding."""
    design, positives = _design(prob), true.sum()
    if np.ptp(design[:, 0]) == 0:
        return np.nan
    target = np.where(true == 1, (positives + 1) / (positives + 2), 1 / (len(true) - positives + 2))
    slope, intercept = logistic.fit(design, target, patients)[0]
    return (slope, intercept) if slope > 0 else np.nan


def _calibration(true, prob, patients):
    """Returns the measures of one finding, in the order of `_COLUMNS`."""
    prob, prevalence = np.asarray(prob, np.float64), true.mean(dtype=np.float64)
    brier, brier_prevalence = brier_score_loss(true, prob), prevalence * (1 - prevalence)
    skill = 1 - brier / brier_prevalence, calibration_error(true, prob), error_if_calibrated(prob)
    return [*estimates(true, prob, patients), *skill, brier, brier_prevalence, prevalence, prob.mean()]


def estimates(true, prob, patients):
    """Estimates slope, intercept and observed/expected of one finding, each followed by its limits."""
    design, (observed, expected) = _design(prob), by_patient(patients, true, prob)
    margin = intervals.quantile(intervals.effective_patients(observed)) * np.array([0, -1, 1])
    slope, intercept = (np.nan, np.nan), logistic.fit(design[:, 1:], true, patients, offset=design[:, 0])
    # If a threshold separates the images, there is no finite slope.
    if prob[true == 1].min() < prob[true == 0].max() and prob[true == 1].max() > prob[true == 0].min():
        slope = [values[0] for values in logistic.fit(design, true, patients)]
    spread = np.sqrt((intervals.patient_deviations(observed, expected) ** 2).sum()) * expected.sum() / observed.sum()
    ratio = observed.sum() / expected.sum() * np.exp(margin * spread)
    return [*(slope[0] + margin * slope[1]), *(intercept[0] + margin * intercept[1]), *ratio]


def _design(prob):
    """Returns the regressors of a calibration: the logit of the predictions, and ones."""
    return np.column_stack([_logit(prob), np.ones(len(prob))])


def _logit(prob):
    prob = np.clip(np.asarray(prob, np.float64), _MARGIN, 1 - _MARGIN)
    return np.log(prob / (1 - prob))
