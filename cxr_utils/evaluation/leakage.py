"""What a result owes to patients that the model has seen before."""

import numpy as np
import pandas as pd

from cxr_utils import config
from cxr_utils.evaluation import metrics, resampling


def leakage_table(y_true, y_prob, patients, seen):
    """Compares images of patients in training or validation with those of patients in neither, over the same findings.

    Args:
        y_true: `(n, 14)` 0 or 1, of test images.
        y_prob: `(n, 14)` in [0, 1].
        patients: `(n,)`, whose image it is.
        seen: `(n,)` bool, whether the patient was in training or validation.

    Returns:
        Frame of the rows `"seen"`, `"unseen"` and `"difference"` (seen − unseen) with `auroc`, `lower`, `upper` (mean over the
        findings that both have on at least `metrics.MIN_CASES` images with and without, 95 % by patient bootstrap; NaN when there is none),
        `images`, `patients` and `findings`.

    Raises:
        ValueError: as of `metrics.check_arrays`, or an image has no patient.
    """
    metrics.check_arrays(y_true, y_prob)
    patients, seen = np.asarray(patients), np.asarray(seen, bool)
    if not patients.shape == seen.shape == (len(y_true),):
        raise ValueError(
            f"Patients have the shape {patients.shape}, seen {seen.shape}: expected ({len(y_true)},) of both, one for each image."
        )
    groups = {"seen": seen, "unseen": ~seen}
    both = np.flatnonzero(metrics.enough_cases(y_true[seen]) & metrics.enough_cases(y_true[~seen]))
    rows, drawn = {}, {}
    for name, images in groups.items():
        rows[name] = {"images": images.sum(), "patients": len(np.unique(patients[images])), "findings": len(both)}
        if len(both):
            true, prob, whose = y_true[images][:, both], y_prob[images][:, both], patients[images]
            table = metrics.metric_table(true, prob, whose)
            rows[name] |= {key: table.attrs["mean"][key] for key in ("auroc", "lower", "upper")}
            # The groups are of different patients: each has draws of its own.
            samples, _ = resampling.bootstrap_auroc(true, prob, whose, seed=config.SEED + len(drawn))
            # By deviations, as in `measures`: a draw without a rare finding would have the mean level of the others.
            drawn[name] = np.nanmean(samples - table.auroc.to_numpy(), axis=1)
    rows["difference"] = {"images": len(seen), "patients": len(np.unique(patients)), "findings": len(both)}
    if len(both):
        value = rows["seen"]["auroc"] - rows["unseen"]["auroc"]
        lower, upper = value + resampling.percentile_interval(drawn["seen"] - drawn["unseen"])
        rows["difference"] |= {"auroc": value, "lower": lower, "upper": upper}
    columns = ["auroc", "lower", "upper", "images", "patients", "findings"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def describe_leakage(table):
    """Says in words what the difference in a table of `leakage_table` means."""
    seen, unseen, difference = (table.loc[row] for row in ("seen", "unseen", "difference"))
    if not seen.images:
        return (
            f"No test image shows a patient of training or validation, by check of all {unseen.images:,.0f}: nothing here is owed to "
            "recognizing patients."
        )
    counts = f"{seen.images:,.0f} images of seen patients, {unseen.images:,.0f} of unseen ones"
    if not difference.findings:
        return (
            f"{counts}: no finding is on {metrics.MIN_CASES} images of both, so these images can't tell how much of the result is owed to "
            "recognizing patients. Trust it the less."
        )
    told = (
        f"{counts}: mean AUROC {metrics.with_interval(*seen.iloc[:3])} against {metrics.with_interval(*unseen.iloc[:3])}, a difference of "
        f"{difference.auroc:+.3f} ({difference.lower:+.3f} to {difference.upper:+.3f}) over {difference.findings:.0f} findings. "
    )
    if difference.lower > 0:
        # Of a patient with many images one is the likelier in training: the groups differ in more than in having been seen.
        return told + (
            "The model does better on patients it has seen: it recognizes them, or they, who have more images, are the easier ones. Expect the "
            "lower figure for new patients."
        )
    if difference.upper < 0:
        return (
            told + "Unseen patients fare better here, so recognition can't be the reason: their images may be easier."
        )
    return told + "These images can't tell whether the model profits from having seen the patients."
