"""Tests whether decoding once to 8 bits, and augmenting in a single transform, lowers accuracy.

    CXR_TEST_RELEASES=<folder> .venv/bin/python -m benchmarks.plain_pipeline

Trains the baseline on NIH's images of `release256`, split by patient, with three seeds and two pipelines: from the
array of images with `XrayGenerator` ("ours"), and from PNG files at every epoch with Keras' `ImageDataGenerator` and
the same ranges of augmentation ("plain"). Training runs with different seeds vary more than the pipelines do. So the
goal is that the 95 % interval of the difference over seeds (paired t-test) reaches 0. It is a weak test: an interval
that reaches 0 does not show that the pipelines are equal. Prints a line for each goal at the end and exits with 1 if
a goal is not met.
"""

import argparse
import os
import sys
import tempfile
import time

import numpy as np
import pandas as pd
from scipy.stats import ttest_rel

from benchmarks import goals
from cxr_utils import config, data, download, evaluation, without_startup_messages
from cxr_utils.data import augmentation

with without_startup_messages():
    import keras
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    from cxr_utils import models, training

SIZE, BATCH, EPOCHS, SEEDS = 128, 32, 25, (42, 1, 2)


class PlainBatches(keras.utils.PyDataset):
    """Batches that are read from PNG files at every epoch."""

    def __init__(self, train, seed):
        super().__init__()
        table = train.assign(path=[str(config.home() / path) for path in train.path])
        shift, shear = augmentation.SHIFT, np.rad2deg(np.arctan(augmentation.SHEAR))
        self.flow = ImageDataGenerator(
            fill_mode="reflect", width_shift_range=shift, height_shift_range=shift, zoom_range=augmentation.ZOOM,
            rotation_range=augmentation.ROTATION, shear_range=shear,
        ).flow_from_dataframe(
            table, x_col="path", y_col=config.LABELS, class_mode="raw", target_size=(SIZE, SIZE),
            color_mode="grayscale", interpolation="box", batch_size=BATCH, seed=seed,
        )  # fmt: skip
        self.batch_size, self.seed = BATCH, seed

    def __len__(self):
        return len(self.flow)

    def __getitem__(self, number):
        return self.flow[number]

    def on_epoch_end(self):
        self.flow.on_epoch_end()

    def start_epoch(self, epoch):
        pass  # the random generator simply continues


def test_auroc(train, valid, test, seed, plain):
    """Trains the baseline and evaluates the best epoch on the test images.

    Returns:
        `(auroc, seconds)`: the mean AUROC on the test images and the time of training.
    """
    keras.utils.set_random_seed(seed)
    valid_images, y_valid, y_train = data.load_images(valid, SIZE), data.targets(valid), data.targets(train)
    if plain:
        batches = PlainBatches(train, seed)
    else:
        batches = training.XrayGenerator(data.load_images(train, SIZE), y_train, BATCH, training=True, seed=seed)
    model = models.build_baseline(SIZE, batch_norm_momentum=0.9)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss="binary_crossentropy",
        metrics=["categorical_accuracy", keras.metrics.AUC(name="auc")],
    )
    callbacks = training.build_callbacks("baseline", batches, (train, valid), valid_images, y_valid, EPOCHS, EPOCHS)
    start = time.perf_counter()
    model.fit(batches, epochs=EPOCHS, callbacks=callbacks, verbose=0)
    seconds = time.perf_counter() - start
    training.keep_best("baseline", model)
    y_prob = models.predict(models.load_model("baseline"), data.load_images(test, SIZE))
    return evaluation.auroc_table(data.targets(test), y_prob).attrs["mean"]["auroc"], seconds


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    real = os.environ.get("CXR_TEST_RELEASES")
    if not real:
        raise SystemExit("CXR_TEST_RELEASES is not set: set it to the folder that contains release256/.")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CXR_HOME"] = folder
        download.download_release(download.find_release(f"{real}/release256"), None)
        table = data.read_labels(data.find_label_table())
        frame = data.one_hot(data.keep_present(table))
        for seed in SEEDS:
            sets = data.split(frame, "patient", seed=seed)
            data.save_split(frame, *sets)
            for plain in (False, True):
                auroc, seconds = test_auroc(*sets, seed, plain)
                rows.append(("plain" if plain else "ours", seed, auroc, seconds))
                print(
                    f"{rows[-1][0]:6} seed {seed:2}: mean AUROC on test images {auroc:.3f}, {seconds:.0f} s", flush=True
                )
    table = pd.DataFrame(rows, columns=["pipeline", "seed", "auroc", "seconds"])
    table = table.pivot(index="seed", columns="pipeline", values=["auroc", "seconds"])
    print(table.round(3))
    ours, plain = table.auroc["ours"], table.auroc["plain"]
    interval = ttest_rel(ours, plain).confidence_interval(0.95)
    print(f"difference {(ours - plain).mean():+.3f} (95 % CI {interval.low:+.3f} to {interval.high:+.3f})")
    goal = "mean AUROC minus that of the plain pipeline, upper end of the 95 % CI"
    return goals.report([goals.at_least(goal, interval.high, 0)])


if __name__ == "__main__":
    sys.exit(main())
