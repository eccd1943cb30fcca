"""The 14 findings in order, file names, the seed and the environment variables.

Everything that a run writes is in one root folder: `CXR_HOME`, or the current folder if that is unset. Images, tables
and decoded pixels can be in another one, `CXR_DATA`.
Environment variables are read when a function is called, never at import.
"""

import os
import platform
from importlib.metadata import version
from pathlib import Path

# The column order of every array of labels or predictions.
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
# The eight findings for which NIH's radiologists drew boxes.
BOXED = ["Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"]
# Keys of the result tables, with what a reader sees in their place. First: the parts of the test set.
SUBSETS = {"all": "all test images", "new_patients": "patients not in the development set"}
# The rules by which a threshold is chosen on validation images, see `evaluation.choose_thresholds`.
THRESHOLD_RULES = {
    "youden": "Youden's index",
    "sensitive": "a target of 90 % sensitivity",
    "specific": "95 % specificity",
}
# Each model with its column of mean predicted risk in `test_results/test_results_<model>.csv`, and its notebooks.
RISK_COLUMNS = {"baseline": "pdx_base", "mobilenet": "pdx_mobilenet"}
TRAINING_NOTEBOOKS = {"baseline": "200-basemodel_cnn_scratch", "mobilenet": "210-pretrained_models"}
TEST_NOTEBOOKS = {"baseline": "300-testing_baseline", "mobilenet": "311-testing_pretrained_mobilenet"}
COMPARISON_NOTEBOOK = "400-visualization_predictions_results"
ORIGINAL_SIZE = 1024  # width and height in pixels of NIH's images; boxes are given in these pixels
# Pixels per side: the baseline's pooling layers divide the size by 2·2·2·2·3 = 48. Keras' backbones accept 48, too.
MIN_IMAGE_SIZE = 48
# Models of keras.applications that `models.build_pretrained` can start from, and its scalings of the input.
BACKBONES = ("MobileNet", "MobileNetV2", "DenseNet121", "EfficientNetV2B0", "ResNet50V2")
SCALINGS = ("standardise", "backbone")
# How the learning rate changes during training, see `training.learning_rate`.
SCHEDULES = ("plateau", "cosine")

# The seed of the published split. Another seed changes its numbers.
SEED = 42

# Tables and lists of a release, named as NIH names them. The corrected label table of 2020 comes first; the last one is
# that of Kaggle's sample of 5,606 images.
LABEL_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", "sample_labels.csv")
BOXES = "BBox_List_2017.csv"
ADJUDICATED = "google2019_nih-chest-xray-labels.csv.gz"  # radiologists' labels (Majkowska et al., Radiology 2020)
TRAIN_VAL_LIST = "train_val_list.txt"
TEST_LIST = "test_list.txt"
# An optional text file of a release, UTF-8. Line 1: its name; `kind: phantom` follows if the phantom drew it.
RELEASE_NOTE = "RELEASE.txt"
# A table in data/ of the images that could not be decoded, each with the reason and its archive.
UNREADABLE = "unreadable_images.csv"
# What several hosts that train together need; see `address`, `processes` and `rank`.
HOST_VARIABLES = ("CXR_ADDRESS", "CXR_PROCESSES", "CXR_RANK")
# Whether this process has joined them: the variables alone may be left over in a shell. Only this value ever changes.
hosts_joined = False


class UsageError(ValueError):
    """The command line is wrong."""


def home():
    """Returns the root folder of this run as an absolute `Path`: `CXR_HOME`, or the current folder if unset.

    If that is the folder of the executed copies of a run (`notebooks/`), the root folder is that of this run.
    """
    if given := os.environ.get("CXR_HOME"):
        return Path(given).expanduser().resolve()
    here = Path.cwd()
    return here.parent if here.name == "notebooks" and (here.parent / ".locks" / "run.lock").is_file() else here


def data_folder():
    """Returns the folder of images, tables and decoded pixels as an absolute `Path`: `CXR_DATA`, or `data/` of `home`.

    A relative `CXR_DATA` is relative to `home`. Where docstrings and messages say `data/`, they mean this folder.
    """
    return home() / Path(os.environ.get("CXR_DATA") or "data").expanduser()


def release_source():
    """Returns where the images come from: `CXR_RELEASE` (`"nih"`, `"phantom"`, a folder or a URL), `"nih"` if unset."""
    return os.environ.get("CXR_RELEASE") or "nih"


def allows(permission):
    """Returns whether a permission is given: whether the environment variable `permission` is 1.

    `CXR_RANDOM_START`: random weights may replace ImageNet weights that cannot be downloaded. `CXR_ALLOW_CPU`: models
    may be trained on the CPU although there is a GPU that cannot be used.
    """
    return os.environ.get(permission) == "1"


def address():
    """Returns `HOST:PORT` of rank 0 if several hosts train together: `CXR_ADDRESS`."""
    return os.environ["CXR_ADDRESS"]


def processes():
    """Returns the number of hosts that train together: `CXR_PROCESSES`, 1 if unset."""
    return int(os.environ.get("CXR_PROCESSES") or 1)


def rank():
    """Returns the rank of this host among those that train together, counted from 0: `CXR_RANK`.

    It is 0 on a single host, and before `training.configure_devices` has joined the others.
    """
    return int(os.environ.get("CXR_RANK") or 0) if hosts_joined and processes() > 1 else 0


def versions(*packages):
    """Returns one line with the versions of Python and of the packages in `packages` (names as in PyPI)."""
    return ", ".join(
        [f"Python {platform.python_version()}", *(f"{package} {version(package)}" for package in packages)]
    )
