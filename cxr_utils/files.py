"""Writing a file whole or not at all."""

import os
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic(path):
    """Gives a temporary path beside `path` to write to, and renames it when the block ends without an error.

    The temporary name keeps the suffix, which Keras, pandas and matplotlib choose a format by.

    Args:
        path: the file to write; its folder is made when missing.

    Yields:
        The temporary `Path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
