"""Fixtures: an empty `CXR_HOME` for every test, a small phantom, test servers, a browser, and NIH's real images.

Keras is not imported here: it takes 6 seconds, also in the process that only distributes the tests.
"""

import fcntl
import functools
import hashlib
import http.server
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import matplotlib
import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import sync_playwright

from cxr_utils import config, data, phantom
from cxr_utils.download import http_client
from cxr_utils.phantom.release import TABLE_HEADER

matplotlib.use("agg")
# The tests train for seconds, also on a machine with a GPU that their environment cannot use.
os.environ["CXR_ALLOW_CPU"] = "1"
REPOSITORY = Path(__file__).parents[1]


def pytest_collection_modifyitems(items):
    for item in items:
        if "real" in item.fixturenames:
            item.add_marker("real")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Returns an empty `CXR_HOME`; no other variable of the user's shell has an effect on the package."""
    for name in os.environ:
        if name.startswith("CXR_") and not name.startswith(("CXR_TEST_", "CXR_ALLOW_CPU")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CXR_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return config.home()


@pytest.fixture(scope="session")
def without_imagenet_weights(tmp_path_factory):
    """Environment variables that make ImageNet weights unavailable: an empty Keras folder and a dead proxy."""
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    return {"KERAS_HOME": str(tmp_path_factory.mktemp("keras")), **dict.fromkeys(proxies, "http://127.0.0.1:9")}


@pytest.fixture
def no_imagenet_weights(without_imagenet_weights, monkeypatch):
    """Makes ImageNet weights unavailable in this process."""
    # Keras reads KERAS_HOME when it is imported, at the latest here.
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", without_imagenet_weights["KERAS_HOME"])
    for name, value in without_imagenet_weights.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def small_phantom(tmp_path_factory, worker_id):
    """Folder of a phantom release of 130 patients. All workers share it: one draws it, the others wait for it."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder if worker_id == "master" else folder.parent
    with open(folder / "phantom.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return phantom.draw_release(folder / "phantom" / "release", patients=130)


@pytest.fixture(scope="session")
def real():
    """Folder of NIH's real images and tables."""
    folder = os.environ.get("CXR_TEST_RELEASES")
    if not folder:
        pytest.skip("needs real images: set CXR_TEST_RELEASES to the folder that contains release256/ and release1024/")
    return Path(folder).resolve()


@pytest.fixture(scope="module")
def browser():
    """Chromium. Without one the tests are skipped; where CXR_TEST_BROWSER is set, as in CI, they fail."""
    chromium = shutil.which("chromium")
    if not chromium:
        absent = pytest.fail if os.environ.get("CXR_TEST_BROWSER") else pytest.skip
        absent("needs a browser: no chromium on the path")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=["--disable-gpu"])


@pytest.fixture
def serve():
    """Returns a function that serves a folder on the loopback address and returns its URL."""
    servers = []

    def start(folder):
        handler = functools.partial(_Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def save_split(train, valid, label="Mass"):
    """Writes a split of images with these numbers, and of one test image; returns its training and validation set."""
    sets = []
    for numbers in (train, valid, [999_999]):
        names = [f"{number}.png" for number in numbers]
        frame = pd.DataFrame({"imgindex": names, "label": label, "patientID": 1, "path": names, "seen": False})
        sets.append(frame.assign(**{finding: [number % 2 for number in numbers] for finding in config.LABELS}))
    for frame in sets:
        frame.attrs = {"split": "stratified", "digest": data.split_digest(*sets)}
    data.save_split(pd.concat(sets), *sets)
    return sets[:2]


def draw_images(patients, followups, y_true, size):
    """Draws phantom images with the findings in `y_true`, `(n, 14)`.

    Returns:
        `(images, boxes)`: `(n, size, size)` uint8 and a list of boxes for each image.
    """

    def draw(patient, followup, shown):
        findings = [label for label, present in zip(config.LABELS, shown, strict=True) if present]
        image, boxes = phantom.draw_image(11, int(patient), int(followup), "MF"[patient % 2], 50, "PA", findings)
        return data.resize(image, size), boxes

    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        images, boxes = zip(*pool.map(draw, patients, followups, y_true), strict=True)
    return np.stack(images), boxes


def write_tables(folder, names, tests):
    """Writes label table and official lists of the images `names`; the last `tests` of them are in the test list."""
    rows = [f"{name},No Finding,0,{int(name[:8])},50,M,PA,2500,2048,0.168,0.168" for name in names]
    lists = {config.TRAIN_VAL_LIST: names[:-tests], config.TEST_LIST: names[-tests:]}
    for name, lines in {config.LABEL_TABLES[0]: [TABLE_HEADER, *rows], **lists}.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))


def write_release(folder, images, image_bytes, rows=None):
    """Writes a release of three archives in `folder`; its image files contain random bytes instead of pixels.

    Its tables have `rows` rows, by default one for each image. The images are evenly spread among them.
    """
    rng = np.random.default_rng(0)
    folder.mkdir()
    rows = [f"{number:08d}_000.png" for number in range(1, (rows or images) + 1)]
    names = rows[:: len(rows) // images][:images]
    for number, part in enumerate(np.array_split(names, 3), 1):
        with tarfile.open(folder / f"images_{number:03d}.tar.gz", "w:gz") as tar:
            for name in part:
                member = tarfile.TarInfo(f"images/{name}")
                member.size = int(rng.integers(1, image_bytes))
                tar.addfile(member, io.BytesIO(rng.bytes(member.size)))
    write_tables(folder, rows, 25_596 if len(rows) == 112_120 else len(rows) // 3)
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / "MD5SUMS").write_text("".join(sums))


@pytest.fixture
def fault_server():
    """Returns a function that serves a folder from a server process that misbehaves and returns its URL."""
    servers = []

    def start(folder, *rate):
        command = [sys.executable, "-m", "tests.fault_server", str(folder), *map(str, rate)]
        servers.append(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True))
        return f"http://127.0.0.1:{servers[-1].stdout.readline().strip()}"

    yield start
    for server in servers:
        server.kill()
        server.wait()


@pytest.fixture
def short_timeouts(monkeypatch):
    """Shortens the pauses and timeouts of downloads."""
    monkeypatch.setattr(http_client, "PAUSE_S", 0.001)
    monkeypatch.setattr(http_client, "SILENCE_S", 0.15)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_HEAD(self):
        # As Box, the host of NIH's images, does.
        self.send_error(404)


@pytest.fixture(scope="session")
def predictions():
    """Returns `(y_true, y_prob, patients)`: 400 images of 90 patients, tied scores, findings of any prevalence."""
    rng = np.random.default_rng(0)
    y_true = (rng.random((400, 14)) < np.linspace(0.05, 0.5, 14)).astype(float)
    y_prob = np.round(np.clip(0.3 * y_true + rng.random((400, 14)) * 0.7, 0, 1), 2)
    return y_true, y_prob, rng.integers(0, 90, 400)
