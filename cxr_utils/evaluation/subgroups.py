"""Subgroup analysis: differences between groups of patients by sex, age and view position."""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from cxr_utils import config, data
from cxr_utils.evaluation import differences, metrics, resampling

AGE_BANDS = {"0–17": 0, "18–39": 18, "40–59": 40, "60+": 60}  # name → lowest age in years
# Each measure in words. The mean over the findings (macro) weights them equally; pooled, frequent ones weigh more.
MEASURES = {
    "auroc": "mean AUROC",
    "sensitivity": "sensitivity",
    "sensitivity_pooled": "pooled sensitivity",
    "false_positive_rate": "false-positive rate",
    "false_positive_rate_pooled": "pooled false-positive rate",
}
_DIFFERENCE = ["difference", "difference_lower", "difference_upper"]
_RESULTS = ["value", "lower", "upper", "reference", *_DIFFERENCE, "p_holm"]


def subgroup_table(frame, y_true, y_prob, thresholds):
    """Computes the performance in subgroups and its difference from the largest group, by a patient-level bootstrap.

    All groups are evaluated on the same resamples of all patients, so that a patient in two groups (with PA and AP
    images) counts in both. The groups of a kind are evaluated on the same findings: those with predictions, a threshold
    and at least `metrics.MIN_CASES` patients with and as many without the finding in each of them. A group in which
    fewer than half as many findings meet this criterion as in the group with the most is too small and does not
    restrict the others.

    Args:
        frame: DataFrame of n images with `patientID`, `gender` (M or F), `age` (years) and `viewposition` (PA or AP).
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].
        thresholds: Series indexed by label, chosen on validation images; NaN leaves a finding out.

    Returns:
        DataFrame indexed by kind (`"sex"`, `"age"`, `"view"`), group and measure (key of `MEASURES`): `images`,
        `patients`, `findings` (number of findings evaluated; 0 for a group that is too small), `value`, `lower`,
        `upper`, `reference` (the evaluated group of this kind with the most images), `difference` (group − reference,
        NaN for the reference), `difference_lower`, `difference_upper` (95 % intervals) and `p_holm` (p-value of the
        difference, Holm-corrected over all differences of the table).

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
    thresholds, parts = thresholds[config.LABELS], {}
    for kind, groups in kinds.items():
        members = {name: (groups == name).to_numpy() for name in sorted(groups.dropna().unique())}
        usable = {
            name: metrics.enough_cases(y_true[images], y_prob[images], patients=frame.patientID[images])
            & thresholds.notna().to_numpy()
            for name, images in members.items()
        }
        most = max((known.sum() for known in usable.values()), default=0)
        usable = {name: known for name, known in usable.items() if known.sum() >= max(1, most / 2)}
        common = np.flatnonzero(np.all([*usable.values()], axis=0))
        evaluated = {name: members[name] for name in usable if len(common)}
        columns = y_true[:, common], y_prob[:, common], thresholds.iloc[common]
        found = _compare(*columns, frame.patientID, evaluated) if evaluated else {}
        for name, images in members.items():
            counts = {
                "images": images.sum(),
                "patients": frame.patientID[images].nunique(),
                "findings": len(common) * (name in evaluated),
            }
            rows = {measure: table.loc[name] for measure, table in found.items() if name in evaluated}
            parts[kind, name] = pd.DataFrame(rows, _RESULTS, MEASURES).T.assign(**counts)
    table = pd.concat(parts, names=["kind", "group", "measure"]).infer_objects()
    return table.assign(p_holm=differences.holm(table.p_holm))[[*counts, *_RESULTS]]


def group_auroc(y_true, y_prob, patients, groups):
    """Computes the mean AUROC of several groups of images, and how far it deviates on the same resamples of patients.

    Args:
        y_true: `(n, k)` 0 or 1.
        y_prob: `(n, k)` in [0, 1].
        patients: `(n,)`, patient ID of each image.
        groups: list of g arrays `(n,)` bool, the images of each group.

    Returns:
        `(g,)` mean AUROCs and `(resamples, g)` deviations from them.
    """
    # Images outside a group have no label in its columns.
    labels = np.hstack([np.where(images[:, None], y_true, np.nan) for images in groups])
    samples = resampling.bootstrap_auroc(labels, np.tile(y_prob, len(groups)), patients)[0]
    values = [np.atleast_1d(roc_auc_score(y_true[images], y_prob[images], average=None)) for images in groups]
    return _means(values, samples)


def _group_rate(hits, cases, patients, groups):
    """Computes the mean of k rates, `hits` / `cases` `(n, k)`, of several groups, like `group_auroc`."""
    hits, cases = (np.hstack([each * images[:, None] for images in groups]) for each in (hits, cases))
    values = hits.sum(axis=0) / cases.sum(axis=0)
    return _means(values.reshape(len(groups), -1), resampling.bootstrap_share(hits, cases, patients))


def _means(values, samples):
    """Returns the means of `(g, k)` values, and their deviations on resamples `(r, g · k)`."""
    parts = np.split(samples, len(values), axis=1)
    return np.mean(values, axis=1), np.column_stack([*map(resampling.mean_deviations, values, parts)])


def _compare(y_true, y_prob, thresholds, patients, groups):
    """Returns a dict of measure → DataFrame indexed by group, for groups that are evaluated on the same findings."""
    images, flagged = [*groups.values()], y_prob >= thresholds.to_numpy()
    present, absent = y_true == 1, y_true == 0
    rates = {"sensitivity": (flagged & present, present), "false_positive_rate": (flagged & absent, absent)}
    rates |= {f"{name}_pooled": [x.sum(axis=1, keepdims=True) for x in counts] for name, counts in rates.items()}
    measured = {name: _group_rate(*counts, patients, images) for name, counts in rates.items()}
    measured["auroc"] = group_auroc(y_true, y_prob, patients, images)
    largest = np.argmax([each.sum() for each in images])
    counts = metrics.count_patients(y_true.any(axis=1)[:, None] & np.transpose(images), patients)
    for name, (values, deviations) in measured.items():
        table = differences.difference_columns(values - values[largest], deviations - deviations[:, [largest]], counts)
        table.loc[largest] = np.nan
        columns = [
            values,
            *(values + resampling.percentile_interval(deviations)),
            [[*groups][largest]] * len(groups),
            *table[["difference", "lower", "upper", "p"]].T.to_numpy(),
        ]
        measured[name] = pd.DataFrame(dict(zip(_RESULTS, columns, strict=True)), index=[*groups])
    return measured


def describe_subgroups(table):
    """States which groups differ from the largest group of their kind.

    Args:
        table: DataFrame returned by `subgroup_table`.

    Returns:
        `(title, sentence)`, two str: how many differences are significant, and the clearest of them with their
        intervals. A kind with fewer than two groups with enough images is named as not compared.
    """
    tested = table.dropna(subset="p_holm").sort_values("p_holm", kind="stable")
    found = tested[tested.p_holm < differences.SIGNIFICANCE]
    kinds, compared = (each.index.get_level_values("kind").unique() for each in (table, tested))
    title = (
        "No subgroups compared"
        if tested.empty
        else f"{len(found)} of {len(tested)} differences from the largest group significant"
    )
    clearest = [
        f"{group} − {row.reference}, {MEASURES[measure]} {differences.with_limits(*row[_DIFFERENCE], digits=2)}"
        for (_, group, measure), row in found.head(2).iterrows()
    ]
    alone = ", ".join(kinds.difference(compared, sort=False))
    return title, (
        title
        + " (Holm-corrected)" * (not tested.empty)
        + ", clearest: " * bool(clearest)
        + "; ".join(clearest)
        + f". Not compared, too few images in all groups but one: {alone}" * bool(alone)
        + "."
    )
