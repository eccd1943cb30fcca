"""Hides the messages that TensorFlow prints when it starts."""

import os
import re
import sys
import tempfile
from contextlib import contextmanager

# TensorFlow writes these lines to the stderr of the process when it starts on a machine without a GPU. It has no
# setting that turns all of them off.
_STARTUP_MESSAGE = re.compile(
    r"^WARNING: All log messages before absl::InitializeLog|^[IWE]\d{4} .*"
    r"(port|cudart_stub|cuda_platform|cpu_feature_guard|cuda_executor|gpu_device|computation_placer)\.cc|"
    r"^To enable the following instructions|^Skipping registering GPU devices"
)


@contextmanager
def without_startup_messages():
    """Removes TensorFlow's startup messages from what the block writes to stderr.

    Other warnings and errors are printed when the block ends.
    """
    # TensorFlow reads this variable. It hides the informational messages that appear later, with the first batch.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace") as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)
            captured.seek(0)
            for line in captured:
                if not _STARTUP_MESSAGE.search(line):
                    sys.stderr.write(line)
