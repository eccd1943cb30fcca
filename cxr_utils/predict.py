"""Films of one's own: `python -m cxr_utils.predict MODEL.h5 FILM…` tells each finding's probability and draws where the model looks."""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cxr_utils import calibration, config, decisions, film_figures, own_film, pixels
from cxr_utils.files import atomic
from cxr_utils.progress import without_start_up_notes

with without_start_up_notes():
    from cxr_utils import explain, models

NO_DIAGNOSIS = (
    "This is NO DIAGNOSIS. The model was trained on frontal chest films of adults, of one hospital; nothing checks that the film is one. A "
    "physician has to read every film."
)


def predict_film(path, model, decided=None, finding=None):
    """Predicts a film of one's own, and draws where the model looks.

    Args:
        path: of the film: PNG, JPEG or DICOM, as of `own_film.read_own_film`.
        model: a `keras.Model`, of `models.open_model` or `load_model`.
        decided: of `decisions.load`: `None` where no thresholds were chosen.
        finding: one of `config.LABELS`, whose heat is drawn. If `None`, it is the one furthest above its threshold, by odds (without
            thresholds the most probable).

    Returns:
        `(table, figure)`: a frame indexed by label, and a `matplotlib.figure.Figure` of the film with its heat. Columns are
        `probability` in [0, 1], `calibrated` (bool: it was scaled on validation films), and for each of the thresholds
        `youden` and `sensitive` that value, on the probability's scale, and `<name>_call` (1 from the threshold on, else 0). NaN where no
        threshold was chosen. `table.attrs` holds `notes` (list of sentences to be read), `finding` (drawn) and `shape` (of the film).

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: as of `read_own_film`, or the film is smaller than the model takes.
    """
    film, notes = own_film.read_own_film(path)
    name, size = Path(path).name, model.input_shape[1]
    if min(film.shape) < size:
        raise ValueError(
            f"{name} has {film.shape[1]}×{film.shape[0]} pixels: expected at least {size}×{size}, as the model takes."
        )
    # Squeezed to a square, as NIH did with the films the model was trained on.
    small = pixels.resize(film, size)[None]
    raw = models.predict(model, small)
    table = _table(raw.astype(np.float64), decided)
    finding = finding or _furthest_above(table)
    heat = explain.grad_cam(model, small, finding)[0]
    table.attrs = {"notes": notes, "finding": finding, "shape": film.shape}
    # Not by pyplot: a notebook would show it a second time.
    figure = Figure(figsize=(7, 8), layout="constrained")
    whole = cv2.resize(heat, film.shape[::-1], interpolation=cv2.INTER_LINEAR)
    film_figures.heat_map(film, whole, ax=figure.add_subplot())
    # A file's name may hold dollar signs, which are no formula.
    figure.suptitle(f"{name}\n{_told(table, finding)}", fontsize=11, parse_math=False)
    figure.supxlabel(film_figures.wrap("\n".join([NO_DIAGNOSIS, *notes, _origin(decided)]), 100), fontsize=8)
    return table, figure


def main(arguments=None):
    """Predicts films; see `python -m cxr_utils.predict --help`.

    Args:
        arguments: list of strings, `sys.argv` when `None`.

    Returns:
        int, 0 when all films were predicted, 1 when one was refused, the model can't be opened or a heat map can't be written.
    """
    parser = argparse.ArgumentParser(prog="python -m cxr_utils.predict", description=NO_DIAGNOSIS)
    parser.add_argument("model", metavar="MODEL.h5", help="as 200 or 210 has written it, such as cnnmodels/mobilenet_model.h5")
    parser.add_argument("films", metavar="FILM", nargs="+", help="PNG, JPEG or DICOM; its heat map is written into the current folder")
    parser.add_argument("--finding", choices=config.LABELS, metavar="FINDING", help=f"whose heat is drawn: {', '.join(config.LABELS)}")
    given = parser.parse_args(arguments)
    stems = [Path(film).stem for film in given.films]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        parser.error(f"two films are called {twice}: the heat map of one would replace the other's. Give them one at a time.")
    try:
        model = models.open_model(given.model)
        decided = decisions.load(given.model)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{NO_DIAGNOSIS}\n\n{Path(given.model).name}: {models.describe(model)}. {_origin(decided)}")
    refused = 0
    for path in map(Path, given.films):
        try:
            table, figure = predict_film(path, model, decided, given.finding)
        except (OSError, ValueError, ModuleNotFoundError) as error:
            print(f"\nRefused: {error}", file=sys.stderr)
            refused += 1
            continue
        height, width = table.attrs["shape"]
        print(f"\n{path.name}, {width}×{height} pixels", *table.attrs["notes"], describe(table).to_string(), sep="\n")
        drawn = Path(f"{path.stem}_{table.attrs['finding']}.png")
        try:
            with atomic(drawn) as part:
                figure.savefig(part, dpi=150)
        except OSError as error:
            print(f"{drawn} can't be written into {Path.cwd()} ({error.strerror}): start the command in a folder of your own.", file=sys.stderr)
            return 1
        print(f"Where it looks for {table.attrs['finding']}: {drawn}")
    return 1 if refused else 0


def describe(table):
    """Returns a table of `predict_film` as people read it: a frame of strings indexed by label."""
    percent = {column: table[column].map("{:.1%}".format).where(table[column].notna(), "n/a") for column in ("probability", "youden", "sensitive")}
    words = {column: table[f"{column}_call"].map({1: "yes", 0: "no"}).fillna("n/a") for column in ("youden", "sensitive")}
    return pd.DataFrame({
        "probability": percent["probability"].where(table.calibrated, percent["probability"] + " (not calibrated)"),
        "threshold": percent["youden"], "called": words["youden"],
        "threshold for 90 % sensitivity": percent["sensitive"], "called at that": words["sensitive"],
    }).rename_axis(None)  # fmt: skip


def _table(raw, decided):
    """Returns the frame of `predict_film` of one film's predictions, `(1, 14)`."""
    table = pd.DataFrame({"probability": raw[0], "calibrated": False}, pd.Index(config.LABELS, name="label"))
    table[["youden", "youden_call", "sensitive", "sensitive_call"]] = np.nan
    if decided is None:
        return table
    table["probability"], table["calibrated"] = calibration.apply_scaling(raw, decided)[0], decided.slope.notna()
    for name in ("youden", "sensitive"):
        threshold = decided[name].to_numpy()
        table[name] = calibration.apply_scaling(threshold[None], decided)[0]
        # By unscaled values: rounding must not turn a call.
        table[f"{name}_call"] = np.where(np.isnan(threshold), np.nan, raw[0] >= threshold)
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
    row = describe(table).loc[finding]
    return f"{finding.replace('_', ' ')} {row.probability}; threshold {row.threshold}, called: {row.called}"


def _origin(decided):
    """Says where thresholds and scaling come from."""
    if decided is None:
        return "Without thresholds and scaling: 300 or 311 chooses them and writes them into the model."
    return f"Thresholds and scaling from {decided.attrs['validation_films']:,} validation films. {decided.attrs['films']}"


if __name__ == "__main__":
    sys.exit(main())
