"""The 14 findings in their order, the folders of a run, the seed.

Everything that a run writes lies under one root: `CXR_HOME`, or the current folder when that is unset.
All environment variables are read when a function is called, never at import.
"""

import os
import platform
from importlib.metadata import version
from pathlib import Path

# Order of the columns of every label and prediction array.
LABELS = [
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
]
NO_FINDING = "No Finding"
# NIH's radiologists boxed these eight, in pixels of the original image.
BOXED = ["Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"]
ORIGINAL_SIZE = 1024

# The seed of the published split: its numbers depend on it.
SEED = 42

LABEL_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
BOXES = "BBox_List_2017.csv"
TRAIN_VAL_LIST = "train_val_list.txt"
TEST_LIST = "test_list.txt"
# An optional text file of a release: its first line says what the images are (the phantom has one).
RELEASE_NOTE = "RELEASE.txt"
# In data/: the images that could not be decoded, with reason and archive.
UNREADABLE = "unreadable_images.csv"


def home():
    """Returns the root of this run as a `Path`: `CXR_HOME`, or the current folder when unset."""
    return Path(os.environ.get("CXR_HOME") or ".").expanduser().resolve()


def release_source():
    """Returns where images come from: `CXR_RELEASE` (`"nih"`, `"phantom"`, a folder, a URL), `"nih"` when unset."""
    return os.environ.get("CXR_RELEASE") or "nih"


def processes():
    """Returns how many hosts train together: `CXR_PROCESSES`, 1 when unset."""
    return int(os.environ.get("CXR_PROCESSES") or 1)


def rank():
    """Returns the number of this host among those that train together, from 0: `CXR_RANK`, 0 when unset."""
    return int(os.environ.get("CXR_RANK") or 0)


def versions(*packages):
    """Returns the versions of Python and of these packages in one line."""
    return ", ".join(
        [f"Python {platform.python_version()}", *(f"{package} {version(package)}" for package in packages)]
    )
