"""Logistic regression without a penalty, and its errors with patients as clusters."""

import numpy as np
from scipy.optimize import root
from scipy.special import expit

from cxr_utils.evaluation.resampling import by_patient


def fit(design, target, patients, offset=0.0):
    """Fits a logistic regression by maximum likelihood, to the last digits.

    Args:
        design: `(n, k)`, the regressors, with a column of ones for an intercept.
        target: `(n,)` in [0, 1]. If a line separates 0 from 1, there is no finite solution.
        patients: `(n,)`, patient ID of each image.
        offset: `(n,)`, added to the linear predictor.

    Returns:
        `(coefficients, errors)`: `(k,)` float64, and their standard errors with patients as clusters (Liang & Zeger
        1986).
    """

    def scores(coefficients):
        return design * (target - expit(design @ coefficients + offset))[:, None]

    def slopes(coefficients):
        risk = expit(design @ coefficients + offset)
        return -design.T @ (design * (risk * (1 - risk))[:, None])

    solution = root(lambda c: scores(c).sum(axis=0), np.zeros(design.shape[1]), jac=slopes, tol=1e-12).x
    (sums,) = by_patient(patients, scores(solution))
    inverse = np.linalg.inv(slopes(solution))
    return solution, np.sqrt(np.diag(inverse @ sums.T @ sums @ inverse) * len(sums) / (len(sums) - 1))
