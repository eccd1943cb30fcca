"""95 % intervals by drawing patients with replacement.

Images of one patient resemble each other: drawing images instead would give intervals that are too narrow (Efron & Tibshirani 1993,
ch. 8; Field & Welsh 2007 on clusters). With the same patients and seed two models get the same draws, so differences of their
samples are paired.
"""

import numpy as np
import pandas as pd
from scipy import sparse

from cxr_utils import config

RESAMPLES = 2000
_DRAWS = 200  # resamples at once, for the sake of memory


def bootstrap_auroc(y_true, y_prob, patients, resamples=RESAMPLES, seed=config.SEED):
    """Computes AUROC and average precision of each column on the images of each draw.

    Args:
        y_true: `(n, k)` 0 or 1.
        y_prob: `(n, k)`.
        patients: `(n,)`, whose image it is.
        resamples: int.
        seed: int.

    Returns:
        Two `(resamples, k)` float64: AUROC, NaN where a draw held no positive or no negative image, and average precision,
        NaN where it held no positive one.

    Raises:
        ValueError: an image has no patient, or their number is not that of the images.
    """
    counts = None
    samples = np.empty((2, resamples, y_prob.shape[1]))
    for some, codes, drawn in _drawn(patients, len(y_true), resamples, seed):
        if counts is None:
            counts = [_count_by_patient(true, prob, codes, len(drawn)) for true, prob in zip(y_true.T, y_prob.T)]
        for finding, (positive, negative) in enumerate(counts):
            found, missed = positive @ drawn, negative @ drawn
            with np.errstate(invalid="ignore"):
                samples[:, some, finding] = _auroc_and_precision(found, missed)
    return samples[0], samples[1]


def bootstrap_share(hits, cases, patients, resamples=RESAMPLES, seed=config.SEED):
    """Computes a share of images on the images of each draw, or several shares.

    Args:
        hits: `(n,)` or `(n, k)` numbers, how often it was so on each image.
        cases: the same, how often it could have been.
        patients: `(n,)`, whose image it is.
        resamples: int.
        seed: int.

    Returns:
        `(resamples,)` or `(resamples, k)` float64, NaN where a draw held no case.

    Raises:
        ValueError: as of `bootstrap_auroc`.
    """
    samples, sums = np.empty((resamples, *np.shape(hits)[1:])), None
    for some, codes, drawn in _drawn(patients, len(cases), resamples, seed):
        if sums is None:
            images = sparse.csr_array(
                (np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(len(drawn), len(codes))
            )
            sums = [(images @ np.asarray(values, np.float64)).T for values in (hits, cases)]
        hit, case = (values @ drawn for values in sums)
        with np.errstate(invalid="ignore"):
            samples[some] = (hit / case).T
    return samples


def percentile_interval(samples):
    """Takes the 95 % percentile interval; NaN counts as no sample.

    Args:
        samples: `(resamples,)` or `(resamples, k)`.

    Returns:
        `(2,)` or `(2, k)` float64, lower and upper end, NaN where there is no sample.
    """
    ends = np.full((2, *samples.shape[1:]), np.nan)
    known = np.isfinite(samples).any(axis=0)
    ends[:, known] = np.nanpercentile(samples[:, known], [2.5, 97.5], axis=0)
    return ends


def _drawn(patients, images, resamples, seed):
    """Yields which resamples, the patient of each image as a number, and how often each patient is drawn `(patients, draws)`."""
    patients = np.asarray([] if patients is None else patients)
    missing = pd.isna(patients).sum()
    if patients.shape != (images,) or missing:
        raise ValueError(
            f"{patients.size:,} patients are given for {images:,} images, {missing:,} of them missing: expected one for each image "
            "(column patientID of the frame)."
        )
    codes, names = pd.factorize(patients)
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _DRAWS):
        some = slice(start, min(start + _DRAWS, resamples))
        drawn = [
            np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names)) for _ in range(some.stop - start)
        ]
        yield some, codes, np.stack(drawn, axis=1).astype(np.float64)


def _auroc_and_precision(found, missed):
    """Returns both measures `(2, draws)` from counts of images by score, as of `_count_by_patient`."""
    below = np.cumsum(missed, axis=0)[:-1:2] + missed[1::2] / 2
    positives, negatives = found.sum(axis=0), missed.sum(axis=0)
    # Images called from each score of a positive image on: recall rises at no other.
    called_found = np.cumsum(found[::-1], axis=0)[::-1]
    called_missed = np.cumsum(missed[::-1], axis=0)[::-1][1::2]
    called = called_found + called_missed
    precision = np.divide(called_found, called, out=np.zeros_like(called), where=called > 0)
    return (found * below).sum(axis=0) / (positives * negatives), (found * precision).sum(axis=0) / positives


def _count_by_patient(true, prob, codes, patients):
    """Counts a finding's images by patient and by where their scores lie among those of the positive images.

    An AUROC is the share of pairs of a positive and a negative image in which the positive one has the higher score, ties counting
    half. For a draw of patients it follows from these counts alone, one for each image.

    Returns:
        Two sparse matrices: positive images by distinct score `(k, patients)`, and negative images
        `(2k + 1, patients)`, in row 2i those between the scores i - 1 and i, in row 2i + 1 those of just that score.
    """
    scores, which = np.unique(prob[true == 1], return_inverse=True)
    rest = prob[true == 0]
    place = np.searchsorted(scores, rest, "left") + np.searchsorted(scores, rest, "right")
    return tuple(
        sparse.csr_array((np.ones(len(rows)), (rows, codes[true == value])), shape=(count, patients))
        for value, rows, count in ((1, which, len(scores)), (0, place, 2 * len(scores) + 1))
    )
