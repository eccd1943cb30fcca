"""Measures the speed and the memory of training and prediction.

    .venv/bin/python -m benchmarks.training

On a CPU: `fit` of the baseline with the generator, relative to `fit` on the same arrays in memory without augmentation;
the memory for predicting as many images as NIH has; the seconds from the start of a training cell to its first batch.
On a GPU (`KERAS_BACKEND=jax`): one epoch of each model at full size, on random pixels. Prints a line for each goal at
the end and exits with 1 if a goal is not met.
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
from cxr_utils import config, without_startup_messages
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
    """Writes random images and returns them as `data.load_images` does, mapped from disk."""
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
    """Returns images per second of `fit` with the generator and in memory, as medians of alternating epochs."""
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
            if number:  # the first epoch compiles the model
                rates[way].append(FIT_IMAGES / (time.perf_counter() - start))
    return {way: statistics.median(values) for way, values in rates.items()}


def predict_all():
    """Predicts as many images as NIH has and prints the additional anonymous memory that this takes, in MB."""
    model = models.build_baseline(SIZE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.u8"
        path.touch()
        os.truncate(path, ALL * SIZE**2)
        images = pixels.Images(np.asarray(np.memmap(path, np.uint8, "r", shape=(ALL, SIZE, SIZE))), np.arange(ALL))
        before, peak = anonymous_mb(os.getpid()), 0
        for _ in models.predict_batches(model, images, 128):
            peak = max(peak, anonymous_mb(os.getpid()))
    print(peak - before)


class _FirstBatch(keras.callbacks.Callback):
    """Records when the first batch is ready and stops training after it."""

    def __init__(self, batches):
        super().__init__()
        self.batches, self.ready = batches, None

    def on_train_batch_begin(self, batch, logs=None):
        self.batches[0]
        self.ready = time.perf_counter()
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
        batches = training.XrayGenerator(images, y_true, BATCH, training=True)
        model = compiled(models.build_baseline(SIZE))
        first = _FirstBatch(batches)
        few = pixels.Images(images.pixels, images.rows[:BATCH])
        start = time.perf_counter()
        callbacks = training.build_callbacks("baseline", batches, (frame, frame), few, y_true[:BATCH], 3, 8)
        model.fit(batches, callbacks=[*callbacks, first], verbose=2)
    print(first.ready - start)


def printed(code):
    """Runs code in a separate process and returns the number that it prints last."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def cpu():
    """Measures the goals for a CPU and returns their lines."""
    with tempfile.TemporaryDirectory() as folder:
        rates = fit_ratio(folder)
    speeds = ", ".join(f"{way} {rate:,.0f}" for way, rate in rates.items())
    print(f"baseline, {FIT_IMAGES:,} images, batch size {BATCH}, images per second: {speeds}")
    first = statistics.median(printed(_FIRST_BATCH) for _ in range(3))
    ratio = rates["generator"] / rates["memory"]
    return [
        goals.at_least("fit with the generator, relative to fit in memory without augmentation", ratio, 0.93),
        goals.at_most(
            f"anonymous memory to predict {ALL:,} images, above that of the model, MB", printed(_PREDICT), 400
        ),
        goals.at_most("start of the training cell to its first batch, s", first, 2),
    ]


class _RepeatedBatch(keras.utils.PyDataset):
    """An epoch of one batch repeated, which needs no reading."""

    def __init__(self, batches):
        super().__init__()
        self.count, self.batch = len(batches), batches[0]

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        return self.batch


def epoch_seconds(build, size, folder):
    """Measures an epoch with as many images as NIH has.

    Returns:
        `(seconds, waiting)`: of training and validation together, and the share of the training time, in [0, 1], that
        is spent waiting for images.
    """
    train, valid = (random_images(count, size, folder) for count in (TRAIN, VALID))
    batches = training.XrayGenerator(train, np.zeros((TRAIN, 14), np.float32), GPU_BATCH, training=True)
    model = compiled(build())

    def timed(work):
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    def fit(data):
        model.fit(data, verbose=0, shuffle=False)

    fit(batches)  # compiles the model, also for the smaller last batch
    models.predict(model, valid, GPU_BATCH)
    trained = statistics.median(timed(lambda: fit(batches)) for _ in range(ROUNDS))
    without_reading = statistics.median(timed(lambda: fit(_RepeatedBatch(batches))) for _ in range(ROUNDS))
    predicted = statistics.median(timed(lambda: models.predict(model, valid, GPU_BATCH)) for _ in range(ROUNDS))
    print(f"{model.name} {size}×{size}, batch size {GPU_BATCH}: {trained:.2f} s training, {predicted:.2f} s validation")
    return trained + predicted, max(0, 1 - without_reading / trained)


def gpu():
    """Measures the goals for one NVIDIA H200 and returns their lines."""
    cases = {
        "MobileNet": (lambda: models.build_pretrained("MobileNet", 128, None), 128, 6),
        "baseline": (lambda: models.build_baseline(128), 128, 4),
        "DenseNet121": (lambda: models.build_pretrained("DenseNet121", 224, None), 224, 60),
    }
    lines = []
    for name, (build, size, goal) in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            seconds, waiting = epoch_seconds(build, size, folder)
        lines.append(goals.at_most(f"epoch of {name} at {size}×{size}, {TRAIN:,} + {VALID:,} images, s", seconds, goal))
        lines.append(
            goals.at_most(f"share of the training time of {name} spent waiting for images, %", 100 * waiting, 5)
        )
    return lines


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    print(training.configure_devices())
    return goals.report(gpu() if keras.distribution.list_devices("gpu") else cpu())


if __name__ == "__main__":
    sys.exit(main())
