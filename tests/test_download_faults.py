"""Downloads from a faulty server, and downloads that are killed, end with exactly the published files."""

import os
import random
import shutil
import signal
import subprocess
import sys

import pytest
import requests

from cxr_utils import config, download
from tests.conftest import REPOSITORY, write_release

# All schedules in CI, a fifth of them in `make test`.
FULL = bool(os.environ.get("CXR_TEST_ALL"))
SCHEDULES = 200 if FULL else 40
CHAINS = 10 if FULL else 2  # downloads that are killed 5 times each


def tree(folder):
    """Returns `{path: bytes}` of all files in `data/` of a folder, without locks and the files with the address."""
    files = {path.relative_to(folder): path.read_bytes() for path in (folder / "data").rglob("*") if path.is_file()}
    excepted = ("release.json", config.RELEASE_NOTE, "download.lock")
    return {path: data for path, data in files.items() if path.name not in excepted}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("schedules", [2, pytest.param(SCHEDULES, marks=pytest.mark.slow)])
def test_a_faulty_server_leads_to_exactly_the_published_files(
    tmp_path, monkeypatch, fault_server, short_timeouts, schedules
):
    write_release(tmp_path / "release", images=30, image_bytes=30_000)
    address = fault_server(tmp_path / "release")
    monkeypatch.setenv("CXR_HOME", str(tmp_path / "clean"))
    download.download_release(download.find_release(f"{address}/correct"), None)
    clean = tree(tmp_path / "clean")
    assert len(clean) == 30 + 3 + 3
    first = random.SystemRandom().randrange(10**6)
    for seed in range(first, first + schedules):
        home = tmp_path / f"home{seed}"
        monkeypatch.setenv("CXR_HOME", str(home))
        for number in range(1, 20):
            try:
                download.download_release(download.find_release(f"{address}/{seed}"), None)
                break
            except (ValueError, requests.RequestException) as error:
                print(f"seed {seed}, run {number}: {error}")
        assert tree(home) == clean, f"seed {seed}"


DOWNLOAD = (
    "import sys; from cxr_utils import download; download.download_release(download.find_release(sys.argv[1]), None)"
)


def killed(address, home, target, rng, sizes):
    """Starts a download and kills it at a random moment that matches `target`.

    Returns:
        bool, whether the download was killed before it was complete.
    """
    environment = {**os.environ, "CXR_HOME": str(home)}
    command = [sys.executable, "-c", DOWNLOAD, address]
    process = subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=subprocess.DEVNULL)

    def received():
        files = {path.name: path.stat().st_size for path in (home / "data").glob("fetching/images_*.gz")}
        return sum(files.values()), any(size < sizes[name] for name, size in files.items())

    def unpacked():
        return len(list((home / "data" / "images").glob("0*")))

    # A random point between the current state and the last byte or image.
    bytes_wanted = rng.randrange(sum(sizes.values()))
    images_wanted = rng.randrange(unpacked(), 25)
    while process.poll() is None:
        if target == "while bytes are received" and received()[0] < bytes_wanted * rng.random():
            continue
        if target == "while an image is unpacked" and unpacked() < images_wanted:
            continue
        if target == "at any time" and rng.random() < 0.999:
            continue
        # Stopped, so that it is killed while it does what is checked here. `send_signal` would collect a process that
        # has just ended, and the next line would wait for nobody.
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        writing = any((home / "data" / "images").glob(f".{process.pid}.part.*"))
        reached = {
            "while bytes are received": received()[1],
            "while an image is unpacked": writing,
            "at any time": True,
        }
        if reached[target]:
            process.kill()
            return process.wait() == -signal.SIGKILL
        process.send_signal(signal.SIGCONT)
    assert process.returncode == 0
    return False


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rows", [24, pytest.param(112_120, id="as many rows as NIH's table, other archives")])
def test_a_killed_download_continues_and_ends_with_the_same_files(tmp_path, monkeypatch, fault_server, rows):
    write_release(tmp_path / "release", images=24, image_bytes=1_000_000, rows=rows)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "release").glob("*.gz")}
    address = fault_server(tmp_path / "release", 10e6) + "/correct"
    monkeypatch.setenv("CXR_HOME", str(tmp_path / "clean"))
    download.download_release(download.find_release(address), None)
    clean = tree(tmp_path / "clean")
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    targets = ["while bytes are received", "while an image is unpacked"] * (2 * CHAINS) + ["at any time"] * CHAINS
    for chain in range(CHAINS):
        home = tmp_path / f"home{chain}"
        for target in targets[chain::CHAINS]:
            while not killed(address, home, target, rng, sizes):
                shutil.rmtree(home)
        monkeypatch.setenv("CXR_HOME", str(home))
        download.download_release(download.find_release(address), None)
        assert tree(home) == clean
