"""Data leakage: test results of patients with and without images in the development set (training and validation)."""

import numpy as np
import pandas as pd

from cxr_utils import config
from cxr_utils.evaluation import metrics, resampling


def leakage_table(y_true, y_prob, patients, seen):
    """Compares test images of patients with images in the development set with test images of all other patients.

    Both groups are evaluated on the same findings: those with at least `metrics.MIN_CASES` positive and as many
    negative images in each group.

    Args:
        y_true: `(n, 14)` 0 or 1, labels of test images.
        y_prob: `(n, 14)` in [0, 1].
        patients: `(n,)`, patient ID of each image.
        seen: `(n,)` bool, whether the patient has images in the development set.

    Returns:
        DataFrame with the rows `"seen"`, `"unseen"` and `"difference"` (seen − unseen) and the columns `auroc` (mean of
        the common findings), `lower`, `upper` (95 % interval, patient-level bootstrap), `images`, `patients` and
        `findings` (number of common findings). Without a common finding, the first three are NaN.

    Raises:
        ValueError: The arrays are not valid (`metrics.check_arrays`), `patients` or `seen` has another length, or an
            image has no patient ID.
    """
    metrics.check_arrays(y_true, y_prob)
    patients, seen = np.asarray(patients), np.asarray(seen, bool)
    if not patients.shape == seen.shape == (len(y_true),):
        raise ValueError(
            f"patients has shape {patients.shape} and seen has shape {seen.shape}; expected ({len(y_true)},) for both, "
            "one value per image."
        )
    groups = {"seen": seen, "unseen": ~seen}
    common = np.flatnonzero(metrics.enough_cases(y_true[seen]) & metrics.enough_cases(y_true[~seen]))
    rows, deviations = {}, {}
    for name, images in groups.items():
        rows[name] = {"images": images.sum(), "patients": len(np.unique(patients[images])), "findings": len(common)}
        if len(common):
            true, prob, group_patients = y_true[images][:, common], y_prob[images][:, common], patients[images]
            table = metrics.metric_table(true, prob, group_patients)
            rows[name] |= {key: table.attrs["mean"][key] for key in ("auroc", "lower", "upper")}
            # The groups have no patient in common, so each has its own, independent resamples.
            samples, _ = resampling.bootstrap_auroc(true, prob, group_patients, seed=config.SEED + len(deviations))
            # Deviations from the estimates, for the reason given in `metrics.metric_table`.
            deviations[name] = np.nanmean(samples - table.auroc.to_numpy(), axis=1)
    rows["difference"] = {"images": len(seen), "patients": len(np.unique(patients)), "findings": len(common)}
    if len(common):
        value = rows["seen"]["auroc"] - rows["unseen"]["auroc"]
        lower, upper = value + resampling.percentile_interval(deviations["seen"] - deviations["unseen"])
        rows["difference"] |= {"auroc": value, "lower": lower, "upper": upper}
    columns = ["auroc", "lower", "upper", "images", "patients", "findings"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def describe_leakage(table):
    """Describes the difference between the two groups of patients, with its interval.

    No cause is stated: the groups also differ in other respects. For example, a patient with many images is more likely
    to have one in the development set.

    Args:
        table: DataFrame returned by `leakage_table`.

    Returns:
        str.
    """
    seen, unseen, difference = (table.loc[row] for row in ("seen", "unseen", "difference"))
    if not seen.images:
        return (
            f"None of the {unseen.images:,.0f} test images is of a patient with images in the development set: "
            "there is no patient overlap."
        )
    counts = (
        f"{seen.images:,.0f} images of patients with images in the development set, "
        f"{unseen.images:,.0f} images of patients not in the development set"
    )
    if not difference.findings:
        return (
            f"{counts}: no finding has at least {metrics.MIN_CASES} positive and {metrics.MIN_CASES} negative images "
            "in both groups, so AUROC cannot be compared. The effect of patient overlap on the results is unknown."
        )
    verdict = resampling.describe_significance(difference.lower, difference.upper)
    return (
        f"{counts}: mean AUROC over {difference.findings:.0f} findings {metrics.with_interval(*seen.iloc[:3])} and "
        f"{metrics.with_interval(*unseen.iloc[:3])}, difference (first − second) {difference.auroc:+.3f} "
        f"(95 % CI {difference.lower:+.3f} to {difference.upper:+.3f}): {verdict}. "
        "The groups can differ in other respects, so this comparison does not show a cause. "
        "For new patients, use the result for patients not in the development set."
    )
