"""Decodes PNG files once into one 8-bit array on disk per image size, and reads images from it.

`data/pixels_128.u8` contains the images one after the other. `data/pixels_128.csv`, the index, lists which image is in
which row. Images are only appended, and the index is replaced after each block of images. An interrupted build
therefore continues after the last indexed image. A lock prevents two notebooks from appending at the same time.
"""

import fcntl
import os
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pandas as pd

from cxr_utils import config, download
from cxr_utils._files import atomic
from cxr_utils._progress import progress

_BLOCK = 2048  # images per index update; at most this many are decoded again after an interruption
_AHEAD = 64  # images that are decoded ahead of writing
_COLUMNS = ["imgindex", "bytes", "modified_ns"]
_DEFECT_COLUMNS = ["imgindex", "archive", "defect"]


def read_image(path):
    """Decodes a PNG file as an 8-bit grayscale image.

    Args:
        path: of an 8-bit PNG, grayscale or RGB, with or without alpha. About 1 % of NIH's images are RGBA, with equal
            red, green and blue.

    Returns:
        `(height, width)` uint8 array.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is empty, truncated, damaged, not a PNG, or not of 8 bits per channel.
    """
    name = os.path.basename(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{name} is listed but not in data/images/: run 000-data_download, then 100.")
    with open(path, "rb") as stream:
        data = stream.read()
    defect = download.png_defect(data)
    image = None if defect else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(
            f"{name} {defect or 'cannot be decoded'}; expected an 8-bit grayscale or RGB(A) PNG: download it again."
        )
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2GRAY if image.shape[2] == 4 else cv2.COLOR_BGR2GRAY)
    return image


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
        frame: with `imgindex` and `path` (relative to `CXR_HOME`).
        image_size: int, width and height in pixels.

    Returns:
        `Images` of length `len(frame)`, in the order of `frame`.

    Raises:
        ValueError: some images are unreadable. The message names the first; `data/unreadable_images.csv` lists all,
            with reason and archive. The decoded images are kept. Unreadable images are never replaced by other pixels.
    """
    cache, index = (config.home() / "data" / f"pixels_{image_size}{suffix}" for suffix in (".u8", ".csv"))
    wanted = frame.drop_duplicates("imgindex")
    paths = [config.home() / path for path in wanted.path]
    now = pd.DataFrame(
        [(name, *_stat(path)) for name, path in zip(wanted.imgindex, paths, strict=True)], columns=_COLUMNS
    )
    cache.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(cache.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = _read_index(cache, index, image_size)
            rows = _find(now, known)
            absent = rows.isna().to_numpy()
            if absent.any() and config.rank() == 0:
                known = _append(now[absent].assign(path=np.array(paths)[absent]), known, cache, index, image_size)
                rows = _find(now, known)
        if not rows.isna().any():
            break
        time.sleep(1)  # with several hosts, rank 0 decodes and the others wait
    pixels = np.memmap(cache, np.uint8, "r", shape=(len(known), image_size, image_size))
    # A plain array, as indexing a np.memmap object takes longer than reading an image.
    return Images(np.asarray(pixels), rows.set_axis(wanted.imgindex).loc[frame.imgindex].to_numpy(int))


def _read_index(cache, index, image_size):
    """Returns the index of the images in the array, without rows beyond the end of a truncated or deleted array."""
    if not (index.is_file() and cache.is_file()):
        return pd.DataFrame(columns=_COLUMNS)
    return pd.read_csv(index).iloc[: cache.stat().st_size // image_size**2]


def _find(now, known):
    """Returns the row of each image, or NaN if the array has no image of that name, file size and modification time."""
    rows = known.assign(row=np.arange(len(known), dtype=float)).drop_duplicates(_COLUMNS, keep="last")
    return now.merge(rows, how="left", on=_COLUMNS).row


def _stat(path):
    status = os.stat(path) if os.path.isfile(path) else None
    return (status.st_size, status.st_mtime_ns) if status else (-1, -1)


def _append(todo, known, cache, index, image_size):
    """Decodes the images of `todo`, appends them to the array and returns the new index."""
    defects, rows = {}, []

    def save():
        nonlocal known
        stream.flush()
        known = pd.concat([known, todo[_COLUMNS].iloc[rows]], ignore_index=True)
        rows.clear()
        with atomic(index) as part:
            known.to_csv(part, index=False)

    bar = progress(total=len(todo), desc=f"images to {image_size}×{image_size}", unit=" images")
    with open(cache, "ab") as stream, bar:
        # An interrupted build may have left images after the last indexed one: remove them.
        stream.truncate(len(known) * image_size**2)
        for row, image in enumerate(_decoded(todo.path, image_size)):
            if isinstance(image, str):
                defects[todo.imgindex.iloc[row]] = image
            else:
                stream.write(image)
                rows.append(row)
            bar.update()
            if len(rows) == _BLOCK:
                save()
        save()
    _update_unreadable(todo.imgindex, defects)
    if defects:
        raise ValueError(
            f"{len(defects)} of {len(todo):,} images cannot be read. {next(iter(defects.values()))} "
            f"data/{config.UNREADABLE} lists all of them with their archives. Run cxr check --repair to download these "
            "archives again, or set LEAVE_OUT_UNREADABLE = True in 100 and run it again to continue without the images."
        )
    return known


def _decoded(paths, image_size):
    """Yields the images in order, decoded on all cores; for an unreadable image, yields the error message (str)."""

    def decode(path):
        try:
            return resize(read_image(path), image_size)
        except (OSError, ValueError) as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ahead = deque()
        for path in paths:
            ahead.append(pool.submit(decode, path))
            if len(ahead) == _AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _update_unreadable(tried, defects):
    """Updates `data/unreadable_images.csv` for the images `tried`; its rows of other images stay."""
    path = config.home() / "data" / config.UNREADABLE
    archives = download.archives() if defects else {}
    new = pd.DataFrame(
        [(name, archives.get(name), defect) for name, defect in defects.items()], columns=_DEFECT_COLUMNS
    )
    old = pd.read_csv(path) if path.is_file() else new[:0]
    both = pd.concat([old[~old.imgindex.isin(tried)], new])
    if len(both):
        with atomic(path) as part:
            both.to_csv(part, index=False)
    else:
        path.unlink(missing_ok=True)


class Images:
    """The images of a frame, in its order, read from the array on disk when they are indexed.

    Args:
        pixels: `(rows, size, size)` uint8 array, usually memory-mapped.
        rows: `(n,)` int array, the row of each image in `pixels`.
    """

    def __init__(self, pixels, rows):
        self.pixels = pixels
        self.rows = rows

    @property
    def shape(self):
        return (len(self.rows), *self.pixels.shape[1:])

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, which):
        """Returns the images at the positions `which`: one (not copied) for an int, several for a slice or an array."""
        return self.pixels[self.rows[which]]
