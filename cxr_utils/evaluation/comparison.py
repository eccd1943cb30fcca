"""Comparison of two models on the same images: difference in AUROC, and agreement."""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from cxr_utils import config
from cxr_utils.evaluation import metrics, resampling


def difference_table(y_true, first, second, patients):
    """Computes the difference in AUROC of two models, with 95 % intervals by a paired patient-level bootstrap.

    The difference is second minus first. Both models are evaluated on the same resamples of patients, so variation that
    affects both models alike cancels out.

    Args:
        y_true: `(n, 14)` 0 or 1.
        first: `(n, 14)` in [0, 1], predictions of the first model.
        second: `(n, 14)` in [0, 1], predictions of the second model.
        patients: `(n,)`, patient ID of each image.

    Returns:
        DataFrame indexed by label, with a last row `"mean"` (macro-average): `first`, `second` (AUROC), `difference`,
        `lower`, `upper`, and `significant` (bool: the 95 % interval excludes 0; not corrected for multiple
        comparisons). A finding with fewer than `metrics.MIN_CASES` positive or negative images, or that a model cannot
        predict, is NaN and False, and is not part of the mean.

    Raises:
        ValueError: The arrays are not valid (`metrics.check_arrays`), or an image has no patient ID.
    """
    values = np.array([metrics.auroc(y_true, y_prob, metrics.MIN_CASES) for y_prob in (first, second)])
    known = np.flatnonzero(metrics.enough_cases(y_true, first, second))
    columns = ["first", "second", "difference", "lower", "upper"]
    table = pd.DataFrame(np.nan, pd.Index([*config.LABELS, "mean"], name="label"), columns)
    if len(known):
        values = values[:, known]
        samples = [resampling.bootstrap_auroc(y_true[:, known], p[:, known], patients)[0] for p in (first, second)]
        differences = resampling.with_mean(values[1] - values[0], samples[1] - samples[0])
        table.iloc[[*known, -1]] = np.column_stack([*np.column_stack([values, values.mean(axis=1)]), differences])
    return table.assign(significant=(table.lower > 0) | (table.upper < 0))


def describe_difference(table, first, second):
    """States the difference in mean AUROC of two models, and for which findings it is statistically significant.

    Args:
        table: DataFrame returned by `difference_table`.
        first: str, name of the first model.
        second: str, name of the second model.

    Returns:
        str.
    """
    mean, single = table.loc["mean"], table.drop("mean")
    if np.isnan(mean.difference):
        return "No finding has enough images to compare the two models."
    higher, lower = (
        metrics.join_names(single.index[significant]) or "none" for significant in (single.lower > 0, single.upper < 0)
    )
    return (
        f"{second} minus {first}, mean AUROC of {single.difference.count()} findings: "
        f"{resampling.describe_significance(mean.difference, mean.lower, mean.upper)}. "
        f"Single findings (uncorrected): CI above 0 for {higher}, below 0 for {lower}."
    )


def agreement_table(first, second, first_thresholds, second_thresholds):
    """Computes how much two models agree, whether or not they are correct.

    Args:
        first: `(n, 14)` in [0, 1], predictions of the first model.
        second: `(n, 14)` in [0, 1], predictions of the second model.
        first_thresholds: Series indexed by label, thresholds of the first model.
        second_thresholds: Series indexed by label, thresholds of the second model.

    Returns:
        DataFrame indexed by label: `rank_correlation` (Spearman's, of the probabilities), `same_flag` (share of images
        that both models flag or neither model flags) and `kappa` (Cohen's, of flagged and not flagged: 1 is perfect
        agreement, 0 is agreement expected by chance). NaN where thresholds or predictions are missing or all values are
        equal.

    Raises:
        ValueError: The shapes differ, or a prediction is not a number in [0, 1].
    """
    for y_prob in (first, second):
        # Agreement needs no labels; zeros satisfy the check.
        metrics.check_arrays(np.zeros(np.shape(first)), y_prob)
    table = pd.DataFrame(np.nan, pd.Index(config.LABELS, name="label"), ["rank_correlation", "same_flag", "kappa"])
    for label, a, b in zip(config.LABELS, first.T, second.T, strict=True):
        if a.min() < a.max() and b.min() < b.max():
            table.loc[label, "rank_correlation"] = spearmanr(a, b).statistic
        if not np.isnan([first_thresholds[label], second_thresholds[label], a.min(), b.min()]).any():
            flagged = a >= first_thresholds[label], b >= second_thresholds[label]
            table.loc[label, "same_flag"] = (flagged[0] == flagged[1]).mean()
            # Kappa is undefined if each model gives the same result for all images.
            if any(flags.any() and not flags.all() for flags in flagged):
                table.loc[label, "kappa"] = cohen_kappa_score(*flagged)
    return table
