"""Releases and tables of others: other folders, names, encodings and spellings than NIH's, and what is said about them.

Sources: Kaggle's data sets nih-chest-xrays/data, nih-chest-xrays/sample, khanfashee/nih-chest-x-ray-14-224x224-resized
(folders and names of columns); Excel's formats "CSV UTF-8" and "Unicode Text" (byte-order mark, UTF-16); AppleDouble
(RFC 1740, files that begin with ._), and what Finder, Windows Explorer and Synology's DSM add to folders.
"""

import errno
import gzip
import hashlib
import io
import os
import re
import shutil
import tarfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_utils import config, data, download, run
from cxr_utils.__main__ import main
from cxr_utils.data import pixels
from cxr_utils.download import folders
from tests.conftest import write_tables
from tests.test_notebooks import NOTEBOOKS

NAMES = [f"{number:08d}_000.png" for number in range(1, 9)]
LABELS, TEST, TRAIN = config.LABEL_TABLES[0], config.TEST_LIST, config.TRAIN_VAL_LIST
BOXES = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Mass,1,2,3,4,,,\n"


def picture(seed=0, size=64):
    """Returns a smooth picture with many gray values, `(size, size)` uint8."""
    small = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8))
    return np.asarray(small.resize((size, size), Image.Resampling.BICUBIC))


def png(seed):
    stream = io.BytesIO()
    Image.fromarray(picture(seed)).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def release(tmp_path):
    """Folder of a release of eight patients with one image each in images/; the last two are in the test list."""
    folder = tmp_path / "release"
    (folder / "images").mkdir(parents=True)
    write_tables(folder, NAMES, 2)
    for number, name in enumerate(NAMES):
        (folder / "images" / name).write_bytes(png(number))
    return folder


def move(release, names, layout):
    for name in names:
        path = release / layout.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        (release / "images" / name).rename(path)


def fetch(release):
    """Downloads a release as 000 does and returns `{image: content}` of what is in data/images/."""
    download.download_release(download.find_release(str(release)), None)
    return {path.name: path.read_bytes() for path in download.image_folder().iterdir()}


def rewrite(path, change):
    path.write_bytes(change(path.read_text()))


IMAGES = {name: png(number) for number, name in enumerate(NAMES)}


# --- folders ---


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("images/{}", "images_002/images/{}"),
        ("images_001/{}", "images_002/{}"),
        ("{}", "images/{}"),
        ("sample/images/{}", "sample/sample/images/{}"),
        ("images-224/images-224/{}", "more images/{}"),
        ("train/Mass/{}", "test/No Finding/{}"),
        ("a/b/c/d/e/{}", ".hidden/{}"),
    ],
)
def test_the_images_of_all_folders_are_used(release, capsys, first, second):
    (release / "images").rename(release / "unpacked")
    for names, layout in ((NAMES[:5], first), (NAMES[5:], second)):
        for name in names:
            path = release / layout.format(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            (release / "unpacked" / name).rename(path)
    (release / "unpacked").rmdir()
    assert fetch(release) == IMAGES and "Not used" not in capsys.readouterr().out
    assert main(["check"]) == 0
    fetch(release)
    assert "Nothing to do" in capsys.readouterr().out


def test_linked_folders_are_entered_and_a_link_in_a_circle_is_not(release, tmp_path):
    (release / "images").rename(tmp_path / "elsewhere")
    (release / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(release)
    assert fetch(release) == IMAGES


def test_the_images_in_data_are_no_source_of_images(release, monkeypatch):
    monkeypatch.setenv("CXR_HOME", str(release))
    fetch(release)
    shutil.rmtree(release / "images")
    with pytest.raises(FileNotFoundError, match="PNG images"):
        fetch(release)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".dcm", ".tif", ".npy", ".png.part", ""])
def test_files_of_other_kinds_are_counted_and_named(release, capsys, suffix):
    for name in NAMES[:3]:
        (release / "images" / name).rename(release / "images" / f"{name[:-4]}{suffix}")
    assert fetch(release) == {name: IMAGES[name] for name in NAMES[3:]}
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Not used"))
    assert f" 3 {os.path.splitext(suffix)[1].lower() or suffix.lower() or 'other'} " in line
    assert f"images/{NAMES[0][:-4]}{suffix}" in line and str(release) in line


@pytest.mark.parametrize("place", ["figure.png", "images/thumb.png", "docs/99999999_000.png", "0.png"])
def test_a_png_file_that_is_in_no_row_is_named_and_not_linked(release, capsys, place):
    (release / place).parent.mkdir(exist_ok=True)
    (release / place).write_bytes(png(99))
    assert fetch(release) == IMAGES
    assert f"1 .png files (such as {place})" in capsys.readouterr().out


def test_archives_that_md5sums_does_not_list_are_named(release, capsys):
    shutil.rmtree(release / "images")
    for number in (1, 2):
        pack(release / f"images_00{number}.tar.gz", {f"images/{NAMES[number]}": IMAGES[NAMES[number]]})
    content = (release / "images_001.tar.gz").read_bytes()
    (release / "MD5SUMS").write_text(f"{hashlib.md5(content).hexdigest()}  images_001.tar.gz\n")
    assert list(fetch(release)) == [NAMES[1]]
    assert "1 .gz files (such as images_002.tar.gz)" in capsys.readouterr().out


def test_equal_files_of_one_name_are_used_once_and_different_ones_rejected(release, capsys):
    shutil.copytree(release / "images", release / "sample" / "images")
    assert fetch(release) == IMAGES
    assert "8 .png files (such as sample/images/00000001_000.png)" in capsys.readouterr().out
    (release / "sample" / "images" / NAMES[2]).write_bytes(png(5))
    with pytest.raises(ValueError, match=rf"sample/images/{NAMES[2]} differs from .*release/images/{NAMES[2]}"):
        fetch(release)


@pytest.mark.parametrize(("number", "error"), [(errno.EACCES, PermissionError), (errno.ENOTCONN, folders.DriveError)])
def test_a_folder_that_cannot_be_read_is_not_skipped(release, monkeypatch, number, error):
    (release / "images_002").mkdir()

    def scandir(path, otherwise=os.scandir):
        if str(path).endswith("images_002"):
            raise OSError(number, os.strerror(number), path)
        return otherwise(path)

    monkeypatch.setattr(folders.os, "scandir", scandir)
    with pytest.raises(error, match="images_002"):
        download.find_release(str(release))


@pytest.mark.slow
@pytest.mark.parametrize("names", ["NIH's", "others", "damaged"])
def test_000_ends_well_with_a_png_file_next_to_the_images(release, home, monkeypatch, names):
    (release / "figure.png").write_bytes(png(99))
    if names == "damaged":  # these two, of the eight that 000 shows
        (release / "images" / NAMES[0]).write_bytes(png(0)[:200])
        Image.new("RGB", (64, 64), "red").save(release / "images" / NAMES[3])
    if names == "others":
        for path in (release / LABELS, release / TEST, release / TRAIN):
            rewrite(path, lambda text: text.replace("0000000", "chest").encode())
        for path in list((release / "images").iterdir()):
            path.rename(path.with_name(path.name.replace("0000000", "chest")))
    monkeypatch.setenv("CXR_RELEASE", str(release))
    assert run.run_notebook(NOTEBOOKS[0], home / "notebooks", {})
    if names == "damaged":
        page = (home / "notebooks" / "000-data_download.html").read_text()
        assert "image/png;base64" in page and all(page.count(f"{NAMES[n]} is ") == 1 for n in (0, 3))


# --- what Kaggle has, and what is missing ---


def kaggle_sample(release):
    """Changes a release to Kaggle's 5 % sample: other names of columns, every file twice, no lists."""
    for name in (TEST, TRAIN):
        (release / name).unlink()
    header, _, rows = (release / LABELS).read_text().partition("\n")
    size, spacing = (
        ("OriginalImageWidth", "OriginalImageHeight"),
        "OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y",
    )
    header = ",".join([*header.split(",")[:7], *size, spacing])
    (release / "sample_labels.csv").write_text(f"{header}\n{rows.replace(',50,', ',050Y,')}")
    (release / LABELS).unlink()
    shutil.copytree(release / "images", release / "sample" / "images")
    shutil.copy(release / "sample_labels.csv", release / "sample")
    (release / "images").rename(release / "sample" / "sample")


def kaggle_224(release):
    """Changes a release to Kaggle's copy of 224×224 pixels: the first edition, nested folders, other lists."""
    for name in (TEST, TRAIN):
        (release / name).rename(release / name.replace(".txt", "_NIH.txt"))
    (release / LABELS).rename(release / config.LABEL_TABLES[1])
    (release / "images-224").mkdir()
    (release / "images").rename(release / "images-224" / "images-224")
    (release / "pretrained_model.h5").write_bytes(b"weights")


def upper_case(release):
    """Changes the names of the image files, but not the label table, to .PNG."""
    for name in NAMES:
        (release / "images" / name).rename(release / "images" / name.replace(".png", ".PNG"))


def upper_case_everywhere(release):
    upper_case(release)
    for path in (release / LABELS, release / TEST, release / TRAIN):
        rewrite(path, lambda text: text.replace(".png", ".PNG").encode())


def without_lists(release):
    for name in (TEST, TRAIN):
        (release / name).unlink()


def with_the_test_list_alone(release):
    (release / TRAIN).unlink()


@pytest.mark.parametrize(
    ("change", "has_test_list"),
    [
        (kaggle_sample, False), (kaggle_224, True), (upper_case, True), (upper_case_everywhere, True),
        (without_lists, False), (with_the_test_list_alone, True),
    ],
)  # fmt: skip
def test_copies_of_others_are_used_and_lists_are_asked_for_with_the_official_split_only(release, change, has_test_list):
    change(release)
    assert fetch(release) == IMAGES
    assert download.check_tables() == NAMES and main(["check"]) == 0
    frame = data.keep_present(data.read_labels(data.find_label_table()))
    assert frame.imgindex.tolist() == NAMES and set(frame.age) == {50} and set(frame.width) == {2500}
    assert sum(map(len, data.split(frame, "patient"))) == 8
    test_list = config.data_folder() / TEST
    if has_test_list:
        assert data.split(frame, "official", test_list=test_list)[2].imgindex.tolist() == NAMES[-2:]
    else:
        with pytest.raises(FileNotFoundError, match=rf"official split needs .*{TEST}.*add it to the release"):
            data.split(frame, "official", test_list=test_list)


@pytest.mark.parametrize(
    ("change", "missing", "found"),
    [
        (lambda folder: (folder / LABELS).rename(folder / "labels.csv"), "sample_labels.csv", r"1 \.csv .*labels\.csv"),
        (lambda folder: shutil.rmtree(folder / "images"), "PNG images", r"2 \.txt files"),
        (lambda folder: [path.rename(path.with_suffix(".jpg")) for path in (folder / "images").iterdir()],
         "PNG images", r"8 \.jpg files \(such as images/00000001_000\.jpg"),
        (lambda folder: (shutil.rmtree(folder / "images"), (folder / "images.zip").write_bytes(b"PK")),
         "MD5SUMS", r"1 \.zip files \(such as images\.zip"),
        (lambda folder: [path.unlink() for path in folder.iterdir() if path.is_file()], LABELS, r"8 \.png files"),
    ],
)  # fmt: skip
def test_a_folder_without_a_release_is_rejected_with_what_it_has_and_lacks(release, change, missing, found):
    change(release)
    with pytest.raises(FileNotFoundError, match=rf"{release} has no .*{missing}.*, but .*{found}.*CXR_RELEASE"):
        download.find_release(str(release))


@pytest.mark.parametrize(
    "change", [lambda name: name.replace("_000", ""), lambda name: name.lstrip("0"), lambda name: f"nih_{name}"]
)
def test_images_of_other_names_than_those_in_the_table_are_named(release, change):
    for name in NAMES:
        (release / "images" / name).rename(release / "images" / change(name))
    with pytest.raises(ValueError, match=rf"None of 8 PNG files.*{change(NAMES[0])}.*{LABELS}.*{NAMES[0]}"):
        fetch(release)


def test_images_in_data_that_are_in_no_row_are_named_instead_of_sending_back_to_000(release):
    fetch(release)
    frame = data.read_labels(data.find_label_table())
    with pytest.raises(FileNotFoundError, match=rf"None of the 8 images .*x{NAMES[0]}.* contains 8 others.*{NAMES[0]}"):
        data.keep_present(frame.assign(imgindex="x" + frame.imgindex))


# --- archives ---


def pack(archive, members):
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def pack_release(release, members):
    shutil.rmtree(release / "images")
    pack(release / "images_001.tar.gz", members)
    content = (release / "images_001.tar.gz").read_bytes()
    (release / "MD5SUMS").write_text(f"{hashlib.md5(content).hexdigest()}  images_001.tar.gz\n")


@pytest.mark.parametrize(
    "name",
    [
        "._images", "images/._00000001_000.png", "images/.DS_Store", "__MACOSX/images/._00000001_000.png",
        "__MACOSX/._images", "images/Thumbs.db", "images/desktop.ini", "Desktop.ini", "images/Icon\r",
        "images/@eaDir/00000001_000.png", ".Trashes/501/00000001_000.png", "./images/._.DS_Store",
    ],
)  # fmt: skip
def test_files_that_systems_add_are_left_out_of_archives_and_folders(release, capsys, name):
    pack_release(release, {name: b"metadata"} | {f"images/{image}": content for image, content in IMAGES.items()})
    assert fetch(release) == IMAGES
    (release / name).parent.mkdir(parents=True, exist_ok=True)
    (release / name).write_bytes(b"metadata")
    capsys.readouterr()
    download.find_release(str(release))
    assert "Not used" not in capsys.readouterr().out


def test_png_in_upper_case_in_an_archive_is_an_image(release):
    pack_release(release, {f"images/{name.replace('png', 'PNG')}": content for name, content in IMAGES.items()})
    assert fetch(release) == IMAGES


@pytest.mark.parametrize("members", [{}, {"images/.DS_Store": b"metadata"}])
def test_an_archive_without_images_is_named(release, members):
    pack_release(release, members)
    with pytest.raises(ValueError, match=r"images_001\.tar\.gz contains no PNG"):
        fetch(release)


# --- encodings, empty rows, names ---

ENCODINGS = {
    "UTF-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "two marks": lambda text: ("\ufeff\ufeff" + text).encode(),
    "a mark in the middle, as after cat": lambda text: text.replace("\n", "\n\ufeff", 1).encode(),
    "UTF-16 with a mark": lambda text: text.encode("utf-16"),
    "UTF-16, big-endian, with a mark": lambda text: ("\ufeff" + text).encode("utf-16-be"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "UTF-16, big-endian, without a mark": lambda text: text.encode("utf-16-be"),
    "Windows": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "quotes": lambda text: "\n".join(",".join(f'"{value}"' for value in row.split(",")) for row in text.split("\n"))
    .replace('""', "").encode(),
    "semicolons": lambda text: re.sub(r"(\d)\.(\d)", r"\1,\2", text.replace(",", ";")).encode(),
    "semicolons, as text of Windows": lambda text: text.replace(",", ";").replace("\n", "\r\n").encode("utf-16"),
    "tabs": lambda text: text.replace(",", "\t").encode(),
    "a column with quoted commas": lambda text: re.sub(
        r"^(.*,.*)$", r'\1,"a, b"', text.replace("\n", ",Comment\n", 1) if "," in text else text, flags=re.M
    ).replace(',Comment,"a, b"', ",Comment").encode(),
    "compressed": lambda text: gzip.compress(text.encode("utf-8-sig")),
}  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", [LABELS, TEST, TRAIN, config.BOXES])
def test_a_table_is_read_in_every_encoding(release, name, encoding):
    (release / config.BOXES).write_text(BOXES)
    rewrite(release / name, ENCODINGS[encoding])
    assert fetch(release) == IMAGES and download.check_tables() == NAMES
    frame = data.read_labels(data.find_label_table())
    assert frame.imgindex.tolist() == NAMES and frame.patientID.tolist() == list(range(1, 9))
    assert set(frame.width) == {2500} and set(frame.x) == {0.168}
    boxes = data.read_boxes(config.data_folder() / config.BOXES)
    assert boxes.iloc[0].tolist() == [NAMES[0], "Mass", 1, 2, 3, 4]
    train, valid, test = data.split(frame, "official", test_list=config.data_folder() / TEST)
    assert test.imgindex.tolist() == NAMES[-2:] and not test.seen.any() and len(train) + len(valid) == 6


ADJUDICATED = "Image Index,Pneumothorax,Nodule or mass,Airspace opacity,Set Id\n"


@pytest.mark.parametrize("encoding", sorted(set(ENCODINGS) - {"quotes", "a column with quoted commas"}))
def test_the_adjudicated_table_is_read_in_every_encoding(tmp_path, encoding):
    text = f"{ADJUDICATED}{NAMES[0]},YES,NO,YES,test\n{NAMES[1]},NO,YES,NO,val\n,,,,\n"
    (tmp_path / "adjudicated.csv").write_bytes(ENCODINGS[encoding](text))
    read = data.read_adjudicated(tmp_path / "adjudicated.csv")
    assert read.index.tolist() == NAMES[:2] and read.part.tolist() == ["test", "validation"]
    assert read.drop(columns="part").to_numpy().tolist() == [[True, False, True], [False, True, False]]


EMPTY_ROWS = [
    ",,,,,,,,,,\n",
    ",,,,,,,,,,\n" * 50,
    ",,,,,,,,,,",
    "\n\n",
    " , , , , , , , , , , \n",
    '"","","","","","","","","","",""\n',
]


@pytest.mark.parametrize("rows", EMPTY_ROWS)
@pytest.mark.parametrize("where", ["end", "middle"])
def test_empty_rows_of_a_table_are_left_out(release, where, rows):
    rows = rows if where == "end" else rows.rstrip("\n") + "\n"
    header, *lines = (release / LABELS).read_text().splitlines(keepends=True)
    lines.insert(len(lines) if where == "end" else 3, rows)
    (release / LABELS).write_text("".join([header, *lines]))
    assert download.check_tables(release) == NAMES
    assert data.read_labels(release / LABELS).imgindex.tolist() == NAMES


@pytest.mark.parametrize("name", ["images/{}", "images_001\\images\\{}", "/data/{}", "https://example.org/{}", "./{}"])
@pytest.mark.parametrize("file", [LABELS, TEST])
def test_a_folder_in_front_of_the_name_of_an_image_is_named(release, file, name):
    rewrite(release / file, lambda text: text.replace(NAMES[-1], name.format(NAMES[-1])).encode())
    with pytest.raises(ValueError, match=rf"{file} .*no folder.*{NAMES[-1]}"):
        fetch(release)
    if file == LABELS:
        with pytest.raises(ValueError, match=rf"{file}: row 9 .*{NAMES[-1]}'; expected .*without a folder"):
            data.read_labels(release / LABELS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (b"PK\x03\x04\x00", "no column"),
        (b"Image Index;Finding Labels\n", "no column"),
        (b"Image Index\n1\n2,3,4\n", "cannot be read"),
        (gzip.compress(b"Image Index,", mtime=0)[:-9], "cannot be read"),
        (gzip.compress(b"Image Index,", mtime=0)[:10] + b"\xff" * 20, "cannot be read"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path, content, said):
    for name, read in ((LABELS, data.read_labels), (config.BOXES, data.read_boxes), ("a.csv", data.read_adjudicated)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} .*{said}.*expected"):
            read(tmp_path / name)


# --- lists ---


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "00000099_000.png\n",  # an image of no row
        lambda text: text.replace(NAMES[-1], "00000099_000.png"),
        lambda text: text + f"{NAMES[0]}\n",  # in both lists
        lambda text: text.replace(f"{NAMES[-1]}\n", ""),  # in no list
        lambda text: f"Image Index\n{text}",
        lambda text: text.replace(".png", ""),
        lambda text: text.replace("\n", ","),
        lambda text: text.replace("_000", "_0"),
        lambda text: "",
    ],
)
def test_a_list_that_does_not_match_the_table_is_rejected(release, change):
    rewrite(release / TEST, lambda text: change(text).encode())
    with pytest.raises(ValueError, match=TEST):
        fetch(release)
    assert not download.image_folder().exists()


def test_a_patient_who_is_only_partly_in_the_test_list_is_named(release):
    frame = data.read_labels(release / LABELS).assign(patientID=[1, 1, 2, 2, 3, 3, 4, 4])
    assert len(data.split(frame, "official", test_list=release / TEST)[2]) == 2
    rewrite(release / TEST, lambda text: text.replace(f"{NAMES[-1]}\n", "").encode())
    with pytest.raises(ValueError, match=rf"{TEST} .*not all images of 1 patients, such as 4"):
        data.split(frame, "official", test_list=release / TEST)


@pytest.mark.slow
def test_000_and_100_run_with_tables_in_utf_16(small_phantom, tmp_path, home, monkeypatch):
    shutil.copytree(small_phantom, tmp_path / "release")
    for name in (LABELS, TEST, TRAIN):
        rewrite(tmp_path / "release" / name, lambda text: text.encode("utf-16"))
    monkeypatch.setenv("CXR_RELEASE", str(tmp_path / "release"))
    assert run.run_notebook(NOTEBOOKS[0], home / "notebooks", {})
    assert run.run_notebook(NOTEBOOKS[1], home / "notebooks", {"SPLIT": "official"})
    listed = (small_phantom / TEST).read_text().split()
    assert sorted(pd.read_pickle(home / "subset" / "test_set.pkl").imgindex) == sorted(listed)


def test_nihs_lists_are_used_with_some_of_the_images(real):
    names = set()
    for archive in (real / "release256").glob("*.tar.gz"):
        with tarfile.open(archive) as tar:
            names |= {os.path.basename(name) for name in tar.getnames() if name.endswith(".png")}
    frame = data.read_labels(real / "release256" / LABELS)
    frame = frame[frame.imgindex.isin(names)]
    train, valid, test = data.split(frame, "official", test_list=real / "release256" / TEST)
    assert len(frame) == 1300 and len(test) == 184 and not test.seen.any() and len(train) + len(valid) == 1116


def test_nihs_unpacked_images_and_tables_are_used_completely(real, tmp_path, capsys):
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in (LABELS, TEST, TRAIN, config.BOXES):
        shutil.copy(real / "release256" / name, folder)
    for number, place in enumerate(["images", "images_002/images", "more"], 1):
        with tarfile.open(real / "release256" / f"images_00{number}.tar.gz") as tar:
            tar.extractall(folder / place, filter="data")
    fetch(folder)
    assert len(download.image_names()) == 1300 and "Not used" not in capsys.readouterr().out
    assert data.image_source() == "Images: NIH ChestX-ray14 (unverified copy)"


# --- values ---


def table_with(release, column, value):
    """Writes `value` into one column of the first row and returns the path of the table."""
    table = pd.read_csv(release / LABELS, dtype=str)
    table.loc[0, column] = value
    table.to_csv(release / LABELS, index=False)
    return release / LABELS


@pytest.mark.parametrize(
    ("column", "name", "value", "read"),
    [
        *[("Patient Gender", "gender", value, "M") for value in ("M", "m", "Male", "MALE", " male ", "Man")],
        *[("Patient Gender", "gender", value, "F") for value in ("F", "f", "Female", "female", "F ", "woman")],
        *[("View Position", "viewposition", value, "PA") for value in ("pa", " PA", "P.A.", "Posteroanterior")],
        *[("View Position", "viewposition", value, "AP") for value in ("Ap", "A.P.", "anteroposterior")],
        *[("Patient Age", "age", value, 58) for value in ("58", "058Y", "58y", " 58 ", "58.0", "696M")],
        ("Patient Age", "age", "026W", 26 * 7 / 365.25),
        ("Patient ID", "patientID", "00000001", 1),
        ("Patient ID", "patientID", " 1.0", 1),
        ("Follow-up #", "followup", "003", 3),
    ],
)
def test_spellings_of_a_value_are_read(release, column, name, value, read):
    assert data.read_labels(table_with(release, column, value))[name][0] == pytest.approx(read)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        *[("Patient Gender", value, "M or F") for value in ("U", "0", "W", "other", "Male/Female", "malee")],
        *[("View Position", value, "PA or AP") for value in ("LAT", "LL", "PA/AP", "frontal", "0")],
        *[("Patient Age", value, "years, such as 58") for value in ("-5", "5.5", "58 years", "unknown", "58X", "1e2")],
        *[("Patient ID", value, "a whole number") for value in ("P1", "1,5", "1/2", "-1")],
        *[("Follow-up #", value, "a whole number") for value in ("first", "-1", "0.5")],
        *[("Finding Labels", value, "joined by") for value in ("Mass, Edema", "Mass;Edema", "mass", "Fracture", "1")],
        ("Patient ID", "2", "the number in the image's name"),
    ],
)
def test_an_unknown_value_is_rejected_with_file_image_found_and_expected(release, column, value, expected):
    with pytest.raises(ValueError, match=rf"^{LABELS}: .*{NAMES[0]}.*'{value}'.*expected .*{expected}"):
        data.read_labels(table_with(release, column, value))


@pytest.mark.parametrize("name", ["images/00000001_000.png", "00000001_000", "00000001_000.jpg", ""])
def test_boxes_and_adjudicated_labels_name_a_row_whose_image_is_unknown(tmp_path, name):
    adjudicated = f"{ADJUDICATED}{NAMES[1]},YES,NO,NO,test\n\n{NAMES[0]},NO,YES,NO,test\n"
    boxes = BOXES.replace(NAMES[0], NAMES[1]) + "\n" + BOXES.split("\n")[1]
    for text, read in ((boxes, data.read_boxes), (adjudicated, data.read_adjudicated)):
        (tmp_path / "table.csv").write_text(text.replace(NAMES[0], name))
        with pytest.raises(ValueError, match=rf"table\.csv: row 4 has the image name '{name or 'nan'}'"):
            read(tmp_path / "table.csv")


def test_contradictory_adjudicated_labels_are_rejected_and_repeated_ones_read(tmp_path):
    path, row = tmp_path / "table.csv", f"{NAMES[0]},YES,NO,NO,val\n"
    path.write_text(f"{ADJUDICATED}{row}{row}")
    assert data.read_adjudicated(path).Pneumothorax.tolist() == [True]
    path.write_text(f"{ADJUDICATED}{row}{row.replace('YES', 'NO')}")
    with pytest.raises(ValueError, match=f"{NAMES[0]} is listed twice, with different labels"):
        data.read_adjudicated(path)


# --- few images ---


@pytest.mark.parametrize(
    ("images", "more_than", "most"), [(40, 40, "20"), (40, 20, "20"), (1, 20, "1"), (0, 20, "nan"), (1300, 700, "650")]
)
def test_too_few_images_for_the_stratified_split_are_counted(images, more_than, most):
    frame = pd.DataFrame({"label": ["Mass", "Edema"] * (images // 2) + ["Mass"] * (images % 2)})
    with pytest.raises(ValueError, match=rf"more than {more_than} \(MORE_THAN\) of the {images:,} .* in {most}: use"):
        data.keep_frequent_combinations(frame, more_than)
    if images > 1:
        assert len(data.keep_frequent_combinations(frame, images // 2 - 1)) == images


@pytest.mark.parametrize(("method", "patients"), [("patient", 1), ("patient", 2), ("official", 3), ("official", 2)])
def test_too_few_patients_for_a_split_are_counted(release, method, patients):
    frame = data.read_labels(release / LABELS).tail(patients)
    with pytest.raises(ValueError, match=r"[01] images of [01] patient\(s\) .*three for all sets"):
        data.split(frame, method, test_list=release / TEST)


# --- color ---


def colored(kind):
    """Returns a picture in red, green and blue, `(64, 64, 3)` uint8, of one kind."""
    gray = picture().astype(int)
    rgb = np.dstack([gray] * 3)
    if kind.startswith("a mark"):  # of 0.6 and of 1.6 % of the pixels
        rgb[: 5 if "small" in kind else 8, : 5 if "small" in kind else 8] = [255, 0, 0]
    elif kind == "rounding":
        rgb[::2, :, 0] += 8
    elif kind == "rounding by 9":
        rgb[::2, :, 0] += np.where(gray[::2] > 128, -9, 9)
    elif kind == "sepia":
        rgb = rgb * [1, 0.9, 0.7]
    elif kind == "heat map":
        rgb = np.dstack([gray, 255 - gray, gray // 2])
    elif kind == "one channel":
        rgb[..., 1:] = 0
    return np.clip(rgb, 0, 255).astype(np.uint8)


ACCEPTED = ["equal", "a mark, small", "rounding"]
REJECTED = ["a mark, large", "rounding by 9", "sepia", "heat map", "one channel"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("kind", ACCEPTED + REJECTED)
def test_one_rule_on_color_for_releases_and_for_users_images(tmp_path, mode, kind):
    path = tmp_path / NAMES[0]
    Image.fromarray(colored(kind)).convert(mode).save(path)
    if kind in REJECTED:
        for read in (data.read_image, data.read_user_image):
            with pytest.raises(ValueError, match=f"{NAMES[0]} is in color"):
                read(path)
    else:
        assert np.array_equal(data.read_image(path), data.read_user_image(path)[0])
    if kind == "equal":
        assert np.array_equal(data.read_image(path), picture())


def test_colored_images_are_listed_among_the_unreadable_ones(release, home):
    for name, kind in zip(NAMES, ACCEPTED + REJECTED, strict=True):
        Image.fromarray(colored(kind)).save(release / "images" / name)
    fetch(release)
    frame = data.read_labels(data.find_label_table())
    with pytest.raises(ValueError, match=rf"5 of 8 images cannot be read\. {NAMES[3]} is in color"):
        data.load_images(frame, 32)
    listed = pd.read_csv(home / "data" / config.UNREADABLE)
    assert listed.imgindex.tolist() == NAMES[3:] and listed.defect.str.contains("is in color").all()
    kept = data.keep_present(frame, leave_out_unreadable=True)
    assert kept.imgindex.tolist() == NAMES[:3] and data.load_images(kept, 32).shape == (3, 32, 32)


def test_nihs_images_in_red_green_blue_and_alpha_are_read(real, tmp_path):
    modes = []
    for archive in (real / "release1024").glob("*.tar.gz"):
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name.endswith(".png"):
                    path = tmp_path / os.path.basename(member.name)
                    path.write_bytes(tar.extractfile(member).read())
                    with Image.open(path) as image:
                        modes.append(image.mode)
                        assert np.array_equal(pixels.read_image(path), np.asarray(image.convert("RGB"))[..., 0])
    assert len(modes) == 178 and modes.count("RGBA") == 8
