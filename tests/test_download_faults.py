"""Downloads from a server that misbehaves, and downloads that are killed: what is there in the end is what was published."""

import os
import random
import shutil
import signal
import subprocess
import sys

import requests

from cxr_utils import config, download, run
from tests.conftest import write_release

# All of them in CI, a fifth in `make test`.
FULL = bool(os.environ.get("CXR_TEST_ALL"))
SCHEDULES = 200 if FULL else 40
CHAINS = 10 if FULL else 2  # of kills, 5 each


def tree(folder):
    """Returns `{path: bytes}` of everything under a folder but the listing, which names the address."""
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {path: data for path, data in files.items() if path.name not in ("release.json", config.RELEASE_NOTE)}


def test_whatever_the_server_does_the_images_are_those_published(tmp_path, monkeypatch, fault_server, impatient, capfd):
    write_release(tmp_path / "release", images=30, image_bytes=30_000)
    address = fault_server(tmp_path / "release")
    monkeypatch.setenv("CXR_HOME", str(tmp_path / "clean"))
    download.download_release(download.find_release(f"{address}/sound"), None)
    clean = tree(tmp_path / "clean")
    assert len(clean) == 30 + 3 + 3
    first = random.SystemRandom().randrange(10**6)
    runs = []
    for seed in range(first, first + SCHEDULES):
        home = tmp_path / f"home{seed}"
        monkeypatch.setenv("CXR_HOME", str(home))
        for number in range(1, 20):
            try:
                download.download_release(download.find_release(f"{address}/{seed}"), None)
                break
            except (ValueError, requests.RequestException) as error:
                print(f"seed {seed}, run {number}: {error}")
        runs.append(number)
        assert tree(home) == clean, f"seed {seed}"
    with capfd.disabled():
        print(f"\n{SCHEDULES} fault schedules, seeds {first} to {first + SCHEDULES - 1}, in {sum(runs)} runs", end=" ")


_DOWNLOAD = "import sys; from cxr_utils import release, download; download.download_release(download.find_release(sys.argv[1]), None)"


def killed(address, home, target, rng, sizes):
    """Starts a download and kills it at a random moment at which it does `target`.

    Returns:
        bool, whether there was such a moment before the download was done.
    """
    environment = {**os.environ, "CXR_HOME": str(home)}
    command = [sys.executable, "-c", _DOWNLOAD, address]
    process = subprocess.Popen(command, env=environment, cwd=run.REPOSITORY, stdout=subprocess.DEVNULL)

    def arrived():
        files = {path.name: path.stat().st_size for path in (home / "data").glob("fetching/images_*.gz")}
        return sum(files.values()), any(size < sizes[name] for name, size in files.items())

    def unpacked():
        return len(list((home / "data" / "images").glob("0*")))

    # Somewhere between where it starts and the end of all bytes or images.
    bytes_wanted = rng.randrange(sum(sizes.values()))
    images_wanted = rng.randrange(unpacked(), 25)
    while process.poll() is None:
        if target == "bytes arrive" and arrived()[0] < bytes_wanted * rng.random():
            continue
        if target == "an image is unpacked" and unpacked() < images_wanted:
            continue
        if target == "any time" and rng.random() < 0.999:
            continue
        process.send_signal(signal.SIGSTOP)  # what it does now it does when it is killed
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        writing = any((home / "data" / "images").glob(f".{process.pid}.part.*"))
        if {"bytes arrive": arrived()[1], "an image is unpacked": writing, "any time": True}[target]:
            process.kill()
            return process.wait() == -signal.SIGKILL
        process.send_signal(signal.SIGCONT)
    assert process.returncode == 0
    return False


def test_a_download_that_is_killed_goes_on_to_the_same_end(tmp_path, monkeypatch, fault_server, capfd):
    write_release(tmp_path / "release", images=24, image_bytes=1_000_000)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "release").glob("*.gz")}
    address = fault_server(tmp_path / "release", 10e6) + "/sound"
    monkeypatch.setenv("CXR_HOME", str(tmp_path / "clean"))
    download.download_release(download.find_release(address), None)
    clean = tree(tmp_path / "clean")
    seed = random.SystemRandom().randrange(10**6)
    rng = random.Random(seed)
    targets = ["bytes arrive", "an image is unpacked"] * (2 * CHAINS) + ["any time"] * CHAINS
    kills = dict.fromkeys(targets, 0)
    for chain in range(CHAINS):
        home = tmp_path / f"home{chain}"
        for target in targets[chain::CHAINS]:
            while not killed(address, home, target, rng, sizes):
                shutil.rmtree(home)
            kills[target] += 1
        monkeypatch.setenv("CXR_HOME", str(home))
        download.download_release(download.find_release(address), None)
        assert tree(home) == clean, f"seed {seed}"
    with capfd.disabled():
        print(f"\nkilled, seed {seed}: {', '.join(f'{n} while {what}' for what, n in kills.items())}", end=" ")
