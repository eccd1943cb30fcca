"""HTTP requests that are repeated after temporary errors."""

import re
import threading
import time
from concurrent.futures import CancelledError

import requests
import urllib3

CONNECT_S = 10  # seconds to wait for a connection
SILENCE_S = 30  # seconds to wait for the next byte of a response
TRIES = 8  # failed attempts in a row, without any new data, before giving up
_LISTING_TRIES = 4  # the same while the files of a release are listed, so that a missing network is reported in seconds
PAUSE_S = 1  # seconds before the second attempt; doubled after each failure in a row, up to one minute
_RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}


class Stop(threading.Event):
    """Lets one thread stop the work of others, which call `check` often."""

    def check(self):
        """Raises `CancelledError` if `set` was called."""
        if self.is_set():
            raise CancelledError


class Busy(requests.RequestException):
    """The server cannot answer the request now.

    Args:
        response: the `requests.Response`.

    Attributes:
        retry_after: seconds to wait, from the response's `Retry-After` header; 0 if it has none.
    """

    def __init__(self, response):
        super().__init__(f"HTTP {response.status_code} {response.reason}", response=response)
        try:
            self.retry_after = urllib3.Retry().get_retry_after(response.raw) or 0
        except urllib3.exceptions.InvalidHeader:
            self.retry_after = 0


class Missing(requests.HTTPError, FileNotFoundError):
    """The server has no such file: 404, or 403, by which storage services such as S3 hide whether a file exists."""


# Errors after which another attempt may succeed.
TRANSIENT = (
    Busy,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)


def get(address, **headers):
    """Sends a GET request; proxies are taken from the environment.

    Args:
        address: string, the URL.
        **headers: request headers.

    Returns:
        A streamed `requests.Response` with status 200, 206 or, if `headers` contains `Range`, 416. Its `raw` gives the
        bytes as the server stores them.

    Raises:
        requests.RequestException: one of `TRANSIENT`; `Missing`; or `requests.HTTPError` if another attempt would fail
            too.
    """
    # HEAD requests are not used: Box, which hosts NIH's files, answers them with a wrong 404.
    headers = {"Accept-Encoding": "identity", **headers}
    response = requests.get(address, stream=True, timeout=(CONNECT_S, SILENCE_S), headers=headers)
    if response.status_code in (200, 206) or (response.status_code == 416 and "Range" in headers):
        return response
    response.close()
    if response.status_code in _RETRY_STATUS:
        raise Busy(response)
    error = Missing if response.status_code in (403, 404) else requests.HTTPError
    raise error(
        f"The server returned {response.status_code} {response.reason} for {address}. Open this address in a browser. "
        "Run this again later, or set CXR_RELEASE to another source.",
        response=response,
    )


def with_retries(attempt, notify=print, wait=time.sleep, progress=lambda: 0, tries=None):
    """Calls `attempt` until it succeeds, with increasing pauses between the attempts.

    A pause is at least as long as the server asks for.

    Args:
        attempt: function without arguments.
        notify: function that shows the user a line of text about each pause.
        wait: function that waits for a number of seconds.
        progress: function that returns a number. If a failed attempt has increased it, failures are counted from 1
            again.
        tries: int, number of failures in a row after which to give up; `TRIES` when `None`.

    Returns:
        What `attempt` returns.

    Raises:
        requests.ConnectionError: `attempt` failed `tries` times in a row.
        Exception: any exception of `attempt` that is not in `TRANSIENT`.
    """
    tries, failures, best = tries or TRIES, 0, progress()
    while True:
        try:
            return attempt()
        except TRANSIENT as error:
            failures = 1 if progress() > best else failures + 1
            best = max(best, progress())
            if failures == tries:
                raise requests.ConnectionError(
                    f"{tries} attempts in a row failed; the last error was: {_reason(error)}. Data received so far is "
                    "kept. Check the network, then run this again to continue."
                ) from error
            seconds = max(getattr(error, "retry_after", 0), min(60, PAUSE_S * 2 ** (failures - 1)))
            notify(f"{_reason(error)}: next attempt in {seconds:.0f} s")
        wait(seconds)


def _reason(error):
    """Returns the innermost reason of an error, without the exceptions of requests and urllib3 around it."""
    while error.args and isinstance(getattr(error.args[0], "reason", error.args[0]), Exception):
        error = getattr(error.args[0], "reason", error.args[0])
    return re.sub(r"^\w*Connection\w*\(.*?\): ", "", str(error))


def is_web_page(response, start=b""):
    """Returns whether a response is a web page, according to its content type or its first bytes.

    Box sends a web page in place of the file when it receives too many requests.

    Args:
        response: the `requests.Response`.
        start: bytes, the beginning of its content.
    """
    return (
        response.headers.get("Content-Type", "").startswith("text/html")
        or start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"
    )


def query(address, read):
    """Requests a file and reads something from the response.

    Args:
        address: string, the URL.
        read: function of the `requests.Response`; it is called again after a temporary error.

    Returns:
        What `read` returns.

    Raises:
        requests.RequestException: the server has no such file (`Missing`), rejected the request for another reason, or
            does not answer.
    """

    def attempt():
        with get(address) as response:
            if is_web_page(response):
                raise requests.ConnectionError(f"{address} is a web page, expected a file")
            return read(response)

    return with_retries(attempt, lambda text: print(f"{address}: {text}"), tries=_LISTING_TRIES)
