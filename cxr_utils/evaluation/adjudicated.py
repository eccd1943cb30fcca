"""Model performance against NIH's labels and against radiologist-adjudicated reference labels."""

import pandas as pd

from cxr_utils import config, data
from cxr_utils.evaluation import metrics


def adjudicated_table(frame, y_true, y_prob, adjudicated):
    """Computes AUROC against NIH's labels and against the adjudicated labels, on the same images.

    NIH's labels are derived from radiology reports. "Nodule or mass" is positive if NIH lists a nodule or a mass; its
    predicted probability is the higher one of the two findings.

    Args:
        frame: DataFrame of n images, with the columns `imgindex` and `patientID`.
        y_true: `(n, 14)` 0 or 1, NIH's report-derived labels.
        y_prob: `(n, 14)` in [0, 1], predicted probabilities.
        adjudicated: DataFrame returned by `data.read_adjudicated`.

    Returns:
        DataFrame with one row per adjudicated finding: `images` (number of images with an adjudicated label), then for
        each `<source>` of `nih` and `radiologists` the columns `<source>_positives`, `<source>_auroc`, `<source>_lower`
        and `<source>_upper` (95 % interval, patient-level bootstrap), and `ppv` and `sensitivity` of NIH's label
        measured against the radiologists' (NaN without a positive image). AUROC is NaN with fewer than
        `metrics.MIN_CASES` positive or negative images, or if the model cannot predict one of NIH's findings.

    Raises:
        ValueError: A column is missing, or the arrays are not valid (`metrics.check_arrays`).
    """
    metrics.check_arrays(y_true, y_prob)
    data.check_frame(frame, ["imgindex", "patientID"], len(y_true))
    selected = frame.imgindex.isin(adjudicated.index).to_numpy()
    rows = {}
    for name, labels in data.ADJUDICATED.items():
        findings = [config.LABELS.index(label) for label in labels]
        prob = y_prob[selected][:, findings].max(axis=1, keepdims=True)
        nih = y_true[selected][:, findings].max(axis=1, keepdims=True).astype(float)
        reference = adjudicated.loc[frame.imgindex[selected], [name]].to_numpy(float)
        rows[name] = {"images": selected.sum()}
        for source, true in (("nih", nih), ("radiologists", reference)):
            result = metrics.metric_table(true, prob, frame.patientID[selected])
            rows[name] |= {
                f"{source}_{column}": result.at[0, column] for column in ("positives", "auroc", "lower", "upper")
            }
        # The mean of an empty Series is NaN, without a warning.
        rows[name]["ppv"] = pd.Series(reference[nih == 1]).mean()
        rows[name]["sensitivity"] = pd.Series(nih[reference == 1]).mean()
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("finding")
