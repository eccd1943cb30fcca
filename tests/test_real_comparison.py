"""Comparison, subgroups, errors per image and adjudicated labels on 22,433 real predictions, by independent code.

Values are those of scikit-learn and pandas. Intervals are compared with standard errors by the method of structural
components for clustered data (Obuchowski 1997), which resamples nothing.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from cxr_utils import config, data, evaluation
from tests.helpers import seeded


@pytest.fixture(scope="module")
def images(real):
    """`(frame, y_true, y_prob)` of a published DenseNet-121; another of its images is in no patient's history."""
    table = data.one_hot(data.read_labels(real / "release256" / config.LABEL_TABLES[0]))
    predicted = pd.read_csv(real / "chexnet_predictions.csv.gz").set_index("imgindex")
    frame = table[table.imgindex.isin(predicted.index)].reset_index(drop=True)
    assert len(frame) == 22_433 and frame.patientID.nunique() == 6187
    y_prob = predicted.loc[frame.imgindex, config.LABELS].to_numpy()
    return frame, data.targets(frame).astype(float), y_prob


@pytest.fixture(scope="module")
def thresholds(images):
    _, y_true, y_prob = images
    return evaluation.choose_thresholds(y_true, y_prob).youden


def components(y_true, score, patients):
    """Returns the influence of each patient on the AUROC of one finding."""
    positive = y_true == 1
    everyone, alike = rankdata(score), np.empty(len(score))
    for group in (positive, ~positive):
        alike[group] = rankdata(score[group])
    count = positive.sum(), (~positive).sum()
    area = roc_auc_score(y_true, score)
    # Share of images of the other class with a lower (higher) score, ties count half.
    placement = np.where(positive, (everyone - alike) / count[1] - area, 1 - (everyone - alike) / count[0] - area)
    weighted = placement / np.where(positive, *count)
    return pd.Series(weighted).groupby(np.asarray(patients)).sum()


def standard_error(influences):
    """Returns the standard error of a sum of statistics, from their influences by patient."""
    total = pd.concat(influences, axis=1).fillna(0).sum(axis=1)
    return np.sqrt((total**2).sum() * len(total) / (len(total) - 1))


@pytest.mark.slow
def test_the_difference_of_two_models(images):
    frame, y_true, first = images
    second = expit(logit(np.clip(first, 1e-6, 1 - 1e-6)) + 0.5 * seeded(1).normal(size=first.shape))
    table = evaluation.difference_table(y_true, first, second, frame.patientID, 0.01)
    values = np.array([roc_auc_score(y_true, y_prob, average=None) for y_prob in (first, second)])
    assert table.difference[:-1].to_numpy() == pytest.approx(values[1] - values[0], abs=1e-9)
    assert table.difference["mean"] == pytest.approx((values[1] - values[0]).mean(), abs=1e-9)
    parts = [
        sign * components(y_true[:, i], y_prob[:, i], frame.patientID) / 14
        for i in range(14)
        for sign, y_prob in ((1, second), (-1, first))
    ]
    row = table.loc["mean"]
    assert (row.upper - row.lower) / 3.92 == pytest.approx(standard_error(parts), rel=0.07)
    assert (row.upper_90 - row.lower_90) / 3.29 == pytest.approx(standard_error(parts), rel=0.1)
    # Noise of this size lowers the AUROC by about 0.01: worse, although the difference hardly exceeds the margin.
    assert row.conclusion == "worse" and row.upper < 0


@pytest.mark.slow
def test_subgroups(images, thresholds):
    frame, y_true, y_prob = images
    table = evaluation.subgroup_table(frame, y_true, y_prob, thresholds)
    for kind, groups in {
        "sex": {"female": frame.gender == "F", "male": frame.gender == "M"},
        "view": {"PA": frame.viewposition == "PA", "AP": frame.viewposition == "AP"},
    }.items():
        common = np.flatnonzero([all(10 <= y_true[rows, i].sum() for rows in groups.values()) for i in range(14)])
        flagged = y_prob[:, common] >= thresholds.to_numpy()[common]
        true, prob = y_true[:, common], y_prob[:, common]
        found, influences = {}, []
        for sign, (name, rows) in zip((1, -1), groups.items(), strict=True):
            long = pd.DataFrame({"finding": np.tile(common, rows.sum()), "true": true[rows].ravel()})
            long["flagged"] = flagged[rows].ravel()
            rates = long.groupby(["true", "finding"]).flagged.mean()
            found[name] = {
                "auroc": roc_auc_score(true[rows], prob[rows], average="macro"),
                "sensitivity": rates[1].mean(),
                "false_positive_rate": rates[0].mean(),
                "sensitivity_pooled": long.flagged[long.true == 1].mean(),
                "false_positive_rate_pooled": long.flagged[long.true == 0].mean(),
            }
            for measure, value in found[name].items():
                assert table.value[kind, name, measure] == pytest.approx(value, abs=1e-9)
            influences += [
                sign * components(true[rows, i], prob[rows, i], frame.patientID[rows]) / len(common)
                for i in range(len(common))
            ]
        group, reference = sorted(groups, key=lambda name: groups[name].sum())
        assert (table.loc[kind].reference == reference).all()
        for measure in evaluation.MEASURES:
            difference = found[group][measure] - found[reference][measure]
            assert table.difference[kind, group, measure] == pytest.approx(difference, abs=1e-9)
        row = table.loc[(kind, group, "auroc")]
        # Patients with PA and AP images make the groups dependent; the resamples account for that.
        width = (row.difference_upper - row.difference_lower) / 3.92
        assert width == pytest.approx(standard_error(influences), rel=0.07)


def test_errors_per_image(images, thresholds):
    frame, y_true, y_prob = images
    table = evaluation.per_image_table(y_true, y_prob, thresholds, frame.patientID)
    flags = pd.DataFrame(y_prob >= thresholds.to_numpy())
    wrong = (flags & (y_true == 0)).any(axis="columns")
    no_finding = frame.label == config.NO_FINDING
    expected = [
        wrong.mean(), flags[no_finding].any(axis="columns").mean(), 1 - flags[~no_finding].any(axis="columns").mean(),
        flags.sum(axis="columns").mean(),
    ]  # fmt: skip
    assert table.value.to_numpy() == pytest.approx(expected, abs=1e-9)
    for name, row in table.iterrows():
        assert row.lower < row.value < row.upper, name
    # The standard error of a ratio of sums over patients (Taylor series).
    by_patient = pd.DataFrame({"wrong": wrong & no_finding, "cases": no_finding}).groupby(frame.patientID).sum()
    share = by_patient.wrong.sum() / by_patient.cases.sum()
    error = np.sqrt(((by_patient.wrong - share * by_patient.cases) ** 2).sum()) / by_patient.cases.sum()
    row = table.loc["no_finding_flagged"]
    assert (row.upper - row.lower) / 3.92 == pytest.approx(error, rel=0.07)
    assert table.images.tolist() == [22_433, no_finding.sum(), (~no_finding).sum(), 22_433]
    assert table.patients.iloc[1] == frame.patientID[no_finding].nunique()


def test_adjudicated_labels(real, images, thresholds):
    frame, y_true, y_prob = images
    labels = data.read_adjudicated(real / "google2019_nih-chest-xray-labels.csv.gz")
    table = evaluation.adjudicated_table(frame, y_true, y_prob, labels, thresholds)
    raw = pd.read_csv(real / "google2019_nih-chest-xray-labels.csv.gz").set_index("Image Index")
    for part, set_id in (("test", "test"), ("validation", "val")):
        rows = frame.imgindex.isin(raw.index[raw["Set Id"] == set_id]).to_numpy()
        reference = (raw.loc[frame.imgindex[rows], "Airspace opacity"] == "YES").to_numpy()
        score = y_prob[rows][:, [1, 2, 4, 8]].max(axis=1)
        nih = frame.label[rows].str.contains("Consolidation|Infiltration|Edema|Pneumonia").to_numpy()
        row = table.loc[(part, "Airspace opacity", "auroc")]
        expected = roc_auc_score(nih, score), roc_auc_score(reference, score)
        assert (row.nih, row.radiologists) == pytest.approx(expected, abs=1e-9)
        assert row.difference == pytest.approx(expected[1] - expected[0], abs=1e-9)
        influences = [
            sign * components(true.astype(float), score, frame.patientID[rows])
            for sign, true in ((1, reference), (-1, nih))
        ]
        assert (row.difference_upper - row.difference_lower) / 3.92 == pytest.approx(
            standard_error(influences), rel=0.1
        )
    # Both parts together, as measured with other code.
    pooled = evaluation.adjudicated_table(frame, y_true, y_prob, labels.assign(part="test"), thresholds)
    row = pooled.loc[("test", "Nodule or mass", "auroc")]
    assert row.images == 935 and (row.nih.round(3), row.radiologists.round(3)) == (0.802, 0.857)
