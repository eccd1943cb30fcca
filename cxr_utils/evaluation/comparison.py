"""Comparison of two trained models on the same images: difference in AUROC, and agreement."""

import numpy as np
import pandas as pd

from cxr_utils import config
from cxr_utils.evaluation import differences, metrics, resampling

_AGREEMENT = ["first", "second", "positive_agreement", "lower", "upper", "kappa"]


def difference_table(y_true, first, second, patients, margin):
    """Computes the difference in AUROC of two trained models, with intervals by a paired patient-level bootstrap.

    The difference is second minus first. Both models are evaluated on the same resamples of patients, so variation that
    affects both models alike cancels out. The intervals cover the sample of patients; another training of the same
    networks is another pair of models.

    Args:
        y_true: `(n, 14)` 0 or 1.
        first: `(n, 14)` in [0, 1], predictions of the first model.
        second: `(n, 14)` in [0, 1], predictions of the second model.
        patients: `(n,)`, patient ID of each image.
        margin: float, set before the results are seen: a difference in mean AUROC below it does not matter.

    Returns:
        DataFrame indexed by label, with a last row `"mean"` (macro-average): `first`, `second` (AUROC), `difference`,
        `lower`, `upper` (95 % interval), `lower_90`, `upper_90` (90 % interval), `p_holm` (p-value of a finding,
        Holm-corrected over the findings) and `conclusion`. For the mean, it is the first that applies of `"better"`
        (lower limit > 0), `"worse"` (upper limit < 0), `"equivalent"` (90 % interval within ± `margin`),
        `"non-inferior"` (lower limit > −`margin`) and `"inconclusive"`; `margin` is in its column. For a finding it is
        `"better"`, `"worse"` (`p_holm` < 0.05) or `"inconclusive"`. A finding with fewer than `metrics.MIN_CASES`
        positive or negative images, or that a model cannot predict, is NaN, and is not part of the mean.

    Raises:
        ValueError: The arrays are not valid (`metrics.check_arrays`), or an image has no patient ID.
    """
    values = np.array([metrics.auroc(y_true, y_prob, metrics.MIN_CASES) for y_prob in (first, second)])
    known = np.flatnonzero(metrics.enough_cases(y_true, first, second, patients=patients))
    columns = ["first", "second", "difference", *differences.LIMITS, "p_holm"]
    table = pd.DataFrame(np.nan, pd.Index([*config.LABELS, "mean"], name="label"), columns).assign(
        conclusion=None, margin=np.nan
    )
    if len(known):
        values = values[:, known]
        samples = [resampling.bootstrap_auroc(y_true[:, known], p[:, known], patients)[0] for p in (first, second)]
        single, paired = values[1] - values[0], samples[1] - samples[0]
        deviations = np.column_stack([paired - single, resampling.mean_deviations(single, paired)])
        counts = np.min([metrics.count_patients(y_true[:, known] == value, patients) for value in (0, 1)], axis=0)
        found = differences.difference_columns([*single, single.mean()], deviations, [*counts, counts.max()])
        found["p_holm"] = [*differences.holm(found.p[:-1]), np.nan]
        named = np.select(
            [found.p_holm[:-1] >= differences.SIGNIFICANCE, single > 0], ["inconclusive", "better"], "worse"
        )
        mean = found.iloc[-1]
        conclusions = {
            "better": mean.lower > 0,
            "worse": mean.upper < 0,
            "equivalent": -margin <= mean.lower_90 and mean.upper_90 <= margin,
            "non-inferior": mean.lower > -margin,
            "inconclusive": True,
        }
        found["conclusion"] = [*named, next(name for name, applies in conclusions.items() if applies)]
        found["margin"] = margin
        found[["first", "second"]] = np.column_stack([values, values.mean(axis=1)]).T
        table.iloc[[*known, -1]] = found[[*table]].to_numpy()
    return table


def describe_difference(table, first, second):
    """States the difference in mean AUROC of two trained models and what it shows, and the findings that differ.

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
    better, worse = (
        metrics.join_names(single.index[single.conclusion == name]) or "none" for name in ("better", "worse")
    )
    return (
        f"{second} minus {first}, mean AUROC of {single.difference.count()} findings: "
        f"{differences.with_limits(*mean[['difference', 'lower', 'upper']])}, {mean.conclusion} "
        f"(margin {mean.margin:g}). Single findings (Holm-corrected): better for {better}, worse for {worse}."
    )


def agreement_table(first, second, first_thresholds, second_thresholds, patients):
    """Computes how far two models flag the same images, whether or not they are correct.

    Most images are flagged by neither model, so the share of images with the same result would be high for any two
    models. Positive agreement is the share of flags that the other model confirms.

    Args:
        first: `(n, 14)` in [0, 1], predictions of the first model.
        second: `(n, 14)` in [0, 1], predictions of the second model.
        first_thresholds: Series indexed by label, thresholds of the first model.
        second_thresholds: Series indexed by label, thresholds of the second model.
        patients: `(n,)`, patient ID of each image.

    Returns:
        DataFrame indexed by label, with a last row `"mean"`: `first`, `second` (number of images that each model
        flags), `positive_agreement` (2 × images that both flag / all flags of both), `lower`, `upper` (95 % interval,
        patient-level bootstrap) and `kappa` (Cohen's: 1 is perfect agreement, 0 is agreement expected by chance). NaN
        where thresholds or predictions are missing or no image is flagged, `kappa` also where all images are.

    Raises:
        ValueError: The shapes differ, a prediction is not a number in [0, 1], or an image has no patient ID.
    """
    for y_prob in (first, second):
        # Agreement needs no labels; zeros satisfy the check.
        metrics.check_arrays(np.zeros(np.shape(first)), y_prob)
    thresholds = np.array([values[config.LABELS] for values in (first_thresholds, second_thresholds)])
    missing = np.isnan([*thresholds, first.min(axis=0), second.min(axis=0)]).any(axis=0)
    known = np.flatnonzero(~missing & ((first.max(axis=0) >= thresholds[0]) | (second.max(axis=0) >= thresholds[1])))
    a, b = (prob[:, known] >= values[known] for prob, values in zip((first, second), thresholds, strict=True))
    both, flags = 2 * (a & b), a.astype(int) + b
    by_chance = a.mean(axis=0) * b.mean(axis=0) + (~a).mean(axis=0) * (~b).mean(axis=0)
    kappa = resampling.divide((a == b).mean(axis=0) - by_chance, 1 - by_chance)
    table = pd.DataFrame(np.nan, pd.Index([*config.LABELS, "mean"], name="label"), _AGREEMENT)
    table.iloc[[*known, -1]] = np.column_stack(
        [
            [*a.sum(axis=0), np.nan],
            [*b.sum(axis=0), np.nan],
            resampling.with_mean(
                both.sum(axis=0) / flags.sum(axis=0), resampling.bootstrap_share(both, flags, patients)
            ),
            [*kappa, pd.Series(kappa).mean()],
        ]
    )
    return table
