"""Downloads one file of a release, resumes a partial download, and verifies size and MD5 as the bytes arrive."""

import hashlib
import re
import time
from pathlib import Path

import requests

from cxr_utils.download import http_client

_CHUNK = 1 << 20
_PROGRESS_STEP = 1 << 16  # an attempt that adds fewer bytes than this counts as a failure in a row
_MIN_RATE = 1000  # bytes per second; a slower connection counts as hanging


class _WrongFile(Exception):
    """The server sent something other than the published file.

    Attributes:
        discard: bool, whether the bytes received so far cannot be part of the published file either.
    """

    def __init__(self, problem, discard=False):
        super().__init__(problem)
        self.discard = discard


def fetch(file, folder, stop, bar, notify):
    """Downloads one file and verifies its size and MD5. A local file is verified in place.

    A partial download is resumed with a range request, unless the server reports that the file has changed or does not
    support ranges. If the file differs from the published one, it is downloaded a second time.

    Args:
        file: the `release.ReleaseFile`.
        folder: `Path` of the folder to download to. A partial file stays there if the download fails.
        stop: `http_client.Stop`.
        bar: `_progress.Bar` in bytes.
        notify: function that shows the user a line of text.

    Returns:
        `Path` of the verified file.

    Raises:
        ValueError: the file differs in size or MD5 from the published one, or is a web page, in two attempts.
        requests.RequestException: the server rejected the request, or sent no data in several attempts.
        OSError: the file cannot be read or written.
        http_client.Stopped: `stop` was set.
    """
    if file.is_local:
        with open(file.address, "rb") as stream:
            received = _Digest(file, bar)
            while chunk := stream.read(_CHUNK):
                stop.check()
                received.update(chunk)
        mismatch = received.mismatch()
        if mismatch:
            raise ValueError(f"{file.name} {mismatch}. Replace {file.address} with an intact copy.")
        return Path(file.address)
    with _PartialFile(file, folder, stop, bar) as part:
        for last in (False, True):
            try:
                http_client.with_retries(
                    lambda: part.receive(stop),
                    lambda text: notify(f"{file.name}: {text}"),
                    stop.wait,
                    lambda: part.received.size // _PROGRESS_STEP,
                )
                if mismatch := part.received.mismatch():
                    raise _WrongFile(mismatch, discard=True)
                part.version_file.unlink(missing_ok=True)
                return part.path
            except (requests.ConnectionError, requests.HTTPError) as error:
                raise type(error)(f"{file.name}: {error}") from error
            except _WrongFile as wrong:
                if wrong.discard:
                    part.clear()
                if last:
                    raise ValueError(
                        f"{file.name} {wrong} (second attempt). Open {file.address} in a browser to see what the "
                        "server sends. Run this again later, or set CXR_RELEASE to another source."
                    ) from None
                notify(f"{file.name} {wrong}: downloading it once more")
                stop.wait(5 * http_client.PAUSE_S)


class _Digest:
    """Size and MD5 of the bytes of a file that were received so far."""

    def __init__(self, file, bar):
        self._file, self._bar = file, bar
        self.clear()

    def clear(self):
        self.size, self._md5, self._bar.n, self._bar.initial = 0, hashlib.md5(), 0, 0

    def update(self, chunk):
        self._md5.update(chunk)
        self.size += len(chunk)
        self._bar.n = self.size

    def mismatch(self):
        """Describes how the bytes differ from the published file; `None` if they do not."""
        if self._file.size not in (None, self.size):
            return f"has {self.size:,} bytes, expected {self._file.size:,}"
        if self._file.md5 not in (None, self._md5.hexdigest()):
            return f"has MD5 {self._md5.hexdigest()}, expected {self._file.md5}"
        return None


class _PartialFile:
    """The part of a file that is on disk, and a second file with the version (ETag or date) of the server's file."""

    def __init__(self, file, folder, stop, bar):
        self._file = file
        self.path, self.version_file = folder / file.name, folder / f"{file.name}.version"
        self.received = _Digest(file, bar)
        self._stream = open(self.path, "a+b", buffering=0)
        if not file.md5 and not self.version_file.is_file():
            self.clear()  # without MD5 and version, nothing would show whether the rest belongs to the same file
        self._stream.seek(0)
        while chunk := self._stream.read(_CHUNK):
            stop.check()
            self.received.update(chunk)
        bar.initial = self.received.size

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._stream.close()

    def clear(self):
        self._stream.truncate(0)
        self.version_file.unlink(missing_ok=True)
        self.received.clear()

    def _write(self, chunk):
        rest = memoryview(chunk)
        while rest:
            rest = rest[self._stream.write(rest) :]
        self.received.update(chunk)

    def receive(self, stop):
        """Requests the missing bytes and writes them.

        Raises:
            Exception: one of `http_client.TRANSIENT` if the connection breaks.
            _WrongFile: the response is not the published file.
        """
        stop.check()
        have, expected = self.received.size, self._file.size
        if have and have == expected:
            return None
        headers = {"Range": f"bytes={have}-"} if have else {}
        if have and self.version_file.is_file():
            headers["If_Range"] = self.version_file.read_text()
        with http_client.get(self._file.address, **headers) as response, stop.aborts(response):
            if response.status_code == 404 or (response.status_code == 416 and not have):
                raise requests.HTTPError(
                    f"The server returned {response.status_code} {response.reason} for {self._file.address}. Open this "
                    "address in a browser. Run this again later, or set CXR_RELEASE to another source."
                )
            start, total = _extent(response)
            version = _version(response)
            changed = start and version and self.version_file.is_file() and version != self.version_file.read_text()
            # The file on the server has changed, or the server returns the wrong range.
            if have and (start not in (0, have) or changed):
                self.clear()
                return self.receive(stop)
            chunks = iter(lambda: response.raw.read1(_CHUNK, decode_content=False), b"")
            chunk = next(chunks, b"")
            if start == 0 and http_client.is_web_page(response, chunk):
                raise _WrongFile(f"is a web page, expected {f'{expected:,} bytes of data' if expected else 'data'}")
            if total is not None and expected not in (None, total):
                raise _WrongFile(f"has {total:,} bytes, expected {expected:,}")
            if start == 0:  # the server does not support ranges, or its file is another version than the partial file
                self.clear()
                if version:
                    self.version_file.write_text(version)
            checked_at, checked_size = time.monotonic(), self.received.size
            while chunk:
                stop.check()
                self._write(chunk)
                if expected is not None and self.received.size > expected:
                    raise _WrongFile(f"has more than {expected:,} bytes, its published size", discard=True)
                if time.monotonic() - checked_at > http_client.SILENCE_S:
                    if self.received.size - checked_size < _MIN_RATE * http_client.SILENCE_S:
                        raise requests.Timeout(f"less than {_MIN_RATE:,} bytes per second")
                    checked_at, checked_size = time.monotonic(), self.received.size
                chunk = next(chunks, b"")
            if self.received.size < (total or expected or 0):
                raise requests.ConnectionError(f"the connection broke after {self.received.size:,} bytes")
            return None


def _version(response):
    """Returns the strong ETag or else the modification time of the server's file; `""` if it states neither."""
    tag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified", "") if tag.startswith("W/") else tag


def _extent(response):
    """Returns `(start, size)`: the position of the first byte in the file, and the size of the whole file.

    `start` is `None` if the response contains no bytes of the file, `size` if the server does not state it.
    """
    if response.status_code == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        return (int(found[1]), None if found[2] == "*" else int(found[2])) if found else (None, None)
    size = response.headers.get("Content-Length")
    return (0, int(size) if size else None) if response.status_code == 200 else (None, None)
