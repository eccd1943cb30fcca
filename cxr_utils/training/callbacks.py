"""Builds the callbacks of a training run: validation scores, best weights, log, early stopping and resuming."""

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
    """Builds the callbacks of a training run.

    An interrupted run of the same name is resumed. Otherwise the weights and the log of an earlier run are deleted.

    All of them monitor the exact mean validation AUROC rather than the validation loss. While batch normalization
    settles, the loss can change a lot without any change in the ranking, so the epoch of the lowest loss is partly
    a matter of chance.

    Args:
        name: `"baseline"` or `"mobilenet"`, the prefix of all file names.
        batches: the `XrayGenerator` that is passed to `fit`.
        images: `(n, size, size)` uint8, validation images.
        y_true: `(n, 14)` 0 or 1, their labels.
        plateau: int, epochs without a higher AUROC before the learning rate is divided by 10 (down to 1e-5).
        patience: int, epochs without a higher AUROC before training stops.

    Returns:
        List of callbacks for `fit(callbacks=…)`.

    Raises:
        ValueError: no finding is both present and absent in the validation images.
    """
    if not ((y_true == 1).any(axis=0) & (y_true == 0).any(axis=0)).any():
        raise ValueError(
            f"None of the 14 findings is both present and absent in the {len(y_true)} validation images, so no AUROC "
            "can be computed: use more images."
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
    """Raises `FloatingPointError` as soon as the loss is NaN or infinite; saved files are kept."""

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
                f"The loss of {self.model_name} became {logs['loss']} in epoch {self.epoch} at learning rate "
                f"{rate:g}. The weights and the log of the finished epochs are in weights/ and logs/: lower "
                "LEARNING_RATE and run the notebook again."
            )


class ValidationScores(keras.callbacks.Callback):
    """Adds the validation columns of the log, computed in one pass over the validation images.

    `val_auc` is the micro-average AUROC (all labels of all images pooled) and `val_mean_auroc` the macro-average (mean
    over findings); both are exact. The mean is over the findings with enough images (`evaluation.MIN_CASES`) or, if
    there are none, over all findings with an AUROC.
    """

    def __init__(self, images, y_true):
        super().__init__()
        self.images = images
        self.y_true = y_true

    def on_epoch_end(self, epoch, logs=None):
        y_prob = predict(self.model, self.images).astype(np.float64)
        clipped = np.clip(y_prob, keras.config.epsilon(), 1 - keras.config.epsilon())
        values = auroc(self.y_true, y_prob, MIN_CASES)
        logs.update(
            val_auc=roc_auc_score(self.y_true.ravel(), y_prob.ravel()),
            val_categorical_accuracy=np.mean(self.y_true.argmax(axis=1) == y_prob.argmax(axis=1)),
            val_loss=-np.mean(self.y_true * np.log(clipped) + (1 - self.y_true) * np.log(1 - clipped)),
            val_mean_auroc=np.nanmean(auroc(self.y_true, y_prob) if np.isnan(values).all() else values),
        )


class BestWeights(keras.callbacks.Callback):
    """Saves the whole model whenever the mean validation AUROC is the highest so far."""

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
        """Deletes the weights of epochs after `epoch`, which are left from an earlier run or will be trained again."""
        for saved, path in artifacts.best_weights(self.model_name).items():
            if saved > epoch:
                path.unlink()


class TrainingLog(keras.callbacks.Callback):
    """Writes `logs/<name>_training.csv` after each epoch, with the columns `LOG_COLUMNS` and epochs counted from 1."""

    def __init__(self, name):
        super().__init__()
        self.path = config.home() / "logs" / f"{name}_training.csv"
        self.rows = []

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch + 1, **logs})
        self.write()

    def write(self):
        """Writes the whole file again, with all finished epochs."""
        with atomic(self.path) as part:
            pd.DataFrame(self.rows, columns=LOG_COLUMNS).to_csv(part, index=False)
