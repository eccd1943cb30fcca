"""Saves and checks the files of a training run: models, weights and the model summary."""

import logging
import shutil

import h5py

from cxr_utils import config
from cxr_utils._files import atomic
from cxr_utils.data import split_digest

# HDF5 attribute of a model file: the digest of the split that it was trained on.
_SPLIT_ATTRIBUTE = "cxr_utils_split"


def save_model(model, path):
    """Saves a whole model as HDF5, which plain `keras.models.load_model` opens.

    Args:
        model: a `keras.Model`.
        path: of the file, ending in `.h5` or `.hdf5`.
    """
    # Keras recommends its own format at every save. This pipeline keeps HDF5, the format of its earlier files.
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with atomic(path) as part:
            model.save(part)
    finally:
        logger.setLevel(level)


def save_summary(model, name, heading):
    """Writes `logs/<name>_model_summary.txt`.

    Args:
        model: a `keras.Model`.
        name: `"baseline"` or `"mobilenet"`.
        heading: str, the first line, which describes the model. Keras' summary follows.
    """
    lines = [heading]
    model.summary(print_fn=lambda line: lines.append(line), line_length=100)
    with atomic(config.home() / "logs" / f"{name}_model_summary.txt") as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")


def keep_best(name):
    """Copies the best weights file, a whole model, to `cnnmodels/<name>_model.h5`.

    The copy is marked with the split that it was trained on, see `check_split`.

    Args:
        name: `"baseline"` or `"mobilenet"`.

    Returns:
        `Path` of the best weights file.

    Raises:
        FileNotFoundError: no weights have been saved.
    """
    saved = best_weights(name)
    if not saved:
        raise FileNotFoundError(
            f"weights/ contains no {name}_weights.best.*.hdf5 because no epoch has finished: train the model first."
        )
    with atomic(config.home() / "cnnmodels" / f"{name}_model.h5") as part:
        shutil.copyfile(saved[max(saved)], part)
        with h5py.File(part, "r+") as file:
            file.attrs[_SPLIT_ATTRIBUTE] = split_digest()
    return saved[max(saved)]


def check_split(name):
    """Checks that a model was trained on the split in `subset/`.

    If it was trained on another split, some of the test images may have been training images.

    Args:
        name: `"baseline"` or `"mobilenet"`.

    Raises:
        ValueError: the model was trained on another split, or the file does not state its split.
    """
    with h5py.File(config.home() / "cnnmodels" / f"{name}_model.h5") as file:
        if file.attrs.get(_SPLIT_ATTRIBUTE) != split_digest():
            raise ValueError(
                f"cnnmodels/{name}_model.h5 was not trained on the split in subset/, so that test images may have been "
                f"training images: run {config.TRAINING_NOTEBOOKS[name]} again."
            )


def best_weights(name):
    """Returns the saved weights files as a dict of epoch, counted from 1, → `Path`; the last epoch is the best."""
    files = (config.home() / "weights").glob(f"{name}_weights.best.*.hdf5")
    return {int(path.name.split(".best.")[1].split("-")[0]): path for path in files}
