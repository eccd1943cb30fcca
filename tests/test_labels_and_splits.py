"""The label table and its splits, compared with hand-written tables and the published numbers."""

import pandas as pd
import pytest

from cxr_utils import config, data
from cxr_utils.data import splits

HEADER_2020 = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = [
    "00000001_000.png,Cardiomegaly,0,1,{},M,PA,2682,2749,0.143,0.143",
    "00000002_000.png,No Finding,0,2,{},F,AP,2500,2048,0.168,0.168",
]


def _write(folder, rows, header=HEADER_2020, name="Data_Entry_2017_v2020.csv"):
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_the_2020_edition_is_read(tmp_path):
    frame = data.read_labels(_write(tmp_path, [ROWS[0].format(57), ROWS[1].format(0)]))
    assert frame.iloc[0].to_dict() == {
        "imgindex": "00000001_000.png", "label": "Cardiomegaly", "followup": 0, "patientID": 1, "age": 57.0,
        "gender": "M", "viewposition": "PA", "width": 2682, "height": 2749, "x": 0.143, "y": 0.143,
        "path": "data/images/00000001_000.png",
    }  # fmt: skip
    assert " ".join(frame) == "imgindex label followup patientID age gender viewposition width height x y path"
    assert frame.age[1] == 0


@pytest.mark.parametrize(
    ("written", "years"),
    [
        ("058Y", 58),
        ("013M", 13 / 12),
        ("073D", 0.2),
        ("414", None),
        ("100", None),
        ("095Y", 95),
        ("58.0", 58),
        ("", None),
    ],
)
def test_the_first_edition_is_read_and_no_row_is_dropped(tmp_path, written, years):
    rows = [row.format(written) + "," for row in ROWS]
    frame = data.read_labels(_write(tmp_path, rows, HEADER_2020 + ",", "Data_Entry_2017.csv"))
    assert len(frame) == 2
    assert frame.age.isna().all() if years is None else frame.age.tolist() == pytest.approx([years] * 2, abs=2e-3)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (ROWS, HEADER_2020.replace("Patient ID", "Patient"), r"no column \['Patient ID'\].*found"),
        (
            [ROWS[0].replace("Cardiomegaly", "Cardiomegaly|Fracture").format(5)], HEADER_2020,
            r"00000001_000\.png is labeled 'Cardiomegaly\|Fracture'; expected",
        ),
        ([ROWS[0].replace("Cardiomegaly", "").format(5)], HEADER_2020, "00000001_000.png is labeled 'nan'"),
        ([ROWS[0].replace(",1,", ",one,").format(5)], HEADER_2020, "'patientID' of 00000001_000.png contains 'one'"),
        ([ROWS[0].format("old")], HEADER_2020, "age of 00000001_000.png is 'old'"),
        ([ROWS[0].format(5)] * 2, HEADER_2020, "00000001_000.png is listed twice; expected .*: 1"),
    ],
)  # fmt: skip
def test_a_wrong_table_raises_an_error_that_names_the_value(tmp_path, rows, header, message):
    with pytest.raises(ValueError, match=message):
        data.read_labels(_write(tmp_path, rows, header))


@pytest.mark.parametrize(
    ("old", "wrong"),
    [
        *[(",M,", f",{sex},") for sex in ("", "X", "O", "MF", "nan", "unknown", "1")],
        *[(",PA,", f",{view},") for view in ("", "LL", "lateral", "AP|PA", "unknown")],
        *[(",1,57,", f",{patient},57,") for patient in ("1.5", "-1", "", "nan", "inf", "1e400", "1" * 16, "True")],
        *[(",0,1,", f",{followup},1,") for followup in ("0.5", "-1", "", "inf", "first")],
        *[(",2682,", f",{width},") for width in ("0", "-2682", "2682.5", "", "nan", "inf")],
        *[(",2749,", f",{height},") for height in ("0", "000", "2749.01", "")],
        *[(",0.143,0.168", f",{x},0.168") for x in ("0", "0.000", "-0.143", "", "inf", "nan", "a")],
        *[(",0.143,0.168", f",0.143,{y}") for y in ("0", "-0.168", "", "inf")],
        *[
            (",Cardiomegaly,", f",{label},")
            for label in (
                "No Finding|Cardiomegaly", "Cardiomegaly|No Finding", "No Finding|No Finding", "Mass|Mass", "Mass|",
                "|Mass", "mass", "Mass|Edema|Mass", "Mass| Edema", "",
            )
        ],
    ],
)  # fmt: skip
def test_an_impossible_row_is_rejected_by_the_name_of_its_image(tmp_path, old, wrong):
    row = "00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.143,0.168"
    good = "00000002_000.png,No Finding,0,2,80,F,AP,2500,2048,0.168,0.168"
    assert row.count(old) == 1
    with pytest.raises(ValueError, match=r"Data_Entry_2017_v2020\.csv.*00000001_000\.png"):
        data.read_labels(_write(tmp_path, [good, row.replace(old, wrong)]))


@pytest.mark.parametrize("name", ["", "00000001_000.jpg", "00000001_000", ".png", "images/00000001_000.png", "a b.png"])
def test_a_row_without_the_name_of_a_png_file_is_rejected(tmp_path, name):
    with pytest.raises(ValueError, match=f"'{name or 'nan'}'"):
        data.read_labels(_write(tmp_path, [ROWS[1].format(5), ROWS[0].format(5).replace("00000001_000.png", name)]))


def test_whole_numbers_may_be_written_with_a_decimal_point(tmp_path):
    """A program that met a missing value in the column writes them so."""
    frame = data.read_labels(_write(tmp_path, [ROWS[0].format(5), ROWS[1].format(5).replace(",0,2,", ",0.0,2.0,")]))
    assert frame.patientID.tolist() == [1, 2] and frame.patientID.dtype.kind == frame.followup.dtype.kind == "i"


def test_errors_about_missing_inputs_name_the_notebook_to_run(home, tmp_path):
    with pytest.raises(FileNotFoundError, match="000-data_download"):
        data.read_labels(tmp_path / "Data_Entry_2017.csv")
    with pytest.raises(FileNotFoundError, match="000-data_download"):
        data.find_label_table()
    with pytest.raises(FileNotFoundError, match=r"subset/train_set\.pkl is missing: run 100"):
        data.load_frame("train_set")
    with pytest.raises(FileNotFoundError, match="None of the 1 images"):
        data.keep_present(pd.DataFrame({"imgindex": ["a.png"]}))


def test_one_hot_encodes_each_finding():
    frame = data.one_hot(pd.DataFrame({"imgindex": list("abc"), "label": ["No Finding", "Hernia", "Edema|Mass"]}))
    assert list(frame.columns) == ["imgindex", "label", *config.LABELS, "target"]
    found = [{label for label in config.LABELS if row[label]} for _, row in frame.iterrows()]
    assert found == [set(), {"Hernia"}, {"Edema", "Mass"}]
    assert [row.target.tolist() for row in frame.itertuples()] == frame[config.LABELS].to_numpy().tolist()


def test_combinations_in_more_images_than_the_limit_are_kept():
    frame = pd.DataFrame({"label": ["a"] * 21 + ["b"] * 20})
    assert data.keep_frequent_combinations(frame).label.unique().tolist() == ["a"]


def _images(patients=40, images=6):
    names = [(patient, visit) for patient in range(patients) for visit in range(images)]
    frame = pd.DataFrame(names, columns=["patientID", "followup"])
    frame["imgindex"] = [f"{patient:08d}_{visit:03d}.png" for patient, visit in names]
    frame["path"] = "data/images/" + frame.imgindex
    frame["label"] = ["Mass" if patient % 2 else "No Finding" for patient, _ in names]
    return data.one_hot(frame)


@pytest.mark.parametrize("method", splits.SPLIT_METHODS)
def test_each_image_is_in_one_set_and_seen_marks_patients_in_earlier_sets(tmp_path, method):
    frame = _images()
    (tmp_path / "test_list.txt").write_text("\n".join(frame.imgindex[frame.patientID < 10]))
    train, valid, test = data.split(frame, method, test_list=tmp_path / "test_list.txt")
    names = [name for part in (train, valid, test) for name in part.imgindex]
    assert sorted(names) == sorted(frame.imgindex)
    assert len(valid) == pytest.approx(
        0.3 * (len(train) + len(valid) + (0 if method == "official" else len(test))), abs=1
    )
    development = set(train.patientID)
    assert valid.seen.tolist() == [patient in development for patient in valid.patientID]
    development |= set(valid.patientID)
    assert test.seen.tolist() == [patient in development for patient in test.patientID]
    assert (method == "stratified") == test.seen.any() == valid.seen.any()
    # Notebooks show the name of the split.
    data.save_split(frame, train, valid, test)
    assert data.load_split()["test"].attrs["split"] == method
    if method == "official":
        assert set(test.patientID) == set(range(10))


def test_the_shares_of_the_patient_split_are_shares_of_patients():
    # One patient has half of the images.
    frame = pd.concat([_images(patients=100, images=1), _images(patients=1, images=100)], ignore_index=True)
    parts = data.split(frame, "patient")
    assert [part.patientID.nunique() for part in parts] == [49, 30, 21]
    assert [len(part) for part in parts] != [98, 60, 42]


def test_impossible_splits_raise_errors(tmp_path):
    frame = _images()
    with pytest.raises(ValueError, match=r"SPLIT.*random.*stratified.*patient.*official"):
        data.split(frame, "random")
    with pytest.raises(FileNotFoundError, match=r"test_list\.txt"):
        data.split(frame, "official", test_list=tmp_path / "test_list.txt")
    frame.loc[0, "label"] = "Hernia"
    with pytest.raises(ValueError, match=r"Hernia.*\b1\b"):
        data.split(frame)


def test_findings_that_no_image_or_every_image_has_are_listed():
    some = _images()
    every = some.assign(**dict.fromkeys(config.LABELS, some.Mass))
    assert data.absent(some) == [label for label in config.LABELS if label != "Mass"] and not data.absent(every)
    without_hernia = every.assign(Hernia=0, Pleural_Thickening=0)
    text = data.absent_findings({"training": every, "validation": without_hernia, "test": some}).lower()
    validation, test = text.splitlines()
    assert "validation" in validation and "hernia" in validation and "pleural thickening" in validation
    assert "threshold" in validation and "edema" not in validation
    assert "test" in test and "edema" in test and " mass" not in test and "n/a" in test
    assert data.absent_findings({"training": every, "validation": every}) == ""
    (training,) = data.absent_findings({"training": without_hernia}).splitlines()
    assert "training" in training and "n/a" in training
    pneumonia = every.assign(Hernia=0, Pneumonia=1)
    assert data.absent(pneumonia) == ["Pneumonia", "Hernia"]
    no, all_images = data.absent_findings({"test": pneumonia}).splitlines()
    assert "Hernia" in no and "Pneumonia" not in no and "Pneumonia" in all_images and "Hernia" not in all_images


def test_a_split_is_loaded_as_saved_and_errors_name_the_file(home):
    sets = data.split(_images(), "patient")
    data.save_split(_images(), *sets)
    for saved, loaded in zip(sets, data.load_split().values(), strict=True):
        pd.testing.assert_frame_equal(loaded, saved)
    path = home / "subset" / "test_set.pkl"
    sets[2].drop(columns="seen").to_pickle(path)
    with pytest.raises(ValueError, match=r"subset/test_set\.pkl .*seen"):
        data.load_frame("test_set")
    # A pickle of another pandas version can refer to a module that does not exist in this version.
    path.write_bytes(b"\x80\x04\x95" + b"\x00" * 8 + b"cpandas.core.gone\nFrame\n.")
    with pytest.raises(ValueError, match=r"subset/test_set\.pkl cannot be read by pandas .*: run 100"):
        data.load_frame("test_set")
    # A file that cannot be read now need not be written again.
    path.unlink()
    path.symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match=r"subset/test_set\.pkl"):
        data.load_frame("test_set")


@pytest.mark.parametrize("old", ["train_set", "valid_set", "test_set"])
def test_sets_of_different_splits_are_rejected(home, old):
    data.save_split(_images(), *data.split(_images(), "patient", seed=1))
    kept = (home / "subset" / f"{old}.pkl").read_bytes()
    # The same split again is the same: nothing has to be trained again.
    data.save_split(_images(), *data.split(_images(), "patient", seed=1))
    data.load_split()
    data.save_split(_images(), *data.split(_images(), "patient", seed=2))
    (home / "subset" / f"{old}.pkl").write_bytes(kept)
    with pytest.raises(ValueError, match=r"subset/ .*100-data_cleaning_eda"):
        data.load_split()


def test_the_digest_of_a_split_depends_on_images_sets_and_labels_only():
    train, valid, test = data.split(_images(), "patient")
    digest = data.split_digest(train, valid)
    assert data.split_digest(train.sample(frac=1, random_state=0), valid) == digest
    changed = [(valid, train), (train[1:], valid), (pd.concat([train, test[:1]]), valid), (train, valid[:-1])]
    changed += [(train.assign(label=train.label.replace("Mass", "Nodule")), valid)]
    assert len({data.split_digest(*sets) for sets in changed} | {digest}) == 6


# Percentage of the test images with each finding, as published.
TEST_SHARES = {
    "Atelectasis": 9.751857807135718, "Consolidation": 3.554821607057494, "Infiltration": 17.174394854634738,
    "Pneumothorax": 4.2588327321715695, "Edema": 1.725261831298075, "Emphysema": 1.8469427665029767,
    "Fibrosis": 1.1994263613054625, "Effusion": 11.116422580504976, "Pneumonia": 0.9647559862674373,
    "Pleural_Thickening": 2.4336187040980404, "Cardiomegaly": 2.0859588892268914, "Nodule": 5.080179044804659,
    "Mass": 4.4848116118378165, "Hernia": 0.11733518751901265,
}  # fmt: skip


def test_the_stratified_split_has_the_published_numbers(real):
    table = data.read_labels(real / "release256" / "Data_Entry_2017_v2020.csv")
    assert (len(table), table.patientID.nunique(), table.label.nunique()) == (112_120, 30_805, 836)
    assert (table.label == "No Finding").sum() == 60_361
    subset = data.one_hot(data.keep_frequent_combinations(table))
    train, valid, test = data.split(subset)
    assert [len(part) for part in (subset, train, valid, test)] == [109_577, 53_692, 32_874, 23_011]
    assert (test[config.LABELS].mean() * 100).to_dict() == TEST_SHARES
    assert test.patientID.isin(train.patientID).mean() == pytest.approx(0.772, abs=5e-4)
    assert test.seen.mean() == pytest.approx(0.821, abs=5e-4)
    assert (~test.seen).sum() == 4108
    # Counted by a separate script with pandas and scikit-learn: images of patients not in the development set (4 and 8)
    # and of patients not in the training set (7 and 13).
    assert test[~test.seen][["Hernia", "Edema"]].sum().tolist() == [4, 8]
    new_to_training = test[~test.patientID.isin(train.patientID)]
    assert len(new_to_training) == 5242 and new_to_training[["Hernia", "Edema"]].sum().tolist() == [7, 13]


def test_patient_and_official_splits_do_not_leak_on_the_real_table(real):
    table = data.read_labels(real / "release256" / "Data_Entry_2017_v2020.csv")
    train, valid, test = data.split(table, "official", test_list=real / "release256" / "test_list.txt")
    assert (len(train) + len(valid), len(test)) == (86_524, 25_596)
    for method in ("patient", "official"):
        sets = data.split(table, method, test_list=real / "release256" / "test_list.txt")
        patients = [set(part.patientID) for part in sets]
        assert not patients[0] & patients[1] and not (patients[0] | patients[1]) & patients[2]
        assert not sets[1].seen.any() and not sets[2].seen.any()
