"""The pickled splits of `subset/`."""

import hashlib

import numpy as np
import pandas as pd

from cxr_utils import config
from cxr_utils.files import atomic


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


def check(frame, columns, films):
    """Raises `ValueError` unless a frame has these columns and a row for each of so many films."""
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ValueError(f"The frame of films has no column {missing}: run 100-data_cleaning_eda again.")
    if len(frame) != films:
        raise ValueError(f"The frame holds {len(frame):,} films, labels and predictions are of {films:,}: expected the same films of both.")


def split_mark():
    """Returns a hash of which films train and which validate (`subset/`), to tell one split from another."""
    names = (sorted(load_frame(name).imgindex) for name in ("train_set", "valid_set"))
    return hashlib.md5("|".join(" ".join(part) for part in names).encode()).hexdigest()


def targets(frame):
    """Returns the `(n, 14)` float32 array of 0 and 1 of a frame, columns in `config.LABELS` order."""
    return frame[config.LABELS].to_numpy(np.float32)
