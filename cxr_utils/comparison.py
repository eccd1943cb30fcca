"""Two models on the same films: by how much they differ, and how often they agree."""

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from cxr_utils import config, evaluation, resampling


def difference_table(y_true, first, second, patients):
    """Tabulates how much higher the second model's AUROC is, with 95 % intervals by paired patient bootstrap.

    Both models meet the same draws of patients, so that what is hard about a draw cancels out.

    Args:
        y_true: `(n, 14)` 0 or 1.
        first: `(n, 14)` in [0, 1], predictions of a model.
        second: `(n, 14)` in [0, 1], of the other.
        patients: `(n,)`, whose film it is.

    Returns:
        Frame indexed by label, and `"mean"` over the findings: `first`, `second` (AUROC), `difference`, `lower`, `upper`,
        `distinguishable` (the interval does not hold 0). NaN and False for a finding with fewer than `evaluation.MIN_CASES` films with or
        without it, which is not in the mean.
    """
    for y_prob in (first, second):
        evaluation.check(y_true, y_prob)
    known = np.flatnonzero(evaluation.enough(y_true))
    columns = ["first", "second", "difference", "lower", "upper"]
    table = pd.DataFrame(np.nan, pd.Index([*config.LABELS, "mean"], name="label"), columns)
    if len(known):
        true = y_true[:, known]
        values = np.array([[roc_auc_score(true[:, i], p[:, k]) for i, k in enumerate(known)] for p in (first, second)])
        samples = [resampling.bootstrap(true, p[:, known], patients)[0] for p in (first, second)]
        differences, drawn = values[1] - values[0], samples[1] - samples[0]
        table.iloc[known] = np.column_stack([*values, differences, *resampling.interval(drawn)])
        deviations = resampling.interval(np.nanmean(drawn - differences, axis=1))
        table.loc["mean"] = [*values.mean(axis=1), differences.mean(), *(differences.mean() + deviations)]
    return table.assign(distinguishable=(table.lower > 0) | (table.upper < 0))


def describe_difference(table, first, second):
    """Says in one sentence which differences of a table of `difference_table` are distinguishable from noise."""
    mean = table.loc["mean"]
    if np.isnan(mean.difference):
        return "No finding is on enough films to compare the two."
    verdict = "is distinguishable from noise" if mean.distinguishable else "can't be told from noise on these films"
    told = {
        name: [label for label in table.index[table.distinguishable & (sign * table.difference > 0)] if label != "mean"]
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
        Frame indexed by label: `rank_correlation` (Spearman's, of the probabilities), `same_call` (share of the films) and
        `kappa` (Cohen's, of the calls: 1 agree always, 0 as often as by chance). NaN where a threshold or a variation is missing.

    Raises:
        ValueError: shapes differ, or predictions are no numbers in [0, 1].
    """
    for y_prob in (first, second):
        # Agreement needs no labels: none stand for them in the check.
        evaluation.check(np.zeros(np.shape(first)), y_prob)
    table = pd.DataFrame(
        np.nan, pd.Index(config.LABELS, name="label"), ["rank_correlation", "same_call", "kappa"], float
    )
    for label, a, b in zip(config.LABELS, first.T, second.T):
        if a.min() < a.max() and b.min() < b.max():
            table.loc[label, "rank_correlation"] = spearmanr(a, b).statistic
        if not np.isnan([first_thresholds[label], second_thresholds[label]]).any():
            calls = a >= first_thresholds[label], b >= second_thresholds[label]
            table.loc[label, "same_call"] = (calls[0] == calls[1]).mean()
            if any(call.any() and not call.all() for call in calls):
                table.loc[label, "kappa"] = cohen_kappa_score(*calls)
    return table
