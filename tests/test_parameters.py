"""The parameters of all notebooks: which values are allowed and which are rejected, with which message."""

import ast
import math
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from cxr_utils import config, data, parameters, run

MISSING = "weights/missing.h5"
# What is wrong for every parameter that is an integer of at least 1.
NO_COUNTS = [0, -1, 1.5, 1e1, math.nan, math.inf, True, "32", "all", "", None, [3], np.int64(8), np.array([1, 2])]
WRONG = {
    "ARCHIVES": ["all", 0, -1, 1.5, True, "1"],
    "CONNECTIONS": NO_COUNTS,
    "SPLIT": ["random", "Patient", None, 1, ["patient"], True],
    "MORE_THAN": [-1, 0, 3, 20.0, "20", None, True],
    "SEED": [-1, 1.5, 2**32, "42", None, False],
    "LEAVE_OUT_UNREADABLE": ["false", "False", "true", 0, 1, None],
    "IMAGE_SIZE": [0, 47, 128.5, 128.0, 1025, 100_000, "128", None, True],
    **dict.fromkeys(["BATCH_SIZE", "EPOCHS", "PLATEAU", "PATIENCE"], NO_COUNTS),
    "MEMBERS": [*NO_COUNTS, 101],
    "SCHEDULE": ["linear", "Cosine", None, True, ""],
    "TTA": [0, 2, 4, 10, 5.0, "5", None, True, [1]],
    "LEARNING_RATE": [0, 0.0, -1e-3, 1, 10, 1e-50, math.nan, math.inf, -math.inf, "1e-3", "nan", None, True],
    "BATCH_NORM_MOMENTUM": [2, 1, 1.0, -0.1, math.nan, "0.9", None, False, True],
    "PREVALENCE": [0, 0.0, 1, 1.0, 1.5, -0.1, math.nan, "0.01", None, True],
    "BACKBONE": ["mobilenet", "VGG16", None, "", 1],
    "WEIGHTS": ["none", "None", "", "Imagenet", MISSING, ".", 1, 0, True, ["imagenet"], np.array([1, 2])],
    "SCALING": ["standardize", None, True, ""],
    "REREADS": ["none", "", "imagenet", MISSING, ".", 0, False],
    "USER_IMAGE": ["none", "", MISSING, "x" * 5000, "a\0b", 0],
    "MARGIN": [0, -0.01, 0.5, 1, math.nan, math.inf, "0.01", None, True, [0.01]],
    "MODELS": [
        "baseline", ["baseline"], ["baseline", "baseline"], ["baseline", "densenet"], ["baseline", "mobilenet", "a"],
        [], None, [["baseline"], ["mobilenet"]], {"baseline": 1, "mobilenet": 2}, {"baseline", "mobilenet"}, "ab",
    ],
}  # fmt: skip
RIGHT = {
    "ARCHIVES": [None, 1, 12],
    "CONNECTIONS": [1, 50],
    "SPLIT": ["stratified", "patient", "official"],
    "MORE_THAN": [4, 1000],
    "SEED": [0, 2**32 - 100],
    "LEAVE_OUT_UNREADABLE": [True, False],
    "IMAGE_SIZE": [48, 1024],
    **dict.fromkeys(["BATCH_SIZE", "EPOCHS", "PLATEAU", "PATIENCE"], (1, 8, 10**6)),
    "MEMBERS": [1, 3, 100],
    "SCHEDULE": ["plateau", "cosine"],
    "TTA": [1, 5],
    "LEARNING_RATE": [1e-8, 1e-3, np.float64(0.1), 0.999],
    "BATCH_NORM_MOMENTUM": [0, 0.0, 0.9, 0.999],
    "PREVALENCE": [1e-6, 0.01, np.float64(0.2), 0.999],
    "BACKBONE": ["MobileNet", "MobileNetV2", "DenseNet121", "EfficientNetV2B0", "ResNet50V2"],
    "WEIGHTS": ["imagenet", None, __file__, Path(__file__)],
    "SCALING": ["standardise", "backbone"],
    **dict.fromkeys(["REREADS", "USER_IMAGE"], (None, __file__, Path(__file__))),
    "MARGIN": [1e-6, 0.01, np.float64(0.02), 0.49],
    "MODELS": [["baseline", "mobilenet"], ("mobilenet", "baseline")],
}


def defaults():
    """Returns the parameters of all notebooks with their defaults, as a list of `(notebook, name, value)`."""
    found = []
    for path in sorted(run.REPOSITORY.glob(run.NOTEBOOK_PATTERN)):
        cell = next(c for c in nbformat.read(path, 4).cells if "parameters" in c.metadata.get("tags", []))
        found += [(path.stem, line.targets[0].id, ast.literal_eval(line.value)) for line in ast.parse(cell.source).body]
    return found


def rejected(name, value):
    try:
        parameters.check({name: value})
    except ValueError as error:
        return str(error)
    return None


def test_every_parameter_of_the_seven_notebooks_has_a_rule_that_its_default_meets():
    found = defaults()
    assert len({notebook for notebook, _, _ in found}) == 7
    assert {name for _, name, _ in found} == WRONG.keys() == RIGHT.keys()
    for notebook, name, value in found:
        assert not rejected(name, value), (notebook, name)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_rejected_with_its_name_the_value_and_its_type(name):
    for value in WRONG[name]:
        message = rejected(name, value)
        assert message, f"{name} = {value!r} is accepted"
        assert f"{name} is {value!r} ({type(value).__name__}): " in message and "\n" not in message


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_value_is_accepted(name):
    for value in RIGHT[name]:
        assert not rejected(name, value), value


@pytest.mark.parametrize(("name", "value", "allowed"), [
    ("SPLIT", "random", ["stratified", "patient", "official"]), ("MODELS", "a", ["baseline", "mobilenet"]),
    ("IMAGE_SIZE", 0, ["48", "1024"]), ("SEED", -1, ["0", str(2**32 - 100)]), ("MORE_THAN", 0, ["4"]),
    ("LEAVE_OUT_UNREADABLE", "false", ["True", "False"]), ("WEIGHTS", "none", ["imagenet", "None", "path"]),
    ("BACKBONE", "VGG16", ["MobileNet", "DenseNet121"]), ("SCALING", "", ["standardise", "backbone"]),
    ("SCHEDULE", "linear", ["plateau", "cosine"]), ("TTA", 3, ["1", "5"]),
])  # fmt: skip
def test_the_message_says_what_is_allowed(name, value, allowed):
    said = rejected(name, value).partition("expected")[2]
    assert all(words in said for words in allowed)


def test_other_names_of_a_notebook_are_ignored():
    parameters.check({"epochs": 0, "MODEL": 0, "__builtins__": None, "EPOCHS": 3, "np": np})


def test_the_first_wrong_parameter_of_a_notebook_is_found_among_others():
    with pytest.raises(ValueError, match="EPOCHS is 0"):
        parameters.check({"SEED": 1, "IMAGE_SIZE": 64, "EPOCHS": 0, "BACKBONE": "MobileNet"})


def test_more_than_its_lowest_value_images_of_each_combination_can_be_split():
    lowest = next(number for number in range(100) if not rejected("MORE_THAN", number))

    def frame(images):
        labels = images * ["Mass", "Nodule", config.NO_FINDING]
        names = [f"{number}.png" for number in range(len(labels))]
        return pd.DataFrame({"imgindex": names, "label": labels, "patientID": range(len(labels))})

    sets = data.split(frame(lowest + 1), "stratified")[:3]
    assert all(part.label.nunique() == 3 for part in sets)
    with pytest.raises(ValueError):
        data.split(frame(lowest), "stratified")


def test_all_seeds_that_are_allowed_are_those_of_numpy():
    np.random.RandomState(2**32 - 1)
    with pytest.raises(ValueError):
        np.random.RandomState(2**32)
