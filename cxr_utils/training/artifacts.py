"""Files of a training: model, weights, summary."""

import logging
import shutil
from contextlib import contextmanager
from pathlib import Path

import h5py

from cxr_utils import config
from cxr_utils._files import atomic
from cxr_utils.data import split_digest
from cxr_utils.models import NOTEBOOKS

_MARK = "cxr_utils_split"


def save_model(model, path):
    """Saves a whole model in HDF5 (`.h5` or `.hdf5`), which plain `keras.models.load_model` opens."""
    with atomic(path) as part, _quiet_about_hdf5():
        model.save(part)


@contextmanager
def _quiet_about_hdf5():
    # Keras recommends its own format at every save; HDF5 is what this pipeline's files have always been.
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def save_summary(model, name, heading):
    """Writes `logs/<name>_model_summary.txt`: a heading that says what the model is, then Keras' summary."""
    lines = [heading]
    model.summary(print_fn=lambda line: lines.append(line), line_length=100)
    with atomic(config.home() / "logs" / f"{name}_model_summary.txt") as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")


def keep_best(name):
    """Copies the best weights, a whole model, to `cnnmodels/<name>_model.h5`, marked with the split that it was trained on.

    Args:
        name: `"baseline"` or `"mobilenet"`.

    Returns:
        `Path` of the weights file that was best.

    Raises:
        FileNotFoundError: the training saved none.
    """
    saved = best_weights(name)
    if not saved:
        raise FileNotFoundError(f"weights/ holds no {name}_weights.best.*.hdf5: train first, no epoch has ended yet.")
    with atomic(config.home() / "cnnmodels" / f"{name}_model.h5") as part:
        shutil.copyfile(saved[-1], part)
        with h5py.File(part, "r+") as file:
            file.attrs[_MARK] = split_digest()
    return saved[-1]


def check_split(name):
    """Makes sure that a model was trained on the split that `subset/` holds: else its test images may have trained it.

    Args:
        name: `"baseline"` or `"mobilenet"`.

    Raises:
        ValueError: it was trained on another split, or nobody knows on which.
    """
    with h5py.File(config.home() / "cnnmodels" / f"{name}_model.h5") as file:
        if file.attrs.get(_MARK) != split_digest():
            raise ValueError(
                f"cnnmodels/{name}_model.h5 was not trained on the split in subset/, so the images that test it may have trained "
                f"it: run {NOTEBOOKS[name]} again."
            )


def best_weights(name):
    """Returns the saved files; the later one was saved, the better it was."""
    return sorted((config.home() / "weights").glob(f"{name}_weights.best.*.hdf5"), key=epoch_of)


def epoch_of(path):
    return int(Path(path).name.split(".best.")[1].split("-")[0])
