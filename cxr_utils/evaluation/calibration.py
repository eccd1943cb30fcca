"""Whether a predicted probability is one: of the images given 30 %, do 30 % show the finding?"""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from cxr_utils import config
from cxr_utils.evaluation import metrics

BINS = 10
_EDGE = 1e-6  # probabilities of 0 and 1 have no logit


def fit_platt(y_true, y_prob):
    """Fits each finding's scaling of predictions, a logistic regression on their logits (Platt 1999), by scikit-learn.

    To be fitted on validation images, never on test images. As in Platt's paper the labels are moved a little off 0 and 1, by as much as one
    more image of each kind would: a finding that the validation images separate without a fault would else be given 0 % or 100 % ever after.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].

    Returns:
        Frame indexed by label with `slope` and `intercept`. Both are NaN for a finding with fewer than
        `metrics.MIN_CASES` images with or without it, and for one whose predictions do not rise with it.
    """
    metrics.check_arrays(y_true, y_prob)
    scaling = pd.DataFrame(np.nan, pd.Index(config.LABELS, name="label"), ["slope", "intercept"])
    for finding in np.flatnonzero(metrics.enough_cases(y_true)):
        true, logit = y_true[:, finding], _logit(y_prob[:, [finding]])
        target = np.where(true == 1, (true.sum() + 1) / (true.sum() + 2), 1 / (len(true) - true.sum() + 2))
        # An image stands once for each answer, with its share of it. Without a penalty: two numbers are to fit, to many images.
        answers, weights = np.repeat([1, 0], len(true)), np.concatenate([target, 1 - target])
        fit = LogisticRegression(C=np.inf).fit(np.tile(logit, (2, 1)), answers, sample_weight=weights)
        if fit.coef_[0, 0] > 0:
            scaling.iloc[finding] = fit.coef_[0, 0], fit.intercept_[0]
    return scaling


def apply_platt(y_prob, scaling):
    """Scales predictions; those of a finding without scaling stay as they are.

    Args:
        y_prob: `(n, 14)` in [0, 1].
        scaling: of `fit_platt`.

    Returns:
        `(n, 14)` float64 in [0, 1].
    """
    slope, intercept = scaling.slope.to_numpy(), scaling.intercept.to_numpy()
    return np.where(np.isnan(slope), y_prob, 1 / (1 + np.exp(-slope * _logit(y_prob) - intercept)))


def reliability(y_true, y_prob):
    """Sets predicted beside observed shares, in ten bins of equally many images.

    Bins of equal width would leave nearly all images in the first: most findings are rare.

    Args:
        y_true: `(n,)` 0 or 1.
        y_prob: `(n,)` in [0, 1].

    Returns:
        Frame with `predicted` (mean), `observed` (share) and `images` of each bin that is not empty.
    """
    edges = np.quantile(y_prob, np.linspace(0, 1, BINS + 1)[1:-1])
    bins = pd.DataFrame({"predicted": y_prob, "observed": y_true}).groupby(np.searchsorted(edges, y_prob))
    return bins.mean().assign(images=bins.size())


def calibration_error(y_true, y_prob):
    """Returns the expected calibration error (Naeini 2015): |predicted − observed| averaged over the images of `reliability`'s bins."""
    bins = reliability(y_true, y_prob)
    return np.average((bins.predicted - bins.observed).abs(), weights=bins.images)


def calibration_table(y_true, y_prob):
    """Tabulates how far predictions are probabilities.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].

    Returns:
        Frame indexed by label, and `"mean"` of them: `prevalence`, `predicted` (mean), `brier` (mean squared error),
        `brier_prevalence` (of always predicting the prevalence), `ece` (expected calibration error). NaN for a finding with fewer
        than `metrics.MIN_CASES` images with or without it, which is not in the mean.
    """
    metrics.check_arrays(y_true, y_prob)
    columns = ["prevalence", "predicted", "brier", "brier_prevalence", "ece"]
    table = pd.DataFrame(np.nan, pd.Index(config.LABELS, name="label"), columns)
    for finding in np.flatnonzero(metrics.enough_cases(y_true)):
        true, prob = y_true[:, finding], np.asarray(y_prob[:, finding], np.float64)
        share = true.mean(dtype=np.float64)
        brier = brier_score_loss(true, prob)
        table.iloc[finding] = share, prob.mean(), brier, share * (1 - share), calibration_error(true, prob)
    table.loc["mean"] = table.mean()
    return table


def _logit(prob):
    prob = np.clip(np.asarray(prob, np.float64), _EDGE, 1 - _EDGE)
    return np.log(prob / (1 - prob))
