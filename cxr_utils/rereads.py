"""NIH's labels against radiologists who read some of the films again."""

import numpy as np
import pandas as pd

from cxr_utils import config, evaluation, frames

# Column of the radiologists' table → findings of ours that it stands for.
_READ_AGAIN = {"Pneumothorax": ["Pneumothorax"], "Nodule or mass": ["Nodule", "Mass"]}


def read_rereads(path):
    """Reads `google2019_nih-chest-xray-labels.csv.gz` (Majkowska et al., Radiology 2020).

    Args:
        path: of the table.

    Returns:
        Frame indexed by `imgindex` with a bool column for each of `"Pneumothorax"` and `"Nodule or mass"`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, or a value is neither YES nor NO.
    """
    table = pd.read_csv(path)
    missing = [column for column in ["Image Index", *_READ_AGAIN] if column not in table]
    if missing:
        raise ValueError(
            f"{path} has no column {missing}, found {list(table.columns)}: expected the table of Majkowska et al. 2020."
        )
    table = table.drop_duplicates("Image Index").set_index("Image Index").rename_axis("imgindex")[list(_READ_AGAIN)]
    wrong = ~table.isin(["YES", "NO"]).to_numpy()
    if wrong.any():
        raise ValueError(f"{path} holds '{table.to_numpy()[wrong][0]}' where YES or NO is expected.")
    return table == "YES"


def reread_table(frame, y_true, y_prob, rereads):
    """Tabulates AUROC against NIH's label and against the radiologists', on the same films.

    Args:
        frame: of n films, with `imgindex` and `patientID`.
        y_true: `(n, 14)` 0 or 1, NIH's labels.
        y_prob: `(n, 14)` in [0, 1]; for "Nodule or mass" the higher of the two counts.
        rereads: of `read_rereads`.

    Returns:
        Frame of two rows: `films` (read again), then for each of `nih` and `radiologists` `<>_positives`, `<>_auroc`, `<>_lower`,
        `<>_upper`, and `ppv`, `sensitivity` of NIH's label (NaN without a case). An AUROC with fewer than
        `evaluation.MIN_CASES` films with or without the finding is NaN.

    Raises:
        ValueError: a column is missing, or films or predictions don't match (`evaluation.check`).
    """
    evaluation.check(y_true, y_prob)
    frames.check(frame, ["imgindex", "patientID"], len(y_true))
    again = frame.imgindex.isin(rereads.index).to_numpy()
    rows = {}
    for name, labels in _READ_AGAIN.items():
        findings = [config.LABELS.index(label) for label in labels]
        prob = y_prob[again][:, findings].max(axis=1, keepdims=True)
        nih = y_true[again][:, findings].max(axis=1, keepdims=True)
        read = rereads.loc[frame.imgindex[again], [name]].to_numpy(float)
        rows[name] = {"films": again.sum()}
        for who, true in (("nih", nih), ("radiologists", read)):
            measured = evaluation.measures(true, prob, frame.patientID[again]).iloc[0]
            rows[name] |= {f"{who}_{column}": measured[column] for column in ("positives", "auroc", "lower", "upper")}
        both = (nih * read).sum()
        rows[name]["ppv"] = both / nih.sum() if nih.any() else np.nan
        rows[name]["sensitivity"] = both / read.sum() if read.any() else np.nan
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("finding")
    return table.astype({"nih_positives": int, "radiologists_positives": int})
