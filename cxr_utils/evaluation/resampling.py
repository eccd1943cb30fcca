"""Patient-level (cluster) bootstrap: 95 % percentile intervals from resampling patients with replacement.

A patient is resampled with all images, because images of the same patient are correlated. Resampling images instead
would give intervals that are too narrow (Efron & Tibshirani 1993, ch. 8; Field & Welsh 2007 on clusters). With the same
patients and seed, two models are evaluated on the same resamples, so the differences between their values are paired.
"""

import numpy as np
import pandas as pd
from scipy import sparse

from cxr_utils import config

RESAMPLES = 2000
PERCENTILES = [2.5, 97.5]  # of a 95 % interval
_CHUNK = 200  # Resamples computed at once; limits memory.


def bootstrap_auroc(y_true, y_prob, patients, resamples=RESAMPLES, seed=config.SEED):
    """Computes AUROC and average precision of each column on each bootstrap resample.

    Args:
        y_true: `(n, k)` 0 or 1.
        y_prob: `(n, k)` in [0, 1], or any scores.
        patients: `(n,)`, patient ID of each image.
        resamples: int, number of resamples.
        seed: int, seed of the random generator.

    Returns:
        `(2, resamples, k)` float64: AUROC (NaN for a resample without a positive or without a negative image) and
        average precision (NaN for a resample without a positive image).

    Raises:
        ValueError: An image has no patient ID, or the number of patient IDs is not the number of images.
    """
    codes, count = _number_patients(patients, len(y_true))
    findings = [_count_by_patient(true, prob, codes, count) for true, prob in zip(y_true.T, y_prob.T, strict=True)]
    samples = np.empty((2, resamples, len(findings)))
    for chunk, weights in _weights(count, resamples, seed):
        for finding, (positives, negatives) in enumerate(findings):
            samples[:, chunk, finding] = _auroc_and_precision(positives @ weights, negatives @ weights)
    return samples


def bootstrap_share(hits, cases, patients, resamples=RESAMPLES, seed=config.SEED):
    """Computes one or more proportions on each bootstrap resample.

    Args:
        hits: `(n,)` or `(n, k)`, numerator of each image, such as its number of false negatives.
        cases: same shape, denominator of each image, such as its number of positive labels.
        patients: `(n,)`, patient ID of each image.
        resamples: int, number of resamples.
        seed: int, seed of the random generator.

    Returns:
        `(resamples,)` or `(resamples, k)` float64: sum of `hits` / sum of `cases`; NaN for a resample without a case.

    Raises:
        ValueError: An image has no patient ID, or the number of patient IDs is not the number of images.
    """
    hits, cases = (values.T for values in by_patient(patients, hits, cases))
    samples = np.empty((resamples, *hits.shape[:-1]))
    for chunk, weights in _weights(hits.shape[-1], resamples, seed):
        samples[chunk] = divide(hits @ weights, cases @ weights).T
    return samples


def by_patient(patients, *values):
    """Sums values over the images of each patient.

    Args:
        patients: `(n,)`, patient ID of each image.
        *values: `(n,)` or `(n, k)`, of each image.

    Returns:
        List of `(patients,)` or `(patients, k)` float64.

    Raises:
        ValueError: An image has no patient ID, or the number of patient IDs is not the number of images.
    """
    codes, count = _number_patients(patients, len(values[0]))
    membership = sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(count, len(codes)))
    return [membership @ np.asarray(value, np.float64) for value in values]


def percentile_interval(samples):
    """Computes the 95 % percentile interval, ignoring NaN.

    Args:
        samples: `(resamples,)` or `(resamples, k)`.

    Returns:
        `(2,)` or `(2, k)` float64, lower and upper limit; NaN where all samples are NaN.
    """
    # Unlike NumPy, pandas does not warn of a column that is NaN everywhere.
    limits = pd.DataFrame(samples).quantile(np.divide(PERCENTILES, 100))
    return limits.to_numpy().reshape(2, *samples.shape[1:])


def mean_deviations(values, samples):
    """Computes how far the mean of several values is from its estimate on each bootstrap resample.

    A resample may contain no image with a rare finding. The mean of the other findings' values would then be at another
    level; the mean of their deviations from the estimates is not.

    Args:
        values: `(k,)`, the estimates.
        samples: `(resamples, k)`, the values on each resample; NaN where a value is not defined.

    Returns:
        `(resamples,)` float64.
    """
    # Unlike NumPy, pandas does not warn of a resample in which no value is defined.
    return pd.DataFrame(samples - values).mean(axis=1).to_numpy()


def with_mean(values, samples):
    """Computes the 95 % intervals of several values and of their mean.

    Args:
        values: `(k,)`, the estimates.
        samples: `(resamples, k)`, the values on each resample, or `None` for no intervals.

    Returns:
        `(k + 1, 3)` float64: estimate, lower and upper limit of each value and, in the last row, of their mean. The
        limits are NaN without `samples`.
    """
    mean, limits = np.mean(values), np.full((2, len(values) + 1), np.nan)
    if samples is not None:
        of_mean = mean + percentile_interval(mean_deviations(values, samples))
        limits = np.column_stack([percentile_interval(samples), of_mean])
    return np.column_stack([[*values, mean], *limits])


def divide(numerators, denominators, otherwise=np.nan):
    """Divides arrays, without a warning of zeros.

    Args:
        numerators: array of numbers.
        denominators: array of numbers ≥ 0, of the same shape.
        otherwise: float, the result where a denominator is 0.

    Returns:
        Array of that shape, float64.
    """
    return np.divide(
        numerators, denominators, out=np.full(denominators.shape, otherwise, float), where=denominators > 0
    )


def _number_patients(patients, images):
    """Returns `(images,)` int with the number of each image's patient, and the number of patients."""
    patients = np.asarray([] if patients is None else patients)
    missing = pd.isna(patients).sum()
    if patients.shape != (images,) or missing:
        raise ValueError(
            f"Found {patients.size:,} patient IDs for {images:,} images, {missing:,} of them missing; expected one per "
            "image (column patientID of the images' table)."
        )
    codes, names = pd.factorize(patients)
    return codes, len(names)


def _weights(count, resamples, seed):
    """Yields the resamples in chunks: a slice of them, and how often each contains each of the `count` patients."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        stop = min(start + _CHUNK, resamples)
        weights = [np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(start, stop)]
        yield slice(start, stop), np.stack(weights, axis=1).astype(np.float64)


def _auroc_and_precision(positives, negatives):
    """Computes AUROC and average precision `(2, resamples)` from the counts of images by score.

    Args:
        positives: `(k, resamples)`, counts of positive images in the rows of `_count_by_patient`.
        negatives: `(2k + 1, resamples)`, counts of negative images in the rows of `_count_by_patient`.
    """
    # For each score of a positive image: negative images with a lower score, and half of those with the same score.
    below = np.cumsum(negatives, axis=0)[:-1:2] + negatives[1::2] / 2
    all_positives, all_negatives = positives.sum(axis=0), negatives.sum(axis=0)
    # Recall changes only at scores of positive images, so these are the only thresholds needed.
    true_positives = np.cumsum(positives[::-1], axis=0)[::-1]
    false_positives = np.cumsum(negatives[::-1], axis=0)[::-1][1::2]
    flagged = true_positives + false_positives
    precision = divide(true_positives, flagged, 0)
    area = divide((positives * below).sum(axis=0), all_positives * all_negatives)
    return area, divide((positives * precision).sum(axis=0), all_positives)


def _count_by_patient(true, prob, codes, patients):
    """Counts the images of each patient by the position of their scores among the k distinct scores of positive images.

    AUROC is the share of pairs of a positive and a negative image in which the positive image has the higher score;
    ties count half. These counts, computed once, are enough to compute it for every resample of patients.

    Returns:
        Two sparse matrices: positive images by score `(k, patients)`, and negative images `(2k + 1, patients)`, with
        the images between scores i - 1 and i in row 2i and those with exactly score i in row 2i + 1.
    """
    scores, positive_rows = np.unique(prob[true == 1], return_inverse=True)
    rest = prob[true == 0]
    negative_rows = np.searchsorted(scores, rest, "left") + np.searchsorted(scores, rest, "right")
    return tuple(
        sparse.csr_array((np.ones(len(rows)), (rows, codes[true == value])), shape=(count, patients))
        for value, rows, count in ((1, positive_rows, len(scores)), (0, negative_rows, 2 * len(scores) + 1))
    )
