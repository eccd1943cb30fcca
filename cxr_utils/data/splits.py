"""Splits images into training, validation and test sets, and saves and loads these in `subset/`."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from cxr_utils import config
from cxr_utils._files import atomic, locked
from cxr_utils.data import tables
from cxr_utils.download import listed_images

SPLIT_METHODS = ("stratified", "patient", "official")
# Shares of the images ("stratified") or of the patients ("patient", "official").
VALIDATION_SHARE = 0.3  # of all that are not in an official test set
TEST_SHARE = 0.3  # of the rest
_SETS = {"training": "train", "validation": "valid", "test": "test"}  # with the names of their files


def split(frame, method="stratified", seed=config.SEED, test_list=None):
    """Splits images into training, validation and test sets.

    - `"stratified"` splits by image, stratified by combination of findings, as in the published numbers: 0.3 of the
      images for validation, then 0.3 of the rest for test, so the sets have 49 %, 30 % and 21 % of the images. It
      leaks: images of one patient can be in several sets.
    - `"patient"` makes the same two cuts by patient: the sets have 49 %, 30 % and 21 % of the patients. Their shares of
      the images differ, because patients have different numbers of images. Each patient is in one set only.
    - `"official"` uses NIH's test list as the test set and 0.3 of the other patients for validation.

    Args:
        frame: with `imgindex`, `label` and `patientID`.
        method: `"stratified"`, `"patient"` or `"official"`.
        seed: int, of the random cuts.
        test_list: path of NIH's `test_list.txt`; only `"official"` needs it.

    Returns:
        `(train, valid, test)`, three frames. In `attrs` of each, `"split"` is `method` and `"digest"` the hash of all
        three (`split_digest`). `valid` and `test` have an additional bool column `seen`. In `valid`, it is True if the
        patient has images in the training set; in `test`, if the patient has images in the development set (training +
        validation).

    Raises:
        ValueError: `method` is unknown, a combination of findings is too rare to stratify by, a set would be empty, or
            a patient's images are only partly in the test list.
        FileNotFoundError: `"official"` without a test list.
    """
    if method not in SPLIT_METHODS:
        raise ValueError(f"SPLIT is '{method}': expected one of {', '.join(SPLIT_METHODS)}.")
    counts = frame.label.value_counts()
    if method == "stratified" and counts.min() < 5:
        raise ValueError(
            f"'{counts.idxmin()}' occurs in {counts.min()} images, too few for a split stratified by combination: "
            "call keep_frequent_combinations first, or use the split 'patient' or 'official'."
        )
    official = np.zeros(len(frame), bool)
    if method == "official":
        if test_list is None or not Path(test_list).is_file():
            raise FileNotFoundError(
                f"The official split needs NIH's {config.TEST_LIST}, but data/ has none: add it to the release and run "
                "000-data_download again, or use another SPLIT."
            )
        official = frame.imgindex.isin(listed_images(Path(test_list)))
        if both := sorted(set(frame.patientID[official]).intersection(frame.patientID[~official])):
            raise ValueError(
                f"{Path(test_list).name} lists some, but not all images of {len(both):,} patients, such as {both[0]}; "
                "expected all images of a patient or none, as in NIH's list: use a complete list or another SPLIT."
            )
    rest, valid = _cut(frame[~official], VALIDATION_SHARE, seed, method)
    train, test = (rest, frame[official]) if method == "official" else _cut(rest, TEST_SHARE, seed, method)
    if not len(test):
        raise ValueError(
            f"None of the {len(frame):,} images is in the test set of the {method} split: use more images or "
            "another split."
        )
    sets = (
        train.copy(),
        valid.assign(seen=valid.patientID.isin(train.patientID)),
        test.assign(seen=test.patientID.isin(pd.concat([train, valid]).patientID)),
    )
    digest = split_digest(*sets)
    for part in sets:
        part.attrs |= {"split": method, "digest": digest}
    return sets


def _cut(frame, share, seed, method):
    """Returns the rest and a random share of the frame.

    By the method `"stratified"`, both have the same shares of each combination of findings; by others, no patient is in
    both.
    """
    if method == "stratified":
        return train_test_split(frame, test_size=share, random_state=seed, stratify=frame.label)
    if frame.patientID.nunique() < 2:
        raise ValueError(
            f"{len(frame):,} images of {frame.patientID.nunique()} patient(s) cannot be split by patient: expected "
            "images of at least two patients here, and of three for all sets."
        )
    cut = GroupShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    kept, taken = next(cut.split(frame, groups=frame.patientID))
    return frame.iloc[kept], frame.iloc[taken]


def save_split(subset, train, valid, test):
    """Saves a split as `subset/subset.pkl`, `train_set.pkl`, `valid_set.pkl` and `test_set.pkl`.

    Args:
        subset: frame of all images of the split.
        train: frame of the training set, from `split`.
        valid: frame of the validation set.
        test: frame of the test set.

    Raises:
        OSError: another process is saving a split.
    """
    with locked("split", "the saving of a split"):
        for name, frame in {"subset": subset, "train_set": train, "valid_set": valid, "test_set": test}.items():
            with atomic(config.home() / "subset" / f"{name}.pkl") as part:
                frame.to_pickle(part)


def load_split():
    """Reads the three sets in `subset/`.

    Returns:
        Dict of `"training"`, `"validation"`, `"test"` → frame.

    Raises:
        FileNotFoundError, OSError: see `load_frame`.
        ValueError: see `load_frame`, or the sets are not those of one split.
    """
    sets = {part: load_frame(f"{name}_set") for part, name in _SETS.items()}
    if {frame.attrs.get("digest") for frame in sets.values()} != {split_digest(*sets.values())}:
        raise ValueError(
            "subset/ contains sets of different splits, for example because 100-data_cleaning_eda was stopped while it "
            "saved them, or sets of an earlier version: run 100-data_cleaning_eda again."
        )
    return sets


def load_frame(name):
    """Reads `subset/<name>.pkl`.

    Args:
        name: `"subset"`, `"train_set"`, `"valid_set"` or `"test_set"`.

    Returns:
        The frame.

    Raises:
        FileNotFoundError: the file does not exist; 100-data_cleaning_eda writes it.
        OSError: the file cannot be read.
        ValueError: the file is damaged or was written by an incompatible pandas version, or has no label columns.
    """
    path = config.home() / "subset" / f"{name}.pkl"
    again = "run 100-data_cleaning_eda to write it."
    try:
        frame = pd.read_pickle(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"subset/{name}.pkl is missing: {again}") from error
    except OSError as error:
        raise OSError(f"subset/{name}.pkl cannot be read ({error.strerror}): make it readable first.") from error
    # Unpickling a file of another pandas version can raise nearly any exception.
    except Exception as error:
        raise ValueError(
            f"subset/{name}.pkl cannot be read by pandas {pd.__version__} ({type(error).__name__}: {error}). It is "
            f"damaged or was written by another pandas version: {again}"
        ) from error
    wanted = ["imgindex", "label", "patientID", "path", *config.LABELS]
    wanted += ["seen"] if name in ("valid_set", "test_set") else []
    tables.require_columns(frame, wanted, f"subset/{name}.pkl", again)
    return frame


def describe_overlap(test):
    """States the share of the test images whose patient also has images in the development set.

    Args:
        test: frame of the test set, with the column `seen`.

    Returns:
        str, such as `"82 % of test images are of development-set patients"`; empty if no patient is in both.
    """
    return f"{100 * test.seen.mean():.0f} % of test images are of development-set patients" * bool(test.seen.any())


def check_frame(frame, columns, images):
    """Raises `ValueError` unless `frame` has the columns `columns` (list of str) and `images` (int) rows."""
    tables.require_columns(frame, columns, "The frame of images", "run 100-data_cleaning_eda again.")
    if len(frame) != images:
        raise ValueError(
            f"The frame has {len(frame):,} rows, but there are labels and predictions of {images:,} images: expected "
            "one row for each of these images."
        )


def split_digest(*sets):
    """Returns a hash (str) of which images are in which set, and of their labels; it shows whether a split changed.

    Args:
        *sets: frames with `imgindex` and `label`, such as the training and the validation set.
    """
    names = [" ".join(sorted(frame.imgindex + " " + frame.label)) for frame in sets]
    return hashlib.md5("|".join(names).encode()).hexdigest()


def targets(frame):
    """Returns the labels of a frame as a `(n, 14)` float32 array of 0 and 1, columns in `config.LABELS` order."""
    return frame[config.LABELS].to_numpy(np.float32)
