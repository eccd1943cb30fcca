"""One file of a release: fetched, resumed, verified while its bytes arrive."""

import hashlib
import re
import time
from pathlib import Path

import requests

from cxr_utils.download import http_client

_CHUNK = 1 << 20
_GAIN = 1 << 16  # bytes that must come between failures, or they are failures in a row
_SLOWEST = 1000  # bytes a second: less is taken for a connection that hangs


class _Unfit(Exception):
    """What came is not the published file. `spoilt`: nor can what has arrived be a part of it."""

    def __init__(self, what, spoilt=False):
        super().__init__(what)
        self.spoilt = spoilt


def fetch(file, folder, stop, bar, tell):
    """Fetches one file and verifies size and MD5 as its bytes pass; a local file is verified where it lies.

    What an earlier call brought is continued by a ranged request, unless the server says that its file has changed or knows no
    ranges. What is not the published file is fetched once more.

    Args:
        file: a `release.ReleaseFile`.
        folder: `Path`, where to put it; what arrives there is left in place when the call fails.
        stop: `http_client.Stop`.
        bar: `progress.Bar` in bytes.
        tell: function that shows a line to the user.

    Returns:
        `Path` of the verified file.

    Raises:
        ValueError: a file of other size or MD5 than published, or a web page, came twice.
        requests.RequestException: the server refuses, or gave nothing in several tries.
        OSError: it can't be written.
        http_client.Stopped: `stop` was set.
    """
    if file.is_local:
        with open(file.address, "rb") as stream:
            arrived = _Digest(file, bar)
            while chunk := stream.read(_CHUNK):
                stop.check()
                arrived.update(chunk)
        fault = arrived.fault()
        if fault:
            raise ValueError(f"{file.name} {fault}: put a sound copy in the place of {file.address}.")
        return Path(file.address)
    with _Part(file, folder, stop, bar) as part:
        for last in (False, True):
            try:
                http_client.with_retries(
                    lambda: part.receive(stop),
                    lambda text: tell(f"{file.name}: {text}"),
                    stop.wait,
                    lambda: part.arrived.size // _GAIN,
                )
                if fault := part.arrived.fault():
                    raise _Unfit(fault, spoilt=True)
                part.mark.unlink(missing_ok=True)
                return part.path
            except (requests.ConnectionError, requests.HTTPError) as error:
                raise type(error)(f"{file.name}: {error}") from error
            except _Unfit as unfit:
                if unfit.spoilt:
                    part.clear()
                if last:
                    raise ValueError(
                        f"{file.name} {unfit}, twice: open {file.address} in a browser to see what lies there; run this again "
                        "later, or set CXR_RELEASE to another source."
                    ) from None
                tell(f"{file.name} {unfit}: fetched once more")
                stop.wait(5 * http_client.PAUSE_S)


class _Digest:
    """Size and MD5 of the bytes of a file that have passed."""

    def __init__(self, file, bar):
        self._file, self._bar = file, bar
        self.clear()

    def clear(self):
        self.size, self._md5, self._bar.n, self._bar.initial = 0, hashlib.md5(), 0, 0

    def update(self, chunk):
        self._md5.update(chunk)
        self.size += len(chunk)
        self._bar.n = self.size

    def fault(self):
        """Says how these bytes differ from the published file; `None` if they don't."""
        if self._file.size not in (None, self.size):
            return f"has {self.size:,} bytes, expected {self._file.size:,}"
        if self._file.md5 not in (None, self._md5.hexdigest()):
            return f"has MD5 {self._md5.hexdigest()}, expected {self._file.md5}"
        return None


class _Part:
    """What has arrived of a file, on disk, beside a mark that says which version of the file it is a part of."""

    def __init__(self, file, folder, stop, bar):
        self._file = file
        self.path, self.mark = folder / file.name, folder / f"{file.name}.version"
        self.arrived = _Digest(file, bar)
        self._stream = open(self.path, "a+b", buffering=0)
        if not file.md5 and not self.mark.is_file():
            self.clear()  # nothing would tell whether the rest fits
        self._stream.seek(0)
        while chunk := self._stream.read(_CHUNK):
            stop.check()
            self.arrived.update(chunk)
        bar.initial = self.arrived.size

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._stream.close()

    def clear(self):
        self._stream.truncate(0)
        self.mark.unlink(missing_ok=True)
        self.arrived.clear()

    def _write(self, chunk):
        left = memoryview(chunk)
        while left:
            left = left[self._stream.write(left) :]
        self.arrived.update(chunk)

    def receive(self, stop):
        """Asks for what is missing and writes it; raises one of `http_client.TRANSIENT` when the connection breaks."""
        stop.check()
        have, expected = self.arrived.size, self._file.size
        if have and have == expected:
            return None
        headers = {"Range": f"bytes={have}-"} if have else {}
        if have and self.mark.is_file():
            headers["If_Range"] = self.mark.read_text()
        with http_client.get(self._file.address, **headers) as answer, stop.breaking(answer):
            if answer.status_code == 404 or (answer.status_code == 416 and not have):
                raise requests.HTTPError(
                    f"{self._file.address} answers {answer.status_code} {answer.reason}: open it in a browser, and run this again "
                    "later or set CXR_RELEASE to another source."
                )
            start, total = _extent(answer)
            version = _version(answer)
            changed = start and version and self.mark.is_file() and version != self.mark.read_text()
            # The server's file is another one, or its ranges are false.
            if have and (start not in (0, have) or changed):
                self.clear()
                return self.receive(stop)
            chunks = iter(lambda: answer.raw.read1(_CHUNK, decode_content=False), b"")
            chunk = next(chunks, b"")
            if start == 0 and http_client.is_web_page(answer, chunk):
                raise _Unfit(f"is a web page, expected {expected or 'some'} bytes of data")
            if total is not None and expected not in (None, total):
                raise _Unfit(f"has {total:,} bytes, expected {expected:,}")
            if start == 0:  # of a server without ranges, or of a file that is not the one that this part is of
                self.clear()
                if version:
                    self.mark.write_text(version)
            since, then = time.monotonic(), self.arrived.size
            while chunk:
                stop.check()
                self._write(chunk)
                if expected is not None and self.arrived.size > expected:
                    raise _Unfit(f"goes on after {expected:,} bytes, its published size", spoilt=True)
                if time.monotonic() - since > http_client.SILENCE_S:
                    if self.arrived.size - then < _SLOWEST * http_client.SILENCE_S:
                        raise requests.Timeout(f"less than {_SLOWEST:,} bytes a second")
                    since, then = time.monotonic(), self.arrived.size
                chunk = next(chunks, b"")
            if self.arrived.size < (total or expected or 0):
                raise requests.ConnectionError(f"the connection broke after {self.arrived.size:,} bytes")
            return None


def _version(answer):
    """Returns what tells one version of the server's file from another, `""` if it says nothing that serves."""
    tag = answer.headers.get("ETag", "W/")
    return answer.headers.get("Last-Modified", "") if tag.startswith("W/") else tag


def _extent(answer):
    """Returns where in the file the bytes of an answer begin (`None`: it has none) and the file's size, if it says."""
    if answer.status_code == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        return (int(found[1]), None if found[2] == "*" else int(found[2])) if found else (None, None)
    size = answer.headers.get("Content-Length")
    return (0, int(size) if size else None) if answer.status_code == 200 else (None, None)
