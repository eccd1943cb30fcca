"""NIH's labels against radiologists who read some of the images again."""

import numpy as np
import pandas as pd

from cxr_utils import config, data
from cxr_utils.evaluation import metrics


def adjudicated_table(frame, y_true, y_prob, rereads):
    """Tabulates AUROC against NIH's label and against the radiologists', on the same images.

    Args:
        frame: of n images, with `imgindex` and `patientID`.
        y_true: `(n, 14)` 0 or 1, NIH's labels.
        y_prob: `(n, 14)` in [0, 1]; for "Nodule or mass" the higher of the two counts.
        rereads: of `read_adjudicated`.

    Returns:
        Frame of two rows: `images` (read again), then for each of `nih` and `radiologists` `<>_positives`, `<>_auroc`, `<>_lower`,
        `<>_upper`, and `ppv`, `sensitivity` of NIH's label (NaN without a case). An AUROC with fewer than
        `metrics.MIN_CASES` images with or without the finding is NaN.

    Raises:
        ValueError: a column is missing, or images or predictions don't match (`metrics.check_arrays`).
    """
    metrics.check_arrays(y_true, y_prob)
    data.check_frame(frame, ["imgindex", "patientID"], len(y_true))
    again = frame.imgindex.isin(rereads.index).to_numpy()
    rows = {}
    for name, labels in data.ADJUDICATED.items():
        findings = [config.LABELS.index(label) for label in labels]
        prob = y_prob[again][:, findings].max(axis=1, keepdims=True)
        nih = y_true[again][:, findings].max(axis=1, keepdims=True)
        read = rereads.loc[frame.imgindex[again], [name]].to_numpy(float)
        rows[name] = {"images": again.sum()}
        for who, true in (("nih", nih), ("radiologists", read)):
            measured = metrics.metric_table(true, prob, frame.patientID[again]).iloc[0]
            rows[name] |= {f"{who}_{column}": measured[column] for column in ("positives", "auroc", "lower", "upper")}
        both = (nih * read).sum()
        rows[name]["ppv"] = both / nih.sum() if nih.any() else np.nan
        rows[name]["sensitivity"] = both / read.sum() if read.any() else np.nan
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("finding")
    return table.astype({"nih_positives": int, "radiologists_positives": int})
