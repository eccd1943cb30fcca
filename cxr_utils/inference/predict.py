"""Predicts a user's own images and draws heat maps; the command `cxr predict` uses it."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cxr_utils import config, data, evaluation, plots, reports, without_startup_messages
from cxr_utils._files import atomic

with without_startup_messages():
    from cxr_utils import explain, models

DISCLAIMER = (
    "This is NOT A DIAGNOSIS. The model was trained on frontal chest X-rays, mostly of adults, from one hospital. The "
    "content of an image is not checked. A physician has to read every image."
)


def predict_image(path, model, settings=None, finding=None):
    """Predicts one image and draws it with a heat map.

    Args:
        path: of a PNG, JPEG or DICOM file, see `data.read_user_image`.
        model: a `keras.Model`, from `models.open_model` or `models.load_model`.
        settings: thresholds and calibration of the model, from `reports.load_inference_settings`, or `None` if there
            are none.
        finding: one of `config.LABELS`, the finding of the heat map. If `None`, it is the finding with the highest
            ratio of its odds to the odds of its threshold or, without thresholds, the most probable finding.

    Returns:
        `(table, figure)`: a frame indexed by label, and a `matplotlib.figure.Figure` of the image with the heat map.

        - `probability`: float in [0, 1].
        - `calibrated`: bool, whether `probability` is calibrated (Platt) on validation images.
        - `youden`, `sensitive`: float, the two thresholds on the scale of `probability`, NaN if none was chosen.
        - `youden_flag`, `sensitive_flag`: 1 if `probability` is at or above that threshold, else 0, NaN if none was
          chosen.

        `table.attrs` contains `notes` (list of sentences for the user), `finding` (str, of the heat map) and `shape`
        (height and width of the image in pixels).

    Raises:
        FileNotFoundError, ModuleNotFoundError: see `data.read_user_image`.
        ValueError: see `data.read_user_image`, or the image is smaller than the model's input.
    """
    image, notes = data.read_user_image(path)
    name, size = Path(path).name, model.input_shape[1]
    if min(image.shape) < size:
        raise ValueError(
            f"{name} has {image.shape[1]}×{image.shape[0]} pixels: expected at least {size}×{size}, the input size "
            "of the model."
        )
    # Resized to a square without keeping the aspect ratio, as NIH did with the training images.
    small = data.resize(image, size)[None]
    raw = models.predict(model, small)
    table = _table(raw.astype(np.float64), settings)
    finding = finding or _furthest_above(table)
    heat = explain.grad_cam(model, small, finding)[0]
    table.attrs = {"notes": notes, "finding": finding, "shape": image.shape}
    # Not by pyplot, because a notebook would show the figure twice.
    figure = Figure(figsize=(7, 8), layout="constrained")
    whole = cv2.resize(heat, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    plots.heat_map(image, whole, ax=figure.add_subplot())
    # A file name may contain dollar signs, which matplotlib would read as a formula.
    figure.suptitle(f"{name}\n{_result(table, finding)}", fontsize=11, parse_math=False)
    figure.supxlabel(plots.wrap("\n".join([DISCLAIMER, *notes, _origin(settings)]), 100), fontsize=8)
    return table, figure


def predict_files(model_file, paths, finding=None):
    """Predicts images, prints the results and saves each image with a heat map in the current folder.

    Args:
        model_file: path of a model's `.h5` file.
        paths: list of paths of images.
        finding: see `predict_image`.

    Returns:
        int, 0 if all images were predicted; 1 if an image was rejected, the model cannot be opened or a heat map cannot
        be written.

    Raises:
        config.UsageError: two images have the same name.
    """
    stems = [Path(path).stem for path in paths]
    duplicate = next((stem for stem in stems if stems.count(stem) > 1), None)
    if duplicate is not None:
        raise config.UsageError(
            f"two images are named {duplicate}, so one heat map would replace the other: rename one image"
        )
    try:
        model = models.open_model(model_file)
        settings = reports.load_inference_settings(model_file)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{DISCLAIMER}\n\n{Path(model_file).name}: {models.describe(model)}. {_origin(settings)}")
    rejected = 0
    for path in map(Path, paths):
        try:
            table, figure = predict_image(path, model, settings, finding)
        except (OSError, ValueError, ModuleNotFoundError) as error:
            print(f"\nRejected: {error}", file=sys.stderr)
            rejected += 1
            continue
        height, width = table.attrs["shape"]
        print(f"\n{path.name}, {width}×{height} pixels", *table.attrs["notes"], sep="\n")
        print(describe_prediction(table).to_string())
        drawn = Path(f"{path.stem}_{table.attrs['finding']}.png")
        try:
            with atomic(drawn) as part:
                figure.savefig(part, dpi=150)
        except OSError as error:
            print(
                f"{drawn} cannot be written in {Path.cwd()} ({error.strerror}): run the command in a folder "
                "where you can write files.",
                file=sys.stderr,
            )
            return 1
        print(f"Heat map of {table.attrs['finding']}: {drawn}")
    return 1 if rejected else 0


def describe_prediction(table):
    """Formats a table of `predict_image` for readers.

    Args:
        table: frame, from `predict_image`.

    Returns:
        Frame of str indexed by label: `probability`, `threshold`, `flagged`, `threshold for 90 % sensitivity` and
        `flagged at that threshold`.
    """
    percent = {
        column: (100 * table[column]).map("{:.1f} %".format).where(table[column].notna(), "n/a")
        for column in ("probability", "youden", "sensitive")
    }
    flagged = {
        column: table[f"{column}_flag"].map({1: "yes", 0: "no"}).fillna("n/a") for column in ("youden", "sensitive")
    }
    columns = {
        "probability": percent["probability"].where(table.calibrated, percent["probability"] + " (uncalibrated)"),
        "threshold": percent["youden"],
        "flagged": flagged["youden"],
        "threshold for 90 % sensitivity": percent["sensitive"],
        "flagged at that threshold": flagged["sensitive"],
    }
    return pd.DataFrame(columns).rename_axis(None)


def _table(raw, settings):
    """Returns the frame of `predict_image` for the predictions of one image, `(1, 14)`."""
    table = pd.DataFrame({"probability": raw[0], "calibrated": False}, pd.Index(config.LABELS, name="label"))
    table[["youden", "youden_flag", "sensitive", "sensitive_flag"]] = np.nan
    if settings is None:
        return table
    table["probability"], table["calibrated"] = evaluation.apply_platt(raw, settings)[0], settings.slope.notna()
    for name in ("youden", "sensitive"):
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


def _result(table, finding):
    """Returns the result of one finding in words: probability, threshold and whether it is flagged."""
    row = describe_prediction(table).loc[finding]
    return f"{finding.replace('_', ' ')} {row.probability}; threshold {row.threshold}, flagged: {row.flagged}"


def _origin(settings):
    """Returns a sentence about where the thresholds and the calibration come from."""
    if settings is None:
        return "No thresholds and no calibration: run 300 or 311 to choose them and save them with the model."
    images = settings.attrs["validation_images"]
    return f"Thresholds and calibration (Platt) from {images:,} validation images. {settings.attrs['images']}"
