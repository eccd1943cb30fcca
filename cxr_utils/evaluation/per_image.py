"""Errors per image: what flags for any of the findings mean for an image as a whole."""

import numpy as np
import pandas as pd

from cxr_utils import config
from cxr_utils.evaluation import intervals, metrics, resampling

# Each measure in words, with the images that it is a share or a mean of.
PER_IMAGE = {
    "any_false_positive": "images with at least one false positive",
    "no_finding_flagged": "images without a finding that are flagged",
    "abnormal_unflagged": "images with a finding of which nothing is flagged",
    "flagged_findings": "flagged findings per image",
}


def per_image_table(y_true, y_prob, thresholds, patients):
    """Computes errors per image, with 95 % intervals. Errors per finding are in `operating_table`.

    Intervals of shares are those of `intervals.wilson_interval`, that of the mean number of flags by a patient-level
    bootstrap.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].
        thresholds: Series indexed by label. An image is flagged at or above the threshold, never for a finding without
            a threshold or without predictions.
        patients: `(n,)`, patient ID of each image.

    Returns:
        DataFrame indexed by measure: `any_false_positive` (share of all images that are flagged for a finding that they
        do not show), `no_finding_flagged` (share of the images without any of the 14 findings that are flagged for
        one), `abnormal_unflagged` (share of the images with a finding that are flagged for none), `flagged_findings`
        (mean number of flags of an image); with `value`, `lower`, `upper`, `images` and `patients` (of which it is a
        share or mean) and `findings` (number of findings that can be flagged). NaN where there are no such images, or
        no finding can be flagged.

    Raises:
        ValueError: The arrays are not valid (`metrics.check_arrays`), or an image has no patient ID.
    """
    metrics.check_arrays(y_true, y_prob)
    can_flag = thresholds[config.LABELS].notna().to_numpy() & ~np.isnan(y_prob).any(axis=0)
    flagged = (y_prob >= thresholds[config.LABELS].to_numpy()) & can_flag
    count, abnormal, everything = flagged.sum(axis=1), y_true.any(axis=1), np.ones(len(y_true), bool)
    cases = np.column_stack([everything, ~abnormal, abnormal, everything]) & can_flag.any()
    hits = np.column_stack([(flagged & (y_true == 0)).any(axis=1), count > 0, count == 0, count]) * cases
    limits = np.column_stack(
        [
            intervals.wilson_interval(hits[:, :-1], cases[:, :-1], patients),
            resampling.percentile_interval(resampling.bootstrap_share(count * cases[:, -1], cases[:, -1], patients)),
        ]
    )
    images, values = cases.sum(axis=0), resampling.divide(hits.sum(axis=0), cases.sum(axis=0))
    table = pd.DataFrame([values, *limits], ["value", "lower", "upper"], pd.Index(PER_IMAGE, name="measure")).T
    return table.assign(images=images, patients=metrics.count_patients(cases, patients), findings=can_flag.sum())


def describe_per_image(table):
    """States the errors per image.

    Args:
        table: DataFrame returned by `per_image_table`.

    Returns:
        str.
    """
    limits = {name: table.loc[name, ["value", "lower", "upper"]].astype(float) for name in PER_IMAGE}
    shares = {name: metrics.with_interval(*(100 * values), digits=0) for name, values in limits.items()}
    return (
        f"In % of the images (95 % CI): at least one false positive {shares['any_false_positive']}; flagged, of those "
        f"without a finding {shares['no_finding_flagged']}; nothing flagged, of those with one "
        f"{shares['abnormal_unflagged']}. Flagged findings per image: "
        f"{metrics.with_interval(*limits['flagged_findings'], digits=1)}."
    )
