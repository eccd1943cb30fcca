"""Tests of `training`: log, best weights, learning rate and messages, compared with Keras' own evaluation."""

import errno
import fcntl
import json
import os
import warnings

import h5py
import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cxr_utils import config, models, training
from cxr_utils.data import Images, load_split
from cxr_utils.training import artifacts, callbacks
from cxr_utils.training.batches import XrayGenerator
from tests.conftest import save_split
from tests.helpers import numbers, seeded


@pytest.fixture
def data(home):
    """100 images of 48×48 pixels whose first finding is a bright corner: 40 for training, 60 for validation."""
    rng = seeded(0)
    y_true = rng.integers(0, 2, (100, 14)).astype("float32")
    images = rng.integers(0, 100, (100, 48, 48), dtype=np.uint8)
    images[:, :24, :24] += np.uint8(100) * y_true[:, 0].astype(np.uint8)[:, None, None]
    return images, y_true


def _fit(data, epochs, rate=1e-3, extra=None, sets=None, **rules):
    images, y_true = data
    sets = sets or save_split(range(40), range(40, 100))
    keras.utils.set_random_seed(0)
    model = models.build_baseline(48, batch_norm_momentum=0.9)
    model.compile(
        keras.optimizers.Adam(rate),
        "binary_crossentropy",
        metrics=["categorical_accuracy", keras.metrics.AUC(name="auc")],
        run_eagerly=True,  # slower, but tracing takes far longer than these few steps
    )
    batches = XrayGenerator(images[:40], y_true[:40], 8, training=True)
    rules = {"plateau": 3, "patience": 50} | rules
    callbacks = training.build_callbacks("baseline", batches, sets, images[40:], y_true[40:], **rules)
    model.fit(batches, epochs=epochs, callbacks=[*filter(None, [extra]), *callbacks], verbose=0)
    return model


def _log(home):
    return pd.read_csv(home / "logs" / "baseline_training.csv")


@pytest.mark.slow
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
    model = _fit(data, 8)
    log = _log(home)
    best = log.loc[log.val_mean_auroc.idxmax()]
    (kept,) = training.keep_best("baseline", model)
    assert kept.name == f"baseline_weights.best.{best.epoch:02.0f}-{best.val_loss:.2f}.hdf5"
    y_prob = models.predict(models.load_model("baseline"), images[40:])
    assert roc_auc_score(y_true[40:], y_prob, average="macro") == pytest.approx(best.val_mean_auroc, abs=1e-6)
    assert not list(home.rglob("*.part.*"))


@pytest.mark.slow
def test_a_new_run_deletes_the_weights_of_an_earlier_run_of_the_same_model(data, home):
    for name in ("baseline_weights.best.99-0.00.hdf5", "mobilenet_weights.best.01-0.00.hdf5"):
        (home / "weights").mkdir(exist_ok=True)
        h5py.File(home / "weights" / name, "w").close()
    training.keep_best("baseline", _fit(data, 1))
    names = {path.name.rpartition("-")[0] for path in (home / "weights").iterdir()}
    assert names == {"baseline_weights.best.01", "mobilenet_weights.best.01"}


def test_the_cosine_schedule_rises_for_a_tenth_of_the_steps_and_falls_to_zero():
    assert training.learning_rate("plateau", 1e-3, 200) == 1e-3
    with pytest.raises(ValueError, match=r"SCHEDULE .*linear.*plateau.*cosine"):
        training.learning_rate("linear", 1e-3, 200)
    rate = training.learning_rate("cosine", 1e-3, 200)
    found = [float(keras.ops.convert_to_numpy(rate(step))) for step in (0, 10, 20, 110, 200)]
    # Half of the highest rate half way up and half way down.
    assert found == pytest.approx([0, 5e-4, 1e-3, 5e-4, 0], abs=1e-9)
    # Too few steps for a warm-up.
    assert float(keras.ops.convert_to_numpy(training.learning_rate("cosine", 1e-3, 1)(0))) == pytest.approx(1e-3)


def test_the_cost_of_a_run_is_stated_and_the_models_stay_untrained():
    members = [models.build_baseline(48) for _ in range(2)]
    before = [models.weights_digest(model) for model in members]
    batches = XrayGenerator(np.zeros((20, 48, 48), np.uint8), np.zeros((20, 14)), 8, training=True)
    said = training.describe_cost(members, batches, np.zeros((10, 48, 48), np.uint8), 7)
    networks, size, epochs, _ = numbers(said)
    assert (networks, epochs) == (2, 7) and size == pytest.approx(2 * 4 * members[0].count_params() / 1e6, abs=0.06)
    assert [models.weights_digest(model) for model in members] == before


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
    training.keep_best("baseline", _fit(data, 1))
    saved = set((home / "weights").iterdir())
    images, y_true = data
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


def test_sets_without_any_finding_are_rejected(data):
    images, _ = data
    for train, valid in ([[0, 2, 4], range(60)], [range(40), [1, 3]]):  # even numbers have no finding, odd ones all
        counts = rf"14 findings .* {len(train)} training .* {len(valid)} validation images"
        with pytest.raises(ValueError, match=counts):
            training.build_callbacks("baseline", None, save_split(train, valid), images, None, plateau=3, patience=5)


@pytest.mark.slow
def test_a_finding_without_training_images_is_unknown_to_the_model(data, home):
    images, y_true = data
    sets = save_split(range(40), range(40, 100))
    sets[0]["Hernia"], sets[0]["Edema"] = 0, 1
    y_true[:40, [config.LABELS.index("Hernia"), config.LABELS.index("Edema")]] = [0, 1]
    model = _fit(data, 1, sets=sets)
    training.keep_best("baseline", model)
    y_prob = models.predict(models.load_model("baseline"), images[40:])
    unknown = [label for label, column in zip(config.LABELS, np.isnan(y_prob).all(axis=0), strict=True) if column]
    assert unknown == ["Edema", "Hernia"]
    known = ~np.isnan(y_prob).any(axis=0)
    expected = roc_auc_score(y_true[40:, known], y_prob[:, known], average="macro")
    last = _log(home).iloc[-1]
    assert last.val_mean_auroc == pytest.approx(expected, abs=1e-6)
    assert last.val_auc == pytest.approx(roc_auc_score(y_true[40:, known].ravel(), y_prob[:, known].ravel()), abs=1e-6)


def test_missing_weights_raise_an_error():
    with pytest.raises(FileNotFoundError, match=r"baseline_weights\.best.*hdf5"):
        training.keep_best("baseline", models.build_baseline(48))


@pytest.mark.slow
def test_a_model_belongs_to_the_split_that_its_training_started_with(data, home):
    model = _fit(data, 1)
    stamp = json.loads((home / "logs" / "baseline_training.json").read_text())
    # 100 was run again during the training: other images, or the same images with other labels.
    for changed in ([range(60), range(60, 100)], [range(40), range(40, 100), "Nodule"]):
        save_split(*changed)
        with pytest.raises(ValueError, match=r"baseline_model\.h5 .*subset/.*100-.*200-basemodel"):
            training.keep_best("baseline", model)
        saved = models.load_model("baseline")
        assert saved.stamp["split"] == stamp["split"]
        with pytest.raises(ValueError, match=r"baseline_model\.h5 .*subset/"):
            training.check_split("baseline", saved.stamp, load_split())
    save_split(range(40), range(40, 100))
    training.check_split("baseline", saved.stamp, load_split())
    training.keep_best("baseline", saved)


def test_a_model_that_does_not_state_its_split_is_rejected(data, home):
    save_split(range(40), range(40, 100))
    model = models.build_baseline(48)
    (home / "cnnmodels").mkdir()
    model.save(home / "cnnmodels" / "baseline_model.h5")
    with pytest.raises(ValueError, match=r"baseline_model\.h5 .*subset/"):
        training.check_split("baseline", models.load_model("baseline").stamp, load_split())


@pytest.mark.slow
def test_a_trained_model_is_not_trained_further_under_a_new_name(data, home):
    model = _fit(data, 1)
    training.keep_best("baseline", model)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file() and ".locks" not in path.parts}
    images, y_true = data
    for trained in (model, models.load_model("baseline")):
        trained.compile(keras.optimizers.Adam(), "binary_crossentropy")  # which sets its steps to 0
        batches = XrayGenerator(images[:40], y_true[:40], 8, training=True)
        sets = save_split(range(40), range(40, 100))
        again = training.build_callbacks("baseline", batches, sets, images[40:], y_true[40:], 3, 5)
        with pytest.raises(ValueError, match="baseline from the start"):
            trained.fit(batches, epochs=1, callbacks=again, verbose=0)
    after = {path: path.read_bytes() for path in home.rglob("*") if path.is_file() and ".locks" not in path.parts}
    assert {path.name for path in after} == {path.name for path in before}
    assert all(after[path] == content for path, content in before.items() if "subset" not in path.parts)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_training_without_a_restart(data, home):
    logs = []
    for _ in range(2):
        training.keep_best("baseline", _fit(data, 2))
        logs.append(_log(home))
    pd.testing.assert_frame_equal(*logs)


@pytest.mark.slow
def test_what_an_earlier_training_wrote_is_kept_until_an_epoch_has_ended(data, home):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    _fit(data, 2)  # its state stays, as if it had been killed before `keep_best`
    before = {path: path.read_bytes() for folder in ("weights", "logs") for path in (home / folder).iterdir()}
    with pytest.raises(KeyboardInterrupt):
        _fit(data, 1, rate=1e-4, extra=Interrupt())
    assert all(path.read_bytes() == content for path, content in before.items())
    run = json.loads((home / "logs" / "baseline_training.json").read_text())["run"]
    model = _fit(data, 1, rate=1e-4)
    assert model.stamp["run"] != run and model.stamp["learning rate"] == pytest.approx(1e-4)
    assert len(_log(home)) == 1
    assert {run for _, _, run in artifacts.weights_files("baseline")} == {model.stamp["run"]}


def test_images_of_another_split_in_memory_are_rejected(data):
    images, y_true = data
    sets = save_split(range(40), range(40, 100))
    y_true = np.repeat(np.arange(100)[:, None] % 2, 14, axis=1).astype("float32")  # the labels of `save_split`

    def build(train_names, valid_names, labels=y_true):
        batches = XrayGenerator(Images(images, np.arange(40), train_names), labels[:40], 8, training=True)
        shown = Images(images, np.arange(40, 100), valid_names)
        return training.build_callbacks("baseline", batches, sets, shown, y_true[40:], plateau=3, patience=5)

    train, valid = (list(frame.imgindex) for frame in sets)
    build(train, valid)
    # The cell that loads the split was run again after another one was saved, the cells that use it were not.
    for wrong in ((["100.png", *train[1:]], valid), (train, valid[::-1]), (train, valid, 1 - y_true)):
        with pytest.raises(ValueError, match="loads them"):
            build(*wrong)


@pytest.mark.slow
def test_the_best_weights_are_those_of_the_best_epoch_or_none(data, home):
    model = _fit(data, 6)
    best = int(_log(home).val_mean_auroc.idxmax()) + 1
    assert training.keep_best("baseline", model)[0].name.startswith(f"baseline_weights.best.{best:02d}-")
    (path,) = (home / "weights").glob(f"*.best.{best:02d}-*")
    before = (home / "cnnmodels" / "baseline_model.h5").read_bytes()
    for damage in (lambda: path.write_bytes(path.read_bytes()[:100]), path.unlink):
        damage()
        with pytest.raises(FileNotFoundError, match=r"baseline_weights\.best"):
            training.keep_best("baseline", model)
    assert (home / "cnnmodels" / "baseline_model.h5").read_bytes() == before


def test_a_second_training_of_the_same_model_is_told_who_holds_the_folder(home):
    with training.lock("baseline"), training.lock("mobilenet"):
        with pytest.raises(OSError, match=rf"{os.getpid()}.* since \d{{4}}-\d\d-\d\d"):
            with training.lock("baseline"):
                pass
    # Released, also after an error.
    with pytest.raises(KeyboardInterrupt), training.lock("baseline"):
        raise KeyboardInterrupt
    with training.lock("baseline"):
        pass


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_gives_one_warning(home, monkeypatch, recwarn, code):
    def flock(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    warnings.simplefilter("default")  # as in a notebook; pytest shows every warning
    for _ in range(3):
        with training.lock("baseline"):
            pass
    assert [os.strerror(code) in str(warning.message) for warning in recwarn] == [True]


@pytest.mark.slow
def test_a_copy_among_the_weights_is_left_alone(data, home):
    model = _fit(data, 1)
    (first,) = (home / "weights").glob("*.hdf5")
    copies = [first.with_name(name) for name in ("baseline_weights.best.backup.hdf5", f"{first.stem} (copy).hdf5")]
    for copy in copies:
        copy.write_bytes(b"a copy")
    assert training.keep_best("baseline", model) == [first]
    training.keep_best("baseline", _fit(data, 1, rate=1e-4))
    assert all(copy.read_bytes() == b"a copy" for copy in copies)


def test_the_summary_starts_with_its_heading(home):
    training.save_summary(models.build_baseline(48), "baseline", "baseline, 48×48 pixels. Images: some")
    text = (home / "logs" / "baseline_model_summary.txt").read_text(encoding="utf-8")
    assert text.startswith("baseline, 48×48 pixels. Images: some") and "block5_conv" in text
