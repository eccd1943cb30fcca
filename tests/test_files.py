"""Atomic writes, hidden startup messages, progress bars."""

import io
import os
import platform
import re
import sys

import pytest

from cxr_utils import without_startup_messages
from cxr_utils._files import atomic, remove_leftovers
from cxr_utils._progress import progress


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


@pytest.mark.parametrize("stream", ["terminal", "log"])
def test_a_bar_of_a_terminal_and_of_a_log_file_is_text_on_stdout(monkeypatch, stream):
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: stream == "terminal")
    monkeypatch.setattr(sys, "stdout", out)
    with progress(total=3, desc="images") as bar:
        bar.update(3)
    first, *_, last = re.split(r"[\r\n]+", out.getvalue().strip())
    assert first.startswith("images:   0%") and last.startswith("images: 100%") and "3/3" in last
    assert out.getvalue().endswith("\n") and "\x1b" not in out.getvalue()


def test_what_a_killed_process_left_is_removed(home):
    (home / "figs").mkdir()
    with atomic(home / "figs" / "chart.svg") as ours:
        ours.touch()
        name = ours.name
    left = home / "figs" / name.replace(str(os.getpid()), "4194305")  # no process has this number
    here = platform.node().replace(".", "-")
    kept = [home / "figs" / other for other in (name, left.name.replace(here, "elsewhere"), ".hidden.part.txt")]
    for path in (left, *kept):
        path.touch()
    remove_leftovers.cache_clear()  # as in a new process
    with atomic(home / "figs" / "other.png") as part:
        part.write_bytes(b"new")
    assert not left.exists() and all(path.exists() for path in kept)
