"""Decoding of images and the array of images on disk, compared with Pillow."""

import os
import re
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_utils import data
from cxr_utils.data import pixels
from cxr_utils.download import inventory
from tests.helpers import seeded


@pytest.fixture
def image(rng):
    # Smooth, like a radiograph.
    small = Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8))
    return np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC))


@pytest.fixture
def rng():
    return seeded(1)


def _frame(home, images):
    folder = home / "data" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        Image.fromarray(image).save(folder / name)
    return pd.DataFrame({"imgindex": list(images), "path": [f"data/images/{name}" for name in images]})


def test_gray_rgb_and_rgba_images_give_the_same_array(tmp_path, image):
    Image.fromarray(image).save(tmp_path / "gray.png")
    Image.fromarray(np.dstack([image] * 3 + [np.full_like(image, 255)])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([image] * 3)).save(tmp_path / "rgb.png")
    for name in ("gray", "rgba", "rgb"):
        assert np.array_equal(data.read_image(tmp_path / f"{name}.png"), image)


@pytest.mark.parametrize("size", [128, 64, 100])
def test_images_are_resized_by_area_averaging(image, size):
    expected = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BOX), int)
    # OpenCV weights source pixels at the edge of a target pixel, Pillow's box filter does not. The results differ if
    # 256 is not a multiple of the size.
    assert np.abs(data.resize(image, size).astype(int) - expected).max() <= (1 if 256 % size == 0 else 12)


def _damage(kind, data):
    if kind == "16-bit":
        return data
    if kind == "checksum":
        at = data.index(b"IDAT") + 20
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    if kind == "content":
        # A correct checksum of invalid zlib data.
        body = b"IDAT" + b"\x00" * 50
        return (
            data[: data.index(b"IDAT") - 4]
            + struct.pack(">I", 50)
            + body
            + struct.pack(">I", zlib.crc32(body))
            + data[-12:]
        )
    return {"truncated": data[: len(data) // 2], "cut": data[:-12], "empty": b"", "text": b"<html>"}[kind]


DEFECTS = {
    "16-bit": "has 16 bits per channel",
    "checksum": r"is damaged \(wrong checksum in its IDAT",
    "content": "cannot be decoded",
    "truncated": "is truncated after",
    "cut": "is truncated after",
    "empty": "is empty",
    "text": "is not a PNG file",
}


@pytest.mark.parametrize("kind", DEFECTS)
def test_the_error_of_a_damaged_image_names_the_file_and_the_defect(tmp_path, image, kind):
    path = tmp_path / "00000001_000.png"
    Image.fromarray(image.astype(np.uint16) * 257 if kind == "16-bit" else image).save(path)
    path.write_bytes(_damage(kind, path.read_bytes()))
    with pytest.raises(ValueError, match=rf"00000001_000\.png ({DEFECTS[kind]}).*expected an 8-bit"):
        data.read_image(path)


def test_the_error_of_a_missing_image_names_the_notebook(home):
    with pytest.raises(FileNotFoundError, match=r"00000001_000\.png is listed but not in data/images/: run 000"):
        data.read_image(home / "data" / "images" / "00000001_000.png")


def test_images_are_in_frame_order_and_are_decoded_once(home, rng, monkeypatch):
    images = {f"{n:08d}_000.png": rng.integers(0, 256, (64, 64), dtype=np.uint8) for n in range(30)}
    frame = _frame(home, images)
    shuffled = frame.sample(frac=1, random_state=0)
    loaded = data.load_images(frame.iloc[:20], 32)
    assert loaded.shape == (20, 32, 32)
    loaded = data.load_images(shuffled, 32)
    monkeypatch.setattr(pixels, "read_image", lambda path: pytest.fail(f"{path} was decoded again"))
    again = data.load_images(shuffled, 32)
    for number, name in enumerate(shuffled.imgindex):
        expected = np.asarray(Image.fromarray(images[name]).resize((32, 32), Image.Resampling.BOX), int)
        assert np.abs(loaded[number].astype(int) - expected).max() <= 1
        assert np.array_equal(loaded[number], again[number])
    assert np.array_equal(again[[3, 1]], np.stack([again[3], again[1]]))


def test_a_changed_image_is_decoded_again_and_each_size_has_an_array(home, rng):
    images = {name: rng.integers(0, 256, (64, 64), dtype=np.uint8) for name in ("a.png", "b.png")}
    frame = _frame(home, images)
    before = data.load_images(frame, 32)[:]
    assert data.load_images(frame, 16).shape == (2, 16, 16)
    _frame(home, {"a.png": np.full((64, 64), 7, np.uint8)})
    after = data.load_images(frame, 32)
    assert (after[0] == 7).all()
    assert np.array_equal(after[1], before[1])


def test_images_are_decoded_again_if_the_array_is_deleted_or_a_file_replaced(home, rng):
    frame = _frame(home, {f"{n}.png": np.full((32, 32), 10 * n, np.uint8) for n in range(1, 5)})
    data.load_images(frame[:3], 16)
    (home / "data" / "pixels_16.u8").unlink()
    assert data.load_images(frame, 16)[:].max(axis=(1, 2)).tolist() == [10, 20, 30, 40]
    path = home / frame.path[0]
    before = path.read_bytes(), path.stat().st_mtime_ns
    Image.fromarray(np.full((32, 32), 200, np.uint8)).save(path)
    assert data.load_images(frame, 16)[0].max() == 200
    path.write_bytes(before[0])
    os.utime(path, ns=(before[1], before[1]))
    assert data.load_images(frame, 16)[:].max(axis=(1, 2)).tolist() == [10, 20, 30, 40]


def test_no_more_images_are_decoded_at_once_than_the_process_has_cpus(home, monkeypatch):
    frame = _frame(home, {f"{n}.png": np.full((16, 16), n, np.uint8) for n in range(12)})
    read, running, most = data.read_image, [], []

    def slow(path):
        running.append(path)
        time.sleep(0.02)
        most.append(len(running))
        running.remove(path)
        return read(path)

    monkeypatch.setattr(pixels, "read_image", slow)
    allowed = os.sched_getaffinity(0)
    # A container can have fewer CPUs than its host.
    os.sched_setaffinity(0, {min(allowed)})
    try:
        data.load_images(frame, 16)
    finally:
        os.sched_setaffinity(0, allowed)
    assert max(most) == 1


LOAD = """
import sys, pandas as pd
from cxr_utils import data
images = data.load_images(pd.read_pickle(sys.argv[1]), 16)
expected = [int(name[:8]) % 251 for name in pd.read_pickle(sys.argv[1]).imgindex]
assert [int(image[0, 0]) for image in images[:]] == expected
"""


@pytest.mark.slow
def test_processes_that_decode_at_the_same_time_get_their_own_images(home, tmp_path):
    frame = _frame(home, {f"{n:08d}.png": np.full((32, 32), n % 251, np.uint8) for n in range(1500)})
    commands = []
    for number in range(3):
        frame.sample(1000, random_state=number).to_pickle(tmp_path / f"{number}.pkl")
        commands.append([sys.executable, "-c", LOAD, str(tmp_path / f"{number}.pkl")])
    started = [subprocess.Popen(command, cwd=Path(__file__).parents[1]) for command in commands]
    assert [process.wait() for process in started] == [0, 0, 0]


def test_unreadable_images_are_listed_and_the_others_are_kept(home, rng):
    images = {f"{n:08d}_000.png": np.full((32, 32), n, np.uint8) for n in range(6)}
    frame = _frame(home, images)
    inventory.record("images_007.tar.gz", None, list(images)[:3])
    bad = home / frame.path[2]
    good = bad.read_bytes()
    bad.write_bytes(b"")
    message = r"1 of 6 images cannot be read\. 00000002_000\.png is empty.*unreadable_images\.csv"
    with pytest.raises(ValueError, match=message):
        data.load_images(frame, 16)
    listed = pd.read_csv(home / "data" / "unreadable_images.csv").iloc[0]
    assert listed.imgindex == "00000002_000.png" and listed.archive == "images_007.tar.gz"
    assert "is empty" in listed.defect
    # A killed build leaves bytes after the last indexed image.
    with open(home / "data" / "pixels_16.u8", "ab") as stream:
        stream.write(b"x" * 100)
    bad.write_bytes(good)
    assert [image.max() for image in data.load_images(frame, 16)[:]] == list(range(6))
    assert not (home / "data" / "unreadable_images.csv").exists()


def test_unreadable_images_are_left_out_on_request(home, capsys):
    frame = _frame(home, {f"{n:08d}_000.png": np.full((32, 32), n, np.uint8) for n in range(6)})
    for part, bad in ((frame[:3], 1), (frame[3:], 4)):
        (home / frame.path[bad]).write_bytes(b"text")
        with pytest.raises(ValueError, match="LEAVE_OUT_UNREADABLE"):
            data.load_images(part, 16)
    # The unreadable image of the first part is still listed after that of the second part was added.
    kept = data.keep_present(frame, leave_out_unreadable=True)
    assert kept.imgindex.tolist() == [frame.imgindex[n] for n in (0, 2, 3, 5)]
    assert re.findall(r"\d{8}_000\.png", capsys.readouterr().out) == ["00000001_000.png", "00000004_000.png"]
    assert [image.max() for image in data.load_images(kept, 16)[:]] == [0, 2, 3, 5]
    assert len(data.keep_present(frame)) == 6


def test_an_interrupted_build_keeps_its_images(home, rng, monkeypatch):
    monkeypatch.setattr(pixels, "BLOCK", 4)
    frame = _frame(home, {f"{n:08d}_000.png": np.full((32, 32), n, np.uint8) for n in range(10)})
    read, decoded = data.read_image, []

    def interrupted(path):
        if path.name == frame.imgindex[9]:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(pixels, "read_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        data.load_images(frame, 16)
    monkeypatch.setattr(pixels, "read_image", lambda path: decoded.append(path.name) or read(path))
    assert [image.max() for image in data.load_images(frame, 16)[:]] == list(range(10))
    assert sorted(decoded) == frame.imgindex[9:].tolist()
