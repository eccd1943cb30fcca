"""Training and predicting at the model's own speed.

    .venv/bin/python -m benchmarks.training

On CPU cores: `fit` of the baseline through the generator against `fit` on the same arrays in memory without augmentation; the memory
that predicting all of NIH's images takes; the seconds from the start of a training cell to its first batch. On a GPU
(`KERAS_BACKEND=jax`): an epoch of each model at full size, on random pixels. Ends with a line per goal and exits 1 when one is short.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import goals
from benchmarks.memory import anonymous_mb
from cxr_utils import config, data, without_startup_messages
from cxr_utils.data import pixels

with without_startup_messages():
    import keras

    from cxr_utils import models, training

SIZE, BATCH = 128, 32
TRAIN, VALID, ALL = 53_692, 32_874, 112_120
FIT_IMAGES, ROUNDS, GPU_BATCH = 4096, 3, 256
_FIRST_BATCH = "from benchmarks import training; training.first_batch()"
_PREDICT = "from benchmarks import training; training.predict_all()"


def random_images(count, size, folder):
    """Writes random images and returns them as notebooks have them, mapped from disk."""
    path = Path(folder) / f"images_{count}_{size}.u8"
    rng = np.random.default_rng(0)
    with open(path, "wb") as stream:
        for start in range(0, count, 1000):
            stream.write(rng.integers(0, 256, (min(1000, count - start), size, size), np.uint8))
    return pixels.Images(np.asarray(np.memmap(path, np.uint8, "r", shape=(count, size, size))), np.arange(count))


def compiled(model):
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss="binary_crossentropy",
        metrics=["categorical_accuracy", keras.metrics.AUC(name="auc")],
    )
    return model


def fit_ratio(folder):
    """Returns images a second of `fit` through the generator and in memory, medians of alternated epochs."""
    images = random_images(FIT_IMAGES, SIZE, folder)
    y_true = np.random.default_rng(1).integers(0, 2, (FIT_IMAGES, 14)).astype(np.float32)
    model = compiled(models.build_baseline(SIZE))
    batches = training.XrayGenerator(images, y_true, BATCH, training=True)
    memory = images[:][..., None]
    ways = {
        "generator": lambda: model.fit(batches, verbose=0, shuffle=False),
        "memory": lambda: model.fit(memory, y_true, batch_size=BATCH, verbose=0),
    }
    rates = {way: [] for way in ways}
    for number in range(ROUNDS + 1):
        for way, fit in ways.items():
            start = time.perf_counter()
            fit()
            if number:  # the first one compiles
                rates[way].append(FIT_IMAGES / (time.perf_counter() - start))
    return {way: statistics.median(values) for way, values in rates.items()}


def predict_all():
    """Predicts as many images as NIH has; prints the anonymous memory that it takes over that of the loaded model, in MB."""
    model = models.build_baseline(SIZE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.u8"
        path.touch()
        os.truncate(path, ALL * SIZE**2)
        images = pixels.Images(np.asarray(np.memmap(path, np.uint8, "r", shape=(ALL, SIZE, SIZE))), np.arange(ALL))
        before, peak = anonymous_mb(os.getpid()), 0
        for batch in models.predict_batches(model, images, 128):
            peak = max(peak, anonymous_mb(os.getpid()))
    print(peak - before)


class _FirstBatch(keras.callbacks.Callback):
    """Notes when the first batch would be trained, and ends the training with it."""

    def __init__(self, batches):
        super().__init__()
        self.batches, self.seen = batches, None

    def on_train_batch_begin(self, batch, logs=None):
        self.batches[0]
        self.seen = time.perf_counter()
        self.model.stop_training = True


def first_batch():
    """Prints the seconds from the start of a training cell to its first batch."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CXR_HOME"] = folder
        images = random_images(20_000, SIZE, folder)
        y_true = np.random.default_rng(1).integers(0, 2, (20_000, 14)).astype(np.float32)
        frame = pd.DataFrame(y_true, columns=config.LABELS).assign(
            imgindex=[f"{number:08}_000.png" for number in range(len(y_true))],
            label="",
            patientID=0,
            path="",
            seen=False,
        )
        for name in ("train_set", "valid_set"):  # a training notes which images it is of
            data.save_frame(frame, name)
        batches = training.XrayGenerator(images, y_true, BATCH, training=True)
        model = compiled(models.build_baseline(SIZE))
        first = _FirstBatch(batches)
        few = pixels.Images(images.pixels, images.rows[:BATCH])
        start = time.perf_counter()
        callbacks = training.build_callbacks("baseline", batches, few, y_true[:BATCH], plateau=3, patience=8)
        model.fit(batches, callbacks=[*callbacks, first], verbose=2)
    print(first.seen - start)


def printed(code):
    """Runs code in a process of its own and returns the number that it prints last."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def cpu():
    """Measures what is promised on CPU cores; returns goal lines."""
    with tempfile.TemporaryDirectory() as folder:
        rates = fit_ratio(folder)
    print(
        f"baseline, {FIT_IMAGES:,} images, batch {BATCH}: images a second {', '.join(f'{w} {r:,.0f}' for w, r in rates.items())}"
    )
    return [
        goals.at_least("fit through the generator, fit in memory without augmentation = 1", rates["generator"] / rates["memory"], 0.93),
        goals.at_most(f"anonymous memory to predict {ALL:,} images over the model's, MB", printed(_PREDICT), 400),
        goals.at_most("start of the training cell to its first batch, s", statistics.median(printed(_FIRST_BATCH) for _ in range(3)), 2),
    ]  # fmt: skip


class _Still(keras.utils.PyDataset):
    """One batch, over and over: an epoch for which nothing has to be read."""

    def __init__(self, batches):
        super().__init__()
        self.count, self.batch = len(batches), batches[0]

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        return self.batch


def epoch_seconds(build, size, folder):
    """Returns the seconds of an epoch at NIH's size, training and validation, and the share of training spent waiting for images."""
    train, valid = (random_images(count, size, folder) for count in (TRAIN, VALID))
    batches = training.XrayGenerator(train, np.zeros((TRAIN, 14), np.float32), GPU_BATCH, training=True)
    model = compiled(build())

    def timed(work):
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    def fit(data):
        model.fit(data, verbose=0, shuffle=False)

    fit(batches)  # compiles, for the last and smaller batch too
    models.predict(model, valid, GPU_BATCH)
    trained = statistics.median(timed(lambda: fit(batches)) for _ in range(ROUNDS))
    still = statistics.median(timed(lambda: fit(_Still(batches))) for _ in range(ROUNDS))
    predicted = statistics.median(timed(lambda: models.predict(model, valid, GPU_BATCH)) for _ in range(ROUNDS))
    print(f"{model.name} {size}×{size}, batch {GPU_BATCH}: {trained:.2f} s training, {predicted:.2f} s validation")
    return trained + predicted, max(0, 1 - still / trained)


def gpu():
    """Measures what is promised on one H200; returns goal lines."""
    wanted = {
        "MobileNet": (lambda: models.build_pretrained("MobileNet", 128, None), 128, 6),
        "baseline": (lambda: models.build_baseline(128), 128, 4),
        "DenseNet121": (lambda: models.build_pretrained("DenseNet121", 224, None), 224, 60),
    }
    lines = []
    for name, (build, size, goal) in wanted.items():
        with tempfile.TemporaryDirectory() as folder:
            seconds, waiting = epoch_seconds(build, size, folder)
        lines.append(goals.at_most(f"epoch of {name} at {size}×{size}, {TRAIN:,} + {VALID:,} images, s", seconds, goal))
        lines.append(
            goals.at_most(f"share of {name}'s training in which the device waits for images, %", 100 * waiting, 5)
        )
    return lines


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    print(training.configure_devices())
    return goals.report(gpu() if keras.distribution.list_devices("gpu") else cpu())


if __name__ == "__main__":
    sys.exit(main())
