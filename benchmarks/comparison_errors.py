"""Error rates of the comparison of two models, on simulated images.

    .venv/bin/python -m benchmarks.comparison_errors

Findings are as frequent as in the published test set, an image in four patients has many, and the scores of a patient
are correlated. The true AUROC of each model is known, so the true difference is. For exchangeable models, no finding
should be named; where the second model is worse by the margin, it should not be called equivalent or non-inferior. The
last lines show one goal each; the exit status is 1 if a goal is not met.
"""

import argparse
import sys

import joblib
import numpy as np
from scipy.stats import norm

from benchmarks import goals
from benchmarks.bootstrap import PREVALENCE
from cxr_utils import config, evaluation
from cxr_utils.evaluation import resampling

SEED, MARGIN, RESAMPLES = 21, 0.01, 200
CASES = [(300, 0), (1000, 0), (1000, -MARGIN), (1000, MARGIN)]  # number of patients, true difference
CONCLUSIONS = ["better", "worse", "equivalent", "non-inferior", "inconclusive"]
# Of the first model, in the order of LABELS: about what is published.
AUROC = np.array([0.78, 0.75, 0.70, 0.87, 0.84, 0.92, 0.82, 0.83, 0.72, 0.77, 0.88, 0.77, 0.82, 0.89])
# Share of the variance of a score that both models have in common, and that all images of a patient have in common.
COMMON, PATIENT = 0.8, 0.3


def simulate(rng, patients, difference):
    """Simulates labels, scores of two models and patient IDs; the second model's AUROC is higher by `difference`."""
    # As in NIH's images: most patients have one, a few have very many.
    images = np.minimum(rng.geometric(0.5, patients) * rng.choice([1, 4], patients, p=[0.75, 0.25]), 100)
    ids = np.repeat(np.arange(patients), images)

    def effects():
        by_patient = rng.normal(size=(patients, 14))[ids]
        return np.sqrt(PATIENT) * by_patient + np.sqrt(1 - PATIENT) * rng.normal(size=(len(ids), 14))

    y_true = (effects() > norm.isf(PREVALENCE)).astype(float)
    common = np.sqrt(COMMON) * effects()
    # Two normal distributions of variance 1 that are d apart have an AUROC of Φ(d / √2).
    models = [
        norm.cdf(common + np.sqrt(1 - COMMON) * effects() + y_true * np.sqrt(2) * norm.ppf(auroc))
        for auroc in (AUROC, AUROC + difference)
    ]
    return y_true, *models, ids


def compare(seed, patients, difference):
    """Returns the conclusion on the mean, and on how many findings a model is called better or worse."""
    # The workers of joblib compare many sets, each with few resamples.
    resampling.bootstrap_auroc.__defaults__ = (RESAMPLES, config.SEED)
    table = evaluation.difference_table(*simulate(np.random.default_rng(seed), patients, difference), MARGIN)
    return table.conclusion["mean"], table.conclusion[:-1].isin(["better", "worse"]).sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=500, help="simulated test sets of each kind")
    sets, lines = parser.parse_args().sets, []
    print(f"seeds {SEED} to {SEED + sets - 1}, {sets:,} sets each, {RESAMPLES} resamples, margin {MARGIN}")
    run = joblib.delayed(compare)
    for patients, difference in CASES:
        outcomes = joblib.Parallel(2)(run(SEED + number, patients, difference) for number in range(sets))
        share = {name: np.mean([found == name for found, _ in outcomes]) for name in CONCLUSIONS}
        share["any finding named"] = np.mean([count > 0 for _, count in outcomes])
        what = f"{patients:,} patients, true difference {difference:+g}"
        print(f"{what}:", ", ".join(f"{name} {value:.3f}" for name, value in share.items()), flush=True)
        wrong = {
            0: ["better", "worse"],
            -MARGIN: ["better", "equivalent", "non-inferior"],
            MARGIN: ["equivalent", "worse"],
        }
        names = wrong[difference]
        lines.append(goals.at_most(f"{what}: {' or '.join(names)}", sum(share[name] for name in names), 0.07))
        if not difference:
            lines.append(goals.at_most(f"{what}: any finding named", share["any finding named"], 0.06))
    return goals.report(lines)


if __name__ == "__main__":
    sys.exit(main())
