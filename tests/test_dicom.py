"""Tests of `data.dicom_pixels` and `data.dicom_tags`: files of devices that were misread, and more of each kind."""

import csv
import io
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from cxr_utils import data, phantom
from tests.conftest import REPOSITORY

CASES = [
    "reference.png", "reference.dcm", "bits_stored_too_small.dcm", "voi_lut_256_entries.dcm", "marker_65535.dcm",
    "presentation_lut_inverse.dcm", "signed_padding_written_unsigned.dcm", "padding_empty.dcm",
    "voi_lut_function_empty.dcm", "age_7.dcm", "lateral_in_protocol_name.dcm", "body_part_torax.dcm", "modality_dr.dcm",
    "no_preamble.dcm",
]  # fmt: skip
SIZE = 128  # input size of the model
WARNED = {"same": "", "same or reject": "", "same with a warning, or reject": "WARNING", "warn child": "child"}


@pytest.fixture(scope="module")
def image():
    return draw_image()


def draw_image(size=512):
    """Returns a phantom image with a pneumonia, `(size, size)` uint8, with 0 and 255 in its middle."""
    drawn, _ = phantom.draw_image(11, 1, 0, "M", 50, "PA", ["Pneumonia"])
    image = cv2.normalize(cv2.resize(drawn, (size, size)), None, 0, 255, cv2.NORM_MINMAX)
    image[size // 2, size // 2 : size // 2 + 4] = 0, 0, 255, 255  # where no border of a test hides them
    return image


def make_cases(image, folder):
    """Writes the files of `make_dicom_cases.py`; returns the rows of `cases.csv` by file, and the folder."""
    cv2.imwrite(str(folder / "image.png"), image)
    script = REPOSITORY / "tests" / "make_dicom_cases.py"
    subprocess.run([sys.executable, "-W", "ignore", script, folder / "image.png", folder / "out"], check=True)
    with open(folder / "out" / "cases.csv", encoding="utf-8") as stream:
        return {row["file"]: row for row in csv.DictReader(stream)}, folder / "out"


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return make_cases(draw_image(256), tmp_path_factory.mktemp("cases"))


def standardized(image):
    small = data.resize(image, SIZE).astype(float)
    return (small - small.mean()) / small.std()


def assert_same(found, expected):
    """Compares two pictures as the model gets them."""
    found, expected = standardized(found), standardized(expected)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] >= 0.999
    assert np.quantile(np.abs(found - expected), 0.99) <= 0.05


def as_bytes(dataset):
    """Returns a dataset as a DICOM file."""
    buffer = io.BytesIO()
    with pydicom.config.disable_value_validation():
        dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def read(tmp_path, dataset, accepted=()):
    """Writes a dataset as a DICOM file and reads it as a user's image."""
    (tmp_path / "file.dcm").write_bytes(as_bytes(dataset))
    return data.read_user_image(tmp_path / "file.dcm", accepted)


def code(meaning=None, value=None):
    """Returns an item of a code sequence."""
    item = Dataset()
    item.CodeMeaning, item.CodeValue = meaning, value
    return item


def as_utf_8(text):
    """Returns a text for a code string, which pydicom writes as Latin-1: the file then has it in UTF-8."""
    return text.encode("utf-8").decode("latin-1")


def dicom(pixels, **tags):
    """Returns a radiograph with these stored values; a value `None` deletes a tag, bytes are written as they are."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "4711-secret"
    given = {
        "Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA", "PatientAge": "058Y",
        "Rows": pixels.shape[0], "Columns": pixels.shape[1], "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 8 * pixels.itemsize,
        "BitsStored": 12 if pixels.itemsize == 2 else 8, "PixelRepresentation": int(pixels.dtype.kind == "i"),
    } | tags  # fmt: skip
    given |= {"SpecificCharacterSet": "ISO_IR 192"}
    given.setdefault("HighBit", (given["BitsStored"] or 12) - 1)
    dataset.PixelData = pixels.tobytes()
    with pydicom.config.disable_value_validation():
        for tag, value in given.items():
            if value is not None:
                setattr(dataset, tag, value)
            elif tag in dataset:
                del dataset[tag]
    return dataset


@pytest.mark.parametrize("name", CASES)
def test_each_case_gives_the_picture_of_its_reference(cases, name):
    rows, folder = cases
    assert list(rows) == CASES
    found, notes = data.read_user_image(folder / name)
    expected, _ = data.read_user_image(folder / rows[name]["reference"])
    assert_same(found, expected)
    assert WARNED.get(rows[name]["expected"], "ProtocolName") in " ".join(notes)


def test_signed_values_without_sign_extension_are_read(tmp_path, image):
    signed = image.astype(np.int16) * 16 - 2048
    assert_same(read(tmp_path, dicom(np.uint16(signed.astype(np.int64) & 0xFFF), PixelRepresentation=1))[0], image)
    assert_same(read(tmp_path, dicom(signed))[0], image)


def test_overlays_in_hidden_bits_are_not_part_of_the_image(tmp_path, image):
    noise = np.random.default_rng(0).integers(0, 16, image.shape, dtype=np.uint16) << 12
    found, notes = read(tmp_path, dicom(noise | (image.astype(np.uint16) * 16)))
    assert_same(found, image)
    assert not notes


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_bits_beyond_bits_stored_are_used_with_a_warning(tmp_path, image, shift):
    found, notes = read(tmp_path, dicom(image.astype(np.uint16) << (4 + shift)))
    assert_same(found, image)
    assert "BitsStored" in " ".join(notes)
    with pytest.raises(ValueError, match="gray values"):  # 16 of them are left
        read(tmp_path, dicom(image.astype(np.uint16) << 8))


def test_values_with_the_wrong_sign_are_read_or_rejected(tmp_path, image):
    wide = {"BitsStored": 16}
    for pixels, representation in (
        ((image.astype(np.int16) * 16 - 1000), 0), ((image.astype(np.uint16) * 200 + 10_000), 1),
    ):  # fmt: skip
        found, notes = read(tmp_path, dicom(pixels, PixelRepresentation=representation, **wide))
        assert_same(found, image)
        assert "PixelRepresentation" in " ".join(notes)


@pytest.mark.parametrize("window", [(100, 50), (4000, 10), (2048, 1), (30_000, 100), (2048, 0), ("2048", "0")])
def test_a_window_without_contrast_is_ignored_with_a_warning(tmp_path, image, window):
    center, width = window
    found, notes = read(tmp_path, dicom(image.astype(np.uint16) * 16, WindowCenter=center, WindowWidth=width))
    assert_same(found, image)
    assert "window" in " ".join(notes)


def test_a_sensible_window_is_applied(tmp_path, image):
    found, notes = read(tmp_path, dicom(image.astype(np.uint16) * 16, WindowCenter=2200, WindowWidth=3400))
    low, high = 2200 - 0.5 - 3399 / 2, 2200 - 0.5 + 3399 / 2  # PS3.3 C.11.2.1.2.1
    assert_same(found, np.uint8(np.clip((image * 16.0 - low) / (high - low), 0, 1) * 255))
    assert not notes


@pytest.mark.parametrize(("low", "high"), [(0, 70), (10, 85), (75, 100)])
def test_a_window_that_saturates_much_of_the_image_is_ignored_with_a_warning(tmp_path, image, low, high):
    stored = image.astype(np.uint16) * 16
    low, high = np.percentile(stored, (low, high))
    found, notes = read(tmp_path, dicom(stored, WindowCenter=(low + high) / 2, WindowWidth=high - low))
    assert_same(found, image)
    assert "window" in " ".join(notes)


@pytest.mark.parametrize(("value", "share", "accepted"), [
    (0, 0.6, True), (0, 0.8, False), (255, 0.08, True), (255, 0.15, False),
])  # fmt: skip
def test_a_picture_that_is_mostly_black_or_partly_white_is_rejected(tmp_path, image, value, share, accepted):
    covered = np.clip(image, 1, 254)
    covered[: round(512 * share)] = value
    cv2.imwrite(str(tmp_path / "covered.png"), covered)
    if accepted:
        np.testing.assert_array_equal(data.read_user_image(tmp_path / "covered.png")[0], covered)
    else:
        with pytest.raises(ValueError, match=r"^covered\.png .*(black|white)"):
            data.read_user_image(tmp_path / "covered.png")


@pytest.mark.parametrize("center", ["2200,5", "2200.5", " 2200,5 ", "2200,5\\100"])
def test_a_window_with_a_decimal_comma_is_applied(tmp_path, image, center):
    stored = image.astype(np.uint16) * 16
    expected, _ = read(tmp_path, dicom(stored, WindowCenter=2200.5, WindowWidth=3400))
    dataset = dicom(stored, WindowCenter=1, WindowWidth=3400)
    tag, value = Tag("WindowCenter"), center.encode() + b" " * (len(center) % 2)
    dataset._dict[tag] = RawDataElement(tag, "DS", len(value), value, 0, False, True)
    found, notes = read(tmp_path, dataset)
    np.testing.assert_array_equal(found, expected)
    assert not notes


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2048, "WindowWidth": 4096}])
@pytest.mark.parametrize("intercept", [4095, None, []])
def test_a_negative_slope_inverts_once(tmp_path, image, window, intercept):
    stored, window = 4095 - image.astype(np.uint16) * 16, window
    if window and intercept != 4095:
        window = {"WindowCenter": 2048 - 4095, "WindowWidth": 4096}
    found, notes = read(tmp_path, dicom(stored, RescaleSlope=-1, RescaleIntercept=intercept, **window))
    assert np.corrcoef(standardized(found).ravel(), standardized(image).ravel())[0, 1] >= 0.999
    assert not notes


@pytest.mark.parametrize("tag", ["RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"])
def test_a_number_that_is_none_is_ignored_with_a_warning(tmp_path, image, tag):
    tags = {"RescaleSlope": 1, "RescaleIntercept": 0, "WindowCenter": 2048, "WindowWidth": 4096} | {tag: "nan"}
    found, notes = read(tmp_path, dicom(image.astype(np.uint16) * 16, **tags))
    assert_same(found, image)
    assert tag in " ".join(notes)


def test_a_black_border_next_to_bright_tissue_is_no_wrong_sign(tmp_path, image):
    for bits, dtype in ((8, np.uint8), (12, np.uint16)):
        bright = (image // 2 + 128).astype(dtype) << (bits - 8)
        for columns in (40, 60):
            stored, expected = bright.copy(), image.copy()
            stored[:, :columns], expected[:, :columns] = 0, 0  # the border does not take up the range
            found, notes = read(tmp_path, dicom(stored))
            assert_same(found, expected)
            assert not notes


@pytest.mark.parametrize("value", [-32768, 32767, -4096])
def test_padding_outside_of_bits_stored_is_black(tmp_path, image, value):
    signed, expected = image.astype(np.int16) * 16 - 2048, image.copy()
    signed[:, :60], expected[:, :60] = value, image[:, 60:].min()
    found, notes = read(tmp_path, dicom(signed, PixelPaddingValue=value))
    assert_same(found, expected)
    assert not notes


@pytest.mark.parametrize("orientation", [["R", "F"], ["L", "H"], ["F", "R"]])
def test_a_mirrored_or_rotated_image_is_warned_about(tmp_path, image, orientation):
    (note,) = read(tmp_path, dicom(image, PatientOrientation=orientation))[1]
    assert "PatientOrientation" in note
    assert not read(tmp_path, dicom(image, PatientOrientation=["L", "F"]))[1]


def test_raw_values_and_large_shutters_are_warned_about(tmp_path, image):
    (note,) = read(tmp_path, dicom(image, PresentationIntentType="FOR PROCESSING"))[1]
    assert "FOR PROCESSING" in note
    edges = {"ShutterLeftVerticalEdge": 350, "ShutterRightVerticalEdge": 150, "ShutterUpperHorizontalEdge": 1}
    (note,) = read(tmp_path, dicom(image, ShutterShape="RECTANGULAR", ShutterLowerHorizontalEdge=512, **edges))[1]
    assert "61 %" in note


@pytest.mark.parametrize("share", [0.001, 0.01, 0.04, 0.08])
@pytest.mark.parametrize("value", [65535, 20_000])
def test_a_few_extreme_pixels_do_not_take_up_the_range(tmp_path, image, share, value):
    marked, expected = image.astype(np.uint16) * 16, image.copy()
    side = int((share * image.size) ** 0.5)
    marked[:side, :side], expected[:side, :side] = value, 255
    found, _ = read(tmp_path, dicom(marked, BitsStored=16))
    assert_same(found, expected)
    cv2.imwrite(str(tmp_path / "marked.png"), marked)
    assert_same(data.read_user_image(tmp_path / "marked.png")[0], expected)


@pytest.mark.parametrize(("value", "limit"), [(0, None), (4000, 4095), (4095, 4000), (64_000, 65_535)])
def test_padding_by_value_and_range_is_black(tmp_path, image, value, limit):
    border = 60
    stored, expected = 200 + image.astype(np.uint16) * 14, image.copy()
    stored[:, :border], expected[:, :border] = value, image[:, border:].min()
    tags = {"BitsStored": 16, "PixelPaddingValue": value, "PixelPaddingRangeLimit": limit}
    assert_same(read(tmp_path, dicom(stored, **tags))[0], expected)


@pytest.mark.parametrize(("low", "high"), [(50, 50), (20, 20), (85, 97), (40, 60), (0, 30)])
def test_padding_within_the_image_is_ignored_with_a_warning(tmp_path, image, low, high):
    lungs = image[150:350, 100:220]
    # 12-bit values of the lungs and of the bright parts, a single one or a range.
    first, last = np.percentile(image if high == 97 else lungs, (low, high))
    tags = {"PixelPaddingValue": int(first) * 16, "PixelPaddingRangeLimit": int(last) * 16}
    found, notes = read(tmp_path, dicom(image.astype(np.uint16) * 16, **tags))
    assert_same(found, image)
    assert "PixelPaddingValue" in " ".join(notes)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_saturated_tissue_at_the_edge_is_no_padding(tmp_path, image, photometric):
    bright = np.clip(image.astype(np.uint16) * 18.4, 0, 4095).astype(np.uint16)  # 7 % of the pixels
    stored = bright if photometric == "MONOCHROME2" else 4095 - bright
    tags = {"PhotometricInterpretation": photometric, "PixelPaddingValue": int(stored[bright == 4095][0])}
    found, notes = read(tmp_path, dicom(stored, **tags))
    assert_same(found, bright / 16)
    assert "PixelPaddingValue" in " ".join(notes)


@pytest.mark.parametrize("width", [5, 10, 20, 30, 60])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_border_that_no_tag_declares_does_not_take_up_the_range(tmp_path, image, width, photometric):
    stored, expected = image.astype(np.uint16) // 2 * 8 + 3000, image.copy()
    for side in (np.s_[:, :width], np.s_[:, -width:]):
        stored[side], expected[side] = 0, 0
    stored = stored if photometric == "MONOCHROME2" else 4095 - stored
    found, notes = read(tmp_path, dicom(stored, PhotometricInterpretation=photometric))
    assert_same(found, expected)
    assert not notes


def look_up_table(values, data=None):
    """Returns an item of a sequence of look-up tables of 12 bits, with its entries as bytes."""
    item = Dataset()
    item.LUTDescriptor = [len(values), 0, 12]
    item.add_new("LUTData", "OW", values.astype("<u2").tobytes() if data is None else data)
    return item


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("kind", ["falling", "logarithm"])
def test_look_up_tables_that_are_stored_as_bytes_are_applied(tmp_path, image, syntax, kind):
    entries = np.arange(4096)
    if kind == "falling":
        stored, table = 4095 - image.astype(np.uint16) * 16, entries[::-1]
    else:
        largest = np.exp(5) - 1
        stored = (4095 * (np.exp(image / 255 * 5) - 1) / largest).astype(np.uint16)
        table = 4095 * np.log1p(entries / 4095 * largest) / 5
    dataset = dicom(stored, VOILUTSequence=[look_up_table(table)])
    dataset.file_meta.TransferSyntaxUID = syntax
    found, notes = read(tmp_path, dataset)
    assert_same(found, image)
    assert not notes


def test_a_window_is_applied_although_the_look_up_table_is_damaged(tmp_path, image):
    window = {"WindowCenter": 2200, "WindowWidth": 3400}
    stored = image.astype(np.uint16) * 16
    table = look_up_table(np.arange(4096), bytes(20))
    found, notes = read(tmp_path, dicom(stored, VOILUTSequence=[table], **window))
    np.testing.assert_array_equal(found, read(tmp_path, dicom(stored, **window))[0])
    assert "VOI LUT" in " ".join(notes)


def test_a_modality_table_of_12_bits_is_applied(tmp_path, image):
    table = look_up_table(np.arange(4096)[::-1])
    table.ModalityLUTType = "US"
    found, _ = read(tmp_path, dicom(4095 - image.astype(np.uint16) * 16, ModalityLUTSequence=[table]))
    assert_same(found, image)


@pytest.mark.parametrize("tag", ["PixelRepresentation", "SamplesPerPixel", "BitsStored"])
def test_a_missing_tag_has_its_usual_value_with_a_warning(tmp_path, image, tag):
    found, notes = read(tmp_path, dicom(image.astype(np.uint16) * 16, **{"HighBit": 11, tag: None}))
    assert_same(found, image)
    assert tag in " ".join(notes)


@pytest.mark.parametrize("allocated", [b"US\0\0", b"US\4\0\x10\0\x10\0"])  # no value, two values
def test_a_missing_tag_whose_usual_value_is_unknown_is_rejected_by_name(tmp_path, image, allocated):
    whole = as_bytes(dicom(image.astype(np.uint16) * 16, HighBit=11, BitsStored=None))
    tag = b"\x28\0\0\1"  # BitsAllocated
    assert whole.count(tag + b"US\2\0\x10\0") == 1
    (tmp_path / "a.dcm").write_bytes(whole.replace(tag + b"US\2\0\x10\0", tag + allocated))
    with pytest.raises(ValueError, match=r"^a\.dcm"):
        data.read_user_image(tmp_path / "a.dcm")


@pytest.mark.parametrize("implicit", [True, False])
def test_a_file_without_a_header_is_read(tmp_path, image, implicit):
    dataset = dicom(image.astype(np.uint16) * 16)
    del dataset.file_meta
    with pydicom.config.disable_value_validation():
        pydicom.dcmwrite(
            tmp_path / "a.dcm", dataset, implicit_vr=implicit, little_endian=True, enforce_file_format=False
        )
    assert_same(data.read_user_image(tmp_path / "a.dcm")[0], image)


def test_the_part_is_read_from_its_code_if_there_is_no_other_tag(tmp_path, image):
    for item, said in ((code("Chest"), 0), (code(value="T-D3000"), 0)):
        assert len(read(tmp_path, dicom(image, BodyPartExamined="", AnatomicRegionSequence=[item]))[1]) == said
    with pytest.raises(ValueError, match="--accept BodyPartExamined"):
        read(tmp_path, dicom(image, BodyPartExamined="", AnatomicRegionSequence=[code("Hand")]))


def test_left_aligned_values_are_read_without_loss(tmp_path, image):
    found, notes = read(tmp_path, dicom(image.astype(np.uint16) << 8, BitsStored=12, HighBit=15))
    assert_same(found, image)
    assert not notes


def test_the_second_window_is_tried(tmp_path, image):
    windows = {"WindowCenter": [100, 2200], "WindowWidth": [50, 3400]}
    found, notes = read(tmp_path, dicom(image.astype(np.uint16) * 16, **windows))
    second = {"WindowCenter": 2200, "WindowWidth": 3400}
    np.testing.assert_array_equal(found, read(tmp_path, dicom(image.astype(np.uint16) * 16, **second))[0])
    assert "first window" in " ".join(notes)


@pytest.mark.parametrize("prefix", ["Shutter", "Collimator"])
def test_what_is_behind_a_shutter_or_a_collimator_is_black(tmp_path, image, prefix):
    stored = np.where(np.arange(512) < 100, 4095, image.astype(np.uint16) * 14 + 300).astype(np.uint16)
    rows, columns = np.mgrid[1:513, 1:513]
    shapes = {
        "RECTANGULAR": (
            {"LeftVerticalEdge": 101, "RightVerticalEdge": 512, "UpperHorizontalEdge": 1, "LowerHorizontalEdge": 512},
            columns < 101,
        ),
        "CIRCULAR": ({}, (rows - 256) ** 2 + (columns - 306) ** 2 > 205**2),
        "POLYGONAL": ({}, columns < 101),
    }
    for shape, (edges, outside) in shapes.items():
        tags = {f"{prefix}Shape": shape} | {f"{prefix}{edge}": value for edge, value in edges.items()}
        if shape == "CIRCULAR":
            tags |= {f"CenterOfCircular{prefix}": [256, 306], f"RadiusOfCircular{prefix}": 205}
        if shape == "POLYGONAL":
            tags[f"VerticesOfThePolygonal{prefix}"] = [1, 101, 1, 512, 512, 512, 512, 101]
        expected = np.where(outside, image[~outside].min(), image)
        found, notes = read(tmp_path, dicom(stored, **tags))
        assert_same(found, expected)
        assert not notes
    found, notes = read(tmp_path, dicom(image.astype(np.uint16) * 16, **{f"{prefix}Shape": "CIRCULAR"}))
    assert_same(found, image)
    assert f"{prefix}Shape" in notes[0]


@pytest.mark.parametrize(("photometric", "shape", "inverted", "warned"), [
    ("MONOCHROME1", "INVERSE", True, False), ("MONOCHROME1", "", True, False), ("MONOCHROME1", "IDENTITY", True, True),
    ("MONOCHROME2", "IDENTITY", False, False), ("MONOCHROME2", "INVERSE", True, True),
])  # fmt: skip
def test_polarity(tmp_path, image, photometric, shape, inverted, warned):
    stored = image.astype(np.uint16) * 16
    tags = {"PhotometricInterpretation": photometric, "PresentationLUTShape": shape}
    found, notes = read(tmp_path, dicom(4080 - stored if inverted else stored, **tags))
    assert_same(found, image)
    assert bool(notes) is warned


@pytest.mark.parametrize(
    "age",
    [
        "006Y",
        "6",
        "6Y",
        "006 Y",
        "6 years",
        "5 years old",
        "6 ANS",
        "072M",
        "72 MONTHS",
        "200W",
        "90D",
        "6.5",
        "8,5 Y",
        "1000D",
        "0",
        "30 Tage",
        "20 SEMANAS",
        "40 jours",
        "30 mois",
    ],
)
def test_a_child_is_recognized_however_the_age_is_written(tmp_path, image, age):
    _, notes = read(tmp_path, dicom(image, PatientAge=age))
    assert "child" in " ".join(notes)


@pytest.mark.parametrize("age", ["058Y", "58", "58 Jahre", "58 A", "58 ans", "700M", "018Y", "099Y"])
def test_an_adult_is_recognized(tmp_path, image, age):
    assert read(tmp_path, dicom(image, PatientAge=age))[1] == []


@pytest.mark.parametrize("dates", [
    ("20140301", "20201230"), ("2014.03.01", "2020-12-30"), ("2014", "20201230"), ("20030101", "20201230"),
])  # fmt: skip
@pytest.mark.parametrize("tag", ["StudyDate", "AcquisitionDate"])
def test_a_child_is_recognized_by_dates(tmp_path, image, dates, tag):
    birth, study = dates
    _, notes = read(tmp_path, dicom(image, PatientAge=None, PatientBirthDate=birth, **{tag: study}))
    assert "child" in " ".join(notes) and "2014" not in " ".join(notes)


@pytest.mark.parametrize("tags", [
    {"PatientAge": None}, {"PatientAge": ""}, {"PatientAge": "adult"}, {"PatientAge": "999Y"},
    {"PatientAge": "58 M"}, {"PatientAge": "30 W"}, {"PatientAge": "58 J"}, {"PatientAge": "65 MANN"},
    {"PatientAge": "", "PatientBirthDate": "19600101"}, {"PatientAge": "", "PatientBirthDate": "0", "StudyDate": "1"},
])  # fmt: skip
def test_an_unknown_age_is_said(tmp_path, image, tags):
    (note,) = read(tmp_path, dicom(image, **tags))[1]
    assert "age" in note and "view" not in note.partition(":")[0]


@pytest.mark.parametrize(
    "view",
    ["PA", "AP", "P.A.", "A/P", "A-P", "antero-posterior", "POSTEROANTERIOR", "AP SUPINE", "AP DECUBITO SUPINO"],
)
def test_a_frontal_view_is_recognized(tmp_path, image, view):
    assert read(tmp_path, dicom(image, ViewPosition=view))[1] == []


@pytest.mark.parametrize(
    "view",
    [
        "LL",
        "RL",
        "LATERAL",
        "LAT",
        "LLO",
        "RLD",
        "L.L.",
        "L-L",
        "left lateral",
        "PROFIL",
        "perfil",
        "seitl.",
        "RPO",
        "LATEROLATERAL",
        "LAT1",
        "XLAT",
        "OBL",
    ],
)
def test_another_view_is_rejected_unless_it_is_accepted(tmp_path, image, view):
    with pytest.raises(ValueError, match=r"file\.dcm .*ViewPosition.*--accept ViewPosition"):
        read(tmp_path, dicom(image, ViewPosition=view))
    _, notes = read(tmp_path, dicom(image, ViewPosition=view), ["ViewPosition"])
    assert "--accept ViewPosition" in notes[0]


@pytest.mark.parametrize(
    "tag", ["SeriesDescription", "ProtocolName", "StudyDescription", "PerformedProcedureStepDescription"]
)
@pytest.mark.parametrize(
    "words",
    [
        "CHEST LAT",
        "Thorax seitlich",
        "Thorax de profil",
        "Tórax perfil",
        "W chest lateral",
        "CHESTLAT",
        "CHESTLATERAL",
        "ThoraxLateral",
        "CHEST OBL",
        "Klatka bok",
        "흉부 측면",
        "胸部側面",
    ],
)
def test_a_lateral_view_in_free_text_is_said_without_the_text(tmp_path, image, tag, words):
    _, notes = read(tmp_path, dicom(image, ViewPosition="", **{tag: f"{words} Doe Jane"}))
    assert tag in " ".join(notes) and "frontal" in " ".join(notes) and "DOE" not in " ".join(notes).upper()


@pytest.mark.parametrize("words", [
    "CHEST PA AND LAT", "XR CHEST PA/LAT", "THORAX FACE ET PROFIL", "Thorax p.a./lat.", "Thorax 2 Ebenen",
    "bilateral effusion", "LATEX ALLERGY", "", "CHEST",
])  # fmt: skip
def test_free_text_that_names_no_view_or_both_leaves_it_open(tmp_path, image, words):
    (note,) = read(tmp_path, dicom(image, ViewPosition="", StudyDescription=words))[1]
    assert "does not state the view" in note


@pytest.mark.parametrize(
    "part",
    [
        "CHEST",
        "TORAX",
        "TÓRAX",
        "THORAX",
        "LUNGS",
        "PECHO",
        "Brustkorb",
        "POUMONS",
        "PORT CHEST",
        "Klatka",
        "CXR",
        "胸部",
        "흉부",
        "грудная клетка",
        "ОГК",
        "ngực",
        "KEUHKOT",
        "TÜDŐ",
        "PLICE",
        "PIERSIOWA",
        "CHST",
        "T-D3000",
    ],
)
def test_the_chest_is_recognized_in_other_languages(tmp_path, image, part):
    for written in {as_utf_8(part), part if max(map(ord, part)) < 256 else as_utf_8(part)}:
        assert read(tmp_path, dicom(image, BodyPartExamined=written))[1] == []


def test_a_lateral_view_of_another_image_of_the_study_is_not_said(tmp_path, image):
    for tag, said in (("StudyDescription", 0), ("RequestedProcedureDescription", 0), ("SeriesDescription", 1)):
        assert len(read(tmp_path, dicom(image, ViewPosition="PA", **{tag: "CHEST LAT"}))[1]) == said


@pytest.mark.parametrize("value", ["R-10206", "R-10214", "R-40888", "399348003", "272479007", "R-10202"])
def test_a_frontal_view_is_recognized_by_its_code_alone(tmp_path, image, value):  # PS3.16, CID 4010
    assert read(tmp_path, dicom(image, ViewPosition="", ViewCodeSequence=[code(value=value)]))[1] == []


@pytest.mark.parametrize("value", ["R-10228", "R-10236", "399198007", "R-102CD", "R-10220", "399182000"])
def test_another_view_is_rejected_by_its_code_alone(tmp_path, image, value):
    with pytest.raises(ValueError, match="ViewCodeSequence"):
        read(tmp_path, dicom(image, ViewPosition="", ViewCodeSequence=[code(value=value)]))


def test_a_part_that_no_tag_names_is_said(tmp_path, image):
    (note,) = read(tmp_path, dicom(image, BodyPartExamined=""))[1]
    assert "body part" in note
    assert read(tmp_path, dicom(image, BodyPartExamined="", StudyDescription="XR Chest PA"))[1] == []


@pytest.mark.parametrize("part", ["UNKNOWN", "OTHER", "unk", "N/A", "--", "手", "ΧΕΡΙ"])
def test_an_unknown_part_is_warned_about(tmp_path, image, part):
    (note,) = read(tmp_path, dicom(image, BodyPartExamined=as_utf_8(part)))[1]
    assert "BodyPartExamined" in note


@pytest.mark.parametrize("part", ["HAND", "ABDOMEN", "THORACIC SPINE", "SKULL", "ABDOMEN/CHEST", "HAND THORAX"])
def test_another_part_is_rejected_unless_it_is_accepted(tmp_path, image, part):
    with pytest.raises(ValueError, match=r"BodyPartExamined.*--accept BodyPartExamined"):
        read(tmp_path, dicom(image, BodyPartExamined=part))
    assert "--accept" in read(tmp_path, dicom(image, BodyPartExamined=part), ["BodyPartExamined"])[1][0]


@pytest.mark.parametrize(("tags", "message"), [
    ({"NumberOfFrames": 3}, "3 frames"), ({"Modality": "CT"}, "modality CT"), ({"Modality": "US"}, "modality US"),
    ({"PhotometricInterpretation": "RGB"}, "RGB"), ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
    ({"PixelData": None}, "no image"), ({"PixelData": bytes(100)}, "pixels .*uncompressed"),
    ({"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PixelData": bytes(512 * 512 * 6)}, r"\(512, 512, 3\)"),
    ({"ViewPosition": "PA", "ViewCodeSequence": [code("left lateral")]}, "ViewCodeSequence"),
    ({"ViewPosition": "", "PatientOrientation": ["A", "F"]}, "PatientOrientation"),
])  # fmt: skip
def test_what_is_no_single_grayscale_radiograph_of_a_chest_is_rejected(tmp_path, image, tags, message):
    with pytest.raises(ValueError, match=rf"^file\.dcm.*{message}"):
        read(tmp_path, dicom(image.astype(np.uint16) * 16, **tags))


@pytest.mark.parametrize("tag", ["Modality", "BodyPartExamined", "PhotometricInterpretation", "NumberOfFrames"])
@pytest.mark.parametrize("name", ["Doe^Jane", "JANE DOE", "4711-secret", "Jane", "DR SMITH", "LI WU", "02011960"])
def test_no_message_contains_a_name_or_a_number_of_the_patient(tmp_path, image, tag, name):
    dataset = dicom(image)
    dataset.add_new(tag, "LO", name)
    with pytest.raises(ValueError) as raised:
        read(tmp_path, dataset)
    assert not re.search("doe|jane|4711|secret|smith|li wu|1960", str(raised.value), re.IGNORECASE)


@pytest.mark.parametrize("syntax", ["JPEGLossless", "JPEGLosslessSV1", "JPEGLSLossless", "JPEG2000Lossless"])
def test_lossless_compressions_of_hospital_archives_are_read(tmp_path, image, syntax):
    gdcm = pytest.importorskip("gdcm")
    codes = {"JPEGLossless": "JPEGLosslessProcess14", "JPEGLosslessSV1": "JPEGLosslessProcess14_1"}
    plain, packed = tmp_path / "plain.dcm", tmp_path / "packed.dcm"
    dicom(image.astype(np.uint16) * 16).save_as(plain, enforce_file_format=True)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, codes.get(syntax, syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(packed))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(packed).file_meta.TransferSyntaxUID == getattr(pydicom.uid, syntax)
    np.testing.assert_array_equal(data.read_user_image(packed)[0], data.read_user_image(plain)[0])


@pytest.mark.filterwarnings("ignore")  # of pydicom
def test_pydicoms_own_files_are_rejected_by_name_as_none_is_a_chest_xray():
    files = sorted(Path(pydicom.data.get_testdata_file("CT_small.dcm")).parent.glob("*.dcm"))
    assert len(files) > 70
    for path in files:
        with pytest.raises(ValueError, match=f"^{re.escape(path.name)}[ :]"):
            data.read_user_image(path)


@pytest.mark.parametrize("kind", ["RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless"])
def test_an_image_is_the_same_however_it_is_stored(kind):
    folder = Path(pydicom.data.get_testdata_file("MR_small.dcm")).parent
    plain, other = (
        data.read_user_image(folder / name, ["Modality", "BodyPartExamined", "ViewPosition"])[0]
        for name in ("MR_small.dcm", f"MR_small_{kind}.dcm")
    )
    np.testing.assert_array_equal(plain, other)
    assert plain.shape == (64, 64) and len(np.unique(plain)) > 100


EMPTY = [
    "PixelPaddingValue", "VOILUTFunction", "WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept",
    "PresentationLUTShape", "ShutterShape", "NumberOfFrames", "Modality", "VOILUTSequence",
    "PatientOrientation", "ViewCodeSequence",
]  # fmt: skip


@pytest.mark.parametrize("tag", EMPTY)
def test_an_empty_tag_counts_as_absent(tmp_path, image, tag):
    window = {"WindowCenter": 2048, "WindowWidth": 4096, "VOILUTFunction": "LINEAR"}
    found, notes = read(tmp_path, dicom(image.astype(np.uint16) * 16, **window | {tag: []}))
    assert_same(found, image)
    assert notes == []
