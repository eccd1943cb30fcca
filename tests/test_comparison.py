"""Model comparison, subgroups and adjudicated labels, checked against scikit-learn and values by hand."""

import gzip

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from cxr_utils import config, data, evaluation
from cxr_utils.evaluation import resampling
from tests.helpers import from_csv, numbers, seeded


@pytest.fixture
def second(predictions):
    """Predictions of another model, with a higher AUROC for Mass and about the same AUROC for the other findings."""
    y_true, y_prob, _ = predictions
    rng = seeded(1)
    other = np.clip(y_prob + rng.normal(0, 0.05, y_prob.shape), 0, 1)
    other[:, 12] = 0.6 * y_true[:, 12] + 0.4 * rng.random(400)
    return other


@pytest.mark.slow
def test_intervals_of_differences_are_paired(predictions, second):
    y_true, first, patients = predictions
    table = evaluation.difference_table(y_true, first, second, patients)
    for finding, label in enumerate(config.LABELS):
        values = [roc_auc_score(y_true[:, finding], prob[:, finding]) for prob in (first, second)]
        assert table.loc[label, ["first", "second"]].tolist() == pytest.approx(values, abs=1e-12)
        assert table.difference[label] == pytest.approx(values[1] - values[0], abs=1e-12)
    assert table.difference["mean"] == pytest.approx(table.difference[config.LABELS].mean(), abs=1e-12)
    names, rng, samples = np.unique(patients), seeded(3), []
    for _ in range(800):
        images = np.concatenate([np.flatnonzero(patients == name) for name in rng.choice(names, len(names))])
        samples.append(np.subtract(*(roc_auc_score(y_true[images, 8], prob[images, 8]) for prob in (second, first))))
    expected = np.percentile(samples, [2.5, 97.5])
    assert table.loc["Pneumonia", ["lower", "upper"]].tolist() == pytest.approx(expected, abs=0.008)
    assert table.significant["Mass"] and not table.significant["Nodule"]
    # The interval of the mean, from the resamples that test_metrics compares with scikit-learn.
    values = [resampling.bootstrap_auroc(y_true, prob, patients)[0] for prob in (second, first)]
    expected = np.percentile((values[0] - values[1]).mean(axis=1), [2.5, 97.5])
    assert table.loc["mean", ["lower", "upper"]].tolist() == pytest.approx(expected, abs=1e-12)
    same = evaluation.difference_table(y_true, first, first, patients)
    assert (same[["difference", "lower", "upper"]] == 0).all(axis=None) and not same.significant.any()


def test_the_sentence_states_the_mean_difference_and_names_the_significant_findings(predictions, second):
    y_true, first, patients = predictions
    table = evaluation.difference_table(y_true, first, second, patients)
    mean = table.loc["mean"]
    higher = table.index[table.significant & (table.difference > 0)].drop("mean")
    lower = table.index[table.significant & (table.difference < 0)]
    assert mean.significant and "Mass" in higher and 0 < len(lower) <= 3
    for read in (table, from_csv(table)):
        sentence = evaluation.describe_difference(read, "old", "new")
        assert sentence.index("new") < sentence.index("old") and len(sentence) <= 240
        assert numbers(sentence)[:5] == pytest.approx([14, mean.difference, 95, mean.lower, mean.upper], abs=5.1e-4)
        # First the findings with a higher AUROC, then those with a lower one.
        named = [label for label in config.LABELS if label.replace("_", " ") in sentence]
        named.sort(key=lambda label: sentence.index(label.replace("_", " ")))
        assert named == [*higher, *lower]
    same = evaluation.difference_table(y_true, first, first, patients)
    sentence = evaluation.describe_difference(same, "old", "new")
    assert not [label for label in config.LABELS if label.replace("_", " ") in sentence]
    nothing = evaluation.difference_table(np.zeros_like(y_true), first, second, patients)
    assert nothing.difference.isna().all() and not nothing.significant.any()
    for read in (nothing, from_csv(nothing)):
        assert not numbers(evaluation.describe_difference(read, "old", "new"))


def test_agreement_equals_scikit_learn_and_scipy(predictions, second):
    _, first, _ = predictions
    thresholds = pd.Series(0.4, config.LABELS)
    thresholds["Edema"] = np.nan
    table = evaluation.agreement_table(first, second, thresholds, thresholds + 0.1)
    a, b = first[:, 12] >= 0.4, second[:, 12] >= 0.5
    assert table.rank_correlation["Mass"] == pytest.approx(spearmanr(first[:, 12], second[:, 12])[0], abs=1e-12)
    assert table.same_flag["Mass"] == pytest.approx((a == b).mean(), abs=1e-12)
    assert table.kappa["Mass"] == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)
    assert np.isnan(table.kappa["Edema"]) and np.isnan(table.same_flag["Edema"])
    with pytest.raises(ValueError, match=r"^5600 of 5600 predictions .* \[0, 1\]; the first is nan"):
        evaluation.agreement_table(first, second * np.nan, thresholds, thresholds)
    with pytest.raises(ValueError, match=r"predictions have shape \(399, 14\)"):
        evaluation.agreement_table(first, second[1:], thresholds, thresholds)


@pytest.fixture
def frame(predictions):
    """DataFrame of the images of `predictions` with the columns that subgroups need; 12 of children, 20 AP."""
    patients = predictions[2]
    # The first and the last year of every age band from 18 on.
    age = np.where(patients % 2, np.where(patients % 4 == 1, 18, 39), np.where(patients % 4, 60, 95))
    age[:12] = np.arange(12) + 6
    view = np.where(np.arange(400) < 20, "AP", "PA")
    sex = np.where(patients % 3, "M", "F")
    names = [f"{number:08d}_000.png" for number in range(400)]
    return pd.DataFrame({"imgindex": names, "patientID": patients, "age": age, "gender": sex, "viewposition": view})


def test_subgroups_equal_values_by_hand(predictions, frame):
    y_true, y_prob, patients = predictions
    thresholds = pd.Series(np.linspace(0.2, 0.7, 14), config.LABELS)
    table = evaluation.subgroup_table(frame, y_true, y_prob, thresholds)
    # Groups of a kind are evaluated on the findings with enough images in each of them.
    women, men = (patients % 3 == 0), (patients % 3 != 0)
    common = [i for i in range(14) if min(y_true[women, i].sum(), y_true[men, i].sum()) >= 10]
    assert 0 < len(common) < 14
    for name, images in (("female", women), ("male", men)):
        row = table.loc["sex", name]
        assert (row.images, row.patients, row.findings) == (images.sum(), len(set(patients[images])), len(common))
        expected = np.mean([roc_auc_score(y_true[images, i], y_prob[images, i]) for i in common])
        assert row.auroc == pytest.approx(expected, abs=1e-12) and row.lower < expected < row.upper
        true, prob = y_true[images][:, common], y_prob[images][:, common]
        assert row.positives == true.sum()
        false_negatives = (prob < thresholds.to_numpy()[common])[true == 1]
        assert row.fnr == pytest.approx(false_negatives.mean(), abs=1e-12)
        assert row.fnr_lower < row.fnr < row.fnr_upper
    assert table.loc["age"].index.tolist() == ["0–17", "18–39", "60+"]
    ages = frame.age.to_numpy()
    assert table.loc["age"].images.tolist() == [12, (ages[12:] < 40).sum(), (ages >= 60).sum()]


@pytest.mark.slow
def test_subgroups_that_are_too_small_are_not_evaluated(predictions, frame):
    y_true, y_prob, _ = predictions
    thresholds = pd.Series(0.4, config.LABELS)
    table = evaluation.subgroup_table(frame, y_true, y_prob, thresholds)
    for kind, group, images in (("age", "0–17", 12), ("view", "AP", 20)):
        row = table.loc[kind, group]
        assert row.images == images and row.findings == 0 and np.isnan(row.auroc) and np.isnan(row.fnr)
    assert table.loc["view", "PA"].findings == 14
    with pytest.raises(ValueError, match=r"no column \['age'\].*: run 100"):
        evaluation.subgroup_table(frame.drop(columns="age"), y_true, y_prob, thresholds)
    with pytest.raises(ValueError, match=r"\b399\b.* labels and predictions .*\b400\b"):
        evaluation.subgroup_table(frame[1:], y_true, y_prob, thresholds)
    # Without any known age there are no age bands; the other kinds are still evaluated.
    table = evaluation.subgroup_table(frame.assign(age=np.nan), y_true, y_prob, thresholds)
    assert table.index.get_level_values("kind").unique().tolist() == ["sex", "view"]


def test_the_sentence_compares_only_groups_of_a_kind_with_enough_images(predictions, frame):
    y_true, y_prob, _ = predictions
    table = evaluation.subgroup_table(frame, y_true, y_prob, pd.Series(0.4, config.LABELS))
    for read in (table, from_csv(table)):
        rates, single = evaluation.describe_subgroups(read).split(". ")
        # Only one of the two views has enough images.
        assert single.endswith(": view.") and "view" not in rates and "PA" not in rates and "0–17" not in rates
        assert "18–39" in rates and "nan" not in rates
        row = table.loc["sex", "female"]
        expected = 100 * row[["fnr", "fnr_lower", "fnr_upper"]].astype(float)
        assert numbers(rates.partition("female")[2])[:3] == pytest.approx(expected.tolist(), abs=0.51)
        assert numbers(rates.partition("by sex")[2])[0] == row.findings
    none = evaluation.describe_subgroups(table[table.findings == 0])
    assert "n/a" in none and none.endswith(": age, view.")


def _write_adjudicated(path, names, pneumothorax, nodule_or_mass):
    yes_no = {True: "YES", False: "NO"}
    table = pd.DataFrame({"Image Index": names, "Fracture": "NO"})
    table["Pneumothorax"] = [yes_no[bool(value)] for value in pneumothorax]
    table["Nodule or mass"] = [yes_no[bool(value)] for value in nodule_or_mass]
    with gzip.open(path, "wt") as stream:
        table.to_csv(stream, index=False)


def test_adjudicated_images_are_evaluated_against_both_labels(predictions, frame, tmp_path):
    y_true, y_prob, _ = predictions
    rng = seeded(2)
    selected = np.sort(rng.choice(400, 250, replace=False))
    pneumothorax = np.where(rng.random(250) < 0.2, 1 - y_true[selected, 3], y_true[selected, 3])
    mass = rng.random(250) < 0.3
    path = tmp_path / "adjudicated.csv.gz"
    # The table has another order, and one image that is not in the frame.
    order = rng.permutation(250)
    names = ["x.png", *frame.imgindex.iloc[selected[order]]]
    _write_adjudicated(path, names, [0, *pneumothorax[order]], [1, *mass[order]])
    table = evaluation.adjudicated_table(frame, y_true, y_prob, data.read_adjudicated(path))
    row = table.loc["Pneumothorax"]
    assert row.images == 250 and row.nih_positives == y_true[selected, 3].sum()
    assert row.nih_auroc == pytest.approx(roc_auc_score(y_true[selected, 3], y_prob[selected, 3]), abs=1e-12)
    assert row.radiologists_auroc == pytest.approx(roc_auc_score(pneumothorax, y_prob[selected, 3]), abs=1e-12)
    assert row.radiologists_lower < row.radiologists_auroc < row.radiologists_upper
    both = (pneumothorax * y_true[selected, 3]).sum()
    assert (row.ppv, row.sensitivity) == pytest.approx((both / y_true[selected, 3].sum(), both / pneumothorax.sum()))
    row = table.loc["Nodule or mass"]
    prob = y_prob[selected][:, 11:13].max(axis=1)
    assert row.nih_positives == y_true[selected][:, 11:13].any(axis=1).sum()
    assert row.radiologists_positives == mass.sum()
    assert row.radiologists_auroc == pytest.approx(roc_auc_score(mass, prob), abs=1e-12)
    with pytest.raises(ValueError, match=r"no column \['patientID'\]"):
        evaluation.adjudicated_table(frame.drop(columns="patientID"), y_true, y_prob, data.read_adjudicated(path))


def test_other_tables_than_the_adjudicated_one_raise(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("Image Index,Pneumothorax\na.png,YES\n")
    with pytest.raises(ValueError, match=r"table\.csv has no column \['Nodule or mass'\].* found .* Majkowska"):
        data.read_adjudicated(path)
    path.write_text("Image Index,Pneumothorax,Nodule or mass\na.png,YES,maybe\n")
    with pytest.raises(ValueError, match=r"table\.csv: a\.png has 'YES' and 'maybe'; expected YES or NO"):
        data.read_adjudicated(path)


def test_the_real_adjudicated_table_has_the_known_agreement_with_nihs_labels(real):
    path = real / "google2019_nih-chest-xray-labels.csv.gz"
    test = pd.read_csv(path)
    test = test[test["Set Id"] == "test"].set_index("Image Index")
    adjudicated = data.read_adjudicated(path).loc[test.index]
    labels = test["Finding Labels"]
    nih = {"Pneumothorax": labels.str.contains("Pneumothorax"), "Nodule or mass": labels.str.contains("Nodule|Mass")}
    y_true = np.zeros((len(test), 14))
    y_true[:, 3], y_true[:, 11] = nih["Pneumothorax"], nih["Nodule or mass"]
    frame = pd.DataFrame({"imgindex": test.index, "patientID": test["Patient ID"].to_numpy()})
    table = evaluation.adjudicated_table(frame, y_true, np.full((len(test), 14), 0.5), adjudicated)
    assert table.images.tolist() == [1962, 1962]
    assert table.ppv.round(3).tolist() == [0.485, 0.565] and table.sensitivity.round(3).tolist() == [0.497, 0.454]
