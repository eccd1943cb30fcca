"""Reads radiologist-adjudicated reference labels of some NIH images."""

from pathlib import Path

from cxr_utils import config
from cxr_utils.data import tables

# Column of the adjudicated table → the findings in `config.LABELS` that it is compared with. Airspace opacity is a
# filling of air spaces: the four findings that mean one. Atelectasis is a loss of volume and not among them. The fourth
# column, fracture, is none of the 14 findings.
ADJUDICATED = {
    "Pneumothorax": ["Pneumothorax"],
    "Nodule or mass": ["Nodule", "Mass"],
    "Airspace opacity": ["Consolidation", "Infiltration", "Edema", "Pneumonia"],
}
_PARTS = {"test": "test", "val": "validation"}


def read_adjudicated(path=None):
    """Reads `google2019_nih-chest-xray-labels.csv.gz` (Majkowska et al., Radiology 2020).

    Its two parts were selected in different ways: NIH's label is pneumothorax for 10.2 % of the images of the test part
    and for 1.6 % of those of the validation part. So results on one part do not apply to the other.

    Args:
        path: of the table, or of a table with the same columns; `None` for `config.ADJUDICATED` in `data/`.

    Returns:
        Frame indexed by `imgindex` with the bool columns `ADJUDICATED`, True where present, and `part`: `"test"` or
        `"validation"` of that publication, which are not the sets of this project's split. `None` if `path` is `None`
        and `data/` has no such file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a column is missing, an image is not a PNG file or has two different rows, a value is neither YES
            nor NO, or a part is neither `test` nor `val`.
    """
    default = config.data_folder() / config.ADJUDICATED
    if path is None and not default.is_file():
        return None
    path = Path(path or default)
    table = tables.read_table(
        path,
        {"Image Index": "imgindex", "Set Id": "part"} | {name: name for name in ADJUDICATED},
        "the table of Majkowska et al. 2020.",
        dtype=str,
    ).drop_duplicates()
    tables.require_rows(
        table,
        path,
        tables.image_name_check(table)
        | {
            "{imgindex} has "
            + ", ".join(f"'{{{name}}}'" for name in ADJUDICATED)
            + " and '{part}'; expected YES or NO, and test or val.": (
                table[[*ADJUDICATED]].isin(["YES", "NO"]).all(axis=1) & table.part.isin([*_PARTS])
            ),
            "{imgindex} is listed twice, with different labels; expected one row for each image.": (
                ~table.imgindex.duplicated()
            ),
        },
    )
    part = table.part.map(_PARTS).to_numpy()
    return (table.set_index("imgindex")[[*ADJUDICATED]] == "YES").assign(part=part)
