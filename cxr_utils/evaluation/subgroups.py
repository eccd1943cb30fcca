"""Subgroup analysis: performance by sex, age and view position."""

import itertools

import numpy as np
import pandas as pd

from cxr_utils import config, data
from cxr_utils.evaluation import metrics, resampling

AGE_BANDS = [0, 18, 40, 60, np.inf]  # years
_RATES = ["fnr", "fnr_lower", "fnr_upper"]
_COLUMNS = ["images", "patients", "findings", "auroc", "lower", "upper", "positives", *_RATES]


def subgroup_table(frame, y_true, y_prob, thresholds):
    """Computes mean AUROC and false-negative rate of subgroups, with 95 % intervals by a patient-level bootstrap.

    The groups of a kind are evaluated on the same findings: those with a threshold and with at least
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
        rate: share of these pairs below the threshold). `attrs["findings"]` is a dict from kind to the list of
        findings.

    Raises:
        ValueError: A column is missing, or the arrays are not valid (`metrics.check_arrays`).
    """
    metrics.check_arrays(y_true, y_prob)
    data.check_frame(frame, ["patientID", "gender", "age", "viewposition"], len(y_true))
    bands = itertools.pairwise(AGE_BANDS)
    names = [f"{low}–{high - 1:.0f}" if np.isfinite(high) else f"{low}+" for low, high in bands]
    kinds = {
        "sex": frame.gender.map({"F": "female", "M": "male"}),
        "age": pd.cut(frame.age, AGE_BANDS, right=False, labels=names),
        "view": frame.viewposition,
    }
    has_threshold = thresholds[config.LABELS].notna().to_numpy()
    rows, findings = {}, {}
    for kind, groups in kinds.items():
        members = {str(name): (groups == name).to_numpy() for name in sorted(groups.dropna().unique())}
        usable = {name: metrics.enough_cases(y_true[images]) & has_threshold for name, images in members.items()}
        most = max((known.sum() for known in usable.values()), default=0)
        large = [name for name, known in usable.items() if known.sum() >= max(1, most / 2)]
        common = np.flatnonzero(np.all([usable[name] for name in large], axis=0)) if large else []
        findings[kind] = [config.LABELS[finding] for finding in common]
        for name, images in members.items():
            row = {"images": images.sum(), "patients": frame.patientID[images].nunique(), "findings": 0, "positives": 0}
            if name in large and len(common):
                row |= _evaluate(frame[images], y_true[images], y_prob[images], thresholds, common)
            rows[kind, name] = row
    table = pd.DataFrame.from_dict(rows, orient="index", columns=_COLUMNS).rename_axis(["kind", "group"])
    table = table.astype({"images": int, "patients": int, "findings": int, "positives": int})
    table.attrs["findings"] = findings
    return table


def _evaluate(frame, y_true, y_prob, thresholds, findings):
    true, prob = y_true[:, findings], y_prob[:, findings]
    mean = metrics.metric_table(true, prob, frame.patientID).attrs["mean"]
    false_negatives = (true == 1) & (prob < thresholds[config.LABELS].to_numpy()[findings])
    positives = true.sum(axis=1, dtype=float)
    samples = resampling.bootstrap_share(false_negatives.sum(axis=1), positives, frame.patientID)
    rates = [false_negatives.sum() / positives.sum(), *resampling.percentile_interval(samples)]
    row = {key: mean[key] for key in ("findings", "auroc", "lower", "upper")} | {"positives": int(positives.sum())}
    return row | dict(zip(_RATES, rates, strict=True))


def describe_subgroups(table):
    """Lists for each kind of group the findings evaluated and the groups that are too few images with enough findings.

    Args:
        table: DataFrame returned by `subgroup_table`.

    Returns:
        str, one line per kind.
    """
    lines = []
    for kind, part in table.groupby(level="kind", sort=False):
        small = [f"{group} ({row.images:,.0f} images)" for (_, group), row in part.iterrows() if not row.findings]
        labels = [label.replace("_", " ") for label in table.attrs["findings"][kind]]
        findings = f"all {len(labels)} findings" if len(labels) == len(config.LABELS) else ", ".join(labels)
        line = f"{kind}: evaluated on {findings or 'no finding'}"
        lines.append(line + (f"; too few images with enough findings: {', '.join(small)}" if small else ""))
    return "\n".join(lines)
