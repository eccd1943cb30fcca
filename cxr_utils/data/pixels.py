"""Decodes PNG files once into one 8-bit array on disk per image size, and reads images from it.

`data/pixels_128.u8` contains the images one after the other. `data/pixels_128.csv`, the index, lists which image is in
which row. Images are only appended, and the index is replaced after each block of images. An interrupted build
therefore continues after the last indexed image. A lock prevents two notebooks from appending at the same time.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import joblib
import numpy as np
import pandas as pd

from cxr_utils import config, download
from cxr_utils._files import atomic, locked
from cxr_utils._progress import progress

BLOCK = 2048  # images per update of the index; at most this many are decoded again after an interruption
_REQUESTS, _PART = 32, 500  # threads that ask about files, and files for each of them
AHEAD = 256  # images decoded ahead of writing; limits memory
_COLUMNS = ["imgindex", "bytes", "modified_ns"]
# Largest difference between red, green and blue, of 255, that a grayscale image may have: JPEG rounding stays below it.
_COLORED = 8


def read_image(path):
    """Decodes a PNG file as an 8-bit grayscale image.

    Args:
        path: of an 8-bit PNG, grayscale or RGB, with or without alpha. About 1 % of NIH's images are RGBA, with equal
            red, green and blue.

    Returns:
        `(height, width)` uint8 array.

    Raises:
        FileNotFoundError: the file does not exist.
        DriveError: the image is linked, and its drive is gone.
        ValueError: the file is empty, truncated, damaged, not a PNG, not of 8 bits per channel, or in color.
    """
    path = Path(path)
    with download.readable(path):
        if not (path.is_file() or path.is_symlink()):
            raise FileNotFoundError(f"{path.name} is listed but not in data/images/: run 000-data_download, then 100.")
        data = path.read_bytes()
    return decode(data, path.name, download.png_defect(data), "an 8-bit grayscale or RGB(A) PNG: download it again")


def decode(data, name, defect, expected):
    """Returns the gray values of a picture.

    Args:
        data: bytes of the file.
        name: str, of the file, for the message.
        defect: str, what is wrong with the file, or `None`.
        expected: str, the expected file, for the message.

    Returns:
        `(height, width)` uint8 or uint16.

    Raises:
        ValueError: the file has a defect, cannot be decoded, or is in color.
    """
    try:
        flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
        image = None if defect else cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(f"{name} {defect or 'cannot be decoded'}: expected {expected}.")
    if image.ndim == 2:
        return image
    # The 99th percentile, so that an image with a small colored mark is accepted.
    spread = np.percentile(np.ptp(image.astype(np.int32), axis=2), 99) * 255 / np.iinfo(image.dtype).max
    if spread > _COLORED:
        raise ValueError(f"{name} is in color: expected a grayscale image exported from the X-ray system, not a photo.")
    return image.max(axis=2)


def resize(image, image_size):
    """Resizes an image to `(image_size, image_size)` by area averaging.

    Args:
        image: `(height, width)` uint8. An image that is smaller in height or width is interpolated bilinearly instead.
        image_size: int, pixels.

    Returns:
        `(image_size, image_size)` uint8 array.
    """
    shrinks = image.shape[0] >= image_size and image.shape[1] >= image_size
    return cv2.resize(image, (image_size, image_size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def load_images(frame, image_size):
    """Opens the images of a frame as one array on disk; images that are not in the array yet are decoded first.

    Args:
        frame: with `imgindex`, the names of images in `data/images/`.
        image_size: int, width and height in pixels.

    Returns:
        `Images` of length `len(frame)`, in the order of `frame`.

    Raises:
        ValueError: some images are unreadable. The message names the first; `data/unreadable_images.csv` lists all,
            with reason and archive. The decoded images are kept. Unreadable images are never replaced by other pixels.
        DriveError: images are linked, and their drive is gone. The decoded images are kept.
    """
    cache = config.data_folder() / f"pixels_{image_size}.u8"
    cache.parent.mkdir(parents=True, exist_ok=True)
    paths = [download.image_folder() / name for name in frame.imgindex]
    # An image is decoded again if its size or its modification time has changed. On a network drive each answer takes
    # milliseconds, so many are asked for at once.
    with ThreadPoolExecutor(_REQUESTS) as pool:
        parts = pool.map(
            lambda start: [_stat(path) for path in paths[start : start + _PART]], range(0, len(paths), _PART)
        )
        files = [(name, *status) for name, status in zip(frame.imgindex, chain(*parts), strict=True)]
    while True:
        with locked(cache.stem, "the decoding of images", wait=True, folder=cache.parent):
            index = _read_index(cache, image_size)
            missing = set(files).difference(index)
            if missing and config.rank() == 0:
                todo = {file: path for file, path in zip(files, paths, strict=True) if file in missing}
                _append(todo, index, cache, image_size)
        if not missing or config.rank() == 0:
            break
        time.sleep(1)  # with several hosts, rank 0 decodes and the others wait
    pixels = np.memmap(cache, np.uint8, "r", shape=(len(index), image_size, image_size))
    rows = {file: row for row, file in enumerate(index)}
    # A plain array, as indexing a np.memmap object takes longer than reading an image.
    return Images(np.asarray(pixels), np.array([rows[file] for file in files], int), list(frame.imgindex))


def _stat(path):
    with download.readable(path):
        status = path.stat() if path.is_file() else None
    return (status.st_size, status.st_mtime_ns) if status else (-1, -1)


def _read_index(cache, image_size):
    """Returns a list of `(name, bytes, modified_ns)` of the images in the array, without those cut off at its end."""
    index = cache.with_suffix(".csv")
    if not (index.is_file() and cache.is_file()):
        return []
    complete = cache.stat().st_size // image_size**2
    return list(pd.read_csv(index).iloc[:complete].itertuples(index=False, name=None))


def _append(todo, index, cache, image_size):
    """Decodes the images of `todo`, a dict from entry of the index to path, and appends them to array and `index`."""
    defects = {}
    bar = progress(total=len(todo), desc=f"images to {image_size}×{image_size}", unit=" images")
    with open(cache, "ab") as stream, bar:
        # An interrupted build may have left images after the last indexed one: remove them.
        stream.truncate(len(index) * image_size**2)
        decoded = zip(todo, _decoded(list(todo.values()), image_size), strict=True)
        for _ in range(0, len(todo), BLOCK):
            try:
                for _, (file, image) in zip(range(BLOCK), decoded, strict=False):
                    if isinstance(image, str):
                        defects[file[0]] = image
                    else:
                        stream.write(image)
                        index.append(file)
                    bar.update()
            finally:
                stream.flush()
                with atomic(cache.with_suffix(".csv")) as part:
                    pd.DataFrame(index, columns=_COLUMNS).to_csv(part, index=False)
    _update_unreadable([name for name, _, _ in todo], defects)
    if defects:
        raise ValueError(
            f"{len(defects)} of {len(todo):,} images cannot be read. {next(iter(defects.values()))} "
            f"data/{config.UNREADABLE} lists all of them with their archives. Run cxr check --repair to download these "
            "archives again, or set LEAVE_OUT_UNREADABLE = True in 100 and run it again to continue without the images."
        )


def _decoded(paths, image_size):
    """Yields the images in order, decoded on all cores; for an unreadable image, yields the error message (str)."""

    def decode(path):
        try:
            return resize(read_image(path), image_size)
        except (OSError, ValueError) as error:
            return str(error)

    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        for start in range(0, len(paths), AHEAD):
            yield from pool.map(decode, paths[start : start + AHEAD])


def _update_unreadable(tried, defects):
    """Updates `data/unreadable_images.csv` for the images `tried`; its rows of other images stay."""
    path = config.data_folder() / config.UNREADABLE
    archives = download.archives() if defects else {}
    rows = [(name, archives.get(name), defect) for name, defect in defects.items()]
    new = pd.DataFrame(rows, columns=["imgindex", "archive", "defect"])
    old = pd.read_csv(path) if path.is_file() else new[:0]
    both = pd.concat([old[~old.imgindex.isin(tried)], new])
    if len(both):
        with atomic(path) as part:
            both.to_csv(part, index=False)
    else:
        path.unlink(missing_ok=True)


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a frame, in its order, read from the array on disk when they are indexed.

    Args:
        pixels: `(rows, size, size)` uint8 array, usually memory-mapped.
        rows: `(n,)` int array, the row of each image in `pixels`.
        names: list of str, the name of each image, or `None`.
    """

    pixels: np.ndarray
    rows: np.ndarray
    names: list | None = None

    @property
    def shape(self):
        return (len(self.rows), *self.pixels.shape[1:])

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, which):
        """Returns the images at the positions `which`: one (not copied) for an int, several for a slice or an array."""
        return self.pixels[self.rows[which]]
