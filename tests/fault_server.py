"""A server that serves files with deliberate faults: `python -m tests.fault_server FOLDER [BYTES_PER_SECOND]`.

It prints its port and serves `FOLDER/name` at `/<seed>/name`:

- A number as seed selects the faults of the first responses for each file; after them, the file is served correctly.
- The seed `correct` serves all files without faults.
- The name of a fault (`stall`, `busy`, `no-range`, ...) as seed gives every response with an archive this fault.
- The seed `forbidden` answers requests for missing files with 403, as S3 does, and serves the others.
- The seed `locked` answers all requests with 403.

`/<anything>/requests` returns the file name and `Range` of all requests as JSON.
"""

import http.server
import json
import random
import socket
import struct
import sys
import threading
import time
from pathlib import Path

# Faults of any response; of files without a published MD5; of files with one.
_ALWAYS = ["busy", "busy", "reset", "html", "stall"]
_WITHOUT_MD5 = [*_ALWAYS, "cut", "cut", "drip", "no-range", "other-range"]
_WITH_MD5 = [*_WITHOUT_MD5, "cut", "changed", "corrupt", "short", "long", "no-length"]


def faults(seed, name, kinds):
    """Returns the faults of the first responses for a file."""
    rng = random.Random(f"{seed}/{name}")
    return rng.choices(kinds, k=rng.choice([0, 0, 1, 1, 2, 4]))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    count, log, lock = {}, [], threading.Lock()  # index of the latest request per path, all requests
    folder, rate = None, None

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.send_error(404)  # as Box does

    def do_GET(self):
        *_, seed, name = self.path.split("/")  # a proxy receives the whole URL
        if name == "requests":
            self.body(json.dumps(self.log).encode())
            return
        self.log.append([name, self.headers.get("Range")])
        if seed == "locked":
            self.head(403, 0)
            return
        path = self.folder / name
        exists = path.is_file()
        kinds = _WITH_MD5 if exists and name != "MD5SUMS" else _WITHOUT_MD5 if exists else _ALWAYS
        planned = faults(seed, name, kinds) if seed.isdigit() else []
        with self.lock:
            number = self.count[self.path] = self.count.get(self.path, -1) + 1
        rng = random.Random(f"{self.path}/{number}")
        fault = planned[number] if number < len(planned) else None
        if seed in _WITH_MD5 and name.endswith(".gz"):
            fault = seed
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        if fault == "busy":
            self.head(
                rng.choice([429, 500, 502, 503, 504]),
                0,
                Retry_After=rng.choice([None, "0", "Wed, 21 Oct 2015 07:28:00 GMT"]),
            )
            return
        if fault == "html":
            self.body(b"<!DOCTYPE html><html>Too many requests", Content_Type="text/html")
            return
        if not exists:
            if fault == "stall":
                self.rfile.read(1)  # blocks until the client closes the connection
            self.head(403 if seed == "forbidden" else 404, 0)
            return
        self.file(path.read_bytes(), fault, rng)

    def file(self, data, fault, rng):
        if fault == "changed":
            data = bytes(reversed(data))
        headers = {}
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if fault == "corrupt":
            index = rng.randrange(len(data))
            data = data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]
        if fault == "short":
            data = data[: rng.randrange(len(data))]
        if fault == "long":
            data += b"more"
        status, first = 200, 0
        if start and fault != "no-range":
            if start >= len(data):
                self.head(416, 0, Content_Range=f"bytes */{len(data)}")
                return
            status, first = 206, start
            if fault == "other-range":
                start = first = 0
            headers = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        part = data[first:]
        sent = rng.randrange(len(part)) if fault in ("cut", "changed", "stall", "drip") else len(part)
        length = None if fault == "no-length" else len(part)
        self.head(status, length, **headers)
        if fault == "drip":
            sent = len(part)
        self.paced(part[:sent], 1 if fault == "drip" else 1 << 16)
        if fault in ("stall", "drip"):
            self.rfile.read(1)
        self.close_connection |= sent < len(part) or fault == "no-length"

    def body(self, data, **headers):
        self.head(200, len(data), **headers)
        self.wfile.write(data)

    def head(self, status, length, **headers):
        self.send_response(status)
        for name, text in {**headers, "Content_Length": length}.items():
            if text is not None:
                self.send_header(name.replace("_", "-"), str(text))
        self.end_headers()

    def paced(self, data, size):
        for start in range(0, len(data), size):
            self.wfile.write(data[start : start + size])
            if size == 1:
                time.sleep(0.02)
            elif self.rate:
                time.sleep(len(data[start : start + size]) / self.rate)


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, address):
        pass  # a client was killed


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    Handler.rate = float(sys.argv[2]) if len(sys.argv) > 2 else None
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
