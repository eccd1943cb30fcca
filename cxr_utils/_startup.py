"""Hides what TensorFlow prints about itself when it starts."""

import os
import re
import sys
import tempfile
from contextlib import contextmanager

# What TensorFlow writes to the process's stderr when it starts on a machine without a GPU; no setting of its own stops it.
_START_UP_NOTE = re.compile(
    r"^WARNING: All log messages before absl::InitializeLog|^[IWE]\d{4} .*"
    r"(port|cudart_stub|cuda_platform|cpu_feature_guard|cuda_executor|gpu_device|computation_placer)\.cc|"
    r"^To enable the following instructions|^Skipping registering GPU devices"
)


@contextmanager
def without_startup_messages():
    """Leaves TensorFlow's start-up notes out of what the block writes to stderr; warnings and errors still show."""
    # Informational notes that come later, when the first batch is drawn, heed this variable of TensorFlow's.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace") as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            notes.seek(0)
            for line in notes:
                if not _START_UP_NOTE.search(line):
                    sys.stderr.write(line)
