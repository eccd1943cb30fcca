"""Intervals, calibration and net benefit on 22,433 real predictions, compared with other code.

The numbers are those of statsmodels 0.15.0 and dcurves 1.1.7 on the same data. Their errors with patients as clusters
are without correction for the number of patients K; it is √(K / (K − 1)) here.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import t as student_t

from cxr_utils import config, data, evaluation
from cxr_utils.evaluation import calibration, intervals

# Platt slope and intercept, then value and error of the calibration slope and intercept, and of sensitivity and
# specificity at a threshold of 0.05.
STATSMODELS = {
    "Infiltration": [
        (0.820786852071496, -0.15259886459775357),
        (0.8211020860286946, 0.023789671040840548),
        (0.10579473788763086, 0.025406888869917668),
        (0.9530933062880289, 0.003995473289624089),
        (0.19011304018605646, 0.005258887375857385),
    ],
    "Pneumonia": [
        (0.911525280677896, -0.33814894262585543),
        (0.915730905445802, 0.06400186309626103),
        (0.012506091693982877, 0.07540459184208548),
        (0.15, 0.022826972775002095),
        (0.9726243629639616, 0.0028986585895450436),
    ],
    "Hernia": [
        (1.6017211337972548, 3.031774095535811),
        (1.6546732858684678, 0.20505868347516787),
        (0.04652659804524145, 0.22288219057875674),
        (0.16666666666666663, 0.06204052210483066),
        (0.9994640703854192, 0.00016746872503700685),
    ],
}
# Net benefit of the model at thresholds of 1, 5 and 20 %, then that of flagging all images.
DCURVES = {
    "Infiltration": (
        [0.16740083940190925, 0.1324341254777384, 0.04641599429412026],
        [0.1674872921251025, 0.13243412547773836, -0.030234475995185667],
    ),
    "Pneumonia": (
        [0.005243897991189927, 0.0003143864654280462, -1.1144296349128517e-05],
        [0.001606129498074399, -0.040431507154638266, -0.23551241474613294],
    ),
    "Hernia": (
        [0.0008712813509318657, 0.00028388628594622114, 0.0],
        [-0.008209856781157989, -0.05066079811931201, -0.247659697766683],
    ),
}


@pytest.fixture(scope="module")
def images(real):
    """`(y_true, y_prob, patients)` of a published DenseNet-121."""
    table = data.one_hot(data.read_labels(real / "release256" / config.LABEL_TABLES[0])).set_index("imgindex")
    predicted = pd.read_csv(real / "chexnet_predictions.csv.gz").set_index("imgindex")
    frame = table.loc[predicted.index]
    return data.targets(frame).astype(float), predicted[config.LABELS].to_numpy(), frame.patientID.to_numpy()


def quantile(cases, patients):
    """The quantile of Student's t for the effective number of patients (Kish 1965) with these images."""
    counts = np.unique(patients[cases], return_counts=True)[1].astype(float)
    return student_t.ppf(0.975, counts.sum() ** 2 / (counts**2).sum() - 1)


def test_calibration_equals_statsmodels(images):
    y_true, y_prob, patients = images
    platt = calibration.fit_platt(y_true, y_prob, patients)
    table = evaluation.calibration_table(y_true, y_prob, patients)
    for label, (expected, slope, intercept, *_) in STATSMODELS.items():
        assert platt.loc[label].tolist() == pytest.approx(expected, abs=1e-9)
        t = quantile(y_true[:, config.LABELS.index(label)] == 1, patients)
        for name, (value, error) in (("slope", slope), ("intercept", intercept)):
            found = table.loc[label, [name, f"{name}_lower", f"{name}_upper"]].tolist()
            assert found == pytest.approx([value, value - t * error, value + t * error], abs=1e-9)


def test_sensitivity_and_specificity_have_statsmodels_errors(images):
    y_true, y_prob, patients = images
    table = evaluation.operating_table(y_true, y_prob, pd.Series(0.05, config.LABELS), patients)
    for label, (*_, sensitivity, specificity) in STATSMODELS.items():
        for kind, (name, (p, error)) in enumerate({"specificity": specificity, "sensitivity": sensitivity}.items()):
            z = quantile(y_true[:, config.LABELS.index(label)] == kind, patients)
            n = p * (1 - p) / error**2
            center, half = p + z**2 / 2 / n, z * np.sqrt(p * (1 - p) / n + z**2 / 4 / n**2)
            limits = [(center - half) / (1 + z**2 / n), (center + half) / (1 + z**2 / n)]
            found = table.loc[label, [name, f"{name}_lower", f"{name}_upper"]].tolist()
            assert found == pytest.approx([p, *limits], abs=1e-9)


def test_net_benefit_equals_dcurves(images):
    y_true, y_prob, _ = images
    for label, (model, everything) in DCURVES.items():
        finding = config.LABELS.index(label)
        table = evaluation.net_benefit(y_true[:, finding], y_prob[:, finding], np.array([0.01, 0.05, 0.2]))
        assert table.model.tolist() == pytest.approx(model, abs=1e-12)
        assert table["all"].tolist() == pytest.approx(everything, abs=1e-12)


def by_definition(true, score, patients):
    """The interval of an AUROC by the formulas of Obuchowski (1997), with the two added half patients as data.

    All pairs of an image with and one without the finding are compared. The added images have a weight: half of the
    images that an average patient has. A comparison with one of them counts half.
    """
    positive, kinds = true == 1, []
    higher = score[positive][:, None] > score[~positive]
    wins = higher + 0.5 * (score[positive][:, None] == score[~positive])
    for members, correct in ((positive, wins.mean(axis=1)), (~positive, wins.mean(axis=0))):
        sums = pd.DataFrame({"images": 1.0, "wins": correct}).groupby(patients[members]).sum()
        half = sums.images.mean() / 2
        sums.loc["added"] = half, half / 2
        share = sums.wins.sum() / sums.images.sum()
        count = len(sums)
        error = (sums.wins - share * sums.images) / sums.images.sum() * np.sqrt(count / (count - 1))
        kinds.append((error, half))
    weights = [np.append(np.ones(size), half) for size, (_, half) in zip(wins.shape, kinds, strict=True)]
    padded = np.pad(wins, ((0, 1), (0, 1)), constant_values=0.5)
    area = weights[0] @ padded @ weights[1] / weights[0].sum() / weights[1].sum()
    # The added patients are one cluster.
    variance = (kinds[0][0].add(kinds[1][0], fill_value=0) ** 2).sum()
    t = max(quantile(members, patients) for members in (positive, ~positive))
    error = np.sqrt(variance) / (area * (1 - area))
    return expit(logit(area) + t * np.array([-error, error]))


@pytest.mark.parametrize("label", ["Pneumonia", "Hernia"])
def test_the_interval_of_auroc_follows_its_definition(images, label):
    y_true, y_prob, patients = images
    true, score = (values[:, config.LABELS.index(label)] for values in (y_true, y_prob))
    assert intervals.auroc_interval(true, score, patients) == pytest.approx(
        by_definition(true, score, patients), abs=1e-9
    )
