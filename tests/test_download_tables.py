"""Label table, official lists and boxes: complete, or rejected before they replace those in `data/`."""

import http.server
import os
import re
import shutil
import threading

import pytest
import requests

from cxr_utils import config, data, download
from cxr_utils.__main__ import main
from tests.conftest import write_release, write_tables
from tests.helpers import seeded
from tests.test_download import members, tree, write_md5sums

LABELS = config.LABEL_TABLES[0]
LISTS = (config.TRAIN_VAL_LIST, config.TEST_LIST)
BOXES = """Image Index,Finding Label,Bbox [x,y,w,h],,,
00000005_000.png,Mass,1.5,2,3,4,,,
00000006_000.png,Mass,1,2,3,4,,,
"""


@pytest.fixture
def small(tmp_path):
    """Folder of a release with boxes, whose tables have no MD5."""
    write_release(tmp_path / "release", images=6, image_bytes=4_000)
    (tmp_path / "release" / config.BOXES).write_text(BOXES)
    write_md5sums(tmp_path / "release")
    return tmp_path / "release"


# --- what a server can send in place of a table ---

OK = b"HTTP/1.1 200 OK\r\n"


def unmarked(body):
    """Returns a response without a length, whose end is the end of the connection."""
    return OK + b"\r\n" + body


def lines(body, share):
    whole = body.splitlines(keepends=True)
    return b"".join(whole[: int(share * len(whole))])


DEFECTS = {
    "cut in the headers": lambda body: OK + b"Content-Ty",
    "empty": lambda body: unmarked(b""),
    "half, cut at the end of a line": lambda body: unmarked(lines(body, 0.5)),
    "cut in the last line": lambda body: unmarked(body[:-3]),
    "cut in the first line": lambda body: unmarked(body[:7]),
    "an error as JSON": lambda body: OK + b"Content-Length: 21\r\n\r\n" + b'{"error":"too, many"}',
    "an error as text": lambda body: unmarked(b"upstream request timeout\n"),
    "garbage at the end": lambda body: unmarked(body + b"\x00\xfe{"),
    "garbage with a line break at the end": lambda body: unmarked(body + b"0000,1\n"),
    "twice": lambda body: unmarked(body + body),
    "chunks that end early": lambda body: (
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % len(body) + body[: len(body) // 2]
    ),
    "chunks without the last one": lambda body: (
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"5\r\n" + body[:5] + b"\r\n"
    ),
}


@pytest.fixture
def serve_with_defect():
    """Returns a function that serves a folder; some responses with one file have a defect."""
    servers = []

    def start(folder, name, defect, responses):
        class Handler(http.server.BaseHTTPRequestHandler):
            left = responses

            def log_message(self, *args):
                pass

            def do_GET(self):
                path = folder / self.path.rpartition("/")[2]
                if not path.is_file():
                    self.send_error(404)
                    return
                body = path.read_bytes()
                is_wrong = path.name == name and Handler.left
                Handler.left -= bool(is_wrong)
                sized = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
                self.wfile.write(defect(body) if is_wrong else sized if path.suffix == ".gz" else unmarked(body))

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=[0.01], daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}", Handler

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("name", [LABELS, *LISTS, config.BOXES])
def test_a_wrong_table_is_fetched_once_more_and_never_replaces_a_good_one(
    small, home, serve_with_defect, short_timeouts, name, defect
):
    # At the end of a line, nothing shows that boxes are missing.
    if name == config.BOXES and defect == "half, cut at the end of a line":
        pytest.skip("boxes have no counterpart to compare with")
    address, handler = serve_with_defect(small, name, DEFECTS[defect], 0)
    found = download.find_release(address)
    download.download_release(found, 1)
    before, images = tree(home / "data" / "images"), members(small)
    tables = {path.name: path.read_bytes() for path in (home / "data").glob("*_*.*")}
    assert name in tables
    handler.left = 10**6
    with pytest.raises((ValueError, requests.ConnectionError), match=re.escape(name)):
        download.download_release(found, None)
    assert {path.name: path.read_bytes() for path in (home / "data").glob("*_*.*")} == tables
    assert tree(home / "data" / "images") == before
    handler.left = 1
    download.download_release(found, None)
    assert handler.left == 0 and tree(home / "data" / "images") == images
    assert {path.name: path.read_bytes() for path in (home / "data").glob("*_*.*")} == tables


def test_tables_of_a_download_that_was_killed_do_not_stay(small, home):
    """A label table of the other edition would be compared with the lists of this release."""
    (home / "data" / "fetching").mkdir(parents=True)
    write_tables(home / "data" / "fetching", ["00000099_000.png", "00000100_000.png"], 1)
    (small / LABELS).rename(small / config.LABEL_TABLES[1])
    download.download_release(download.find_release(str(small)), None)
    assert data.find_label_table().name == config.LABEL_TABLES[1] and not (home / "data" / "fetching").exists()


# --- tables in a folder ---


def test_complete_tables_are_accepted(small, small_phantom):
    names = [f"{number:08d}_000.png" for number in range(1, 7)]
    assert download.check_tables(small) == names
    assert download.check_tables(small_phantom)
    for path in [small / LABELS, *(small / name for name in LISTS)]:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert download.check_tables(small) == names
    (small / config.TEST_LIST).write_bytes((small / config.TEST_LIST).read_bytes().strip())
    # As saved by Excel, and with the other header of the corrected edition.
    text = (small / LABELS).read_text()
    (small / LABELS).write_text("\ufeff" + text)
    assert download.check_tables(small) == names and len(data.read_labels(small / LABELS)) == 6
    (small / LABELS).write_text(text.replace("Patient Gender", "Patient Sex"))
    assert download.check_tables(small) == names and len(data.read_labels(small / LABELS)) == 6
    # The first edition: all lines end in a comma.
    (small / LABELS).write_text(text.replace("\n", ",\n").strip())
    assert download.check_tables(small) == names and len(data.read_labels(small / LABELS)) == 6


@pytest.mark.parametrize(("name", "other"), [LISTS, LISTS[::-1]])
def test_lists_are_not_needed_and_one_alone_lists_images_of_the_table_once(small, name, other):
    names = [f"{number:08d}_000.png" for number in range(1, 7)]
    (small / other).unlink()
    assert download.check_tables(small) == names
    listed = (small / name).read_text()
    for wrong in (listed + listed.split()[0] + "\n", listed + "00000009_000.png\n"):
        (small / name).write_text(wrong)
        with pytest.raises(ValueError, match=name):
            download.check_tables(small)
    (small / name).unlink()
    assert download.check_tables(small) == names
    (small / config.BOXES).write_text(BOXES.replace("00000006", "00000007"))
    with pytest.raises(ValueError, match=config.BOXES):
        download.check_tables(small)


def test_nihs_tables_are_accepted(real):
    for name in ("release256", "release1024"):
        assert len(download.check_tables(real / name)) == 112_120


@pytest.mark.parametrize("edition", ["first", "corrected"])
def test_a_table_is_rejected_wherever_it_is_cut(small, edition):
    rng = seeded(int.from_bytes(os.urandom(3)))
    if edition == "first":
        (small / LABELS).write_text((small / LABELS).read_text().replace("\n", ",\n"))
    for name in (LABELS, *LISTS):
        whole = (small / name).read_bytes()
        # Without its line break, the last line of a list is whole, and that of the first edition, which has a comma.
        last = len(whole) - (1 if name == LABELS and edition == "corrected" else 2)
        for end in [last, *rng.integers(0, last, 40)]:
            (small / name).write_bytes(whole[:end])
            with pytest.raises(ValueError, match=r"\.(csv|txt) .*000-data_download"):
                download.check_tables(small)
        (small / name).write_bytes(whole)
    download.check_tables(small)


@pytest.mark.parametrize(
    ("name", "old", "new", "named"),
    [
        (LABELS, "00000003_000.png", "00000002_000.png", "00000002_000.png"),  # twice
        (LABELS, "00000003_000.png", "00000003_000.jpg", "00000003_000.jpg"),
        (LABELS, "00000003_000.png", "images/00000003_000.png", "images/00000003_000.png"),
        (LABELS, "Finding Labels", "Findings", "Finding Labels"),
        (LABELS, "OriginalImage[", "Original[", r"OriginalImage\["),
        (LABELS, ",0,3,50,", ",0,3,", "00000003_000.png"),
        (LABELS, "00000003_000.png,", "00000003_000.png,,", "00000003_000.png"),
        (config.TEST_LIST, "00000006_000.png\n", "", "00000006_000.png"),
        (config.TEST_LIST, "00000006_000.png", "00000004_000.png", "00000004_000.png"),  # in both lists
        (config.TEST_LIST, "00000006_000.png", "00000005_000.png", "00000005_000.png"),  # twice in one
        (config.TEST_LIST, "00000006_000.png", "00000007_000.png", "00000007_000.png"),  # in no row
        (config.TEST_LIST, "00000005_000.png\n", "00000005_000.png ", "00000006_000.png"),
        (config.BOXES, "00000006_000.png", "00000007_000.png", "00000007_000.png"),
        (config.BOXES, "Finding Label", "Label", "Finding Label"),
        (config.BOXES, "1,2,3,4,,,\n", "1,2,3", "00000006_000.png"),
        (config.BOXES, "3,4,,,\n00000006_000.png,Mass,1,2,3,4,,,\n", "3,4,", "00000005_000.png"),
    ],
)
def test_tables_that_do_not_belong_together_are_rejected(small, name, old, new, named):
    text = (small / name).read_text()
    assert text.count(old) == 1
    (small / name).write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=rf"{name}.*{named}.*000-data_download.*CXR_RELEASE"):
        download.check_tables(small)
    with pytest.raises(ValueError, match=name):
        download.download_release(download.find_release(str(small)), None)
    assert not (config.home() / "data" / "images").exists()


@pytest.mark.slow
def test_tables_as_long_as_nihs_have_nihs_numbers(tmp_path):
    names = [f"{number:08d}_000.png" for number in range(112_120)]
    write_tables(tmp_path, names, 25_596)
    download.check_tables(tmp_path)
    write_tables(tmp_path, names, 25_595)
    with pytest.raises(ValueError, match=rf"{config.TRAIN_VAL_LIST} .*86,524.*86,525"):
        download.check_tables(tmp_path)
    write_tables(tmp_path, names, 25_596)
    (tmp_path / config.BOXES).write_text(BOXES)
    with pytest.raises(ValueError, match=rf"{config.BOXES} .*984.*\b2 "):
        download.check_tables(tmp_path)


# --- tables on disk ---


def test_check_reports_an_incomplete_list_and_repair_replaces_it(small_phantom, home, monkeypatch, capsys):
    monkeypatch.setenv("CXR_RELEASE", str(small_phantom))
    download.download_release(download.find_release(str(small_phantom)), None)
    path = home / "data" / config.TEST_LIST
    whole = path.read_bytes()
    assert main(["check"]) == 0
    for command in ("repair", "download"):
        path.write_bytes(lines(whole, 0.5))
        capsys.readouterr()
        assert main(["check"]) == 1
        assert config.TEST_LIST in capsys.readouterr().out
        if command == "repair":
            assert main(["check", "--repair"]) == 0
        else:
            download.download_release(download.find_release(str(small_phantom)), None)
        assert path.read_bytes() == whole and main(["check"]) == 0


def test_deleted_lists_are_downloaded_again(small, home):
    for _ in range(2):
        download.download_release(download.find_release(str(small)), None)
        for name in LISTS:
            (home / "data" / name).unlink()  # fails if they have not been downloaded again


def test_a_damaged_label_table_does_not_prevent_its_repair(small, home):
    download.download_release(download.find_release(str(small)), None)
    whole = (home / "data" / LABELS).read_bytes()
    (home / "data" / LABELS).write_bytes(b"\xff\xfe\x00" * 99)
    download.download_release(download.find_release(str(small)), None)
    assert (home / "data" / LABELS).read_bytes() == whole


def test_images_that_are_in_no_row_are_counted(small_phantom, home, capsys):
    download.download_release(download.find_release(str(small_phantom)), None)
    images = sorted((home / "data" / "images").iterdir())
    for number in (7, 8):
        shutil.copy(images[0], images[0].with_name(f"9999999{number}_000.png"))
    capsys.readouterr()
    kept = data.keep_present(data.read_labels(data.find_label_table()))
    assert len(kept) == len(images)
    shown = capsys.readouterr().out
    main(["check"])
    for text in (shown, capsys.readouterr().out):
        line = next(line for line in text.splitlines() if "99999997_000.png" in line)
        assert re.findall(r"\b\d[\d,]*\b", line)[:2] == ["2", f"{len(images) + 2:,}"]
