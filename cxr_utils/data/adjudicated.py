"""Reads radiologist-adjudicated reference labels of some NIH images."""

import pandas as pd

from cxr_utils.data import tables

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
    tables.require_columns(table, ["Image Index", *ADJUDICATED], path, "expected the table of Majkowska et al. 2020.")
    table = table.drop_duplicates("Image Index").set_index("Image Index").rename_axis("imgindex")[list(ADJUDICATED)]
    tables.require_rows(
        table.reset_index(),
        table.isin(["YES", "NO"]).all(axis=1).to_numpy(),
        path,
        "{imgindex} has '{Pneumothorax}' and '{Nodule or mass}'; expected YES or NO.",
    )
    return table == "YES"
