"""Reads NIH's label table as a clean frame: ages, one-hot findings, frequent combinations of findings."""

from pathlib import Path

import pandas as pd

from cxr_utils import config
from cxr_utils.data import tables
from cxr_utils.download.tables import LABEL_COLUMNS

# Years. In the corrected edition of 2020, ages are 0–95. The 16 ages of 100 and more in the first edition (up to 414)
# are errors.
MAX_AGE = 99
_YEARS_PER_UNIT = {"Y": 1, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
# Other spellings of sex and view position, in lower case.
_SPELLINGS = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "woman": "F"} | {
    **{"pa": "PA", "p.a.": "PA", "posteroanterior": "PA"},
    **{"ap": "AP", "a.p.": "AP", "anteroposterior": "AP"},
}
# Patterns of the other columns, with what they are in words. Digits are limited, as numbers of more than 15 digits lose
# some in a float: two patients would become one.
_WHOLE, _POSITIVE = r"\d{1,15}(?:\.0*)?", r"(?=[0.]*[1-9])\d*\.?\d+(?:[eE][+-]?\d{1,2})?"
_VALID = {
    "followup": (_WHOLE, "a whole number"),
    "patientID": (_WHOLE, "a whole number"),
    "gender": ("[MF]", "M or F, or male or female"),
    "viewposition": ("PA|AP", "PA or AP"),
    "width": (f"(?=0*[1-9]){_WHOLE}", "a whole number above 0"),
    "height": (f"(?=0*[1-9]){_WHOLE}", "a whole number above 0"),
    "x": (_POSITIVE, "a number above 0"),
    "y": (_POSITIVE, "a number above 0"),
}
# What follows if a finding is absent from a set.
_ABSENT = {
    "training": "cannot be learned, so predictions and results are n/a and left out of every mean",
    "validation": "no threshold, no calibration, and left out of the mean AUROC on validation images",
    "test": "no AUROC, sensitivity, specificity or calibration error (n/a), and left out of every mean",
}


def read_labels(path):
    """Reads either edition of NIH's label table; every row is kept, and impossible ages become missing values.

    Args:
        path: of a label table, see `config.LABEL_TABLES`.

    Returns:
        Frame with `imgindex` (file name), `label` (findings joined by `|`), `followup`, `patientID`, `age` (years,
        float, NaN where impossible), `gender`, `viewposition` (PA or AP), `width`, `height` (pixels of the original),
        `x`, `y` (mm per pixel) and `path` (of the image, `data/images/<imgindex>`), in the order of the table.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a column is missing, an image is listed twice or is not a PNG file, a label is neither one or more
            of the 14 findings nor "No Finding", or another value is impossible.
    """
    path = Path(path)
    frame = tables.read_table(
        path, LABEL_COLUMNS, "a table like NIH's Data_Entry_2017: run 000-data_download.", dtype=str
    )
    tables.require_rows(frame, path.name, tables.image_name_check(frame))
    for name, (pattern, expected) in _VALID.items():
        frame[name] = frame[name].str.strip().str.lower().map(_SPELLINGS).fillna(frame[name].str.strip())
        message = f"column '{name}' of {{imgindex}} contains '{{{name}}}'; expected {expected}."
        tables.require_rows(frame, path.name, {message: frame[name].str.fullmatch(pattern, na=False)})
    # NIH's names begin with the number of the patient, by which images are split.
    number = frame.imgindex.str.extract(r"^(\d{8})_\d{3}\.png$")[0].astype(float)
    number_and_unit = frame.age.str.strip().str.upper().str.extract(r"^(\d+)(?:\.0*)?([YMWD]?)$")
    ages = number_and_unit[0].astype(float) * number_and_unit[1].map(_YEARS_PER_UNIT).fillna(1)
    tables.require_rows(
        frame,
        path.name,
        {
            "{imgindex} is of patient '{patientID}'; expected the number in the image's name.": (
                number.isna() | (number == frame.patientID.astype(float))
            ),
            "the age of {imgindex} is '{age}'; expected years, such as 58 or 058Y.": ages.notna() | frame.age.isna(),
            "{imgindex} is listed twice; expected one row for each image.": ~frame.imgindex.duplicated(),
        }
        | _label_check(frame),
    )
    return frame.assign(
        **frame[["followup", "patientID", "width", "height"]].astype(float).astype(int),
        **frame[["x", "y"]].astype(float),
        age=ages.where(ages <= MAX_AGE),
        path="data/images/" + frame.imgindex,
    )


def _label_check(frame):
    """Returns a check for `tables.require_rows`: whether each `label` of a frame consists of known findings."""
    known = set(config.LABELS)
    valid = frame.label.map(
        lambda text: (
            text == config.NO_FINDING or len(known.intersection(str(text).split("|"))) == str(text).count("|") + 1
        )
    )
    return {
        f"{{imgindex}} is labeled '{{label}}'; expected '{config.NO_FINDING}' or one or more of "
        f"{', '.join(config.LABELS)}, each once, joined by '|'.": valid
    }


def keep_frequent_combinations(frame, more_than=20):
    """Drops images with a rare combination of findings, so that the rest can be split stratified by combination.

    Args:
        frame: with the column `label`.
        more_than: int, number of images; a combination is kept if it occurs in more images than this.

    Returns:
        The rows kept, in the order of `frame`.

    Raises:
        ValueError: no combination occurs in more images.
    """
    counts = frame.label.map(frame.label.value_counts())
    if not (counts > more_than).any():
        raise ValueError(
            f"No combination of findings occurs in more than {more_than} (MORE_THAN) of the {len(frame):,} images; the "
            f"most frequent one occurs in {counts.max():,.0f}: use more images, a smaller MORE_THAN or another SPLIT."
        )
    return frame[counts > more_than]


def one_hot(frame):
    """Adds a 0/1 column for each of the 14 findings, and `target`, which contains all 14 values as one array.

    Args:
        frame: with the column `label`.

    Returns:
        A new frame with the additional columns `config.LABELS` (uint8) and `target` (`(14,)` uint8 arrays).

    Raises:
        ValueError: a label is neither "No Finding" nor one or more of the 14 findings.
    """
    tables.require_rows(frame, "The frame", _label_check(frame))
    found = frame.label.str.get_dummies().reindex(columns=config.LABELS, fill_value=0).astype("uint8")
    return pd.concat([frame, found], axis=1).assign(target=list(found.to_numpy()))


def absent(frame):
    """Lists the findings that no image, or every image, has: nothing can be learned or evaluated about them.

    Args:
        frame: with the columns `config.LABELS`, see `one_hot`.

    Returns:
        List of str, in the order of `config.LABELS`.
    """
    return [label for label in config.LABELS if frame[label].nunique() < 2]


def absent_findings(sets):
    """Describes which findings no image, or every image, of a set has, and what follows from it.

    Args:
        sets: dict of `"training"`, `"validation"`, `"test"` or some of these → frame, see `one_hot`.

    Returns:
        str, one line for each set with such findings, and for "no" and "every"; empty if there are none.
    """
    return "\n".join(
        f"{which} {part} image is labeled {', '.join(found)}: {_ABSENT[part]}."
        for part, frame in sets.items()
        for which, value in (("No", 0), ("Every", 1))
        if (found := [label.replace("_", " ") for label in absent(frame) if (frame[label] == value).all()])
    )
