"""Boxes, and heat maps against them, by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cxr_utils import config, data, evaluation

HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"


@pytest.fixture
def listed(tmp_path):
    """Function that writes rows as a list of boxes and returns its path."""

    def write(*rows, header=HEADER):
        path = tmp_path / config.BOXES
        path.write_text(header + "".join(f"{row}\n" for row in rows))
        return path

    return write


def _cases(*rows):
    """Cases `(image, finding, boxes)`, each image of a patient of its own."""
    frame = pd.DataFrame(rows, columns=["image", "label", "boxes"])
    return frame.assign(imgindex=frame.image.astype(str), patientID=frame.image)


def test_boxes_are_read_as_nih_lists_them(listed):
    boxes = data.read_boxes(listed("b.png,Infiltrate,1.5,2,3,4.25,,,", "a.png,Mass,0,0,1024,1024"))
    assert boxes.columns.tolist() == ["imgindex", "label", "x", "y", "w", "h"]
    assert boxes.values.tolist() == [["b.png", "Infiltration", 1.5, 2, 3, 4.25], ["a.png", "Mass", 0, 0, 1024, 1024]]


@pytest.mark.parametrize(
    "row, message",
    [
        ("b.png,Hernia,1,2,3,4", "of b.png is of 'Hernia'; expected one of Atelectasis, .*Pneumothorax"),
        ("b.png,Mass,1000,2,25,4", "of Mass on b.png is 1000, 2, 25, 4; expected .* within 1024×1024"),
        ("b.png,Mass,1,1000,3,25", "of Mass on b.png is 1, 1000, 3, 25;"),
        ("b.png,Mass,-1,2,3,4", "of Mass on b.png is -1, 2, 3, 4;"),
        ("b.png,Mass,1,2,0,4", "of Mass on b.png is 1, 2, 0, 4;"),
        ("b.png,Mass,1,2,wide,4", "of Mass on b.png is 1, 2, wide, 4;"),
        ("b.png,Mass,1,2,3,", "of Mass on b.png is 1.0, 2.0, 3.0, nan;"),
    ],
)
def test_a_row_that_is_no_box_is_named_with_its_list(listed, row, message):
    with pytest.raises(ValueError, match=f"^{config.BOXES}: the box {message}"):
        data.read_boxes(listed("a.png,Mass,1,2,3,4", row))


def test_another_table_or_none_is_refused(listed, tmp_path):
    with pytest.raises(ValueError, match=r"has no column \['Finding Label', 'Bbox \[x', 'y', 'w', 'h\]'\]"):
        data.read_boxes(listed(header="Image Index,label\n"))
    with pytest.raises(FileNotFoundError, match="run 000-data_download"):
        data.read_boxes(tmp_path / "none.csv")


def test_the_real_list_is_whole(real):
    boxes = data.read_boxes(real / "release256" / config.BOXES)
    assert len(boxes) == 984 and boxes.imgindex.nunique() == 880  # facts.md §2
    assert boxes.label.value_counts().to_dict() == {
        "Atelectasis": 180, "Effusion": 153, "Cardiomegaly": 146, "Infiltration": 123, "Pneumonia": 120, "Pneumothorax": 98,
        "Mass": 85, "Nodule": 79,
    }  # fmt: skip
    labels = data.read_labels(real / "release256" / config.LABEL_TABLES[0])
    _, _, test = data.split(data.keep_frequent_combinations(data.one_hot(labels)))
    assert data.select_cases(boxes, test).image.nunique() == 148


def test_the_phantoms_boxes_are_read(small_phantom):
    boxes = data.read_boxes(small_phantom / config.BOXES)
    assert len(boxes) and set(boxes.label) <= set(config.BOXED)


def test_a_model_is_judged_by_test_images_alone(listed):
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
    with pytest.raises(ValueError, match=r"no column \['patientID'\]: run 100"):
        data.select_cases(data.read_boxes(listed(*rows)), test[["imgindex"]])
    none = data.select_cases(data.read_boxes(listed(rows[0])), test)
    table = evaluation.localization_table(none, np.zeros((0, 8, 8), np.float32))
    assert table.loc["all", ["images", "patients"]].tolist() == [0, 0] and np.isnan(table.loc["all", "pointing"])


def test_measures_by_hand():
    # Images of 4×4: a pixel is 256 wide. The first image has two boxes: its upper left pixel, and the lower right quarter.
    cases = _cases(
        (0, "Mass", [(0, 0, 256, 256), (512, 512, 512, 512)]),
        (1, "Mass", [(256, 0, 256, 512)]),
        (2, "Mass", [(0, 0, 256, 256)]),
    )
    heat = np.zeros((3, 4, 4), np.float32)
    heat[0, 3, 3], heat[0, 0, 0], heat[0, 0, 3], heat[0, 1, 0] = 1.0, 0.5, 0.5, 0.25
    heat[1, 3, 0], heat[1, 0, 1] = 1.0, 0.4
    # The third image has no heat: a miss.
    table = evaluation.localization_table(cases, heat)
    assert table.index.tolist() == [*config.BOXED, "all"]
    row = table.loc["Mass"]
    assert (row.images, row.patients) == (3, 3) and row.pointing == pytest.approx(1 / 3)
    assert row.share == pytest.approx((1.5 / 2.25 + 0.4 / 1.4 + 0) / 3)
    # Hot places of the first: three, two of them among the five boxed pixels. The second misses its box.
    assert row.iou == pytest.approx((2 / 6 + 0 + 0) / 3)
    # Wilson's interval as in his paper of 1927.
    z, n, p = norm.ppf(0.975), 3, 1 / 3
    middle, half = (p + z**2 / 2 / n) / (1 + z**2 / n), z * np.sqrt(p * (1 - p) / n + z**2 / 4 / n**2) / (1 + z**2 / n)
    assert (row.lower, row.upper) == pytest.approx((middle - half, middle + half))
    # The others' mean: hottest at the second image's lower left for the first, at the first's lower right for the second, at
    # either of both for the third.
    assert row.mean_pointing == 0
    assert row.mean_share == pytest.approx(((0 / 1.4) + 0 + (0.5 / 3.65)) / 3)
    assert (
        table.loc["all"].equals(row) and table.loc["Nodule", "images"] == 0 and np.isnan(table.loc["Nodule", "upper"])
    )


def test_the_centre_hits_what_lies_there_and_nothing_else():
    heat = np.zeros((2, 65, 65), np.float32)
    table = evaluation.localization_table(
        _cases((0, "Cardiomegaly", [(500, 500, 24, 24)]), (1, "Mass", [(0, 0, 400, 400)])), heat
    )
    assert table.loc["Cardiomegaly", "centre_pointing"] == 1 and table.loc["Mass", "centre_pointing"] == 0
    assert table.loc["all", "centre_pointing"] == 0.5 and table.loc["all", "pointing"] == 0
    # A Gaussian of two deviations to each edge: its half on one side of a line through the centre, its hot disc has a radius of 1.177.
    half = evaluation.localization_table(_cases((0, "Mass", [(0, 0, 512, 1024)])), np.zeros((1, 256, 256))).loc["Mass"]
    assert half.centre_share == pytest.approx(0.5)
    disc = np.pi * (64 * np.sqrt(2 * np.log(2))) ** 2
    assert half.centre_iou == pytest.approx(disc / 2 / (256 * 128 + disc / 2), abs=0.005)


def test_the_mean_map_knows_the_other_images_alone():
    # Three images with heat at one place, the box there; a fourth with both elsewhere, which the mean of the others can't know.
    cases = _cases(
        *[(image, "Nodule", [(0, 0, 256, 256)]) for image in range(3)],
        (3, "Nodule", [(768, 768, 256, 256)]),
        (4, "Mass", [(0, 0, 256, 256)]),
    )
    heat = np.zeros((5, 4, 4), np.float32)
    heat[:3, 0, 0] = heat[3, 3, 3] = heat[4, 0, 0] = 1
    table = evaluation.localization_table(cases, heat)
    assert table.loc["Nodule", ["pointing", "mean_pointing"]].tolist() == [1, 0.75]
    assert table.loc["Mass", ["pointing", "mean_pointing"]].tolist() == [1, 0]  # no other image with a mass
    with pytest.raises(ValueError, match="5 cases and 4 heat maps"):
        evaluation.localization_table(cases, heat[:4])


def test_one_sentence_says_how_far_maps_are_to_be_believed():
    cases = pd.DataFrame(
        {
            "image": range(40),
            "imgindex": "a",
            "patientID": range(40),
            "label": "Mass",
            "boxes": [[(0, 0, 256, 256)]] * 40,
        }
    )
    right = np.zeros((40, 8, 8))
    right[:, 1, 1] = 1
    wrong = right[:, ::-1]
    # A map that is always the same is its own mean map: it can't beat it.
    for heat, said in ((right, "Do not read a place"), (wrong, "Do not read a place")):
        assert said in evaluation.describe_localization(evaluation.localization_table(cases, heat))
    table = evaluation.localization_table(cases, right)
    table.loc["all", ["mean_pointing", "mean_lower", "mean_upper"]] = 0.5, 0.35, 0.65
    assert (
        "in the box on 100% (91%–100%), the image centre on 0%, the hottest point of the finding's mean map on 50%"
        in evaluation.describe_localization(table)
    )
    assert "find the place more often than" in evaluation.describe_localization(table)
    # The blind map's own interval reaches into that of the maps.
    table.loc["all", "mean_upper"] = 0.92
    assert "Do not read a place" in evaluation.describe_localization(table)
    assert "No image with a box" in evaluation.describe_localization(
        evaluation.localization_table(cases[:0], right[:0])
    )
