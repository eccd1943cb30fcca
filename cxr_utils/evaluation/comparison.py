"""Two models on the same images: by how much they differ, and how often they agree."""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from cxr_utils import config
from cxr_utils.evaluation import metrics, resampling


def difference_table(y_true, first, second, patients):
    """Tabulates how much higher the second model's AUROC is, with 95 % intervals by paired patient bootstrap.

    Both models meet the same draws of patients, so that what is hard about a draw cancels out.

    Args:
        y_true: `(n, 14)` 0 or 1.
        first: `(n, 14)` in [0, 1], predictions of a model.
        second: `(n, 14)` in [0, 1], of the other.
        patients: `(n,)`, whose image it is.

    Returns:
        Frame indexed by label, and `"mean"` over the findings: `first`, `second` (AUROC), `difference`, `lower`, `upper`,
        `significant` (the interval does not hold 0). NaN and False for a finding with fewer than `metrics.MIN_CASES` images with or
        without it, which is not in the mean.
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
        differences, drawn = values[1] - values[0], samples[1] - samples[0]
        table.iloc[known] = np.column_stack([*values, differences, *resampling.percentile_interval(drawn)])
        deviations = resampling.percentile_interval(np.nanmean(drawn - differences, axis=1))
        table.loc["mean"] = [*values.mean(axis=1), differences.mean(), *(differences.mean() + deviations)]
    return table.assign(significant=(table.lower > 0) | (table.upper < 0))


def describe_difference(table, first, second):
    """Says in one sentence which differences of a table of `difference_table` are significant from noise."""
    mean = table.loc["mean"]
    if np.isnan(mean.difference):
        return "No finding is on enough images to compare the two."
    verdict = "is significant from noise" if mean.significant else "can't be told from noise on these images"
    told = {
        name: [label for label in table.index[table.significant & (sign * table.difference > 0)] if label != "mean"]
        for name, sign in ((second, 1), (first, -1))
    }
    better = "; ".join(f"{name} is better at {', '.join(labels)}" for name, labels in told.items() if labels)
    findings = table.difference.notna().sum() - 1
    return (
        f"{second} − {first}: mean AUROC {mean.difference:+.3f} ({mean.lower:+.3f} to {mean.upper:+.3f}) over {findings} findings, which "
        f"{verdict}. {better[:1].upper() + better[1:] or 'No single finding differs distinguishably'}; one comparison in twenty would by chance alone."
    )


def agreement_table(first, second, first_thresholds, second_thresholds):
    """Tabulates how far two models agree, whether they are right or not.

    Args:
        first: `(n, 14)` in [0, 1], predictions of a model.
        second: `(n, 14)` in [0, 1], of the other.
        first_thresholds: Series indexed by label.
        second_thresholds: Series indexed by label.

    Returns:
        Frame indexed by label: `rank_correlation` (Spearman's, of the probabilities), `same_flag` (share of the images) and
        `kappa` (Cohen's, of the calls: 1 agree always, 0 as often as by chance). NaN where a threshold or a variation is missing.

    Raises:
        ValueError: shapes differ, or predictions are no numbers in [0, 1].
    """
    for y_prob in (first, second):
        # Agreement needs no labels: none stand for them in the check.
        metrics.check_arrays(np.zeros(np.shape(first)), y_prob)
    table = pd.DataFrame(
        np.nan, pd.Index(config.LABELS, name="label"), ["rank_correlation", "same_flag", "kappa"], float
    )
    for label, a, b in zip(config.LABELS, first.T, second.T):
        if a.min() < a.max() and b.min() < b.max():
            table.loc[label, "rank_correlation"] = spearmanr(a, b).statistic
        if not np.isnan([first_thresholds[label], second_thresholds[label]]).any():
            calls = a >= first_thresholds[label], b >= second_thresholds[label]
            table.loc[label, "same_flag"] = (calls[0] == calls[1]).mean()
            if any(call.any() and not call.all() for call in calls):
                table.loc[label, "kappa"] = cohen_kappa_score(*calls)
    return table
