"""Releases and downloads, tested with real files on disk and a real server on loopback."""

import csv
import errno
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections import namedtuple
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import requests
import urllib3

from cxr_utils import _files as files
from cxr_utils import config, data, download
from cxr_utils.__main__ import main
from cxr_utils.download import actions, http_client, inventory, release, tables, transfer, unpack
from tests.conftest import REPOSITORY, write_release

LISTS = (config.TRAIN_VAL_LIST, config.TEST_LIST)
Usage = namedtuple("Usage", "free")  # as much of `shutil.disk_usage` as a download reads


def tree(folder):
    return {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def members(folder):
    """Returns `{image: MD5}` of all archives in a folder."""
    images = {}
    for archive in sorted(folder.glob("images_*.tar.gz")):
        with tarfile.open(archive) as tar:
            images |= {
                m.name.rpartition("/")[2]: hashlib.md5(tar.extractfile(m).read()).hexdigest() for m in tar if m.isfile()
            }
    return images


def write_md5sums(folder):
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.glob("*.gz"))]
    (folder / "MD5SUMS").write_text("".join(sums))


def screen(text):
    """Returns the lines that a terminal shows after this text, in which a carriage return starts a line again."""
    return [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]


@pytest.fixture
def small(tmp_path):
    """Folder of a release of a few files with random bytes."""
    write_release(tmp_path / "release", images=6, image_bytes=400_000)
    return tmp_path / "release"


def sent_requests(address):
    """Returns `[name, Range]` of all requests that the server received."""
    return requests.get(f"{address}/any/requests", timeout=5).json()


def with_fault(found, fault, archives=1):
    """Returns a release of which the server sends the first archives with a fault."""
    files = [replace(file, address=file.address.replace("correct", fault)) for file in found.archives[:archives]]
    return release.Release(found.name, found.tables, files)


def test_nih_release_is_built_in():
    found = download.find_release("nih")
    assert sum(file.size for file in found.archives) == 45_079_862_784  # NIH's batch_download_zips.py
    assert len({file.md5 for file in found.archives}) == len({file.address for file in found.archives}) == 12
    assert [file.name for file in found.tables] == ["Data_Entry_2017_v2020.csv", "train_val_list.txt", "test_list.txt"]


def test_nih_release_agrees_with_the_published_list(real):
    with open(real / "downloads.csv") as stream:
        published = {row["file"]: row for row in csv.DictReader(stream)}
    found = download.find_release("nih")
    for file in [*found.archives, *found.tables]:
        row = published.pop(file.name)
        assert (file.address, file.size, file.md5) == (row["url"], int(row["bytes"] or 0) or None, row["md5"] or None)
    assert not published


@pytest.mark.parametrize("how", ["folder", "http"])
def test_download_unpacks_every_image_and_removes_only_downloaded_archives(small_phantom, home, serve, how):
    source = serve(small_phantom) if how == "http" else str(small_phantom)
    before = tree(small_phantom)
    found = download.find_release(source)
    download.download_release(found, None)
    assert tree(home / "data" / "images") == members(small_phantom)
    assert tree(small_phantom) == before
    left = {path.name for path in (home / "data").iterdir()}
    assert left == {
        ".locks",
        "images",
        "unpacked",
        "RELEASE.txt",
        config.ADJUDICATED,
        config.BOXES,
        config.TRAIN_VAL_LIST,
        config.TEST_LIST,
        "Data_Entry_2017_v2020.csv",
    } | ({"release.json"} if how == "http" else set())
    assert (home / "data" / "RELEASE.txt").read_text().startswith("Phantom")


def test_archives_limits_the_download(small_phantom, home):
    found = download.find_release(str(small_phantom))
    download.download_release(found, 1)
    with tarfile.open(small_phantom / "images_001.tar.gz") as tar:
        assert len(list((home / "data" / "images").iterdir())) == sum(member.isfile() for member in tar)
    for wrong in (0, 4):
        with pytest.raises(ValueError, match=rf"ARCHIVES\D+{wrong}\b.*\b1 to 3\b"):
            download.download_release(found, wrong)


def test_plan_returns_bytes_to_download_and_disk_space(small_phantom, serve):
    archives = sorted(path.stat().st_size for path in small_phantom.glob("*.tar.gz"))
    images = 1.01 * sum(archives)
    names = config.LABEL_TABLES[0], config.TRAIN_VAL_LIST, config.TEST_LIST, config.BOXES, config.ADJUDICATED
    tables = sum((small_phantom / name).stat().st_size for name in names)
    local = download.plan(download.find_release(str(small_phantom)), None)
    remote = download.plan(download.find_release(serve(small_phantom)), None)
    assert (local["fetch"], local["images"], local["peak"]) == pytest.approx((0, images / 1e9, images / 1e9))
    assert remote["fetch"] == pytest.approx((sum(archives) + tables) / 1e9)
    assert remote["peak"] == pytest.approx((images + tables + sum(archives[-2:])) / 1e9)
    assert download.plan(download.find_release("nih"), 1)["fetch"] == pytest.approx(2.0, abs=0.1)


def test_too_little_disk_space_raises_before_the_download_starts(small_phantom, home, monkeypatch):
    monkeypatch.setattr(actions.shutil, "disk_usage", lambda path: Usage(0))
    with pytest.raises(OSError, match=r"\b0\.00 GB.*ARCHIVES"):
        download.download_release(download.find_release(str(small_phantom)), None)
    assert not (home / "data").exists()


def test_an_interrupted_download_needs_only_the_remaining_space(small_phantom, home, serve, monkeypatch):
    found = download.find_release(serve(small_phantom))
    download.download_release(found, 2)
    last = (small_phantom / "images_003.tar.gz").stat().st_size
    needed = 2.01 * last + sum(table.size for table in found.tables)
    assert download.plan(found, None)["peak"] == pytest.approx(needed / 1e9)
    # A killed run leaves such files.
    for name in ("data/.77.part.test_list.txt", "data/images/.77.part.00000001_000.png"):
        (home / name).write_bytes(b"half")
    monkeypatch.setattr(actions.shutil, "disk_usage", lambda path: Usage(int(needed) + 1))
    download.download_release(found, None)
    assert tree(home / "data" / "images") == members(small_phantom)
    assert not list((home / "data").rglob("*.part.*"))
    assert download.plan(found, None)["fetch"] == 0


def test_new_images_replace_the_tables(small_phantom, home, tmp_path):
    download.download_release(download.find_release(str(small_phantom)), None)
    copy = shutil.copytree(small_phantom, tmp_path / "copy")
    images = gzip.decompress((copy / "images_001.tar.gz").read_bytes())
    (copy / "images_001.tar.gz").write_bytes(gzip.compress(images, 1))
    md5 = hashlib.md5((copy / "images_001.tar.gz").read_bytes()).hexdigest()
    lines = (copy / "MD5SUMS").read_text().splitlines()
    (copy / "MD5SUMS").write_text("\n".join([f"{md5}  images_001.tar.gz", *lines[1:]]) + "\n")
    (copy / config.TRAIN_VAL_LIST).write_text("".join((copy / name).read_text() for name in LISTS))
    (copy / config.TEST_LIST).write_text("")
    download.download_release(download.find_release(str(copy)), None)
    assert (home / "data" / config.TEST_LIST).read_text() == ""


def test_a_local_archive_with_a_wrong_md5_is_not_unpacked(small_phantom, home, tmp_path):
    copy = shutil.copytree(small_phantom, tmp_path / "copy")
    lines = (copy / "MD5SUMS").read_text().splitlines()
    (copy / "MD5SUMS").write_text("\n".join(["0" * 32 + lines[0][32:], *lines[1:]]) + "\n")
    with pytest.raises(ValueError, match=rf"images_001\.tar\.gz .*MD5 .*{'0' * 32}.*{copy}"):
        download.download_release(download.find_release(str(copy)), 1)
    assert not list((home / "data").rglob("*.png"))
    assert (copy / "images_001.tar.gz").is_file()


def test_boxes_are_optional_and_the_label_table_is_required(small_phantom, home, tmp_path, serve):
    copy = shutil.copytree(small_phantom, tmp_path / "copy")
    (copy / config.BOXES).unlink()
    download.download_release(download.find_release(serve(copy)), 1)
    assert not (home / "data" / config.BOXES).exists()
    (copy / "Data_Entry_2017_v2020.csv").rename(copy / "Data_Entry_2017.csv")
    assert download.find_release(str(copy)).tables[0].name == "Data_Entry_2017.csv"
    (copy / "Data_Entry_2017.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"Data_Entry_2017_v2020\.csv.*Data_Entry_2017\.csv"):
        download.find_release(str(copy))


def test_a_folder_without_a_release_raises_a_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"MD5SUMS.*CXR_RELEASE"):
        download.find_release(str(tmp_path))
    (tmp_path / "MD5SUMS").write_text("nothing here\n")
    with pytest.raises(ValueError, match=r"MD5SUMS.*nothing here.*images_001\.tar\.gz"):
        download.find_release(str(tmp_path))


def other_release(folder, name):
    """Writes a release of other images with the same names and returns it."""
    write_release(folder, images=6, image_bytes=500)
    (folder / config.RELEASE_NOTE).write_text(f"{name} \n")
    return download.find_release(str(folder))


def test_images_of_two_releases_are_not_mixed(small, tmp_path, home):
    download.download_release(download.find_release(str(small)), 1)
    before = tree(home / "data" / "images")
    with pytest.raises(ValueError, match=r"'release'.*'other'.*CXR_HOME"):
        download.download_release(other_release(tmp_path / "elsewhere", "other"), 1)
    assert tree(home / "data" / "images") == before


def test_a_moved_release_continues_the_download(small, tmp_path, home):
    download.download_release(download.find_release(str(small)), 1)
    moved = shutil.copytree(small, tmp_path / "moved")
    download.download_release(download.find_release(str(moved)), None)
    assert tree(home / "data" / "images") == members(small)


@pytest.mark.parametrize("table", [False, True])
def test_images_of_unknown_origin_are_not_overwritten(small, home, request, table):
    if table:  # it assigns the image to one of NIH's archives
        request.getfixturevalue("nih_table")
    (home / "data" / "images").mkdir(parents=True)
    (home / "data" / "images" / "00000001_000.png").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"data/images/.*\(1\).*--repair.*CXR_HOME"):
        download.download_release(download.find_release(str(small)), None)
    assert tree(home / "data" / "images") == {"00000001_000.png": hashlib.md5(b"mine").hexdigest()}


@pytest.mark.parametrize("source", ["phatom", "Phantom", "NIH", "/no/such/folder", "ftp://somewhere/images"])
def test_an_unknown_source_raises_a_clear_error(source):
    with pytest.raises(FileNotFoundError, match=f"'{source}'.*CXR_RELEASE.*'nih', 'phantom'"):
        download.find_release(source)


def test_free_space_is_that_of_the_disk_of_the_images(small, home, small_disk):
    (home / "data").symlink_to(small_disk("1m"))
    assert download.plan(download.find_release(str(small)), None)["free"] < 0.0011


# --- a server on loopback, without faults or with one fault for every archive ---


def test_a_partial_archive_is_resumed(small, home, fault_server):
    address = fault_server(small)
    (home / "data" / "fetching").mkdir(parents=True)
    whole = (small / "images_002.tar.gz").read_bytes()
    (home / "data" / "fetching" / "images_002.tar.gz").write_bytes(whole[:1000])
    found = download.find_release(f"{address}/correct")
    before = len(sent_requests(address))
    assert download.plan(found, None)["fetch"] == pytest.approx(
        sum(path.stat().st_size for path in small.iterdir() if path.name != "MD5SUMS") / 1e9 - 1e-6
    )
    download.download_release(found, None)
    spans = dict(sent_requests(address)[before:])
    assert spans["images_002.tar.gz"] == "bytes=1000-" and spans["images_001.tar.gz"] is None
    assert tree(home / "data" / "images") == members(small)


def test_a_part_of_another_file_is_replaced(small, home, fault_server, short_timeouts):
    """A file that changed on the server, and one without MD5, whose part could be of another file."""
    address = fault_server(small)
    fetching = home / "data" / "fetching"
    fetching.mkdir(parents=True)
    (fetching / "images_002.tar.gz").write_bytes(b"old" * 300)
    (fetching / "images_003.tar.gz").write_bytes(b"old" * 999_999)  # longer than the published file
    (fetching / config.TEST_LIST).write_bytes(b"old")
    write_md5sums(small)  # of the archives only
    found = download.find_release(f"{address}/correct")
    before = len(sent_requests(address))
    download.download_release(found, None)
    sent = sent_requests(address)[before:]
    assert [span for name, span in sent if name == "images_002.tar.gz"] == ["bytes=900-", None]
    assert [span for name, span in sent if name == config.TEST_LIST] == [None]
    assert tree(home / "data" / "images") == members(small)
    assert (home / "data" / config.TEST_LIST).read_bytes() == (small / config.TEST_LIST).read_bytes()


def test_a_server_that_sends_another_range_does_not_stop_the_download(small, home, fault_server, short_timeouts):
    address = fault_server(small)
    (home / "data" / "fetching").mkdir(parents=True)
    part = (small / "images_002.tar.gz").read_bytes()[:1000]
    (home / "data" / "fetching" / "images_002.tar.gz").write_bytes(part)
    download.download_release(download.find_release(f"{address}/other-range"), None)
    assert tree(home / "data" / "images") == members(small)


def test_a_completed_download_sends_no_request(small, home, fault_server, capsys):
    address = fault_server(small)
    download.download_release(download.find_release(f"{address}/correct"), 2)
    before = sent_requests(address)
    download.download_release(download.find_release(f"{address}/correct"), 2)
    assert sent_requests(address) == before
    assert re.fullmatch(r"[^\r\n]*\b2\b[^\r\n]*", screen(capsys.readouterr().out)[-2])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("html", "web page.*{size:,} bytes"),
        ("corrupt", "MD5.*{md5}"),
        ("short", "[0-9,]+ bytes.*{size:,}"),
        ("long", "[0-9,]+ bytes.*{size:,}"),
    ],
)
def test_a_wrong_file_is_downloaded_once_more_before_the_error(
    small, home, fault_server, short_timeouts, fault, message, capsys
):
    address = fault_server(small)
    found = download.find_release(f"{address}/correct")
    wrong = with_fault(found, fault)
    message = message.format(size=wrong.archives[0].size, md5=wrong.archives[0].md5)
    before = len(sent_requests(address))
    with pytest.raises(ValueError, match=rf"images_001\.tar\.gz .*{message}.*{wrong.archives[0].address}"):
        download.download_release(wrong, None)
    assert [name for name, _ in sent_requests(address)[before:]].count("images_001.tar.gz") == 2
    assert re.search(rf"images_001\.tar\.gz .*{message}", capsys.readouterr().out)
    assert not list((home / "data").rglob("*.png"))
    # The download can be continued from a correct source, and no wrong data is left.
    download.download_release(found, None)
    assert tree(home / "data" / "images") == members(small)


def test_an_archive_that_a_killed_run_left_after_unpacking_is_removed(small, home, fault_server):
    address = fault_server(small)
    download.download_release(download.find_release(f"{address}/correct"), None)
    (home / "data" / "fetching").mkdir()
    shutil.copy(small / "images_002.tar.gz", home / "data" / "fetching")
    download.download_release(download.find_release(f"{address}/correct"), None)
    assert not (home / "data" / "fetching").exists()
    assert tree(home / "data" / "images") == members(small)


def test_one_wrong_archive_does_not_prevent_the_others(small, home, fault_server, short_timeouts):
    found = download.find_release(f"{fault_server(small)}/correct")
    wrong = replace(found.archives[0], md5="0" * 32)
    with pytest.raises(ValueError, match=r"images_001\.tar\.gz .*MD5"):
        download.download_release(release.Release(found.name, found.tables, [wrong, *found.archives[1:]]), None)
    assert len(list((home / "data" / "images").iterdir())) == 4


@pytest.mark.parametrize("fault", ["busy", "reset", "stall", "drip"])
def test_a_silent_server_raises_and_the_partial_file_is_kept(
    small, home, fault_server, short_timeouts, fault, monkeypatch
):
    monkeypatch.setattr(http_client, "TRIES", 3)
    address = fault_server(small)
    found = download.find_release(f"{address}/correct")
    (home / "data" / "fetching").mkdir(parents=True, exist_ok=True)
    part = home / "data" / "fetching" / "images_001.tar.gz"
    part.write_bytes((small / "images_001.tar.gz").read_bytes()[:-1000])
    with pytest.raises(requests.ConnectionError, match=r"images_001\.tar\.gz: 3 "):
        download.download_release(with_fault(found, fault), None)
    assert part.stat().st_size >= (small / "images_001.tar.gz").stat().st_size - 1000
    download.download_release(found, None)
    assert tree(home / "data" / "images") == members(small)


def test_pauses_increase_and_respect_retry_after(monkeypatch):
    pauses, messages = [], []
    responses = [(503, None), (429, "120"), (500, "nonsense"), (503, None), (200, None)]

    class Response:
        def __init__(self, status, after):
            self.status_code, self.reason, self.headers = status, "", {"Retry-After": after} if after else {}
            self.raw = urllib3.HTTPResponse(headers=self.headers, status=status)

        def close(self):
            pass

    monkeypatch.setattr(http_client.requests, "get", lambda *args, **kwargs: Response(*responses.pop(0)))
    http_client.with_retries(lambda: http_client.get("http://any"), messages.append, pauses.append)
    assert pauses == [1, 120, 4, 8]
    assert "429" in messages[1] and "120 s" in messages[1]


def test_a_rejected_request_is_not_repeated_and_keeps_the_partial_file(small, home, fault_server):
    address = fault_server(small)
    found = download.find_release(f"{address}/correct")
    gone = [replace(found.archives[0], address=f"{address}/correct/gone.tar.gz")]
    part = home / "data" / "fetching" / "images_001.tar.gz"
    part.parent.mkdir()
    part.write_bytes(b"half")
    before = len(sent_requests(address))
    with pytest.raises(requests.HTTPError, match=r"images_001\.tar\.gz: .*404.*/gone\.tar\.gz.*CXR_RELEASE"):
        download.download_release(release.Release(found.name, found.tables, gone), None)
    assert [name for name, _ in sent_requests(address)[before:]].count("gone.tar.gz") == 1
    assert part.read_bytes() == b"half"


def test_partial_files_of_other_archives_are_kept(small, home, fault_server):
    part = home / "data" / "fetching" / "images_003.tar.gz"
    part.parent.mkdir(parents=True)
    part.write_bytes((small / "images_003.tar.gz").read_bytes()[:500])
    address = fault_server(small)
    download.download_release(download.find_release(f"{address}/correct"), 1)
    assert [path.name for path in part.parent.iterdir()] == [part.name]
    assert main(["check"]) == 1
    before = len(sent_requests(address))
    download.download_release(download.find_release(f"{address}/correct"), None)
    assert ["images_003.tar.gz", "bytes=500-"] in sent_requests(address)[before:]
    assert not part.parent.exists()


def test_all_wrong_archives_are_reported_and_connections_is_checked(small, home):
    (small / "MD5SUMS").write_text(re.sub(r"(?m)^.{32}(?=  images_00[13])", "0" * 32, (small / "MD5SUMS").read_text()))
    found = download.find_release(str(small))
    with pytest.raises(ValueError, match=r"CONNECTIONS\D+0\b"):
        download.download_release(found, None, 0)
    assert not (home / "data").exists()
    with pytest.raises(ValueError, match=r"(?s)images_001\.tar\.gz .*MD5.*images_003\.tar\.gz .*MD5"):
        download.download_release(found, None)
    assert len(list((home / "data" / "images").iterdir())) == 2


@pytest.mark.parametrize("page", [b"<html>", b"\n <!DOCTYPE html>", b"\xef\xbb\xbf<!DOCTYPE html>"])
def test_a_web_page_is_not_accepted_as_a_list(small, home, fault_server, short_timeouts, page):
    address = fault_server(small)
    found = download.find_release(f"{address}/correct")
    (small / config.TEST_LIST).write_bytes(page)
    tables = [replace(file, size=None, md5=None) for file in found.tables]
    with pytest.raises(ValueError, match=r"test_list\.txt .*web page"):
        download.download_release(release.Release(found.name, tables, found.archives), None)
    assert not (home / "data" / config.TEST_LIST).exists()


def test_an_error_states_the_innermost_reason(monkeypatch):
    monkeypatch.setattr(http_client, "PAUSE_S", 0)
    messages = []
    # The words of urllib3, without the names of its objects.
    reason = "Failed to establish a new connection"
    with pytest.raises(requests.ConnectionError, match=rf"^2 [^<>]*{reason}[^<>]*$"):
        http_client.with_retries(lambda: http_client.get("http://127.0.0.1:9/image"), messages.append, tries=2)
    assert messages[0].startswith(reason)


def test_proxies_come_from_the_environment(small, home, fault_server, monkeypatch):
    monkeypatch.setenv("http_proxy", fault_server(small))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    download.download_release(download.find_release("http://mirror.invalid/correct"), 1)
    assert len(list((home / "data" / "images").iterdir())) == 2


@pytest.mark.slow
def test_an_interrupt_stops_a_hanging_download_and_keeps_the_partial_files(small, home, fault_server):
    address = fault_server(small)
    found = download.find_release(f"{address}/correct")
    script = (
        # Interrupts work as in a terminal, even if the tests run in the background, where they are ignored.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from cxr_utils import download; from cxr_utils.download import http_client; from tests import test_download;"
        "http_client.SILENCE_S = 1;"  # stopping takes as long as a request waits for its next byte
        f"found = download.find_release('{address}/correct');"
        "download.download_release(test_download.with_fault(found, 'stall', 3), None)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env={**os.environ, "CXR_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    parts = home / "data" / "fetching"
    while sum(path.stat().st_size for path in parts.glob("*.gz")) < 1000:
        assert process.poll() is None
    with pytest.raises(OSError, match=rf"{home}/data .*{process.pid}"):
        download.download_release(found, None)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]
    assert sum(path.stat().st_size for path in parts.glob("*.gz")) >= 1000
    download.download_release(found, None)
    assert tree(home / "data" / "images") == members(small)


# --- what a release says about itself ---


@pytest.mark.parametrize(
    ("how", "text", "note"),
    [
        ("folder", "My images\n", ("My images", "")),
        ("folder", "My images \n\nof 2019, by kind: phantom\n", ("My images", "")),
        ("folder", "kind: phantom\n", ("kind: phantom", "")),
        ("folder", "Röntgenbilder 胸部", ("Röntgenbilder 胸部", "")),
        ("http", "\ufeffRöntgenbilder 胸部", ("Röntgenbilder 胸部", "")),
        ("http", "Drawn\r\nkind: phantom\r\nseed 7\r\n", ("Drawn", "phantom")),
    ],
)
def test_name_and_kind_of_a_release_reach_the_data(small, home, serve, text, note, how):
    (small / config.RELEASE_NOTE).write_bytes(text.encode())
    source = serve(small) if how == "http" else str(small)
    found = download.find_release(source)
    assert (found.name, found.kind) == note
    assert download.release_note() is None and data.is_phantom() is False
    download.download_release(found, 1)
    assert download.release_note() == note
    assert data.image_source() == f"Images: {note[0]}" and data.is_phantom() is (note[1] == "phantom")
    assert download.find_release(source) == found  # the list of a URL was saved
    download.download_release(found, None)
    assert tree(home / "data" / "images") == members(small)


def test_only_the_first_line_of_the_note_is_the_name(small, home):
    (home / "data").mkdir()
    (home / "data" / config.RELEASE_NOTE).write_text("release\nmore about it\n")
    download.download_release(download.find_release(str(small)), 1)
    assert data.image_source() == "Images: release"
    assert (home / "data" / config.RELEASE_NOTE).read_text() == "release\nmore about it\n"


def test_data_of_an_earlier_version_get_the_kind_of_the_phantom(small, home):
    (small / config.RELEASE_NOTE).write_text("Phantom: drawn\nkind: phantom\n")
    found = download.find_release(str(small))
    download.download_release(found, None)
    (home / "data" / config.RELEASE_NOTE).write_text("Phantom: drawn\n")
    download.download_release(found, None)
    assert download.release_note() == ("Phantom: drawn", "phantom")


@pytest.mark.parametrize("unreadable", [[], ["2.png", "9.png"]])
def test_unreadable_images_are_named_if_there_are_any(home, capsys, unreadable):
    (home / "data" / "images").mkdir(parents=True)
    for name in ("1.png", "2.png"):
        (home / "data" / "images" / name).touch()
    pd.DataFrame({"imgindex": unreadable}).to_csv(home / "data" / config.UNREADABLE)
    frame = pd.DataFrame({"imgindex": ["1.png", "2.png", "3.png"]})
    kept = data.keep_present(frame, leave_out_unreadable=True)
    assert list(kept.imgindex) == (["1.png"] if unreadable else ["1.png", "2.png"])
    assert re.findall(r"\d+(?:\.png)?", capsys.readouterr().out) == (["1", "2.png"] if unreadable else [])


# --- a server that answers 403 ---


def test_a_server_may_answer_403_for_missing_optional_files(small, home, fault_server):
    found = download.find_release(f"{fault_server(small)}/forbidden")
    assert config.BOXES not in [table.name for table in found.tables] and found.name == "forbidden"
    download.download_release(found, None)
    assert tree(home / "data" / "images") == members(small)


@pytest.mark.parametrize("absent", ["MD5SUMS", config.TEST_LIST, "images_002.tar.gz"])
def test_a_required_file_that_is_answered_with_403_is_named(small, fault_server, absent):
    (small / absent).unlink()
    with pytest.raises(FileNotFoundError, match=absent):
        download.find_release(f"{fault_server(small)}/forbidden")


def test_a_saved_list_of_another_version_is_replaced(small, home, fault_server):
    (small / config.RELEASE_NOTE).write_text("Drawn\nkind: phantom\n")
    address = f"{fault_server(small)}/correct"
    found = download.find_release(address)
    saved = json.loads((home / "data" / "release.json").read_text())
    without = {name: value for name, value in saved.items() if name != "kind"}
    for text in (json.dumps(without), json.dumps(saved | {"pages": 3}), json.dumps({"place": address}), "[]", "1", "{"):
        (home / "data" / "release.json").write_text(text)
        assert download.find_release(address) == found and found.kind == "phantom"


def test_an_archive_that_is_answered_with_403_raises_and_keeps_its_part(small, home, fault_server):
    found = download.find_release(f"{fault_server(small)}/correct")
    part = home / "data" / "fetching" / "images_001.tar.gz"
    part.parent.mkdir()
    part.write_bytes(b"half")
    with pytest.raises(requests.HTTPError, match=r"images_001\.tar\.gz: .*403"):
        download.download_release(with_fault(found, "locked"), None)
    assert part.read_bytes() == b"half"


# --- progress ---


def test_a_download_shows_each_archive_and_a_bar_that_ends_full(small, home, capsys):
    download.download_release(download.find_release(str(small)), None)
    *lines, bar, end = screen(capsys.readouterr().out)
    assert sorted(lines) == [f"images_00{number}.tar.gz: 2 images" for number in (1, 2, 3)]
    assert "100%" in bar and "images_" not in bar and end == ""


def test_the_bar_names_the_running_files_only(small, home, fault_server, monkeypatch, capsys):
    """A damaged archive disappears from the bar, while others are still downloaded."""
    (small / "images_001.tar.gz").write_bytes(gzip.compress(np.random.default_rng(0).bytes(100_000)))
    write_md5sums(small)
    monkeypatch.setattr(transfer, "REDRAW_S", 0.05)
    found = download.find_release(f"{fault_server(small, 5e5)}/correct")
    with pytest.raises(ValueError, match=r"images_001\.tar\.gz"):
        download.download_release(found, None)
    bars = re.split(r"[\r\n]", capsys.readouterr().out)
    named = [re.findall(r"images_00\d", bar) for bar in bars if "%" in bar]
    damaged = [number for number, names in enumerate(named) if "images_001" in names]
    assert damaged and ["images_002", "images_003"] in named[damaged[-1] :] and named[-1] == []


def test_the_bar_of_a_resumed_download_starts_at_the_bytes_that_are_there(small, home, fault_server, capsys):
    (home / "data" / "fetching").mkdir(parents=True)
    size = (small / "images_001.tar.gz").stat().st_size
    tables = sum((small / name).stat().st_size for name in (config.LABEL_TABLES[0], *LISTS))
    (home / "data" / "fetching" / "images_001.tar.gz").write_bytes((small / "images_001.tar.gz").read_bytes()[:-1])
    download.download_release(download.find_release(f"{fault_server(small)}/correct"), 1)
    percents = [int(percent) for percent in re.findall(r"(\d+)%", capsys.readouterr().out)]
    assert percents[0] == pytest.approx(100 * (size - 1) / (size + tables), abs=1.5) and percents[-1] == 100
    assert percents == sorted(percents)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_as_many_threads_check_images_as_this_process_has_cpus(small_phantom, home, monkeypatch):
    """In a container this can be fewer than the machine has."""
    download.download_release(download.find_release(str(small_phantom)), 1)
    threads = set()

    def noted(data):
        threads.add(threading.get_ident())
        return png_defect(data)

    png_defect = inventory.png_defect
    monkeypatch.setattr(inventory, "png_defect", noted)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert main(["check"]) == 0
    finally:
        os.sched_setaffinity(0, allowed)
    assert len(threads) == 1


# --- layouts of archives and folders ---


def extract(archive, folder):
    folder.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            (folder / member.name.rpartition("/")[2]).write_bytes(tar.extractfile(member).read())


def test_folders_inside_archives_are_flattened(small, home):
    images = members(small)
    for path in small.glob("*.gz"):
        inside = path.name.removesuffix(".tar.gz")
        with tarfile.open(path) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}
        with tarfile.open(path, "w:gz") as tar:
            for folder in (inside, f"{inside}/images"):
                entry = tarfile.TarInfo(folder)
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            for name, data in files.items():
                entry = tarfile.TarInfo(f"./{inside}/{name}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(small.glob("*.gz"))]
    (small / "MD5SUMS").write_text("".join(sums))
    download.download_release(download.find_release(str(small)), None)
    assert tree(home / "data" / "images") == images


@pytest.mark.parametrize("layout", [".", "images", "images_{}/images"])
@pytest.mark.parametrize("same_disk", [True, False])
def test_unpacked_images_are_linked_and_not_copied(small, home, monkeypatch, layout, same_disk):
    images = members(small)
    if layout == "images_{}/images":
        for path in small.glob("*.gz"):
            extract(path, small / layout.format(path.name[7:10]))
    else:
        (small / layout).mkdir(exist_ok=True)
        for path in small.glob("*.gz"):
            extract(path, small / "one")
            for image in (small / "one").iterdir():
                image.rename(small / layout / image.name)
            (small / "one").rmdir()
    for path in [*small.glob("*.gz"), small / "MD5SUMS"]:
        path.unlink()
    if not same_disk:
        monkeypatch.setattr(os, "link", lambda *args: (_ for _ in ()).throw(OSError(errno.EXDEV, "another disk")))
    found = download.find_release(str(small))
    assert download.plan(found, None)["peak"] == 0
    download.download_release(found, None)
    assert tree(home / "data" / "images") == images
    sources = {path.name: path for path in small.rglob("*.png")}
    for path in (home / "data" / "images").iterdir():
        assert os.path.samefile(path, sources[path.name]) and path.is_symlink() != same_disk


def test_links_to_images_are_followed_and_later_images_are_linked_too(small, home, tmp_path):
    extract(small / "images_001.tar.gz", tmp_path / "store")
    for path in [*small.glob("*.gz"), small / "MD5SUMS"]:
        path.unlink()
    images = sorted((tmp_path / "store").iterdir())
    (small / "images").mkdir()
    for image in images[:1]:
        (small / "images" / image.name).symlink_to(os.path.relpath(image, small / "images"))
    download.download_release(download.find_release(str(small)), None)
    assert tree(home / "data" / "images") == {images[0].name: hashlib.md5(images[0].read_bytes()).hexdigest()}
    shutil.copy(images[1], small / "images")
    download.download_release(download.find_release(str(small)), None)
    assert tree(home / "data" / "images") == {
        image.name: hashlib.md5(image.read_bytes()).hexdigest() for image in images
    }


def test_two_archives_with_the_same_image_raise(small, home):
    shutil.copy(small / "images_001.tar.gz", small / "images_002.tar.gz")
    lines = (small / "MD5SUMS").read_text().splitlines()
    md5 = next(line[:32] for line in lines if line.endswith("images_001.tar.gz"))
    (small / "MD5SUMS").write_text("\n".join(md5 + line[32:] if "images_002" in line else line for line in lines))
    with pytest.raises(ValueError, match=r"images_00[12]\.tar\.gz .*0000000._000\.png.*images_00[12]\.tar\.gz"):
        download.download_release(download.find_release(str(small)), None)


def test_manually_downloaded_archives_are_verified_with_nihs_md5(small):
    (small / "MD5SUMS").unlink()
    (small / "images_001.tar.gz").unlink()
    found = download.find_release(str(small))
    assert [file.name for file in found.archives] == ["images_002.tar.gz", "images_003.tar.gz"]
    with pytest.raises(ValueError, match=r"images_002\.tar\.gz .* bytes.*3,952,623,504"):
        download.download_release(found, 1)
    assert (small / "images_002.tar.gz").is_file()


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "0" * 32 + "  ../images_001.tar.gz",
        "0" * 32 + "  /images_001.tar.gz",
        "0" * 31 + "  images_001.tar.gz",
    ],
)
def test_an_invalid_line_in_md5sums_raises(small, line):
    with open(small / "MD5SUMS", "a") as stream:
        stream.write(line + "\n")
    with pytest.raises(ValueError, match=rf"MD5SUMS.*{re.escape(line)}.*images_001\.tar\.gz"):
        download.find_release(str(small))


# --- malicious archives ---


def member(name, kind=tarfile.REGTYPE, data=b"image", target=""):
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = kind, len(data) if kind == tarfile.REGTYPE else 0, target
    return member, io.BytesIO(data)


MALICIOUS = {
    "parent folder": [member("images/../../outside.png")],
    "absolute name": [member("/tmp/outside.png")],
    "symbolic link": [member("images/a.png", tarfile.SYMTYPE, target="/etc/passwd")],
    "link to a folder": [member("images", tarfile.SYMTYPE, target="/tmp"), member("images/a.png")],
    "hard link": [member("images/b.png"), member("images/a.png", tarfile.LNKTYPE, target="images/b.png")],
    "device": [member("images/a.png", tarfile.CHRTYPE)],
    "sparse": [member("images/a.png", tarfile.GNUTYPE_SPARSE)],
    "pipe": [member("images/a.png", tarfile.FIFOTYPE)],
    "folder named like an image": [member("images/a.png", tarfile.DIRTYPE)],
    "folder outside": [member("../images", tarfile.DIRTYPE)],
    "two of a name": [member("images/a.png"), member("more/a.png", data=b"other")],
    "no image": [member("images/a.txt")],
    "hidden": [member("images/.a.png")],
    "backslash": [member("images/..\\a.png")],
}


def unpack_to(archive, folder):
    inventory.record(archive.name, inventory.INCOMPLETE, [])
    return unpack.unpack(archive, folder, http_client.Stop(), {})


@pytest.mark.parametrize("kind", MALICIOUS)
def test_only_regular_image_files_are_unpacked(tmp_path, kind):
    tmp_path /= "case"
    (tmp_path / "in" / "images").mkdir(parents=True)
    archive = tmp_path / "images_001.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for member, data in MALICIOUS[kind]:
            data.seek(0)
            tar.addfile(member, data)
    names = "|".join(re.escape(member.name.rpartition("/")[2]) for member, _ in MALICIOUS[kind])
    with pytest.raises(ValueError, match=rf"images_001\.tar\.gz .*({names})"):
        unpack_to(archive, tmp_path / "in" / "images")
    assert sorted(os.listdir(tmp_path)) == ["images_001.tar.gz", "in"] and os.listdir(tmp_path / "in") == ["images"]
    assert all(path.read_bytes() == b"image" for path in (tmp_path / "in" / "images").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one image", "many images", "header"])
def test_a_decompression_bomb_raises_with_little_memory_and_disk(tmp_path, kind):
    archive = tmp_path / "images_001.tar.gz"
    zeros = bytes(1 << 20)
    with gzip.open(archive, "wb", 1) as stream:
        if kind == "header":  # an extended header, which tar readers load into memory, in a large archive
            image, member = tarfile.TarInfo("images/00000001_000.png"), tarfile.TarInfo("long")
            image.size = 20 << 20
            member.type, member.size = tarfile.XHDTYPE, 200 << 20
            pieces = [image.tobuf(), np.random.default_rng(0).bytes(image.size), member.tobuf(), *[zeros] * 200]
        else:
            pieces = []
            for number in range(1 if kind == "one image" else 40):
                member = tarfile.TarInfo(f"images/{number:08d}_000.png")
                member.size = 1 << (40 if kind == "one image" else 24)
                pieces += [member.tobuf(tarfile.GNU_FORMAT), *[zeros] * 16]
        for piece in pieces:
            stream.write(piece)
    assert archive.stat().st_size < (22e6 if kind == "header" else 4e6)
    (tmp_path / "out").mkdir()
    with pytest.raises(
        ValueError, match=rf"images_001\.tar\.gz .*{'1,099,511,627,776' if kind == 'one image' else ''}"
    ):
        unpack_to(archive, tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) < 100e6


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no gzip", "empty"])
def test_a_damaged_archive_raises_a_clear_error(small, tmp_path, damage):
    archive = tmp_path / "images_001.tar.gz"
    whole = (small / "images_001.tar.gz").read_bytes()
    archive.write_bytes(
        {
            "truncated": whole[: len(whole) // 2],
            "flipped": whole[:50] + bytes([whole[50] ^ 255]) + whole[51:],
            "no gzip": b"text" * 9,
            "empty": b"",
        }[damage]
    )
    with pytest.raises(ValueError, match=r"images_001\.tar\.gz "):
        unpack_to(archive, tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*"))


# --- images that are missing or damaged ---


@pytest.fixture
def damaged(small_phantom, home):
    """Downloads the phantom, then damages images of its first and last archive; returns `{image: expected message}`."""
    download.download_release(download.find_release(str(small_phantom)), None)
    images = home / "data" / "images"
    first, second, third, *_, last = sorted(path.name for path in images.iterdir())
    (images / first).unlink()
    (images / second).write_bytes((images / second).read_bytes()[:-5])
    (images / third).write_bytes(b"")
    whole = (images / last).read_bytes()
    (images / last).write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    return {first: "missing", second: "truncated", third: "empty", last: "damaged"}


def test_check_lists_every_defective_image_with_its_archive(damaged, home, capsys):
    before = tree(home / "data" / "images")
    assert main(["check"]) == 1
    lines = screen(capsys.readouterr().out)
    first, third = (
        next(n for n, line in enumerate(lines) if line.startswith(f"images_00{i}.tar.gz: ")) for i in (1, 3)
    )
    assert re.search(r": 3\b", lines[first]) and re.search(r": 1\b", lines[third])
    listed = [*lines[first + 1 : first + 4], lines[third + 1]]
    assert [line.split()[0] for line in listed] == list(damaged)
    assert all(word in line for word, line in zip(damaged.values(), listed, strict=True))
    assert any(re.search(rf"\b{len(before) - 3}\b.*\b4\b", line) for line in lines)
    assert re.search(r"--repair.*images_001\.tar\.gz.*images_003\.tar\.gz", lines[-2])
    assert "images_002" not in "".join(lines)
    assert tree(home / "data" / "images") == before


def test_repair_downloads_only_the_archives_of_defective_images(
    damaged, home, small_phantom, fault_server, monkeypatch, capsys
):
    address = fault_server(small_phantom)
    monkeypatch.setenv("CXR_RELEASE", f"{address}/correct")
    download.find_release(f"{address}/correct")
    before = len(sent_requests(address))
    assert main(["check", "--repair"]) == 0
    requested = {name for name, _ in sent_requests(address)[before:]}
    assert {"images_001.tar.gz", "images_003.tar.gz"} == {name for name in requested if name.endswith(".tar.gz")}
    assert tree(home / "data" / "images") == members(small_phantom)
    capsys.readouterr()
    assert main(["check"]) == 0
    counts = re.findall(r"\b\d+\b", screen(capsys.readouterr().out)[-2])
    assert counts == [str(len(members(small_phantom))), "0"]


def test_after_a_failed_repair_the_images_still_count_as_missing(damaged, home, small_phantom, tmp_path, monkeypatch):
    monkeypatch.setenv("CXR_RELEASE", str(small_phantom))
    other_release(tmp_path / "elsewhere", "other")
    with monkeypatch.context() as context:
        context.setenv("CXR_RELEASE", str(tmp_path / "elsewhere"))
        assert main(["check", "--repair"]) == 1
    assert main(["check"]) == 1
    with monkeypatch.context() as context:
        context.setattr(actions.Transfer, "run", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            main(["check", "--repair"])
    assert sum(defect is not None for defect in inventory.check_images().values()) == 4
    # The next download or repair completes it.
    download.download_release(download.find_release(str(small_phantom)), None)
    assert tree(home / "data" / "images") == members(small_phantom)
    assert main(["check"]) == 0


@pytest.fixture
def nih_table(home, monkeypatch):
    """Writes a label table as long as NIH's archives, which are made short, and returns the names of the images."""
    assert sum(tables.NIH_IMAGES) == 112_120
    monkeypatch.setattr(tables, "NIH_IMAGES", [4, *[10] * 10, 7])
    names = [f"{number:08d}_000.png" for number in range(1, 112)]
    (home / "data").mkdir()
    (home / "data" / config.LABEL_TABLES[0]).write_text("\n".join(["Image Index,Finding Labels", *names]))
    return names


def test_images_without_records_are_assigned_to_nihs_archives_by_name_order(nih_table, home, monkeypatch, capsys):
    images = home / "data" / "images"
    images.mkdir()
    image = cv2.imencode(".png", np.zeros((2, 2), np.uint8))[1].tobytes()
    for name in nih_table[:14]:
        (images / name).write_bytes(image)
    (images / nih_table[7]).write_bytes(image[:-1])
    (images / "mine.png").write_bytes(b"not an image")
    assert main(["check"]) == 1
    lines = screen(capsys.readouterr().out)
    second = next(number for number, line in enumerate(lines) if line.startswith("images_002.tar.gz: "))
    assert re.search(r": 1\b", lines[second]) and nih_table[7] in lines[second + 1]
    assert any(re.search(r"\b13\b.*\b2\b", line) for line in lines)
    assert any("mine.png" in line for line in lines) and not any("images_001" in line for line in lines)
    assert any(
        "images_003.tar.gz" in line and "images_012.tar.gz" in line for line in lines
    )  # nothing of them is there
    started = []

    class Recorder:
        def __init__(self, release, archives, connections):
            started.extend(file.name for file in archives)

        def run(self):
            pass

    monkeypatch.setattr(actions, "Transfer", Recorder)
    assert main(["check", "--repair"]) == 1
    assert started == ["images_002.tar.gz"]
    # The first archive is now recorded as unpacked.
    nih = download.find_release("nih")
    assert download.plan(nih, 1)["fetch"] == 0 and download.plan(nih, 2)["fetch"] > 3.9


def test_more_than_twenty_defects_of_an_archive_are_counted(home, capsys):
    (home / "data" / "images").mkdir(parents=True)
    inventory.record("images_001.tar.gz", None, [f"{number}.png" for number in range(25)])
    assert main(["check"]) == 1
    lines = screen(capsys.readouterr().out)
    assert sum(".png" in line for line in lines) == 20 and any(re.search(r"\b5\b", line) for line in lines)


@pytest.fixture
def own_archives(nih_table, tmp_path):
    """Folder of a release of images of NIH's table, in three archives that are not NIH's."""
    write_release(tmp_path / "own", images=12, image_bytes=2_000, rows=len(nih_table))
    return tmp_path / "own"


@pytest.mark.parametrize("unpacked", [0, 1, 3, 7])
@pytest.mark.parametrize("archives", [None, 2])
def test_an_interrupted_download_of_other_archives_with_nihs_table_continues(
    own_archives, home, monkeypatch, unpacked, archives
):
    found = download.find_release(str(own_archives))
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(unpack, "atomic", interrupted_after(unpacked))
        download.download_release(found, archives)
    there = download.image_names()
    assert len(there) == unpacked and there <= set(download.archives())
    with tarfile.open(own_archives / "images_001.tar.gz") as tar:
        first = {member.name.rpartition("/")[2] for member in tar}
    assert {name for name in there if download.archives()[name] == "images_001.tar.gz"} == there & first
    download.download_release(found, None)
    assert tree(home / "data" / "images") == members(own_archives)


def interrupted_after(images):
    """Returns an `atomic` that ends the process at the next image, after it was recorded."""
    lock, written = threading.Lock(), []

    @contextmanager
    def atomic(path):
        with lock:
            if len(written) == images:
                raise KeyboardInterrupt
            written.append(path)
            with files.atomic(path) as part:
                yield part

    return atomic


def test_an_interrupted_download_needs_only_the_space_of_the_images_that_are_absent(small, monkeypatch, home):
    found = download.find_release(str(small))
    monkeypatch.setattr(unpack, "atomic", interrupted_after(3))
    with pytest.raises(KeyboardInterrupt):
        download.download_release(found, None)
    there = sum(path.stat().st_size for path in (home / "data" / "images").iterdir())
    archives = sum(path.stat().st_size for path in small.glob("*.gz"))
    assert there and download.plan(found, None)["images"] == pytest.approx((archives - there) / 1e9, rel=0.02)


def test_images_of_unknown_origin_are_not_recorded_as_nihs_for_another_release(own_archives, home, monkeypatch):
    (home / "data" / "images").mkdir()
    (home / "data" / "images" / "00000001_000.png").write_bytes(b"mine")
    monkeypatch.setenv("CXR_RELEASE", str(own_archives))
    assert main(["check", "--repair"]) == 1
    assert inventory.records() == [] and os.listdir(home / "data" / "images") == ["00000001_000.png"]


def test_a_repair_that_is_killed_while_it_records_damaged_images_forgets_none(nih_table, home, monkeypatch):
    (home / "data" / "images").mkdir()
    for name in nih_table[:4]:
        (home / "data" / "images" / name).write_bytes(b"damaged")
    record = inventory.record

    def killed(*arguments):
        record(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(inventory, "record", killed)
    with pytest.raises(KeyboardInterrupt):
        actions.repair(download.find_release("nih"), ["images_001.tar.gz"])
    assert download.plan(download.find_release("nih"), 1)["fetch"] > 1.9


def test_the_first_archive_of_nih_ends_where_it_does_in_nihs_table(real, home):
    (home / "data").mkdir()
    shutil.copy(real / "release256" / config.LABEL_TABLES[0], home / "data")
    # As listed by `tar -t` of NIH's images_001.tar.gz.
    assert inventory.nih_images()["images_001.tar.gz"][-1] == "00001335_006.png"


# --- a disk that fills up ---


@pytest.fixture
def small_disk(tmp_path):
    """Function that mounts a tmpfs of a given size, or resizes it, and returns its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def resize(size):
        remount = "remount," if folder.is_mount() else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{remount}size={size}", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"this test is not permitted to mount a tmpfs: {getattr(error, 'stderr', error)}")
        return folder

    yield resize
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 1.1])
def test_a_full_disk_loses_no_data(small, small_disk, fault_server, monkeypatch, share):
    images = members(small)
    total = sum(path.stat().st_size for path in small.glob("*.gz"))
    address = fault_server(small)
    folder = small_disk(int(share * total))
    monkeypatch.setenv("CXR_HOME", str(folder))
    # Enough space is reported before the download starts, as if another process used the disk afterwards.
    monkeypatch.setattr(actions.shutil, "disk_usage", lambda path: Usage(10**9))
    with pytest.raises(OSError, match=r"\d\.\d\d GB"):
        download.download_release(download.find_release(f"{address}/correct"), None, connections=1)
    unpacked = tree(folder / "data" / "images") if (folder / "data" / "images").exists() else {}
    assert all(images.get(name) == md5 for name, md5 in unpacked.items())
    received = {path.name: path.stat().st_size for path in (folder / "data" / "fetching").glob("*.gz")}
    small_disk(10 * total)
    before = len(sent_requests(address))
    download.download_release(download.find_release(f"{address}/correct"), None)
    assert tree(folder / "data" / "images") == images
    spans = {name: span for name, span in sent_requests(address)[before:]}
    for name, size in received.items():
        complete = size == (small / name).stat().st_size
        assert name not in spans if complete else spans[name] == (f"bytes={size}-" if size else None)
    assert not (folder / "data" / "fetching").exists()


def test_the_planned_disk_space_is_sufficient(small, small_disk, fault_server, monkeypatch):
    address = fault_server(small)
    folder = small_disk("1g")
    monkeypatch.setenv("CXR_HOME", str(folder))
    found = download.find_release(f"{address}/correct")
    # A tmpfs uses whole pages of 4 kB for files, folders and records.
    small_disk(int(download.plan(found, None)["peak"] * 1e9) + 20 * 4096)
    download.download_release(found, None)
    assert tree(folder / "data" / "images") == members(small)
