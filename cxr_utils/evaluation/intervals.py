"""95 % intervals in closed form, with the patient as the unit, also for few patients.

Images of a patient are correlated, so n images are worth fewer independent ones: the effective sample size. Patients
with many images also dominate a variance, which is then estimated from fewer patients than there are: the effective
number of patients is (Σm)² / Σm² for m images of each patient (Kish 1965), and the quantile of an interval is that of
Student's t with one degree of freedom less. Coverage is simulated by `benchmarks/coverage.py`.
"""

import numpy as np
from scipy.special import expit, logit
from scipy.stats import t as student_t

from cxr_utils.evaluation.resampling import by_patient, divide


def wilson_interval(hits, cases, patients, probability=0.975):
    """Computes Wilson's score interval of one or more proportions at the effective sample size.

    The effective sample size is p(1 − p) divided by the variance of p between patients (Rao & Scott 1992), at most the
    number of cases. If all patients have the same proportion, as for 100 %, that variance is 0: the effective number of
    patients takes its place, as if the images of a patient were copies.

    Args:
        hits: `(n,)` or `(n, k)`, numerator of each image, such as its number of true positives.
        cases: same shape, denominator of each image, such as its number of positive labels.
        patients: `(n,)`, patient ID of each image.
        probability: float, of each of the two limits: 0.975 for a two-sided 95 % interval.

    Returns:
        `(2,)` or `(2, k)` float64, lower and upper limit (Wilson 1927); NaN without a case.

    Raises:
        ValueError: An image has no patient ID, or the number of patient IDs is not the number of images.
    """
    hits, cases = by_patient(patients, hits, cases)
    total = cases.sum(axis=0)
    proportion = divide(hits.sum(axis=0), total)
    effective = effective_patients(cases)
    variance = (patient_deviations(hits, cases) ** 2).sum(axis=0)
    size = np.minimum(divide(proportion * (1 - proportion), variance, effective), total)
    ratio = quantile(effective, probability) ** 2 / size
    half = np.sqrt(ratio * (proportion * (1 - proportion) + ratio / 4))
    lower, upper = ((proportion + ratio / 2 + sign * half) / (1 + ratio) for sign in (-1, 1))
    # Rounding must not put a proportion of 0 or 1 outside.
    return np.stack([np.clip(lower, 0, proportion), np.clip(upper, proportion, 1)])


def auroc_interval(y_true, y_prob, patients):
    """Computes the 95 % interval of an AUROC: DeLong's variance for clustered data on the logit scale.

    The variance is that of Obuchowski (1997), with patients as clusters. Before, half an average patient with the
    finding and half a one without it are added, half of whose comparisons are correct: so a perfect AUROC of few
    patients has an interval too. Its upper limit is the AUROC itself then.

    Args:
        y_true: `(n,)` 0 or 1, both of them present.
        y_prob: `(n,)`, predictions.
        patients: `(n,)`, patient ID of each image.

    Returns:
        `(lower, upper)`: floats in [0, 1].

    Raises:
        ValueError: An image has no patient ID, or the number of patient IDs is not the number of images.
    """
    deviations, shrinkage, effective = 0, 1, []
    for sign, members in ((1, y_true == 1), (-1, y_true == 0)):
        others = np.sort(sign * y_prob[~members])
        # The share of the other images with a lower score; ties count half.
        lower = sum(np.searchsorted(others, sign * y_prob, side) for side in ("left", "right")) / 2 / len(others)
        wins, images = by_patient(patients, lower * members, members)
        effective.append(effective_patients(images))
        half = images.sum() / np.count_nonzero(images) / 2
        shrinkage *= 1 + half / images.sum()
        deviations = deviations + patient_deviations(np.append(wins, half / 2), np.append(images, half))
    area = wins.sum() / images.sum()
    center = 0.5 + (area - 0.5) / shrinkage
    error = np.sqrt((deviations**2).sum()) / (center * (1 - center))
    lower, upper = expit(logit(center) + np.array([-1, 1]) * quantile(min(effective)) * error)
    return min(lower, area), max(upper, area)


def patient_deviations(numerators, denominators):
    """Returns each patient's contribution to the error of Σ numerators / Σ denominators; its square sum is a variance.

    Patients without a case contribute 0. The number of patients K is corrected for by √(K / (K − 1)).
    """
    total, count = denominators.sum(axis=0), np.count_nonzero(denominators, axis=0)
    residuals = numerators - divide(numerators.sum(axis=0), total) * denominators
    return residuals * divide(np.sqrt(divide(count, count - 1.0, 0)), total)


def effective_patients(images):
    """Returns the effective number of patients (Kish 1965) for `(patients, …)` images of each patient."""
    return divide(images.sum(axis=0) ** 2, (images**2).sum(axis=0))


def quantile(effective, probability=0.975):
    """Returns the quantile of Student's t for an effective number of patients."""
    return student_t.ppf(probability, np.maximum(effective - 1, 1))
