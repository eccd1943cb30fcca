"""Radiologist-adjudicated reference labels of some NIH images."""

import pandas as pd

# Column of the radiologists' table → our findings that it corresponds to.
ADJUDICATED = {"Pneumothorax": ["Pneumothorax"], "Nodule or mass": ["Nodule", "Mass"]}


def read_adjudicated(path):
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
    missing = [column for column in ["Image Index", *ADJUDICATED] if column not in table]
    if missing:
        raise ValueError(
            f"{path} has no column {missing}, found {list(table.columns)}: expected the table of Majkowska et al. 2020."
        )
    table = table.drop_duplicates("Image Index").set_index("Image Index").rename_axis("imgindex")[list(ADJUDICATED)]
    wrong = ~table.isin(["YES", "NO"]).to_numpy()
    if wrong.any():
        raise ValueError(f"{path} holds '{table.to_numpy()[wrong][0]}' where YES or NO is expected.")
    return table == "YES"
