"""Tests of `data.user_image` and `inference`: reading and rejecting a user's own images, predictions, heat maps."""

import hashlib
import os
import subprocess
import sys

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from cxr_utils import config, data, evaluation, explain, inference, models, reports
from cxr_utils.__main__ import main
from cxr_utils._files import atomic

SIZE = 64
FACTS = {
    "network": "baseline", "weights": "random initialization", "pretrained": False, "members": 1, "image_size": SIZE,
    "parameters": 1,
}  # fmt: skip


@pytest.fixture
def image():
    """A gradient from 0 to 255 in place of an image, `(96, 80)` uint8."""
    return np.linspace(0, 255, 96 * 80).round().astype(np.uint8).reshape(96, 80)


def write_dicom(path, stored, **tags):
    """Writes 12-bit pixels, `(height, width)` uint16, as an uncompressed DICOM radiograph."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        DigitalXRayImageStorageForPresentation,
        generate_uid(),
    )
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "4711-secret"
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 16, 12, 11
    dataset.PixelRepresentation, dataset.PixelData = 0, stored.astype("<u2").tobytes()
    for tag, value in tags.items():
        if value is None:
            del dataset[tag]
        else:
            setattr(dataset, tag, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def model_file(tmp_path):
    """Path of a small model with random weights, and with thresholds for all findings but Hernia."""
    path = tmp_path / "home" / "cnnmodels" / "baseline_model.h5"
    path.parent.mkdir()
    models.build_baseline(SIZE).save(path)
    settings = pd.DataFrame(
        {"youden": 0.4, "sensitive": 0.2, "specific": 0.6, "slope": 2.0, "intercept": -1.0},
        pd.Index(config.LABELS, name="label"),
    )
    settings.loc["Hernia"] = np.nan
    facts = FACTS | {"model_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    reports.save_inference_settings("baseline", settings, facts, "Images: some phantom", 474)
    return path


def test_png_and_jpeg_are_read_as_pillow_wrote_them(tmp_path, image):
    wide = image.astype(np.uint16) * 16  # 12 bits in 16, as detectors store them
    palette = Image.fromarray(image).convert("P")
    for name, picture in (
        ("gray.png", Image.fromarray(image)), ("sixteen.png", Image.fromarray(wide)), ("palette.png", palette),
        ("rgb.png", Image.fromarray(np.repeat(image[..., None], 3, axis=2))),
        ("alpha.png", Image.fromarray(image).convert("RGBA")), ("gray_alpha.png", Image.fromarray(image).convert("LA")),
    ):  # fmt: skip
        picture.save(tmp_path / name)
        read, notes = data.read_user_image(tmp_path / name)
        assert read.dtype == np.uint8 and len(notes) == 1 and "does not state" in notes[0], name
        np.testing.assert_array_equal(read, image, name)
    for name, picture in (("gray.jpg", Image.fromarray(image)), ("rgb.jpeg", Image.fromarray(image).convert("RGB"))):
        picture.save(tmp_path / name, quality=95)
        read, _ = data.read_user_image(tmp_path / name)
        assert np.abs(read.astype(int) - image).max() <= 4, name


def test_the_window_and_inversion_of_dicom_are_applied(tmp_path):
    stored = np.arange(0, 4000, 5, np.uint16).reshape(20, 40)
    # Window: 200 is black, 3900 white, linear between (DICOM PS3.3 C.11.2.1.2.1, by hand).
    window = {"WindowCenter": 2050.5, "WindowWidth": 3701.0}
    by_window = np.clip((stored - 200.0) / 3700, 0, 1) * 255
    read, _ = data.read_user_image(write_dicom(tmp_path / "a.dcm", stored, **window))
    assert np.abs(read - by_window).max() <= 1
    inverted, _ = data.read_user_image(
        write_dicom(tmp_path / "b.dcm", stored, **window, PhotometricInterpretation="MONOCHROME1")
    )
    assert np.abs(inverted - (255 - by_window)).max() <= 1
    # Rescaled before the window: −1000 + 2·stored, with a window of −600…6800 in these units.
    rescaled = {"RescaleSlope": 2.0, "RescaleIntercept": -1000.0, "WindowCenter": 3100.5, "WindowWidth": 7401.0}
    read, _ = data.read_user_image(write_dicom(tmp_path / "c.dcm", stored, **rescaled))
    assert np.abs(read - by_window).max() <= 1
    plain, _ = data.read_user_image(write_dicom(tmp_path / "d.dcm", stored))
    assert np.abs(plain - stored / 3995 * 255).max() <= 0.51
    # Padding is neither bone nor air: it is black and not an end of the scale.
    padded, _ = data.read_user_image(
        write_dicom(tmp_path / "e.dcm", stored, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0)
    )
    assert padded[0, 0] == 0 and padded[0, 1] == 255 and padded[-1, -1] == 0


def test_damaged_color_and_other_files_are_rejected(tmp_path, image):
    photo = np.stack([image, image[::-1], image // 2], axis=-1)
    Image.fromarray(photo).save(tmp_path / "photo.jpg")
    Image.fromarray(photo).save(tmp_path / "photo.png")
    Image.fromarray(image).save(tmp_path / "whole.png")
    Image.fromarray(image).save(tmp_path / "whole.jpg")
    Image.fromarray(np.full((96, 80), 7, np.uint8)).save(tmp_path / "flat.png")
    for kind in ("png", "jpg"):
        whole = (tmp_path / f"whole.{kind}").read_bytes()
        (tmp_path / f"cut.{kind}").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray((tmp_path / "whole.png").read_bytes())
    damaged[60] ^= 255
    (tmp_path / "damaged.png").write_bytes(damaged)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_bytes(b"<!DOCTYPE html>")
    dicom = write_dicom(tmp_path / "whole.dcm", image).read_bytes()
    (tmp_path / "header.dcm").write_bytes(dicom[:140])
    for name, message in (
        ("photo.jpg", "color"), ("photo.png", "color"), ("flat.png", "gray value"),
        ("cut.png", "truncated"), ("cut.jpg", "truncated"), ("damaged.png", "damaged"),
        ("empty.png", "empty"), ("text.png", "PNG, JPEG or DICOM"),
        ("header.dcm", "damaged DICOM|no image"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{name} .*({message})"):
            data.read_user_image(tmp_path / name)
    with pytest.raises(ValueError, match="folder"):
        data.read_user_image(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^none\.png"):
        data.read_user_image(tmp_path / "none.png")


def test_a_prediction_is_calibrated_and_flagged_by_the_settings(tmp_path, image, model_file):
    Image.fromarray(image).save(tmp_path / "image.png")
    model, settings = models.open_model(model_file), reports.load_inference_settings(model_file)
    table, figure = inference.predict_image(tmp_path / "image.png", model, settings, "Mass")
    small = data.resize(image, SIZE)
    raw = models.predict(model, small[None])[0].astype(float)
    known = [label != "Hernia" for label in config.LABELS]
    # Platt: 1 / (1 + e^-(2·logit − 1)), by hand.
    calibrated = 1 / (1 + np.exp(1) * ((1 - raw) / raw) ** 2)
    assert table.probability.to_numpy() == pytest.approx(np.where(known, calibrated, raw), rel=1e-6)
    assert table.calibrated.tolist() == known
    assert table.youden.iloc[0] == pytest.approx(1 / (1 + np.exp(1) * 1.5**2)) and np.isnan(table.youden["Hernia"])
    assert table.youden_flag.tolist()[:13] == (raw[:13] >= 0.4).tolist() and np.isnan(table.youden_flag["Hernia"])
    assert table.sensitive_flag.tolist()[:13] == (raw[:13] >= 0.2).tolist()
    drawn_image, drawn_heat = (image.get_array() for image in figure.axes[0].images)
    np.testing.assert_array_equal(drawn_image, image)
    heat = explain.layer_cam(model, small[None], "Mass")[0]
    assert drawn_heat.shape == image.shape and abs(drawn_heat.mean() - heat.mean()) < 0.02
    text = figure.get_suptitle() + figure.get_supxlabel()
    assert all(word in text for word in ("NOT A DIAGNOSIS", "some phantom", "Mass", "image.png"))


@pytest.fixture
def predicted(tmp_path, image):
    """Returns a function that predicts one image with a model of constant predictions.

    It takes finding → raw prediction, `youden`, `sensitive`, `specific`, `slope` and `intercept`, and returns the table
    of `predict_image`. `None` stands for a threshold that equals the prediction. All other findings have the prediction
    0.1 and the thresholds 0.5, 0.2 and 0.6.
    """

    def predict(settings=True, **rows):
        raw = np.full(14, 0.1)
        table = pd.DataFrame(
            {"youden": 0.5, "sensitive": 0.2, "specific": 0.6, "slope": 1.0, "intercept": 0.0},
            pd.Index(config.LABELS, name="label"),
        )
        table.attrs = {"images": "Images: some", "validation_images": 400, "transforms": [], "synthetic": False}
        inputs = keras.Input((SIZE, SIZE, 1), dtype="uint8")
        maps = keras.layers.Conv2D(1, 3)(keras.layers.Rescaling(1 / 255)(inputs))
        last = keras.layers.Dense(14, "sigmoid", kernel_initializer="zeros")
        model = keras.Model(inputs, last(keras.layers.GlobalAveragePooling2D()(maps)))
        for label, (prob, *_) in rows.items():
            raw[config.LABELS.index(label)] = prob
        last.bias.assign(np.log(raw / (1 - raw)))
        exact = models.predict(model, np.zeros((1, SIZE, SIZE), np.uint8))[0].astype(float)
        for label, (_, *values) in rows.items():
            table.loc[label] = [exact[config.LABELS.index(label)] if value is None else value for value in values]
        Image.fromarray(image).save(tmp_path / "image.png")
        return inference.predict_image(tmp_path / "image.png", model, table if settings else None)[0]

    return predict


def test_a_described_prediction_follows_the_settings(predicted):
    # Mass is between its thresholds, Nodule at one and above the other. Edema has no calibration, Hernia no settings.
    none = [np.nan] * 2
    table = predicted(
        Mass=(0.3, 0.4, 0.2, 0.5, 1.0, 0.0),
        Nodule=(0.4, None, 0.2, None, 1.0, 0.0),
        Edema=(0.3, 0.25, 0.125, 0.5, *none),
        Hernia=(0.3, *none, np.nan, *none),
    )
    described = inference.describe_prediction(table)
    assert described.loc["Mass"].tolist() == ["30.0 %", "40.0 %", "no", "20.0 %", "yes", "50.0 %", "no"]
    assert described.loc["Nodule"].tolist() == ["40.0 %", "40.0 %", "yes", "20.0 %", "yes", "40.0 %", "yes"]
    assert described.loc["Edema"].tolist() == [
        "30.0 % (uncalibrated)",
        "25.0 %",
        "yes",
        "12.5 %",
        "yes",
        "50.0 %",
        "no",
    ]
    assert described.loc["Hernia"].tolist() == ["30.0 % (uncalibrated)", *["n/a"] * 6]
    assert described.loc["Fibrosis"].tolist() == ["10.0 %", "50.0 %", "no", "20.0 %", "no", "60.0 %", "no"]


@pytest.mark.slow
def test_predictions_use_the_test_time_augmentation_of_the_settings(model_file, tmp_path, image, capsys):
    Image.fromarray(image).save(tmp_path / "image.png")
    settings = reports.load_inference_settings(model_file)
    model, small = models.open_model(model_file), data.resize(image, SIZE)[None]
    found = {}
    for name, matrices in (("plain", []), ("augmented", data.fixed_affines(SIZE))):
        facts = models.facts(model)
        reports.save_inference_settings("baseline", settings, facts, "Images: some", 474, matrices)
        chosen = reports.load_inference_settings(model_file)
        table, _ = inference.predict_image(tmp_path / "image.png", model, chosen)
        raw = models.predict(model, small, transforms=matrices).astype(float)
        assert table.probability.to_numpy() == pytest.approx(evaluation.apply_platt(raw, settings)[0], abs=1e-9)
        found[name] = table.probability
        capsys.readouterr()
        assert inference.predict_files(model_file, [tmp_path / "image.png"], out=tmp_path / "out") == 0
        assert ("5 × TTA" in capsys.readouterr().out) == (name == "augmented")
    assert (found["plain"] != found["augmented"]).any()


def test_the_heat_map_shows_the_finding_with_the_highest_odds_relative_to_its_threshold(predicted):
    # Ratio of odds: Mass 1 to 3/2 (0.67), Hernia 1/19 to 1/99 (5.2), Edema 9 to 4 (2.25). Edema is the most probable.
    rows = {
        "Mass": (0.5, 0.6, 0.2, 0.9, 1.0, 0.0),
        "Hernia": (0.05, 0.01, 0.01, 0.9, 1.0, 0.0),
        "Edema": (0.9, 0.8, 0.2, 0.9, 1.0, 0.0),
    }
    assert predicted(**rows).attrs["finding"] == "Hernia"
    assert predicted(settings=False, **rows).attrs["finding"] == "Edema"


def written(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_the_command_predicts_draws_and_rejects(tmp_path, image, model_file, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(image).save("one.png")
    write_dicom(tmp_path / "two.dcm", image.astype(np.uint16) * 16, ViewPosition="PA", PatientAge="011Y")
    write_dicom(tmp_path / "side.dcm", image, ViewPosition="LL")
    Image.fromarray(image[:40]).save("small.png")
    assert main(["predict", str(model_file), "one.png", "side.dcm", "two.dcm", "small.png", "--finding", "Nodule"]) == 1
    printed = capsys.readouterr()
    for text in ("NOT A DIAGNOSIS", "474", "some phantom", "child", *config.LABELS, "(uncalibrated)"):
        assert text in printed.out, text
    assert "side.dcm" in printed.err and "lateral" in printed.err
    assert "small.png" in printed.err and "80×40" in printed.err and "64×64" in printed.err
    assert "Jane" not in printed.out + printed.err and "4711" not in printed.out + printed.err
    assert written(tmp_path / "cxr_predictions") == ["one_Nodule_baseline.png", "two_Nodule_baseline.png"]
    assert Image.open("cxr_predictions/one_Nodule_baseline.png").size == (1050, 1200)
    # A file name that looks like a formula is not drawn as one.
    Image.fromarray(image).save("$a^{$.png")
    assert main(["predict", str(model_file), "$a^{$.png"]) == 0


@pytest.mark.parametrize("error", [KeyError("PixelData"), TypeError("x"), RecursionError("y"), cv2.error("z")])
def test_whatever_one_image_does_the_others_are_predicted(tmp_path, image, model_file, monkeypatch, capsys, error):
    def read(path, accepted=()):
        if "bad" in str(path):
            raise error
        return image, []

    monkeypatch.setattr(data, "read_user_image", read)
    names = [str(tmp_path / name) for name in ("one.png", "bad.dcm", "two.png")]
    assert main(["predict", str(model_file), *names, "--finding", "Mass", "--out", str(tmp_path / "out")]) == 1
    assert written(tmp_path / "out") == ["one_Mass_baseline.png", "two_Mass_baseline.png"]
    (line,) = capsys.readouterr().err.split("\n")[1:-1]
    assert "bad.dcm" in line and type(error).__name__ in line


def test_a_tag_is_accepted_by_name(tmp_path, image, model_file, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_dicom(tmp_path / "hand.dcm", image, BodyPartExamined="HAND", ViewPosition="LL", PatientAge="058Y")
    command = ["predict", str(model_file), "hand.dcm", "--finding", "Mass"]
    assert main(command) == 1
    assert main([*command, "--accept", "BodyPartExamined"]) == 1
    capsys.readouterr()
    assert main([*command, "--accept", "BodyPartExamined,ViewPosition"]) == 0
    printed = capsys.readouterr().out
    assert "--accept BodyPartExamined" in printed and "--accept ViewPosition" in printed
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--accept", "BodyPart"])
    assert "BodyPart:" in capsys.readouterr().err


@pytest.mark.slow
def test_no_file_is_overwritten(tmp_path, image, model_file, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    images = ["a.png", "a_Mass.png", "a_Mass_baseline.png"]
    for name in images:
        Image.fromarray(image).save(name)
    before = {name: (tmp_path / name).read_bytes() for name in images}
    # In the folder of the images themselves: the obvious names are those of the second and the third one.
    assert main(["predict", str(model_file), "a.png", "--finding", "Mass", "--out", "."]) == 0
    assert {name: (tmp_path / name).read_bytes() for name in images} == before
    assert " a_Mass_baseline_2.png\n" in capsys.readouterr().out
    # Two images of the same name, and the same command again.
    (tmp_path / "again").mkdir()
    write_dicom(tmp_path / "again" / "a.dcm", image.astype(np.uint16) * 16)
    command = ["predict", str(model_file), "a.png", "again/a.dcm", "--finding", "Mass", "--out", "new/folder"]
    assert main(command) == 0
    names = ["a_Mass_baseline.png", "a_Mass_baseline_2.png", "a_Mass_baseline_3.png", "a_Mass_baseline_4.png"]
    assert written(tmp_path / "new" / "folder") == names[:2]
    first = {path: path.read_bytes() for path in (tmp_path / "new" / "folder").iterdir()}
    assert main(command) == 0
    assert {path: path.read_bytes() for path in first} == first
    assert written(tmp_path / "new" / "folder") == names
    assert f" new/folder/{names[-1]}\n" in capsys.readouterr().out


def test_a_file_of_another_process_is_not_overwritten(tmp_path, image, model_file, monkeypatch, capsys):
    Image.fromarray(image).save(tmp_path / "a.png")
    out, draw = tmp_path / "out", Figure.savefig
    theirs = [out / "a_Mass_baseline.png", out / "a_Mass_baseline_2.png"]

    def savefig(*arguments, **options):
        draw(*arguments, **options)
        for path in theirs:  # by another process, while this one draws
            path.write_text("theirs")

    monkeypatch.setattr(Figure, "savefig", savefig)
    assert main(["predict", str(model_file), str(tmp_path / "a.png"), "--finding", "Mass", "--out", str(out)]) == 0
    assert [path.read_text() for path in theirs] == ["theirs", "theirs"]
    assert Image.open(out / "a_Mass_baseline_3.png").format == "PNG" and len(list(out.iterdir())) == 3
    assert "a_Mass_baseline_3.png" in capsys.readouterr().out


def test_variables_of_several_hosts_that_are_left_over_suppress_nothing(
    tmp_path, image, model_file, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for name, value in zip(config.HOST_VARIABLES, ("localhost:1", "2", "1"), strict=True):
        monkeypatch.setenv(name, value)
    Image.fromarray(image).save("one.png")
    assert main(["predict", str(model_file), "one.png", "--finding", "Mass"]) == 0
    assert written(tmp_path / "cxr_predictions") == ["one_Mass_baseline.png"]
    with atomic(tmp_path / "file") as part:
        part.write_text("text")
    assert (tmp_path / "file").is_file()


def test_a_finding_that_the_model_does_not_know_is_not_available(tmp_path, image, model_file, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(image).save("one.png")
    model, settings = models.open_model(model_file), reports.load_inference_settings(model_file)
    first = inference.predict_image("one.png", model, settings)[0].attrs["finding"]
    model.stamp = {"absent": list({first, "Pleural_Thickening"})}
    known = 14 - len(model.stamp["absent"])
    for given in (settings, None):
        table, figure = inference.predict_image("one.png", model, given)
        assert table.loc[model.stamp["absent"]].drop(columns="calibrated").isna().all(axis=None)
        assert not table.calibrated[first] and table.attrs["finding"] not in model.stamp["absent"]
        assert table.probability.notna().sum() == known
        assert given is None or table.youden_flag.notna().sum() >= known - 1  # Hernia has no thresholds
        assert (inference.describe_prediction(table).loc[first] == "n/a").all()
        note = table.attrs["notes"][-1]
        assert "Pleural Thickening" in note and "Pleural Thickening" in figure.get_supxlabel().replace("\n", " ")
    with pytest.raises(ValueError, match=first):
        inference.predict_image("one.png", model, settings, first)
    monkeypatch.setattr(models, "open_model", lambda path: model)
    assert main(["predict", str(model_file), "one.png", "one.png", "--finding", "Pleural_Thickening"]) == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert "Pleural_Thickening" in line and printed.out == "" and not (tmp_path / "cxr_predictions").exists()


@pytest.mark.parametrize("synthetic", [True, False])
def test_a_model_of_synthetic_images_is_called_so(tmp_path, home, image, model_file, synthetic):
    Image.fromarray(image).save(tmp_path / "one.png")
    (home / "data").mkdir()
    (home / "data" / config.RELEASE_NOTE).write_text("Some images\n" + "kind: phantom\n" * synthetic)
    model, settings = models.open_model(model_file), reports.load_inference_settings(model_file)
    facts = FACTS | {"model_sha256": model.file_sha256}
    reports.save_inference_settings("baseline", settings, facts, data.image_source(), 474)
    saved = reports.load_inference_settings(model_file)
    table, figure = inference.predict_image(tmp_path / "one.png", model, saved)
    assert any("SYNTHETIC" in note for note in table.attrs["notes"]) is synthetic
    assert ("SYNTHETIC" in figure.get_supxlabel()) is synthetic and "was trained on frontal" not in inference.DISCLAIMER


def test_a_folder_that_cannot_be_written_is_named(tmp_path, image, model_file, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(image).save("one.png")
    (tmp_path / "taken").write_text("a file")
    assert main(["predict", str(model_file), "one.png", "--finding", "Mass", "--out", "taken"]) == 1
    printed = capsys.readouterr()
    assert "taken/one_Mass_baseline.png" in printed.err and "--out" in printed.err and "80×96" in printed.out
    assert (tmp_path / "taken").read_text() == "a file"


def test_without_its_settings_a_model_predicts_uncalibrated_probabilities(
    tmp_path, image, model_file, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(image).save("one.png")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "baseline_model.h5").write_bytes(model_file.read_bytes())
    assert main(["predict", "copy/baseline_model.h5", "one.png"]) == 0
    printed = capsys.readouterr().out
    assert "copy baseline_inference.json from the folder" in printed and printed.count("(uncalibrated)") == 14


def test_settings_of_another_model_stop_the_command(tmp_path, image, model_file, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(image).save("one.png")
    models.build_baseline(SIZE).save(model_file)
    assert main(["predict", str(model_file), "one.png"]) == 1
    printed = capsys.readouterr()
    assert "baseline_inference.json" in printed.err and "300-testing_baseline" in printed.err
    assert "Mass" not in printed.out and not (tmp_path / "cxr_predictions").exists()


def test_the_command_explains_what_it_cannot_open(tmp_path, image, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(image).save("one.png")
    inputs = keras.Input((SIZE, SIZE, 1))
    flat = keras.layers.Flatten()(inputs)
    (tmp_path / "text.h5").write_text("no model")
    keras.Model(inputs, keras.layers.Dense(14)(flat)).save("other.h5")
    # Its input and output fit, but it has no feature maps for a heat map.
    keras.Model(inputs, keras.layers.Dense(14, activation="sigmoid")(flat)).save("flat.h5")
    for name, text in (
        ("none.h5", "200-basemodel_cnn_scratch or 210-pretrained_models"), (".", "210-pretrained_models"),
        ("text.h5", "200-basemodel_cnn_scratch"),
        ("other.h5", "(None, 14)"), ("flat.h5", "no convolution"),
    ):  # fmt: skip
        assert main(["predict", name, "one.png"]) == 1
        message = capsys.readouterr().err
        assert text in message and (name in message or name == "flat.h5")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_many_images_are_predicted_without_warnings(tmp_path, image, model_file, backend):
    names = [f"{number}.png" for number in range(6)]
    for name in names:
        Image.fromarray(image).save(tmp_path / name)
    command = [sys.executable, "-m", "cxr_utils", "predict", str(model_file), *names]
    environment = os.environ | {"KERAS_BACKEND": backend}
    outcome = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    assert len(written(tmp_path / "cxr_predictions")) == 6
    # TensorFlow warns when it compiles the same function again and again.
    assert "retracing" not in outcome.stderr and "WARNING" not in outcome.stderr


@pytest.mark.slow
def test_the_import_does_not_redirect_stderr():
    code = "import os; os.dup2 = None; import cxr_utils.inference"
    subprocess.run([sys.executable, "-c", code], check=True)
