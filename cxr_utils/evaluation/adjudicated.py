"""Model performance against NIH's labels and against radiologist-adjudicated reference labels."""

import itertools

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from cxr_utils import config, data
from cxr_utils.evaluation import differences, intervals, metrics, resampling

_MEASURES = ["auroc", "sensitivity", "specificity", "confirmed"]
_COUNTS = ["images", "patients", "nih_positives", "radiologists_positives"]
_COLUMNS = [f"{name}{limit}" for name in ("nih", "radiologists", "difference") for limit in ("", "_lower", "_upper")]


def adjudicated_table(frame, y_true, y_prob, adjudicated, thresholds):
    """Computes the performance against NIH's labels and against the adjudicated labels, on the same images.

    NIH's labels are derived from radiology reports. A finding such as "Nodule or mass" is positive if NIH lists one of
    the findings in `data.ADJUDICATED`, and flagged if one of them is; its predicted probability is the highest of
    theirs. The two parts of the adjudicated labels were selected differently and are kept apart.

    Args:
        frame: DataFrame of n images, with the columns `imgindex` and `patientID`.
        y_true: `(n, 14)` 0 or 1, NIH's report-derived labels.
        y_prob: `(n, 14)` in [0, 1], predicted probabilities.
        adjudicated: DataFrame returned by `data.read_adjudicated`.
        thresholds: Series indexed by label, chosen on validation images against NIH's labels.

    Returns:
        DataFrame indexed by part (`"test"`, `"validation"`), finding and measure, with `images`, `patients`,
        `nih_positives`, `radiologists_positives` (images), `nih` and `radiologists` (value against each reference) and
        `difference` (radiologists − NIH), each with `_lower` and `_upper` (95 % interval: of shares by
        `intervals.wilson_interval`, of the AUROC and the differences by a patient-level bootstrap with the same
        resamples for both references). `auroc`, `sensitivity` and `specificity` are those of the model;
        `confirmed` is the share of the images positive by one reference that the other one confirms: in the column
        `nih` the PPV of NIH's label, in the column `radiologists` its sensitivity. NaN with fewer than
        `metrics.MIN_CASES` positive or negative images by one of the references; measures of the model also if it
        cannot predict one of NIH's findings, or one has no threshold.

    Raises:
        ValueError: A column is missing, or the arrays are not valid (`metrics.check_arrays`).
    """
    metrics.check_arrays(y_true, y_prob)
    data.check_frame(frame, ["imgindex", "patientID"], len(y_true))
    reference = adjudicated.reindex(frame.imgindex)
    parts = {}
    for (part, images), (name, labels) in itertools.product(
        reference.groupby("part").indices.items(), data.ADJUDICATED.items()
    ):
        patients, findings = frame.patientID.iloc[images], [config.LABELS.index(label) for label in labels]
        true = np.column_stack([y_true[images][:, findings].any(axis=1), reference[name].iloc[images].astype(bool)])
        table = _measure(true, y_prob[images][:, findings], thresholds[labels].to_numpy(), patients)
        counts = dict(zip(_COUNTS, [len(images), patients.nunique(), *true.sum(axis=0)], strict=True))
        parts[part, name] = table.assign(**counts)[[*_COUNTS, *_COLUMNS]]
    return pd.concat(parts, names=["part", "finding", "measure"])


def _measure(true, prob, thresholds, patients):
    """Returns the measures of one finding; the columns of `true` are the references."""
    table = pd.DataFrame(np.nan, _MEASURES, _COLUMNS)
    if not metrics.enough_cases(true, patients=patients).all():
        return table
    both, flagged = true.all(axis=1, keepdims=True), (prob >= thresholds).any(axis=1, keepdims=True)
    shares = {"confirmed": (both & true, true)}
    if not np.isnan([*thresholds, *prob.max(axis=0)]).any():
        shares |= {"sensitivity": (flagged & true, true), "specificity": (~flagged & ~true, ~true)}
    for name, counts in shares.items():
        value = np.divide(*(each.sum(axis=0) for each in counts))
        found = differences.with_difference(value, resampling.bootstrap_share(*counts, patients))
        found[:2, 1:] = intervals.wilson_interval(*counts, patients).T
        table.loc[name] = found.ravel()
    table.loc["confirmed", _COLUMNS[-3:]] = np.nan
    if not np.isnan(prob).any():
        highest = prob.max(axis=1, keepdims=True)
        samples = resampling.bootstrap_auroc(true, np.repeat(highest, 2, axis=1), patients)[0]
        table.loc["auroc"] = differences.with_difference(
            [roc_auc_score(each, highest) for each in true.T], samples
        ).ravel()
    return table
