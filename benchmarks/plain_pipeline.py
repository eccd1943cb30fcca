"""Whether decoding once, at 8 bits, and augmenting in one transform costs accuracy.

    CXR_TEST_RELEASES=<folder> .venv/bin/python -m benchmarks.plain_pipeline

Trains the baseline on NIH's films of `release256`, split by patient, with three seeds: once from the array of films through
`XrayGenerator`, once as it is mostly done, from PNG at every epoch through Keras' `ImageDataGenerator` with the same ranges of
augmentation. One training differs from the next by more than pipelines do, so the goal asks whether ours can be told to be worse: the
95 % interval of the difference by seed (paired t) must reach 0. Ends with a line per goal and exits 1 when it is short.
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
from cxr_utils import config, download, evaluation, frames, generators, metadata, pixels, release
from cxr_utils.progress import without_start_up_notes

with without_start_up_notes():
    import keras
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    from cxr_utils import models, training

SIZE, BATCH, EPOCHS, SEEDS = 128, 32, 25, (42, 1, 2)


class PlainBatches(keras.utils.PyDataset):
    """Batches read from PNG at every epoch, pixels as the model takes them."""

    def __init__(self, train, seed):
        super().__init__()
        table = train.assign(path=[str(config.home() / path) for path in train.path])
        shift, shear = generators.SHIFT, np.rad2deg(np.arctan(generators.SHEAR))
        self.flow = ImageDataGenerator(
            fill_mode="reflect", width_shift_range=shift, height_shift_range=shift, zoom_range=generators.ZOOM,
            rotation_range=generators.ROTATION, shear_range=shear,
        ).flow_from_dataframe(
            table, x_col="path", y_col=config.LABELS, class_mode="raw", target_size=(SIZE, SIZE), color_mode="grayscale",
            interpolation="box", batch_size=BATCH, seed=seed,
        )  # fmt: skip
        self.batch_size, self.seed = BATCH, seed

    def __len__(self):
        return len(self.flow)

    def __getitem__(self, number):
        return self.flow[number]

    def on_epoch_end(self):
        self.flow.on_epoch_end()

    def start_epoch(self, epoch):
        pass  # it draws on from wherever it stands


def test_auroc(train, valid, test, seed, plain):
    """Trains, keeps the best epoch by validation, and returns the mean AUROC on the test films and the seconds of training."""
    keras.utils.set_random_seed(seed)
    valid_films, y_valid, y_train = pixels.load_films(valid, SIZE), frames.targets(valid), frames.targets(train)
    if plain:
        batches = PlainBatches(train, seed)
    else:
        batches = generators.XrayGenerator(pixels.load_films(train, SIZE), y_train, BATCH, training=True, seed=seed)
    model = models.build_baseline(SIZE, batch_norm_momentum=0.9)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss="binary_crossentropy",
        metrics=["categorical_accuracy", keras.metrics.AUC(name="auc")],
    )
    callbacks = training.callbacks("baseline", batches, valid_films, y_valid, plateau=EPOCHS, patience=EPOCHS)
    start = time.perf_counter()
    model.fit(batches, epochs=EPOCHS, callbacks=callbacks, verbose=0)
    seconds = time.perf_counter() - start
    training.keep_best("baseline")
    y_prob = models.predict(models.load_model("baseline"), pixels.load_films(test, SIZE))
    return evaluation.auroc_table(frames.targets(test), y_prob).attrs["mean"]["auroc"], seconds


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    real = os.environ.get("CXR_TEST_RELEASES")
    if not real:
        raise SystemExit("CXR_TEST_RELEASES is not set to the folder that holds release256/")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CXR_HOME"] = folder
        download.download(release.find_release(f"{real}/release256"), None)
        table = metadata.read_labels(metadata.find_label_table())
        frame = metadata.one_hot(metadata.keep_present(table))
        for seed in SEEDS:
            sets = metadata.split(frame, "patient", seed=seed)
            for name, part in zip(("train_set", "valid_set", "test_set"), sets):
                frames.save_frame(part, name)
            for plain in (False, True):
                auroc, seconds = test_auroc(*sets, seed, plain)
                rows.append(("plain" if plain else "ours", seed, auroc, seconds))
                print(f"{rows[-1][0]:6} seed {seed:2}: mean AUROC on test {auroc:.3f}, {seconds:.0f} s", flush=True)
    table = pd.DataFrame(rows, columns=["pipeline", "seed", "auroc", "seconds"])
    table = table.pivot(index="seed", columns="pipeline", values=["auroc", "seconds"])
    print(table.round(3))
    ours, plain = table.auroc["ours"], table.auroc["plain"]
    interval = ttest_rel(ours, plain).confidence_interval(0.95)
    print(f"difference {(ours - plain).mean():+.3f} ({interval.low:+.3f} to {interval.high:+.3f})")
    return goals.report(
        [
            goals.at_least(
                "mean AUROC above that of the plain pipeline, upper end of the 95 % interval", interval.high, 0
            )
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
