"""Errors per image, by hand; and what every figure of test images states about patients in the development set."""

import numpy as np
import pandas as pd
import pytest

from cxr_utils import config, data, evaluation, plots, reports
from cxr_utils.plots import static
from tests.helpers import from_csv, numbers

# Findings that five images of three patients show, and those that they are flagged for.
SHOWN = [{"Mass"}, {"Mass", "Edema"}, set(), set(), {"Hernia"}]
FLAGGED = [{"Mass"}, {"Nodule"}, {"Mass", "Edema", "Nodule"}, set(), set()]
PATIENTS = [7, 7, 8, 9, 9]


def columns(images):
    return np.array([[label in image for label in config.LABELS] for image in images], float)


def test_errors_per_image_equal_values_by_hand():
    y_prob = 0.1 + 0.8 * columns(FLAGGED)
    # Without a threshold, or without predictions, a finding is not flagged.
    thresholds = pd.Series(0.5, config.LABELS)
    thresholds["Fibrosis"] = np.nan
    y_prob[:, config.LABELS.index("Effusion")] = np.nan
    y_prob[:, config.LABELS.index("Fibrosis")] = 0.9
    table = evaluation.per_image_table(columns(SHOWN), y_prob, thresholds, pd.Series(PATIENTS))
    assert (table.findings == 12).all()
    # The second and third image have a false positive; of the two without a finding, one is flagged; of the three with
    # one, the last is flagged for nothing; 1 + 1 + 3 flags.
    assert table.value.to_dict() == pytest.approx(
        {"any_false_positive": 2 / 5, "no_finding_flagged": 1 / 2, "abnormal_unflagged": 1 / 3, "flagged_findings": 1}
    )
    assert table.images.tolist() == [5, 2, 3, 5] and table.patients.tolist() == [3, 2, 2, 3]
    assert ((table.lower <= table.value) & (table.value <= table.upper)).all()
    for read in (table, from_csv(table)):
        sentence = evaluation.describe_per_image(read)
        shares = 100 * table[["value", "lower", "upper"]].to_numpy()[:3]
        found = numbers(sentence.replace("95 % CI", ""))
        assert found[:9] == pytest.approx(shares.ravel(), abs=0.51) and found[9] == 1
    columns_for_readers = reports.per_image_columns({"a": table})
    assert columns_for_readers.a.tolist()[3].startswith("1.00 (")


def test_no_image_and_no_threshold_are_not_available():
    y_true = columns(SHOWN)
    nothing = evaluation.per_image_table(y_true, 0.5 * y_true, pd.Series(np.nan, config.LABELS), PATIENTS)
    assert nothing.value.isna().all() and not nothing.findings.any()
    assert "nan" not in evaluation.describe_per_image(nothing)
    all_abnormal = evaluation.per_image_table(y_true[:2], y_true[:2], pd.Series(0.5, config.LABELS), PATIENTS[:2])
    assert all_abnormal.value.isna().tolist() == [False, True, False, False]


def test_figures_of_test_images_state_the_overlap_with_the_development_set(home):
    assert "60 % of" in data.describe_overlap(pd.DataFrame({"seen": [True, True, False, True, False]}))
    # With a split by patient there is none, and nothing to state.
    note = data.describe_overlap(pd.DataFrame({"seen": [False, False]}))
    assert note == "" and data.image_source(note) == data.image_source()
    chart = plots.horizontal_bars(pd.Series({"a": 1}), "title", "images")
    texts = [text.get_text() for text in static.chart_to_matplotlib(chart, source_note="60 % of them").texts]
    assert f"{data.image_source()}; 60 % of them" in texts
    reports.write_slides("A talk", [reports.Slide("A title", "A sentence.")], "60 % of them")
    assert "60 % of them" in (home / "presentation" / "slides.html").read_text(encoding="utf-8")
