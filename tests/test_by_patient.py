"""All intervals resample patients: copies of an image of the same patient add no information and narrow no interval.

First every image is of another patient, then there are five copies of it. Both have the same resamples of patients, so
all intervals must be the same. Intervals that resample images would be narrower by a factor of √5. That the intervals
without copies are correct is shown by test_metrics and test_intervals.
"""

import numpy as np
import pandas as pd
import pytest

from cxr_utils import config, data, evaluation
from tests.helpers import seeded

COPIES = 5


@pytest.fixture
def images():
    """`(y_true, y_prob, frame)` of 120 images, each of another patient; all findings are frequent."""
    rng = seeded(0)
    y_true = (rng.random((120, 14)) < 0.4).astype(float)
    y_prob = np.clip(0.25 * y_true + 0.75 * rng.random((120, 14)), 0, 1)
    frame = pd.DataFrame({
        "imgindex": [f"{number}.png" for number in range(120)], "patientID": rng.permutation(120),
        "gender": ["M", "F"] * 60, "age": 50.0, "viewposition": ["PA"] * 60 + ["AP"] * 60,
    })  # fmt: skip
    return y_true, y_prob, frame


def _auroc(y_true, y_prob, frame):
    table = evaluation.auroc_table(y_true, y_prob, frame.patientID)
    return [table[evaluation.METRICS], *(pd.Series(table.attrs[row]) for row in ("mean", "micro-average"))]


def _difference(y_true, y_prob, frame):
    table = evaluation.difference_table(y_true, y_prob, y_prob**2 * (1 - y_true / 3), frame.patientID, 0.01)
    return [table[["first", "second", "difference", "lower", "upper", "lower_90", "upper_90"]], table.p_holm[:-1]]


def _subgroups(y_true, y_prob, frame):
    table = evaluation.subgroup_table(frame, y_true, y_prob, pd.Series(0.4, config.LABELS))
    assert (table.findings == 14).all()
    return [table[["value", "lower", "upper"]], table.dropna()[["difference", "difference_lower", "difference_upper"]]]


def _adjudicated(y_true, y_prob, frame):
    labels = pd.DataFrame(y_true[:, :3] > 0, frame.imgindex, [*data.ADJUDICATED]).assign(part="test")
    labels = labels[~labels.index.duplicated()]
    table = evaluation.adjudicated_table(frame, y_true, y_prob, labels, pd.Series(0.4, config.LABELS))
    return [table.filter(regex="^(nih|radiologists)(_lower|_upper)?$"), table.filter(like="difference").dropna()]


def _per_image(y_true, y_prob, frame):
    table = evaluation.per_image_table(y_true, y_prob, pd.Series(0.7, config.LABELS), frame.patientID)
    return [table[["value", "lower", "upper"]]]


def _agreement(y_true, y_prob, frame):
    thresholds = pd.Series(0.4, config.LABELS)
    table = evaluation.agreement_table(y_prob, y_prob**2, thresholds, thresholds, frame.patientID)
    return [table[["positive_agreement", "lower", "upper", "kappa"]]]


def _leakage(y_true, y_prob, frame):
    table = evaluation.leakage_table(y_true, y_prob, frame.patientID, frame.viewposition == "PA")
    return [table[["auroc", "lower", "upper"]]]


def _operating(y_true, y_prob, frame):
    table = evaluation.operating_table(y_true, y_prob, pd.Series(0.4, config.LABELS), frame.patientID)
    return [table.filter(regex="sensitivity|specificity|pv")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "measure", [_auroc, _difference, _subgroups, _adjudicated, _leakage, _operating, _per_image, _agreement]
)
def test_copies_of_images_change_no_interval(images, measure):
    y_true, y_prob, frame = images
    single = measure(*images)
    copied = measure(
        np.repeat(y_true, COPIES, axis=0), np.repeat(y_prob, COPIES, axis=0), frame.loc[frame.index.repeat(COPIES)]
    )
    for expected, table in zip(single, copied, strict=True):
        assert np.isfinite(expected.to_numpy(float)).all()
        assert table.to_numpy(float) == pytest.approx(expected.to_numpy(float), abs=1e-9)
