"""Progress of long work, and quiet where TensorFlow talks about itself."""

import os
import re
import sys
import tempfile
from contextlib import contextmanager

from tqdm import tqdm

# What TensorFlow writes to the process's stderr when it starts on a machine without a GPU; no setting of its own stops it.
_START_UP_NOTE = re.compile(
    r"^WARNING: All log messages before absl::InitializeLog|^[IWE]\d{4} .*"
    r"(port|cudart_stub|cuda_platform|cpu_feature_guard|cuda_executor|gpu_device|computation_placer)\.cc|"
    r"^To enable the following instructions|^Skipping registering GPU devices"
)


def progress(**options):
    """Returns a `tqdm` bar that reads alike in a notebook, a terminal and a log file.

    Args:
        **options: of `tqdm`: `total`, `desc`, `unit`, `unit_scale`.

    Returns:
        `tqdm.tqdm`, plain text on stdout (a notebook paints stderr red), renewed every two seconds.
    """
    return tqdm(file=sys.stdout, mininterval=2, **options)


@contextmanager
def without_start_up_notes():
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
