"""Checks the parameters of the notebooks, before a notebook reads or writes anything."""

import os
from functools import partial

from cxr_utils import config
from cxr_utils.data.splits import SPLIT_METHODS

# The parameters that are the path of a file or None, with other texts that they may be.
FILES = {"WEIGHTS": ("imagenet",), "REREADS": (), "USER_IMAGE": ()}


def check(namespace):
    """Checks all parameters in `namespace`. It takes `globals()` in the cell below the parameters of a notebook.

    Args:
        namespace: dict of values by name. Names that are not parameters are ignored.

    Raises:
        ValueError: a parameter has a wrong type or value. The message has its name, its value and what is allowed.
    """
    for name, (is_allowed, words) in _RULES.items():
        if name in namespace and not is_allowed(value := namespace[name]):
            raise ValueError(f"{name} is {value!r} ({type(value).__name__}): expected {words}.")


def _is_number(value, kinds, lowest, highest=float("inf")):
    # For Python a bool is an int, but EPOCHS = True is a mistake. NaN is in no range.
    return isinstance(value, kinds) and not isinstance(value, bool) and lowest <= value <= highest


def _is_none_or_file(value, texts):
    return value is None or (isinstance(value, (str, os.PathLike)) and (value in texts or os.path.isfile(value)))


def _one_of(texts):
    return lambda value: isinstance(value, str) and value in texts, " or ".join(map(repr, texts))


_MOST_MEMBERS = 100
# Each member of a model has a seed of its own in the range of NumPy's and Keras' seeds.
_LAST_SEED = 2**32 - _MOST_MEMBERS
_COUNT = (partial(_is_number, kinds=int, lowest=1), "an integer of at least 1")
# Name → a function that returns whether a value is allowed, and what is allowed, in words.
_RULES = {
    # How many archives there are depends on the release: `download.plan` checks this.
    "ARCHIVES": (lambda value: value is None or _COUNT[0](value), f"None or {_COUNT[1]}"),
    "CONNECTIONS": _COUNT,
    "SPLIT": _one_of(SPLIT_METHODS),
    # A stratified split needs five images of each combination of findings.
    "MORE_THAN": (partial(_is_number, kinds=int, lowest=4), "an integer of at least 4"),
    "SEED": (partial(_is_number, kinds=int, lowest=0, highest=_LAST_SEED), f"an integer from 0 to {_LAST_SEED}"),
    "LEAVE_OUT_UNREADABLE": (lambda value: isinstance(value, bool), "True or False"),
    "IMAGE_SIZE": (
        partial(_is_number, kinds=int, lowest=config.MIN_IMAGE_SIZE, highest=config.ORIGINAL_SIZE),
        f"an integer from {config.MIN_IMAGE_SIZE} to {config.ORIGINAL_SIZE} (pixels per side)",
    ),
    **dict.fromkeys(("BATCH_SIZE", "EPOCHS", "PLATEAU", "PATIENCE"), _COUNT),
    "MEMBERS": (
        partial(_is_number, kinds=int, lowest=1, highest=_MOST_MEMBERS),
        f"an integer from 1 to {_MOST_MEMBERS}",
    ),
    "SCHEDULE": _one_of(config.SCHEDULES),
    "TTA": (lambda value: type(value) is int and value in (1, 5), "1 or 5"),
    # Smaller steps are lost in the rounding of 32-bit weights.
    "LEARNING_RATE": (
        lambda value: _is_number(value, (int, float), 1e-8) and value < 1,
        "a number of at least 1e-8 and below 1",
    ),
    "BATCH_NORM_MOMENTUM": (
        lambda value: _is_number(value, (int, float), 0) and value < 1,
        "a number of at least 0 and below 1",
    ),
    "BACKBONE": _one_of(config.BACKBONES),
    "SCALING": _one_of(config.SCALINGS),
    "MARGIN": (
        lambda value: _is_number(value, (int, float), 0) and 0 < value < 0.5,
        "a number above 0 and below 0.5 (difference in AUROC)",
    ),
    "PREVALENCE": (lambda value: _is_number(value, float, 1e-9) and value < 1, "a number above 0 and below 1"),
    "MODELS": (
        lambda value: isinstance(value, (list, tuple)) and sorted(map(str, value)) == sorted(config.RISK_COLUMNS),
        f"a list of both models, {' and '.join(config.RISK_COLUMNS)}, in either order",
    ),
} | {
    name: (
        partial(_is_none_or_file, texts=texts),
        " or ".join(["None", *map(repr, texts), "the path of a file that exists"]),
    )
    for name, texts in FILES.items()
}
