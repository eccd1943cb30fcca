"""Callbacks and artifacts of a training."""

import logging
import shutil
from contextlib import contextmanager
from pathlib import Path

import h5py
import keras
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from cxr_utils import config
from cxr_utils.evaluation import MIN_CASES, auroc
from cxr_utils.files import atomic
from cxr_utils.frames import split_mark
from cxr_utils.models import NOTEBOOKS, predict
from cxr_utils.resuming import Resume

_MARK = "cxr_utils_split"
LOG_COLUMNS = [
    "epoch", "auc", "categorical_accuracy", "loss", "val_auc", "val_categorical_accuracy", "val_loss",
    "val_mean_auroc", "learning_rate",
]  # fmt: skip


def callbacks(name, batches, films, y_true, plateau, patience):
    """Builds the callbacks of a training. One of that name that was killed or interrupted goes on; else the weights and log
    of an earlier one are cleared.

    All look at the exact mean validation AUROC: while batch normalisation settles, validation loss says nothing about
    ranking, and a checkpoint of lowest loss is one of chance.

    Args:
        name: `"baseline"` or `"mobilenet"`, begins the artifacts' names.
        batches: `generators.XrayGenerator` that `fit` is given.
        films: `(n, size, size)` uint8 validation films.
        y_true: `(n, 14)` their findings.
        plateau: int, epochs without a better AUROC after which the learning rate falls to a tenth (down to 1e-5).
        patience: int, epochs without a better AUROC after which training stops.

    Returns:
        List for `fit(callbacks=…)`.

    Raises:
        ValueError: no finding is both present and absent in the validation films.
    """
    if not ((y_true == 1).any(axis=0) & (y_true == 0).any(axis=0)).any():
        raise ValueError(
            f"None of the 14 findings is both present and absent in the {len(y_true)} validation films: use more films."
        )
    rule = {"monitor": "val_mean_auroc", "mode": "max"}
    built = [
        StopOnNaN(name),
        ValidationScores(films, y_true),
        keras.callbacks.ReduceLROnPlateau(**rule, factor=0.1, patience=plateau, min_lr=1e-5, verbose=1),
        BestWeights(name),
        TrainingLog(name),
        keras.callbacks.EarlyStopping(**rule, patience=patience, verbose=1),
    ]
    return [*built, Resume(name, batches, built)]


class StopOnNaN(keras.callbacks.Callback):
    """Raises `FloatingPointError` as soon as the loss is no number; what was saved until then stays."""

    def __init__(self, name):
        super().__init__()
        self.model_name = name
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            raise FloatingPointError(
                f"The loss of {self.model_name} became {logs['loss']} in epoch {self.epoch} at learning rate {rate:g}. Weights and log "
                "of the epochs before are kept in weights/ and logs/; lower LEARNING_RATE and run the notebook again."
            )


class ValidationScores(keras.callbacks.Callback):
    """Adds the validation columns of the log, all from one pass over the films.

    `val_auc` is the AUROC of all labels flattened, `val_mean_auroc` the mean of the findings' own; both are exact. The mean
    is over findings with enough films (`evaluation.MIN_CASES`); where there is none, over all that can be computed.
    """

    def __init__(self, films, y_true):
        super().__init__()
        self.films = films
        self.y_true = y_true

    def on_epoch_end(self, epoch, logs=None):
        y_prob = predict(self.model, self.films).astype(np.float64)
        clipped = np.clip(y_prob, keras.config.epsilon(), 1 - keras.config.epsilon())
        loss = -np.mean(self.y_true * np.log(clipped) + (1 - self.y_true) * np.log(1 - clipped))
        logs["val_auc"] = roc_auc_score(self.y_true.ravel(), y_prob.ravel())
        logs["val_categorical_accuracy"] = np.mean(self.y_true.argmax(axis=1) == y_prob.argmax(axis=1))
        logs["val_loss"] = loss
        values = auroc(self.y_true, y_prob, MIN_CASES)
        logs["val_mean_auroc"] = np.nanmean(auroc(self.y_true, y_prob) if np.isnan(values).all() else values)


class BestWeights(keras.callbacks.Callback):
    """Saves the whole model whenever the mean validation AUROC is the best so far."""

    def __init__(self, name):
        super().__init__()
        self.model_name = name
        self.best = -np.inf

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_mean_auroc"] > self.best:
            self.best = logs["val_mean_auroc"]
            name = f"{self.model_name}_weights.best.{epoch + 1:02d}-{logs['val_loss']:.2f}.hdf5"
            save_model(self.model, config.home() / "weights" / name)

    def remove_after(self, epoch):
        """Removes the weights of later epochs, which were not trained or are trained again."""
        for path in _best_weights(self.model_name):
            if _epoch(path) > epoch:
                path.unlink()


class TrainingLog(keras.callbacks.Callback):
    """Writes `logs/<name>_training.csv` after each epoch, columns as `LOG_COLUMNS`, epochs from 1."""

    def __init__(self, name):
        super().__init__()
        self.path = config.home() / "logs" / f"{name}_training.csv"
        self.rows = []

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch + 1, **logs})
        self.write()

    def write(self):
        """Writes the file anew, with the epochs that are known to have ended."""
        with atomic(self.path) as part:
            pd.DataFrame(self.rows, columns=LOG_COLUMNS).to_csv(part, index=False)


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
    saved = _best_weights(name)
    if not saved:
        raise FileNotFoundError(f"weights/ holds no {name}_weights.best.*.hdf5: train first, no epoch has ended yet.")
    with atomic(config.home() / "cnnmodels" / f"{name}_model.h5") as part:
        shutil.copyfile(saved[-1], part)
        with h5py.File(part, "r+") as file:
            file.attrs[_MARK] = split_mark()
    return saved[-1]


def check_split(name):
    """Makes sure that a model was trained on the split that `subset/` holds: else its test films may have trained it.

    Args:
        name: `"baseline"` or `"mobilenet"`.

    Raises:
        ValueError: it was trained on another split, or nobody knows on which.
    """
    with h5py.File(config.home() / "cnnmodels" / f"{name}_model.h5") as file:
        if file.attrs.get(_MARK) != split_mark():
            raise ValueError(
                f"cnnmodels/{name}_model.h5 was not trained on the split in subset/, so the films that test it may have trained "
                f"it: run {NOTEBOOKS[name]} again."
            )


def _best_weights(name):
    """Returns the saved files; the later one was saved, the better it was."""
    return sorted((config.home() / "weights").glob(f"{name}_weights.best.*.hdf5"), key=_epoch)


def _epoch(path):
    return int(Path(path).name.split(".best.")[1].split("-")[0])
