"""Builds the callbacks of a training run: validation scores, best weights, early stopping and resuming."""

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

from cxr_utils import config
from cxr_utils.data import absent, targets
from cxr_utils.evaluation.metrics import MIN_CASES, auroc
from cxr_utils.models import predict
from cxr_utils.training import artifacts
from cxr_utils.training.resume import Resume


def build_callbacks(name, batches, sets, images, y_true, plateau, patience, schedule="plateau"):
    """Builds the callbacks of a training run.

    An interrupted run of the same name is resumed. Otherwise the weights and the log of an earlier run are replaced
    when the first epoch has ended.

    All of them monitor the exact mean validation AUROC rather than the validation loss. While batch normalization
    settles, the loss can change a lot without any change in the ranking, so the epoch of the lowest loss is partly
    a matter of chance.

    Args:
        name: str, of `member_names`, the prefix of all file names.
        batches: the `XrayGenerator` that is passed to `fit`.
        sets: `(train, valid)`, the frames of the training and validation images, by which the run is identified.
        images: `(n, size, size)` uint8, validation images.
        y_true: `(n, 14)` 0 or 1, their labels.
        plateau: int, epochs without a higher AUROC before the learning rate is divided by 10 (down to 1e-5).
        patience: int, epochs without a higher AUROC before training stops.
        schedule: `"plateau"` or `"cosine"`, see `plan.learning_rate`. With `"cosine"` all epochs are trained, without
            these two rules.

    Returns:
        List of callbacks for `fit(callbacks=…)`.

    Raises:
        ValueError: no finding is both present and absent in the training images and in the validation images, or the
            images are not those of `sets`.
    """
    if not set(config.LABELS).difference(*map(absent, sets)):
        raise ValueError(
            f"None of the 14 findings is both present and absent in the {len(sets[0])} training images and in the "
            f"{len(sets[1])} validation images, so no AUROC can be computed: use more images."
        )
    for frame, shown, true in ((sets[0], batches.images, batches.y_true), (sets[1], images, y_true)):
        names = getattr(shown, "names", None)
        if names and not (names == list(frame.imgindex) and np.array_equal(true, targets(frame))):
            raise ValueError(
                "The images or labels in memory are not those of this split: run the notebook again from the cell that "
                "loads them."
            )
    built = [StopOnNaN(name), ValidationScores(images, y_true), BestWeights(name)]
    if schedule == "plateau":
        rule = {"monitor": "val_mean_auroc", "mode": "max", "verbose": 1}
        built += [
            keras.callbacks.ReduceLROnPlateau(**rule, factor=0.1, patience=plateau, min_lr=1e-5),
            keras.callbacks.EarlyStopping(**rule, patience=patience),
        ]
    return [*built, Resume(name, batches, sets, built)]


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
    there are none, over all findings with an AUROC. Findings that cannot be learned (`data.absent`) do not count.
    """

    def __init__(self, images, y_true):
        super().__init__()
        self.images = images
        self.y_true = y_true

    def on_epoch_end(self, epoch, logs=None):
        y_prob = predict(self.model, self.images).astype(np.float64)
        values = auroc(self.y_true, y_prob, MIN_CASES)
        known = ~np.isnan(y_prob).any(axis=0)
        true, prob = self.y_true[:, known], y_prob[:, known]
        clipped = np.clip(prob, keras.config.epsilon(), 1 - keras.config.epsilon())
        logs.update(
            val_auc=roc_auc_score(true.ravel(), prob.ravel()),
            val_categorical_accuracy=np.mean(true.argmax(axis=1) == prob.argmax(axis=1)),
            val_loss=-np.mean(true * np.log(clipped) + (1 - true) * np.log(1 - clipped)),
            val_mean_auroc=np.nanmean(auroc(self.y_true, y_prob) if np.isnan(values).all() else values),
            learning_rate=float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
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
            self.model.stamp["best epoch"] = epoch + 1
            name = f"{self.model_name}_weights.best.{epoch + 1:02d}-{logs['val_loss']:.2f}.hdf5"
            artifacts.save_model(self.model, config.home() / "weights" / name)
