"""Reads radiologist-adjudicated reference labels of some NIH images."""

from pathlib import Path

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
        ValueError: a column is missing, an image is not a PNG file or has two different rows, or a value is neither YES
            nor NO.
    """
    table = tables.read_table(
        Path(path),
        {"Image Index": "imgindex"} | {name: name for name in ADJUDICATED},
        "the table of Majkowska et al. 2020.",
        dtype=str,
    ).drop_duplicates()
    tables.require_rows(
        table,
        path,
        tables.image_name_check(table)
        | {
            "{imgindex} has '{Pneumothorax}' and '{Nodule or mass}'; expected YES or NO.": (
                table[list(ADJUDICATED)].isin(["YES", "NO"]).all(axis=1)
            ),
            "{imgindex} is listed twice, with different labels; expected one row for each image.": (
                ~table.imgindex.duplicated()
            ),
        },
    )
    return table.set_index("imgindex") == "YES"
