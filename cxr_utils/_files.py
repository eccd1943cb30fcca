"""Writing a file whole or not at all."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from cxr_utils import config


@contextmanager
def atomic(path):
    """Gives a temporary path beside `path` to write to, and renames it when the block ends without an error.

    The temporary name keeps the suffix, which Keras, pandas and matplotlib choose a format by. Where several hosts train together,
    they share `CXR_HOME` and only rank 0 writes there: what the others write is thrown away.

    Args:
        path: the file to write; its folder is made when missing.

    Yields:
        The temporary `Path`.
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
