"""Tests of `training`: log, best weights, learning rate and messages, compared with Keras' own evaluation."""

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cxr_utils import models, training
from cxr_utils.training import callbacks
from cxr_utils.training.batches import XrayGenerator
from tests.conftest import save_split
from tests.helpers import seeded


@pytest.fixture
def data(home):
    """100 images of 48×48 pixels whose first finding is a bright corner: 40 for training, 60 for validation."""
    rng = seeded(0)
    y_true = rng.integers(0, 2, (100, 14)).astype("float32")
    images = rng.integers(0, 100, (100, 48, 48), dtype=np.uint8)
    save_split(range(40), range(40, 100))
    images[:, :24, :24] += np.uint8(100) * y_true[:, 0].astype(np.uint8)[:, None, None]
    return images, y_true


def _fit(data, epochs, rate=1e-3, **rules):
    images, y_true = data
    keras.utils.set_random_seed(0)
    model = models.build_baseline(48, batch_norm_momentum=0.9)
    model.compile(
        keras.optimizers.Adam(rate),
        "binary_crossentropy",
        metrics=["categorical_accuracy", keras.metrics.AUC(name="auc")],
    )
    batches = XrayGenerator(images[:40], y_true[:40], 8, training=True)
    rules = {"plateau": 3, "patience": 50} | rules
    callbacks = training.build_callbacks("baseline", batches, images[40:], y_true[40:], **rules)
    model.fit(batches, epochs=epochs, callbacks=callbacks, verbose=0)
    return model


def _log(home):
    return pd.read_csv(home / "logs" / "baseline_training.csv")


def test_the_log_equals_what_keras_and_scikit_learn_measure(data, home):
    images, y_true = data
    model = _fit(data, 2)
    log = _log(home)
    assert list(log.columns) == [
        "epoch", "auc", "categorical_accuracy", "loss", "val_auc", "val_categorical_accuracy", "val_loss",
        "val_mean_auroc", "learning_rate",
    ]  # fmt: skip
    assert log.epoch.tolist() == [1, 2]
    valid = XrayGenerator(images[40:], y_true[40:], 8)
    loss, accuracy, _ = model.evaluate(valid, verbose=0)
    # In one batch, as in training: other batch sizes round differently, and one swap in the ranking would show here.
    y_prob = model.predict(images[40:, ..., None], batch_size=60, verbose=0)
    last = log.iloc[-1]
    assert (last.val_loss, last.val_categorical_accuracy) == pytest.approx((loss, accuracy), abs=1e-5)
    assert last.val_auc == pytest.approx(roc_auc_score(y_true[40:].ravel(), y_prob.ravel()), abs=1e-6)
    assert last.val_mean_auroc == pytest.approx(roc_auc_score(y_true[40:], y_prob, average="macro"), abs=1e-6)


@pytest.mark.slow
def test_the_weights_of_the_best_epoch_are_kept(data, home):
    images, y_true = data
    _fit(data, 8)
    log = _log(home)
    best = log.loc[log.val_mean_auroc.idxmax()]
    kept = training.keep_best("baseline")
    assert kept.name == f"baseline_weights.best.{best.epoch:02.0f}-{best.val_loss:.2f}.hdf5"
    y_prob = models.predict(models.load_model("baseline"), images[40:])
    assert roc_auc_score(y_true[40:], y_prob, average="macro") == pytest.approx(best.val_mean_auroc, abs=1e-6)
    assert not list(home.rglob("*.part.*"))


def test_a_new_run_deletes_the_weights_of_an_earlier_run_of_the_same_model(data, home):
    for name in ("baseline_weights.best.99-0.00.hdf5", "mobilenet_weights.best.01-0.00.hdf5"):
        (home / "weights").mkdir(exist_ok=True)
        (home / "weights" / name).touch()
    _fit(data, 1)
    names = {path.name.rpartition("-")[0] for path in (home / "weights").iterdir()}
    assert names == {"baseline_weights.best.01", "mobilenet_weights.best.01"}


@pytest.mark.slow
def test_auroc_controls_the_learning_rate_and_early_stopping(data, home):
    # With a learning rate of 0 the first epoch remains the best.
    _fit(data, 20, rate=0.0, plateau=2, patience=4)
    assert len(_log(home)) == 5
    _fit((data[0], np.repeat(data[1][:, :1], 14, axis=1)), 20, plateau=1, patience=3)
    log = _log(home)
    best = log.val_mean_auroc.cummax()
    falls = log.learning_rate.diff().iloc[1:] < 0
    assert falls.any() and log.learning_rate.min() >= 1e-5 * (1 - 1e-6)
    # The learning rate fell in an epoch because the epoch before had no higher AUROC.
    assert all(best[epoch - 1] == best[epoch - 2] for epoch in falls.index[falls] if epoch >= 2)


@pytest.mark.slow
def test_a_nan_loss_stops_training_and_keeps_the_saved_weights(data, home):
    _fit(data, 1)
    saved = set((home / "weights").iterdir())
    images, y_true = data
    training.keep_best("baseline")
    model = models.load_model("baseline")
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")
    broken = y_true[:40].copy()
    broken[3, 3] = np.nan
    with pytest.raises(
        FloatingPointError,
        match=r"baseline .*nan .*epoch 1 .*0\.001.*LEARNING_RATE",
    ):
        model.fit(XrayGenerator(images[:40], broken, 8), callbacks=[callbacks.StopOnNaN("baseline")], verbose=0)
    assert set((home / "weights").iterdir()) == saved


def test_validation_images_without_any_finding_are_rejected(data):
    with pytest.raises(ValueError, match=r"14 findings .* 100 validation images"):
        training.build_callbacks("baseline", None, data[0], np.zeros((100, 14)), plateau=3, patience=5)


def test_missing_weights_raise_an_error():
    with pytest.raises(FileNotFoundError, match=r"baseline_weights\.best.*hdf5"):
        training.keep_best("baseline")


def test_a_model_trained_on_another_split_is_rejected(data):
    _fit(data, 1)
    training.keep_best("baseline")
    training.check_split("baseline")
    save_split(range(60), range(60, 100))
    with pytest.raises(ValueError, match=r"baseline_model\.h5 .*subset/.*200-basemodel"):
        training.check_split("baseline")


def test_the_summary_starts_with_its_heading(home):
    training.save_summary(models.build_baseline(48), "baseline", "baseline, 48×48 pixels. Images: some")
    text = (home / "logs" / "baseline_model_summary.txt").read_text(encoding="utf-8")
    assert text.startswith("baseline, 48×48 pixels. Images: some") and "block5_conv" in text
