"""Coverage of the 95 % intervals in simulated test sets, by number of patients with the finding.

    .venv/bin/python -m benchmarks.coverage

A simulated patient with the finding has 1 to about 25 images with it (median 1) and others without it; 300 other
patients have none with it. These numbers are as skewed as in NIH's data. A patient effect is half of the variance of
the scores. Each stratum has 2,000 test sets, and its seed is printed. The last lines show one goal each; the exit
status is 1 if a goal is not met.

For AUROC, the interval of `evaluation` is compared with others on the first 500 test sets of a stratum: percentiles and
bootstrap-t (on the logit scale) of 400 resamples of patients, and DeLong's variance for clustered data on the logit
scale without the additions of `evaluation` (Obuchowski 1997).
"""

import argparse
import sys
from functools import partial
from multiprocessing import Pool

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm

from benchmarks import goals
from cxr_utils import evaluation
from cxr_utils.evaluation import calibration, intervals, resampling

SETS, COMPARED, RESAMPLES, LOWEST = 2000, 500, 400, 0.93
EFFECT = 0.5  # share of the variance of the scores that is between patients
PATIENTS = [(10, 300), (15, 300), (20, 300), (30, 300), (50, 300), (100, 300), (10, 10), (20, 20)]  # with, without
AUROCS = [0.65, 0.8, 0.9, 0.95]
RANGES = [(0.5, 0.7), (0.7, 0.9), (0.9, 1)]  # of the true sensitivity, which is drawn uniformly from them
PREVALENCE = 0.01  # at which PPV is estimated from sensitivity and specificity
MEANS = {
    "14 findings of 10 patients": [10] * 14,
    "of 10 to 100": [10, 10, 12, 15, 15, 20, 20, 30, 30, 50, 50, 70, 100, 100],
}


def numbers_of_images(rng, patients, others):
    """Images with and without the finding `(2, patients + others)` of each patient; the others come last."""

    def draw(median, spread, count, least):
        return np.maximum(least, rng.lognormal(np.log(median), spread, count).astype(int))

    positive = np.append(draw(1.5, 0.8, patients, 1), np.zeros(others, int))
    return positive, np.append(draw(3.3, 1.3, patients, 0), draw(1.5, 1.0, others, 1))


def shift(area):
    """How much higher the scores of images with the finding are."""
    return np.sqrt(2) * norm.ppf(area)


def simulate(rng, area, patients, others):
    """Labels, scores and patients of the images of a test set."""
    counts = numbers_of_images(rng, patients, others)
    codes = np.concatenate([np.repeat(np.arange(patients + others), count) for count in counts])
    label = np.repeat([1.0, 0.0], [count.sum() for count in counts])
    effect = np.sqrt(EFFECT) * rng.normal(size=patients + others)[codes]
    return label, shift(area) * label + effect + np.sqrt(1 - EFFECT) * rng.normal(size=len(codes)), codes


def resampled(rng, label, score, codes):
    """AUROC and DeLong's clustered variance in each resample `(2, RESAMPLES)`, and of the test set itself `(2,)`."""
    positive, count = label == 1, codes.max() + 1
    # Pairs of an image with the finding (row: its patient) and one without it in which the first has the higher score.
    wins = (score[positive][:, None] > score[~positive]).astype(np.float32)
    ends = [np.flatnonzero(np.diff(codes[members], prepend=-1)) for members in (positive, ~positive)]
    wins = np.add.reduceat(np.add.reduceat(wins, ends[0], axis=0), ends[1], axis=1)
    names = [codes[members][end] for members, end in zip((positive, ~positive), ends, strict=True)]
    images = [
        np.bincount(codes[m], minlength=count)[name] for m, name in zip((positive, ~positive), names, strict=True)
    ]
    draws = rng.integers(0, count, (RESAMPLES, count)) + count * np.arange(RESAMPLES)[:, None]
    weights = np.bincount(draws.ravel(), minlength=RESAMPLES * count).reshape(RESAMPLES, count)
    weights = np.vstack([weights, np.ones(count)]).astype(np.float32)
    first, second = (weights[:, name] for name in names)
    total = [w @ n for w, n in zip((first, second), images, strict=True)]
    rows, columns = second @ wins.T, first @ wins
    # A resample can be without a patient with the finding.
    with np.errstate(divide="ignore", invalid="ignore"):
        area = (first * rows).sum(axis=1) / total[0] / total[1]
        deviations = np.zeros((len(weights), count))
        deviations[:, names[0]] += rows / (total[0] * total[1])[:, None] - (area / total[0])[:, None] * images[0]
        deviations[:, names[1]] += columns / (total[0] * total[1])[:, None] - (area / total[1])[:, None] * images[1]
    variance = (weights * deviations**2).sum(axis=1)
    return np.stack([area[:-1], variance[:-1]]), (area[-1], variance[-1])


def auroc_candidates(rng, label, score, codes):
    """Intervals `(lower, upper)` of one test set by method."""
    samples, (area, variance) = resampled(rng, label, score, codes)
    samples = samples[:, np.isfinite(samples[0])]
    found = {"percentiles": np.quantile(samples[0], [0.025, 0.975])}
    error = np.sqrt(variance) / (area * (1 - area)) if area < 1 else 0
    found["DeLong"] = expit(logit(area) + norm.ppf([0.025, 0.975]) * error)
    samples = samples[:, (samples[0] < 1) & (samples[0] > 0) & (samples[1] > 1e-9)]
    spread = np.sqrt(samples[1]) / (samples[0] * (1 - samples[0]))
    if error and len(spread):
        high, low = np.quantile((logit(samples[0]) - logit(area)) / spread, [0.975, 0.025])
        found["bootstrap-t"] = expit(logit(area) - error * np.array([high, low]))
    else:
        found["bootstrap-t"] = (area, area)
    return found


def auroc_set(patients, others, area, number):
    """Which intervals of a test set contain the true AUROC, by method."""
    rng = np.random.default_rng([patients, others, int(100 * area), number])
    images = simulate(rng, area, patients, others)
    found = {"evaluation": intervals.auroc_interval(*images)}
    if number < COMPARED:
        found |= auroc_candidates(rng, *images)
    return {name: lower <= area <= upper for name, (lower, upper) in found.items()}


def other_set(patients, others, number):
    """Which intervals of a test set of AUROC 0.8 contain the true value, by measure."""
    rng = np.random.default_rng([patients, others, number])
    label, score, codes = simulate(rng, 0.8, patients, others)
    found, height = {}, shift(0.8)
    for low, high in RANGES:
        truth = rng.uniform(low, high)
        flagged = score >= height - norm.ppf(truth)
        truths = {"sensitivity": truth, "specificity": norm.cdf(height - norm.ppf(truth))}
        odds = PREVALENCE / (1 - PREVALENCE) * truth / (1 - truths["specificity"])
        table = pd.DataFrame(index=[0])
        for name, correct, value in (("sensitivity", flagged, 1), ("specificity", ~flagged, 0)):
            cases = label == value
            table[name] = correct[cases].mean()
            table[f"{name}_lower"], table[f"{name}_upper"] = intervals.wilson_interval(correct & cases, cases, codes)
        table = table.join(evaluation.at_prevalence(table, PREVALENCE)).iloc[0]
        for name, true in (truths | {"ppv": odds / (1 + odds)}).items():
            found[f"{name} ({low}–{high})"] = table[f"{name}_lower"] <= true <= table[f"{name}_upper"]
    # The probabilities that follow from the distributions of the scores are calibrated.
    prob = expit(logit(share(patients, others)) + height * score - height**2 / 2)
    row = calibration.estimates(label, prob, codes)
    for number, (name, truth) in enumerate({"slope": 1, "intercept": 0, "observed/expected": 1}.items()):
        found[name] = row[3 * number + 1] <= truth <= row[3 * number + 2]
    return found


def share(patients, others):
    """The share of images with the finding in the population of the test sets."""
    positive, negative = numbers_of_images(np.random.default_rng(0), 100_000 * patients // others, 100_000)
    return positive.sum() / (positive.sum() + negative.sum())


def mean_set(findings, number):
    """Whether the interval of the mean AUROC of a test set, in which all AUROCs are 0.8, contains 0.8."""
    rng = np.random.default_rng([*findings, number])
    values, samples, seed = [], [], int(rng.integers(2**32))
    for patients in findings:
        # The findings of a patient are independent, but a resample contains a patient with all of them.
        area, _ = resampled(np.random.default_rng(seed), *simulate(rng, 0.8, patients, 400 - patients))
        samples.append(area[0])
        values.append(_[0])
    deviations = resampling.mean_deviations(np.array(values), np.stack(samples, axis=1))
    lower, upper = np.mean(values) + resampling.percentile_interval(deviations)
    return {"mean AUROC": lower <= 0.8 <= upper}


def coverage(pool, simulation, *stratum):
    """The share of test sets whose interval contains the true value, by method or measure."""
    return pd.DataFrame(pool.map(partial(simulation, *stratum), range(SETS), chunksize=50)).astype(float).mean()


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with Pool() as pool:
        areas = {
            (*patients, area): coverage(pool, auroc_set, *patients, area) for patients in PATIENTS for area in AUROCS
        }
        others = {patients: coverage(pool, other_set, *patients) for patients in PATIENTS}
        means = {name: coverage(pool, mean_set, findings) for name, findings in MEANS.items()}
    names = ["patients with", "patients without"]
    areas = pd.DataFrame(areas).T.rename_axis([*names, "true AUROC"])
    others, means = pd.DataFrame(others).T.rename_axis(names), pd.DataFrame(means).T
    print(f"{SETS:,} test sets in each stratum; seeds: the numbers of a row and of the test set, from 0")
    for table in (areas, others, means):
        print(table.round(3).to_string())
    lowest = {"AUROC": areas["evaluation"].min(), **others.min(), **means.min()}
    return goals.report([goals.at_least(f"lowest coverage, {name}", value, LOWEST) for name, value in lowest.items()])


if __name__ == "__main__":
    sys.exit(main())
