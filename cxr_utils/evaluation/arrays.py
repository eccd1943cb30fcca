"""Labels and predictions: the check of both arrays, and which findings have enough patients to be evaluated."""

import numpy as np

from cxr_utils import config
from cxr_utils.evaluation import intervals

# With fewer patients with or without the finding than this, a metric is too uncertain to report: it is n/a.
MIN_CASES = 10


def count_patients(images, patients=None):
    """Counts the patients with at least one image of a kind.

    Args:
        images: `(n, k)` bool, whether each image is of each kind.
        patients: `(n,)`, patient ID of each image, or `None` if each image is of another patient.

    Returns:
        `(k,)` int.
    """
    return np.count_nonzero(images if patients is None else intervals.by_patient(patients, images)[0], axis=0)


def enough_cases(y_true, *predictions, patients=None, min_cases=MIN_CASES):
    """Returns which findings can be evaluated: enough patients with and without the finding, and predictions.

    Args:
        y_true: `(n, k)` 0 or 1.
        *predictions: `(n, k)` in [0, 1], of each model that is evaluated; NaN where it cannot predict a finding.
        patients: `(n,)`, patient ID of each image, or `None` if each image is of another patient.
        min_cases: int, number of patients that is enough: as many need an image with the finding, and as many an image
            without it.

    Returns:
        `(k,)` bool.
    """
    enough = np.all([count_patients(y_true == value, patients) >= min_cases for value in (0, 1)], axis=0)
    return enough & ~np.any([np.isnan(y_prob).any(axis=0) for y_prob in predictions], axis=0)


def check_arrays(y_true, y_prob):
    """Checks the shape and the values of labels and predictions.

    Args:
        y_true: `(n, 14)` 0 or 1.
        y_prob: `(n, 14)` in [0, 1], or NaN in all rows of some findings, but not of all 14.

    Raises:
        ValueError: An argument is not a NumPy array, a shape is not `(n, 14)`, the shapes differ, a label is not 0 or
            1, or another prediction is not a number in [0, 1].
    """
    columns = len(config.LABELS)
    for name, values, source in (("Labels", y_true, "data.targets"), ("Predictions", y_prob, "models.predict")):
        # Iterating over a DataFrame gives the names of its columns, not their values.
        if not isinstance(values, np.ndarray):
            raise ValueError(
                f"{name} are of type {type(values).__name__}; expected a NumPy array of shape (n, {columns}), "
                f"as returned by {source}."
            )
    if y_true.shape != y_prob.shape or y_true.ndim != 2 or y_true.shape[1] != columns:
        raise ValueError(
            f"Labels have shape {y_true.shape} and predictions have shape {y_prob.shape}; "
            f"expected ({len(y_true)}, {columns}) for both."
        )
    unpredicted = np.isnan(y_prob).all(axis=0) & ~np.isnan(y_prob).all()
    for name, values, valid in (
        ("predictions are not numbers in [0, 1]", y_prob, (y_prob >= 0) & (y_prob <= 1) | unpredicted),
        ("labels are not 0 or 1", y_true, (y_true == 0) | (y_true == 1)),
    ):
        if not valid.all():
            raise ValueError(f"{(~valid).sum()} of {valid.size} {name}; the first is {values[~valid][0]}.")
