"""PNG → one 8-bit array per image size, decoded once, kept on disk.

`data/pixels_128.u8` holds the images one after the other, `data/pixels_128.csv` says which image lies in which row. Images
are only ever appended and the index is renamed into place after them: an interrupted build goes on after the last index,
and a lock keeps two notebooks from appending at once.
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

_BLOCK = 2048  # images that an interrupted build may have to decode again
_AHEAD = 64  # images decoded before they are written
_COLUMNS = ["imgindex", "bytes", "modified_ns"]
_DEFECT_COLUMNS = ["imgindex", "archive", "defect"]


def read_image(path):
    """Decodes an image.

    Args:
        path: of an 8-bit PNG, gray or RGB with or without alpha (about 1 % of NIH's images are RGBA of equal colors).

    Returns:
        `(height, width)` uint8 array.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, no PNG, truncated, damaged, or not of 8 bits.
    """
    name = os.path.basename(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{name} is listed but not in data/images/: run 000-data_download, then 100.")
    with open(path, "rb") as stream:
        data = stream.read()
    fault = download.png_defect(data)
    image = None if fault else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(
            f"{name} {fault or 'can not be decoded'}; expected an 8-bit gray or RGB(A) PNG: fetch it again."
        )
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2GRAY if image.shape[2] == 4 else cv2.COLOR_BGR2GRAY)
    return image


def resize(image, image_size):
    """Shrinks an image to `(image_size, image_size)` uint8 by area averaging (an image smaller than that is interpolated)."""
    shrinks = image.shape[0] >= image_size and image.shape[1] >= image_size
    return cv2.resize(image, (image_size, image_size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def load_images(frame, image_size):
    """Opens the images of a frame as one array on disk; images that are not in it yet are decoded first.

    Args:
        frame: with `imgindex` and `path` (relative to `CXR_HOME`).
        image_size: int, pixels a side.

    Returns:
        A `Images` of `len(frame)` images in frame order.

    Raises:
        ValueError: images can't be read; the first is named, all are in `data/unreadable_images.csv` with reason and archive.
            Nothing decoded is lost, and no image is made up.
    """
    cache, index = (config.home() / "data" / f"pixels_{image_size}{suffix}" for suffix in (".u8", ".csv"))
    wanted = frame.drop_duplicates("imgindex")
    paths = [config.home() / path for path in wanted.path]
    now = pd.DataFrame([(name, *_stat(path)) for name, path in zip(wanted.imgindex, paths)], columns=_COLUMNS)
    cache.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(cache.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = _read_index(cache, index, image_size)
            rows = _find(now, known)
            fresh = rows.isna().to_numpy()
            if fresh.any() and config.rank() == 0:
                known = _append(now[fresh].assign(path=np.array(paths)[fresh]), known, cache, index, image_size)
                rows = _find(now, known)
        if not rows.isna().any():
            break
        time.sleep(1)  # Several hosts: rank 0 decodes, the others wait for it.
    pixels = np.memmap(cache, np.uint8, "r", shape=(len(known), image_size, image_size))
    # As a plain array: NumPy's own memmap class costs more at each image than reading the image does.
    return Images(np.asarray(pixels), rows.set_axis(wanted.imgindex).loc[frame.imgindex].to_numpy(int))


def _read_index(cache, index, image_size):
    """Returns the images that the array holds; rows beyond the end of a shortened or lost array don't count."""
    if not (index.is_file() and cache.is_file()):
        return pd.DataFrame(columns=_COLUMNS)
    return pd.read_csv(index).iloc[: cache.stat().st_size // image_size**2]


def _find(now, known):
    """Returns the row of each image, NaN where the array holds none of that name, size and time: it has to be decoded."""
    rows = known.assign(row=np.arange(len(known), dtype=float)).drop_duplicates(_COLUMNS, keep="last")
    return now.merge(rows, how="left", on=_COLUMNS).row


def _stat(path):
    status = os.stat(path) if os.path.isfile(path) else None
    return (status.st_size, status.st_mtime_ns) if status else (-1, -1)


def _append(todo, known, cache, index, image_size):
    faults, rows = {}, []

    def save():
        nonlocal known
        stream.flush()
        known = pd.concat([known, todo[_COLUMNS].iloc[rows]], ignore_index=True)
        rows.clear()
        with atomic(index) as part:
            known.to_csv(part, index=False)

    bar = progress(total=len(todo), desc=f"images to {image_size}×{image_size}", unit=" images")
    with open(cache, "ab") as stream, bar:
        # Whatever an interrupted build left behind the last index is cut off.
        stream.truncate(len(known) * image_size**2)
        for row, image in enumerate(_decoded(todo.path, image_size)):
            if isinstance(image, str):
                faults[todo.imgindex.iloc[row]] = image
            else:
                stream.write(image)
                rows.append(row)
            bar.update()
            if len(rows) == _BLOCK:
                save()
        save()
    _list_unreadable(todo.imgindex, faults)
    if faults:
        raise ValueError(
            f"{len(faults)} of {len(todo):,} images can't be read. {next(iter(faults.values()))} All are in data/{config.UNREADABLE}, with "
            "their archives: cxr check --repair fetches these again; or set LEAVE_OUT_UNREADABLE = True in 100 and "
            "run it again to go on without them."
        )
    return known


def _decoded(paths, image_size):
    """Yields the images in order, decoded by all cores; for one that can't be read, what is wrong with it."""

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


def _list_unreadable(tried, faults):
    """Renews `data/unreadable_images.csv`: those of these images that can't be read, and what it said of others."""
    path = config.home() / "data" / config.UNREADABLE
    archives = download.archives() if faults else {}
    new = pd.DataFrame([(name, archives.get(name), fault) for name, fault in faults.items()], columns=_DEFECT_COLUMNS)
    old = pd.read_csv(path) if path.is_file() else new[:0]
    both = pd.concat([old[~old.imgindex.isin(tried)], new])
    if len(both):
        with atomic(path) as part:
            both.to_csv(part, index=False)
    else:
        path.unlink(missing_ok=True)


class Images:
    """Images in frame order, read from the array on disk when asked for.

    Args:
        pixels: `(rows, size, size)` uint8, usually memory-mapped.
        rows: `(n,)` int, the row of each image.
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
        """Returns the images at these positions as a uint8 array (int: one image, not copied; slice or array: several)."""
        return self.pixels[self.rows[which]]
