"""Training, validation and test set: split, saved in `subset/`, loaded."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from cxr_utils import config
from cxr_utils._files import atomic

SPLIT_METHODS = ("stratified", "patient", "official")


def split(frame, method="stratified", seed=config.SEED, test_list=None):
    """Splits images into training (49 %), validation (30 %) and test (21 %); `"official"` has NIH's test set.

    `"stratified"` is the split by image of the published numbers (two cuts of 0.3, stratified by combination): images of
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
                f"'{rare.index[0]}' occurs on {rare.iloc[0]} images, too few to be cut in three by combination: call "
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
            f"None of the {len(frame):,} images is in the test set of the {method} split: use another method."
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
        raise ValueError(f"{len(frame):,} images of {frame.patientID.nunique()} patient(s) can't be cut by patient.")
    cut = GroupShuffleSplit(n_splits=1, test_size=0.3, random_state=seed)
    kept, taken = next(cut.split(frame, groups=frame.patientID))
    return frame.iloc[kept], frame.iloc[taken]


def save_frame(frame, name):
    """Pickles a frame as `subset/<name>.pkl`."""
    with atomic(config.home() / "subset" / f"{name}.pkl") as part:
        frame.to_pickle(part)


def load_frame(name):
    """Reads `subset/<name>.pkl`.

    Args:
        name: `"subset"`, `"train_set"`, `"valid_set"` or `"test_set"`.

    Returns:
        The frame.

    Raises:
        FileNotFoundError: 100 has not been run.
        ValueError: the pickle can't be read (written by another pandas, or damaged), has no label columns, or does not say its split.
    """
    path = config.home() / "subset" / f"{name}.pkl"
    again = "run 100-data_cleaning_eda to write it."
    if not path.is_file():
        raise FileNotFoundError(f"subset/{name}.pkl is missing: {again}")
    try:
        frame = pd.read_pickle(path)
    # A pickle of another pandas fails with nearly any exception, as unpickling runs the other version's code paths.
    except Exception as error:
        raise ValueError(
            f"subset/{name}.pkl can't be read by pandas {pd.__version__} ({type(error).__name__}: {error}); it is damaged or "
            f"of another pandas: {again}"
        ) from error
    wanted = ["imgindex", "label", "patientID", "path", *config.LABELS]
    wanted += ["seen"] if name in ("valid_set", "test_set") else []
    missing = [column for column in wanted if column not in getattr(frame, "columns", [])]
    if missing:
        raise ValueError(f"subset/{name}.pkl has no column {missing}: {again}")
    if name == "test_set" and "split" not in frame.attrs:
        raise ValueError(f"subset/{name}.pkl doesn't say by which split it was made: {again}")
    return frame


def check_frame(frame, columns, images):
    """Raises `ValueError` unless a frame has these columns and a row for each of so many images."""
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ValueError(f"The frame of images has no column {missing}: run 100-data_cleaning_eda again.")
    if len(frame) != images:
        raise ValueError(
            f"The frame holds {len(frame):,} images, labels and predictions are of {images:,}: expected the same images of both."
        )


def split_digest():
    """Returns a hash of which images train and which validate (`subset/`), to tell one split from another."""
    names = (sorted(load_frame(name).imgindex) for name in ("train_set", "valid_set"))
    return hashlib.md5("|".join(" ".join(part) for part in names).encode()).hexdigest()


def targets(frame):
    """Returns the `(n, 14)` float32 array of 0 and 1 of a frame, columns in `config.LABELS` order."""
    return frame[config.LABELS].to_numpy(np.float32)
