"""Time to download, verify and unpack a release, compared with `curl | tar xz` of the same archives.

    .venv/bin/python -m benchmarks.download

The script draws archives like NIH's (tar.gz files of 1024×1024 PNG images of about 400 kB) and serves them on loopback,
at 60 MB/s in total and without limit. Every run starts with an empty folder, and both methods must end with the same
images. The script ends with one line per goal and exits with 1 if a goal is not met.
"""

import argparse
import hashlib
import http.server
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks import goals
from benchmarks.memory import anonymous_mb
from cxr_utils import config, run
from cxr_utils.download import inventory, release, tables
from cxr_utils.phantom.release import TABLE_HEADER

ARCHIVES, IMAGES = 8, 200
RATE = 60e6  # bytes per second
_DOWNLOAD = (
    "import sys; from cxr_utils import download; download.download_release(download.find_release(sys.argv[1]), None)"
)


def write_release(folder):
    """Draws archives of noisy images and returns their total size in bytes."""
    rng = np.random.default_rng(0)
    # The compressed bytes of an image cannot be compressed further, so a few images under many names are as good as
    # many different images.
    drawn = []
    for _ in range(20):
        smooth = cv2.resize(rng.integers(0, 256, (32, 32), np.uint8), (1024, 1024), interpolation=cv2.INTER_CUBIC)
        noisy = cv2.add(smooth, rng.normal(0, 1.2, smooth.shape).astype(np.int8), dtype=cv2.CV_8U)
        drawn.append(cv2.imencode(".png", noisy)[1].tobytes())
    names = []
    for archive in range(1, ARCHIVES + 1):
        images = folder / "images" / "images"
        images.mkdir(parents=True)
        for number in range(IMAGES):
            names.append(f"{archive:04d}{number:04d}_000.png")
            (images / names[-1]).write_bytes(drawn[rng.integers(len(drawn))])
        subprocess.run(
            ["tar", "czf", str(folder / f"images_{archive:03d}.tar.gz"), "-C", str(images.parent), "images"], check=True
        )
        shutil.rmtree(images.parent)
    write_tables(folder, names, tests=IMAGES)
    archives = sorted(folder.glob("*.tar.gz"))
    (folder / "MD5SUMS").write_text(
        "".join(f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.name}\n" for path in archives)
    )
    return sum(path.stat().st_size for path in archives)


def write_tables(folder, names, tests):
    """Writes label table and official lists of the images `names`; the last `tests` of them are in the test list."""
    rows = [f"{name},No Finding,0,{int(name[:8])},50,M,PA,2500,2048,0.168,0.168" for name in names]
    lists = {config.TRAIN_VAL_LIST: names[:-tests], config.TEST_LIST: names[-tests:]}
    for name, lines in {config.LABEL_TABLES[0]: [TABLE_HEADER, *rows], **lists}.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files; all connections together send at most `rate` bytes per second."""

    rate, lock, free_at = None, threading.Lock(), 0.0

    def log_message(self, *args):
        pass

    def copyfile(self, source, out):
        if not self.rate:
            self.connection.sendfile(source)
            return
        while piece := source.read(1 << 16):
            with self.lock:
                now = time.monotonic()
                # If a sleep lasted too long, the bytes of up to 50 ms are sent at once to make up for it.
                Handler.free_at = max(now - 0.05, self.free_at) + len(piece) / self.rate
                pause = self.free_at - now
            time.sleep(max(0, pause))
            out.write(piece)


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, address):
        pass  # a client that read only the size


def serve(folder, rate):
    """Prints the port and serves until the process is killed."""
    Handler.rate = rate or None
    os.chdir(folder)
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def timed(command, environment):
    """Runs a command and returns its seconds, its CPU seconds and its peak anonymous memory in MB."""
    before, start, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, cwd=run.REPOSITORY, stdout=subprocess.DEVNULL
    )
    while process.poll() is None:
        peak = max(peak, anonymous_mb(process.pid))
        time.sleep(0.02)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(f"{command} failed")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, peak


def images(folder):
    return {path.name: hashlib.md5(path.read_bytes()).digest() for path in folder.rglob("*.png")}


def with_package(address, home):
    return timed([sys.executable, "-c", _DOWNLOAD, address], {"CXR_HOME": str(home)})


def with_curl(address, home):
    home.mkdir()
    commands = [
        f"curl -sf {address}/images_{number:03d}.tar.gz | tar xz -C {home}" for number in range(1, ARCHIVES + 1)
    ]
    return timed(["bash", "-o", "pipefail", "-ec", "\n".join(commands)], {})


def compare(folder, scratch, rate, rounds):
    """Returns the medians of `(seconds, CPU seconds, MB)` of the package and of curl.

    Exits if they end with different images.
    """
    command = [sys.executable, "-m", "benchmarks.download", "--serve", str(folder), str(rate)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=run.REPOSITORY)
    try:
        address = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        results, trees = {with_package: [], with_curl: []}, []
        for _ in range(rounds):
            for method in (with_curl, with_package):
                home = scratch / "home"
                results[method].append(method(address, home))
                trees.append(images(home))
                shutil.rmtree(home)
                os.sync()  # so that one method does not wait for the pending writes of the other
    finally:
        server.kill()
        server.wait()
    if any(tree != trees[0] for tree in trees) or len(trees[0]) != ARCHIVES * IMAGES:
        raise SystemExit("curl and the package ended with different images")
    return [
        tuple(statistics.median(values) for values in zip(*results[method], strict=True))
        for method in (with_package, with_curl)
    ]


def no_op_seconds(scratch):
    """Returns the seconds of a call when all of NIH's images are present already, and the number of images."""
    home = scratch / "done"
    os.environ["CXR_HOME"] = str(home)
    (home / "data" / "images").mkdir(parents=True)
    images = []
    for file, count in zip(release.NIH_ARCHIVES, tables.NIH_IMAGES, strict=True):
        names = [f"{number:08d}_000.png" for number in range(len(images), len(images) + count)]
        images += names
        for name in names:
            (home / "data" / "images" / name).touch()
        inventory.record(file.name, file.md5, names)
    write_tables(home / "data", images, tests=25_596)
    (home / "data" / config.RELEASE_NOTE).write_text(release.NIH_NAME)
    seconds, _, _ = timed([sys.executable, "-c", _DOWNLOAD, "nih"], {"CXR_HOME": str(home)})
    return seconds, len(images)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", nargs=2, metavar=("FOLDER", "RATE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], float(options.serve[1]))
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        folder = scratch / "release"
        folder.mkdir()
        size = write_release(folder)
        print(f"{ARCHIVES} archives, {size / 1e6:.0f} MB, {ARCHIVES * IMAGES:,} images")
        _, _, interpreter = timed([sys.executable, "-c", "import time; time.sleep(0.5)"], {})
        lines = []
        for rate, rounds, goal in ((RATE, 3, 1.15), (0, 3, 2.0)):
            package, curl = compare(folder, scratch, rate, rounds)
            what = f"at {rate / 1e6:.0f} MB/s" if rate else "without limit"
            for name, (seconds, cpu, _) in (("cxr_utils", package), ("curl | tar xz", curl)):
                print(f"{what:14} {name:14} {seconds:6.2f} s  CPU {cpu:6.2f} s  {size / seconds / 1e6:6.0f} MB/s")
            lines.append(goals.at_most(f"wall time {what}, curl | tar xz = 1", package[0] / curl[0], goal))
            lines.append(
                goals.at_most(f"anonymous memory above the interpreter's {what}, MB", package[2] - interpreter, 150)
            )
        seconds, count = no_op_seconds(scratch)
        lines.append(goals.at_most(f"repeated call after a complete download, {count:,} images, s", seconds, 5))
    return goals.report(lines)


if __name__ == "__main__":
    sys.exit(main())
