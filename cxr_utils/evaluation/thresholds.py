"""Thresholds: chosen on validation images, and the errors that result from applying them."""

import numpy as np
from sklearn.metrics import roc_curve

from cxr_utils import config
from cxr_utils.evaluation import calibration, metrics, resampling

SENSITIVITY = 0.9
COUNTS = ["true_positives", "false_positives", "false_negatives", "true_negatives"]


def choose_thresholds(y_true, y_prob):
    """Chooses two thresholds for each finding and fits its calibration, on validation images.

    Never use test images here. An image is test-positive (flagged) if its probability is at or above the threshold. A
    threshold is midway between the lowest flagged prediction and the next lower one (or 0), so that rounding, which
    differs between batch sizes and devices, does not change the result of a validation image.

    Args:
        y_true: `(n, 14)` 0 or 1, labels of validation images.
        y_prob: `(n, 14)` in [0, 1], uncalibrated probabilities.

    Returns:
        DataFrame indexed by label: `youden` (threshold with the highest sensitivity + specificity, Youden 1950),
        `sensitive` (the one that flags the fewest images with a sensitivity of at least 90 %), `slope` and `intercept`
        (Platt calibration, see `fit_platt`). NaN for a finding without predictions or with fewer than
        `metrics.MIN_CASES` positive or negative images. `youden` is also NaN if no threshold is better than chance.

    Raises:
        ValueError: The arrays are not valid (`metrics.check_arrays`).
    """
    return metrics.by_finding(_thresholds, ["youden", "sensitive"], y_true, y_prob).join(
        calibration.fit_platt(y_true, y_prob)
    )


def _thresholds(true, prob):
    """Returns the two thresholds of one finding."""
    # The thresholds of the curve are the predictions in descending order, after infinity: no image is flagged.
    fpr, tpr, flagged = roc_curve(true, prob.astype(np.float64), drop_intermediate=False)
    lower = np.append(flagged[1:], 0)
    middle = (flagged + lower) / 2
    # Between neighboring floating-point numbers there is none.
    middle = np.where(middle > lower, middle, flagged)
    # Infinity is at chance level and not usable.
    youden = middle[np.argmax(tpr - fpr)]
    return youden if np.isfinite(youden) else np.nan, middle[np.argmax(tpr >= SENSITIVITY)]


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
        `true_negatives` (images); `sensitivity`, `specificity` (NaN with fewer than `metrics.MIN_CASES` positive or
        negative images); `ppv` (NaN if no image is flagged) and `npv` (NaN if all images are flagged), both valid only
        for the prevalence of these images; `fp_per_1000`, `fn_per_1000` (false positives and false negatives per 1,000
        images). With `patients`, each of the four rates is followed by its 95 % interval by a patient-level bootstrap,
        such as `sensitivity_lower` and `sensitivity_upper`.

    Raises:
        ValueError: The arrays are not valid (`metrics.check_arrays`), or an image has no patient ID.
    """
    metrics.check_arrays(y_true, y_prob)
    thresholds = thresholds[config.LABELS].mask(np.isnan(y_prob).any(axis=0))
    true, flagged = y_true.astype(bool), y_prob >= thresholds.to_numpy()
    counts = dict(zip(COUNTS, (true & flagged, ~true & flagged, true & ~flagged, ~true & ~flagged), strict=True))
    table = thresholds.to_frame("threshold").assign(**{name: c.sum(axis=0) for name, c in counts.items()})
    rates = {
        "sensitivity": (counts["true_positives"], true),
        "specificity": (counts["true_negatives"], ~true),
        "ppv": (counts["true_positives"], flagged),
        "npv": (counts["true_negatives"], ~flagged),
    }
    for name, (hits, cases) in rates.items():
        table[name] = resampling.divide(hits.sum(axis=0), cases.sum(axis=0))
        if patients is not None:
            table[f"{name}_lower"], table[f"{name}_upper"] = resampling.percentile_interval(
                resampling.bootstrap_share(hits, cases, patients)
            )
    table.loc[~metrics.enough_cases(y_true), table.filter(regex="^(sensitivity|specificity)").columns] = np.nan
    table["fp_per_1000"] = 1000 * table.false_positives / len(y_true)
    table["fn_per_1000"] = 1000 * table.false_negatives / len(y_true)
    return table.dropna(subset="threshold")


def describe_errors(table):
    """Names the findings with the most false positives and with the most false negatives per 1,000 images.

    Args:
        table: DataFrame returned by `operating_table`.

    Returns:
        str.
    """
    table = table.dropna(subset="sensitivity")
    if table.empty:
        return "No finding has a threshold and enough images to count errors."
    false_positives, false_negatives = (
        f"{rates.max():.0f} ({metrics.join_names(rates.index[rates == rates.max()])})"
        for rates in (table.fp_per_1000, table.fn_per_1000)
    )
    return f"Most false positives per 1,000 images: {false_positives}; most false negatives: {false_negatives}."
