"""Whether a model serves some patients worse than others: by sex, age and view."""

import numpy as np
import pandas as pd

from cxr_utils import config, data
from cxr_utils.evaluation import metrics, resampling

AGE_BANDS = [0, 18, 40, 60, np.inf]  # years
_COLUMNS = [
    "images", "patients", "findings", "auroc", "lower", "upper", "positives", "fnr", "fnr_lower", "fnr_upper",
]  # fmt: skip


def subgroup_table(frame, y_true, y_prob, thresholds):
    """Tabulates mean AUROC and false-negative rate of subgroups with 95 % intervals by patient bootstrap.

    Groups of a kind are compared on the same findings: those with at least `metrics.MIN_CASES` images with and without
    in each of them. A group in which fewer than half as many findings reach that as in the best one is too small to be judged.

    Args:
        frame: of n images, with `patientID`, `gender` (M or F), `age` (years) and `viewposition` (PA or AP).
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].
        thresholds: Series indexed by label, chosen on validation.

    Returns:
        Frame indexed by kind (`"sex"`, `"age"`, `"view"`) and group: `images`, `patients`, `findings` (number that the rest is over, 0
        for a group too small to be judged), `auroc`, `lower`, `upper` (mean of the findings), `positives` (pairs of image and one of these
        findings present), `fnr`, `fnr_lower`, `fnr_upper` (share of those pairs not called). `attrs["findings"]` is a dict of kind → the findings.

    Raises:
        ValueError: a column is missing, or images or predictions don't match (`metrics.check_arrays`).
    """
    metrics.check_arrays(y_true, y_prob)
    data.check_frame(frame, ["patientID", "gender", "age", "viewposition"], len(y_true))
    names = [f"{low}–{high - 1:.0f}" if np.isfinite(high) else f"{low}+" for low, high in zip(AGE_BANDS, AGE_BANDS[1:])]
    kinds = {
        "sex": frame.gender.map({"F": "women", "M": "men"}),
        "age": pd.cut(frame.age, AGE_BANDS, right=False, labels=names),
        "view": frame.viewposition,
    }
    decided = thresholds[config.LABELS].notna().to_numpy()
    rows, findings = {}, {}
    for kind, groups in kinds.items():
        members = {str(name): (groups == name).to_numpy() for name in sorted(groups.dropna().unique())}
        judged = {name: metrics.enough_cases(y_true[images]) & decided for name, images in members.items()}
        most = max((known.sum() for known in judged.values()), default=0)
        large = [name for name, known in judged.items() if known.sum() >= max(1, most / 2)]
        common = np.flatnonzero(np.all([judged[name] for name in large], axis=0)) if large else []
        findings[kind] = [config.LABELS[finding] for finding in common]
        for name, images in members.items():
            row = {"images": images.sum(), "patients": frame.patientID[images].nunique(), "findings": 0, "positives": 0}
            if name in large and len(common):
                row |= _judge(frame[images], y_true[images], y_prob[images], thresholds, common)
            rows[kind, name] = row
    table = pd.DataFrame.from_dict(rows, orient="index", columns=_COLUMNS).rename_axis(["kind", "group"])
    table = table.astype({"images": int, "patients": int, "findings": int, "positives": int})
    table.attrs["findings"] = findings
    return table


def _judge(frame, y_true, y_prob, thresholds, findings):
    true, prob = y_true[:, findings], y_prob[:, findings]
    mean = metrics.metric_table(true, prob, frame.patientID).attrs["mean"]
    missed = (true == 1) & (prob < thresholds[config.LABELS].to_numpy()[findings])
    cases = true.sum(axis=1, dtype=float)
    lower, upper = resampling.percentile_interval(
        resampling.bootstrap_share(missed.sum(axis=1), cases, frame.patientID)
    )
    rate = {"positives": int(cases.sum()), "fnr": missed.sum() / cases.sum(), "fnr_lower": lower, "fnr_upper": upper}
    return {key: mean[key] for key in ("findings", "auroc", "lower", "upper")} | rate


def describe_subgroups(table):
    """Says of each kind in a table of `subgroup_table` over which findings it is, and which groups are too small to be judged."""
    sentences = []
    for kind, part in table.groupby(level="kind", sort=False):
        small = [f"{group} ({row.images:,.0f} images)" for (_, group), row in part.iterrows() if not row.findings]
        findings = table.attrs["findings"][kind]
        told = f"{kind}: over {'all 14 findings' if len(findings) == len(config.LABELS) else ', '.join(findings) or 'no finding'}"
        sentences.append(told + (f"; too small to be judged: {', '.join(small)}" if small else ""))
    return "\n".join(sentences)
