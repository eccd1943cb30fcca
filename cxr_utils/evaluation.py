"""Predictions → ROC, intervals, thresholds. `y_true` is (n, 14) 0/1, `y_prob` (n, 14) in [0, 1], columns as `LABELS`."""

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.metrics import roc_auc_score, roc_curve

from cxr_utils import config

# With fewer positive or negative films than this an AUROC says nothing: it is reported as n/a.
MIN_CASES = 10
RESAMPLES = 2000
_DRAWS = 200  # resamples at once, for the sake of memory


def auroc(y_true, y_prob, min_cases=1):
    """Computes the exact area under the ROC curve of each finding (scikit-learn's).

    Args:
        y_true: `(n, 14)`.
        y_prob: `(n, 14)`.
        min_cases: int, a finding with fewer positives or negatives is NaN.

    Returns:
        `(14,)` float64.

    Raises:
        ValueError: the shapes differ, or a prediction is no number in [0, 1].
    """
    _check(y_true, y_prob)
    return np.array(
        [
            roc_auc_score(true, prob) if min(true.sum(), (1 - true).sum()) >= min_cases else np.nan
            for true, prob in zip(y_true.T, y_prob.T)
        ]
    )


def bootstrap_auroc(y_true, y_prob, patients, resamples=RESAMPLES, seed=config.SEED):
    """Draws patients with replacement and computes the AUROC of each finding on the films of each draw.

    Films of one patient resemble each other: drawing films instead would give intervals that are too narrow.

    Args:
        y_true: `(n, 14)`.
        y_prob: `(n, 14)`.
        patients: `(n,)`, whose film it is.
        resamples: int.
        seed: int.

    Returns:
        `(resamples, 14)` float64; NaN where a draw held no positive or no negative film.
    """
    _check(y_true, y_prob)
    codes, names = pd.factorize(np.asarray(patients))
    rng = np.random.default_rng(seed)
    counts = [_count_by_patient(true, prob, codes, len(names)) for true, prob in zip(y_true.T, y_prob.T)]
    samples = np.empty((resamples, y_prob.shape[1]))
    for start in range(0, resamples, _DRAWS):
        some = slice(start, min(start + _DRAWS, resamples))
        # How often each patient is drawn, (patients, draws).
        drawn = np.stack(
            [
                np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
                for _ in range(some.stop - start)
            ],
            axis=1,
        ).astype(np.float64)
        for finding, (positive, negative) in enumerate(counts):
            found, missed = positive @ drawn, negative @ drawn
            below = np.cumsum(missed, axis=0)[:-1:2] + missed[1::2] / 2
            with np.errstate(invalid="ignore"):
                samples[some, finding] = (found * below).sum(axis=0) / (found.sum(axis=0) * missed.sum(axis=0))
    return samples


def _count_by_patient(true, prob, codes, patients):
    """Counts a finding's films by patient and by where their scores lie among those of the positive films.

    An AUROC is the share of pairs of a positive and a negative film in which the positive one has the higher score, ties counting
    half. For a draw of patients it follows from these counts alone, one for each film.

    Returns:
        Two sparse matrices: positive films by distinct score `(k, patients)`, and negative films
        `(2k + 1, patients)`, in row 2i those between the scores i - 1 and i, in row 2i + 1 those of just that score.
    """
    scores, which = np.unique(prob[true == 1], return_inverse=True)
    rest = prob[true == 0]
    place = np.searchsorted(scores, rest, "left") + np.searchsorted(scores, rest, "right")
    return tuple(
        sparse.csr_array((np.ones(len(rows)), (rows, codes[true == value])), shape=(count, patients))
        for value, rows, count in ((1, which, len(scores)), (0, place, 2 * len(scores) + 1))
    )


def auroc_table(y_true, y_prob, patients=None):
    """Tabulates AUROC and, with patients, its 95 % interval by patient bootstrap.

    Args:
        y_true: `(n, 14)`.
        y_prob: `(n, 14)`.
        patients: `(n,)`, whose film it is, or `None` for no intervals.

    Returns:
        Frame indexed by label with `auroc`, `lower`, `upper` (NaN without patients), `positives`, `negatives`. A finding
        with fewer than `MIN_CASES` of either is NaN. `attrs["mean"]` is a dict of `auroc`, `lower`, `upper` and `findings`,
        the number of findings that the mean is over.
    """
    values = auroc(y_true, y_prob, MIN_CASES)
    positives = y_true.sum(axis=0).astype(int)
    table = pd.DataFrame(
        {
            "auroc": values,
            "lower": np.nan,
            "upper": np.nan,
            "positives": positives,
            "negatives": len(y_true) - positives,
        },
        index=pd.Index(config.LABELS, name="label"),
    )
    known = np.flatnonzero(~np.isnan(values))
    mean = {
        "auroc": values[known].mean() if len(known) else np.nan,
        "lower": np.nan,
        "upper": np.nan,
        "findings": len(known),
    }
    if patients is not None and len(known):
        samples = bootstrap_auroc(y_true[:, known], y_prob[:, known], patients)
        table.iloc[known, 1:3] = np.nanpercentile(samples, [2.5, 97.5], axis=0).T
        mean["lower"], mean["upper"] = np.nanpercentile(np.nanmean(samples, axis=1), [2.5, 97.5])
    table.attrs["mean"] = mean
    return table


def describe_mean(table):
    """Says the mean AUROC of a table of `auroc_table` in words: `"0.811 (0.784–0.834), 14 findings"`, or that it is n/a."""
    mean = table.attrs["mean"]
    if not mean["findings"]:
        return f"n/a, no finding on {MIN_CASES} films"
    interval = "" if np.isnan(mean["lower"]) else f" ({mean['lower']:.3f}–{mean['upper']:.3f})"
    return f"{mean['auroc']:.3f}{interval}, {mean['findings']} findings"


def youden_thresholds(y_true, y_prob):
    """Finds each finding's threshold of highest sensitivity + specificity. To be chosen on validation, never on test.

    Args:
        y_true: `(n, 14)`.
        y_prob: `(n, 14)`.

    Returns:
        Series indexed by label; NaN for a finding with fewer than `MIN_CASES` films with or without it.
    """
    _check(y_true, y_prob)
    thresholds = {}
    for label, true, prob in zip(config.LABELS, y_true.T, y_prob.T):
        fpr, tpr, cuts = (
            roc_curve(true, prob) if min(true.sum(), (1 - true).sum()) >= MIN_CASES else ([0], [0], [np.nan])
        )
        thresholds[label] = cuts[np.argmax(np.subtract(tpr, fpr))]
    return pd.Series(thresholds, name="threshold")


def error_table(y_true, y_prob, thresholds):
    """Counts what a model gets right and wrong when it calls a finding from its threshold on.

    Args:
        y_true: `(n, 14)`.
        y_prob: `(n, 14)`.
        thresholds: Series indexed by label; NaN leaves a finding out.

    Returns:
        Frame indexed by label: `threshold`, `true_positives`, `false_positives`, `false_negatives`, `true_negatives`
        (films), `sensitivity` and `specificity` (NaN with fewer than `MIN_CASES` films with or without the finding).
    """
    _check(y_true, y_prob)
    true, called = y_true.astype(bool), y_prob >= thresholds[config.LABELS].to_numpy()
    table = pd.DataFrame(
        {
            "threshold": thresholds[config.LABELS],
            "true_positives": (true & called).sum(axis=0),
            "false_positives": (~true & called).sum(axis=0),
            "false_negatives": (true & ~called).sum(axis=0),
            "true_negatives": (~true & ~called).sum(axis=0),
        }
    )
    table["sensitivity"] = table.true_positives / (table.true_positives + table.false_negatives)
    table["specificity"] = table.true_negatives / (table.true_negatives + table.false_positives)
    table.loc[y_true.sum(axis=0) < MIN_CASES, "sensitivity"] = np.nan
    table.loc[(1 - y_true).sum(axis=0) < MIN_CASES, "specificity"] = np.nan
    return table.dropna(subset="threshold")


def mean_table(y_true, y_prob, column):
    """Sets the mean diagnosis beside the mean prediction, in % of the films.

    Args:
        y_true: `(n, 14)`.
        y_prob: `(n, 14)`.
        column: name of the predictions' column, such as `"pdx_base"`.

    Returns:
        Frame with `label`, `dx` and `column`.
    """
    _check(y_true, y_prob)
    return pd.DataFrame({"label": config.LABELS, "dx": y_true.mean(axis=0) * 100, column: y_prob.mean(axis=0) * 100})


def _check(y_true, y_prob):
    if y_true.shape != y_prob.shape:
        raise ValueError(f"Labels have the shape {y_true.shape}, predictions {y_prob.shape}: expected the same.")
    wrong = ~((y_prob >= 0) & (y_prob <= 1))
    if wrong.any():
        raise ValueError(f"{wrong.sum()} predictions are no number in [0, 1], the first is {y_prob[wrong][0]}.")
