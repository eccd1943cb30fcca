"""The phantom release has the properties that the pipeline and the reader of its results rely on."""

import hashlib
import re
import tarfile
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_utils import config, data, phantom
from cxr_utils.phantom import canvas
from cxr_utils.phantom import release as phantom_release

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


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    return phantom.draw_release(tmp_path_factory.mktemp("phantom") / "release")


@pytest.fixture(scope="session")
def images(release):
    """Returns the PNG files of the default release by name, in archive order."""
    return {member.name: png for member, png in members(release)}


@pytest.fixture(scope="session")
def table(release):
    return data.one_hot(data.read_labels(release / config.LABEL_TABLES[0]))


@pytest.fixture(scope="session")
def boxes(release):
    frame = pd.read_csv(release / config.BOXES)
    return frame.iloc[:, :6].set_axis(["imgindex", "finding", "x", "y", "w", "h"], axis=1)


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    return phantom.draw_release(tmp_path_factory.mktemp("small") / "release", SMALL)


def test_the_default_release_has_the_documented_size(table):
    assert 1500 <= len(table) <= 1800
    assert table.patientID.nunique() >= 450
    images_each = table.groupby("patientID").size()
    assert images_each.median() <= 3 and images_each.max() >= 12


def test_each_finding_has_enough_images_with_and_without_rare_combinations(table):
    kept = data.keep_frequent_combinations(table)
    assert table[config.LABELS].sum().min() >= 80
    assert kept[config.LABELS].sum().min() >= 70
    assert 0.9 <= len(kept) / len(table) < 1
    assert 0.28 <= (table.label == config.NO_FINDING).mean() <= 0.36


def test_each_set_of_the_stratified_split_has_every_finding(table):
    for part in data.split(data.keep_frequent_combinations(table)):
        assert part[config.LABELS].sum().min() >= 10


def test_the_archives_match_md5sums(release):
    assert md5_sums(release) == {
        name: hashlib.md5((release / name).read_bytes()).hexdigest() for name in phantom_release.ARCHIVES
    }


def test_the_archives_contain_files_with_nih_names_in_order(release, images):
    assert all(member.isfile() for member, _ in members(release))
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
    assert 0.005 < len(modes["RGBA"]) / len(images) < 0.02
    colors = np.asarray(Image.open(BytesIO(images[modes["RGBA"][0]])))
    assert (colors[..., 3] == 255).all()
    assert (colors[..., :3] == colors[..., :1]).all()


def test_the_label_table_lists_each_image_once_in_nih_format(release, images, table):
    assert ["images/" + name for name in table.imgindex] == list(images)
    header = (release / config.LABEL_TABLES[0]).read_text().splitlines()[0]
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


def test_a_few_ages_are_impossible_and_the_others_never_decrease(release, table):
    raw = pd.read_csv(release / config.LABEL_TABLES[0])["Patient Age"]
    assert sorted(raw[raw > 99]) == sorted(phantom_release.IMPOSSIBLE_AGES)
    steps = table.dropna(subset="age").groupby("patientID").age.diff().dropna()
    assert steps.min() >= 0 and steps.max() > 0


def test_the_official_lists_have_no_patient_in_common(release, table):
    lists = [(release / name).read_text().split() for name in (config.TRAIN_VAL_LIST, config.TEST_LIST)]
    assert sorted(lists[0] + lists[1]) == list(table.imgindex)
    patients = [{name[:8] for name in names} for names in lists]
    assert not patients[0] & patients[1]
    assert 0.2 < len(lists[1]) / len(table) < 0.26


def test_boxes_are_on_test_images_with_their_finding(release, table, boxes):
    assert (release / config.BOXES).read_text().startswith("Image Index,Finding Label,Bbox [x,y,w,h],,,\n")
    named = boxes.assign(finding=boxes.finding.replace("Infiltrate", "Infiltration"))
    assert "Infiltration" not in set(boxes.finding)
    assert set(named.finding) == set(config.BOXED)
    assert set(boxes.imgindex) <= set((release / config.TEST_LIST).read_text().split())
    labels = table.set_index("imgindex").label
    assert all(row.finding in labels[row.imgindex].split("|") for row in named.itertuples())
    assert (boxes[["x", "y"]] >= 0).all(axis=None) and (boxes[["w", "h"]] > 0).all(axis=None)
    assert (boxes.x + boxes.w <= 1024).all() and (boxes.y + boxes.h <= 1024).all()


@pytest.mark.parametrize("finding", ["Mass", "Nodule", "Pneumonia", "Effusion"])
def test_opacities_in_boxes_are_brighter_than_the_mirrored_region(images, boxes, finding):
    differences = []
    for row in boxes[boxes.finding == finding].itertuples():
        image = np.asarray(Image.open(BytesIO(images["images/" + row.imgindex])).convert("L"), float)
        x, y, w, h = (int(value / 4) for value in (row.x, row.y, row.w, row.h))
        differences.append(image[y : y + h, x : x + w].mean() - image[y : y + h, 256 - x - w : 256 - x].mean())
    assert len(differences) >= 8
    # Not all, because the mirrored region of an opacity in the right lung can be the heart.
    assert np.mean(np.array(differences) > 5) > 0.6


@pytest.mark.parametrize("finding", config.LABELS)
def test_each_finding_changes_the_image(finding):
    changed = []
    for patient in range(1, 7):
        healthy, none = phantom.draw_image(1, patient, 0, "F", "PA", [])
        abnormal, boxes = phantom.draw_image(1, patient, 0, "F", "PA", [finding])
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
    _, first = phantom.draw_image(42, 7, 0, "M", "PA", ["Mass"])
    _, later = phantom.draw_image(42, 7, 1, "M", "PA", ["Mass"])
    _, other = phantom.draw_image(42, 8, 0, "M", "PA", ["Mass"])
    distances = [np.abs(np.subtract(first[0][1], boxes[0][1]))[:2].sum() for boxes in (later, other)]
    assert distances[0] < distances[1]


def test_the_first_line_of_the_release_note_is_the_phantom_note(small):
    first = (small / config.RELEASE_NOTE).read_text().splitlines()[0]
    assert first == "Phantom: synthetic images drawn by cxr_utils.phantom, no patients (seed 42)"


def test_the_same_seed_draws_the_same_release_and_another_seed_does_not(small, tmp_path):
    again = phantom.draw_release(tmp_path / "again" / "deeper", SMALL)
    other = phantom.draw_release(tmp_path / "other", SMALL, seed=43)
    assert {file.name for file in again.iterdir()} == {file.name for file in small.iterdir()}
    assert all(file.read_bytes() == (small / file.name).read_bytes() for file in again.iterdir())
    # Bytes 4 to 8 of a gzip file are its time. They must be 0: releases drawn within the same second are equal anyway.
    assert all((small / name).read_bytes()[4:8] == bytes(4) for name in phantom_release.ARCHIVES)
    assert not set(md5_sums(other).values()) & set(md5_sums(small).values())


def test_pixels_match_the_recorded_checksum():
    """If this fails, the images changed: increase `phantom.release.VERSION` and record the new checksum."""
    digest = hashlib.sha256()
    for patient, findings in enumerate([[], *([name] for name in config.LABELS)], start=1):
        image, _ = phantom.draw_image(42, patient, 0, "MF"[patient % 2], "AP" if patient % 3 == 0 else "PA", findings)
        digest.update(image.tobytes())
    assert digest.hexdigest() == "3bf77fed095b0a58552af61652444106682d0a6fbcb03252dcf91a403f34c3df"


def test_a_complete_release_is_kept_and_a_damaged_one_is_drawn_again(small, tmp_path):
    folder = phantom.draw_release(tmp_path / "release", 2)
    before = (folder / phantom_release.ARCHIVES[0]).stat().st_mtime_ns
    assert phantom.draw_release(folder, 2) == folder
    assert (folder / phantom_release.ARCHIVES[0]).stat().st_mtime_ns == before
    good = (folder / phantom_release.ARCHIVES[0]).read_bytes()
    (folder / phantom_release.ARCHIVES[0]).write_bytes(good[:-100])
    phantom.draw_release(folder, 2)
    assert (folder / phantom_release.ARCHIVES[0]).read_bytes() == good


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


def test_a_folder_with_other_files_is_rejected_and_not_changed(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not a phantom release"):
        phantom.draw_release(tmp_path, 2)
    with pytest.raises(ValueError, match="is not a phantom release"):
        phantom.draw_release(tmp_path / "thesis.txt", 2)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("patients, seed", [(0, 1), (3, -1)])
def test_arguments_out_of_range_are_rejected(tmp_path, patients, seed):
    with pytest.raises(ValueError, match="needs patients >= 1 and a seed >= 0"):
        phantom.draw_release(tmp_path / "release", patients, seed)
