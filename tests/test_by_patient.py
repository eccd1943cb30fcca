"""Intervals are by patient, wherever there are any: copies of an image, of the same patient, tell nothing new and narrow nothing.

With each image of a patient of its own and then with five copies of it, the draws of patients are the same, and so must be all
intervals, to the last digit; those by image would shrink by the root of five. That the plain ones are right is shown in
test_evaluation and test_intervals.
"""

import numpy as np
import pandas as pd
import pytest

from cxr_utils import config, evaluation

COPIES = 5


@pytest.fixture
def images():
    """`(y_true, y_prob, frame)` of 120 images, each of a patient of its own, with findings that are often there."""
    rng = np.random.default_rng(0)
    y_true = (rng.random((120, 14)) < 0.4).astype(float)
    y_prob = np.clip(0.25 * y_true + 0.75 * rng.random((120, 14)), 0, 1)
    frame = pd.DataFrame({
        "imgindex": [f"{number}.png" for number in range(120)], "patientID": rng.permutation(120), "gender": ["M", "F"] * 60,
        "age": 50.0, "viewposition": ["PA"] * 60 + ["AP"] * 60,
    })  # fmt: skip
    return y_true, y_prob, frame


def _auroc(y_true, y_prob, frame):
    table = evaluation.auroc_table(y_true, y_prob, frame.patientID)
    return [table[evaluation.METRICS], *(pd.Series(table.attrs[row]) for row in ("mean", "micro-average"))]


def _difference(y_true, y_prob, frame):
    return [evaluation.difference_table(y_true, y_prob, y_prob**2 * (1 - y_true / 3), frame.patientID)]


def _subgroups(y_true, y_prob, frame):
    table = evaluation.subgroup_table(frame, y_true, y_prob, pd.Series(0.4, config.LABELS))
    assert (table.findings == 14).all()
    return [table[["auroc", "lower", "upper", "fnr", "fnr_lower", "fnr_upper"]]]


def _rereads(y_true, y_prob, frame):
    again = pd.DataFrame({"Pneumothorax": y_true[:, 3] > 0, "Nodule or mass": y_true[:, 0] > 0}, index=frame.imgindex)
    table = evaluation.adjudicated_table(frame, y_true, y_prob, again[~again.index.duplicated()])
    return [table.filter(regex="auroc|lower|upper")]


def _leak(y_true, y_prob, frame):
    return [
        evaluation.leakage_table(y_true, y_prob, frame.patientID, frame.viewposition == "PA")[
            ["auroc", "lower", "upper"]
        ]
    ]


def _operating(y_true, y_prob, frame):
    table = evaluation.operating_table(y_true, y_prob, pd.Series(0.4, config.LABELS), frame.patientID)
    return [table.filter(regex="sensitivity|specificity|pv")]


@pytest.mark.parametrize("measure", [_auroc, _difference, _subgroups, _rereads, _leak, _operating])
def test_copies_of_a_image_change_no_interval(images, measure):
    plain = measure(*images)
    copied = measure(
        *(np.repeat(part, COPIES, axis=0) for part in images[:2]), images[2].loc[images[2].index.repeat(COPIES)]
    )
    for one, other in zip(plain, copied, strict=True):
        assert np.isfinite(one.to_numpy(float)).all()
        assert other.to_numpy(float) == pytest.approx(one.to_numpy(float), abs=1e-9)
