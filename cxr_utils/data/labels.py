"""Reads NIH's label table as a clean frame: ages, one-hot findings, frequent combinations of findings."""

from pathlib import Path

import pandas as pd

from cxr_utils import config
from cxr_utils.data import tables

# NIH's column names → ours, for both editions. The header "OriginalImage[Width,Height]" contains a comma and is read as
# two columns. The header of the first edition ends in a comma, which adds an empty twelfth column.
_COLUMNS = {
    "Image Index": "imgindex",
    "Finding Labels": "label",
    "Follow-up #": "followup",
    "Patient ID": "patientID",
    "Patient Age": "age",
    "Patient Gender": "gender",
    "View Position": "viewposition",
    "OriginalImage[Width": "width",
    "Height]": "height",
    "OriginalImagePixelSpacing[x": "x",
    "y]": "y",
}
# Years. In the corrected edition of 2020, ages are 0–95. The 16 ages of 100 and more in the first edition (up to 414)
# are errors.
MAX_AGE = 99
_YEARS_PER_UNIT = {"Y": 1, "M": 1 / 12, "D": 1 / 365.25}


def read_labels(path):
    """Reads either edition of NIH's label table; every row is kept, and impossible ages become missing values.

    Args:
        path: of `Data_Entry_2017_v2020.csv` or `Data_Entry_2017.csv`.

    Returns:
        Frame with `imgindex` (file name), `label` (findings joined by `|`), `followup`, `patientID`, `age` (years,
        float, NaN where impossible), `gender`, `viewposition` (PA or AP), `width`, `height` (pixels of the original),
        `x`, `y` (mm per pixel) and `path` (of the image, relative to `CXR_HOME`), in the order of the table.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a column is missing, an image is listed twice, a label is neither one of the 14 findings nor
            "No Finding", or a value is not a number.
    """
    path = Path(path)
    frame = tables.read_nih_table(path, _COLUMNS, "either edition of NIH's Data_Entry_2017", dtype={"Patient Age": str})
    for name in ("followup", "patientID", "width", "height", "x", "y"):
        numeric = pd.to_numeric(frame[name], errors="coerce").notna()
        tables.require_rows(
            frame, numeric, path.name, f"column '{name}' of {{imgindex}} contains '{{{name}}}'; expected a number."
        )
    number_and_unit = frame.age.str.strip().str.extract(r"^(\d+)(?:\.0*)?([YMD]?)$")
    ages = number_and_unit[0].astype(float) * number_and_unit[1].map(_YEARS_PER_UNIT).fillna(1)
    tables.require_rows(
        frame,
        ages.notna() | frame.age.isna(),
        path.name,
        "the age of {imgindex} is '{age}'; expected years, such as 58 or 058Y.",
    )
    tables.require_rows(
        frame,
        ~frame.imgindex.duplicated(),
        path.name,
        "{imgindex} is listed twice; expected one row for each image.",
    )
    _require_known_labels(frame, path.name)
    return frame.assign(age=ages.where(ages <= MAX_AGE), path="data/images/" + frame.imgindex)


def _require_known_labels(frame, source):
    known = {*config.LABELS, config.NO_FINDING}
    valid = frame.label.map(lambda text: known.issuperset(str(text).split("|")))
    tables.require_rows(
        frame,
        valid,
        source,
        f"{{imgindex}} is labeled '{{label}}'; expected '{config.NO_FINDING}' or one or more of "
        f"{', '.join(config.LABELS)}, joined by '|'.",
    )


def keep_frequent_combinations(frame, more_than=20):
    """Drops images with a rare combination of findings, so that the rest can be split stratified by combination.

    Args:
        frame: with the column `label`.
        more_than: int, number of images; a combination is kept if it occurs in more images than this.

    Returns:
        The rows kept, in the order of `frame`.
    """
    counts = frame.label.map(frame.label.value_counts())
    return frame[counts > more_than]


def one_hot(frame):
    """Adds a 0/1 column for each of the 14 findings, and `target`, which contains all 14 values as one array.

    Args:
        frame: with the column `label`.

    Returns:
        A new frame with the additional columns `config.LABELS` (uint8) and `target` (`(14,)` uint8 arrays).

    Raises:
        ValueError: a label is neither one of the 14 findings nor "No Finding".
    """
    _require_known_labels(frame, "The frame")
    found = frame.label.str.get_dummies().reindex(columns=config.LABELS, fill_value=0).astype("uint8")
    return pd.concat([frame, found], axis=1).assign(target=list(found.to_numpy()))


def absent_findings(frame, name):
    """Describes which findings have no positive image in a set.

    Args:
        frame: as returned by `one_hot`.
        name: str, of the set, as in "the test set".

    Returns:
        One sentence (str), empty if every finding has a positive image.
    """
    absent = [label.replace("_", " ") for label in config.LABELS if not frame[label].any()]
    if not absent:
        return ""
    return f"No image of the {name} set is labeled {', '.join(absent)}: reported as n/a and left out of every mean."
