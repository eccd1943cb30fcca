"""Calibration: of the images with a predicted probability of 30 %, do 30 % show the finding?"""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from cxr_utils import config
from cxr_utils.evaluation import metrics

BINS = 10
_MARGIN = 1e-6  # The logit of 0 and of 1 is infinite: probabilities are kept this far from both.


def fit_platt(y_true, y_prob):
    """Fits the Platt calibration of each finding: a logistic regression on the logit of its predictions (Platt 1999).

    Fit it on validation images, never on test images. As in Platt's paper, the targets are `(p + 1) / (p + 2)` for the
    p positive images and `1 / (q + 2)` for the q negative ones. With targets of 1 and 0, a finding that is separated
    perfectly on the validation images would only get probabilities of 0 % and 100 %.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1], uncalibrated probabilities.

    Returns:
        DataFrame indexed by label with `slope` and `intercept`. Both are NaN for a finding without predictions or with
        fewer than `metrics.MIN_CASES` positive or negative images, and for one whose fitted slope is not positive.

    Raises:
        ValueError: The arrays are not valid (`metrics.check_arrays`).
    """
    return metrics.by_finding(_platt, ["slope", "intercept"], y_true, y_prob)


def apply_platt(y_prob, platt):
    """Calibrates probabilities; those of a finding without a fitted calibration are returned unchanged.

    Args:
        y_prob: `(n, 14)` in [0, 1], uncalibrated probabilities.
        platt: DataFrame with `slope` and `intercept`, returned by `fit_platt` or `choose_thresholds`.

    Returns:
        `(n, 14)` float64 in [0, 1], calibrated probabilities.
    """
    slope, intercept = platt.slope.to_numpy(), platt.intercept.to_numpy()
    return np.where(np.isnan(slope), y_prob, 1 / (1 + np.exp(-slope * _logit(y_prob) - intercept)))


def reliability(y_true, y_prob):
    """Computes mean predicted risk and observed prevalence in ten bins with equal numbers of images.

    Bins of equal width would put nearly all images into the first bin, because most findings are rare.

    Args:
        y_true: `(n,)` 0 or 1.
        y_prob: `(n,)` in [0, 1].

    Returns:
        DataFrame with one row per non-empty bin: `predicted` (mean predicted risk), `observed` (observed prevalence)
        and `images`. Tied predictions share a bin, so the numbers of images can differ.
    """
    edges = np.quantile(y_prob, np.linspace(0, 1, BINS + 1)[1:-1])
    bins = pd.DataFrame({"predicted": y_prob, "observed": y_true}).groupby(np.searchsorted(edges, y_prob))
    return bins.mean().assign(images=bins.size())


def calibration_error(y_true, y_prob):
    """Computes the expected calibration error (Naeini et al. 2015).

    It is |predicted − observed| of the bins of `reliability`, averaged with their numbers of images as weights.

    Args:
        y_true: `(n,)` 0 or 1.
        y_prob: `(n,)` in [0, 1].

    Returns:
        float in [0, 1].
    """
    bins = reliability(y_true, y_prob)
    return np.average((bins.predicted - bins.observed).abs(), weights=bins.images)


def calibration_table(y_true, y_prob):
    """Computes measures of calibration for each finding.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].

    Returns:
        DataFrame indexed by label, with a last row `"mean"` (macro-average): `prevalence` (observed), `predicted` (mean
        predicted risk), `brier` (Brier score, the mean squared error), `brier_prevalence` (Brier score of always
        predicting the prevalence) and `ece` (expected calibration error). A finding without predictions or with fewer
        than `metrics.MIN_CASES` positive or negative images is NaN and is not part of the mean.

    Raises:
        ValueError: The arrays are not valid (`metrics.check_arrays`).
    """
    table = metrics.by_finding(
        _calibration, ["prevalence", "predicted", "brier", "brier_prevalence", "ece"], y_true, y_prob
    )
    table.loc["mean"] = table.mean()
    return table


def describe_calibration(uncalibrated, calibrated):
    """States calibration error and Brier score before and after calibration, as means over the findings.

    Args:
        uncalibrated: DataFrame returned by `calibration_table`, of uncalibrated probabilities.
        calibrated: DataFrame returned by `calibration_table`, of calibrated probabilities of the same images.

    Returns:
        str.
    """
    before, after = uncalibrated.loc["mean"], calibrated.loc["mean"]
    if np.isnan(before.ece):
        return "No finding has enough images to measure calibration."
    findings = uncalibrated.ece.count() - 1
    return (
        f"Mean expected calibration error: {before.ece:.3f} uncalibrated, {after.ece:.3f} calibrated "
        f"({findings} findings). Mean Brier score: {before.brier:.3f} uncalibrated, {after.brier:.3f} calibrated, "
        f"{after.brier_prevalence:.3f} if the prevalence is always predicted."
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


def _platt(true, prob):
    """Returns slope and intercept of one finding."""
    logit, positives = _logit(prob)[:, None], true.sum()
    target = np.where(true == 1, (positives + 1) / (positives + 2), 1 / (len(true) - positives + 2))
    # scikit-learn takes no fractional targets: each image enters once per class, weighted by its target.
    classes, weights = np.repeat([1, 0], len(true)), np.concatenate([target, 1 - target])
    # No penalty (C=inf): only two parameters are fitted, to many images.
    fit = LogisticRegression(C=np.inf).fit(np.tile(logit, (2, 1)), classes, sample_weight=weights)
    slope = fit.coef_[0, 0]
    return (slope, fit.intercept_[0]) if slope > 0 else np.nan


def _calibration(true, prob):
    """Returns the measures of one finding, in the order of `calibration_table`."""
    prob, prevalence = np.asarray(prob, np.float64), true.mean(dtype=np.float64)
    brier, brier_prevalence = brier_score_loss(true, prob), prevalence * (1 - prevalence)
    return prevalence, prob.mean(), brier, brier_prevalence, calibration_error(true, prob)


def _logit(prob):
    prob = np.clip(np.asarray(prob, np.float64), _MARGIN, 1 - _MARGIN)
    return np.log(prob / (1 - prob))
