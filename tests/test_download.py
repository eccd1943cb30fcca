"""Releases and downloads, against real bytes on disk and a real server on loopback."""

import csv
import hashlib
import io
import shutil
import tarfile

import pytest

from cxr_utils import config, download, release


def _tree(folder):
    return {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def _members(folder):
    films = {}
    for archive in sorted(folder.glob("images_*.tar.gz")):
        with tarfile.open(archive) as tar:
            films |= {
                m.name.rpartition("/")[2]: hashlib.md5(tar.extractfile(m).read()).hexdigest() for m in tar if m.isfile()
            }
    return films


def test_nih_release_is_built_in():
    found = release.find_release("nih")
    assert sum(file.size for file in found.archives) == 45_079_862_784  # facts.md §2
    assert len({file.md5 for file in found.archives}) == len({file.address for file in found.archives}) == 12
    assert [file.name for file in found.tables] == ["Data_Entry_2017_v2020.csv", "train_val_list.txt", "test_list.txt"]


def test_nih_release_agrees_with_the_published_list(real):
    with open(real / "downloads.csv") as stream:
        published = {row["file"]: row for row in csv.DictReader(stream)}
    found = release.find_release("nih")
    for file in [*found.archives, *found.tables]:
        row = published.pop(file.name)
        assert (file.address, file.size, file.md5) == (row["url"], int(row["bytes"] or 0) or None, row["md5"] or None)
    assert not published


@pytest.mark.parametrize("how", ["folder", "http"])
def test_download_unpacks_every_film_and_removes_only_its_own_archives(small_phantom, home, serve, how):
    source = serve(small_phantom) if how == "http" else str(small_phantom)
    before = _tree(small_phantom)
    found = release.find_release(source)
    download.download(found, None)
    assert _tree(home / "data" / "images") == _members(small_phantom)
    assert _tree(small_phantom) == before
    left = {path.name for path in (home / "data").iterdir()}
    assert left == {
        "images",
        "unpacked",
        "RELEASE.txt",
        config.BOXES,
        config.TRAIN_VAL_LIST,
        config.TEST_LIST,
        "Data_Entry_2017_v2020.csv",
    }
    assert (home / "data" / "RELEASE.txt").read_text().startswith("Phantom")


def test_a_second_run_fetches_nothing(small_phantom, home, serve, monkeypatch):
    found = release.find_release(serve(small_phantom))
    download.download(found, None)
    films = {path: path.stat().st_mtime_ns for path in (home / "data").rglob("*.png")}
    monkeypatch.setattr(download.requests, "Session", lambda: pytest.fail("a finished download went to the network"))
    download.download(found, None)
    assert films == {path: path.stat().st_mtime_ns for path in (home / "data").rglob("*.png")}


def test_archives_takes_a_part(small_phantom, home):
    found = release.find_release(str(small_phantom))
    download.download(found, 1)
    with tarfile.open(small_phantom / "images_001.tar.gz") as tar:
        assert len(list((home / "data" / "images").iterdir())) == sum(member.isfile() for member in tar)
    for wrong in (0, 4):
        with pytest.raises(ValueError, match=f"ARCHIVES is {wrong}.*has 3"):
            download.download(found, wrong)


def test_plan_counts_what_the_network_brings_and_the_disk_takes(small_phantom, serve):
    archives = [path.stat().st_size for path in small_phantom.glob("*.tar.gz")]
    tables = sum((small_phantom / name).stat().st_size for name in (
        "Data_Entry_2017_v2020.csv", config.TRAIN_VAL_LIST, config.TEST_LIST, config.BOXES))  # fmt: skip
    local = download.plan(release.find_release(str(small_phantom)), None)
    remote = download.plan(release.find_release(serve(small_phantom)), None)
    assert (local["fetch"], local["films"], local["peak"]) == pytest.approx(
        (0, sum(archives) / 1e9, sum(archives) / 1e9)
    )
    assert remote["fetch"] == pytest.approx((sum(archives) + tables) / 1e9)
    assert remote["peak"] == pytest.approx((sum(archives) + max(archives)) / 1e9)
    assert download.plan(release.find_release("nih"), 1)["fetch"] == pytest.approx(2.0, abs=0.1)


def test_too_little_disk_is_said_before_the_first_byte(small_phantom, home, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(OSError, match="GB of disk needed, 0.0 GB free"):
        download.download(release.find_release(str(small_phantom)), None)
    assert not (home / "data").exists()


def test_an_interrupted_download_needs_only_what_is_left(small_phantom, home, serve, monkeypatch):
    found = release.find_release(serve(small_phantom))
    download.download(found, 2)
    last = (small_phantom / "images_003.tar.gz").stat().st_size
    assert download.plan(found, None)["peak"] == pytest.approx(2 * last / 1e9)
    # What a killed run leaves.
    for name in ("data/.77.part.images_003.tar.gz", "data/images/.77.part.00000001_000.png"):
        (home / name).write_bytes(b"half")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 2 * last))
    download.download(found, None)
    assert _tree(home / "data" / "images") == _members(small_phantom)
    assert not list((home / "data").rglob("*.part.*"))
    assert download.plan(found, None)["fetch"] == 0


def test_new_films_come_with_their_own_tables(small_phantom, home, tmp_path):
    download.download(release.find_release(str(small_phantom)), None)
    copy = shutil.copytree(small_phantom, tmp_path / "copy")
    shutil.copy(copy / "images_002.tar.gz", copy / "images_001.tar.gz")
    lines = (copy / "MD5SUMS").read_text().splitlines()
    (copy / "MD5SUMS").write_text("\n".join([lines[1].replace("_002", "_001"), *lines[1:]]) + "\n")
    (copy / config.TEST_LIST).write_text("changed\n")
    download.download(release.find_release(str(copy)), None)
    assert (home / "data" / config.TEST_LIST).read_text() == "changed\n"


@pytest.mark.parametrize("how", ["folder", "http"])
def test_a_wrong_md5_is_named_and_nothing_of_it_unpacked(small_phantom, home, serve, tmp_path, how):
    copy = shutil.copytree(small_phantom, tmp_path / "copy")
    lines = (copy / "MD5SUMS").read_text().splitlines()
    (copy / "MD5SUMS").write_text("\n".join(["0" * 32 + lines[0][32:], *lines[1:]]) + "\n")
    found = release.find_release(serve(copy) if how == "http" else str(copy))
    with pytest.raises(ValueError, match="images_001.tar.gz has MD5 .* expected 0000"):
        download.download(found, None)
    assert not list((home / "data").rglob("*.png"))
    assert not list((home / "data").glob("*.tar.gz*"))


def test_a_web_page_instead_of_an_archive_is_named(small_phantom, home, serve, tmp_path):
    copy = shutil.copytree(small_phantom, tmp_path / "copy")
    (copy / "images_001.tar.gz").write_text("<!DOCTYPE html><html>Too many requests</html>")
    with pytest.raises(ValueError, match="images_001.tar.gz: a web page came"):
        download.download(release.find_release(serve(copy)), None)
    assert not list((home / "data").rglob("*.part*"))


def test_a_release_without_boxes_goes_on_and_without_its_label_table_does_not(small_phantom, home, tmp_path, serve):
    copy = shutil.copytree(small_phantom, tmp_path / "copy")
    (copy / config.BOXES).unlink()
    download.download(release.find_release(serve(copy)), 1)
    assert not (home / "data" / config.BOXES).exists()
    (copy / "Data_Entry_2017_v2020.csv").rename(copy / "Data_Entry_2017.csv")
    assert release.find_release(str(copy)).tables[0].name == "Data_Entry_2017.csv"
    (copy / "Data_Entry_2017.csv").unlink()
    with pytest.raises(FileNotFoundError, match="has no Data_Entry_2017_v2020.csv or Data_Entry_2017.csv"):
        release.find_release(str(copy))


def test_no_release_there_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no MD5SUMS.*CXR_RELEASE"):
        release.find_release(str(tmp_path))
    (tmp_path / "MD5SUMS").write_text("nothing here\n")
    with pytest.raises(ValueError, match="names no archive"):
        release.find_release(str(tmp_path))


def test_films_of_two_releases_are_not_mixed(small_phantom, tmp_path):
    download.download(release.find_release(str(small_phantom)), 1)
    other = shutil.copytree(small_phantom, tmp_path / "other")
    (other / config.RELEASE_NOTE).unlink()
    with pytest.raises(ValueError, match="data/ holds films of 'Phantom.*', not of 'other'"):
        download.download(release.find_release(str(other)), 1)


@pytest.mark.parametrize("kind", ["link", "device", "twice", "text"])
def test_only_regular_pngs_leave_an_archive(tmp_path, kind):
    archive = tmp_path / "images_001.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo(
            "../outside.png" if kind == "twice" else "images/a.txt" if kind == "text" else "images/a.png"
        )
        member.type = {"link": tarfile.SYMTYPE, "device": tarfile.CHRTYPE}.get(kind, tarfile.REGTYPE)
        member.linkname = "/etc/passwd"
        for _ in range(2 if kind == "twice" else 1):
            tar.addfile(member, io.BytesIO())
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="no regular PNG file or there twice"):
        download.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "outside.png").exists()
