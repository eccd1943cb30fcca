"""Atomic writes, hidden startup messages, progress bars."""

import io
import os
import re

import pytest

from cxr_utils import _progress, without_startup_messages
from cxr_utils._files import atomic
from cxr_utils._progress import Board


def test_a_file_is_written_completely_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with atomic(path) as part:
        part.write_text("old")
        assert part.suffix == ".csv" and not path.exists()
    with pytest.raises(RuntimeError), atomic(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(path.parent) == ["table.csv"]


def test_only_known_startup_messages_are_hidden(capfd):
    hidden = [
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        "I0000 00:00:1795412129.705439    7433 port.cc:153] oneDNN custom operations are on.",
        "E0000 00:00:1795412133.896111    7433 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)",
    ]
    shown = ["E0000 00:00:1795412133.896111    7433 gpu_memory.cc:1] out of memory", "UserWarning: something else"]
    with pytest.raises(RuntimeError), without_startup_messages():
        os.write(2, "\n".join([*hidden, *shown, ""]).encode())
        raise RuntimeError
    os.write(2, b"after\n")
    assert capfd.readouterr().err.splitlines() == [*shown, "after"]


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def _screen(text):
    """Returns the lines that a terminal shows after this text, which may move the cursor up and erase lines."""
    lines = []
    for piece in re.split(r"(\x1b\[\d+A\x1b\[J|\n)", text):
        if up := re.fullmatch(r"\x1b\[(\d+)A\x1b\[J", piece):
            del lines[-int(up[1]) :]
        elif piece not in ("", "\n"):
            lines.append(piece)
    return lines


def _two_archives(stream):
    board = Board(300, stream)
    one, two = board.bar("images_001.tar.gz", 100, counts=True), board.bar("images_002.tar.gz", 200, counts=True)
    one.n, two.n = 50, 20
    board.draw()
    halfway = stream.getvalue()
    one.n, two.n = 100, 200
    board.end(one, "images_001.tar.gz: 3 images")
    board.draw()
    board.end(two, "images_002.tar.gz: 4 images")
    board.draw(last=True)
    return halfway


def test_bars_are_the_last_lines_of_a_terminal():
    stream = _Terminal()
    one, two, total = _screen(_two_archives(stream))
    assert "images_001.tar.gz" in one and " 50%" in one and "50.0/100 " in one
    assert "images_002.tar.gz" in two and " 10%" in two
    assert total.startswith("total") and " 23%" in total and "70.0/300 " in total
    first, second, total = _screen(stream.getvalue())
    assert (first, second) == ("images_001.tar.gz: 3 images", "images_002.tar.gz: 4 images")
    assert "100%" in total and "300/300 " in total


def test_a_log_file_has_one_line_per_archive_and_the_total():
    stream = io.StringIO()
    assert _two_archives(stream) == ""
    first, second, total = stream.getvalue().splitlines()
    assert (first, second) == ("images_001.tar.gz: 3 images", "images_002.tar.gz: 4 images")
    assert "\x1b" not in stream.getvalue() and "\r" not in stream.getvalue() and "100%" in total


def test_the_rate_of_a_resumed_bar_counts_only_new_bytes(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(_progress.time, "monotonic", iter([0, 0, 0, 10, 10, 10]).__next__)
    board = Board(1000, stream)
    bar = board.bar("images_001.tar.gz", 1000, counts=True)
    bar.initial, bar.n = 800, 900
    board.draw(last=True)
    # 100 bytes took ten seconds; the remaining 100 will take ten seconds more.
    assert "900/1.00k [00:10<00:10, 10.0B/s]" in stream.getvalue()
