"""Reads radiologist-adjudicated reference labels of some NIH images."""

import pandas as pd

# Column of the adjudicated table → the findings in `config.LABELS` that it corresponds to.
ADJUDICATED = {"Pneumothorax": ["Pneumothorax"], "Nodule or mass": ["Nodule", "Mass"]}


def read_adjudicated(path):
    """Reads `google2019_nih-chest-xray-labels.csv.gz` (Majkowska et al., Radiology 2020).

    Args:
        path: of the table, or of a table with the same columns.

    Returns:
        Frame indexed by `imgindex` with the bool columns `"Pneumothorax"` and `"Nodule or mass"`, True where present.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a column is missing, or a value is neither YES nor NO.
    """
    table = pd.read_csv(path)
    missing = [column for column in ["Image Index", *ADJUDICATED] if column not in table]
    if missing:
        raise ValueError(
            f"{path} has no column {missing}; found {list(table.columns)}. Expected the table of Majkowska et al. 2020."
        )
    table = table.drop_duplicates("Image Index").set_index("Image Index").rename_axis("imgindex")[list(ADJUDICATED)]
    wrong = ~table.isin(["YES", "NO"]).to_numpy()
    if wrong.any():
        raise ValueError(f"{path} contains '{table.to_numpy()[wrong][0]}': expected YES or NO.")
    return table == "YES"
