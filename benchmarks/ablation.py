"""Measures what each part of the pretrained recipe adds on NIH's images: an ablation study in two steps.

    CXR_TEST_RELEASES=<folder> .venv/bin/python -m benchmarks.ablation --folder <folder>
    CXR_TEST_RELEASES=<folder> .venv/bin/python -m benchmarks.ablation --folder <folder> --test

Trains on `release256`, split by patient with three seeds. ImageNet weights are those in Keras' cache. The first command
trains everything (up to three hours on two cores; a training that is finished is not repeated). For each split, the
learning rate with the input scaling, and the rule for the epoch, are chosen on its own validation images. The second
command predicts the test images with these choices. Both print the mean AUROC of each recipe, averaged over trainings,
and paired differences with 95 % intervals from a bootstrap of the pooled patients. The intervals leave out that another
training gives another model. Validation values are those of images on which choices were made.

`--folder` holds images, the weights of every epoch and the predictions (15 GB).
"""

import argparse
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from cxr_utils import config, data, download, evaluation, without_startup_messages
from cxr_utils.evaluation import resampling

with without_startup_messages():
    import keras

    from cxr_utils import models, training

SPLITS, SEEDS, BATCH, MOMENTUM = (42, 1, 2), (42, 43, 44), 32, 0.98
RULES = ("ReduceLROnPlateau", "EarlyStopping")
HALVES, HALF_CASES = 40, 5  # random halves of the validation patients, and how many cases a finding needs there
COMPARED_WITH = {
    "baseline, cosine": ["baseline, plateau"],
    "MobileNet from random weights, plateau": ["baseline, plateau"],
    "ImageNet weights, plateau": ["baseline, plateau", "MobileNet from random weights, plateau"],
    "ImageNet weights, cosine": ["ImageNet weights, plateau"],
    "cosine, 5 × TTA": ["ImageNet weights, cosine"],
    "cosine, 3 members": ["ImageNet weights, cosine"],
    "cosine, 3 members, 5 × TTA": ["cosine, 5 × TTA", "baseline, plateau"],
    "224×224, first seed": ["cosine, first seed"],
    "224×224, first seed, 5 × TTA": ["cosine, first seed, 5 × TTA", "baseline, plateau"],
}


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
BASELINE_COSINE = Recipe(None, None, epochs=30)
RANDOM = Recipe(weights=None, schedule="plateau", epochs=30)
VARIANTS = [Recipe(), Recipe(scaling="backbone"), Recipe(rate=3e-4)]


def with_plateau(recipe):
    return replace(recipe, schedule="plateau", epochs=30)


def enlarged(recipe):
    return replace(recipe, size=224, epochs=12)


class Record(keras.callbacks.Callback):
    """Saves the weights and the validation predictions of every epoch, and of the moving average of the weights."""

    def __init__(self, folder, images, y_true, averages):
        super().__init__()
        self.folder, self.images, self.y_true, self.averages = folder, images, y_true, averages
        self.predictions = {"plain": [], "averaged": []}

    def on_train_begin(self, logs=None):
        self.mean = self.model.get_weights()

    def on_train_batch_end(self, batch, logs=None):
        if self.averages:  # also of the batch statistics
            pairs = zip(self.mean, self.model.get_weights(), strict=True)
            self.mean = [MOMENTUM * mean + (1 - MOMENTUM) * weight for mean, weight in pairs]

    def on_epoch_end(self, epoch, logs=None):
        logs["val_mean_auroc"] = mean_auroc(self.y_true, self._save("plain", epoch))

    def on_train_end(self, logs=None):
        if self.averages:
            self.model.set_weights(self.mean)
            self._save("averaged", 0)

    def _save(self, kind, epoch):
        np.savez(weights_file(self.folder, kind, epoch), *self.model.get_weights())
        y_prob = models.predict(self.model, self.images)
        self.predictions[kind].append(y_prob)
        return y_prob


def weights_file(folder, kind, epoch):
    return folder / f"{kind}_{epoch:02d}.npz"


def mean_auroc(y_true, y_prob, cases=evaluation.MIN_CASES):
    return np.nanmean(evaluation.auroc(y_true, y_prob.astype(np.float64), cases))


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


def last_epochs(home, recipe, split, valid):
    """Returns the mean validation AUROC of the last three epochs of the first training, which no rule has chosen."""
    epochs = validation(home, recipe, split, SEEDS[0])["plain"][-3:]
    return np.mean([mean_auroc(data.targets(valid), epoch) for epoch in epochs])


def smoothed(scores):
    return pd.Series(scores).rolling(3, center=True, min_periods=2).mean().to_numpy()


# Name → which weights, and a function that chooses the epoch from the AUROC of all epochs.
EPOCH_RULES = {
    "best epoch": ("plain", np.argmax),
    "last epoch": ("plain", lambda scores: len(scores) - 1),
    "best mean of three epochs": ("plain", lambda scores: np.argmax(smoothed(scores))),
    "averaged weights": ("averaged", np.argmax),
}


def compare_epoch_rules(home, recipe, split, valid, seeds):
    """Returns the mean AUROC of each rule: it chooses on half of the validation patients and is tested on the rest.

    In a training a rule chooses on all of them, so this is slightly too strict with the rules that choose.
    """
    y_true, patients, rows = data.targets(valid), valid.patientID.to_numpy(), []
    for seed in seeds:
        epochs, rng = validation(home, recipe, split, seed), np.random.default_rng(config.SEED)
        rules = {name: rule for name, rule in EPOCH_RULES.items() if rule[0] in epochs}
        for _ in range(HALVES):
            half = np.isin(patients, rng.permutation(np.unique(patients))[::2])
            scores = {
                (kind, part): [mean_auroc(y_true[chosen], epoch[chosen], HALF_CASES) for epoch in found]
                for kind, found in epochs.items()
                for part, chosen in ((0, half), (1, ~half))
            }
            rows.append({name: scores[kind, 1][choose(scores[kind, 0])] for name, (kind, choose) in rules.items()})
    return pd.DataFrame(rows).mean()


def predict(home, recipe, split, seed, sets, part, tta, rule):
    """Returns the predictions of one model for the validation (1) or test images (2), kept on disk."""
    folder = run_folder(home, recipe, split, seed)
    file = folder / f"predicted_{part}_{tta}_{rule}.npy"
    if not file.is_file():
        kind, choose = EPOCH_RULES[rule]
        y_valid = data.targets(sets[1])
        epoch = choose([mean_auroc(y_valid, found) for found in validation(home, recipe, split, seed)[kind]])
        model = recipe.build()
        with np.load(weights_file(folder, kind, epoch)) as weights:
            model.set_weights([weights[name] for name in weights.files])
        images = data.load_images(sets[part], recipe.size)
        transforms = data.fixed_affines(recipe.size) if tta > 1 else ()
        np.save(file, models.predict(model, images, transforms=transforms))
    return np.load(file).astype(np.float64)


def all_predictions(home, sets, part, chosen, rules):
    """Returns the predictions of every recipe: name → split → list of `(n, 14)`, one for each training or ensemble."""

    def of(recipe, seeds, tta=1, joined=False, splits=SPLITS):
        found = {}
        for split in splits:
            its = recipe(split) if callable(recipe) else recipe
            rule = rules[split] if its.schedule == "cosine" and its.backbone else "best epoch"
            found[split] = [predict(home, its, split, seed, sets[split], part, tta, rule) for seed in seeds]
            if joined:
                found[split] = [expit(np.mean(logit(np.clip(found[split], 1e-30, 1 - 1e-7)), axis=0))]
        return found

    one, two, every = SEEDS[:1], SEEDS[:2], SEEDS
    cosine, large = chosen.get, lambda split: enlarged(chosen[split])
    return {
        "baseline, plateau": of(BASELINE, two),
        "baseline, cosine": of(BASELINE_COSINE, two),
        "MobileNet from random weights, plateau": of(RANDOM, two),
        "ImageNet weights, plateau": of(lambda split: with_plateau(chosen[split]), two),
        "ImageNet weights, cosine": of(cosine, every),
        "cosine, 5 × TTA": of(cosine, every, 5),
        "cosine, 3 members": of(cosine, every, joined=True),
        "cosine, 3 members, 5 × TTA": of(cosine, every, 5, joined=True),
        "cosine, first seed": of(cosine, one),
        "cosine, first seed, 5 × TTA": of(cosine, one, 5),
        "224×224, first seed": of(large, one),
        "224×224, first seed, 5 × TTA": of(large, one, 5),
        "224×224, 3 members, 5 × TTA (split 42 alone)": of(large, every, 5, joined=True, splits=SPLITS[:1]),
    }


def bootstrap(predictions, frames):
    """Returns the AUROC of each split and finding, and the same on each resample of the pooled patients.

    Args:
        predictions: split → list of `(n, 14)`; the AUROC is averaged over the list.
        frames: split → frame of these images.

    Returns:
        `(values, samples)`: `(k,)` and `(resamples, k)`, for the k pairs of a split and a finding with enough images.
    """
    # Of all splits, so that every recipe is evaluated on the same resamples.
    union = pd.Index(np.unique(np.concatenate([frame.patientID for frame in frames.values()])))
    values, columns = [], []
    for split, found in predictions.items():
        y_true, codes = data.targets(frames[split]), union.get_indexer(frames[split].patientID)
        for finding in np.flatnonzero(evaluation.enough_cases(y_true, *found)):
            true, probs = y_true[:, finding], [p[:, finding] for p in found]
            values.append(np.mean([roc_auc_score(true, p) for p in probs]))
            columns.append([resampling._count_by_patient(true, p, codes, len(union)) for p in probs])
    samples = np.empty((resampling.RESAMPLES, len(columns)))
    for chunk, weights in resampling._weights(len(union), resampling.RESAMPLES, config.SEED):
        for number, models_ in enumerate(columns):
            areas = [resampling._auroc_and_precision(pos @ weights, neg @ weights)[0] for pos, neg in models_]
            samples[chunk, number] = np.mean(areas, axis=0)
    return np.array(values), samples


def report(predictions, frames):
    """Prints the mean AUROC of each recipe, and its difference from the one in `COMPARED_WITH`, as a Markdown table."""
    found = {name: bootstrap(of, frames) for name, of in predictions.items()}
    print("| recipe | mean AUROC (95 % CI) | split 42, 1, 2 | difference from | (95 % CI) |\n|---|---|---|---|---|")
    for name, (values, samples) in found.items():
        mean, lower, upper = resampling.with_mean(values, samples)[-1]
        splits = ", ".join(
            f"{np.mean([mean_auroc(data.targets(frames[split]), p) for p in of]):.3f}"
            for split, of in predictions[name].items()
        )
        row = [name, f"{mean:.3f} ({lower:.3f}–{upper:.3f})", splits]
        for other in COMPARED_WITH.get(name, []):
            difference = resampling.with_mean(values - found[other][0], samples - found[other][1])[-1]
            print("| {} | {} | {} | {} | {:+.3f} ({:+.3f} to {:+.3f}) |".format(*row, other, *difference))
            row = [""] * 3
        if any(row):
            print("| {} | {} | {} | | |".format(*row))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--test", action="store_true", help="evaluate on the test images")
    arguments = parser.parse_args()
    real = os.environ.get("CXR_TEST_RELEASES")
    if not real:
        raise SystemExit("CXR_TEST_RELEASES is not set: set it to the folder that contains release256/.")
    home = arguments.folder.resolve()
    os.environ["CXR_HOME"] = str(home)
    download.download_release(download.find_release(f"{real}/release256"), None)
    frame = data.one_hot(data.keep_present(data.read_labels(data.find_label_table())))
    sets = {seed: data.split(frame, "patient", seed=seed) for seed in SPLITS}

    for size in (128, 224):
        print(f"initial weights at {size} pixels: {Recipe(size=size).build().initial_weights}")

    def train_all(recipe, seeds, splits=SPLITS):
        for seed, split in product(seeds, splits):
            train(home, recipe(split) if callable(recipe) else recipe, split, seed, sets[split])

    for recipe in VARIANTS:
        train_all(recipe, SEEDS[:1])
    # For each split on its own validation images: those of the other splits are partly its test images.
    scores = pd.DataFrame(
        {split: {r.name: last_epochs(home, r, split, sets[split][1]) for r in VARIANTS} for split in SPLITS}
    )
    chosen = {split: VARIANTS[int(np.argmax(scores[split]))] for split in SPLITS}
    train_all(chosen.get, SEEDS)
    train_all(lambda split: enlarged(chosen[split]), SEEDS[:1])
    train_all(lambda split: with_plateau(chosen[split]), SEEDS[:2])
    for recipe in (BASELINE, BASELINE_COSINE, RANDOM):
        train_all(recipe, SEEDS[:2])
    train_all(lambda split: enlarged(chosen[split]), SEEDS, SPLITS[:1])
    print(f"\nValidation images, mean AUROC of the last three epochs\n{scores.round(4)}")
    rules = pd.DataFrame(
        {split: compare_epoch_rules(home, chosen[split], split, sets[split][1], SEEDS) for split in SPLITS}
    )
    print(f"\nValidation images, mean AUROC by the rule that chooses the epoch\n{rules.round(4)}")
    part = 2 if arguments.test else 1
    print(f"\n{'Test' if arguments.test else 'Validation'} images, by the rules {rules.idxmax().to_dict()}")
    frames = {split: found[part] for split, found in sets.items()}
    report(all_predictions(home, sets, part, chosen, rules.idxmax()), frames)


if __name__ == "__main__":
    sys.exit(main())
