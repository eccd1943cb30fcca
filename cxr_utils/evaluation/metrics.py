"""Discrimination: AUROC and average precision of each finding.

`y_true` is `(n, 14)` 0 or 1, `y_prob` `(n, 14)` in [0, 1]; the columns are in the order of `config.LABELS`.
"""

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from cxr_utils import config
from cxr_utils.evaluation import intervals, resampling
from cxr_utils.evaluation.arrays import MIN_CASES, check_arrays, count_patients, enough_cases

METRICS = ["auroc", "lower", "upper", "ap", "ap_lower", "ap_upper"]


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
    return by_finding(roc_auc_score, ["auroc"], y_true, y_prob, min_cases=min_cases).auroc.to_numpy()


def by_finding(measure, columns, y_true, y_prob, patients=None, min_cases=MIN_CASES):
    """Applies a measure to each finding that has enough patients and predictions.

    Args:
        measure: function of the labels and the predictions of one finding, both `(n,)`, that returns a value for each
            column.
        columns: list of str, names of the values.
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].
        patients: `(n,)`, patient ID of each image, or `None` if each image is of another patient.
        min_cases: int, a finding with fewer patients with or without it is NaN, see `enough_cases`.

    Returns:
        DataFrame indexed by label with the columns `columns`.

    Raises:
        ValueError: The arrays are not valid (`check_arrays`).
    """
    check_arrays(y_true, y_prob)
    table = pd.DataFrame(np.nan, pd.Index(config.LABELS, name="label"), columns)
    for finding in np.flatnonzero(enough_cases(y_true, y_prob, patients=patients, min_cases=min_cases)):
        table.iloc[finding] = measure(y_true[:, finding], y_prob[:, finding])
    return table


def auroc_table(y_true, y_prob, patients=None):
    """Computes AUROC and average precision of each finding, with 95 % intervals.

    The interval of the AUROC of a finding is that of `intervals.auroc_interval`. Averages and average precision have
    percentile intervals by a patient-level bootstrap (`resampling`).

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].
        patients: `(n,)`, patient ID of each image, or `None` for no intervals.

    Returns:
        DataFrame indexed by label with `auroc`, `lower`, `upper`, `ap` (average precision), `ap_lower`, `ap_upper`,
        `prevalence` (which is the average precision of random predictions), `positives` and `negatives` (images),
        `positive_patients` and `negative_patients` (patients with at least one such image). The limits are NaN without
        `patients`. A finding without predictions, or with fewer than `MIN_CASES` patients with or without it, is NaN.
        `attrs["mean"]` (macro-average) and `attrs["micro-average"]` (all pairs of image and finding pooled), both of
        the findings that are not NaN, are dicts with `auroc`, `lower`, `upper`, `ap`, `ap_lower`, `ap_upper` and
        `findings` (number of findings).

    Raises:
        ValueError: The arrays are not valid (`check_arrays`), or an image has no patient ID.
    """
    check_arrays(y_true, y_prob)
    table = metric_table(y_true, y_prob, patients).set_axis(pd.Index(config.LABELS, name="label"))
    known = enough_cases(y_true, y_prob, patients=patients)
    repeated = None if patients is None else np.repeat(np.asarray(patients), known.sum())
    micro = metric_table(y_true[:, known].reshape(-1, 1), y_prob[:, known].reshape(-1, 1), repeated)
    table.attrs["micro-average"] = micro.attrs["mean"] | {"findings": known.sum()}
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
    known = np.flatnonzero(enough_cases(y_true, y_prob, patients=patients))
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
        if patients is not None:
            limits = [intervals.auroc_interval(*columns, patients) for columns in zip(true.T, prob.T, strict=True)]
            summary[known, 1:3] = limits
    positives = y_true.sum(axis=0).astype(int)
    # Without images, 0 / 0 would warn.
    prevalence = positives / len(y_true) if len(y_true) else np.nan
    table = pd.DataFrame(summary[:-1], columns=METRICS)
    table = table.assign(prevalence=prevalence, positives=positives, negatives=len(y_true) - positives)
    table["positive_patients"], table["negative_patients"] = (
        count_patients(y_true == value, patients) for value in (1, 0)
    )
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
        return "n/a (too few patients for every finding)"
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
        return f"No finding with predictions has {MIN_CASES} patients with and without it: AUROC is n/a."
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
    """Names the findings that are n/a: too few patients (the fewer of those with and without it), or not predicted.

    Args:
        table: DataFrame returned by `auroc_table`.

    Returns:
        str, empty if no finding is n/a.
    """
    cases = table.loc[table.auroc.isna(), ["positive_patients", "negative_patients"]].min(axis=1)
    few = ", ".join(f"{label} ({count:.0f})" for label, count in cases[cases < MIN_CASES].items())
    unpredicted = ", ".join(cases.index[cases >= MIN_CASES])
    sentences = [
        few and f"n/a, fewer than {MIN_CASES} patients with or without the finding: {few}.",
        unpredicted and f"n/a, not predicted, because no training image, or every one, shows it: {unpredicted}.",
    ]
    return " ".join(filter(None, sentences)).replace("_", " ")
