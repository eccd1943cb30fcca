"""Predictions and heat maps of a user's own images: the subcommand `cxr predict`."""

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

NO_DIAGNOSIS = (
    "This is NO DIAGNOSIS. The model was trained on frontal chest X-rays of adults, of one hospital; nothing checks that the image is one. A "
    "physician has to read every image."
)


def predict_image(path, model, decided=None, finding=None):
    """Predicts an image of one's own, and draws where the model looks.

    Args:
        path: of the image: PNG, JPEG or DICOM, as of `data.read_user_image`.
        model: a `keras.Model`, of `models.open_model` or `load_model`.
        decided: of `reports.load_inference_settings`: `None` where no thresholds were chosen.
        finding: one of `config.LABELS`, whose heat is drawn. If `None`, it is the one furthest above its threshold, by odds (without
            thresholds the most probable).

    Returns:
        `(table, figure)`: a frame indexed by label, and a `matplotlib.figure.Figure` of the image with its heat. Columns are
        `probability` in [0, 1], `calibrated` (bool: it was scaled on validation images), and for each of the thresholds
        `youden` and `sensitive` that value, on the probability's scale, and `<name>_call` (1 from the threshold on, else 0). NaN where no
        threshold was chosen. `table.attrs` holds `notes` (list of sentences to be read), `finding` (drawn) and `shape` (of the image).

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: as of `read_user_image`, or the image is smaller than the model takes.
    """
    image, notes = data.read_user_image(path)
    name, size = Path(path).name, model.input_shape[1]
    if min(image.shape) < size:
        raise ValueError(
            f"{name} has {image.shape[1]}×{image.shape[0]} pixels: expected at least {size}×{size}, as the model takes."
        )
    # Squeezed to a square, as NIH did with the images the model was trained on.
    small = data.resize(image, size)[None]
    raw = models.predict(model, small)
    table = _table(raw.astype(np.float64), decided)
    finding = finding or _furthest_above(table)
    heat = explain.grad_cam(model, small, finding)[0]
    table.attrs = {"notes": notes, "finding": finding, "shape": image.shape}
    # Not by pyplot: a notebook would show it a second time.
    figure = Figure(figsize=(7, 8), layout="constrained")
    whole = cv2.resize(heat, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    plots.heat_map(image, whole, ax=figure.add_subplot())
    # A file's name may hold dollar signs, which are no formula.
    figure.suptitle(f"{name}\n{_told(table, finding)}", fontsize=11, parse_math=False)
    figure.supxlabel(plots.wrap("\n".join([NO_DIAGNOSIS, *notes, _origin(decided)]), 100), fontsize=8)
    return table, figure


def predict_files(model_file, paths, finding=None):
    """Predicts images, prints the results and writes each image with a heat map into the current folder.

    Args:
        model_file: path of a model's `.h5`.
        paths: list of paths of images.
        finding: as of `predict_image`.

    Returns:
        int, 0 when all images were predicted, 1 when one was rejected, the model can not be opened or a heat map can not be written.

    Raises:
        ValueError: two images have the same name.
    """
    stems = [Path(path).stem for path in paths]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise ValueError(
            f"two images are called {twice}: the heat map of one would replace the other's. Give them one at a time."
        )
    try:
        model = models.open_model(model_file)
        decided = reports.load_inference_settings(model_file)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{NO_DIAGNOSIS}\n\n{Path(model_file).name}: {models.describe(model)}. {_origin(decided)}")
    refused = 0
    for path in map(Path, paths):
        try:
            table, figure = predict_image(path, model, decided, finding)
        except (OSError, ValueError, ModuleNotFoundError) as error:
            print(f"\nRefused: {error}", file=sys.stderr)
            refused += 1
            continue
        height, width = table.attrs["shape"]
        print(
            f"\n{path.name}, {width}×{height} pixels",
            *table.attrs["notes"],
            describe_prediction(table).to_string(),
            sep="\n",
        )
        drawn = Path(f"{path.stem}_{table.attrs['finding']}.png")
        try:
            with atomic(drawn) as part:
                figure.savefig(part, dpi=150)
        except OSError as error:
            print(
                f"{drawn} can't be written into {Path.cwd()} ({error.strerror}): start the command in a folder of your own.",
                file=sys.stderr,
            )
            return 1
        print(f"Where it looks for {table.attrs['finding']}: {drawn}")
    return 1 if refused else 0


def describe_prediction(table):
    """Returns a table of `predict_image` as people read it: a frame of strings indexed by label."""
    percent = {
        column: table[column].map("{:.1%}".format).where(table[column].notna(), "n/a")
        for column in ("probability", "youden", "sensitive")
    }
    words = {
        column: table[f"{column}_flag"].map({1: "yes", 0: "no"}).fillna("n/a") for column in ("youden", "sensitive")
    }
    return pd.DataFrame({
        "probability": percent["probability"].where(table.calibrated, percent["probability"] + " (not calibrated)"),
        "threshold": percent["youden"], "called": words["youden"],
        "threshold for 90 % sensitivity": percent["sensitive"], "called at that": words["sensitive"],
    }).rename_axis(None)  # fmt: skip


def _table(raw, decided):
    """Returns the frame of `predict_image` of one image's predictions, `(1, 14)`."""
    table = pd.DataFrame({"probability": raw[0], "calibrated": False}, pd.Index(config.LABELS, name="label"))
    table[["youden", "youden_flag", "sensitive", "sensitive_flag"]] = np.nan
    if decided is None:
        return table
    table["probability"], table["calibrated"] = evaluation.apply_platt(raw, decided)[0], decided.slope.notna()
    for name in ("youden", "sensitive"):
        threshold = decided[name].to_numpy()
        table[name] = evaluation.apply_platt(threshold[None], decided)[0]
        # By unscaled values: rounding must not turn a call.
        table[f"{name}_flag"] = np.where(np.isnan(threshold), np.nan, raw[0] >= threshold)
    return table


def _furthest_above(table):
    """Returns the finding furthest above its threshold, by the ratio of odds; the most probable where there are no thresholds."""
    if table.youden.isna().all():
        return table.probability.idxmax()
    odds = table[["probability", "youden"]].clip(1e-6, 1 - 1e-6)
    odds = odds / (1 - odds)
    return (odds.probability / odds.youden).idxmax()


def _told(table, finding):
    """Says probability and call of a finding."""
    row = describe_prediction(table).loc[finding]
    return f"{finding.replace('_', ' ')} {row.probability}; threshold {row.threshold}, called: {row.called}"


def _origin(decided):
    """Says where thresholds and scaling come from."""
    if decided is None:
        return "Without thresholds and scaling: 300 or 311 chooses them and writes them into the model."
    return f"Thresholds and scaling from {decided.attrs['validation_images']:,} validation images. {decided.attrs['images']}"
