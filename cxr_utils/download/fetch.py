"""Downloads one file of a release, resumes a partial download, and verifies size and MD5 as the bytes arrive."""

import hashlib
import itertools
import time
from pathlib import Path

import requests

from cxr_utils.download import folders, http_client

_CHUNK = 1 << 20
_PROGRESS_STEP = 1 << 16  # an attempt that adds fewer bytes than this counts as a failure in a row
_MIN_RATE = 1000  # bytes per second; a slower connection counts as hanging


def fetch(file, folder, stop, done, notify):
    """Downloads one file and verifies its size and MD5. A local file is verified in place.

    A partial download of a file with a published MD5 is resumed, as the MD5 shows in the end whether both parts belong
    together. Other files, which are small, are downloaded from the start. If the file differs from the published one,
    it is downloaded a second time.

    Args:
        file: the `release.ReleaseFile`.
        folder: `Path` of the folder to download to. A partial file stays there if the download fails.
        stop: `http_client.Stop`.
        done: dict in which the number of bytes received so far is updated, by name of file.
        notify: function that shows the user a line of text.

    Returns:
        `Path` of the verified file.

    Raises:
        ValueError: the file differs in size or MD5 from the published one, or is a web page, in two attempts.
        requests.RequestException: the server rejected the request, or sent no data in several attempts.
        OSError: the file cannot be read or written.
        DriveError: the drive of a local file is gone.
        concurrent.futures.CancelledError: `stop` was set.
    """
    if file.is_local:
        with folders.readable(file.address), open(file.address, "rb") as stream:
            mismatch = _Part(file, stream, stop, done).mismatch()
        if mismatch:
            raise ValueError(f"{file.name} {mismatch}. Replace {file.address} with an intact copy.")
        return Path(file.address)
    with open(folder / file.name, "a+b", buffering=0) as stream:
        part = _Part(file, stream, stop, done)
        for last in (False, True):
            try:
                wrong = http_client.with_retries(
                    part.receive,
                    lambda text: notify(f"{file.name}: {text}"),
                    stop.wait,
                    lambda: part.size // _PROGRESS_STEP,
                )
            except (requests.ConnectionError, requests.HTTPError) as error:
                raise type(error)(f"{file.name}: {error}") from error
            if not wrong:
                return folder / file.name
            if not last:
                notify(f"{file.name} {wrong}: downloading it once more")
                stop.wait(5 * http_client.PAUSE_S)
    raise ValueError(
        f"{file.name} {wrong} (second attempt). Open {file.address} in a browser to see what the server sends. Run "
        "this again later, or set CXR_RELEASE to another source."
    )


class _Part:
    """The bytes of a file that are on disk so far: their number (`size`) and MD5."""

    def __init__(self, file, stream, stop, done):
        self._file, self._stream, self._stop, self._done = file, stream, stop, done
        self.size, self._md5 = 0, hashlib.md5()
        stream.seek(0)
        while chunk := stream.read(_CHUNK):
            self._count(chunk)

    def _count(self, chunk):
        self._stop.check()
        self._md5.update(chunk)
        self.size += len(chunk)
        self._done[self._file.name] = self.size

    def _clear(self):
        self._stream.truncate(0)
        self.size, self._md5 = 0, hashlib.md5()

    def mismatch(self):
        """Describes how the bytes differ from the published file; `None` if they do not."""
        if self._file.size not in (None, self.size):
            return f"has {self.size:,} bytes, expected {self._file.size:,}"
        if self._file.md5 not in (None, self._md5.hexdigest()):
            return f"has MD5 {self._md5.hexdigest()}, expected {self._file.md5}"
        return None

    def receive(self):
        """Requests the missing bytes, writes them and verifies the file.

        Returns:
            A description of what is wrong with the file; `None` if it is the published one.

        Raises:
            Exception: one of `http_client.TRANSIENT` if the connection breaks.
        """
        self._stop.check()
        if not self._file.md5:
            self._clear()
        if not self._file.md5 or self.mismatch():
            headers = {"Range": f"bytes={self.size}-"} if self.size else {}
            with http_client.get(self._file.address, **headers) as response:
                if wrong := self._append(response):
                    return wrong
        if mismatch := self.mismatch():
            self._clear()
        return mismatch

    def _append(self, response):
        """Writes the bytes of a response; if it contains the whole file, they replace the part.

        Returns:
            A description of what is wrong with the response, which is then not written; `None` if it is written.
        """
        if response.status_code == 416 or (
            response.status_code == 206
            and not response.headers.get("Content-Range", "").startswith(f"bytes {self.size}-")
        ):
            self._clear()
            raise requests.ConnectionError("the server did not send the missing bytes, so the file starts again")
        expected = self._file.size
        length = response.headers.get("Content-Length")
        start = self.size if response.status_code == 206 else 0
        total = start + int(length) if length else expected
        chunks = iter(lambda: response.raw.read1(_CHUNK, decode_content=False), b"")
        first = next(chunks, b"")
        if not start and http_client.is_web_page(response, first):
            return f"is a web page, expected {f'{expected:,} bytes of data' if expected else 'data'}"
        if expected not in (None, total):
            return f"has {total:,} bytes, expected {expected:,}"
        if not start:
            self._clear()
        checked_at, checked_size = time.monotonic(), self.size
        for chunk in itertools.chain([first], chunks):
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._stream.write(rest) :]
            self._count(chunk)
            if expected is not None and self.size > expected:
                return None  # `mismatch` reports it
            if time.monotonic() - checked_at > http_client.SILENCE_S:
                if self.size - checked_size < _MIN_RATE * http_client.SILENCE_S:
                    raise requests.Timeout(f"less than {_MIN_RATE:,} bytes per second")
                checked_at, checked_size = time.monotonic(), self.size
        if self.size < (total or 0):
            raise requests.ConnectionError(f"the connection broke after {self.size:,} bytes")
        return None
