"""Atomic file writes, locks, and the SHA-256 of a file."""

import errno
import fcntl
import functools
import hashlib
import os
import platform
import tempfile
import warnings
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from cxr_utils import config

_NODE = platform.node().replace(".", "-")


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
    remove_leftovers(path.parent)
    part = path.with_name(f".{os.getpid()}.part.{_NODE}.{path.name}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path, text):
    """Writes `text` (str) as a UTF-8 file, see `atomic`."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


@functools.cache  # once per folder and process: a folder can contain 112,120 images
def remove_leftovers(folder):
    """Removes the temporary files of processes of this host that were killed."""
    for part in folder.glob(f".*.part.{_NODE}.*"):
        with suppress(ValueError, PermissionError):  # not one of ours, or of another user
            try:
                os.kill(int(part.name.split(".")[1]), 0)
            except ProcessLookupError:
                part.unlink(missing_ok=True)


def sha256(path):
    """Returns the SHA-256 of a file as hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def now():
    """Returns the local time with its offset from UTC, such as `"2026-11-28T17:05:00+01:00"`."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


@contextmanager
def locked(name, activity, wait=False, folder=None):
    """Holds the lock `.locks/<name>.lock` while the block runs, however it ends: also if the process is killed.

    Where the file system has no locks, there is one warning, and the block runs without a lock. Of several hosts that
    train together only rank 0 holds locks, as only it writes.

    Args:
        name: str, what is locked, such as `"baseline"`. The file stays.
        activity: str, what the lock protects, for the error message, such as `"the training of baseline"`.
        wait: bool, whether to wait for another process instead of raising an error.
        folder: `Path` of the folder that contains `.locks/`, the one with the locked files; `CXR_HOME` when `None`.

    Raises:
        OSError: another process holds the lock; the message says which one and since when.
    """
    if config.rank():
        yield
        return
    folder = (folder or config.home()) / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            raise OSError(
                f"{folder.parent} is in use for {activity} by {file.read() or 'another process'}: wait until it "
                "ends or stop it, or use another folder (CXR_HOME, CXR_DATA)."
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            _warn_once(f"{folder} has no locks ({error.strerror}): never run a notebook twice at once.")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}, since {now()}")
        file.flush()
        yield


@functools.cache
def _warn_once(message):
    """Shows a warning once per process, also where Python's own record of warnings is reset in between."""
    warnings.warn(message, stacklevel=1)
