"""From probabilities to calls: thresholds and scaling, chosen on validation films and kept inside the model's file."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from cxr_utils import calibration, config, evaluation, resampling
from cxr_utils.files import atomic

SENSITIVITY = 0.9
COUNTS = ["true_positives", "false_positives", "false_negatives", "true_negatives"]
_NOTE = "cxr_utils_decisions"


def decide(y_true, y_prob):
    """Chooses each finding's thresholds and scaling. On validation films, never on test films.

    Args:
        y_true: `(n, 14)` 0 or 1, of validation films.
        y_prob: `(n, 14)` in [0, 1], as the model gives them.

    Returns:
        Frame indexed by label: `youden` (threshold of highest sensitivity + specificity, Youden 1950), `sensitive` (the highest one
        that finds at least 90 % of the films with the finding), `slope` and `intercept` (of `calibration.fit_scaling`). A film is called
        from the threshold on. NaN for a finding with fewer than `evaluation.MIN_CASES` films with or without it; `youden` also where no
        threshold is better than chance.
    """
    table = calibration.fit_scaling(y_true, y_prob)
    table.insert(0, "youden", np.nan)
    table.insert(1, "sensitive", np.nan)
    for finding in np.flatnonzero(evaluation.enough(y_true)):
        fpr, tpr, cuts = roc_curve(y_true[:, finding], y_prob[:, finding], drop_intermediate=False)
        # The curve begins with calling no film at all, from infinity on: chance, and no threshold.
        youden = cuts[np.argmax(tpr - fpr)]
        table.iloc[finding, :2] = youden if np.isfinite(youden) else np.nan, cuts[np.argmax(tpr >= SENSITIVITY)]
    return table


def save(decisions, name, films, validation_films):
    """Writes decisions into `cnnmodels/<name>_model.h5`, where a prediction of a single film finds them again.

    Args:
        decisions: of `decide`.
        name: `"baseline"` or `"mobilenet"`.
        films: where the validation films come from, in words.
        validation_films: int, how many they were.
    """
    path = config.home() / "cnnmodels" / f"{name}_model.h5"
    # NaN is no JSON.
    values = {label: {c: None if np.isnan(v) else v for c, v in row.items()} for label, row in decisions.iterrows()}
    with atomic(path) as part:
        shutil.copyfile(path, part)
        with h5py.File(part, "r+") as file:
            file.attrs[_NOTE] = json.dumps({"films": films, "validation_films": validation_films, "findings": values})


def load(path):
    """Reads the decisions of a model.

    Args:
        path: of a model's `.h5`.

    Returns:
        Frame as of `decide`, with `attrs["films"]` and `attrs["validation_films"]`; `None` when none were written.

    Raises:
        ValueError: the file is no HDF5.
    """
    try:
        with h5py.File(path) as file:
            note = file.attrs.get(_NOTE)
    except OSError as error:
        raise ValueError(f"{Path(path).name} can't be opened as HDF5 ({error}): expected a model's .h5, as 200 and 210 write it.") from error
    if note is None:
        return None
    note = json.loads(note)
    table = pd.DataFrame.from_dict(note.pop("findings"), orient="index", dtype=float).rename_axis("label")
    table.attrs = note
    return table


def operating_table(y_true, y_prob, thresholds, patients=None):
    """Counts what a model gets right and wrong when it calls a finding from its threshold on.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1].
        thresholds: Series indexed by label; NaN leaves a finding out.
        patients: `(n,)`, whose film it is, or `None` for no intervals.

    Returns:
        Frame indexed by label: `threshold`, `true_positives`, `false_positives`, `false_negatives`, `true_negatives` (films),
        `sensitivity`, `specificity` (NaN with fewer than `evaluation.MIN_CASES` films with or without the finding), `ppv` and `npv` (at
        the prevalence of these films; NaN when no film is called, or none is not), each of the four followed by its 95 % interval by
        patient bootstrap, such as `sensitivity_lower`, `sensitivity_upper`; `fp_per_1000`, `fn_per_1000` (films of 1,000).

    Raises:
        ValueError: predictions don't match (`evaluation.check`), or a film has no patient.
    """
    evaluation.check(y_true, y_prob)
    true, called = y_true.astype(bool), y_prob >= thresholds[config.LABELS].to_numpy()
    table = thresholds[config.LABELS].to_frame("threshold")
    found, cleared = true & called, ~true & ~called
    for name, films in zip(COUNTS, (found, ~true & called, true & ~called, cleared)):
        table[name] = films.sum(axis=0)
    shares = {"sensitivity": (found, true), "specificity": (cleared, ~true), "ppv": (found, called), "npv": (cleared, ~called)}
    for name, (hits, cases) in shares.items():
        with np.errstate(invalid="ignore"):
            table[name] = hits.sum(axis=0) / cases.sum(axis=0)
        if patients is not None:
            limits = resampling.interval(resampling.bootstrap_share(hits, cases, patients))
            table[f"{name}_lower"], table[f"{name}_upper"] = limits
    table.loc[~evaluation.enough(y_true), [name for name in table if name.startswith(("sensitivity", "specificity"))]] = np.nan
    for name, count in (("fp_per_1000", "false_positives"), ("fn_per_1000", "false_negatives")):
        table[name] = 1000 * table[count] / len(y_true)
    return table.dropna(subset="threshold")


def describe_errors(table):
    """Says which finding of a table of `operating_table` is most often called in vain, and which is most often missed."""
    table = table.dropna(subset="sensitivity")
    if table.empty:
        return "No finding is on enough films to be judged at a threshold."
    vain, missed = table.fp_per_1000.idxmax(), table.fn_per_1000.idxmax()
    return (
        f"Most often called in vain: {vain.replace('_', ' ')}, {table.fp_per_1000[vain]:.0f} of 1,000 films; most often missed: "
        f"{missed.replace('_', ' ')}, {table.fn_per_1000[missed]:.0f} of 1,000."
    )
