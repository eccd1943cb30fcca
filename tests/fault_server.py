"""A server of files that misbehaves on purpose: `python -m tests.fault_server FOLDER [BYTES_PER_SECOND]`.

It serves `FOLDER/name` at `/<seed>/name`. The seed chooses, for every file, which faults its first answers have and whether the
server knows ETags; after these faults, and for the seed `sound`, the file is served well. The seeds `stall`, `busy`, `no-range`, … have that fault
at every answer with an archive. `/asked` tells name, `Range` and `If-Range` of all requests. Prints its port.
"""

import hashlib
import http.server
import json
import random
import socket
import struct
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path

_ALWAYS = ["busy", "busy", "reset", "html", "stall"]
_WITHOUT_MD5 = [*_ALWAYS, "cut", "cut", "drip", "no-range"]
_WITH_MD5 = [*_WITHOUT_MD5, "cut", "changed", "corrupt", "short", "long", "no-length"]


def faults(seed, name, kinds):
    """Returns the faults of a file's first answers."""
    rng = random.Random(f"{seed}/{name}")
    return rng.choices(kinds, k=rng.choice([0, 0, 1, 1, 2, 4]))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked, log, lock = {}, [], threading.Lock()
    folder, rate = None, None

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.send_error(404)  # as Box does

    def do_GET(self):
        *_, seed, name = self.path.split("/")  # asked as a proxy, it gets the whole address
        if name == "asked":
            self.body(json.dumps(self.log).encode())
            return
        self.log.append([name, self.headers.get("Range"), self.headers.get("If-Range")])
        path = self.folder / name
        there = path.is_file()
        kinds = _WITH_MD5 if there and name != "MD5SUMS" else _WITHOUT_MD5 if there else _ALWAYS
        todo = faults(seed, name, kinds) if seed.isdigit() else []
        with self.lock:
            number = self.asked[self.path] = self.asked.get(self.path, -1) + 1
        rng = random.Random(f"{self.path}/{number}")
        fault = todo[number] if number < len(todo) else None
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
        if not there:
            if fault == "stall":
                self.rfile.read(1)  # until the client gives up
            self.head(404, 0)
            return
        self.file(path.read_bytes(), seed, fault, rng)

    def file(self, data, seed, fault, rng):
        if fault == "changed":
            data = bytes(reversed(data))
        version = hashlib.md5(data).hexdigest()
        known = {
            "E": {"ETag": f'"{version}"'},
            "M": {"Last_Modified": formatdate(int(version[:7], 16), usegmt=True)},
            "-": {},
        }
        headers = known[random.Random(seed).choice("EM-")]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        same = self.headers.get("If-Range") in (None, *headers.values())
        if fault == "corrupt":
            at = rng.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        if fault == "short":
            data = data[: rng.randrange(len(data))]
        if fault == "long":
            data += b"more"
        status, first = 200, 0
        if start and same and fault != "no-range":
            if start >= len(data):
                self.head(416, 0, Content_Range=f"bytes */{len(data)}")
                return
            status, first = 206, start
            headers = {**headers, "Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        part = data[first:]
        many = rng.randrange(len(part)) if fault in ("cut", "changed", "stall", "drip") else len(part)
        length = None if fault == "no-length" else len(part)
        self.head(status, length, **headers)
        if fault == "drip":
            many = len(part)
        self.paced(part[:many], 1 if fault == "drip" else 1 << 16)
        if fault in ("stall", "drip"):
            self.rfile.read(1)
        self.close_connection |= many < len(part) or fault == "no-length"

    def body(self, data, **headers):
        self.head(200, len(data), **headers)
        self.wfile.write(data)

    def head(self, status, length, **headers):
        self.send_response(status)
        for name, text in {**headers, "Content_Length": length}.items():
            if text is not None:
                self.send_header(name.replace("_", "-"), str(text))
        self.end_headers()

    def paced(self, data, piece):
        for at in range(0, len(data), piece):
            self.wfile.write(data[at : at + piece])
            if piece == 1:
                time.sleep(0.02)
            elif self.rate:
                time.sleep(len(data[at : at + piece]) / self.rate)


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, address):
        pass  # clients that are killed


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    Handler.rate = float(sys.argv[2]) if len(sys.argv) > 2 else None
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
