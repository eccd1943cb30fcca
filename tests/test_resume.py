"""Tests of `training.resume`: an interrupted training run that is started again ends like one without interruption."""

import multiprocessing
import os
import random
import signal
import time

import h5py
import keras
import numpy as np
import pandas as pd
import pytest

from cxr_utils import config, training
from cxr_utils.data import load_split
from cxr_utils.training import callbacks
from cxr_utils.training.batches import XrayGenerator
from tests.conftest import save_split

# Chains of kills: all of them in CI, one in `make test`.
CHAINS = 5 if os.environ.get("CXR_TEST_ALL") else 1
# What a training run of a chain is doing when it is killed.
KILLS = ["inside an epoch", "during a write", "inside an epoch", "any time"]
EPOCHS = 16
STEPS = 8  # per epoch


def compiled(rate=1e-2, eagerly=True):
    """Returns a small model with every kind of state: batch normalization, dropout, Adam."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((16, 16, 1), dtype="uint8"),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(14, activation="sigmoid"),
    ]
    model = keras.Sequential(layers, name="small")
    metrics = ["categorical_accuracy", keras.metrics.AUC(name="auc")]
    # Eager steps are slower, but tracing takes five seconds and training this model only one.
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=metrics, run_eagerly=eagerly)
    return model


def fit(model, *extra_callbacks, epochs=EPOCHS, seed=42, plateau=2, patience=EPOCHS, schedule="plateau"):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (60, 16, 16), dtype=np.uint8)
    y_true = rng.integers(0, 2, (60, 14))
    batches = XrayGenerator(images[:30], y_true[:30], 4, training=True, seed=seed)
    sets = list(load_split().values())[:2]
    rules = {"plateau": plateau, "patience": patience, "schedule": schedule}
    callbacks = training.build_callbacks("baseline", batches, sets, images[30:], y_true[30:], **rules)
    model.fit(batches, epochs=epochs, callbacks=[*extra_callbacks, *callbacks], verbose=0)
    training.keep_best("baseline", model)
    return model


def final_state(model):
    """Returns `(log, names of the best weights, values of all variables)` of a finished training run."""
    home = config.home()
    log = (home / "logs" / "baseline_training.csv").read_text()
    names = sorted(path.name for path in (home / "weights").iterdir())
    assert all("_weights.best." in name for name in names) and len(list((home / "logs").iterdir())) == 2
    return log, names, [keras.ops.convert_to_numpy(v).tolist() for v in model.variables + model.optimizer.variables]


class Interrupt(keras.callbacks.Callback):
    """Raises `KeyboardInterrupt`, as Ctrl-C does, within an epoch (counted from 0)."""

    def __init__(self, epoch):
        super().__init__()
        self.target_epoch = epoch
        self.epoch = None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (self.target_epoch, 3):
            raise KeyboardInterrupt


def interrupted(epoch, model=None, **rules):
    with pytest.raises(KeyboardInterrupt):
        fit(model or compiled(), Interrupt(epoch), **rules)


def log_of(home):
    return pd.read_csv(home / "logs" / "baseline_training.csv")


@pytest.fixture(autouse=True)
def split(home):
    save_split(range(30), range(30, 60))


@pytest.fixture
def scripted(monkeypatch):
    """Returns a function that sets the validation AUROC of each epoch."""

    def script(values):
        def on_epoch_end(self, epoch, logs=None):
            scores = ["val_auc", "val_categorical_accuracy", "val_loss", "val_mean_auroc"]
            logs.update(dict.fromkeys(scores, values[epoch]))

        monkeypatch.setattr(callbacks.ValidationScores, "on_epoch_end", on_epoch_end)

    return script


@pytest.mark.slow
def test_callbacks_keep_their_counters_across_interruptions(home, scripted, capsys):
    scripted([0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.9])
    for epoch in (1, 3, 6):
        interrupted(epoch, plateau=2, patience=5)
    fit(compiled(), plateau=2, patience=5)
    log = log_of(home)
    assert log.epoch.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert log.learning_rate.tolist() == pytest.approx([1e-2] * 4 + [1e-3] * 2 + [1e-4])
    assert {path.name[22:24] for path in (home / "weights").iterdir()} == {"01", "02"}
    printed = capsys.readouterr().out
    assert "after epoch 6 of 16" in printed and "Epoch 7: early stopping" in printed


@pytest.mark.slow
def test_a_run_that_early_stopping_ended_is_not_continued(home, scripted, capsys):
    class KilledAtTheEnd(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            raise KeyboardInterrupt

    scripted([0.6, 0.5, 0.5, 0.7])
    with pytest.raises(KeyboardInterrupt):
        fit(compiled(), KilledAtTheEnd(), patience=2)
    model = fit(compiled(), patience=2)
    assert log_of(home).epoch.tolist() == [1, 2, 3]
    assert int(model.optimizer.iterations) == 3 * STEPS
    assert "Epoch 3: early stopping" in capsys.readouterr().out
    final_state(model)


@pytest.mark.slow
def test_the_fit_cell_can_be_run_again_after_an_interruption(home, tmp_path, scripted, monkeypatch):
    scripted([0.6, 0.5, 0.5, 0.7, 0.5])
    uninterrupted = final_state(fit(compiled(), epochs=5))
    assert log_of(home).learning_rate[3] < 1e-2  # a plateau before the second interruption lowers it
    monkeypatch.setenv("CXR_HOME", str(tmp_path / "again"))
    save_split(range(30), range(30, 60))
    model = compiled()
    for epoch in (1, 3):
        interrupted(epoch, model, epochs=5)
    assert final_state(fit(model, epochs=5)) == uninterrupted


@pytest.mark.slow
def test_a_model_interrupted_before_its_first_epoch_ended_has_to_be_built_again(home):
    model = compiled()
    interrupted(0, model)
    with pytest.raises(ValueError, match="baseline from the start"):
        fit(model)
    assert not list(home.rglob("*_state.npz"))
    fit(compiled(), epochs=1)


@pytest.mark.slow
def test_a_cosine_schedule_is_resumed_as_if_there_had_been_no_interruption(home):
    epochs, ends = 6, []
    for stops in ([], [0, 2, 5]):
        rate = {"rate": training.learning_rate("cosine", 1e-2, epochs * STEPS), "epochs": epochs}
        for epoch in stops:
            model = compiled(rate["rate"])
            random.random()  # what ran before the training must not matter
            with pytest.raises(KeyboardInterrupt):
                fit(model, Interrupt(epoch), epochs=epochs, schedule="cosine")
        model = compiled(rate["rate"])
        fit(model, epochs=epochs, schedule="cosine")
        ends.append(final_state(model))
    assert ends[0] == ends[1]
    assert len(log_of(home)) == epochs and log_of(home).learning_rate.iloc[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
def test_another_schedule_or_length_of_it_starts_from_scratch(home, capsys):
    rates = {epochs: training.learning_rate("cosine", 1e-2, epochs * STEPS) for epochs in (4, 6)}
    model = compiled(rates[4])
    with pytest.raises(KeyboardInterrupt):
        fit(model, Interrupt(2), epochs=4, schedule="cosine")
    with pytest.raises(ValueError, match=f"{4 * STEPS} steps.* EPOCHS .*{6 * STEPS}"):
        fit(model, epochs=6, schedule="cosine")  # only EPOCHS was changed, and the training cell run again
    with pytest.raises(KeyboardInterrupt):
        fit(compiled(rates[6]), Interrupt(1), epochs=6, schedule="cosine")
    assert "different steps of the schedule" in capsys.readouterr().out and len(log_of(home)) == 1
    fit(compiled(), epochs=2)
    assert "different" in capsys.readouterr().out and len(log_of(home)) == 2


@pytest.mark.slow
def test_another_file_of_initial_weights_starts_from_scratch(home, capsys):
    for digest, interrupts in (("a", True), ("b", False)):
        model = compiled()
        model.initial_weights = {"file": "mine.h5", "sha256": digest}
        if interrupts:
            interrupted(2, model)
        else:
            fit(model, epochs=1)
    assert "different initial weights" in capsys.readouterr().out and len(log_of(home)) == 1


@pytest.mark.slow
def test_another_learning_rate_is_not_forgotten_after_an_interruption(home, capsys):
    interrupted(2)
    model = compiled(rate=1e-4)
    interrupted(0, model)
    assert "learning rate" in capsys.readouterr().out
    with pytest.raises(ValueError, match="baseline from the start"):
        fit(model)
    fit(compiled(rate=1e-4), epochs=1)
    assert log_of(home).learning_rate.tolist() == pytest.approx([1e-4])


@pytest.mark.slow
def test_looking_at_the_best_epoch_so_far_does_not_end_a_training(home, capsys):
    model = compiled()
    interrupted(2, model)
    training.keep_best("baseline", model)  # the cell below the training cell
    assert (home / "cnnmodels" / "baseline_model.h5").is_file()
    fit(compiled(), epochs=3)
    assert "after epoch 2 of 3" in capsys.readouterr().out and log_of(home).epoch.tolist() == [1, 2, 3]


@pytest.mark.slow
def test_a_run_whose_best_weights_are_gone_is_not_continued(home):
    interrupted(2)
    for path in (home / "weights").glob("*.hdf5"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"baseline_weights\.best.*baseline_state\.npz"):
        fit(compiled())


@pytest.mark.slow
def test_an_epoch_without_a_saved_state_is_discarded(home, scripted, monkeypatch):
    scripted([0.1, 0.2, 0.3, 0.4])

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    save = np.savez
    calls = iter([save, save, killed])
    monkeypatch.setattr(np, "savez", lambda *args, **kwargs: next(calls)(*args, **kwargs))
    with pytest.raises(KeyboardInterrupt):
        fit(compiled())
    # The state decides which epochs are finished: the log is written after it.
    assert log_of(home).epoch.tolist() == [1, 2]
    assert (home / "weights" / "baseline_weights.best.03-0.30.hdf5").is_file()
    monkeypatch.setattr(np, "savez", save)
    interrupted(2)
    assert log_of(home).epoch.tolist() == [1, 2]
    assert {path.name for path in (home / "weights").iterdir()} == {
        "baseline_state.npz", "baseline_weights.best.01-0.10.hdf5", "baseline_weights.best.02-0.20.hdf5",
    }  # fmt: skip


@pytest.mark.slow
def test_a_run_with_other_parameters_starts_from_scratch(home, capsys):
    interrupted(2)
    others = {
        "learning rate": lambda: interrupted(1, compiled(rate=1e-3)),
        "seed": lambda: interrupted(1, compiled(rate=1e-3), seed=1),
        "plateau, patience": lambda: interrupted(1, compiled(rate=1e-3), seed=1, plateau=3, patience=4),
    }
    for different, start_again in others.items():
        start_again()
        printed = capsys.readouterr().out
        assert "weights/baseline_state.npz" in printed and f"different {different}\n" in printed
        assert log_of(home).epoch.tolist() == [1]
    save_split(range(31), range(31, 60))
    fit(compiled(rate=1e-3), epochs=1, seed=1, plateau=3, patience=4)
    assert "different split\n" in capsys.readouterr().out


@pytest.mark.slow
def test_a_finished_run_starts_from_scratch(home, capsys):
    fit(compiled(), epochs=3)
    uninterrupted = final_state(fit(compiled(), epochs=2))
    assert log_of(home).epoch.tolist() == [1, 2]
    assert "resuming" not in capsys.readouterr().out
    # A run with more epochs counts as the same run.
    interrupted(1, epochs=1 + 1)
    assert final_state(fit(compiled(), epochs=2)) == uninterrupted


@pytest.mark.slow
def test_an_unreadable_state_file_is_named(home):
    interrupted(1)
    state = home / "weights" / "baseline_state.npz"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"weights/baseline_state\.npz"):
        fit(compiled())


class Progress(keras.callbacks.Callback):
    """Writes the process id and the number of finished batches to a file after each batch."""

    def on_train_batch_end(self, batch, logs=None):
        (config.home() / "progress").write_text(f"{os.getpid()} {int(self.model.optimizer.iterations)}")


def train(home):
    """Trains a model; runs in a separate process."""
    os.environ["CXR_HOME"] = str(home)
    model = fit(compiled(eagerly=False), Progress())
    np.savez(home / "final.npz", *(keras.ops.convert_to_numpy(v) for v in model.variables + model.optimizer.variables))


@pytest.fixture(scope="module")
def start():
    """Returns a function that starts a training run in a new process, forked from one that only imported Keras."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_resume"])

    def start_at(home):
        process = context.Process(target=train, args=(home,))
        process.start()
        return process

    return start_at


def killed(process, home, target, rng, duration):
    """Kills a training run at a random moment in the situation `target`.

    Returns:
        str, the evidence of that situation: the last finished batch, the name of the partly written file, or
        `"any time"`. `None` if there is no evidence or the run finished before.
    """
    progress = home / "progress"

    def steps():
        words = progress.read_text().split() if progress.is_file() else []
        return int(words[1]) if words[:1] == [str(process.pid)] and len(words) == 2 else 0

    def evidence():
        if target == "during a write":
            return next((p.name for f in ("weights", "logs") for p in (home / f).glob(f".{process.pid}.part.*")), None)
        if target == "inside an epoch":
            return f"after batch {steps() % STEPS} of epoch {steps() // STEPS + 1}" if steps() % STEPS else None
        return target

    moment = time.monotonic() + duration * rng.random()
    ahead = rng.randrange(4 * STEPS)
    first = 0
    while process.is_alive():
        first = first or steps()
        if time.monotonic() < moment if target == "any time" else not first or steps() < first + ahead:
            continue
        if evidence():
            os.kill(process.pid, signal.SIGSTOP)  # so that it is killed in the situation that is checked next
            if evidence():
                process.kill()
                break
            os.kill(process.pid, signal.SIGCONT)
    process.join()
    return evidence() if process.exitcode else None


def _datasets(group):
    names = []
    group.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def result(home):
    """Returns `(log, {best weights: bytes}, final variables)`."""
    log = (home / "logs" / "baseline_training.csv").read_text()
    best = {}
    for path in (home / "weights").iterdir():
        arrays = best[path.name] = {}
        with h5py.File(path) as file:  # without the stamp, which contains the time
            for name in _datasets(file):
                arrays[name] = file[name][()].tobytes()
        assert arrays
    with np.load(home / "final.npz") as final:
        return log, best, {name: final[name].tobytes() for name in final.files}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_run_ends_with_the_same_result(tmp_path, monkeypatch, start, capfd):
    homes = [tmp_path / f"home{number}" for number in range(CHAINS + 1)]
    for home in homes:
        monkeypatch.setenv("CXR_HOME", str(home))
        save_split(range(30), range(30, 60))
    clean, *broken = homes
    began = time.monotonic()
    start(clean).join()
    duration = time.monotonic() - began
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    kills = []
    for home in broken:
        for target in KILLS:
            while not (evidence := killed(start(home), home, target, rng, duration)):
                pass
            kills.append(evidence)
        process = start(home)
        process.join()
        assert process.exitcode == 0
        assert pd.read_csv(home / "logs" / "baseline_training.csv").epoch.tolist() == list(range(1, EPOCHS + 1))
        assert result(home) == result(clean)
    with capfd.disabled():
        print("\nkilled:", ", ".join(kills), end=" ")
