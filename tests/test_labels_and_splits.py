"""The label table and its splits, against the published numbers and tables written by hand."""

import pandas as pd
import pytest

from cxr_utils import config, data
from cxr_utils.data import splits

HEADER_2020 = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
ROWS = [
    "00000001_000.png,Cardiomegaly,0,1,{},M,PA,2682,2749,0.143,0.143",
    "00000002_000.png,No Finding,0,2,{},F,AP,2500,2048,0.168,0.168",
]


def _write(folder, rows, header=HEADER_2020, name="Data_Entry_2017_v2020.csv"):
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_reads_the_edition_of_2020(tmp_path):
    frame = data.read_labels(_write(tmp_path, [ROWS[0].format(57), ROWS[1].format(0)]))
    assert list(frame.columns) == [
        "imgindex",
        "label",
        "followup",
        "patientID",
        "age",
        "gender",
        "viewposition",
        "width",
        "height",
        "x",
        "y",
        "path",
    ]
    assert frame.iloc[0].tolist() == [
        "00000001_000.png",
        "Cardiomegaly",
        0,
        1,
        57.0,
        "M",
        "PA",
        2682,
        2749,
        0.143,
        0.143,
        "data/images/00000001_000.png",
    ]
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
def test_reads_the_first_edition_and_loses_no_row(tmp_path, written, years):
    rows = [row.format(written) + "," for row in ROWS]
    frame = data.read_labels(_write(tmp_path, rows, HEADER_2020 + ",", "Data_Entry_2017.csv"))
    assert len(frame) == 2
    assert frame.age.isna().all() if years is None else frame.age.tolist() == pytest.approx([years] * 2, abs=2e-3)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (ROWS, HEADER_2020.replace("Patient ID", "Patient"), r"no column \['Patient ID'\].*found"),
        ([ROWS[0].replace("Cardiomegaly", "Cardiomegaly|Fracture").format(5)], HEADER_2020, "00000001_000.png is labeled 'Cardiomegaly.Fracture'; expected"),
        ([ROWS[0].replace("Cardiomegaly", "").format(5)], HEADER_2020, "00000001_000.png is labeled 'nan'"),
        ([ROWS[0].replace(",1,", ",one,").format(5)], HEADER_2020, "'patientID' of 00000001_000.png holds 'one'"),
        ([ROWS[0].format("old")], HEADER_2020, "age of 00000001_000.png is 'old'"),
        ([ROWS[0].format(5)] * 2, HEADER_2020, "lists 00000001_000.png twice"),
    ],
)  # fmt: skip
def test_a_bad_table_is_one_sentence(tmp_path, rows, header, message):
    with pytest.raises(ValueError, match=message):
        data.read_labels(_write(tmp_path, rows, header))


def test_missing_inputs_name_the_notebook(home, tmp_path):
    with pytest.raises(FileNotFoundError, match="000-data_download"):
        data.read_labels(tmp_path / "Data_Entry_2017.csv")
    with pytest.raises(FileNotFoundError, match="000-data_download"):
        data.find_label_table()
    with pytest.raises(FileNotFoundError, match=r"subset/train_set.pkl is missing: run 100"):
        data.load_frame("train_set")
    with pytest.raises(FileNotFoundError, match="None of the 1 images"):
        data.keep_present(pd.DataFrame({"imgindex": ["a.png"]}))


def test_one_hot_by_hand():
    frame = data.one_hot(pd.DataFrame({"imgindex": list("abc"), "label": ["No Finding", "Hernia", "Edema|Mass"]}))
    assert list(frame.columns) == ["imgindex", "label", *config.LABELS, "target"]
    found = [{label for label in config.LABELS if row[label]} for _, row in frame.iterrows()]
    assert found == [set(), {"Hernia"}, {"Edema", "Mass"}]
    assert [row.target.tolist() for row in frame.itertuples()] == frame[config.LABELS].to_numpy().tolist()


def test_frequent_means_more_than():
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
def test_every_image_is_in_exactly_one_set_and_seen_says_who_leaks(tmp_path, method):
    frame = _images()
    (tmp_path / "test_list.txt").write_text("\n".join(frame.imgindex[frame.patientID < 10]))
    train, valid, test = data.split(frame, method, test_list=tmp_path / "test_list.txt")
    names = [name for part in (train, valid, test) for name in part.imgindex]
    assert sorted(names) == sorted(frame.imgindex)
    assert len(valid) == pytest.approx(
        0.3 * (len(train) + len(valid) + (0 if method == "official" else len(test))), abs=1
    )
    before = set(train.patientID)
    assert valid.seen.tolist() == [patient in before for patient in valid.patientID]
    before |= set(valid.patientID)
    assert test.seen.tolist() == [patient in before for patient in test.patientID]
    assert (method == "stratified") == test.seen.any()
    # Notebooks say which split they show.
    data.save_frame(test, "test_set")
    assert data.load_frame("test_set").attrs["split"] == method
    if method == "official":
        assert set(test.patientID) == set(range(10))


def test_split_refuses_what_it_can_not_do(tmp_path):
    frame = _images()
    with pytest.raises(ValueError, match="SPLIT is 'random': expected one of stratified, patient, official"):
        data.split(frame, "random")
    with pytest.raises(FileNotFoundError, match="test_list.txt"):
        data.split(frame, "official", test_list=tmp_path / "test_list.txt")
    frame.loc[0, "label"] = "Hernia"
    with pytest.raises(ValueError, match="'Hernia' occurs on 1 images"):
        data.split(frame)


def test_a_finding_absent_from_a_set_is_said():
    message = data.absent_findings(_images(), "test")
    assert message.startswith("No image of the test set shows Atelectasis, Consolidation")
    assert "Mass" not in message


def test_frames_come_back_as_they_were_and_a_broken_pickle_is_named(home):
    frame = _images()
    data.save_frame(frame, "test_set")
    with pytest.raises(ValueError, match="no column"):
        data.load_frame("test_set")
    frame["path"], frame["seen"] = frame.imgindex, False
    # As written before frames said their split.
    data.save_frame(frame, "test_set")
    with pytest.raises(ValueError, match="test_set.pkl doesn't say by which split it was made: run 100"):
        data.load_frame("test_set")
    frame.attrs["split"] = "patient"
    data.save_frame(frame, "test_set")
    pd.testing.assert_frame_equal(data.load_frame("test_set"), frame)
    path = home / "subset" / "test_set.pkl"
    # As a pickle of a pandas with other internals looks: a module that this one does not have.
    path.write_bytes(b"\x80\x04\x95" + b"\x00" * 8 + b"cpandas.core.gone\nFrame\n.")
    with pytest.raises(ValueError, match=r"subset/test_set.pkl can't be read by pandas .*: run 100"):
        data.load_frame("test_set")


# The published numbers, facts.md §1.
TEST_SHARES = {
    "Atelectasis": 9.751857807135718, "Consolidation": 3.554821607057494, "Infiltration": 17.174394854634738,
    "Pneumothorax": 4.2588327321715695, "Edema": 1.725261831298075, "Emphysema": 1.8469427665029767,
    "Fibrosis": 1.1994263613054625, "Effusion": 11.116422580504976, "Pneumonia": 0.9647559862674373,
    "Pleural_Thickening": 2.4336187040980404, "Cardiomegaly": 2.0859588892268914, "Nodule": 5.080179044804659,
    "Mass": 4.4848116118378165, "Hernia": 0.11733518751901265,
}  # fmt: skip


def test_the_published_numbers(real):
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
    # Counted by a script of pandas and scikit-learn alone; the 7 and 13 of an earlier count are those unseen in training.
    assert test[~test.seen][["Hernia", "Edema"]].sum().tolist() == [4, 8]
    new_to_training = test[~test.patientID.isin(train.patientID)]
    assert len(new_to_training) == 5242 and new_to_training[["Hernia", "Edema"]].sum().tolist() == [7, 13]


def test_the_splits_without_leak_on_the_real_table(real):
    table = data.read_labels(real / "release256" / "Data_Entry_2017_v2020.csv")
    train, valid, test = data.split(table, "official", test_list=real / "release256" / "test_list.txt")
    assert (len(train) + len(valid), len(test)) == (86_524, 25_596)
    for method in ("patient", "official"):
        sets = data.split(table, method, test_list=real / "release256" / "test_list.txt")
        patients = [set(part.patientID) for part in sets]
        assert not patients[0] & patients[1] and not (patients[0] | patients[1]) & patients[2]
        assert not sets[1].seen.any() and not sets[2].seen.any()
