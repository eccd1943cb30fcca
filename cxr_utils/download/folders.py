"""Folders of unpacked images, often on a mounted drive: where they are, what is complete there, whether it can be read.

The images of such a folder are linked. What is behind a link can disappear while it is read, together with its drive.
"""

import errno
import os
from contextlib import contextmanager, suppress
from pathlib import Path

from cxr_utils import config

# Subfolders that may contain unpacked images: a single folder, the layout of NIH's archives (also of Kaggle and
# kagglehub), that of other mirrors.
_LAYOUTS = ("images", "images_*/images", "images_*")


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


def image_names(folder=None):
    """Returns the names of the images in a folder.

    Args:
        folder: path of the folder; `data/images` when `None`.

    Returns:
        Set of strings, empty if the folder does not exist.

    Raises:
        DriveError: the drive of the folder is gone.
    """
    with suppress(FileNotFoundError), readable(folder or image_folder()):
        return {name for name in os.listdir(folder or image_folder()) if name.endswith(".png") and name[0] != "."}
    return set()


def find_images(place):
    """Finds the unpacked images of a release.

    Args:
        place: `Path` of the folder of the release.

    Returns:
        Dict of `Path` → sorted list of image names: of the folder itself, or of the first kind of subfolders that
        contain images. Empty if there are none.
    """
    found = (
        {path: sorted(names) for path in paths if path.is_dir() and (names := image_names(path))}
        for paths in ([place], *(sorted(place.glob(layout)) for layout in _LAYOUTS))
    )
    return next(filter(None, found), {})


def complete_folder(images, folders):
    """Finds the folder into which all images of an archive were unpacked.

    `tar` writes the images in the order of their names: if it was interrupted, only the last one can be truncated.

    Args:
        images: list of str, the images of the archive in their order.
        folders: dict as returned by `find_images`.

    Returns:
        The `Path` of the folder; `None` if no folder contains all images, with a last one that has the end of a PNG.
    """
    for folder, names in folders.items():
        if set(names).issuperset(images) and (folder / images[-1]).read_bytes().endswith(b"IEND\xaeB`\x82"):
            return folder
