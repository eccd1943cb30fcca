"""The phantom release has the properties that the pipeline and the reader of its results rely on."""

import hashlib
import os
import re
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.neighbors import KNeighborsRegressor

from cxr_utils import config, data, download, evaluation, phantom
from cxr_utils.evaluation import resampling
from cxr_utils.phantom import canvas, plan
from cxr_utils.phantom import release as phantom_release
from tests.helpers import only_in_ci

SMALL = 12  # patients


def md5_sums(folder):
    lines = (folder / "MD5SUMS").read_text().splitlines()
    return {name: md5 for md5, name in (line.split("  ") for line in lines)}


def members(folder):
    """Yields `(tar member, bytes of the file)` of all archives in order."""
    for name in phantom_release.ARCHIVES:
        with tarfile.open(folder / name) as tar:
            for member in tar:
                yield member, tar.extractfile(member).read()


def read_table(folder):
    return data.one_hot(data.read_labels(folder / config.LABEL_TABLES[0]))


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """Folder of the tables of the default release, without its images and boxes, which take half a minute to draw."""
    folder = tmp_path_factory.mktemp("tables")
    images = phantom_release.plan_images(phantom_release.PATIENTS, config.SEED)
    phantom_release.write_tables(folder, images, [[]] * len(images))
    return folder


@pytest.fixture(scope="session")
def table(tables):
    return read_table(tables)


@pytest.fixture(scope="session")
def images(small_phantom):
    """Returns the PNG files of a phantom of 130 patients by name, in archive order."""
    return {member.name: png for member, png in members(small_phantom)}


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    return phantom.draw_release(tmp_path_factory.mktemp("small") / "release", SMALL)


# The numbers of the following tests are those of docs/phantom.md.


def test_the_default_release_has_the_documented_size(table):
    images_each = table.groupby("patientID").size()
    assert (len(table), len(images_each), images_each.max()) == (2391, 1500, 20)
    assert 0.78 <= (images_each == 1).mean() <= 0.86
    assert 0.94 <= len(data.keep_frequent_combinations(table)) / len(table) < 1


def test_each_group_of_the_default_test_set_has_15_patients_with_each_finding(table):
    test = data.split(data.keep_frequent_combinations(table))[2]
    age = pd.cut(test.age, [0, 18, 40, 60, 200], right=False, labels=["children", "18", "40", "60"])
    groups = [
        test.seen,
        ~test.seen,
        *(test.gender == sex for sex in "FM"),
        *(test.viewposition == v for v in ("PA", "AP")),
    ]
    for group in [*groups, *(age == band for band in ("18", "40", "60"))]:
        for label in config.LABELS:
            assert test[group & (test[label] == 1)].patientID.nunique() >= 15


def within_interval(truth, hits, patients):
    """Returns whether a share is within the 95 % interval of a patient-level bootstrap, widened to 99.99 %."""
    samples = resampling.bootstrap_share(hits, np.ones(len(hits)), patients)
    return abs(hits.mean() - truth) <= 3.9 * samples.std()


@pytest.fixture(scope="session")
def truth(table):
    """The findings that are drawn, a frame like `table`."""
    plan = phantom_release.plan_images(phantom_release.PATIENTS, config.SEED)
    drawn = [[int(label in image["findings"]) for label in config.LABELS] for image in plan]
    return table.assign(**dict(zip(config.LABELS, np.transpose(drawn), strict=True)))


def test_the_errors_of_the_label_table_have_the_documented_rates(table, truth):
    drawn, labeled = truth[config.LABELS].to_numpy(), table[config.LABELS].to_numpy()
    patients = table.patientID.to_numpy()
    present = drawn == 1
    missing = np.where(present & (labeled == 0), 1, 0).sum(1)
    samples = resampling.bootstrap_share(missing, present.sum(1), patients)
    assert abs(missing.sum() / present.sum() - 0.15) <= 3.9 * samples.std()
    surplus = ((drawn == 0) & (labeled == 1)).sum(1)
    assert surplus.max() == 1
    # Not every combination can have one more finding, so there are fewer than 25 % of them, but not many fewer.
    assert 0.15 <= surplus.mean() <= 0.25


def test_ap_images_are_more_frequent_with_the_findings_of_bedside_patients(table, truth):
    bedside = truth[["Edema", "Effusion", "Consolidation", "Pneumonia"]].any(axis=1).to_numpy()
    portable = (table.viewposition == "AP").to_numpy()
    for group, share in ((bedside, 0.55), (~bedside, 0.42)):
        assert within_interval(share, portable[group], table.patientID[group].to_numpy())


def test_adjudicated_labels_are_without_errors_in_both_parts(tables, table, truth):
    adjudicated = data.read_adjudicated(tables / config.ADJUDICATED)
    sets = pd.read_csv(tables / config.ADJUDICATED).set_index("Image Index")["Set Id"]
    assert set(sets) == {"test", "val"} and sets.value_counts(normalize=True).min() > 0.4
    assert 0.6 <= table.patientID[table.imgindex.isin(sets.index)].nunique() / table.patientID.nunique() <= 0.8
    drawn = truth.set_index("imgindex").loc[adjudicated.index]
    assert (adjudicated["Pneumothorax"] == (drawn.Pneumothorax == 1)).all()
    assert (adjudicated["Nodule or mass"] == ((drawn.Nodule == 1) | (drawn.Mass == 1))).all()
    opacity = drawn[["Consolidation", "Edema", "Infiltration", "Pneumonia"]].any(axis=1)
    assert (adjudicated["Airspace opacity"] == opacity).all()


@only_in_ci
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_patients_can_be_recognized_so_results_on_patients_of_the_development_set_are_too_good(table):
    plan = {image["name"]: image for image in phantom_release.plan_images(phantom_release.PATIENTS, config.SEED)}
    train, _, test = data.split(data.keep_frequent_combinations(table))

    def pixels(frame):
        with ThreadPoolExecutor() as pool:
            files = pool.map(lambda name: phantom_release.encode(plan[name], config.SEED)[0], frame.imgindex)
            images = [np.asarray(Image.open(BytesIO(png)).convert("L").reduce(16), float).ravel() for png in files]
        return np.array([(image - image.mean()) / image.std() for image in images])

    # A model that only compares images: their neighbors at 16×16 pixels.
    neighbors = KNeighborsRegressor(20, weights="distance").fit(pixels(train), data.targets(train))
    y_prob = np.clip(neighbors.predict(pixels(test)), 0, 1)
    leakage = evaluation.leakage_table(data.targets(test), y_prob, test.patientID, test.seen)
    assert leakage.loc["difference", "lower"] > 0.03 and leakage.loc["unseen", "auroc"] > 0.55


def test_the_archives_match_md5sums(small_phantom):
    assert md5_sums(small_phantom) == {
        name: hashlib.md5((small_phantom / name).read_bytes()).hexdigest() for name in phantom_release.ARCHIVES
    }


def test_the_archives_contain_files_with_nih_names_in_order(small_phantom, images):
    assert all(member.isfile() for member, _ in members(small_phantom))
    names = list(images)
    assert all(re.fullmatch(r"images/\d{8}_\d{3}\.png", name) for name in names)
    assert names == sorted(names)


def test_images_are_grayscale_except_one_percent_rgba_with_equal_channels(images):
    modes = {}
    for name, png in images.items():
        with Image.open(BytesIO(png)) as image:
            assert image.size == (256, 256)
            modes.setdefault(image.mode, []).append(name)
    assert set(modes) == {"L", "RGBA"}
    assert len(modes["RGBA"]) == -(-len(images) // 100)
    colors = np.asarray(Image.open(BytesIO(images[modes["RGBA"][0]])))
    assert (colors[..., 3] == 255).all()
    assert (colors[..., :3] == colors[..., :1]).all()


def test_the_label_table_lists_each_image_once_in_nih_format(small_phantom, images, tables, table):
    assert ["images/" + name for name in read_table(small_phantom).imgindex] == list(images)
    header = (tables / config.LABEL_TABLES[0]).read_text().splitlines()[0]
    assert header == (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    )
    assert (
        table.imgindex == [f"{p:08d}_{f:03d}.png" for p, f in zip(table.patientID, table.followup, strict=True)]
    ).all()
    assert (table.label == table.label.map(lambda text: "|".join(sorted(text.split("|"))))).all()
    assert set(table.gender) == {"M", "F"} and set(table.viewposition) == {"PA", "AP"}
    assert (table.groupby("patientID").gender.nunique() == 1).all()


def test_a_few_ages_are_impossible_and_the_others_never_decrease(tables, table):
    raw = pd.read_csv(tables / config.LABEL_TABLES[0])["Patient Age"]
    assert sorted(raw[raw > 99]) == sorted(plan.IMPOSSIBLE_AGES)
    steps = table.dropna(subset="age").groupby("patientID").age.diff().dropna()
    assert steps.min() >= 0 and steps.max() > 0


def test_the_official_lists_have_no_patient_in_common(tables, table):
    lists = [(tables / name).read_text().split() for name in (config.TRAIN_VAL_LIST, config.TEST_LIST)]
    assert sorted(lists[0] + lists[1]) == list(table.imgindex)
    patients = [{name[:8] for name in names} for names in lists]
    assert not patients[0] & patients[1]
    assert 0.2 < len(lists[1]) / len(table) < 0.26


def test_boxes_are_on_test_images_with_their_finding(small_phantom):
    assert (small_phantom / config.BOXES).read_text().startswith("Image Index,Finding Label,Bbox [x,y,w,h],,,\n")
    boxes = pd.read_csv(small_phantom / config.BOXES).iloc[:, :6]
    boxes.columns = ["imgindex", "finding", "x", "y", "w", "h"]
    assert "Infiltrate" in set(boxes.finding) <= {*config.BOXED, "Infiltrate"} - {"Infiltration"}
    assert set(boxes.imgindex) <= set((small_phantom / config.TEST_LIST).read_text().split())
    labels = read_table(small_phantom).set_index("imgindex").label
    named = boxes.assign(finding=boxes.finding.replace("Infiltrate", "Infiltration"))
    assert all(row.finding in labels[row.imgindex].split("|") for row in named.itertuples())
    assert (boxes[["x", "y"]] >= 0).all(axis=None) and (boxes[["w", "h"]] > 0).all(axis=None)
    assert (boxes.x + boxes.w <= 1024).all() and (boxes.y + boxes.h <= 1024).all()


@pytest.mark.slow
@pytest.mark.parametrize("finding", ["Mass", "Nodule", "Pneumonia", "Effusion"])
def test_opacities_in_boxes_are_brighter_than_the_mirrored_region(finding):
    differences = []
    for patient in range(1, 21):
        image, boxes = phantom.draw_image(42, patient, 0, "MF"[patient % 2], 50, "PA", [finding])
        for _, (x, y, w, h) in boxes:
            x, y, w, h = (int(value / 4) for value in (x, y, w, h))
            differences.append(
                float(image[y : y + h, x : x + w].mean()) - image[y : y + h, 256 - x - w : 256 - x].mean()
            )
    assert len(differences) >= 20
    # Not all, because the mirrored region of an opacity in the right lung can be the heart.
    assert np.mean(np.array(differences) > 5) > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("finding", config.LABELS)
def test_each_finding_changes_the_image(finding):
    changed = []
    for patient in range(1, 7):
        healthy, none = phantom.draw_image(1, patient, 0, "F", 50, "PA", [])
        abnormal, boxes = phantom.draw_image(1, patient, 0, "F", 50, "PA", [finding])
        assert none == [] and {name for name, _ in boxes} == ({finding} & set(config.BOXED))
        changed.append((np.abs(abnormal.astype(int) - healthy) > 15).mean())
    assert min(changed) > 0.003


def test_the_word_phantom_is_in_every_image(images):
    plate = np.zeros((canvas.SIZE, canvas.SIZE), np.uint8)
    canvas.burn(plate, "PHANTOM", *canvas.PHANTOM_AT, 1)
    ink = plate > 0
    assert ink.sum() > 80
    for png in images.values():
        image = np.asarray(Image.open(BytesIO(png)).convert("L"))
        assert (image[ink] == 210).all()


def test_a_finding_stays_in_place_in_later_images_of_a_patient():
    _, first = phantom.draw_image(42, 7, 0, "M", 50, "PA", ["Mass"])
    _, later = phantom.draw_image(42, 7, 1, "M", 50, "PA", ["Mass"])
    _, other = phantom.draw_image(42, 8, 0, "M", 50, "PA", ["Mass"])
    distances = [np.abs(np.subtract(first[0][1], boxes[0][1]))[:2].sum() for boxes in (later, other)]
    assert distances[0] < distances[1]


def test_the_release_note_names_the_phantom_its_kind_its_seed_and_its_size(small):
    note = download.release_note(small)
    assert note.name.startswith("Phantom:") and re.search(rf"\b{config.SEED}\b", note.name) and note.kind == "phantom"
    assert re.search(rf"\b{SMALL} patients\b", (small / config.RELEASE_NOTE).read_text())
    assert download.find_release(str(small)).kind == "phantom"


@pytest.mark.slow
def test_the_same_seed_draws_the_same_release_and_another_seed_does_not(small, tmp_path):
    again = phantom.draw_release(tmp_path / "again" / "deeper", SMALL)
    other = phantom.draw_release(tmp_path / "other", SMALL, seed=43)
    assert {file.name for file in again.iterdir()} == {file.name for file in small.iterdir()}
    assert all(file.read_bytes() == (small / file.name).read_bytes() for file in again.iterdir())
    # Bytes 4 to 8 of a gzip file are its time. They must be 0: releases drawn within the same second are equal anyway.
    assert all((small / name).read_bytes()[4:8] == bytes(4) for name in phantom_release.ARCHIVES)
    assert not set(md5_sums(other).values()) & set(md5_sums(small).values())


# Mean gray value and standard deviation of one image without finding and one of each finding, with seed 42.
GRAY_VALUES = [
    (125.2, 41.4), (161.0, 44.9), (130.1, 65.0), (143.7, 45.5), (114.2, 47.2), (136.3, 52.8), (108.6, 68.1),
    (130.8, 53.7), (99.5, 62.5), (117.7, 52.9), (134.1, 54.5), (134.2, 64.3), (117.7, 65.9), (146.6, 67.0),
    (142.5, 55.6),
]  # fmt: skip


def test_gray_values_match_the_recorded_ones():
    """If this fails, the images changed: increase `phantom.release.VERSION` and record the new values."""
    values = []
    for patient, findings in enumerate([[], *([name] for name in config.LABELS)], start=1):
        view = "AP" if patient % 3 == 0 else "PA"
        image, _ = phantom.draw_image(42, patient, 0, "MF"[patient % 2], 20 + 4 * patient, view, findings)
        values.append((image.mean(), image.std()))
    # Other versions of OpenCV round single pixels differently.
    np.testing.assert_allclose(values, GRAY_VALUES, atol=0.3)


def test_a_complete_release_is_kept(tmp_path):
    folder = phantom.draw_release(tmp_path / "release", 2)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert phantom.draw_release(folder, 2) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.fixture(scope="session")
def smallest(tmp_path_factory):
    """A phantom of one patient and its files, by name."""
    folder = phantom.draw_release(tmp_path_factory.mktemp("smallest") / "release", 1)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("images_001.tar.gz", b"short"),
        ("images_003.tar.gz", None),
        ("MD5SUMS", b"nonsense\n"),
        ("MD5SUMS", b"three words here\n"),
        ("MD5SUMS", b"\xff\xfe"),
        ("MD5SUMS", b""),
        ("MD5SUMS", None),
        (config.TEST_LIST, None),
        (config.RELEASE_NOTE, b"Phantom: synthetic images (seed 42)\nkind: phantom\nversion: 0, 1 patients\n"),
        (config.RELEASE_NOTE, b"\xff\nkind: phantom\n"),
    ],
)
def test_a_damaged_or_old_phantom_is_drawn_again(smallest, tmp_path, name, content):
    folder = tmp_path / "phantom"
    folder.mkdir()
    for file, intact in smallest.items():
        (folder / file).write_bytes(intact)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    phantom.draw_release(folder, 1)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == smallest


def test_an_interrupted_release_leaves_no_files(tmp_path, monkeypatch):
    calls = []

    def interrupted(*image):
        calls.append(image)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return drawn(*image)

    drawn = phantom_release.draw_image
    monkeypatch.setattr(phantom_release, "draw_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        phantom.draw_release(tmp_path / "parent" / "release", 10)
    assert list((tmp_path / "parent").iterdir()) == []


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_as_many_threads_draw_as_this_process_has_cpus(tmp_path, monkeypatch):
    """In a container this can be fewer than the machine has."""
    threads = set()

    def noted(*arguments):
        threads.add(threading.get_ident())
        return draw_image(*arguments)

    draw_image = phantom_release.draw_image
    monkeypatch.setattr(phantom_release, "draw_image", noted)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        phantom.draw_release(tmp_path / "release", 3)
    finally:
        os.sched_setaffinity(0, allowed)
    assert len(threads) == 1


@pytest.mark.parametrize("note", [None, "My images\n", "kind: phantom\n", "My images, kind: phantom\n"])
def test_a_folder_with_other_files_is_rejected_and_not_changed(tmp_path, note):
    (tmp_path / "thesis.txt").write_text("mine")
    if note:
        (tmp_path / config.RELEASE_NOTE).write_text(note)
    for folder in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(ValueError, match=re.escape(str(folder))):
            phantom.draw_release(folder, 2)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("patients, seed", [(0, 1), (3, -1)])
def test_arguments_out_of_range_are_rejected(tmp_path, patients, seed):
    with pytest.raises(ValueError, match=rf"patients={patients}.*seed={seed}"):
        phantom.draw_release(tmp_path / "release", patients, seed)
