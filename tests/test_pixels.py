"""Images: decoding and the array on disk, against Pillow."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_utils import data
from cxr_utils.data import pixels
from cxr_utils.download import inventory


@pytest.fixture
def image(rng):
    # Smooth, as images are.
    small = Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8))
    return np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC))


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def _frame(home, images):
    folder = home / "data" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        Image.fromarray(image).save(folder / name)
    return pd.DataFrame({"imgindex": list(images), "path": [f"data/images/{name}" for name in images]})


def test_grey_and_rgba_images_are_read_alike(tmp_path, image):
    Image.fromarray(image).save(tmp_path / "gray.png")
    Image.fromarray(np.dstack([image] * 3 + [np.full_like(image, 255)])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([image] * 3)).save(tmp_path / "rgb.png")
    for name in ("gray", "rgba", "rgb"):
        assert np.array_equal(data.read_image(tmp_path / f"{name}.png"), image)


@pytest.mark.parametrize("size", [128, 64, 100])
def test_images_shrink_by_area_averaging(image, size):
    expected = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BOX), int)
    # OpenCV weighs pixels cut by a cell's edge, Pillow's box does not: they differ where 256 is no multiple of the size.
    assert np.abs(data.resize(image, size).astype(int) - expected).max() <= (1 if 256 % size == 0 else 12)


def _break(kind, data):
    if kind == "16-bit":
        return data
    if kind == "checksum":
        at = data.index(b"IDAT") + 20
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    if kind == "content":
        # A right checksum over broken zlib data.
        body = b"IDAT" + b"\x00" * 50
        return (
            data[: data.index(b"IDAT") - 4]
            + struct.pack(">I", 50)
            + body
            + struct.pack(">I", zlib.crc32(body))
            + data[-12:]
        )
    return {"truncated": data[: len(data) // 2], "cut": data[:-12], "empty": b"", "text": b"<html>"}[kind]


FAULTS = {
    "16-bit": "has 16 bits per channel", "checksum": "is damaged .wrong checksum in its IDAT", "content": "can not be decoded",
    "truncated": "is truncated after", "cut": "is truncated after", "empty": "is empty", "text": "is no PNG",
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_a_bad_image_is_named_with_its_fault(tmp_path, image, kind):
    path = tmp_path / "00000001_000.png"
    Image.fromarray(image.astype(np.uint16) * 257 if kind == "16-bit" else image).save(path)
    path.write_bytes(_break(kind, path.read_bytes()))
    with pytest.raises(ValueError, match=f"00000001_000.png {FAULTS[kind]}.*expected an 8-bit"):
        data.read_image(path)


def test_an_absent_image_names_the_notebook(tmp_path):
    with pytest.raises(FileNotFoundError, match="00000001_000.png is listed but not in data/images/: run 000"):
        data.read_image(tmp_path / "00000001_000.png")


def test_images_come_in_frame_order_and_are_decoded_once(home, rng, monkeypatch):
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


def test_a_changed_image_is_decoded_anew_and_sizes_do_not_mix(home, rng):
    images = {name: rng.integers(0, 256, (64, 64), dtype=np.uint8) for name in ("a.png", "b.png")}
    frame = _frame(home, images)
    before = data.load_images(frame, 32)[:]
    assert data.load_images(frame, 16).shape == (2, 16, 16)
    _frame(home, {"a.png": np.full((64, 64), 7, np.uint8)})
    after = data.load_images(frame, 32)
    assert (after[0] == 7).all()
    assert np.array_equal(after[1], before[1])


def test_images_of_a_lost_array_or_an_older_file_are_not_mistaken(home, rng):
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


LOAD = """
import sys, pandas as pd
images = data.load_images(pd.read_pickle(sys.argv[1]), 16)
assert [int(image[0, 0]) for image in images[:]] == [int(name[:8]) % 251 for name in pd.read_pickle(sys.argv[1]).imgindex]
"""


def test_notebooks_that_decode_at_once_get_their_user_images(home, tmp_path):
    frame = _frame(home, {f"{n:08d}.png": np.full((32, 32), n % 251, np.uint8) for n in range(1500)})
    commands = []
    for number in range(3):
        frame.sample(1000, random_state=number).to_pickle(tmp_path / f"{number}.pkl")
        commands.append([sys.executable, "-c", LOAD, str(tmp_path / f"{number}.pkl")])
    started = [subprocess.Popen(command, cwd=Path(__file__).parents[1]) for command in commands]
    assert [process.wait() for process in started] == [0, 0, 0]


def test_an_interrupted_build_goes_on_and_bad_images_lose_nothing(home, rng):
    images = {f"{n:08d}_000.png": np.full((32, 32), n, np.uint8) for n in range(6)}
    frame = _frame(home, images)
    inventory.record("images_007.tar.gz", None, list(images)[:3])
    bad = home / frame.path[2]
    good = bad.read_bytes()
    bad.write_bytes(b"")
    with pytest.raises(
        ValueError, match="1 of 6 images can't be read. 00000002_000.png is empty.*unreadable_images.csv"
    ):
        data.load_images(frame, 16)
    listed = pd.read_csv(home / "data" / "unreadable_images.csv").iloc[0]
    assert (
        listed.imgindex == "00000002_000.png" and listed.archive == "images_007.tar.gz" and "is empty" in listed.fault
    )
    # What a killed build leaves: bytes behind the last index.
    with open(home / "data" / "pixels_16.u8", "ab") as stream:
        stream.write(b"x" * 100)
    bad.write_bytes(good)
    assert [image.max() for image in data.load_images(frame, 16)[:]] == list(range(6))
    assert not (home / "data" / "unreadable_images.csv").exists()


def test_images_that_can_not_be_read_are_left_out_when_asked(home, capsys):
    frame = _frame(home, {f"{n:08d}_000.png": np.full((32, 32), n, np.uint8) for n in range(6)})
    for part, bad in ((frame[:3], 1), (frame[3:], 4)):
        (home / frame.path[bad]).write_bytes(b"text")
        with pytest.raises(ValueError, match="LEAVE_OUT_UNREADABLE"):
            data.load_images(part, 16)
    # The list of the second part has not replaced that of the first.
    kept = data.keep_present(frame, leave_out_unreadable=True)
    assert kept.imgindex.tolist() == [frame.imgindex[n] for n in (0, 2, 3, 5)]
    assert "2 images that can't be read are left out: 00000001_000.png, 00000004_000.png" in capsys.readouterr().out
    assert [image.max() for image in data.load_images(kept, 16)[:]] == [0, 2, 3, 5]
    assert len(data.keep_present(frame)) == 6


def test_a_build_that_is_killed_keeps_its_whole_blocks(home, rng, monkeypatch):
    monkeypatch.setattr(pixels, "_BLOCK", 4)
    frame = _frame(home, {f"{n:08d}_000.png": np.full((32, 32), n, np.uint8) for n in range(10)})
    read, asked = data.read_image, []

    def killing(path):
        if path.name == frame.imgindex[9]:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(pixels, "read_image", killing)
    with pytest.raises(KeyboardInterrupt):
        data.load_images(frame, 16)
    monkeypatch.setattr(pixels, "read_image", lambda path: asked.append(path.name) or read(path))
    assert [image.max() for image in data.load_images(frame, 16)[:]] == list(range(10))
    assert sorted(asked) == frame.imgindex[8:].tolist()
