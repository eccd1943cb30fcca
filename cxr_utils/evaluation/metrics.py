"""How well predictions tell images apart. `y_true` is (n, 14) 0/1, `y_prob` (n, 14) in [0, 1], columns as `LABELS`."""

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from cxr_utils import config
from cxr_utils.evaluation import resampling

# With fewer positive or negative images than this a measure says nothing: it is reported as n/a.
MIN_CASES = 10
METRICS = ["auroc", "lower", "upper", "ap", "ap_lower", "ap_upper"]


def enough_cases(y_true, min_cases=MIN_CASES):
    """Says of each finding whether enough images show it and enough do not, as `(14,)` bool."""
    positives = y_true.sum(axis=0)
    return (positives >= min_cases) & (len(y_true) - positives >= min_cases)


def auroc(y_true, y_prob, min_cases=1):
    """Computes the exact area under the ROC curve of each finding (scikit-learn's).

    Args:
        y_true: `(n, 14)`.
        y_prob: `(n, 14)`.
        min_cases: int, a finding with fewer positives or negatives is NaN.

    Returns:
        `(14,)` float64.

    Raises:
        ValueError: shapes differ, predictions are no numbers in [0, 1], or labels are not 0 or 1.
    """
    check_arrays(y_true, y_prob)
    return np.array(
        [
            roc_auc_score(true, prob) if known else np.nan
            for true, prob, known in zip(y_true.T, y_prob.T, enough_cases(y_true, min_cases))
        ]
    )


def auroc_table(y_true, y_prob, patients=None):
    """Tabulates AUROC and average precision and, with patients, their 95 % intervals by patient bootstrap.

    Args:
        y_true: `(n, 14)`.
        y_prob: `(n, 14)`.
        patients: `(n,)`, whose image it is, or `None` for no intervals.

    Returns:
        Frame indexed by label with `auroc`, `lower`, `upper`, `ap`, `ap_lower`, `ap_upper` (limits NaN without patients),
        `prevalence` (the average precision of a model that tells nothing apart), `positives`, `negatives`. A finding with fewer than
        `MIN_CASES` of either is NaN. `attrs["mean"]` and `attrs["micro-average"]` (all findings of all images as one) are dicts of
        `auroc`, `lower`, `upper`, `ap`, `ap_lower`, `ap_upper` and `findings`, over how many findings they are.

    Raises:
        ValueError: shapes differ, predictions are no numbers in [0, 1], labels are not 0 or 1, or an image has no patient.
    """
    check_arrays(y_true, y_prob)
    table = metric_table(y_true, y_prob, patients).set_axis(pd.Index(config.LABELS, name="label"))
    whose = None if patients is None else np.repeat(np.asarray(patients), y_true.shape[1])
    micro = metric_table(y_true.reshape(-1, 1), y_prob.reshape(-1, 1), whose)
    table.attrs["micro-average"] = micro.iloc[0][METRICS].to_dict() | {"findings": y_true.shape[1]}
    return table


def metric_table(y_true, y_prob, patients=None):
    """Computes AUROC and average precision of any columns, as `auroc_table` tabulates them.

    Args:
        y_true: `(n, k)`.
        y_prob: `(n, k)`.
        patients: `(n,)`, or `None` for no intervals.

    Returns:
        Frame of k rows, columns and `attrs["mean"]` as of `auroc_table`.
    """
    known = np.flatnonzero(enough_cases(y_true))
    positives = y_true.sum(axis=0).astype(int)
    table = pd.DataFrame(np.nan, range(y_true.shape[1]), METRICS)
    # The mean of no image would be a warning besides NaN.
    prevalence = positives / len(y_true) if len(y_true) else np.nan
    table = table.assign(prevalence=prevalence, positives=positives, negatives=len(y_true) - positives)
    mean = dict.fromkeys(METRICS, np.nan)
    if len(known):
        true, prob = y_true[:, known], y_prob[:, known]
        samples = (None, None) if patients is None else resampling.bootstrap_auroc(true, prob, patients)
        for first, score, drawn in zip((0, 3), (roc_auc_score, average_precision_score), samples):
            values = np.array([score(*columns) for columns in zip(true.T, prob.T)])
            table.iloc[known, first] = values
            mean[METRICS[first]] = values.mean()
            if drawn is not None:
                table.iloc[known, first + 1 : first + 3] = resampling.percentile_interval(drawn).T
                # A draw may hold no image with a rare finding: its deviation from its own value is then that of the others.
                limits = values.mean() + resampling.percentile_interval(np.nanmean(drawn - values, axis=1))
                mean |= dict(zip(METRICS[first + 1 : first + 3], limits))
    table.attrs["mean"] = mean | {"findings": len(known)}
    return table


def describe_mean(table):
    """Says the mean AUROC of a table of `auroc_table` in words: `"0.811 (0.784–0.834), 14 findings"`, or that it is n/a."""
    mean = table.attrs["mean"]
    if not mean["findings"]:
        return f"n/a, no finding on {MIN_CASES} images"
    return f"{with_interval(mean['auroc'], mean['lower'], mean['upper'])}, {mean['findings']} findings"


def with_interval(value, lower, upper, digits=3):
    """Writes a value with its interval: `"0.811 (0.784–0.834)"`, without one where that is NaN, or `"n/a"`."""
    if np.isnan(value):
        return "n/a"
    return f"{value:.{digits}f}" + ("" if np.isnan(lower) else f" ({lower:.{digits}f}–{upper:.{digits}f})")


def describe_extremes(table):
    """Says which findings of a table of `auroc_table` are told apart best and worst."""
    if table.auroc.isna().all():
        return f"No finding is on {MIN_CASES} of these images: nothing can be told apart."
    best, worst = (
        f"{label.replace('_', ' ')} {with_interval(*table.loc[label, METRICS[:3]])}"
        for label in (table.auroc.idxmax(), table.auroc.idxmin())
    )
    return f"Told apart best: {best}; worst: {worst}."


def not_available(table):
    """Says which findings of a table of `auroc_table` are n/a, in one sentence; an empty string when none is."""
    rare = table.index[table.auroc.isna()]
    images = [f"{label} ({min(table.positives[label], table.negatives[label])})" for label in rare]
    return f"n/a, on fewer than {MIN_CASES} images or absent from fewer: {', '.join(images)}." if images else ""


def prevalence_table(y_true, y_prob, column):
    """Sets the mean diagnosis beside the mean prediction, in % of the images.

    Args:
        y_true: `(n, 14)`.
        y_prob: `(n, 14)`.
        column: name of the predictions' column, such as `"pdx_base"`.

    Returns:
        Frame with `label`, `dx` and `column`.
    """
    check_arrays(y_true, y_prob)
    return pd.DataFrame({"label": config.LABELS, "dx": y_true.mean(axis=0) * 100, column: y_prob.mean(axis=0) * 100})


def describe_prevalence(means, column):
    """Says of a table of `prevalence_table` where the mean prediction is furthest from the mean diagnosis."""
    row = means.loc[(means[column] - means.dx).abs().idxmax()]
    return f"Furthest from each other at {row.label.replace('_', ' ')}: predicted {row[column]:.1f} % on average, diagnosed on {row.dx:.1f} % of the images."


def check_arrays(y_true, y_prob):
    """Raises `ValueError` unless both are arrays `(n, 14)`, labels 0 or 1 and predictions numbers in [0, 1]."""
    for name, values in (("Labels", y_true), ("Predictions", y_prob)):
        # A frame would be taken apart by its columns' names instead of its columns.
        if not isinstance(values, np.ndarray):
            raise ValueError(
                f"{name} are a {type(values).__name__}: expected a NumPy array (n, {len(config.LABELS)}), as of frames.targets."
            )
    if y_true.shape != y_prob.shape or y_true.ndim != 2 or y_true.shape[1] != len(config.LABELS):
        raise ValueError(
            f"Labels have the shape {y_true.shape}, predictions {y_prob.shape}: expected ({len(y_true)}, {len(config.LABELS)}) of both."
        )
    for name, values, right in (
        ("predictions are no number in [0, 1]", y_prob, (y_prob >= 0) & (y_prob <= 1)),
        ("labels are neither 0 nor 1", y_true, (y_true == 0) | (y_true == 1)),
    ):
        if not right.all():
            raise ValueError(f"{(~right).sum()} {name}, the first is {values[~right][0]}.")
