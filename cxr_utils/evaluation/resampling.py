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
        Two `(resamples, k)` float64 arrays: AUROC (NaN for a resample without a positive or without a negative image)
        and average precision (NaN for a resample without a positive image).

    Raises:
        ValueError: An image has no patient ID, or the number of patient IDs is not the number of images.
    """
    findings = None
    samples = np.empty((2, resamples, y_prob.shape[1]))
    for chunk, codes, weights in _resample(patients, len(y_true), resamples, seed):
        if findings is None:
            findings = [
                _count_by_patient(true, prob, codes, len(weights))
                for true, prob in zip(y_true.T, y_prob.T, strict=True)
            ]
        for finding, (positive, negative) in enumerate(findings):
            positives, negatives = positive @ weights, negative @ weights
            with np.errstate(invalid="ignore"):
                samples[:, chunk, finding] = _auroc_and_precision(positives, negatives)
    return samples[0], samples[1]


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
    samples, sums = np.empty((resamples, *np.shape(hits)[1:])), None
    for chunk, codes, weights in _resample(patients, len(cases), resamples, seed):
        if sums is None:
            membership = sparse.csr_array(
                (np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(len(weights), len(codes))
            )
            sums = [(membership @ np.asarray(values, np.float64)).T for values in (hits, cases)]
        hit, case = (values @ weights for values in sums)
        with np.errstate(invalid="ignore"):
            samples[chunk] = (hit / case).T
    return samples


def percentile_interval(samples):
    """Computes the 95 % percentile interval, ignoring NaN.

    Args:
        samples: `(resamples,)` or `(resamples, k)`.

    Returns:
        `(2,)` or `(2, k)` float64, lower and upper limit; NaN where all samples are NaN.
    """
    limits = np.full((2, *samples.shape[1:]), np.nan)
    known = np.isfinite(samples).any(axis=0)
    limits[:, known] = np.nanpercentile(samples[:, known], PERCENTILES, axis=0)
    return limits


def describe_significance(lower, upper):
    """States whether a difference with this 95 % interval is statistically significant."""
    if lower > 0 or upper < 0:
        return "statistically significant difference (95 % CI excludes 0)"
    return "no statistically significant difference (95 % CI includes 0)"


def _resample(patients, images, resamples, seed):
    """Yields the resamples in chunks.

    Yields:
        Slice of the resamples in the chunk, `(images,)` int with the number of each image's patient, and
        `(patients, resamples of the chunk)` float64 with how often each resample contains each patient.
    """
    patients = np.asarray([] if patients is None else patients)
    missing = pd.isna(patients).sum()
    if patients.shape != (images,) or missing:
        raise ValueError(
            f"Found {patients.size:,} patient IDs for {images:,} images, {missing:,} of them missing; expected one per "
            "image (column patientID of the images' table)."
        )
    codes, names = pd.factorize(patients)
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        chunk = slice(start, min(start + _CHUNK, resamples))
        weights = [
            np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
            for _ in range(chunk.stop - chunk.start)
        ]
        yield chunk, codes, np.stack(weights, axis=1).astype(np.float64)


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
    precision = np.divide(true_positives, flagged, out=np.zeros_like(flagged), where=flagged > 0)
    area = (positives * below).sum(axis=0) / (all_positives * all_negatives)
    return area, (positives * precision).sum(axis=0) / all_positives


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
