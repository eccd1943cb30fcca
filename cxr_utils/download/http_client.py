"""HTTP with patience: a failure that may pass is waited out, any other says what to do."""

import re
import threading
import time
from contextlib import contextmanager, suppress

import requests
import urllib3

CONNECT_S = 10  # seconds to wait for a connection
SILENCE_S = 30  # seconds to wait for the next byte of an answer
TRIES = 8  # failures in a row, none of which brought anything on, before giving up
_LISTING_TRIES = 4  # the same for what a release consists of: a network that is not there shows in seconds
PAUSE_S = 1  # seconds before the second try; doubled after each failure in a row, up to a minute
_RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}


class Stopped(Exception):
    """Work in another thread was told to end."""


class Busy(requests.RequestException):
    """A server answered that it can't serve now."""

    def __init__(self, answer):
        super().__init__(f"HTTP {answer.status_code} {answer.reason}", response=answer)
        try:
            self.retry_after = urllib3.Retry().get_retry_after(answer.raw) or 0
        except urllib3.exceptions.InvalidHeader:
            self.retry_after = 0


# What a second try may mend.
TRANSIENT = (
    Busy,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)


class Stop:
    """Lets one thread end what others do: they ask `check`, and reads of an answer that block are broken off."""

    def __init__(self):
        self._event = threading.Event()
        self._answers = set()

    def set(self):
        self._event.set()
        for answer in list(self._answers):
            with suppress(ValueError, RuntimeError, OSError):  # it has just ended by itself
                answer.raw.shutdown()

    def check(self):
        """Raises `Stopped` once `set` was called."""
        if self._event.is_set():
            raise Stopped

    def wait(self, seconds):
        self._event.wait(seconds)

    @contextmanager
    def breaking(self, answer):
        """While the block runs, `set` breaks off reads of this answer."""
        self._answers.add(answer)
        try:
            self.check()
            yield
        finally:
            self._answers.discard(answer)


def get(address, **headers):
    """Opens an address; proxies come from the environment.

    Args:
        address: URL.
        **headers: of the request, `_` for `-`.

    Returns:
        A streamed `requests.Response` of status 200, 206, 404 or 416, its bytes as they are stored (`raw`).

    Raises:
        requests.RequestException: one of `TRANSIENT`, or `requests.HTTPError` for what another try won't mend.
    """
    # Not HEAD anywhere: Box, where NIH's files lie, answers it with a false 404.
    headers = {"Accept-Encoding": "identity", **{name.replace("_", "-"): text for name, text in headers.items()}}
    answer = requests.get(address, stream=True, timeout=(CONNECT_S, SILENCE_S), headers=headers)
    if answer.status_code in (200, 206, 404, 416):
        return answer
    answer.close()
    if answer.status_code in _RETRY_STATUS:
        raise Busy(answer)
    raise requests.HTTPError(
        f"{address} answers {answer.status_code} {answer.reason}: open it in a browser to read what it says.",
        response=answer,
    )


def with_retries(attempt, tell=print, wait=time.sleep, gained=lambda: 0, tries=None):
    """Runs `attempt` until it succeeds, with growing pauses and no shorter ones than the server asks for.

    Args:
        attempt: function without arguments.
        tell: function that shows a line about a pause to the user.
        wait: function of seconds.
        gained: function that returns a number; when a failed attempt has raised it, failures count from one again.
        tries: int, failures in a row to give up after; `TRIES` when `None`.

    Returns:
        What `attempt` returns.

    Raises:
        requests.ConnectionError: so many failures in a row.
        Exception: what `attempt` raises outside of `TRANSIENT`.
    """
    tries, failures, best = tries or TRIES, 0, gained()
    while True:
        try:
            return attempt()
        except TRANSIENT as error:
            failures = 1 if gained() > best else failures + 1
            best = max(best, gained())
            if failures == tries:
                raise requests.ConnectionError(
                    f"no success in {tries} tries, at last: {_reason(error)}. What has arrived is kept: check the network, then run "
                    "this again to go on from there."
                ) from error
            seconds = max(getattr(error, "retry_after", 0), min(60, PAUSE_S * 2 ** (failures - 1)))
            tell(f"{_reason(error)}: next try in {seconds:.0f} s")
        wait(seconds)


def _reason(error):
    """Returns the innermost reason of a failure, without what requests and urllib3 wrap it in."""
    while error.args and isinstance(getattr(error.args[0], "reason", error.args[0]), Exception):
        error = getattr(error.args[0], "reason", error.args[0])
    return re.sub(r"^\w*Connection\w*\(.*?\): ", "", str(error))


def is_web_page(answer, start):
    """Says whether an answer is a web page, by its type or its first bytes: what Box sends, as if it were the file, to those who
    ask too often."""
    page = answer.headers.get("Content-Type", "").startswith("text/html")
    return page or start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


def probe(address):
    """Returns `(exists, bytes)` of what lies at an address; bytes is `None` where the server doesn't say."""

    def attempt():
        with _data(address) as answer:
            size = answer.headers.get("Content-Length")
            return answer.status_code != 404, int(size) if size else None

    return with_retries(attempt, tell=lambda text: print(f"{address}: {text}"), tries=_LISTING_TRIES)


def read_text(address):
    """Returns the text at an address."""

    def attempt():
        with _data(address) as answer:
            return answer.text

    return with_retries(attempt, tell=lambda text: print(f"{address}: {text}"), tries=_LISTING_TRIES)


def _data(address):
    answer = get(address)
    if answer.status_code == 200 and is_web_page(answer, b""):
        answer.close()
        raise requests.ConnectionError(f"{address} is a web page, expected a file")
    return answer
