"""Thresholds: chosen on validation images, and the errors that result from applying them."""

from functools import partial
from itertools import count

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from cxr_utils import config
from cxr_utils.evaluation import calibration, intervals, metrics, resampling

TARGET, SPECIFICITY = 0.9, 0.95  # of the rules `sensitive` and `specific`
CONFIDENCE = 0.9  # with which the sensitivity of `sensitive` is at least the target
COUNTS = ["true_positives", "false_positives", "false_negatives", "true_negatives"]


def choose_thresholds(y_true, y_prob, patients=None):
    """Chooses three thresholds for each finding and fits its calibration, on validation images.

    Never use test images here. An image is test-positive (flagged) if its probability is at or above the threshold. A
    threshold is midway between the lowest flagged prediction and the next lower one (or 0), so that rounding, which
    differs between batch sizes and devices, does not change the result of a validation image.

    Args:
        y_true: `(n, 14)` 0 or 1, labels of validation images.
        y_prob: `(n, 14)` in [0, 1], uncalibrated probabilities.
        patients: `(n,)`, patient ID of each image, or `None` if each image is of another patient.

    Returns:
        DataFrame indexed by label: `youden` (threshold with the highest sensitivity + specificity, Youden 1950),
        `sensitive` (the target is a sensitivity of 90 %: the highest threshold whose one-sided 90 % lower limit of the
        sensitivity, see `intervals.wilson_interval`, is at least 90 %), `specific` (the lowest threshold with a
        specificity of at least 95 %), `slope` and `intercept` (Platt calibration, see `fit_platt`). NaN for a finding
        without predictions or with fewer than `metrics.MIN_CASES` patients with or without it. `youden` is also NaN if
        no threshold is better than chance, and `sensitive` if there are too few patients, see `describe_target`.

    Raises:
        ValueError: The arrays are not valid (`metrics.check_arrays`), or an image has no patient ID.
    """
    patients = np.arange(len(y_true)) if patients is None else np.asarray(patients)
    return metrics.by_finding(
        partial(_thresholds, patients=patients), [*config.THRESHOLD_RULES], y_true, y_prob, patients
    ).join(calibration.fit_platt(y_true, y_prob, patients))


def _thresholds(true, prob, patients):
    """Returns the three thresholds of one finding."""
    # The thresholds of the curve are the predictions in descending order, after infinity: no image is flagged.
    prob = prob.astype(np.float64)
    fpr, tpr, flagged = roc_curve(true, prob, drop_intermediate=False)
    lower = np.append(flagged[1:], 0)
    middle = (flagged + lower) / 2
    # Between neighboring floating-point numbers there is none.
    middle = np.where(middle > lower, middle, flagged)
    # Infinity is at chance level and not usable.
    youden = middle[np.argmax(tpr - fpr)]
    positive = true == 1
    # Sensitivity changes only at predictions of positive images, so these are the only candidates.
    candidates = np.flatnonzero((tpr >= TARGET) & np.isin(flagged, prob[positive]))
    hits = prob[positive, None] >= flagged[candidates]
    lower, _ = intervals.wilson_interval(hits, np.ones(hits.shape), patients[positive], CONFIDENCE)
    reached = candidates[lower >= TARGET]
    sensitive = middle[reached[0]] if len(reached) else np.nan
    # The last threshold whose false-positive rate is low enough is the lowest one.
    specific = middle[fpr <= 1 - SPECIFICITY][-1]
    return [value if np.isfinite(value) else np.nan for value in (youden, sensitive, specific)]


def describe_target(thresholds, y_true, patients):
    """Names the findings without a threshold for the target sensitivity, and how many patients one needs.

    Args:
        thresholds: DataFrame returned by `choose_thresholds`.
        y_true: `(n, 14)` 0 or 1, labels of the validation images.
        patients: `(n,)`, patient ID of each validation image.

    Returns:
        str.
    """
    # Wilson's lower limit if all images with the finding are flagged, one of each of n patients.
    needed = next(n for n in count(2) if 1 / (1 + intervals.quantile(n, CONFIDENCE) ** 2 / n) >= TARGET)
    found = pd.Series(metrics.count_patients(y_true == 1, patients), config.LABELS)[thresholds.sensitive.isna()]
    names = ", ".join(f"{label} ({patients})" for label, patients in found.items()).replace("_", " ") or "none"
    return (
        f"Findings without a threshold for the target of {100 * TARGET:.0f} % sensitivity (patients with the finding): "
        f"{names}. At least {needed} such patients are needed on validation images, more if some have many images."
    )


def operating_table(y_true, y_prob, thresholds, patients=None):
    """Computes correct results, errors and their rates for each finding at its threshold.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].
        thresholds: Series indexed by label. An image is flagged at or above the threshold. A finding without a
            threshold or without predictions is left out.
        patients: `(n,)`, patient ID of each image, or `None` for no intervals.

    Returns:
        DataFrame indexed by label: `threshold`; `true_positives`, `false_positives`, `false_negatives`,
        `true_negatives` (images); `sensitivity`, `specificity` (NaN with fewer than `metrics.MIN_CASES` patients with
        or without the finding); `ppv` (NaN if no image is flagged) and `npv` (NaN if all images are flagged), both
        valid only for the prevalence of these images; `fp_per_1000`, `fn_per_1000` (false positives and false negatives
        per 1,000 images). With `patients`, each of the six is followed by its 95 % interval, see
        `intervals.wilson_interval`, such as `sensitivity_lower` and `sensitivity_upper`.

    Raises:
        ValueError: The arrays are not valid (`metrics.check_arrays`), or an image has no patient ID.
    """
    metrics.check_arrays(y_true, y_prob)
    thresholds = thresholds[config.LABELS].mask(np.isnan(y_prob).any(axis=0))
    true, flagged = y_true.astype(bool), y_prob >= thresholds.to_numpy()
    counts = dict(zip(COUNTS, (true & flagged, ~true & flagged, true & ~flagged, ~true & ~flagged), strict=True))
    table = thresholds.to_frame("threshold").assign(**{name: c.sum(axis=0) for name, c in counts.items()})
    rates = {
        "sensitivity": (counts["true_positives"], true, 1),
        "specificity": (counts["true_negatives"], ~true, 1),
        "ppv": (counts["true_positives"], flagged, 1),
        "npv": (counts["true_negatives"], ~flagged, 1),
        "fp_per_1000": (counts["false_positives"], true | ~true, 1000),
        "fn_per_1000": (counts["false_negatives"], true | ~true, 1000),
    }
    for name, (hits, cases, scale) in rates.items():
        table[name] = scale * resampling.divide(hits.sum(axis=0), cases.sum(axis=0))
        if patients is not None:
            ends = scale * intervals.wilson_interval(hits, cases, patients)
            table[f"{name}_lower"], table[f"{name}_upper"] = ends
    few = ~metrics.enough_cases(y_true, patients=patients)
    table.loc[few, table.filter(regex="^(sensitivity|specificity)").columns] = np.nan
    return table.dropna(subset="threshold")


def at_prevalence(table, prevalence):
    """Computes PPV and NPV at another prevalence, from sensitivity and specificity (Bayes' theorem).

    Their lower limits follow from the lower limits of sensitivity and specificity, and their upper limits from the
    upper ones. Such an interval is wider than necessary.

    Args:
        table: DataFrame returned by `operating_table`, with intervals.
        prevalence: float in (0, 1), share of images with a finding.

    Returns:
        DataFrame indexed by label: `ppv`, `npv`, `ppv_lower`, `npv_lower`, `ppv_upper`, `npv_upper`.
    """
    odds, columns = prevalence / (1 - prevalence), {}
    for end in ("", "_lower", "_upper"):
        sensitivity, specificity = table[f"sensitivity{end}"], table[f"specificity{end}"]
        columns[f"ppv{end}"] = 1 / (1 + (1 - specificity) / sensitivity / odds)
        columns[f"npv{end}"] = 1 / (1 + (1 - sensitivity) / specificity * odds)
    return pd.DataFrame(columns)


def net_benefit(y_true, y_prob, thresholds):
    """Computes the net benefit of a model and of flagging all images (Vickers & Elkin 2006); flagging none has 0.

    It is the share of true positives minus that of false positives times the odds of the threshold: a threshold of 10 %
    says that 9 false positives are as bad as one true positive is good.

    Args:
        y_true: `(n,)` 0 or 1.
        y_prob: `(n,)` in [0, 1], calibrated probabilities.
        thresholds: `(t,)` in [0, 1), probabilities from which on an image is flagged.

    Returns:
        DataFrame indexed by threshold: `model` and `all`.
    """
    odds, prevalence = thresholds / (1 - thresholds), y_true.mean(dtype=np.float64)
    # From the highest prediction down: how many positive and negative images are flagged.
    order = np.sort(y_prob[y_true == 1]), np.sort(y_prob[y_true == 0])
    positives, negatives = (len(values) - np.searchsorted(values, thresholds) for values in order)
    return pd.DataFrame(
        {"model": (positives - odds * negatives) / len(y_true), "all": prevalence - odds * (1 - prevalence)},
        pd.Index(thresholds, name="threshold"),
    )


def describe_errors(table):
    """Names the findings with the highest rates of false negatives and of false positives, with 95 % intervals.

    Args:
        table: DataFrame returned by `operating_table`, with intervals.

    Returns:
        str.
    """
    table = table.dropna(subset="sensitivity")
    if table.empty:
        return "No finding has a threshold and enough patients to count errors."
    missed, flagged = (
        metrics.join_names(
            f"{label} {metrics.with_interval(*row, digits=0)}"
            for label, *row in (100 - 100 * table[[rate, f"{rate}_upper", f"{rate}_lower"]])[
                table[rate] == table[rate].min()
            ].itertuples()
        )
        for rate in ("sensitivity", "specificity")
    )
    return f"Highest false-negative rate in % of images (95 % CI): {missed}; highest false-positive rate: {flagged}."
