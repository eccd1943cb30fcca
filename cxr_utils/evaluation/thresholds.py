"""From probabilities to calls: thresholds and scaling, chosen on validation images and kept inside the model's file."""

import numpy as np
from sklearn.metrics import roc_curve

from cxr_utils import config
from cxr_utils.evaluation import calibration, metrics, resampling

SENSITIVITY = 0.9
COUNTS = ["true_positives", "false_positives", "false_negatives", "true_negatives"]


def choose_thresholds(y_true, y_prob):
    """Chooses each finding's thresholds and scaling. On validation images, never on test images.

    Args:
        y_true: `(n, 14)` 0 or 1, of validation images.
        y_prob: `(n, 14)` in [0, 1], as the model gives them.

    Returns:
        Frame indexed by label: `youden` (threshold of highest sensitivity + specificity, Youden 1950), `sensitive` (the highest one
        that finds at least 90 % of the images with the finding), `slope` and `intercept` (of `calibration.fit_platt`). An image is called
        from the threshold on. NaN for a finding with fewer than `metrics.MIN_CASES` images with or without it; `youden` also where no
        threshold is better than chance.
    """
    table = calibration.fit_platt(y_true, y_prob)
    table.insert(0, "youden", np.nan)
    table.insert(1, "sensitive", np.nan)
    for finding in np.flatnonzero(metrics.enough_cases(y_true)):
        fpr, tpr, cuts = roc_curve(y_true[:, finding], y_prob[:, finding], drop_intermediate=False)
        # The curve begins with calling no image at all, from infinity on: chance, and no threshold.
        youden = cuts[np.argmax(tpr - fpr)]
        table.iloc[finding, :2] = youden if np.isfinite(youden) else np.nan, cuts[np.argmax(tpr >= SENSITIVITY)]
    return table


def operating_table(y_true, y_prob, thresholds, patients=None):
    """Counts what a model gets right and wrong when it calls a finding from its threshold on.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].
        thresholds: Series indexed by label; NaN leaves a finding out.
        patients: `(n,)`, whose image it is, or `None` for no intervals.

    Returns:
        Frame indexed by label: `threshold`, `true_positives`, `false_positives`, `false_negatives`, `true_negatives` (images),
        `sensitivity`, `specificity` (NaN with fewer than `metrics.MIN_CASES` images with or without the finding), `ppv` and `npv` (at
        the prevalence of these images; NaN when no image is called, or none is not), each of the four followed by its 95 % interval by
        patient bootstrap, such as `sensitivity_lower`, `sensitivity_upper`; `fp_per_1000`, `fn_per_1000` (images of 1,000).

    Raises:
        ValueError: predictions don't match (`metrics.check_arrays`), or an image has no patient.
    """
    metrics.check_arrays(y_true, y_prob)
    true, called = y_true.astype(bool), y_prob >= thresholds[config.LABELS].to_numpy()
    table = thresholds[config.LABELS].to_frame("threshold")
    found, cleared = true & called, ~true & ~called
    for name, images in zip(COUNTS, (found, ~true & called, true & ~called, cleared)):
        table[name] = images.sum(axis=0)
    shares = {
        "sensitivity": (found, true),
        "specificity": (cleared, ~true),
        "ppv": (found, called),
        "npv": (cleared, ~called),
    }
    for name, (hits, cases) in shares.items():
        with np.errstate(invalid="ignore"):
            table[name] = hits.sum(axis=0) / cases.sum(axis=0)
        if patients is not None:
            limits = resampling.percentile_interval(resampling.bootstrap_share(hits, cases, patients))
            table[f"{name}_lower"], table[f"{name}_upper"] = limits
    table.loc[
        ~metrics.enough_cases(y_true), [name for name in table if name.startswith(("sensitivity", "specificity"))]
    ] = np.nan
    for name, count in (("fp_per_1000", "false_positives"), ("fn_per_1000", "false_negatives")):
        table[name] = 1000 * table[count] / len(y_true)
    return table.dropna(subset="threshold")


def describe_errors(table):
    """Says which finding of a table of `operating_table` is most often called in vain, and which is most often missed."""
    table = table.dropna(subset="sensitivity")
    if table.empty:
        return "No finding is on enough images to be judged at a threshold."
    vain, missed = table.fp_per_1000.idxmax(), table.fn_per_1000.idxmax()
    return (
        f"Most often called in vain: {vain.replace('_', ' ')}, {table.fp_per_1000[vain]:.0f} of 1,000 images; most often missed: "
        f"{missed.replace('_', ' ')}, {table.fn_per_1000[missed]:.0f} of 1,000."
    )
