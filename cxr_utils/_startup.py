"""What happens before TensorFlow or JAX start: a check of the platform, variables that they read, hidden messages."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager

if sys.platform == "win32":
    raise ImportError("cxr_utils needs Linux or macOS: on Windows, install and start it inside WSL2.")
if importlib.util.find_spec("papermill") is None:  # one package stands for all
    raise ImportError(
        f'The packages of this project are not installed in {sys.executable}: choose the kernel "Chest X-ray" (make '
        "kernel offers it), or run pip install . in the project's folder."
    )
if sys.platform == "darwin":
    print("macOS: cxr_utils was tested on Linux only; it computes on the CPU here.", file=sys.stderr)

# TensorFlow writes these lines to the stderr of the process when it starts on a machine without a GPU. It has no
# setting that turns all of them off.
_STARTUP_MESSAGES = (
    r"^WARNING: All log messages before absl::InitializeLog|^[IWE]\d{4} .*"
    r"(port|cudart_stub|cuda_platform|cpu_feature_guard|cuda_executor|gpu_device|computation_placer)\.cc|"
    r"^To enable the following instructions|^Skipping registering GPU devices"
)
# Variables that are set unless they are set already.
_DEFAULTS = {
    # TensorFlow reads this one. It hides the informational messages that appear later, with the first batch.
    "TF_CPP_MIN_LOG_LEVEL": "1",
    # HDF5 reads this one. Some file systems have no locks, and every file is written under a temporary name.
    "HDF5_USE_FILE_LOCKING": "FALSE",
    # TensorFlow and JAX read these. By default each takes most of a GPU's memory, so that a second notebook finds none.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
# A process that prints what was captured, its stderr. A byte informs it that the block has ended;
# without one, the process of the block has been killed, and it prints to the second file.
_PRINT = """
import re, sys
messages, lasting = re.compile(sys.argv[1].encode()), int(sys.argv[2])
with open(1 if sys.stdin.buffer.read(1) else lasting, "wb") as out, open(2, "rb", closefd=False) as captured:
    captured.seek(0)
    out.writelines(line for line in captured if not messages.search(line))
"""


@contextmanager
def without_startup_messages():
    """Removes TensorFlow's startup messages from what the block writes to stderr.

    Other warnings and errors are printed when the block ends, also if TensorFlow or the system kills this process.
    """
    os.environ |= _DEFAULTS | os.environ
    sys.stderr.flush()
    original = os.dup(2)
    # In a Jupyter kernel, fd 2 is a pipe that ends with the kernel. Its first stderr is that of the Jupyter server.
    lasting = getattr(sys.stderr, "_original_stdstream_copy", None) or original
    command = [sys.executable, "-S", "-E", "-c", _PRINT, _STARTUP_MESSAGES, str(lasting)]
    with tempfile.TemporaryFile() as captured:
        printer = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=original,
            stderr=captured,
            pass_fds=[lasting],
            start_new_session=True,
        )
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)
            printer.communicate(b".")
