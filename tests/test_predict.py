"""Films of one's own: what is read and how, what is refused by name, what is told and drawn."""

import builtins

import keras
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from cxr_utils import config, decisions, explain, models, own_film, pixels, predict

SIZE = 64


@pytest.fixture
def film():
    """A film-like gradient from 0 to 255, `(96, 80)` uint8."""
    return np.linspace(0, 255, 96 * 80).round().astype(np.uint8).reshape(96, 80)


def write_dicom(path, stored, **tags):
    """Writes `(height, width)` uint16 of 12 bits as an uncompressed digital radiograph."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
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
    """A small model with random weights and thresholds for all findings but one."""
    path = tmp_path / "home" / "cnnmodels" / "baseline_model.h5"
    path.parent.mkdir()
    models.build_baseline(SIZE).save(path)
    decided = pd.DataFrame({"youden": 0.4, "sensitive": 0.2, "slope": 2.0, "intercept": -1.0}, pd.Index(config.LABELS, name="label"))
    decided.loc["Hernia"] = np.nan
    decisions.save(decided, "baseline", "Films: Phantom: synthetic", 474)
    return path


def test_pictures_are_read_as_pillow_wrote_them(tmp_path, film):
    wide = film.astype(np.uint16) * 16  # 12 bits in 16, as detectors store them
    palette = Image.fromarray(film).convert("P")
    for name, image in (
        ("grey.png", Image.fromarray(film)), ("sixteen.png", Image.fromarray(wide)), ("palette.png", palette),
        ("rgb.png", Image.fromarray(np.repeat(film[..., None], 3, axis=2))), ("alpha.png", Image.fromarray(film).convert("RGBA")),
        ("grey_alpha.png", Image.fromarray(film).convert("LA")),
    ):  # fmt: skip
        image.save(tmp_path / name)
        read, notes = own_film.read_own_film(tmp_path / name)
        assert read.dtype == np.uint8 and notes == [], name
        np.testing.assert_array_equal(read, film, name)
    for name, image in (("grey.jpg", Image.fromarray(film)), ("rgb.jpeg", Image.fromarray(film).convert("RGB"))):
        image.save(tmp_path / name, quality=95)
        read, _ = own_film.read_own_film(tmp_path / name)
        assert np.abs(read.astype(int) - film).max() <= 4, name


def test_dicom_is_inverted_and_windowed(tmp_path):
    stored = np.array([[0, 1000, 1500], [2000, 3000, 4095]], np.uint16)
    # Window: centre 2000, width 2001 → 1000 is black, 3000 white, and linear between (DICOM PS3.3 C.11.2.1.2.1, by hand).
    window = {"WindowCenter": 2000.0, "WindowWidth": 2001.0}
    by_window = np.array([[0, 0, 63.75], [127.5, 255, 255]])
    read, _ = own_film.read_own_film(write_dicom(tmp_path / "a.dcm", stored, **window))
    assert np.abs(read - by_window).max() <= 1
    inverted, _ = own_film.read_own_film(
        write_dicom(tmp_path / "b.dcm", stored, **window, PhotometricInterpretation="MONOCHROME1")
    )
    assert np.abs(inverted - (255 - by_window)).max() <= 1
    # Rescaled to other units before the window: −1000 + 2·stored, window of 1000…5000 in those.
    rescaled = {"RescaleSlope": 2.0, "RescaleIntercept": -1000.0, "WindowCenter": 3000.0, "WindowWidth": 4001.0}
    read, _ = own_film.read_own_film(write_dicom(tmp_path / "c.dcm", stored, **rescaled))
    assert np.abs(read - by_window).max() <= 1
    plain, _ = own_film.read_own_film(write_dicom(tmp_path / "d.dcm", stored))
    assert np.abs(plain - stored / 4095 * 255).max() <= 0.51
    # Padding is neither bone nor air: black, and no end of the scale.
    padded, _ = own_film.read_own_film(
        write_dicom(tmp_path / "e.dcm", stored, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0)
    )
    assert padded[0, 0] == 0 and padded[0, 1] == 255 and padded[1, 2] == 0


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"ViewPosition": "LL"}, "is of view LL: expected a frontal one"),
        ({"ViewPosition": "LATERAL"}, "is of view LATERAL"),
        ({"ViewPosition": "RLD"}, "is of view RLD"),
        ({"ViewPosition": "PA", "ViewCodeSequence": "left lateral"}, "is of view PA / LEFT LATERAL"),
        ({"SeriesDescription": "Thorax lat."}, r"is of view 'THORAX LAT.' \(SeriesDescription\)"),
        ({"PatientOrientation": ["A", "F"]}, "is a lateral view"),
        ({"NumberOfFrames": 3}, "is a series of 3 frames"),
        ({"Modality": "CT", "SOPClassUID": CTImageStorage}, "is of modality CT: expected a radiograph"),
        ({"BodyPartExamined": "HAND"}, r"shows HAND \(BodyPartExamined\)"),
        ({"PhotometricInterpretation": "RGB"}, r"is in colour \(RGB\)"),
        ({"PixelData": None}, "holds no image"),
        ({"PixelData": bytes(100)}, "its pixels can't be read .*export it again, uncompressed"),
        ({"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PixelData": bytes(96 * 80 * 6)}, r"holds pixels of the shape \(96, 80, 3\)"),
        ({"WindowCenter": 100.0, "WindowWidth": 0.0}, "its window or rescaling can't be applied .*Window Width"),
        ({"TransferSyntax": "1.2.840.10008.1.2.4.70"}, "They are stored as JPEG Lossless.*export it again, uncompressed"),
    ],
)
def test_dicom_that_is_no_frontal_chest_film_is_refused_by_name(tmp_path, film, tags, said):
    tags, syntax = dict(tags), tags.get("TransferSyntax")
    tags.pop("TransferSyntax", None)
    if "ViewCodeSequence" in tags:
        code = pydicom.Dataset()
        code.CodeMeaning = tags["ViewCodeSequence"]
        tags["ViewCodeSequence"] = [code]
    path = write_dicom(tmp_path / "x.dcm", film, **tags)
    if syntax:
        dataset = pydicom.dcmread(path)
        dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path)
    with pytest.raises(ValueError, match=f"^x.dcm.*{said}"):
        own_film.read_own_film(path)


@pytest.mark.parametrize(
    "tags",
    [
        {"ViewPosition": "PA", "BodyPartExamined": "CHEST", "Modality": "CR", "PatientOrientation": ["L", "F"]},
        {"ViewPosition": "AP", "BodyPartExamined": "PORT CHEST", "SeriesDescription": "Chest AP and lateral"},
        {"ViewPosition": "antero-posterior", "PatientAge": "054Y"},
        {"ViewPosition": "", "Modality": "", "PatientBirthDate": "19600101", "StudyDate": "20200101"},
    ],
)
def test_frontal_films_of_adults_are_taken_without_a_word(tmp_path, film, tags):
    _, notes = own_film.read_own_film(write_dicom(tmp_path / "x.dcm", film, **tags))
    assert notes == []


@pytest.mark.parametrize(
    "tags", [{"PatientAge": "012Y"}, {"PatientAge": "030M"}, {"PatientBirthDate": "20021231", "StudyDate": "20201230"}]
)
def test_a_childs_film_is_warned_of(tmp_path, film, tags):
    _, notes = own_film.read_own_film(write_dicom(tmp_path / "x.dcm", film, **tags))
    assert len(notes) == 1 and "child" in notes[0] and "2002" not in notes[0]


def test_other_files_are_refused_by_name(tmp_path, film):
    photo = np.stack([film, film[::-1], film // 2], axis=-1)
    Image.fromarray(photo).save(tmp_path / "photo.jpg")
    Image.fromarray(photo).save(tmp_path / "photo.png")
    Image.fromarray(film).save(tmp_path / "whole.png")
    Image.fromarray(film).save(tmp_path / "whole.jpg")
    Image.fromarray(np.full((96, 80), 7, np.uint8)).save(tmp_path / "flat.png")
    for kind in ("png", "jpg"):
        whole = (tmp_path / f"whole.{kind}").read_bytes()
        (tmp_path / f"cut.{kind}").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray((tmp_path / "whole.png").read_bytes())
    damaged[60] ^= 255
    (tmp_path / "damaged.png").write_bytes(damaged)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_bytes(b"<!DOCTYPE html>")
    dicom = write_dicom(tmp_path / "whole.dcm", film).read_bytes()
    (tmp_path / "header.dcm").write_bytes(dicom[:140])
    for name, said in (
        ("photo.jpg", "is in colour"), ("photo.png", "is in colour"), ("flat.png", "same grey everywhere"),
        ("cut.png", "is truncated after"), ("cut.jpg", "is truncated after"), ("damaged.png", "is damaged"),
        ("empty.png", "is empty"), ("text.png", "is no PNG, JPEG or DICOM"), ("header.dcm", "damaged DICOM|holds no image"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{name} .*({said})"):
            own_film.read_own_film(tmp_path / name)
    with pytest.raises(ValueError, match="is a folder: a series"):
        own_film.read_own_film(tmp_path)
    with pytest.raises(FileNotFoundError, match="^none.png: there is no such file"):
        own_film.read_own_film(tmp_path / "none.png")


def test_dicom_without_pydicom_says_what_to_install(tmp_path, film, monkeypatch):
    path = write_dicom(tmp_path / "x.dcm", film)
    whole = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pydicom"):
            raise ModuleNotFoundError(name)
        return whole(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match="x.dcm is DICOM, which needs pydicom: pip install"):
        own_film.read_own_film(path)


def test_a_prediction_is_that_of_the_film_scaled_and_called_as_decided(tmp_path, film, model_file):
    Image.fromarray(film).save(tmp_path / "film.png")
    model, decided = models.open_model(model_file), decisions.load(model_file)
    table, figure = predict.predict_film(tmp_path / "film.png", model, decided, "Mass")
    small = pixels.resize(film, SIZE)
    raw = models.predict(model, small[None])[0].astype(float)
    known = [label != "Hernia" for label in config.LABELS]
    # Platt: 1 / (1 + e^-(2·logit − 1)), by hand.
    scaled = 1 / (1 + np.exp(1) * ((1 - raw) / raw) ** 2)
    assert table.probability.to_numpy() == pytest.approx(np.where(known, scaled, raw), rel=1e-6)
    assert table.calibrated.tolist() == known
    assert table.youden.iloc[0] == pytest.approx(1 / (1 + np.exp(1) * 1.5**2)) and np.isnan(table.youden["Hernia"])
    assert table.youden_call.tolist()[:13] == (raw[:13] >= 0.4).tolist() and np.isnan(table.youden_call["Hernia"])
    assert table.sensitive_call.tolist()[:13] == (raw[:13] >= 0.2).tolist()
    drawn_film, drawn_heat = (image.get_array() for image in figure.axes[0].images)
    np.testing.assert_array_equal(drawn_film, film)
    heat = explain.grad_cam(model, small[None], "Mass")[0]
    assert drawn_heat.shape == film.shape and abs(drawn_heat.mean() - heat.mean()) < 0.02
    said = figure.get_suptitle() + figure.get_supxlabel()
    assert "NO DIAGNOSIS" in said and "Phantom" in said and "Mass" in said and "film.png" in said


def _told_of(**rows):
    """A table as `predict_film` makes it from raw predictions and decisions of some findings, the others at 0.1 of 0.5."""
    raw = np.full((1, 14), 0.1)
    decided = pd.DataFrame({"youden": 0.5, "sensitive": 0.2, "slope": 1.0, "intercept": 0.0}, pd.Index(config.LABELS, name="label"))
    for label, (prob, *values) in rows.items():
        raw[0, config.LABELS.index(label)] = prob
        decided.loc[label] = values
    return predict._table(raw, decided)


def test_what_is_told_is_what_was_decided():
    # Mass lies between its thresholds, Nodule above both; Edema has no scaling, Hernia nothing at all.
    none = [np.nan] * 2
    table = _told_of(Mass=(0.3, 0.4, 0.2, 1.0, 0.0), Nodule=(0.4, 0.4, 0.2, 1.0, 0.0), Edema=(0.3, 0.25, 0.125, *none), Hernia=(0.3, *none, *none))
    told = predict.describe(table)
    assert told.loc["Mass"].tolist() == ["30.0%", "40.0%", "no", "20.0%", "yes"]
    assert told.loc["Nodule"].tolist() == ["40.0%", "40.0%", "yes", "20.0%", "yes"]
    assert told.loc["Edema"].tolist() == ["30.0% (not calibrated)", "25.0%", "yes", "12.5%", "yes"]
    assert told.loc["Hernia"].tolist() == ["30.0% (not calibrated)", "n/a", "n/a", "n/a", "n/a"]
    assert told.loc["Fibrosis"].tolist() == ["10.0%", "50.0%", "no", "20.0%", "no"]


def test_the_heat_is_that_of_the_finding_furthest_above_its_threshold():
    # Odds: Mass 1 of 3/2 (0.67), Hernia 1/19 of 1/99 (5.2), Edema 9 of 4 (2.25), though the most probable.
    told = {"Mass": (0.5, 0.6, 0.2, 1.0, 0.0), "Hernia": (0.05, 0.01, 0.01, 1.0, 0.0), "Edema": (0.9, 0.8, 0.2, 1.0, 0.0)}
    assert predict._furthest_above(_told_of(**told)) == "Hernia"
    assert predict._furthest_above(_told_of(**told).assign(youden=np.nan)) == "Edema"


def test_the_command_tells_and_draws_and_refuses(tmp_path, film, model_file, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(film).save("one.png")
    write_dicom(tmp_path / "two.dcm", film.astype(np.uint16) * 16, ViewPosition="PA", PatientAge="011Y")
    write_dicom(tmp_path / "side.dcm", film, ViewPosition="LL")
    Image.fromarray(film[:40]).save("small.png")
    assert predict.main([str(model_file), "one.png", "side.dcm", "two.dcm", "small.png", "--finding", "Nodule"]) == 1
    told = capsys.readouterr()
    for text in ("NO DIAGNOSIS", "frontal chest films of adults", "474 validation films", "Phantom", "a child's film", *config.LABELS):
        assert text in told.out, text
    assert "Hernia" in told.out and "(not calibrated)" in told.out
    assert "Refused: side.dcm is of view LL" in told.err and "small.png has 80×40 pixels: expected at least 64×64" in told.err
    assert "Jane" not in told.out + told.err and "4711" not in told.out + told.err
    assert sorted(path.name for path in tmp_path.glob("*_*.png")) == ["one_Nodule.png", "two_Nodule.png"]
    assert Image.open("one_Nodule.png").size == (1050, 1200)
    # What looks like a formula is a name.
    Image.fromarray(film).save("$a^{$.png")
    assert predict.main([str(model_file), "$a^{$.png"]) == 0
    capsys.readouterr()
    (tmp_path / "one_Mass.png").mkdir()
    assert predict.main([str(model_file), "one.png", "--finding", "Mass"]) == 1
    told = capsys.readouterr()
    assert "one_Mass.png can't be written into" in told.err and "one.png, 80×96 pixels" in told.out


def test_a_model_without_decisions_says_so(tmp_path, film, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    models.build_baseline(SIZE).save("bare.h5")
    Image.fromarray(film).save("one.png")
    assert predict.main(["bare.h5", "one.png"]) == 0
    told = capsys.readouterr().out
    assert "Without thresholds and scaling: 300 or 311 chooses them" in told and told.count("(not calibrated)") == 14


def test_what_the_command_can_not_open_is_said(tmp_path, film, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(film).save("one.png")
    assert predict.main(["none.h5", "one.png"]) == 1
    assert "none.h5 is missing: run 200-basemodel_cnn_scratch or 210-pretrained_models" in capsys.readouterr().err
    (tmp_path / "text.h5").write_text("no model")
    assert predict.main(["text.h5", "one.png"]) == 1
    assert "text.h5 can't be opened as a Keras model" in capsys.readouterr().err
    inputs = keras.Input((SIZE, SIZE, 1))
    keras.Model(inputs, keras.layers.Dense(14)(keras.layers.Flatten()(inputs))).save("other.h5")
    assert predict.main(["other.h5", "one.png"]) == 1
    assert "expected (None, size, size, 1) to (None, 14) by a dense layer of sigmoids" in capsys.readouterr().err
    models.build_baseline(SIZE).save("one.keras")
    assert predict.main(["one.keras", "one.png"]) == 1
    assert "one.keras can't be opened as HDF5" in capsys.readouterr().err
    # Of another make, though it takes films and ends in sigmoids.
    keras.Sequential([inputs, keras.layers.Flatten(), keras.layers.Dense(14, activation="sigmoid")]).save("flat.h5")
    assert predict.main(["flat.h5", "one.png"]) == 1
    assert "has no convolution with maps of more than one pixel" in capsys.readouterr().err
    (tmp_path / "again").mkdir()
    with pytest.raises(SystemExit):
        predict.main(["none.h5", "one.png", "again/one.dcm"])
    assert "two films are called one" in capsys.readouterr().err
