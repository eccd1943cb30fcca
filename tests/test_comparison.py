"""Model comparison, subgroups and adjudicated labels, checked against scikit-learn and values by hand."""

import functools
import gzip
import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from sklearn.metrics import cohen_kappa_score, f1_score, precision_score, recall_score, roc_auc_score

from cxr_utils import config, data, evaluation
from cxr_utils.evaluation import differences, resampling
from tests.helpers import from_csv, numbers, seeded

MARGIN = 0.01


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
    table = evaluation.difference_table(y_true, first, second, patients, MARGIN)
    for finding, label in enumerate(config.LABELS):
        values = [roc_auc_score(y_true[:, finding], prob[:, finding]) for prob in (first, second)]
        assert table.loc[label, ["first", "second"]].tolist() == pytest.approx(values, abs=1e-12)
        assert table.difference[label] == pytest.approx(values[1] - values[0], abs=1e-12)
    assert table.difference["mean"] == pytest.approx(table.difference[config.LABELS].mean(), abs=1e-12)
    names, rng, samples = np.unique(patients), seeded(3), []
    for _ in range(800):
        images = np.concatenate([np.flatnonzero(patients == name) for name in rng.choice(names, len(names))])
        samples.append(np.subtract(*(roc_auc_score(y_true[images, 8], prob[images, 8]) for prob in (second, first))))
    expected = np.percentile(samples, [2.5, 97.5, 5, 95])
    assert table.loc["Pneumonia", [*differences.LIMITS]].tolist() == pytest.approx(expected, abs=0.008)
    # The interval of the mean, from the resamples that test_metrics compares with scikit-learn.
    values = [resampling.bootstrap_auroc(y_true, prob, patients)[0] for prob in (second, first)]
    expected = np.percentile((values[0] - values[1]).mean(axis=1), [2.5, 97.5, 5, 95])
    assert table.loc["mean", [*differences.LIMITS]].tolist() == pytest.approx(expected, abs=1e-12)
    same = evaluation.difference_table(y_true, first, first, patients, MARGIN)
    assert (same[["difference", *differences.LIMITS]] == 0).all(axis=None)
    assert (same.p_holm[:-1] == 1).all() and (same.conclusion[:-1] == "inconclusive").all()
    assert same.conclusion["mean"] == "equivalent"


# 95 % interval, 90 % interval and what they show with a margin of 0.01, by the rule of `difference_table`.
CONCLUSIONS = [
    ((0.001, 0.03), (0.003, 0.028), "better"),
    ((0.0001, 0.004), (0.0004, 0.003), "better"),
    ((-0.03, -0.001), (-0.028, -0.003), "worse"),
    ((-0.009, 0.011), (-0.007, 0.0099), "equivalent"),
    ((-0.011, 0.008), (-0.0099, 0.006), "equivalent"),
    ((-0.012, 0.001), (-0.0101, -0.001), "inconclusive"),
    ((-0.009, 0.02), (-0.007, 0.018), "non-inferior"),
    ((-0.02, 0.02), (-0.018, 0.018), "inconclusive"),
]


@pytest.mark.parametrize(("lower_upper", "inner", "conclusion"), CONCLUSIONS)
def test_the_conclusion_follows_from_the_intervals_and_the_margin(
    predictions, second, monkeypatch, lower_upper, inner, conclusion
):
    y_true, first, patients = predictions
    compute = differences.difference_columns

    def replaced(*arguments):
        table = compute(*arguments)
        table.loc[table.index[-1], [*differences.LIMITS]] = [*lower_upper, *inner]
        return table

    monkeypatch.setattr(differences, "difference_columns", replaced)
    few = functools.partial(resampling.bootstrap_auroc, resamples=20)
    monkeypatch.setattr(resampling, "bootstrap_auroc", few)
    table = evaluation.difference_table(y_true, first, second, patients, 0.01)
    assert table.conclusion["mean"] == conclusion
    assert conclusion in evaluation.describe_difference(from_csv(table), "old", "new").split("margin")[0]


def test_p_values_are_those_of_a_t_test_corrected_by_holm(predictions, second):
    y_true, first, patients = predictions
    table = evaluation.difference_table(y_true, first, second, patients, MARGIN)
    samples = [resampling.bootstrap_auroc(y_true, prob, patients)[0] for prob in (first, second)]
    statistic = table.difference[:-1] / np.std(samples[1] - samples[0], axis=0, ddof=1)
    counts = [[len(set(patients[column == value])) for column in y_true.T] for value in (0, 1)]
    p = 2 * t.sf(np.abs(statistic), np.min(counts, axis=0) - 1)
    # Holm's step-down procedure: the largest of all earlier p-values, each times the number of those not smaller.
    expected = [min(1, max(p[j] * (p >= p[j]).sum() for j in range(14) if p[j] <= p[i])) for i in range(14)]
    assert table.p_holm[:-1].tolist() == pytest.approx(expected, rel=1e-9)
    assert np.isnan(table.p_holm["mean"])
    significant = table.conclusion[:-1] != "inconclusive"
    assert (significant == (table.p_holm[:-1] < 0.05)).all() and table.conclusion["Mass"] == "better"
    assert 0 < significant.sum() < 14
    # Three p-values by hand; a missing one does not count.
    assert differences.holm([0.04, np.nan, 0.01, 0.03]) == pytest.approx([0.06, np.nan, 0.03, 0.06], nan_ok=True)
    assert differences.holm([0.6, 0.7]).tolist() == [1, 1] and len(differences.holm([])) == 0


def test_the_sentence_states_the_mean_difference_and_names_the_findings_that_differ(predictions, second):
    y_true, first, patients = predictions
    table = evaluation.difference_table(y_true, first, second, patients, MARGIN)
    mean, single = table.loc["mean"], table.drop("mean")
    better, worse = (single.index[single.conclusion == name] for name in ("better", "worse"))
    assert "Mass" in better
    for read in (table, from_csv(table)):
        sentence = evaluation.describe_difference(read, "old", "new")
        assert sentence.index("new") < sentence.index("old") and len(sentence) <= 240
        expected = [14, mean.difference, 95, mean.lower, mean.upper, MARGIN]
        assert numbers(sentence)[:6] == pytest.approx(expected, abs=5.1e-4)
        # First the findings with a higher AUROC, then those with a lower one.
        named = [label for label in config.LABELS if label.replace("_", " ") in sentence]
        named.sort(key=lambda label: sentence.index(label.replace("_", " ")))
        assert named == [*better, *worse]
    same = evaluation.difference_table(y_true, first, first, patients, MARGIN)
    sentence = evaluation.describe_difference(same, "old", "new")
    assert not [label for label in config.LABELS if label.replace("_", " ") in sentence]
    # A difference that rounds to 0 has no sign.
    tiny = same.assign(difference=-1e-5, lower=-2e-4, upper=1e-5)
    for zero in (sentence, evaluation.describe_difference(tiny, "old", "new")):
        assert "0.000 (95 % CI 0.000 to 0.000)" in zero and not re.search(r"[+−-]0\.000", zero)
    nothing = evaluation.difference_table(np.zeros_like(y_true), first, second, patients, MARGIN)
    assert nothing.difference.isna().all() and nothing.conclusion.isna().all()
    for read in (nothing, from_csv(nothing)):
        assert not numbers(evaluation.describe_difference(read, "old", "new"))


def test_agreement_equals_scikit_learn(predictions, second):
    _, first, patients = predictions
    thresholds = pd.Series(0.4, config.LABELS)
    thresholds["Edema"] = np.nan
    # The first model flags nothing.
    thresholds["Nodule"] = 1.1
    table = evaluation.agreement_table(first, second, thresholds, thresholds + 0.1, patients)
    for label in ("Mass", "Hernia"):
        finding = config.LABELS.index(label)
        a, b = first[:, finding] >= 0.4, second[:, finding] >= 0.5
        row = table.loc[label]
        assert (row["first"], row["second"]) == (a.sum(), b.sum())
        # Positive agreement is the F1 score of one model's flags against the other's.
        assert row.positive_agreement == pytest.approx(f1_score(a, b), abs=1e-12)
        assert row.lower < row.positive_agreement < row.upper
        assert row.kappa == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)
    assert table.loc["Edema"].isna().all()
    assert table.loc["Nodule", ["positive_agreement", "kappa"]].isna().all()
    known = table.drop(["mean", "Edema", "Nodule"])
    assert table.loc["mean", ["positive_agreement", "kappa"]].tolist() == pytest.approx(
        known[["positive_agreement", "kappa"]].mean().tolist(), abs=1e-12
    )
    with pytest.raises(ValueError, match=r"^5600 of 5600 predictions .* \[0, 1\]; the first is nan"):
        evaluation.agreement_table(first, second * np.nan, thresholds, thresholds, patients)
    with pytest.raises(ValueError, match=r"predictions have shape \(399, 14\)"):
        evaluation.agreement_table(first, second[1:], thresholds, thresholds, patients)


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
    # Groups of a kind are evaluated on the findings with enough patients in each of them.
    women, men = (patients % 3 == 0), (patients % 3 != 0)
    common = [
        i for i in range(14) if min(len(set(patients[group & (y_true[:, i] == 1)])) for group in (women, men)) >= 10
    ]
    assert 0 < len(common) < 14
    values = {}
    for name, images in (("female", women), ("male", men)):
        rows = table.loc["sex", name]
        assert (rows.images == images.sum()).all() and (rows.findings == len(common)).all()
        assert (rows.patients == len(set(patients[images]))).all() and (rows.reference == "male").all()
        true, prob = y_true[images][:, common], y_prob[images][:, common]
        flags = prob >= thresholds.to_numpy()[common]
        columns = list(zip(true.T, flags.T, strict=True))
        values[name] = {
            "auroc": np.mean([roc_auc_score(*pair) for pair in zip(true.T, prob.T, strict=True)]),
            "sensitivity": np.mean([recall_score(*pair) for pair in columns]),
            "sensitivity_pooled": flags[true == 1].mean(),
            "false_positive_rate": np.mean([1 - recall_score(1 - a, ~b) for a, b in columns]),
            "false_positive_rate_pooled": flags[true == 0].mean(),
        }
        for measure, expected in values[name].items():
            row = rows.loc[measure]
            assert row.value == pytest.approx(expected, abs=1e-12) and row.lower < row.value < row.upper
    assert table.index.get_level_values("measure").unique().tolist() == list(evaluation.MEASURES)
    for measure in evaluation.MEASURES:
        row = table.loc["sex", "female", measure]
        assert row.difference == pytest.approx(values["female"][measure] - values["male"][measure], abs=1e-12)
        assert row.difference_lower < row.difference < row.difference_upper
    assert table.loc["sex", "male"].difference.isna().all() and table.loc["sex", "male"].p_holm.isna().all()
    counts = table.xs("auroc", level="measure").images["age"]
    ages = frame.age.to_numpy()
    assert counts.to_dict() == {"0–17": 12, "18–39": (ages[12:] < 40).sum(), "60+": (ages >= 60).sum()}


@pytest.mark.slow
def test_groups_that_share_patients_are_drawn_from_the_same_resamples(predictions, frame):
    """Half of each patient's images are PA, half AP, with the same labels and predictions: no difference at all."""
    y_true, y_prob, _ = predictions
    both = pd.concat([frame.assign(viewposition="PA"), frame.assign(viewposition="AP")], ignore_index=True)
    table = evaluation.subgroup_table(
        both, np.tile(y_true, (2, 1)), np.tile(y_prob, (2, 1)), pd.Series(0.4, config.LABELS)
    )
    row = table.loc["view", "PA"]
    assert (row[["difference", "difference_lower", "difference_upper"]].dropna() == 0).all(axis=None)
    # Patients of different sex are independent: the variances of the groups add up.
    widths = {name: table.loc["sex", name].eval("upper - lower") for name in ("female", "male")}
    expected = np.hypot(widths["female"], widths["male"])
    found = table.loc["sex", "female"].eval("difference_upper - difference_lower")
    assert found.to_numpy() == pytest.approx(expected.to_numpy(), rel=0.1)


@pytest.mark.slow
def test_subgroups_that_are_too_small_are_not_evaluated(predictions, frame):
    y_true, y_prob, _ = predictions
    thresholds = pd.Series(0.4, config.LABELS)
    table = evaluation.subgroup_table(frame, y_true, y_prob, thresholds)
    for kind, group, images in (("age", "0–17", 12), ("view", "AP", 20)):
        rows = table.loc[kind, group]
        assert (rows.images == images).all() and not rows.findings.any()
        assert rows[["value", "difference", "p_holm"]].isna().all(axis=None)
    assert (table.loc["view", "PA"].findings == 14).all()
    with pytest.raises(ValueError, match=r"no column \['age'\].*: run 100"):
        evaluation.subgroup_table(frame.drop(columns="age"), y_true, y_prob, thresholds)
    with pytest.raises(ValueError, match=r"\b399\b.* labels and predictions .*\b400\b"):
        evaluation.subgroup_table(frame[1:], y_true, y_prob, thresholds)
    # Without any known age there are no age bands; the other kinds are still evaluated.
    table = evaluation.subgroup_table(frame.assign(age=np.nan), y_true, y_prob, thresholds)
    assert table.index.get_level_values("kind").unique().tolist() == ["sex", "view"]


def test_the_sentence_on_subgroups_follows_from_the_corrected_differences(predictions, frame):
    y_true, y_prob, _ = predictions
    # The model is random for women.
    women = (frame.gender == "F").to_numpy()
    y_prob = np.where(women[:, None], seeded(5).random(y_prob.shape), y_prob)
    table = evaluation.subgroup_table(frame, y_true, y_prob, pd.Series(0.4, config.LABELS))
    tested = table.dropna(subset="p_holm")
    significant = tested[tested.p_holm < 0.05]
    assert 0 < len(significant) < len(tested) and "auroc" in significant.index.get_level_values("measure")
    for read in (table, from_csv(table)):
        title, sentence = evaluation.describe_subgroups(read)
        assert numbers(title) == [len(significant), len(tested)] and sentence.startswith(title)
        assert "nan" not in sentence and len(sentence) <= 400
        # Only one of the two views has enough images.
        assert sentence.endswith(": view.") and "PA" not in sentence and "0–17" not in sentence
        (_, group, measure), row = next(significant.sort_values("p_holm").iterrows())
        words = f"{group} − {row.reference}, {evaluation.MEASURES[measure]} "
        limits = row[["difference", "difference_lower", "difference_upper"]].astype(float)
        stated = numbers(sentence.partition(words)[2].replace("95 % CI", ""))[:3]
        assert stated == pytest.approx(limits.tolist(), abs=0.0051)
    # No difference is named without significance, and none without a comparison.
    for few, count in ((table.assign(p_holm=table.p_holm * 0 + 1), len(tested)), (table[table.findings == 0], None)):
        title, sentence = evaluation.describe_subgroups(few)
        assert numbers(title) == ([0, count] if count else []) and sentence.startswith(title)
        assert "CI" not in sentence and "female" not in sentence


def _write_adjudicated(path, names, labels, part="test"):
    table = pd.DataFrame({"Image Index": names, "Fracture": "NO", "Set Id": part})
    for name, present in zip(data.ADJUDICATED, labels, strict=True):
        table[name] = np.where(np.asarray(present, bool), "YES", "NO")
    with gzip.open(path, "wt") as stream:
        table.to_csv(stream, index=False)


def test_adjudicated_images_are_evaluated_against_both_labels(predictions, frame, tmp_path):
    y_true, y_prob, patients = predictions
    rng = seeded(2)
    selected = np.sort(rng.choice(400, 300, replace=False))
    labels = rng.random((3, 300)) < 0.3
    labels[0] = np.where(rng.random(300) < 0.2, 1 - y_true[selected, 3], y_true[selected, 3])
    parts = np.where(np.arange(300) < 200, "test", "val")
    path = tmp_path / "adjudicated.csv.gz"
    # The table has another order, and one image that is not in the frame.
    order = rng.permutation(300)
    names = ["x.png", *frame.imgindex.iloc[selected[order]]]
    _write_adjudicated(path, names, np.column_stack([[0, 1, 0], labels[:, order]]), ["val", *parts[order]])
    thresholds = pd.Series(np.linspace(0.6, 0.8, 14), config.LABELS)
    table = evaluation.adjudicated_table(frame, y_true, y_prob, data.read_adjudicated(path), thresholds)
    assert table.index.get_level_values("part").unique().tolist() == ["test", "validation"]
    findings = {"Pneumothorax": [3], "Nodule or mass": [11, 12], "Airspace opacity": [1, 2, 4, 8]}
    assert list(findings) == list(data.ADJUDICATED)
    for part, chosen in (("test", slice(0, 200)), ("validation", slice(200, 300))):
        images = selected[chosen]
        for (name, columns), label in zip(findings.items(), labels[:, chosen], strict=True):
            nih, prob = y_true[images][:, columns].any(axis=1), y_prob[images][:, columns].max(axis=1)
            flagged = (y_prob[images][:, columns] >= thresholds.to_numpy()[columns]).any(axis=1)
            rows = table.loc[part, name]
            assert (rows.images == len(images)).all() and (rows.patients == len(set(patients[images]))).all()
            assert (rows.nih_positives == nih.sum()).all() and (rows.radiologists_positives == label.sum()).all()
            for source, true in (("nih", nih), ("radiologists", label)):
                expected = [roc_auc_score(true, prob), recall_score(true, flagged), recall_score(~true, ~flagged)]
                assert rows[source][:3].tolist() == pytest.approx(expected, abs=1e-12)
                assert (rows[f"{source}_lower"] <= rows[source]).all() and (
                    rows[f"{source}_upper"] >= rows[source]
                ).all()
            assert rows.difference[:3].tolist() == pytest.approx((rows.radiologists - rows.nih)[:3].tolist(), abs=1e-12)
            # The quality of NIH's label: its PPV and its sensitivity.
            confirmed = rows.loc["confirmed", ["nih", "radiologists"]].tolist()
            assert confirmed == pytest.approx([precision_score(label, nih), recall_score(label, nih)], abs=1e-12)
    # The intervals of the difference are paired: the resamples are those of test_metrics.
    images = selected[:200]
    true = np.column_stack([y_true[images, 3], labels[0, :200]])
    samples = resampling.bootstrap_auroc(true, y_prob[images][:, [3, 3]], patients[images])[0]
    row = table.loc["test", "Pneumothorax", "auroc"]
    assert [row.difference_lower, row.difference_upper] == pytest.approx(
        np.percentile(samples[:, 1] - samples[:, 0], [2.5, 97.5]), abs=1e-12
    )
    # Without a threshold of one finding, there are only AUROC and the quality of the label.
    thresholds["Mass"] = np.nan
    again = evaluation.adjudicated_table(frame, y_true, y_prob, data.read_adjudicated(path), thresholds)
    missing = again.nih.isna()
    assert missing.sum() == 4 and set(again.index[missing].get_level_values("finding")) == {"Nodule or mass"}
    with pytest.raises(ValueError, match=r"no column \['patientID'\]"):
        evaluation.adjudicated_table(
            frame.drop(columns="patientID"), y_true, y_prob, data.read_adjudicated(path), thresholds
        )


def test_other_tables_than_the_adjudicated_one_raise(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("Image Index,Set Id,Pneumothorax,Airspace opacity\na.png,test,YES,NO\n")
    with pytest.raises(ValueError, match=r"table\.csv has no column \['Nodule or mass'\].* found .* Majkowska"):
        data.read_adjudicated(path)
    header = "Image Index,Set Id,Pneumothorax,Nodule or mass,Airspace opacity\n"
    for row, found in (("test,YES,maybe,NO", "'YES', 'maybe', 'NO'"), ("train,YES,NO,NO", "'train'")):
        path.write_text(f"{header}a.png,{row}\n")
        with pytest.raises(ValueError, match=rf"table\.csv: a\.png has .*{found}.*; expected YES or NO, .*test or val"):
            data.read_adjudicated(path)


def test_the_real_adjudicated_table_has_the_known_agreement_with_nihs_labels(real):
    path = real / "google2019_nih-chest-xray-labels.csv.gz"
    table = pd.read_csv(path)
    labels = table["Finding Labels"]
    y_true = np.column_stack([labels.str.split("|").map(set(label.split()).issubset) for label in config.LABELS])
    frame = pd.DataFrame({"imgindex": table["Image Index"], "patientID": table["Patient ID"]})
    found = evaluation.adjudicated_table(
        frame, y_true.astype(float), np.full(y_true.shape, 0.5), data.read_adjudicated(path),
        pd.Series(0.4, config.LABELS),
    )  # fmt: skip
    found = found.xs("confirmed", level="measure")
    assert found.images["test"].tolist() == [1962] * 3 and found.images["validation"].tolist() == [2414] * 3
    # PPV of NIH's label, then its sensitivity; published for the test part, and the PPV of both parts.
    assert found.loc["test"].nih[:2].round(3).tolist() == [0.485, 0.565]
    assert found.loc["test"].radiologists[:2].round(3).tolist() == [0.497, 0.454]
    assert found.nih["validation", "Pneumothorax"].round(3) == 0.316
    # By hand, from the two columns of the table.
    test = table[table["Set Id"] == "test"]
    opacity = test["Airspace opacity"] == "YES"
    nih = test["Finding Labels"].str.contains("Consolidation|Infiltration|Edema|Pneumonia")
    assert found.loc["test", "Airspace opacity"][["nih", "radiologists"]].tolist() == pytest.approx(
        [(opacity & nih).sum() / nih.sum(), (opacity & nih).sum() / opacity.sum()], abs=1e-12
    )
