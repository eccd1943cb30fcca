"""Predicts a user's own images and draws heat maps; the command `cxr predict` uses it."""

import itertools
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cxr_utils import config, data, evaluation, explain, models, plots, reports, without_startup_messages
from cxr_utils.reports.inference_settings import settings_file

DISCLAIMER = (
    "This is NOT A DIAGNOSIS. The model is built for frontal chest X-rays like NIH's, mostly of adults, from one "
    "hospital. The content of an image is not checked. A physician has to read every image."
)


def predict_image(path, model, settings=None, finding=None, accepted=()):
    """Predicts one image and draws it with a heat map.

    Args:
        path: of a PNG, JPEG or DICOM file, see `data.read_user_image`.
        model: a `keras.Model`, from `models.open_model` or `models.load_model`.
        settings: thresholds and calibration of the model, from `reports.load_inference_settings`, or `None` if there
            are none.
        finding: one of `config.LABELS`, the finding of the heat map. If `None`, it is the finding with the highest
            ratio of its odds to the odds of its threshold or, without thresholds, the most probable finding.
        accepted: names of DICOM tags that may say that it is no frontal chest X-ray, see `data.read_user_image`.

    Returns:
        `(table, figure)`: a frame indexed by label, and a `matplotlib.figure.Figure` of the image with the heat map.

        - `probability`: float in [0, 1]; NaN, as all other columns, for a finding that no training image had.
        - `calibrated`: bool, whether `probability` is calibrated (Platt) on validation images.
        - `youden`, `sensitive`, `specific`: float, the thresholds of `config.THRESHOLD_RULES` on the scale of
          `probability`, NaN if none was chosen.
        - `youden_flag`, `sensitive_flag`, `specific_flag`: 1 if `probability` is at or above that threshold, else 0,
          NaN if none was chosen.

        `table.attrs` contains `notes` (list of sentences for the user), `finding` (str, of the heat map) and `shape`
        (height and width of the image in pixels).

    Raises:
        FileNotFoundError: see `data.read_user_image`.
        ValueError: see `data.read_user_image`, the image is smaller than the model's input, or the model does not know
            the finding.
    """
    image, notes = data.read_user_image(path, accepted)
    notes = [*notes, *_limits(model, settings, finding)]
    name, size = Path(path).name, model.input_shape[1]
    if min(image.shape) < size:
        raise ValueError(
            f"{name} has {image.shape[1]}×{image.shape[0]} pixels: expected at least {size}×{size}, the input size "
            "of the model."
        )
    # Resized to a square without keeping the aspect ratio, as NIH did with the training images.
    small = data.resize(image, size)[None]
    table = _table(models.predict(model, small, transforms=_transforms(settings)).astype(np.float64), settings)
    finding = finding or _furthest_above(table)
    heat = explain.layer_cam(model, small, finding)[0]
    table.attrs = {"notes": notes, "finding": finding, "shape": image.shape}
    # Not by pyplot, because a notebook would show the figure twice.
    figure = Figure(figsize=(7, 8), layout="constrained")
    plots.heat_map(image, cv2.resize(heat, image.shape[::-1], interpolation=cv2.INTER_LINEAR), ax=figure.add_subplot())
    # A file name may contain dollar signs, which matplotlib would read as a formula.
    row = describe_prediction(table).loc[finding]
    result = "{}; threshold {}, flagged: {}".format(*row[["probability", "threshold (youden)", "flagged (youden)"]])
    figure.suptitle(f"{name}\n{finding.replace('_', ' ')} {result}", fontsize=11, parse_math=False)
    figure.supxlabel(plots.wrap("\n".join([DISCLAIMER, *notes, _origin(settings)]), 100), fontsize=8)
    return table, figure


def predict_files(model_file, paths, finding=None, out="cxr_predictions", accepted=()):
    """Predicts images, prints the results and saves each image with a heat map as `<image>_<finding>_<model>.png`.

    No file is overwritten: if the name is taken, a number is added to it.

    Args:
        model_file: path of a model's `.h5` file. Without its settings, see `reports.load_inference_settings`, all
            probabilities are uncalibrated.
        paths: list of paths of images.
        finding: see `predict_image`.
        out: path of the folder for the heat maps, which is created if it is missing.
        accepted: see `predict_image`.

    Returns:
        int, 0 if all images were predicted; 1 if an image was rejected, the model, its settings or the finding cannot
        be used, or a heat map cannot be written.

    Raises:
        config.UsageError: `accepted` contains other names than those of `data.ACCEPTABLE_TAGS`.
    """
    if unknown := set(accepted) - set(data.ACCEPTABLE_TAGS):
        raise config.UsageError(
            f"--accept {','.join(sorted(unknown))}: expected one or more of {','.join(data.ACCEPTABLE_TAGS)}."
        )
    try:
        with without_startup_messages():
            model = models.open_model(model_file)
        settings = reports.load_inference_settings(model_file)
        _limits(model, settings, finding)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    name, settings_name = Path(model_file).name, settings_file(model_file).name
    print(f"{DISCLAIMER}\n\n{name}: {models.describe(model, _transforms(settings))}. {_origin(settings)}")
    if settings is None:
        print(f"To calibrate them, copy {settings_name} from the folder that {name} came from; 300 and 311 write it.")
    rejected = False
    for path in map(Path, paths):
        try:
            table, figure = predict_image(path, model, settings, finding, accepted)
        except Exception as error:  # whatever one image does, the others are predicted
            expected = isinstance(error, (OSError, ValueError))
            reason = error if expected else f"{path.name} cannot be predicted ({type(error).__name__})."
            print(f"\nRejected: {reason}", file=sys.stderr)
            rejected = True
            continue
        height, width = table.attrs["shape"]
        print(f"\n{path.name}, {width}×{height} pixels", *table.attrs["notes"], sep="\n")
        print(describe_prediction(table).to_string())
        shown = table.attrs["finding"]
        target = Path(out) / f"{path.stem}_{shown}_{settings_name.removesuffix('_inference.json')}.png"
        try:
            drawn = _save(figure, target)
        except OSError as error:
            print(
                f"{target} cannot be written ({error.strerror}): name a folder where you can write files with --out.",
                file=sys.stderr,
            )
            return 1
        print(f"Heat map of {shown}: {drawn}")
    return int(rejected)


def describe_prediction(table):
    """Formats a table of `predict_image` for readers.

    Args:
        table: frame, from `predict_image`.

    Returns:
        Frame of str indexed by label: `probability`, and for each rule of `config.THRESHOLD_RULES` its threshold and
        whether the image is flagged, such as `threshold (youden)` and `flagged (youden)`.
    """
    percent = {
        column: (100 * table[column]).map("{:.1f} %".format).where(table[column].notna(), "n/a")
        for column in ("probability", *config.THRESHOLD_RULES)
    }
    calibrated = table.calibrated | table.probability.isna()
    columns = {"probability": percent["probability"].where(calibrated, percent["probability"] + " (uncalibrated)")}
    for rule in config.THRESHOLD_RULES:
        columns[f"threshold ({rule})"] = percent[rule]
        columns[f"flagged ({rule})"] = table[f"{rule}_flag"].map({1: "yes", 0: "no"}).fillna("n/a")
    return pd.DataFrame(columns).rename_axis(None)


def _save(figure, path):
    """Writes a figure as `path` or, if that exists, with the first free number in its name; returns the path used."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part.", dir=path.parent) as folder:
        part = Path(folder) / path.name
        figure.savefig(part, dpi=150)
        numbered = (path.with_stem(f"{path.stem}_{number}") for number in itertools.count(2))
        for free in itertools.chain([path], numbered):
            # An empty file reserves the name, which another process may want at the same time.
            with suppress(FileExistsError):
                free.touch(exist_ok=False)
                return part.replace(free)


def _limits(model, settings, finding):
    """Returns a list of sentences on what the model cannot know; raises `ValueError` if it does not know `finding`."""
    absent = [label for label in config.LABELS if label in getattr(model, "stamp", {}).get("absent", [])]
    names = ", ".join(absent).replace("_", " ")
    notes = (
        [f"The model does not know {names}, because no training image, or every one, was labeled so."] if absent else []
    )
    if finding in absent:
        raise ValueError(f"{notes[0]} Choose another finding than {finding} for the heat map.")
    if settings is not None and settings.attrs["synthetic"]:
        notes.append("The model was trained on SYNTHETIC images: its predictions say nothing about a patient.")
    return notes


def _transforms(settings):
    """Returns the transforms of the test-time augmentation with which thresholds and calibration were chosen."""
    return () if settings is None else settings.attrs["transforms"]


def _table(raw, settings):
    """Returns the frame of `predict_image` for the predictions of one image, `(1, 14)`."""
    table = pd.DataFrame({"probability": raw[0], "calibrated": False}, pd.Index(config.LABELS, name="label"))
    table[[rule + end for rule in config.THRESHOLD_RULES for end in ("", "_flag")]] = np.nan
    if settings is None:
        return table
    settings = settings[~np.isnan(raw[0])].reindex(config.LABELS)
    table["probability"], table["calibrated"] = evaluation.apply_platt(raw, settings)[0], settings.slope.notna()
    for name in config.THRESHOLD_RULES:
        threshold = settings[name].to_numpy()
        table[name] = evaluation.apply_platt(threshold[None], settings)[0]
        # Uncalibrated values are compared, so that rounding cannot change the result.
        table[f"{name}_flag"] = np.where(np.isnan(threshold), np.nan, raw[0] >= threshold)
    return table


def _furthest_above(table):
    """Returns the finding with the highest odds relative to its threshold, or the most probable one without any."""
    if table.youden.isna().all():
        return table.probability.idxmax()
    odds = table[["probability", "youden"]].clip(1e-6, 1 - 1e-6)
    odds = odds / (1 - odds)
    return (odds.probability / odds.youden).idxmax()


def _origin(settings):
    """Returns a sentence about where the thresholds and the calibration come from."""
    if settings is None:
        return "The probabilities are UNCALIBRATED, and there are no thresholds."
    rules = "; ".join(f"{rule}: {words}" for rule, words in config.THRESHOLD_RULES.items())
    return (
        f"Thresholds ({rules}) and calibration (Platt) from {settings.attrs['validation_images']:,} validation images. "
        f"{settings.attrs['images']}"
    )
