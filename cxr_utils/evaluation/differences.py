"""Differences with 95 % intervals and p-values from a patient-level bootstrap, and their correction (Holm 1979)."""

import numpy as np
import pandas as pd
from scipy.stats import t

from cxr_utils.evaluation import resampling

# Limits of the 95 % and 90 % percentile intervals, with their quantiles.
LIMITS = {"lower": 0.025, "upper": 0.975, "lower_90": 0.05, "upper_90": 0.95}
SIGNIFICANCE = 0.05


def difference_columns(differences, deviations, patients):
    """Computes percentile intervals and p-values of differences.

    The p-value is that of a two-sided t-test with the standard deviation over the resamples as standard error. Unlike a
    share of the resamples, it is not limited by their number when many comparisons are corrected for; with a normal
    distribution instead, rare findings would be named too often (`benchmarks/comparison_errors.py`).

    Args:
        differences: `(k,)`, the estimates; NaN where there is none.
        deviations: `(resamples, k)`, the difference on each resample minus its estimate.
        patients: `(k,)`, number of patients with the finding: the test has one degree of freedom less.

    Returns:
        DataFrame of k rows with `difference`, `lower`, `upper` (95 % interval), `lower_90`, `upper_90` (90 % interval)
        and `p`, which is 1 if the difference is the same on all resamples.
    """
    differences, deviations = np.asarray(differences, float), pd.DataFrame(deviations)
    table = pd.DataFrame({"difference": differences})
    table[[*LIMITS]] = deviations.quantile([*LIMITS.values()]).to_numpy().T + differences[:, None]
    statistic = resampling.divide(np.abs(differences), deviations.std().to_numpy(), 0)
    return table.assign(p=2 * t.sf(statistic, np.maximum(np.asarray(patients) - 1, 1)))


def holm(p):
    """Corrects p-values for multiple comparisons (Holm 1979), so that 5 % is the error rate of all of them together.

    Args:
        p: `(k,)`, p-values of the comparisons that are made together; NaN where there is none.

    Returns:
        `(k,)` float64, corrected p-values, to be compared with 0.05; NaN where there is none.
    """
    ordered = pd.Series([*p], dtype=float).dropna().sort_values()
    corrected = (ordered * np.arange(len(ordered), 0, -1)).cummax().clip(upper=1)
    return corrected.reindex(range(len(p))).to_numpy()


def with_difference(values, samples):
    """Computes the 95 % percentile intervals of two values and of their difference.

    Args:
        values: `(2,)`, the estimates.
        samples: `(resamples, 2)`, the values on each resample.

    Returns:
        `(3, 3)` float64: estimate, lower and upper limit of the first value, the second, and second − first.
    """
    values, samples = (np.column_stack([each, np.diff(each)]) for each in (np.array([values]), samples))
    return np.vstack([values, resampling.percentile_interval(samples)]).T


def with_limits(*values, digits=3):
    """Formats a difference with its 95 % interval, such as `"+0.012 (95 % CI −0.003 to +0.027)"`.

    Args:
        *values: three floats: difference, lower and upper limit. One that rounds to 0 has no sign.
        digits: int, number of decimals.

    Returns:
        str.
    """
    texts = (f"{value:+z.{digits}f}" for value in values)
    value, lower, upper = (text if text.strip("+0.") else text[1:] for text in texts)
    return f"{value} (95 % CI {lower} to {upper})".replace("-", "−")
