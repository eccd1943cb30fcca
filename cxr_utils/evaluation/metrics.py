"""Discrimination: AUROC and average precision of each finding; the check of input arrays.

`y_true` is `(n, 14)` 0 or 1, `y_prob` `(n, 14)` in [0, 1]; the columns are in the order of `config.LABELS`.
"""

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from cxr_utils import config
from cxr_utils.evaluation import resampling

# With fewer positive or negative images than this, a metric is too uncertain to report: it is n/a.
MIN_CASES = 10
METRICS = ["auroc", "lower", "upper", "ap", "ap_lower", "ap_upper"]


def enough_cases(y_true, *predictions, min_cases=MIN_CASES):
    """Returns which findings can be evaluated: enough positive and enough negative images, and predictions.

    Args:
        y_true: `(n, k)` 0 or 1.
        *predictions: `(n, k)` in [0, 1], of each model that is evaluated; NaN where it cannot predict a finding.
        min_cases: int, number of images that is enough.

    Returns:
        `(k,)` bool.
    """
    positives = y_true.sum(axis=0)
    enough = (positives >= min_cases) & (len(y_true) - positives >= min_cases)
    return enough & ~np.any([np.isnan(y_prob).any(axis=0) for y_prob in predictions], axis=0)


def auroc(y_true, y_prob, min_cases=1):
    """Computes the exact area under the ROC curve of each finding, with scikit-learn.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].
        min_cases: int, a finding with fewer positive or negative images is NaN.

    Returns:
        `(14,)` float64.

    Raises:
        ValueError: The arrays are not valid (`check_arrays`).
    """
    return by_finding(roc_auc_score, ["auroc"], y_true, y_prob, min_cases).auroc.to_numpy()


def by_finding(measure, columns, y_true, y_prob, min_cases=MIN_CASES):
    """Applies a measure to each finding that has enough images and predictions.

    Args:
        measure: function of the labels and the predictions of one finding, both `(n,)`, that returns a value for each
            column.
        columns: list of str, names of the values.
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].
        min_cases: int, a finding with fewer positive or negative images is NaN.

    Returns:
        DataFrame indexed by label with the columns `columns`.

    Raises:
        ValueError: The arrays are not valid (`check_arrays`).
    """
    check_arrays(y_true, y_prob)
    table = pd.DataFrame(np.nan, pd.Index(config.LABELS, name="label"), columns)
    for finding in np.flatnonzero(enough_cases(y_true, y_prob, min_cases=min_cases)):
        table.iloc[finding] = measure(y_true[:, finding], y_prob[:, finding])
    return table


def auroc_table(y_true, y_prob, patients=None):
    """Computes AUROC and average precision of each finding, with 95 % intervals by a patient-level bootstrap.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].
        patients: `(n,)`, patient ID of each image, or `None` for no intervals.

    Returns:
        DataFrame indexed by label with `auroc`, `lower`, `upper`, `ap` (average precision), `ap_lower`, `ap_upper`,
        `prevalence` (which is the average precision of random predictions), `positives` and `negatives` (images). The
        limits are NaN without `patients`. A finding without predictions or with fewer than `MIN_CASES` positive or
        negative images is NaN. `attrs["mean"]` (macro-average) and `attrs["micro-average"]` (all pairs of image and
        finding pooled), both of the findings that are not NaN, are dicts with `auroc`, `lower`, `upper`, `ap`,
        `ap_lower`, `ap_upper` and `findings` (number of findings).

    Raises:
        ValueError: The arrays are not valid (`check_arrays`), or an image has no patient ID.
    """
    check_arrays(y_true, y_prob)
    table = metric_table(y_true, y_prob, patients).set_axis(pd.Index(config.LABELS, name="label"))
    known = enough_cases(y_true, y_prob)
    repeated = None if patients is None else np.repeat(np.asarray(patients), known.sum())
    micro = metric_table(y_true[:, known].reshape(-1, 1), y_prob[:, known].reshape(-1, 1), repeated)
    table.attrs["micro-average"] = micro.iloc[0][METRICS].to_dict() | {"findings": known.sum()}
    return table


def metric_table(y_true, y_prob, patients=None):
    """Computes the metrics of `auroc_table` for any number of columns, without checking the arrays.

    Args:
        y_true: `(n, k)` 0 or 1.
        y_prob: `(n, k)` in [0, 1].
        patients: `(n,)`, patient ID of each image, or `None` for no intervals.

    Returns:
        DataFrame of k rows, with the columns and `attrs["mean"]` of `auroc_table`.
    """
    known = np.flatnonzero(enough_cases(y_true, y_prob))
    summary = np.full((y_true.shape[1] + 1, len(METRICS)), np.nan)
    if len(known):
        true, prob = y_true[:, known], y_prob[:, known]
        samples = (None, None) if patients is None else resampling.bootstrap_auroc(true, prob, patients)
        summary[[*known, -1]] = np.hstack(
            [
                resampling.with_mean([score(*columns) for columns in zip(true.T, prob.T, strict=True)], resampled)
                for score, resampled in zip((roc_auc_score, average_precision_score), samples, strict=True)
            ]
        )
    positives = y_true.sum(axis=0).astype(int)
    # Without images, 0 / 0 would warn.
    prevalence = positives / len(y_true) if len(y_true) else np.nan
    table = pd.DataFrame(summary[:-1], columns=METRICS)
    table = table.assign(prevalence=prevalence, positives=positives, negatives=len(y_true) - positives)
    table.attrs["mean"] = dict(zip(METRICS, summary[-1], strict=True)) | {"findings": len(known)}
    return table


def describe_mean(table):
    """Formats the mean AUROC (macro-average) of a table returned by `auroc_table`.

    Args:
        table: DataFrame returned by `auroc_table`.

    Returns:
        str, such as `"0.811 (0.784–0.834), 14 findings"`; it starts with `"n/a"` if no finding has enough images.
    """
    mean = table.attrs["mean"]
    if not mean["findings"]:
        return "n/a (too few images for every finding)"
    return f"{with_interval(mean['auroc'], mean['lower'], mean['upper'])}, {mean['findings']:.0f} findings"


def with_interval(value, lower, upper, digits=3):
    """Formats a value with its interval, such as `"0.811 (0.784–0.834)"`.

    Args:
        value: float; NaN gives `"n/a"`.
        lower: float, lower limit; NaN leaves the interval out.
        upper: float, upper limit.
        digits: int, number of decimals.

    Returns:
        str.
    """
    if np.isnan(value):
        return "n/a"
    return f"{value:.{digits}f}" + ("" if np.isnan(lower) else f" ({lower:.{digits}f}–{upper:.{digits}f})")


def describe_extremes(table):
    """Names the findings with the highest and the lowest AUROC in one sentence.

    Args:
        table: DataFrame returned by `auroc_table`.

    Returns:
        str.
    """
    if table.auroc.isna().all():
        return f"No finding with predictions has {MIN_CASES} positive and {MIN_CASES} negative images: AUROC is n/a."
    highest, lowest = (
        join_names(
            f"{label} {with_interval(*row)}" for label, *row in table[METRICS[:3]][table.auroc == extreme].itertuples()
        )
        for extreme in (table.auroc.max(), table.auroc.min())
    )
    return f"Highest AUROC: {highest}; lowest: {lowest}."


def join_names(names):
    """Joins names of findings for a sentence.

    Args:
        names: iterable of str. Underscores become spaces.

    Returns:
        str: all names, or the first three and how many more there are.
    """
    names = [name.replace("_", " ") for name in names]
    shown = names if len(names) <= 3 else [*names[:3], f"{len(names) - 3} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def not_available(table):
    """Names the findings that are n/a: too few images (the smaller of positives and negatives), or not predicted.

    Args:
        table: DataFrame returned by `auroc_table`.

    Returns:
        str, empty if no finding is n/a.
    """
    cases = table.loc[table.auroc.isna(), ["positives", "negatives"]].min(axis=1)
    few = ", ".join(f"{label} ({count:.0f})" for label, count in cases[cases < MIN_CASES].items())
    unpredicted = ", ".join(cases.index[cases >= MIN_CASES])
    sentences = [
        few and f"n/a, fewer than {MIN_CASES} positive or negative images: {few}.",
        unpredicted and f"n/a, not predicted, because no training image, or every one, shows it: {unpredicted}.",
    ]
    return " ".join(filter(None, sentences)).replace("_", " ")


def check_arrays(y_true, y_prob):
    """Checks the shape and the values of labels and predictions.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1], or NaN in all rows of some findings, but not of all 14.

    Raises:
        ValueError: An argument is not a NumPy array, a shape is not `(n, 14)`, the shapes differ, a label is not 0 or
            1, or another prediction is not a number in [0, 1].
    """
    columns = len(config.LABELS)
    for name, values, source in (("Labels", y_true, "data.targets"), ("Predictions", y_prob, "models.predict")):
        # Iterating over a DataFrame gives the names of its columns, not their values.
        if not isinstance(values, np.ndarray):
            raise ValueError(
                f"{name} are of type {type(values).__name__}; expected a NumPy array of shape (n, {columns}), "
                f"as returned by {source}."
            )
    if y_true.shape != y_prob.shape or y_true.ndim != 2 or y_true.shape[1] != columns:
        raise ValueError(
            f"Labels have shape {y_true.shape} and predictions have shape {y_prob.shape}; "
            f"expected ({len(y_true)}, {columns}) for both."
        )
    unpredicted = np.isnan(y_prob).all(axis=0) & ~np.isnan(y_prob).all()
    for name, values, valid in (
        ("predictions are not numbers in [0, 1]", y_prob, (y_prob >= 0) & (y_prob <= 1) | unpredicted),
        ("labels are not 0 or 1", y_true, (y_true == 0) | (y_true == 1)),
    ):
        if not valid.all():
            raise ValueError(f"{(~valid).sum()} of {valid.size} {name}; the first is {values[~valid][0]}.")
