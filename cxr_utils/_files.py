"""Atomic file writes, and the SHA-256 of a file."""

import hashlib
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from cxr_utils import config


@contextmanager
def atomic(path):
    """Yields a temporary path next to `path` and renames it to `path` when the block ends without an error.

    A reader sees the old file or the complete new file, never a part of it. The temporary name keeps the suffix because
    Keras, pandas and matplotlib choose the file format from it. Hosts that train together share `CXR_HOME`: only rank 0
    writes to it, and what the other ranks write is discarded.

    Args:
        path: path of the file to write. Its folder is created if it is missing.

    Yields:
        The temporary `Path` to write to.
    """
    path = Path(path)
    if config.rank():
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / path.name
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def sha256(path):
    """Returns the SHA-256 of a file as hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
