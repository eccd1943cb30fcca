"""Published results by split, and the model card with the computed results."""

import pandas as pd
import pytest

from cxr_utils import config, evaluation, reports
from cxr_utils.reports import published

OURS = {"baseline (this run)": "0.701 (0.690–0.712), 14 findings"}


@pytest.mark.parametrize("split", list(reports.SPLITS))
def test_published_results_are_in_the_column_of_their_split(split):
    table = reports.published_table(OURS, split, published.WHOLE_SET[split])
    # NIH's official test list for most models, a split by patient for CheXNet, one by image for the 2019 version.
    for model, where, value in (
        ("Wang 2017, ResNet-50", "official", "0.745"),
        ("CheXNet (Rajpurkar 2017), DenseNet-121", "patient", "0.841"),
        ("earlier version of this pipeline (2019), MobileNet", "stratified", "0.80"),
        (*OURS, split, *OURS.values()),
    ):
        row = table.loc[model]
        assert row[row != ""].to_dict() == {reports.SPLITS[where]: value}
    assert list(table) == list(reports.SPLITS.values())


def test_results_on_a_subset_have_a_separate_column():
    table = reports.published_table(OURS, "official", 1300)
    assert list(table)[-1] == "NIH's official split of these 1,300 images"
    assert (table.iloc[:, -1] != "").sum() == 1 and (table.loc[list(OURS)].iloc[:, :-1] == "").all(axis=None)


def test_auroc_is_next_to_average_precision_and_prevalence(predictions):
    y_true, y_prob, patients = predictions
    all_images = evaluation.auroc_table(y_true, y_prob, patients)
    few = evaluation.auroc_table(y_true[:20], y_prob[:20], patients[:20])
    table = reports.auroc_columns(all_images, few)
    assert list(table.index) == [*config.LABELS, "macro-average", "micro-average"]
    row = all_images.loc["Mass"]
    assert table.loc["Mass", "AUROC, all test images"] == f"{row.auroc:.3f} ({row.lower:.3f}–{row.upper:.3f})"
    assert table.loc["Mass", "average precision, all test images"].startswith(f"{row.ap:.3f} (")
    assert table.loc["Mass", "prevalence, all test images"] == f"{y_true[:, config.LABELS.index('Mass')].mean():.3f}"
    assert table.loc["Atelectasis", "AUROC, patients not in the development set"] == "n/a"


def test_operating_points_are_in_columns_next_to_each_other(predictions):
    y_true, y_prob, patients = predictions
    thresholds = pd.Series(0.4, config.LABELS)
    all_images, few, none = (
        evaluation.operating_table(y_true[:images], y_prob[:images], thresholds, patients[:images])
        for images in (400, 60, 0)
    )
    table, row = reports.operating_columns(all_images, few), all_images.loc["Mass"]
    assert table.threshold.tolist() == [0.4] * 14 and len(table.columns) == 1 + 2 * 6
    assert table.loc["Mass", "ppv, all test images"] == f"{row.ppv:.2f} ({row.ppv_lower:.2f}–{row.ppv_upper:.2f})"
    assert table.loc["Mass", "fn_per_1000, patients not in the development set"] == f"{few.fn_per_1000['Mass']:.0f}"
    assert table.loc["Atelectasis", "sensitivity, patients not in the development set"] == "n/a"
    # Without an image of patients not in the development set, their columns are n/a.
    assert (reports.operating_columns(all_images, none).filter(regex="not in the development set") == "n/a").all(
        axis=None
    )
    # Without a finding that has a threshold, the table is empty.
    assert reports.operating_columns(all_images[:0], few[:0]).empty


def test_the_model_card_contains_counts_best_epoch_and_results(home):
    def images(patients, seen, **findings):
        frame = pd.DataFrame({"patientID": patients, **dict.fromkeys(config.LABELS, 0), "seen": seen} | findings)
        frame.attrs["split"] = "stratified"
        return frame

    sets = {
        "training": images([1, 1, 2], False, Mass=[1, 1, 0]),
        "validation": images([1, 3], [True, False]),
        "test": images([2, 4, 5], [True, False, False], Hernia=[0, 0, 1]),
    }
    log = pd.DataFrame({"epoch": [1, 2, 3], "val_mean_auroc": [0.6, 0.75, 0.7]})
    results = pd.DataFrame({"auroc": [0.75, float("nan")]}, index=["Mass", "Hernia"])
    groups = pd.DataFrame(
        {"positives": [7, 0], "fnr": [0.25, float("nan")]},
        pd.MultiIndex.from_tuples([("sex", "women"), ("age", "60+")], names=["kind", "group"]),
    )
    card = reports.write_model_card(
        "baseline",
        "baseline, 64 px",
        "Images: of a test",
        sets,
        log,
        {"Results": results, "Groups": groups},
        {"Results": "A sentence."},
    )
    assert card == home / "test_results" / "model_card_baseline.md"
    text = card.read_text(encoding="utf-8")
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for cells in (line.split("|") for line in text.splitlines())
        if len(cells) > 2
    }
    assert rows["images"] == ["3", "2", "3"] and rows["patients"] == ["2", "2", "3"]
    assert rows["Mass"] == ["0.750"] and rows["Hernia"] == ["n/a"]
    assert rows["kind"] == ["group", "positives", "fnr"]
    assert rows["sex"] == ["women", "7", "0.250"] and rows["age"] == ["60+", "0", "n/a"]
    assert "2 of 3 test images are of patients not in the development set" in text
    assert "3 epochs. The weights of epoch 2 were kept" in text and "(0.750)" in text
    assert "## Results\n\nA sentence.\n\n|" in text
    for phrase in (reports.SPLITS["stratified"], "never makes a diagnosis", "0.485", "Images: of a test"):
        assert phrase in text
