"""Images that are already there: a read-only mount, half-unpacked archives, a drive that goes away or has no links."""

import errno
import fcntl
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_utils import _files, config, data, download
from cxr_utils.__main__ import main
from cxr_utils.data import pixels
from cxr_utils.download import actions, folders, inventory, release, tables, transfer, unpack
from tests.conftest import REPOSITORY, write_tables
from tests.helpers import seeded

COUNTS = [3, 4, 2]  # images in each archive of a small NIH release
NAMES = [f"{number:08d}_000.png" for number in range(1, sum(COUNTS) + 1)]
PARTS = [NAMES[:3], NAMES[3:7], NAMES[7:]]
ARCHIVES = ["images_001.tar.gz", "images_002.tar.gz", "images_003.tar.gz"]
GONE = {errno.ENOTCONN: "not connected", errno.ESTALE: "Stale", errno.EIO: "Input/output error"}


def snapshot(folder):
    """Returns `{path: (size, mtime, content)}` of everything below a folder."""
    return {
        path.relative_to(folder): (path.stat().st_size, path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in sorted(folder.rglob("*"))
    }


def shown(folder):
    """Returns `{image: content}` of the images that a folder shows, through links too."""
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


class Drive:
    """A read-only folder that can be unmounted; hard links to its files cannot be made from outside.

    Where no folder can be mounted, it is renamed instead, and hard links fail.
    """

    def __init__(self, store, folder, monkeypatch):
        self.store, self.folder = store, folder
        folder.mkdir()
        self.is_mounted = self.is_real = self._run("mount", "--bind", store, folder)
        if self.is_real:
            self.unmount()
        else:
            monkeypatch.setattr(os, "link", fail(errno.EXDEV))

    @staticmethod
    def _run(*command):
        return shutil.which(command[0]) and not subprocess.run([*map(str, command)], capture_output=True).returncode

    def mount(self):
        if self.is_real:
            assert self._run("mount", "--bind", self.store, self.folder)
            self.is_mounted = True
            assert self._run("mount", "-o", "remount,ro,bind", self.folder)
        else:
            self.folder.rmdir()
            self.store.rename(self.folder)
            self.is_mounted = True

    def unmount(self):
        self.is_mounted = False
        if self.is_real:
            assert self._run("umount", "-l", self.folder)
        else:
            self.folder.rename(self.store)
            self.folder.mkdir()


def fail(number, only=lambda *arguments: True, otherwise=None):
    """Returns a function that raises the `OSError` of this number, for arguments that `only` selects."""

    def function(*arguments, **options):
        if only(*arguments):
            raise OSError(number, os.strerror(number), *map(str, arguments[:1]))
        return otherwise(*arguments, **options)

    return function


def after(calls, function, action):
    """Returns `function` with an action before the call of this number, counted from 0."""
    made = []

    def counted(*arguments, **options):
        if len(made) == calls:
            action()
        made.append(arguments)
        return function(*arguments, **options)

    return counted


@pytest.fixture
def nih(tmp_path, monkeypatch):
    """Folder of NIH's release in small, with three archives; the package takes it for NIH's."""
    assert sum(tables.NIH_IMAGES) == 112_120
    folder, rng = tmp_path / "store" / "nih", seeded(2)
    (folder / "images").mkdir(parents=True)
    write_tables(folder, NAMES, 3)
    found = []
    for archive, names, file in zip(ARCHIVES, PARTS, release.NIH_ARCHIVES, strict=False):
        with tarfile.open(folder / archive, "w:gz") as tar:
            for name in names:
                Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).save(folder / "images" / name)
                tar.add(folder / "images" / name, f"images/{name}")
        content = (folder / archive).read_bytes()
        found.append(replace(file, size=len(content), md5=hashlib.md5(content).hexdigest()))
    monkeypatch.setattr(tables, "NIH_IMAGES", COUNTS)
    monkeypatch.setattr(release, "NIH_ARCHIVES", found)
    for module in (release, inventory, actions):
        monkeypatch.setattr(module, "NIH_MD5", {file.name: file.md5 for file in found})
    return folder


@pytest.fixture
def kaggle(nih):
    """The same images as Kaggle mounts them: twelve folders there, three here; the first edition of the label table."""
    for archive, names in zip(ARCHIVES, PARTS, strict=True):
        folder = nih / archive.removesuffix(".tar.gz") / "images"
        folder.mkdir(parents=True)
        for name in names:
            (nih / "images" / name).rename(folder / name)
        (nih / archive).unlink()
    (nih / "images").rmdir()
    header, *rows = (nih / config.LABEL_TABLES[0]).read_text().splitlines()
    (nih / config.LABEL_TABLES[1]).write_text("".join(f"{line},\n" for line in [header, *rows]))
    (nih / config.LABEL_TABLES[0]).unlink()
    for name in ("README_CHESTXRAY.pdf", "LOG_CHESTXRAY.pdf", "ARXIV_V5_CHESTXRAY.pdf"):
        (nih / name).write_bytes(b"%PDF")
    return nih


@pytest.fixture
def drive(kaggle, tmp_path, monkeypatch):
    """Kaggle's folder on a mounted drive."""
    drive = Drive(kaggle.parent, tmp_path / "drive", monkeypatch)
    drive.mount()
    yield drive
    if drive.is_mounted:
        drive.unmount()


def link(folder, archives=None):
    download.download_release(download.find_release(str(folder)), archives)


def frame():
    """Returns a frame of all images, as 100 saves it."""
    return pd.DataFrame({"imgindex": NAMES, "path": [f"data/images/{name}" for name in NAMES]})


# --- a folder of unpacked images ---


@pytest.mark.parametrize("place", ["nih", "datasets/nih-chest-xrays/data/versions/3"])
def test_the_folder_of_kaggle_and_of_kagglehub_is_linked_and_stays_as_it_is(
    kaggle, tmp_path, home, monkeypatch, capsys, place
):
    store = tmp_path / "mounted"
    (store / place).parent.mkdir(parents=True)
    kaggle.rename(store / place)
    for path in [*store.rglob("*"), store]:
        path.chmod(path.stat().st_mode & ~0o222)
    before = snapshot(store)
    drive = Drive(store, tmp_path / "drive", monkeypatch)
    drive.mount()
    try:
        source = drive.folder / place
        images = {path.name: path for path in source.rglob("*.png")}
        found = download.find_release(str(source))
        assert download.plan(found, None)["peak"] == 0
        link(source)
        assert data.image_source() == "Images: NIH ChestX-ray14 (unverified copy)" and not data.is_phantom()
        assert sorted(os.listdir(home / "data" / "images")) == NAMES == sorted(images)
        for name, image in images.items():
            assert os.readlink(home / "data" / "images" / name) == str(image)
        loaded = data.load_images(frame(), 32)
        for name, array in zip(NAMES, loaded[:], strict=True):
            assert np.array_equal(array, np.asarray(Image.open(images[name])))
        capsys.readouterr()
        assert main(["check"]) == 0
        assert "9 intact, 0 missing" in capsys.readouterr().out
        link(source)
        assert "Nothing to do" in capsys.readouterr().out
        assert snapshot(source) == snapshot(store / place) if drive.is_real else True
    finally:
        drive.unmount()
    assert snapshot(store) == before
    for path in [store, *store.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


@pytest.mark.parametrize("change", ["fewer rows", "another test list", "a name of its own"])
def test_images_are_named_a_copy_of_nihs_only_with_nihs_complete_tables(kaggle, monkeypatch, change):
    if change == "fewer rows":
        monkeypatch.setattr(tables, "NIH_IMAGES", [*COUNTS, 1])
    elif change == "another test list":
        (kaggle / config.TEST_LIST).write_text("")
    else:
        (kaggle / config.RELEASE_NOTE).write_text("Half size\n")
    assert download.find_release(str(kaggle)).name == ("Half size" if change == "a name of its own" else "nih")


def test_a_linked_copy_is_not_mixed_with_nihs_own_archives(drive, home, monkeypatch, capsys):
    link(drive.folder / "nih")
    (home / "data" / "images" / NAMES[0]).unlink()
    before = snapshot(drive.folder)
    with pytest.raises(ValueError, match=r"'NIH ChestX-ray14 \(unverified copy\)', not of 'NIH ChestX-ray14'\."):
        download.download_release(download.find_release("nih"), None)
    monkeypatch.setattr(actions, "Transfer", lambda *arguments: pytest.fail("a download was started"))
    monkeypatch.setenv("CXR_RELEASE", "nih")
    assert main(["check", "--repair"]) == 1
    assert "unverified copy" in capsys.readouterr().err
    assert snapshot(drive.folder) == before


@pytest.mark.parametrize("is_mounted", [True, False], ids=["symbolic links", "hard links"])
def test_repair_never_writes_into_the_folder_of_the_user(kaggle, tmp_path, home, monkeypatch, capsys, is_mounted):
    damaged = next(kaggle.glob(f"*/images/{NAMES[1]}"))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    if is_mounted:
        monkeypatch.setattr(os, "link", fail(errno.EXDEV))
    link(kaggle)
    (home / "data" / "images" / NAMES[0]).unlink()
    before = snapshot(kaggle)
    monkeypatch.setenv("CXR_RELEASE", str(kaggle))
    capsys.readouterr()
    assert main(["check", "--repair"]) == 1
    first, second = re.findall(r"(\d) intact, (\d) missing or damaged", capsys.readouterr().out)
    assert (first, second) == (("7", "2"), ("8", "1"))  # linked again; the other is damaged in the folder itself
    assert snapshot(kaggle) == before
    assert (home / "data" / "images" / NAMES[0]).is_symlink() == is_mounted


def test_a_folder_that_is_mounted_elsewhere_is_linked_again(drive, tmp_path, home, monkeypatch):
    link(drive.folder / "nih")
    drive.unmount()
    moved = Drive(drive.store, tmp_path / "elsewhere", monkeypatch)
    moved.mount()
    try:
        link(moved.folder / "nih")
        assert main(["check"]) == 0
        assert all(os.readlink(path).startswith(str(moved.folder)) for path in (home / "data" / "images").iterdir())
    finally:
        moved.unmount()
        drive.mount()


# --- NIH's archives, some of them unpacked ---


def half_unpacked(folder, layout, whole, last):
    """Leaves in `folder` what `tar` has unpacked when it was interrupted.

    Args:
        layout: name of the folder of the images of an archive.
        whole: numbers of the archives that are unpacked completely.
        last: how the archive 2 is left: `"half"`, with a truncated image, or `"cut"`, with only its last one truncated.
    """
    (folder / "images").rename(folder / "all")
    for number, names in enumerate(PARTS, 1):
        target = folder / layout.format(number)
        kept = names if number in whole or (number == 2 and last == "cut") else names[:2] if number == 2 else []
        for name in kept:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / "all" / name, target)
        if number == 2 and number not in whole:
            path = target / kept[-1]
            path.write_bytes(path.read_bytes()[:-5])
    shutil.rmtree(folder / "all")


@pytest.mark.parametrize("layout", ["images", "images_00{}/images", "images_00{}"])
@pytest.mark.parametrize(
    ("whole", "last", "deleted", "linked", "absent"),
    [
        ([1], "half", [], [1], []),
        ([1], "cut", [1], [1], []),
        ([1, 3], "half", [1, 3], [1, 3], []),
        ([1], "half", [1, 2], [1], [2]),
        ([1], "half", [1, 3], [1], [3]),
        ([], "half", [], [], []),
        ([1, 2, 3], "half", [2], [1, 2, 3], []),
    ],
)
def test_complete_folders_are_linked_and_the_other_archives_unpacked(
    nih, home, layout, whole, last, deleted, linked, absent
):
    images = shown(nih / "images")
    half_unpacked(nih, layout, whole, last)
    for number in deleted:
        (nih / ARCHIVES[number - 1]).unlink()
    before = snapshot(nih)
    link(nih)
    assert shown(home / "data" / "images") == {
        name: images[name] for number, names in enumerate(PARTS, 1) if number not in absent for name in names
    }
    for number, names in enumerate(PARTS, 1):
        for name in names if number not in absent else []:
            path = home / "data" / "images" / name
            sources = [source for source in nih.rglob("*.png") if os.path.samefile(source, path)]
            assert [source.name for source in sources] == [name] * (number in linked)
    assert snapshot(nih) == before
    copy = " (unverified copy)" if linked else ""
    assert data.image_source() == f"Images: NIH ChestX-ray14{copy}"
    assert main(["check"]) == 0
    assert {inventory.archives()[name] for name in images if name in inventory.archives()} == {
        archive for number, archive in enumerate(ARCHIVES, 1) if number not in absent
    }


def test_without_nihs_label_table_the_archives_alone_are_used(nih, home, monkeypatch):
    monkeypatch.setattr(tables, "NIH_IMAGES", [*COUNTS, 1])
    half_unpacked(nih, "images", [1], "half")
    link(nih)
    assert not any(os.path.samefile(source, home / "data" / "images" / source.name) for source in nih.rglob("*.png"))
    assert data.image_source() == "Images: NIH ChestX-ray14" and main(["check"]) == 0


def test_archives_may_be_added_to_a_folder_that_is_linked_already(nih, tmp_path, home):
    images = shown(nih / "images")
    half_unpacked(nih, "images", [1], "half")
    for archive in ARCHIVES:
        (nih / archive).rename(tmp_path / archive)
    link(nih)
    assert main(["check"]) == 1  # the truncated image was linked too
    for archive in ARCHIVES:
        (tmp_path / archive).rename(nih / archive)
    before = snapshot(nih)
    link(nih)
    assert shown(home / "data" / "images") == images and snapshot(nih) == before
    assert main(["check"]) == 0


@pytest.mark.parametrize("is_mounted", [True, False], ids=["symbolic links", "hard links"])
def test_a_linked_archive_is_repaired_in_data_only(nih, home, monkeypatch, is_mounted):
    """The user removes a damaged image: its archive is no longer complete in the folder, so it is unpacked."""
    images = shown(nih / "images")
    (nih / "images" / NAMES[1]).write_bytes(b"damaged")
    if is_mounted:
        monkeypatch.setattr(os, "link", fail(errno.EXDEV))
    link(nih)
    monkeypatch.setenv("CXR_RELEASE", str(nih))
    assert main(["check", "--repair"]) == 1
    assert (nih / "images" / NAMES[1]).read_bytes() == b"damaged"
    (nih / "images" / NAMES[1]).rename(nih / "damaged")
    before = snapshot(nih)
    if is_mounted:  # of a dangling link, no one can say whether the drive is there
        (home / "data" / "images" / NAMES[1]).unlink()
    assert main(["check", "--repair"]) == 0
    assert shown(home / "data" / "images") == images
    assert snapshot(nih) == before and (nih / "damaged").read_bytes() == b"damaged"


# --- a drive that goes away ---


def assert_named(message, name, drive, link=True):
    """Asserts that a message names the file on the drive and the link, and does not advise to download again."""
    path = next(f"{drive.folder}/nih/{ARCHIVES[n][:10]}/images/{name}" for n in range(3) if name in PARTS[n])
    assert path in message and ("data/images/" in message) == link
    assert "000-data_download" not in message and "download" not in message.replace(str(drive.folder), "")


def test_a_drive_that_goes_away_while_images_are_decoded_loses_none_of_them(drive, home, monkeypatch):
    link(drive.folder / "nih")
    monkeypatch.setattr(pixels, "AHEAD", 1)
    read, decoded = pixels.read_image, []
    with monkeypatch.context() as context:
        context.setattr(pixels, "read_image", after(4, read, drive.unmount))
        with pytest.raises(folders.DriveError) as caught:
            data.load_images(frame(), 16)
    assert_named(str(caught.value), NAMES[4], drive)
    assert list(pd.read_csv(home / "data" / "pixels_16.csv").imgindex) == NAMES[:4]
    # The next attempt stops in the same way, and no image is listed as unreadable.
    with pytest.raises(folders.DriveError, match=str(drive.folder)):
        data.load_images(frame(), 16)
    assert not (home / "data" / config.UNREADABLE).exists()
    drive.mount()
    monkeypatch.setattr(pixels, "read_image", lambda path: decoded.append(path.name) or read(path))
    images = data.load_images(frame(), 16)
    assert sorted(decoded) == NAMES[4:]
    for name, image in zip(NAMES, images[:], strict=True):
        expected = Image.open(next(drive.folder.rglob(name))).resize((16, 16), Image.Resampling.BOX)
        assert np.abs(image.astype(int) - np.asarray(expected, int)).max() <= 1


@pytest.mark.parametrize("number", GONE)
def test_the_error_of_a_connection_names_the_file_on_the_drive(drive, home, monkeypatch, number, capsys):
    link(drive.folder / "nih")
    broken = fail(number, lambda path: path.name == NAMES[5], Path.read_bytes)
    monkeypatch.setattr(Path, "read_bytes", lambda path: broken(path))
    with pytest.raises(folders.DriveError, match=GONE[number]) as caught:
        data.load_images(frame(), 16)
    assert_named(str(caught.value), NAMES[5], drive)
    assert not (home / "data" / config.UNREADABLE).exists()
    capsys.readouterr()
    assert main(["check"]) == 1
    printed = capsys.readouterr()
    assert_named(printed.err.strip(), NAMES[5], drive)
    assert "\n" not in printed.err.strip() and "missing or damaged" not in printed.out


def test_an_input_output_error_of_an_image_on_the_local_disk_is_a_defect_of_this_image(nih, home, monkeypatch, capsys):
    link(nih)
    path = home / "data" / "images" / NAMES[5]
    path.write_bytes(path.read_bytes())
    broken = fail(errno.EIO, lambda path: path.name == NAMES[5], Path.read_bytes)
    monkeypatch.setattr(Path, "read_bytes", lambda path: broken(path))
    with pytest.raises(ValueError, match="1 of 9 images"):
        data.load_images(frame(), 16)
    assert list(pd.read_csv(home / "data" / config.UNREADABLE).imgindex) == [NAMES[5]]
    assert main(["check"]) == 1
    assert "8 intact, 1 missing or damaged" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["check"], ["check", "--repair"]])
def test_check_stops_with_one_sentence_if_the_drive_is_gone(drive, home, monkeypatch, capsys, arguments):
    link(drive.folder / "nih")
    before = {path.name: os.readlink(path) for path in (home / "data" / "images").iterdir()}
    drive.unmount()
    monkeypatch.setenv("CXR_RELEASE", str(drive.folder / "nih"))
    capsys.readouterr()
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert_named(printed.err.strip(), NAMES[0], drive)
    assert "\n" not in printed.err.strip() and "missing or damaged" not in printed.out
    assert {path.name: os.readlink(path) for path in (home / "data" / "images").iterdir()} == before
    assert not any(path.is_file() for path in drive.folder.rglob("*"))
    drive.mount()
    assert main(["check"]) == 0


def test_a_drive_that_goes_away_while_images_are_linked_is_named(drive, home, monkeypatch):
    source = str(drive.folder / "nih")
    monkeypatch.setattr(transfer, "UNPACKERS", 1)
    with monkeypatch.context() as context:
        context.setattr(unpack.os, "link", after(4, os.link, drive.unmount))
        with pytest.raises(folders.DriveError) as caught:
            download.download_release(download.find_release(source), None, connections=1)
    assert_named(str(caught.value), NAMES[4], drive, link=False)
    assert sorted(os.listdir(home / "data" / "images")) == NAMES[:4]
    drive.mount()
    link(source)
    assert main(["check"]) == 0 and sorted(os.listdir(home / "data" / "images")) == NAMES


def test_a_drive_that_is_not_connected_is_named_when_000_starts(drive, monkeypatch):
    source = str(drive.folder / "nih")
    monkeypatch.setattr(Path, "is_dir", fail(errno.ENOTCONN, lambda path: str(path) == source, Path.is_dir))
    with pytest.raises(folders.DriveError, match=rf"^{source} "):
        download.find_release(source)


@pytest.mark.parametrize("when", ["verified", "unpacked"])
def test_an_archive_on_a_drive_that_goes_away_is_named(nih, home, monkeypatch, when):
    (nih / "images").rename(nih.parent / "other")
    found = download.find_release(str(nih))
    if when == "verified":
        (nih / ARCHIVES[0]).unlink()
    else:
        monkeypatch.setattr(gzip.GzipFile, "read", fail(errno.EIO))
    with pytest.raises(folders.DriveError, match=rf"^{nih}/{ARCHIVES[0]} "):
        download.download_release(found, 1)


def test_an_image_that_was_deleted_on_the_drive_is_left_out_when_its_link_is_deleted(drive, home, monkeypatch):
    link(drive.folder / "nih")
    (drive.store if drive.is_real else drive.folder).joinpath("nih", "images_001", "images", NAMES[1]).unlink()
    with pytest.raises(folders.DriveError, match=NAMES[1]):
        data.load_images(frame(), 16)
    (home / "data" / "images" / NAMES[1]).unlink()
    kept = data.keep_present(frame())
    assert list(kept.imgindex) == [name for name in NAMES if name != NAMES[1]]
    assert len(data.load_images(kept, 16)) == 8


# --- a drive without links and locks ---


@pytest.fixture(params=[errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def no_links(home, monkeypatch, request):
    """`CXR_HOME` on a drive on which there are no links, as on Google Drive; locks fail there too."""

    def is_there(*arguments):
        return str(home) in str(arguments[-1])

    monkeypatch.setattr(os, "link", fail(request.param, is_there, os.link))
    monkeypatch.setattr(os, "symlink", with_target(request.param, home, os.symlink))
    locks = fail(errno.ENOLCK, lambda file, how: str(home) in file.name, fcntl.flock)
    monkeypatch.setattr(_files.fcntl, "flock", locks)
    return home


def with_target(number, home, otherwise):
    """Returns an `os.symlink` that fails below `home` with the error that Linux gives: with both names."""

    def symlink(source, target, *arguments, **options):
        if str(home) in str(target):
            raise OSError(number, os.strerror(number), str(source), None, str(target))
        return otherwise(source, target, *arguments, **options)

    return symlink


@pytest.mark.filterwarnings("ignore:.*has no locks")
def test_images_are_never_copied_to_a_drive_without_links(kaggle, no_links):
    with pytest.raises(OSError, match=rf"^{no_links}/data/images .*CXR_DATA"):
        link(kaggle)
    assert not list(no_links.rglob("*.png"))


def test_results_can_be_on_a_drive_without_links_and_locks(kaggle, no_links, tmp_path, monkeypatch, recwarn):
    monkeypatch.setenv("CXR_DATA", str(tmp_path / "local"))
    images = {path.name: path.read_bytes() for path in kaggle.rglob("*.png")}
    link(kaggle)
    assert shown(tmp_path / "local" / "images") == images
    labels = data.keep_present(data.read_labels(data.find_label_table()))
    assert list(labels.path) == [f"data/images/{name}" for name in NAMES]
    loaded = data.load_images(labels, 32)
    assert np.array_equal(loaded[4], np.asarray(Image.open(kaggle / "images_002" / "images" / NAMES[4])))
    assert main(["check"]) == 0 and data.image_source().startswith("Images: NIH")
    assert not list(no_links.iterdir())
    assert not [str(warning.message) for warning in recwarn if "locks" in str(warning.message)]
    for _ in range(2):
        data.save_split(*[data.one_hot(labels).assign(seen=False)] * 4)
    assert sorted(os.listdir(no_links / "subset")) == ["subset.pkl", "test_set.pkl", "train_set.pkl", "valid_set.pkl"]
    # pytest records warnings each time, as notebooks show them.
    assert sum("has no locks" in str(warning.message) for warning in recwarn) == 1


def test_a_relative_data_folder_is_in_the_root_folder(home, monkeypatch):
    assert config.data_folder() == home / "data"
    for value, expected in {
        "images of NIH": home / "images of NIH",
        "~/x": Path("~/x").expanduser(),
        "": home / "data",
    }.items():
        monkeypatch.setenv("CXR_DATA", value)
        assert config.data_folder() == expected


def test_two_root_folders_with_the_same_data_do_not_download_at_the_same_time(kaggle, tmp_path, monkeypatch):
    monkeypatch.setenv("CXR_DATA", str(tmp_path / "local"))
    with transfer.locked_incoming_folder():
        monkeypatch.setenv("CXR_HOME", str(tmp_path / "other"))
        with pytest.raises(OSError, match=rf"^{tmp_path}/local is in use .*{os.getpid()}.*CXR_DATA"):
            link(kaggle)


# --- a checkout that cannot be written ---


@pytest.mark.slow
def test_a_run_with_a_home_of_its_own_writes_nothing_into_the_checkout(small_phantom, tmp_path):
    checkout, home = tmp_path / "checkout", tmp_path / "results"
    shutil.copytree(REPOSITORY / "cxr_utils", checkout / "cxr_utils", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("000-data_download", "100-data_cleaning_eda"):
        shutil.copy(REPOSITORY / f"{name}.ipynb", checkout)
    for path in [*checkout.rglob("*"), checkout]:
        path.chmod(path.stat().st_mode & ~0o222)
    before = snapshot(checkout)
    command = [sys.executable, "-m", "cxr_utils", "run", "--release", str(small_phantom), "--home", str(home)]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    environment.pop("CXR_HOME")
    process = subprocess.run([*command, "SPLIT=patient"], cwd=checkout, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    assert sorted(path.stem for path in (home / "subset").iterdir()) == ["subset", "test_set", "train_set", "valid_set"]
    left = {path: entry for path, entry in snapshot(checkout).items() if "__pycache__" not in path.parts}
    # Python itself adds __pycache__, which changes the times of its folder.
    assert left.keys() == before.keys()
    assert {path: entry for path, entry in left.items() if entry[2] is not False} == {
        path: entry for path, entry in before.items() if entry[2] is not False
    }
    for path in [checkout, *checkout.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)
