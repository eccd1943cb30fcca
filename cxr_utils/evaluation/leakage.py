"""Data leakage: test results of patients with and without images in the development set (training and validation)."""

import numpy as np
import pandas as pd

from cxr_utils.evaluation import differences, metrics, subgroups


def leakage_table(y_true, y_prob, patients, seen):
    """Compares test images of patients with images in the development set with test images of all other patients.

    Both groups are evaluated on the same findings: those with predictions and at least `metrics.MIN_CASES` positive and
    as many negative images in each group.

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
    groups = {"seen": seen, "unseen": ~seen, "difference": np.ones(len(seen), bool)}
    rows = {name: {"images": rows.sum(), "patients": len(set(patients[rows]))} for name, rows in groups.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["auroc", "lower", "upper", "images", "patients"])
    common = np.logical_and(
        *(metrics.enough_cases(y_true[rows], y_prob[rows], patients=patients[rows]) for rows in (seen, ~seen))
    )
    if common.any():
        values, deviations = subgroups.group_auroc(y_true[:, common], y_prob[:, common], patients, [~seen, seen])
        limits = differences.with_difference(values, values + deviations)
        table.loc[["unseen", "seen", "difference"], ["auroc", "lower", "upper"]] = limits
    return table.assign(findings=common.sum())


def describe_leakage(table):
    """States the mean AUROC of both groups of patients, and their difference with its interval.

    Args:
        table: DataFrame returned by `leakage_table`.

    Returns:
        str.
    """
    seen, unseen, difference = (table.loc[row] for row in ("seen", "unseen", "difference"))
    if not seen.images:
        return f"None of the {unseen.images:,.0f} test images is of a patient with images in the development set."
    groups = [
        f"{seen.images:,.0f} images of patients with images in the development set",
        f"{unseen.images:,.0f} of others",
    ]
    if not difference.findings:
        return f"{' and '.join(groups)}: too few for any finding to compare AUROC. Their difference is unknown."
    values = [metrics.with_interval(*row[["auroc", "lower", "upper"]]) for row in (seen, unseen)]
    limits = difference[["auroc", "lower", "upper"]]
    return (
        f"Mean AUROC of {difference.findings:.0f} findings: {values[0]} on {groups[0]}, {values[1]} on {groups[1]}. "
        f"Difference: {differences.with_limits(*limits)}, "
        f"{'' if difference.lower > 0 or difference.upper < 0 else 'no '}statistically significant difference."
    )
