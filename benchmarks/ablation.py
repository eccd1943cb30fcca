"""Measures what each part of the pretrained recipe adds on NIH's images: an ablation study in two steps.

    CXR_TEST_RELEASES=<folder> .venv/bin/python -m benchmarks.ablation --folder <folder>
    CXR_TEST_RELEASES=<folder> .venv/bin/python -m benchmarks.ablation --folder <folder> --test

Trains on `release256`, split by patient with three seeds. ImageNet weights are those in Keras' cache (128 and 224
pixels). The first command trains everything (up to three hours on two cores; a run that is finished is not trained
again) and compares all choices on validation images only. Then the recipe is fixed, in `recipe` below. The second
command predicts the test images and prints the mean AUROC of each recipe, and paired differences with 95 % intervals
from a bootstrap of the pooled test patients.

`--folder` holds images, splits, the weights of every epoch and the predictions (15 GB).
"""

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_utils import config, data, download, evaluation, without_startup_messages

with without_startup_messages():
    import keras

    from cxr_utils import models, training

SPLITS, SEEDS, BATCH, MOMENTUM = (42, 1, 2), (42, 43, 44), 32, 0.98
RULES = ("ReduceLROnPlateau", "EarlyStopping")
HALVES = 40  # random halves of the validation patients, to compare rules that choose an epoch


@dataclass(frozen=True)
class Recipe:
    """What a model is trained with."""

    backbone: str | None = "MobileNet"  # None: the baseline
    weights: str | None = "imagenet"
    size: int = 128
    schedule: str = "cosine"
    rate: float = 1e-3
    scaling: str = "standardise"
    epochs: int = 15

    @property
    def name(self):
        return "-".join(str(value) for value in asdict(self).values())

    def build(self):
        if self.backbone is None:
            return models.build_baseline(self.size, 0.9)
        return models.build_pretrained(self.backbone, self.size, self.weights, self.scaling, 0.9)


BASELINE = Recipe(None, None, schedule="plateau", epochs=30)
BASELINE_COSINE = Recipe(None, None, epochs=60)
RANDOM = Recipe(weights=None, schedule="plateau", epochs=30)
PLATEAU = Recipe(schedule="plateau", epochs=30)
VARIANTS = [Recipe(rate=rate, scaling=scaling) for rate, scaling in product((1e-3, 3e-4), config.SCALINGS)]


class Record(keras.callbacks.Callback):
    """Saves the weights and the validation predictions of every epoch, of the moving average of the weights, too."""

    def __init__(self, folder, images, y_true, averages):
        super().__init__()
        self.folder, self.images, self.y_true, self.averages = folder, images, y_true, averages
        self.predictions = {"plain": [], "averaged": []}

    def on_train_begin(self, logs=None):
        self.mean = self._trained()

    def on_train_batch_end(self, batch, logs=None):
        if self.averages:
            self.mean = [MOMENTUM * m + (1 - MOMENTUM) * w for m, w in zip(self.mean, self._trained(), strict=True)]

    def on_epoch_end(self, epoch, logs=None):
        logs["val_mean_auroc"] = mean_auroc(self.y_true, self._save("plain", epoch))
        if self.averages:
            current = self._trained()
            self._set(self.mean)
            self._save("averaged", epoch)
            self._set(current)

    def _save(self, kind, epoch):
        np.savez(weights_file(self.folder, kind, epoch), *self.model.get_weights())
        y_prob = models.predict(self.model, self.images)
        self.predictions[kind].append(y_prob)
        return y_prob

    def _trained(self):
        return [keras.ops.convert_to_numpy(variable) for variable in self.model.trainable_variables]

    def _set(self, values):
        for variable, value in zip(self.model.trainable_variables, values, strict=True):
            variable.assign(value)


def weights_file(folder, kind, epoch):
    return folder / f"{kind}_{epoch:02d}.npz"


def mean_auroc(y_true, y_prob):
    return np.nanmean(evaluation.auroc(y_true, y_prob.astype(np.float64), evaluation.MIN_CASES))


def run_folder(home, recipe, split, seed):
    return home / "runs" / f"{recipe.name}_split{split}_seed{seed}"


def train(home, recipe, split, seed, sets):
    """Trains one model, unless that has been done."""
    folder = run_folder(home, recipe, split, seed)
    if (folder / "valid.npz").is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.perf_counter()
    train_images, valid_images = (data.load_images(frame, recipe.size) for frame in sets[:2])
    y_train, y_valid = (data.targets(frame) for frame in sets[:2])
    keras.utils.set_random_seed(seed)
    batches = training.XrayGenerator(train_images, y_train, BATCH, training=True, seed=seed)
    model = recipe.build()
    rate = training.learning_rate(recipe.schedule, recipe.rate, recipe.epochs * len(batches))
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="binary_crossentropy")
    record = Record(folder, valid_images, y_valid, averages=recipe.schedule == "cosine" and recipe.backbone)
    built = training.build_callbacks("baseline", batches, sets[:2], valid_images, y_valid, 3, 8, recipe.schedule)
    rules = [callback for callback in built if type(callback).__name__ in RULES]
    history = model.fit(batches, epochs=recipe.epochs, callbacks=[record, *rules], verbose=0).history
    pd.DataFrame(history).to_csv(folder / "log.csv")
    best = int(np.argmax(history["val_mean_auroc"]))
    if recipe.schedule == "plateau":  # its rule for the epoch is not in question
        for epoch in set(range(len(history["loss"]))) - {best}:
            weights_file(folder, "plain", epoch).unlink()
    np.savez(folder / "part.npz", **{kind: np.array(found) for kind, found in record.predictions.items() if found})
    (folder / "part.npz").rename(folder / "valid.npz")
    print(
        f"{folder.name}: {len(history['loss'])} epochs, best {best + 1}, validation AUROC "
        f"{history['val_mean_auroc'][best]:.3f}, last {history['val_mean_auroc'][-1]:.3f}, "
        f"{time.perf_counter() - start:.0f} s",
        flush=True,
    )


def validation(home, recipe, split, seed):
    """Returns the validation predictions of a run, a dict of `(epochs, n, 14)`."""
    with np.load(run_folder(home, recipe, split, seed) / "valid.npz") as file:
        return {kind: file[kind] for kind in file.files}


def last_epochs(home, recipe, sets, seeds=SEEDS[:1]):
    """Returns the mean validation AUROC of the last three epochs of all runs, which no rule has chosen."""
    found = [
        mean_auroc(data.targets(sets[split][1]), epoch)
        for split, seed in product(SPLITS, seeds)
        for epoch in validation(home, recipe, split, seed)["plain"][-3:]
    ]
    return np.mean(found)


def epoch_rules(predictions):
    """Returns a dict of rules that choose an epoch by its AUROCs, each with the predictions that it chooses from."""
    rules = {"best epoch": ("plain", np.argmax), "last epoch": ("plain", lambda scores: len(scores) - 1)}
    rules["best of the mean of three epochs"] = ("plain", lambda scores: np.argmax(smoothed(scores)))
    if "averaged" in predictions:
        rules["averaged weights, best epoch"] = ("averaged", np.argmax)
        rules["averaged weights, last epoch"] = ("averaged", lambda scores: len(scores) - 1)
    return rules


def smoothed(scores):
    return pd.Series(scores).rolling(3, center=True, min_periods=2).mean().to_numpy()


def compare_epoch_rules(home, recipe, sets, seeds):
    """Returns the mean AUROC of each rule: it chooses on half of the validation patients and is tested on the rest."""
    rows = []
    for split, seed in product(SPLITS, seeds):
        valid = sets[split][1]
        y_true, patients = data.targets(valid), valid.patientID.to_numpy()
        predictions, rng = validation(home, recipe, split, seed), np.random.default_rng(config.SEED)
        for _ in range(HALVES):
            chosen = np.isin(patients, rng.permutation(np.unique(patients))[::2])
            halves = {
                kind: [[auroc_of(y_true[rows_], epoch[rows_]) for epoch in found] for rows_ in (chosen, ~chosen)]
                for kind, found in predictions.items()
            }
            rows.append(
                {
                    rule: halves[kind][1][choose(halves[kind][0])]
                    for rule, (kind, choose) in epoch_rules(predictions).items()
                }
            )
    return pd.DataFrame(rows).mean()


def auroc_of(y_true, y_prob):
    """Like `mean_auroc`, for few images: over the findings with at least five images with and without them."""
    return np.nanmean(evaluation.auroc(y_true, y_prob.astype(np.float64), 5))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--test", action="store_true")
    arguments = parser.parse_args()
    real = os.environ.get("CXR_TEST_RELEASES")
    if not real:
        raise SystemExit("CXR_TEST_RELEASES is not set: set it to the folder that contains release256/.")
    home = arguments.folder.resolve()
    os.environ["CXR_HOME"] = str(home)
    download.download_release(download.find_release(f"{real}/release256"), None)
    frame = data.one_hot(data.keep_present(data.read_labels(data.find_label_table())))
    sets = {seed: data.split(frame, "patient", seed=seed) for seed in SPLITS}

    def train_all(recipe, seeds):
        for seed, split in product(seeds, SPLITS):
            train(home, recipe, split, seed, sets[split])

    for recipe in VARIANTS:
        train_all(recipe, SEEDS[:1])
    scores = {recipe: last_epochs(home, recipe, sets) for recipe in VARIANTS}
    chosen = max(scores, key=scores.get)
    large = Recipe(**asdict(chosen) | {"size": 224, "epochs": 12})
    train_all(chosen, SEEDS)
    train_all(large, SEEDS[:1])
    for recipe in (PLATEAU, BASELINE, BASELINE_COSINE, RANDOM):
        train_all(recipe, SEEDS[:2])
    print(json.dumps({recipe.name: round(score, 4) for recipe, score in scores.items()}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
