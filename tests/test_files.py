"""Atomic writes and quiet starts."""

import os

import pytest

from cxr_utils.files import atomic
from cxr_utils.progress import without_start_up_notes


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with atomic(path) as part:
        part.write_text("old")
        assert part.suffix == ".csv" and not path.exists()
    with pytest.raises(RuntimeError), atomic(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(path.parent) == ["table.csv"]


def test_only_known_start_up_notes_are_left_out(capfd):
    notes = [
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        "I0000 00:00:1795412129.705439    7433 port.cc:153] oneDNN custom operations are on.",
        "E0000 00:00:1795412133.896111    7433 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)",
    ]
    kept = ["E0000 00:00:1795412133.896111    7433 gpu_memory.cc:1] out of memory", "UserWarning: something else"]
    with pytest.raises(RuntimeError), without_start_up_notes():
        os.write(2, "\n".join([*notes, *kept, ""]).encode())
        raise RuntimeError
    os.write(2, b"after\n")
    assert capfd.readouterr().err.splitlines() == [*kept, "after"]
