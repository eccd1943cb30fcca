"""The model card, and the columns of results for readers."""

import re

import pandas as pd

from cxr_utils import config, data, evaluation, reports


def test_auroc_average_precision_and_prevalence_are_next_to_each_other(predictions):
    y_true, y_prob, patients = predictions
    result = evaluation.auroc_table(y_true, y_prob, patients)
    table, row = reports.auroc_columns(result), result.loc["Mass"]
    assert list(table.index) == [*config.LABELS, "macro-average", "micro-average"]
    assert table.loc["Mass", "AUROC (95 % CI)"] == f"{row.auroc:.3f} ({row.lower:.3f}–{row.upper:.3f})"
    assert table.loc["Mass", "average precision (95 % CI)"] == f"{row.ap:.3f} ({row.ap_lower:.3f}–{row.ap_upper:.3f})"
    mass = y_true[:, config.LABELS.index("Mass")]
    assert table.loc["Mass", "prevalence"] == f"{mass.mean():.3f}"
    assert table.loc["Mass", "images with the finding"] == f"{mass.sum():.0f}"
    assert table.loc["Mass", "patients with the finding"] == f"{len(set(patients[mass == 1]))}"
    assert table.loc["macro-average", "AUROC (95 % CI)"].startswith(f"{result.auroc.mean():.3f} (")
    assert table.loc["micro-average", "images with the finding"] == ""


def test_an_unknown_auroc_is_not_a_number(predictions):
    y_true, y_prob, patients = (values[:20] for values in predictions)
    assert reports.auroc_columns(evaluation.auroc_table(y_true, y_prob, patients)).iloc[0, 0] == "n/a"


def test_operating_points_have_intervals_and_errors_per_1000(predictions):
    y_true, y_prob, patients = predictions
    thresholds = pd.Series(0.4, config.LABELS)
    result = evaluation.operating_table(y_true, y_prob, thresholds, patients)
    table, row = reports.operating_columns(result), result.loc["Mass"]
    assert table["threshold (uncalibrated)"].tolist() == [0.4] * 14
    assert table.loc["Mass", "PPV (95 % CI)"] == f"{row.ppv:.2f} ({row.ppv_lower:.2f}–{row.ppv_upper:.2f})"
    flagged, mass = y_prob[:, config.LABELS.index("Mass")] >= 0.4, y_true[:, config.LABELS.index("Mass")] == 1
    for name, wrong, rate in (("positives", flagged & ~mass, "fp"), ("negatives", ~flagged & mass, "fn")):
        limits = f"({row[f'{rate}_per_1000_lower']:.0f}–{row[f'{rate}_per_1000_upper']:.0f})"
        assert table.loc["Mass", f"false {name} per 1,000 (95 % CI)"] == f"{1000 * wrong.mean():.0f} {limits}"
    elsewhere, row = (
        reports.operating_columns(result, prevalence=0.02),
        evaluation.at_prevalence(result, 0.02).loc["Mass"],
    )
    assert elsewhere[table.columns].equals(table)
    assert elsewhere.loc["Mass", "PPV at a prevalence of 2 % (95 % CI)"] == (
        f"{row.ppv:.3f} ({row.ppv_lower:.3f}–{row.ppv_upper:.3f})"
    )
    few = evaluation.operating_table(y_true[:20], y_prob[:20], thresholds, patients[:20])
    assert reports.operating_columns(few).loc["Atelectasis", "sensitivity (95 % CI)"] == "n/a"
    assert list(reports.operating_columns(result, ["npv", "sensitivity"]).loc["Mass"]) == [
        table.loc["Mass", "NPV (95 % CI)"], table.loc["Mass", "sensitivity (95 % CI)"],
    ]  # fmt: skip
    # Without a finding that has a threshold, the table is empty.
    assert list(reports.operating_columns(result[:0])) == list(table) and reports.operating_columns(result[:0]).empty


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
        {"learning rate": 0.001, "initial weights": {"file": "some_weights.h5", "sha256": "0123abcd"}},
        log,
        ["A sentence.", "Another one."],
        {"Tables": results, "Groups": groups},
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
    assert re.search(r"\b2 of 3 test images\b", text) and re.search(r"\b3 epochs\b.*\bepoch 2\b.*\b0\.750\b", text)
    assert "some_weights.h5" in text and "0123abcd" in text
    assert "\n- A sentence.\n- Another one.\n" in text
    # Which findings are absent from which set, and what follows.
    assert data.absent_findings(sets) in text and "Hernia" in data.absent_findings(sets)
    assert "clinical use" not in text
    # The model of a phantom has none, and its card says so.
    (home / "data").mkdir()
    (home / "data" / config.RELEASE_NOTE).write_text("Drawings\nkind: phantom\n", encoding="utf-8")
    arguments = ["baseline", "baseline, 64 px", "Images: drawings", sets, {}, log, [], {}]
    drawn = reports.write_model_card(*arguments).read_text(encoding="utf-8")
    assert "no clinical use" in drawn and "urgency" not in drawn
    for phrase in (reports.SPLITS["stratified"], "never makes a diagnosis", "0.485", "Images: of a test"):
        assert phrase in text
