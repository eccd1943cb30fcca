"""Saves and checks the files of a training run: models, weights and the model summary."""

import json
import logging
import re
import shutil

import h5py
import keras
import pandas as pd

from cxr_utils import config, data
from cxr_utils._files import atomic, locked, sha256, write_text
from cxr_utils.models import join_members
from cxr_utils.models.trained import STAMP
from cxr_utils.training.plan import member_names

LOG_COLUMNS = [
    "epoch", "auc", "categorical_accuracy", "loss", "val_auc", "val_categorical_accuracy", "val_loss",
    "val_mean_auroc", "learning_rate",
]  # fmt: skip


def lock(name):
    """Returns a context manager that keeps two training runs of the same model in one home apart.

    Args:
        name: `"baseline"` or `"mobilenet"`.

    Raises:
        OSError: another process is training this model (when the block begins); the message says which and since when.
    """
    return locked(name, f"the training of {name}")


def save_model(model, path):
    """Saves a whole model with its stamp, an HDF5 attribute, as HDF5, which plain `keras.models.load_model` opens.

    Args:
        model: a `keras.Model` with the attribute `stamp`.
        path: of the file, ending in `.h5` or `.hdf5`.
    """
    # Keras recommends its own format at every save. This pipeline keeps HDF5, the format of its earlier files.
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with atomic(path) as part:
            model.save(part)
            with h5py.File(part, "r+") as file:
                file.attrs[STAMP] = json.dumps(model.stamp)
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
    write_text(config.home() / "logs" / f"{name}_model_summary.txt", "\n".join(lines) + "\n")


def keep_best(name, *members):
    """Writes `cnnmodels/<name>_model.h5`: the best weights of a training run, or those of all members, joined.

    If training has ended, it also deletes the saved states of the runs, unless there are states of further members: a
    training of more members may continue.

    Args:
        name: `"baseline"` or `"mobilenet"`.
        *members: the `keras.Model`s that were trained, see `models.join_members`.

    Returns:
        List of `Path`, the best weights file of each member, a whole model.

    Raises:
        FileNotFoundError: see `best_weights`.
        ValueError: `subset/` contains another split than when the training started. The model is saved.
    """
    names = member_names(name, len(members))
    stamps = [getattr(model, "stamp", {}) for model in members]
    best = [best_weights(*member) for member in zip(names, stamps, strict=True)]
    path = config.home() / "cnnmodels" / f"{name}_model.h5"
    if len(members) == 1:
        with atomic(path) as part:
            shutil.copyfile(best[0], part)
    else:
        joined = join_members([keras.models.load_model(file, compile=False) for file in best])
        joined.stamp = stamps[0] | {"members": stamps}
        save_model(joined, path)
    states = {state_file(member) for member in names}
    further = set(state_file(name).parent.glob(f"{name}_m*_state.npz")) - states
    if all(getattr(model, "training_ended", False) for model in members) and not further:  # else it may continue
        for state in states:
            state.unlink(missing_ok=True)
    sets = data.load_split()
    for stamp in stamps:
        check_split(name, stamp, sets)
    return best


def best_weights(name, stamp):
    """Returns the `Path` of the weights of the best epoch of a training run.

    Args:
        name: `"baseline"` or `"mobilenet"`.
        stamp: dict, the stamp of the run.

    Raises:
        FileNotFoundError: they do not exist.
    """
    saved = {(run, epoch): path for path, epoch, run in weights_files(name)}
    best = saved.get((stamp.get("run"), stamp.get("best epoch")))
    if best is None:
        raise FileNotFoundError(
            f"weights/ contains no {name}_weights.best.*.hdf5 of the best epoch of this training: no epoch has "
            "finished, another training has replaced the file, or it was deleted. Restore the file, or delete "
            f"weights/{state_file(name).name}, if there is one, and train the model again."
        )
    return best


def check_split(name, stamp, sets):
    """Checks that a model was trained on a split.

    If it was trained on another split, some of the test images may have been training images.

    Args:
        name: `"baseline"` or `"mobilenet"`.
        stamp: dict, the `stamp` of the model.
        sets: dict of `data.load_split`.

    Raises:
        ValueError: the model was trained on another split, or its file does not state its split.
    """
    if stamp.get("split") != data.split_digest(sets["training"], sets["validation"]):
        raise ValueError(
            f"cnnmodels/{name}_model.h5 was not trained on the split in subset/, so that test images may have been "
            f"training images. Run 100-data_cleaning_eda with the parameters of that time again, or run "
            f"{config.TRAINING_NOTEBOOKS[name]} to train on this split."
        )


def weights_files(name):
    """Returns the weights files of a model as a list of `(path, epoch, run)`.

    `epoch` is counted from 1. `run` is from the stamp, `None` without one. Copies with other names and damaged
    files are not listed.
    """
    found = []
    for path in (config.home() / "weights").glob(f"{name}_weights.best.*"):
        if match := re.fullmatch(rf"{name}_weights\.best\.(\d+)-(-?\d+\.\d\d|nan|inf)\.hdf5", path.name):
            try:
                with h5py.File(path) as file:
                    found.append((path, int(match[1]), json.loads(file.attrs.get(STAMP, "{}")).get("run")))
            except OSError as error:
                if error.errno:  # not damaged, but not readable now
                    raise
    return found


def state_file(name):
    """Returns the `Path` of the state of an unfinished training run of a model, see `resume.Resume`."""
    return config.home() / "weights" / f"{name}_state.npz"


def save_log(name, stamp, rows):
    """Writes `logs/<name>_training.csv`, and next to it `logs/<name>_training.json`: the stamp of its training run.

    Args:
        name: `"baseline"` or `"mobilenet"`.
        stamp: dict, see `resume.Resume`.
        rows: list of dicts with the columns `LOG_COLUMNS`, one per epoch; epochs are counted from 1.
    """
    path = config.home() / "logs" / f"{name}_training.csv"
    with atomic(path) as part:
        pd.DataFrame(rows, columns=LOG_COLUMNS).to_csv(part, index=False)
    write_text(path.with_suffix(".json"), json.dumps(stamp | {"log_sha256": sha256(path)}, indent=1))
