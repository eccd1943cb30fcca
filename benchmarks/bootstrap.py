"""Benchmark of the patient-level bootstrap, compared with a loop over scikit-learn.

    .venv/bin/python -m benchmarks.bootstrap

The data are 23,011 simulated images with 14 findings that are as frequent as in the published test set; the bootstrap
takes 2,000 resamples. The loop runs for a few resamples only; its time is extrapolated and its values are compared. The
last lines show one goal each; the exit status is 1 if a goal is not met.
"""

import argparse
import statistics
import sys
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks import goals
from cxr_utils import config
from cxr_utils.evaluation import resampling

IMAGES, PATIENTS, RESAMPLES, LOOPED = 23_011, 13_000, 2000, 20
# Prevalence of the findings in the published test set, in the order of LABELS.
PREVALENCE = [
    0.0975,
    0.0355,
    0.1717,
    0.0426,
    0.0173,
    0.0185,
    0.012,
    0.1112,
    0.0096,
    0.0243,
    0.0209,
    0.0508,
    0.0448,
    0.0012,
]


def loop(y_true, y_prob, patients):
    """Computes AUROC on the first resamples of `resampling.bootstrap_auroc` with scikit-learn."""
    rng = np.random.default_rng(config.SEED)
    names, first = np.unique(patients, return_index=True)
    names = names[np.argsort(first)]
    order = np.argsort(patients, kind="stable")
    starts = np.unique(patients[order], return_index=True)[1]
    images_of = dict(zip(np.unique(patients), np.split(order, starts[1:]), strict=True))
    samples = []
    for _ in range(LOOPED):
        images = np.concatenate([images_of[names[number]] for number in rng.integers(0, len(names), len(names))])
        samples.append([roc_auc_score(y_true[images, finding], y_prob[images, finding]) for finding in range(14)])
    return np.array(samples)


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rng = np.random.default_rng(0)
    y_true = (rng.random((IMAGES, 14)) < PREVALENCE).astype(np.float32)
    y_prob = np.clip(0.1 * y_true + 0.9 * rng.random((IMAGES, 14)), 0, 1).astype(np.float32)
    patients = np.concatenate([np.arange(PATIENTS), rng.integers(0, PATIENTS, IMAGES - PATIENTS)])
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        samples, _ = resampling.bootstrap_auroc(y_true, y_prob, patients, RESAMPLES)
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    looped = loop(y_true, y_prob, patients)
    per_loop = (time.perf_counter() - start) / LOOPED
    median = statistics.median(seconds)
    print(
        f"{RESAMPLES:,} resamples of {IMAGES:,} images × 14 findings: {median:.2f} s; "
        f"loop over scikit-learn (extrapolated): {per_loop * RESAMPLES:.0f} s"
    )
    return goals.report(
        [
            goals.at_most("2,000 resamples of patients, s", median, 4),
            goals.at_least("speed compared with a loop over scikit-learn, times", per_loop * RESAMPLES / median, 25),
            goals.at_most(
                "largest difference from scikit-learn, in 1e-9", np.abs(samples[:LOOPED] - looped).max() / 1e-9, 1
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
