"""Comparison of two models on the same images: difference in AUROC, and agreement."""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score, roc_auc_score

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
        comparisons). A finding with fewer than `metrics.MIN_CASES` positive or negative images is NaN and False, and is
        not part of the mean.

    Raises:
        ValueError: The arrays are not valid (`metrics.check_arrays`), or an image has no patient ID.
    """
    for y_prob in (first, second):
        metrics.check_arrays(y_true, y_prob)
    known = np.flatnonzero(metrics.enough_cases(y_true))
    columns = ["first", "second", "difference", "lower", "upper"]
    table = pd.DataFrame(np.nan, pd.Index([*config.LABELS, "mean"], name="label"), columns)
    if len(known):
        true = y_true[:, known]
        values = np.array([[roc_auc_score(true[:, i], p[:, k]) for i, k in enumerate(known)] for p in (first, second)])
        samples = [resampling.bootstrap_auroc(true, p[:, known], patients)[0] for p in (first, second)]
        differences, resampled = values[1] - values[0], samples[1] - samples[0]
        table.iloc[known] = np.column_stack([*values, differences, *resampling.percentile_interval(resampled)])
        # Deviations from the estimates, for the reason given in `metrics.metric_table`.
        deviations = resampling.percentile_interval(np.nanmean(resampled - differences, axis=1))
        table.loc["mean"] = [*values.mean(axis=1), differences.mean(), *(differences.mean() + deviations)]
    return table.assign(significant=(table.lower > 0) | (table.upper < 0))


def describe_difference(table, first, second):
    """Describes the differences in AUROC of two models in a few sentences.

    Args:
        table: DataFrame returned by `difference_table`.
        first: str, name of the first model.
        second: str, name of the second model.

    Returns:
        str.
    """
    mean = table.loc["mean"]
    if np.isnan(mean.difference):
        return "No finding has enough images to compare the two models."
    higher = []
    for name, sign in ((second, 1), (first, -1)):
        labels = table.index[table.significant & (sign * table.difference > 0)].drop("mean", errors="ignore")
        if len(labels):
            higher.append(f"{name} is higher for {', '.join(labels.str.replace('_', ' '))}")
    sentence = "; ".join(higher) or "none"
    verdict = resampling.describe_significance(mean.lower, mean.upper)
    findings = table.difference.notna().sum() - 1
    return (
        f"{second} minus {first}: difference in mean AUROC {mean.difference:+.3f} "
        f"(95 % CI {mean.lower:+.3f} to {mean.upper:+.3f}) over {findings} findings: {verdict}. "
        f"Single findings whose uncorrected 95 % CI excludes 0: {sentence}. These intervals are not corrected for "
        "multiple comparisons: if the models did not differ, about 1 in 20 would still exclude 0."
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
        agreement, 0 is agreement expected by chance). NaN where a threshold is missing or all values are equal.

    Raises:
        ValueError: The shapes differ, or a prediction is not a number in [0, 1].
    """
    for y_prob in (first, second):
        # Agreement needs no labels; zeros satisfy the check.
        metrics.check_arrays(np.zeros(np.shape(first)), y_prob)
    table = pd.DataFrame(
        np.nan, pd.Index(config.LABELS, name="label"), ["rank_correlation", "same_flag", "kappa"], float
    )
    for label, a, b in zip(config.LABELS, first.T, second.T, strict=True):
        if a.min() < a.max() and b.min() < b.max():
            table.loc[label, "rank_correlation"] = spearmanr(a, b).statistic
        if not np.isnan([first_thresholds[label], second_thresholds[label]]).any():
            flagged = a >= first_thresholds[label], b >= second_thresholds[label]
            table.loc[label, "same_flag"] = (flagged[0] == flagged[1]).mean()
            # Kappa is undefined if each model gives the same result for all images.
            if any(flags.any() and not flags.all() for flags in flagged):
                table.loc[label, "kappa"] = cohen_kappa_score(*flagged)
    return table
