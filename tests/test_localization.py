"""Bounding boxes and heat maps compared with them, checked against values by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student_t

from cxr_utils import config, data, evaluation
from tests.helpers import from_csv, numbers

HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"


@pytest.fixture
def listed(tmp_path):
    """Function that writes rows to a file of boxes and returns its path."""

    def write(*rows, header=HEADER):
        path = tmp_path / config.BOXES
        path.write_text(header + "".join(f"{row}\n" for row in rows))
        return path

    return write


def _cases(*rows):
    """Cases from `(image, finding, boxes)`; each image is of another patient."""
    frame = pd.DataFrame(rows, columns=["image", "label", "boxes"])
    return frame.assign(imgindex=frame.image.astype(str), patientID=frame.image)


def test_boxes_are_read_in_nihs_format(listed):
    boxes = data.read_boxes(listed("b.png,Infiltrate,1.5,2,3,4.25,,,", "a.png,Mass,0,0,1024,1024"))
    assert boxes.columns.tolist() == ["imgindex", "label", "x", "y", "w", "h"]
    assert boxes.values.tolist() == [["b.png", "Infiltration", 1.5, 2, 3, 4.25], ["a.png", "Mass", 0, 0, 1024, 1024]]


@pytest.mark.parametrize(
    "row, message",
    [
        ("b.png,Hernia,1,2,3,4", "b.png .*'Hernia'.* expected one of Atelectasis, .*Pneumothorax"),
        ("b.png,Mass,1000,2,25,4", "of Mass on b.png is 1000, 2, 25, 4; expected .* within 1024×1024"),
        ("b.png,Mass,1,1000,3,25", "of Mass on b.png is 1, 1000, 3, 25;"),
        ("b.png,Mass,-1,2,3,4", "of Mass on b.png is -1, 2, 3, 4;"),
        ("b.png,Mass,1,2,0,4", "of Mass on b.png is 1, 2, 0, 4;"),
        ("b.png,Mass,1,2,wide,4", "of Mass on b.png is 1, 2, wide, 4;"),
        ("b.png,Mass,1,2,3,", "of Mass on b.png is 1, 2, 3, nan;"),
    ],
)
def test_an_invalid_box_raises_with_its_row_and_file(listed, row, message):
    with pytest.raises(ValueError, match=f"^{config.BOXES}: .*box .*{message}"):
        data.read_boxes(listed("a.png,Mass,1,2,3,4", row))


def test_another_table_or_a_missing_file_raises(listed, tmp_path):
    with pytest.raises(ValueError, match=r"has no column \['Finding Label', 'Bbox \[x', 'y', 'w', 'h\]'\]"):
        data.read_boxes(listed(header="Image Index,label\n"))
    with pytest.raises(FileNotFoundError, match="run 000-data_download"):
        data.read_boxes(tmp_path / "none.csv")


def test_the_real_list_is_complete(real):
    boxes = data.read_boxes(real / "release256" / config.BOXES)
    assert len(boxes) == 984 and boxes.imgindex.nunique() == 880
    assert boxes.label.value_counts().to_dict() == {
        "Atelectasis": 180, "Effusion": 153, "Cardiomegaly": 146, "Infiltration": 123, "Pneumonia": 120,
        "Pneumothorax": 98, "Mass": 85, "Nodule": 79,
    }  # fmt: skip
    labels = data.read_labels(real / "release256" / config.LABEL_TABLES[0])
    _, _, test = data.split(data.keep_frequent_combinations(data.one_hot(labels)))
    assert data.select_cases(boxes, test).image.nunique() == 148


def test_boxes_of_the_phantom_are_read(small_phantom):
    boxes = data.read_boxes(small_phantom / config.BOXES)
    assert len(boxes) and set(boxes.label) <= set(config.BOXED)


def test_only_boxes_on_test_images_are_selected(listed):
    rows = [
        "train.png,Mass,1,1,9,9",
        "b.png,Nodule,2,2,9,9",
        "b.png,Mass,3,3,9,9",
        "a.png,Nodule,4,4,9,9",
        "b.png,Nodule,5,5,9,9",
    ]
    test = pd.DataFrame({"imgindex": ["c.png", "b.png", "a.png"], "patientID": [3, 2, 1]}, index=[70, 80, 90])
    cases = data.select_cases(data.read_boxes(listed(*rows)), test)
    assert cases.values.tolist() == [
        [1, "b.png", 2, "Mass", [(3, 3, 9, 9)]],
        [1, "b.png", 2, "Nodule", [(2, 2, 9, 9), (5, 5, 9, 9)]],
        [2, "a.png", 1, "Nodule", [(4, 4, 9, 9)]],
    ]
    with pytest.raises(ValueError, match=r"no column \['patientID'\].*: run 100"):
        data.select_cases(data.read_boxes(listed(*rows)), test[["imgindex"]])
    none = data.select_cases(data.read_boxes(listed(rows[0])), test)
    table = evaluation.localization_table(none, np.zeros((0, 8, 8), np.float32))
    assert table.loc["all", ["films", "patients"]].tolist() == [0, 0] and np.isnan(table.loc["all", "pointing"])


def test_measures_equal_values_by_hand():
    # Maps of 4×4: one pixel covers 256 original pixels. The first image has two boxes: its upper left pixel and its
    # lower right quarter.
    cases = _cases(
        (0, "Mass", [(0, 0, 256, 256), (512, 512, 512, 512)]),
        (1, "Mass", [(256, 0, 256, 512)]),
        (2, "Mass", [(0, 0, 256, 256)]),
    )
    heat = np.zeros((3, 4, 4), np.float32)
    heat[0, 3, 3], heat[0, 0, 0], heat[0, 0, 3], heat[0, 1, 0] = 1.0, 0.5, 0.5, 0.25
    heat[1, 3, 0], heat[1, 0, 1] = 1.0, 0.4
    # The third image has no heat: it is a miss.
    table = evaluation.localization_table(cases, heat)
    assert table.index.tolist() == [*config.BOXED, "all"]
    row = table.loc["Mass"]
    assert (row.films, row.patients) == (3, 3) and row.pointing == pytest.approx(1 / 3)
    assert row.share == pytest.approx((1.5 / 2.25 + 0.4 / 1.4 + 0) / 3)
    # Three pixels of the first map are hot; two of them are among the five boxed pixels. The second map misses its box.
    assert row.iou == pytest.approx((2 / 6 + 0 + 0) / 3)
    # Wilson score interval (Wilson 1927).
    # The variance between three patients, 2/9 / (3 - 1), gives an effective sample size of 2; the quantile is that of
    # Student's t with 3 - 1 degrees of freedom.
    z, n, p = student_t.ppf(0.975, 2), 2, 1 / 3
    middle, half = (p + z**2 / 2 / n) / (1 + z**2 / n), z * np.sqrt(p * (1 - p) / n + z**2 / 4 / n**2) / (1 + z**2 / n)
    assert (row.lower, row.upper) == pytest.approx((middle - half, middle + half))
    # The mean of the other maps is hottest at the lower left for the first image, at the lower right for the second,
    # and at one of the two for the third.
    assert row.mean_pointing == 0
    assert row.mean_share == pytest.approx(((0 / 1.4) + 0 + (0.5 / 3.65)) / 3)
    assert table.loc["all"].equals(row)
    assert table.loc["Nodule", "films"] == 0 and np.isnan(table.loc["Nodule", "upper"])


def test_the_center_baseline_hits_only_boxes_at_the_center():
    heat = np.zeros((2, 65, 65), np.float32)
    table = evaluation.localization_table(
        _cases((0, "Cardiomegaly", [(500, 500, 24, 24)]), (1, "Mass", [(0, 0, 400, 400)])), heat
    )
    assert table.loc["Cardiomegaly", "centre_pointing"] == 1 and table.loc["Mass", "centre_pointing"] == 0
    assert table.loc["all", "centre_pointing"] == 0.5 and table.loc["all", "pointing"] == 0
    # The edge is two standard deviations from the center. A box over the left half contains half of the heat. The hot
    # area is a disc with a radius of 1.177 standard deviations.
    half = evaluation.localization_table(_cases((0, "Mass", [(0, 0, 512, 1024)])), np.zeros((1, 256, 256))).loc["Mass"]
    assert half.centre_share == pytest.approx(0.5)
    disc = np.pi * (64 * np.sqrt(2 * np.log(2))) ** 2
    assert half.centre_iou == pytest.approx(disc / 2 / (256 * 128 + disc / 2), abs=0.005)


def test_the_mean_map_uses_only_the_other_images():
    # Three images have heat and box in the same corner, a fourth in the opposite corner, where the other maps have no
    # heat.
    cases = _cases(
        *[(image, "Nodule", [(0, 0, 256, 256)]) for image in range(3)],
        (3, "Nodule", [(768, 768, 256, 256)]),
        (4, "Mass", [(0, 0, 256, 256)]),
    )
    heat = np.zeros((5, 4, 4), np.float32)
    heat[:3, 0, 0] = heat[3, 3, 3] = heat[4, 0, 0] = 1
    table = evaluation.localization_table(cases, heat)
    assert table.loc["Nodule", ["pointing", "mean_pointing"]].tolist() == [1, 0.75]
    assert table.loc["Mass", ["pointing", "mean_pointing"]].tolist() == [1, 0]  # no other image has a mass
    with pytest.raises(ValueError, match="5 cases and 4 heat maps"):
        evaluation.localization_table(cases, heat[:4])


def test_the_sentence_states_whether_heat_maps_locate_findings():
    cases = _cases(*[(image, "Mass", [(0, 0, 256, 256)]) for image in range(40)])
    hits = np.zeros((40, 8, 8))
    hits[:, 1, 1] = 1
    misses = hits[:, ::-1]
    # Maps that are all the same are equal to their mean map: they cannot have more hits than this baseline.
    for heat in (hits, misses):
        table = evaluation.localization_table(cases, heat)
        assert evaluation.compare_with_baselines(table.loc["all"]) is None
        assert "do not use" in evaluation.describe_localization(table)
    table = evaluation.localization_table(cases, hits)
    table.loc["all", ["mean_pointing", "mean_lower", "mean_upper"]] = 0.5, 0.35, 0.65
    assert evaluation.compare_with_baselines(table.loc["all"]) == "more often"
    for read in (table, from_csv(table)):
        sentence = evaluation.describe_localization(read)
        assert numbers(sentence) == [40, 40, 95, 100, 91, 100, 0, 0, 9, 50, 35, 65]
        assert "do not use" not in sentence and len(sentence) <= 250
    # The interval of the baseline overlaps with that of the heat maps.
    table.loc["all", "mean_upper"] = 0.92
    assert evaluation.compare_with_baselines(table.loc["all"]) is None
    assert "do not use" in evaluation.describe_localization(table)
    table = evaluation.localization_table(cases, misses)
    table.loc["all", ["mean_pointing", "mean_lower", "mean_upper"]] = 0.5, 0.35, 0.65
    assert evaluation.compare_with_baselines(table.loc["all"]) == "less often"
    assert "do not use" in evaluation.describe_localization(table)
    table = evaluation.localization_table(cases[:0], hits[:0])
    for read in (table, from_csv(table)):
        assert not numbers(evaluation.describe_localization(read))


def test_differences_to_the_baselines_are_paired_by_patient():
    # 200 patients with two images each, both hits or both misses; the image center is never in a box.
    hit, flagged = np.repeat(np.arange(200) % 4 > 0, 2), np.repeat(np.arange(200) < 196, 2)
    cases = _cases(*[(image, "Mass", [(0, 0, 256, 256)]) for image in range(400)])
    cases["patientID"] = np.repeat(np.arange(200), 2)
    heat = np.zeros((400, 8, 8), np.float32)
    heat[hit, 1, 1] = heat[~hit, 6, 6] = 1
    table = evaluation.localization_differences(cases, heat, flagged)
    row = table.loc["all", "image center"]
    assert (row.images, row.patients, row.pointing) == (400, 200, 0.75)
    # The standard error of a proportion of 200 patients, not of 400 images.
    half = 1.96 * np.sqrt(0.75 * 0.25 / 200)
    assert (row.pointing_lower, row.pointing_upper) == pytest.approx((0.75 - half, 0.75 + half), abs=0.008)
    # One of the four pixels of the box is hot; the center's hot area, 1.177 · 2 pixels in radius, leaves it out.
    assert row.iou == pytest.approx(0.75 / 4)
    # The mean of the other maps is hottest where most of them are: in the box, always.
    row = table.loc["all", "mean heat map"]
    assert (row.pointing, row.pointing_upper) == pytest.approx((-0.25, -0.25 + half), abs=0.008)
    assert table.loc["true positives", "image center"].patients == 196
    few = table.loc["false negatives", "image center"]
    assert few.patients == 4 and np.isnan([few.pointing, few.iou, few.iou_upper]).all()
