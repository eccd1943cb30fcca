"""Folders of unpacked images, often on a mounted drive: where they are, what is complete there, whether it can be read.

The images of such a folder are linked. What is behind a link can disappear while it is read, together with its drive.
"""

import errno
import filecmp
import os
import re
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

from cxr_utils import config

# What macOS, Windows, NAS devices and other programs add to folders and archives, such as ._00000001_000.png.
SYSTEM_FILE = re.compile(
    r"(?:^|/)(?:\._|(?:__MACOSX|@eaDir|\.(?:AppleDouble|Trashes|Spotlight-V100|fseventsd|ipynb_checkpoints|git))(?:/|$)"
    r"|\.[^./\\][^/\\]*(?<!\.png)$|(?:(?:eh)?thumbs\.db|desktop\.ini|icon\r)$)",
    re.I,
)


class DriveError(Exception):
    """A file outside `data/` cannot be read, because its drive or the file itself is gone.

    It is no `OSError`, so that no caller takes it for the defect of one image.
    """


@contextmanager
def readable(path):
    """Replaces the error of a block that cannot read a file because its drive is gone.

    Args:
        path: of the file or folder that the block reads; it may be a link.

    Raises:
        DriveError: the drive is not connected, or a file outside `data/` is gone or has an input/output error. The
            message names the file, and where it is if `path` is a link. Other errors stay as they are.
    """
    try:
        yield
    except OSError as error:
        target = Path(os.path.realpath(path))
        if error.errno not in (errno.ENOTCONN, errno.ESTALE, errno.EHOSTDOWN, errno.ETIMEDOUT) and (
            error.errno not in (errno.EIO, errno.ENOENT, errno.ENODEV)
            or target.is_relative_to(os.path.realpath(config.data_folder()))
        ):
            raise
        link = f"{path} is a link to " if os.path.islink(path) else ""
        raise DriveError(
            f"{link}{target}{', which' if link else ''} cannot be read ({error.strerror}): mount its drive again"
            f"{', or delete the link if only this file is gone,' if link else ''} and run this again, which continues "
            "where it stopped."
        ) from error


def image_folder():
    """Returns the folder of the images, `data/images/`, as a `Path`."""
    return config.data_folder() / "images"


def image_names():
    """Returns the names of the images in `data/images/`: a set of str, empty if the folder does not exist.

    Raises:
        DriveError: the drive of the folder is gone.
    """
    with suppress(FileNotFoundError), readable(image_folder()):
        return {name for name in os.listdir(image_folder()) if name.endswith(".png") and name[0] != "."}
    return set()


def list_files(folder, parents=()):
    """Lists the files in a folder and all folders below it, without `SYSTEM_FILE` and without `data/`.

    Args:
        folder: str, path of the folder.
        parents: real paths of the folders that contain it; a link to one of them is not followed.

    Returns:
        List of str, the paths of the files; those of one folder follow each other.

    Raises:
        DriveError: the drive of the folder is gone.
        OSError: a folder cannot be read.
    """
    parents = {*parents, os.path.realpath(folder), os.path.realpath(config.data_folder())}
    with readable(folder), os.scandir(folder) as entries:
        entries = sorted((f"{entry.name}/" if entry.is_dir() else entry.name) for entry in entries)
    paths = [f"{folder}/{name}" for name in entries if not SYSTEM_FILE.search(name)]
    below = [path[:-1] for path in paths if path.endswith("/") and os.path.realpath(path) not in parents]
    files = [path for path in paths if not path.endswith("/")]
    return files + [path for subfolder in below for path in list_files(subfolder, parents)]


def summary(place, files):
    """Describes `files` (list of str, paths) of the folder `place` (str), such as "3 .jpg files (such as a.jpg)"."""
    kinds = [os.path.splitext(path)[1].lower() or "other" for path in files]
    return (
        ", ".join(
            f"{count:,} {kind} files (such as {os.path.relpath(files[kinds.index(kind)], place)})"
            for kind, count in Counter(kinds).items()
        )
        or "no files"
    )


def select_images(files, listed, table):
    """Selects the PNG files of the images in a label table. An image that is in several folders is selected once.

    Args:
        files: list of str as returned by `list_files`.
        listed: list of str, the images of the label table.
        table: str, name of the label table.

    Returns:
        Dict of image name, which ends in .png → path (str), in the order of `files`; empty if there is no PNG file.

    Raises:
        ValueError: none of the PNG files is in the table, or two files of one image differ.
    """
    found, known = {}, set(listed)
    paths = [path for path in files if path.lower().endswith(".png")]
    for path in paths:
        name = f"{os.path.basename(path)[:-4]}.png"
        if name in known and found.setdefault(name, path) != path and not filecmp.cmp(found[name], path):
            raise ValueError(f"{path} differs from {found[name]}: expected one image of this name; remove one of them.")
    if paths and not found:
        raise ValueError(
            f"None of {len(paths):,} PNG files, such as {paths[0]}, is in {table}, which lists {len(listed):,} images "
            f"({', '.join([*listed[:1], '…'])}): expected the same names."
        )
    return found


def complete_folder(images, files):
    """Finds the folder into which all images of an archive were unpacked.

    `tar` writes the images in the order of their names: if it was interrupted, only the last one can be truncated.

    Args:
        images: list of str, the images of the archive in their order.
        files: set of str, paths of files.

    Returns:
        Path (str) of the folder; `None` if no folder contains all images, with a last one that has the end of a PNG.
    """
    for folder in sorted(path.removesuffix(f"/{images[0]}") for path in files if path.endswith(f"/{images[0]}")):
        if files.issuperset(f"{folder}/{name}" for name in images) and Path(folder, images[-1]).read_bytes().endswith(
            b"IEND\xaeB`\x82"
        ):
            return folder
