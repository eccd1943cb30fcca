"""Label table → clean frame → one-hot → frequent combinations → splits → who leaks."""

from pathlib import Path

import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from cxr_utils import config, inventory

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
SPLIT_METHODS = ("stratified", "patient", "official")


def read_labels(path):
    """Reads either edition of NIH's label table; every row is kept, an impossible age becomes missing.

    Args:
        path: `Data_Entry_2017_v2020.csv` or `Data_Entry_2017.csv`.

    Returns:
        Frame with `imgindex` (file name), `label` (findings joined by `|`), `followup`, `patientID`, `age` (years,
        float, NaN where impossible), `gender`, `viewposition` (PA or AP), `width`, `height` (pixels of the original),
        `x`, `y` (mm per pixel) and `path` (of the film, relative to `CXR_HOME`), in the table's order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, a film is there twice, a label is none of the 14, or a number is no number.
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
            f"{path.name} lists {twice.iloc[0]} twice ({len(twice)} such rows): expected one row for each film."
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
            f"{source}: {row.imgindex} is labelled '{row.label}'; expected '{config.NO_FINDING}' or some of "
            f"{', '.join(config.LABELS)}, joined by '|'."
        )


def keep_present(frame, leave_out_unreadable=False):
    """Keeps the rows whose film lies in `data/images/`.

    Args:
        frame: with column `imgindex`.
        leave_out_unreadable: bool, whether the films of `data/unreadable_films.csv` count as absent.

    Returns:
        The rows whose film is there, in the order of `frame`.

    Raises:
        FileNotFoundError: no film of the table is there.
    """
    present = inventory.film_names()
    unreadable = config.home() / "data" / config.UNREADABLE
    if leave_out_unreadable and unreadable.is_file():
        left_out = present.intersection(pd.read_csv(unreadable).imgindex)
        print(f"{len(left_out):,} films that can't be read are left out: {', '.join(sorted(left_out)[:5])} …")
        present -= left_out
    kept = frame[frame.imgindex.isin(present)]
    if kept.empty:
        raise FileNotFoundError(
            f"None of the {len(frame):,} films of the label table is in data/images/: run 000-data_download."
        )
    return kept


def keep_frequent_combinations(frame, more_than=20):
    """Drops the films whose combination of findings is too rare to be split by it.

    Args:
        frame: with column `label`.
        more_than: int, a combination is kept when it occurs in more films than this.

    Returns:
        The rows kept, in the order of `frame`.
    """
    counts = frame.label.map(frame.label.value_counts())
    return frame[counts > more_than]


def one_hot(frame):
    """Adds a column of 0 and 1 for each of the 14 findings and `target`, the 14 values of a film as one array.

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


def split(frame, method="stratified", seed=config.SEED, test_list=None):
    """Splits films into training (49 %), validation (30 %) and test (21 %); `"official"` has NIH's test set.

    `"stratified"` is the split by image of the published numbers (two cuts of 0.3, stratified by combination): films of
    one patient fall on both sides. `"patient"` makes the same cuts by patient. `"official"` takes NIH's test list and
    cuts 0.3 of the other patients for validation.

    Args:
        frame: with `imgindex`, `label` and `patientID`.
        method: `"stratified"`, `"patient"` or `"official"`.
        seed: int, of the cuts.
        test_list: path of NIH's `test_list.txt`; needed by `"official"` alone.

    Returns:
        `(train, valid, test)` frames; `valid` and `test` have a column `seen`: the patient is in a set used before
        (validation: in training; test: in training or validation). `attrs["split"]` of each is the method.

    Raises:
        ValueError: another method, a combination too rare to be stratified by, or a set that would be empty.
        FileNotFoundError: `"official"` without its list.
    """
    if method == "stratified":
        rare = frame.label.value_counts().loc[lambda counts: counts < 5]
        if len(rare):
            raise ValueError(
                f"'{rare.index[0]}' occurs on {rare.iloc[0]} films, too few to be cut in three by combination: call "
                "keep_frequent_combinations first, or split by method 'patient' or 'official'."
            )
        rest, valid = train_test_split(frame, test_size=0.3, random_state=seed, stratify=frame.label)
        train, test = train_test_split(rest, test_size=0.3, random_state=seed, stratify=rest.label)
    elif method == "patient":
        rest, valid = _cut_by_patient(frame, seed)
        train, test = _cut_by_patient(rest, seed)
    elif method == "official":
        if test_list is None or not Path(test_list).is_file():
            raise FileNotFoundError(
                f"The official split needs NIH's {config.TEST_LIST} in data/: run 000-data_download first."
            )
        official = frame.imgindex.isin(Path(test_list).read_text().split())
        test = frame[official]
        train, valid = _cut_by_patient(frame[~official], seed)
    else:
        raise ValueError(f"SPLIT is '{method}': expected one of {', '.join(SPLIT_METHODS)}.")
    if not len(test):
        raise ValueError(
            f"None of the {len(frame):,} films is in the test set of the {method} split: use another method."
        )
    before = pd.concat([train.patientID, valid.patientID])
    sets = (
        train.copy(),
        valid.assign(seen=valid.patientID.isin(train.patientID)),
        test.assign(seen=test.patientID.isin(before)),
    )
    for part in sets:
        part.attrs["split"] = method
    return sets


def _cut_by_patient(frame, seed):
    if frame.patientID.nunique() < 2:
        raise ValueError(f"{len(frame):,} films of {frame.patientID.nunique()} patient(s) can't be cut by patient.")
    cut = GroupShuffleSplit(n_splits=1, test_size=0.3, random_state=seed)
    kept, taken = next(cut.split(frame, groups=frame.patientID))
    return frame.iloc[kept], frame.iloc[taken]


def absent_findings(frame, name):
    """Says which findings no film of a set shows.

    Args:
        frame: one-hot encoded.
        name: of the set, for the sentence.

    Returns:
        One sentence, or an empty string when all 14 are there.
    """
    absent = [label for label in config.LABELS if not frame[label].any()]
    if not absent:
        return ""
    return f"No film of the {name} set shows {', '.join(absent)}: reported as n/a and left out of every mean."
