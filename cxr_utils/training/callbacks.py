"""Callbacks and artifacts of a training."""

import keras
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from cxr_utils import config
from cxr_utils._files import atomic
from cxr_utils.evaluation.metrics import MIN_CASES, auroc
from cxr_utils.models import predict
from cxr_utils.training import artifacts
from cxr_utils.training.resume import Resume

LOG_COLUMNS = [
    "epoch", "auc", "categorical_accuracy", "loss", "val_auc", "val_categorical_accuracy", "val_loss",
    "val_mean_auroc", "learning_rate",
]  # fmt: skip


def build_callbacks(name, batches, images, y_true, plateau, patience):
    """Builds the callbacks of a training. One of that name that was killed or interrupted goes on; else the weights and log
    of an earlier one are cleared.

    All look at the exact mean validation AUROC: while batch normalization settles, validation loss says nothing about
    ranking, and a checkpoint of lowest loss is one of chance.

    Args:
        name: `"baseline"` or `"mobilenet"`, begins the artifacts' names.
        batches: `generators.XrayGenerator` that `fit` is given.
        images: `(n, size, size)` uint8 validation images.
        y_true: `(n, 14)` their findings.
        plateau: int, epochs without a better AUROC after which the learning rate falls to a tenth (down to 1e-5).
        patience: int, epochs without a better AUROC after which training stops.

    Returns:
        List for `fit(callbacks=…)`.

    Raises:
        ValueError: no finding is both present and absent in the validation images.
    """
    if not ((y_true == 1).any(axis=0) & (y_true == 0).any(axis=0)).any():
        raise ValueError(
            f"None of the 14 findings is both present and absent in the {len(y_true)} validation images: use more images."
        )
    rule = {"monitor": "val_mean_auroc", "mode": "max"}
    built = [
        StopOnNaN(name),
        ValidationScores(images, y_true),
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
    """Adds the validation columns of the log, all from one pass over the images.

    `val_auc` is the AUROC of all labels flattened, `val_mean_auroc` the mean of the findings' own; both are exact. The mean
    is over findings with enough images (`evaluation.MIN_CASES`); where there is none, over all that can be computed.
    """

    def __init__(self, images, y_true):
        super().__init__()
        self.images = images
        self.y_true = y_true

    def on_epoch_end(self, epoch, logs=None):
        y_prob = predict(self.model, self.images).astype(np.float64)
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
            artifacts.save_model(self.model, config.home() / "weights" / name)

    def remove_after(self, epoch):
        """Removes the weights of later epochs, which were not trained or are trained again."""
        for path in artifacts.best_weights(self.model_name):
            if artifacts.epoch_of(path) > epoch:
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
