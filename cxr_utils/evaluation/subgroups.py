"""Subgroup analysis: performance by sex, age and view position."""

import numpy as np
import pandas as pd

from cxr_utils import config, data
from cxr_utils.evaluation import metrics, resampling

AGE_BANDS = {"0–17": 0, "18–39": 18, "40–59": 40, "60+": 60}  # name → lowest age in years
_RATES = ["fnr", "fnr_lower", "fnr_upper"]
_COLUMNS = ["images", "patients", "findings", "auroc", "lower", "upper", "positives", *_RATES]


def subgroup_table(frame, y_true, y_prob, thresholds):
    """Computes mean AUROC and false-negative rate of subgroups, with 95 % intervals by a patient-level bootstrap.

    The groups of a kind are evaluated on the same findings: those with predictions, a threshold and at least
    `metrics.MIN_CASES` positive and as many negative images in each of them. A group in which fewer than half as many
    findings meet this criterion as in the group with the most is too small and does not restrict the others.

    Args:
        frame: DataFrame of n images with `patientID`, `gender` (M or F), `age` (years) and `viewposition` (PA or AP).
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].
        thresholds: Series indexed by label, chosen on validation images; NaN leaves a finding out.

    Returns:
        DataFrame indexed by kind (`"sex"`, `"age"`, `"view"`) and group: `images`, `patients`, `findings` (number of
        findings evaluated; 0 for a group that is too small), `auroc`, `lower`, `upper` (macro-average), `positives`
        (pairs of an image and one of these findings that it shows), `fnr`, `fnr_lower`, `fnr_upper` (false-negative
        rate: share of these pairs below the threshold).

    Raises:
        ValueError: A column is missing, or the arrays are not valid (`metrics.check_arrays`).
    """
    metrics.check_arrays(y_true, y_prob)
    data.check_frame(frame, ["patientID", "gender", "age", "viewposition"], len(y_true))
    kinds = {
        "sex": frame.gender.map({"F": "female", "M": "male"}),
        "age": pd.cut(frame.age, [*AGE_BANDS.values(), np.inf], right=False, labels=list(AGE_BANDS)),
        "view": frame.viewposition,
    }
    has_threshold = thresholds[config.LABELS].notna().to_numpy()
    rows = {}
    for kind, groups in kinds.items():
        members = {name: (groups == name).to_numpy() for name in sorted(groups.dropna().unique())}
        usable = {
            name: metrics.enough_cases(y_true[images], y_prob[images]) & has_threshold
            for name, images in members.items()
        }
        most = max((known.sum() for known in usable.values()), default=0)
        usable = {name: known for name, known in usable.items() if known.sum() >= max(1, most / 2)}
        common = np.flatnonzero(np.all([*usable.values()], axis=0))
        for name, images in members.items():
            patients = frame.patientID[images].nunique()
            rows[kind, name] = {"images": images.sum(), "patients": patients, "findings": 0, "positives": 0}
            if name in usable and len(common):
                rows[kind, name] |= _evaluate(frame[images], y_true[images], y_prob[images], thresholds, common)
    return pd.DataFrame.from_dict(rows, orient="index", columns=_COLUMNS).rename_axis(["kind", "group"])


def _evaluate(frame, y_true, y_prob, thresholds, findings):
    true, prob = y_true[:, findings], y_prob[:, findings]
    false_negatives = ((true == 1) & (prob < thresholds[config.LABELS].to_numpy()[findings])).sum(axis=1)
    positives = true.sum(axis=1, dtype=float)
    samples = resampling.bootstrap_share(false_negatives, positives, frame.patientID)
    rates = [false_negatives.sum() / positives.sum(), *resampling.percentile_interval(samples)]
    mean = metrics.metric_table(true, prob, frame.patientID).attrs["mean"]
    return mean | {"positives": int(positives.sum())} | dict(zip(_RATES, rates, strict=True))


def describe_subgroups(table):
    """Compares the false-negative rates of the groups of a kind, with 95 % intervals, on the same findings.

    Args:
        table: DataFrame returned by `subgroup_table`.

    Returns:
        str. A kind with fewer than two groups with enough images is named as not compared.
    """
    kinds = {kind: group.droplevel(0).query("findings > 0") for kind, group in table.groupby(level=0, sort=False)}
    rates = [
        f"by {kind} (findings: {group.findings.iloc[0]:.0f}): "
        + ", ".join(
            f"{name} {metrics.with_interval(*values, digits=0)}" for name, *values in (100 * group[_RATES]).itertuples()
        )
        for kind, group in kinds.items()
        if len(group) > 1
    ]
    single = [kind for kind, group in kinds.items() if len(group) < 2]
    sentence = f"False-negative rate in % (95 % CI) {'; '.join(rates)}." if rates else "False-negative rate: n/a."
    return sentence + (
        f" Not compared, fewer than two groups have enough images: {', '.join(single)}." if single else ""
    )
