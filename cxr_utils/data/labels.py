"""Label table → clean frame → one-hot → frequent combinations → splits → who leaks."""

from pathlib import Path

import pandas as pd

from cxr_utils import config, download

# NIH's names → ours. Both editions: the brackets' comma makes two columns of "OriginalImage[Width,Height]", the header
# of the first edition ends in a comma, which makes a twelfth, empty one.
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
# The corrected edition of 2020 holds ages 0–95; all 16 ages of 100 and more in the first (up to 414) are errors.
MAX_AGE = 99
_YEARS_PER_UNIT = {"Y": 1, "M": 1 / 12, "D": 1 / 365.25}


def read_labels(path):
    """Reads either edition of NIH's label table; every row is kept, an impossible age becomes missing.

    Args:
        path: `Data_Entry_2017_v2020.csv` or `Data_Entry_2017.csv`.

    Returns:
        Frame with `imgindex` (file name), `label` (findings joined by `|`), `followup`, `patientID`, `age` (years,
        float, NaN where impossible), `gender`, `viewposition` (PA or AP), `width`, `height` (pixels of the original),
        `x`, `y` (mm per pixel) and `path` (of the image, relative to `CXR_HOME`), in the table's order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, an image is there twice, a label is none of the 14, or a number is no number.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is not in {path.parent.name}/: run 000-data_download first.")
    frame = pd.read_csv(path, dtype={"Patient Age": str})
    missing = [name for name in _COLUMNS if name not in frame.columns]
    if missing:
        raise ValueError(
            f"{path.name} has no column {missing}; found {list(frame.columns)}. Expected NIH's Data_Entry_2017 in either "
            "edition: fetch it again with 000-data_download."
        )
    frame = frame[list(_COLUMNS)].rename(columns=_COLUMNS)
    for name in ("followup", "patientID", "width", "height", "x", "y"):
        _require_numbers(frame, name, path)
    frame["age"] = _ages(frame, path)
    twice = frame.imgindex[frame.imgindex.duplicated()]
    if len(twice):
        raise ValueError(
            f"{path.name} lists {twice.iloc[0]} twice ({len(twice)} such rows): expected one row for each image."
        )
    _require_known_labels(frame, path.name)
    frame["path"] = "data/images/" + frame.imgindex
    return frame


def find_label_table():
    """Returns the `Path` of the label table in `data/`, of whichever edition.

    Raises:
        FileNotFoundError: there is none.
    """
    data = config.home() / "data"
    found = [data / name for name in config.LABEL_TABLES if (data / name).is_file()]
    if not found:
        raise FileNotFoundError(f"data/ holds no {' or '.join(config.LABEL_TABLES)}: run 000-data_download first.")
    return found[0]


def _require_numbers(frame, name, path):
    wrong = pd.to_numeric(frame[name], errors="coerce").isna()
    if wrong.any():
        row = frame[wrong].iloc[0]
        raise ValueError(f"{path.name}: column '{name}' of {row.imgindex} holds '{row[name]}', expected a number.")


def _ages(frame, path):
    parts = frame.age.str.strip().str.extract(r"^(\d+)(?:\.0*)?([YMD]?)$")
    wrong = parts[0].isna() & frame.age.notna()
    if wrong.any():
        row = frame[wrong].iloc[0]
        raise ValueError(f"{path.name}: the age of {row.imgindex} is '{row.age}', expected years like 58 or 058Y.")
    ages = parts[0].astype(float) * parts[1].map(_YEARS_PER_UNIT).fillna(1)
    return ages.where(ages <= MAX_AGE)


def _require_known_labels(frame, source):
    combinations = frame.label.dropna().unique()
    unknown = {name for text in combinations for name in text.split("|")} - {*config.LABELS, config.NO_FINDING}
    if unknown or frame.label.isna().any():
        wrong = frame.label.isna() | frame.label.map(lambda text: not unknown.isdisjoint(str(text).split("|")))
        row = frame[wrong].iloc[0]
        raise ValueError(
            f"{source}: {row.imgindex} is labeled '{row.label}'; expected '{config.NO_FINDING}' or some of "
            f"{', '.join(config.LABELS)}, joined by '|'."
        )


def keep_present(frame, leave_out_unreadable=False):
    """Keeps the rows whose image lies in `data/images/`.

    Args:
        frame: with column `imgindex`.
        leave_out_unreadable: bool, whether the images of `data/unreadable_images.csv` count as absent.

    Returns:
        The rows whose image is there, in the order of `frame`.

    Raises:
        FileNotFoundError: no image of the table is there.
    """
    present = download.image_names()
    unreadable = config.home() / "data" / config.UNREADABLE
    if leave_out_unreadable and unreadable.is_file():
        left_out = present.intersection(pd.read_csv(unreadable).imgindex)
        print(f"{len(left_out):,} images that can't be read are left out: {', '.join(sorted(left_out)[:5])} …")
        present -= left_out
    kept = frame[frame.imgindex.isin(present)]
    if kept.empty:
        raise FileNotFoundError(
            f"None of the {len(frame):,} images of the label table is in data/images/: run 000-data_download."
        )
    return kept


def keep_frequent_combinations(frame, more_than=20):
    """Drops the images whose combination of findings is too rare to be split by it.

    Args:
        frame: with column `label`.
        more_than: int, a combination is kept when it occurs in more images than this.

    Returns:
        The rows kept, in the order of `frame`.
    """
    counts = frame.label.map(frame.label.value_counts())
    return frame[counts > more_than]


def one_hot(frame):
    """Adds a column of 0 and 1 for each of the 14 findings and `target`, the 14 values of an image as one array.

    Args:
        frame: with column `label`.

    Returns:
        A new frame with the columns of `config.LABELS` (uint8) and `target` ((14,) uint8 arrays).

    Raises:
        ValueError: a label is none of the 14.
    """
    _require_known_labels(frame, "The frame")
    found = frame.label.str.get_dummies().reindex(columns=config.LABELS, fill_value=0).astype("uint8")
    frame = pd.concat([frame, found], axis=1)
    frame["target"] = list(found.to_numpy())
    return frame


def absent_findings(frame, name):
    """Says which findings no image of a set shows.

    Args:
        frame: one-hot encoded.
        name: of the set, for the sentence.

    Returns:
        One sentence, or an empty string when all 14 are there.
    """
    absent = [label for label in config.LABELS if not frame[label].any()]
    if not absent:
        return ""
    return f"No image of the {name} set shows {', '.join(absent)}: reported as n/a and left out of every mean."


def image_source():
    """Returns one sentence on where the images come from, as `data/RELEASE.txt` says; figures and tables carry it."""
    note = config.home() / "data" / config.RELEASE_NOTE
    return (
        f"Images: {note.read_text().strip()}" if note.is_file() else "Images: source not recorded (no data/RELEASE.txt)"
    )
