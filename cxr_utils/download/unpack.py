"""Extracts archives, or links folders of unpacked images, into one flat folder; each image is complete or absent."""

import gzip
import os
import re
import shutil
import tarfile
import zlib

from cxr_utils._files import atomic
from cxr_utils.download.folders import SYSTEM_FILE, readable
from cxr_utils.download.inventory import record_image

_CHUNK = 1 << 18
# Far more than any image needs (1024×1024 pixels take 4 MB uncompressed), far less than would fill memory or disk.
_LARGEST_IMAGE = 1 << 26
_LARGEST_RATIO = 10  # decompressed size / compressed size; about 1 for PNG files, which are compressed already

_KINDS = {tarfile.DIRTYPE: "a folder", tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link"}


def unpack(archive, folder, stop, archive_of):
    """Extracts the images of a `.tar.gz` archive, from any folder inside it.

    Each image is added to the existing record of the archive before it appears.

    Args:
        archive: `Path` of the archive.
        folder: `Path` of the folder to write the images to.
        stop: `http_client.Stop`.
        archive_of: dict that maps the name of an image to the name of the archive that contains it. The images of this
            archive are added.

    Returns:
        List of the names of the images, in the order of the archive.

    Raises:
        ValueError: the archive is damaged, decompresses to too much data, or contains two images of the same name, an
            image of another archive, anything that is not a regular PNG file, or no image at all.
        OSError: an image cannot be written.
        concurrent.futures.CancelledError: `stop` was set.
    """
    names = {}
    try:
        with _LimitedGzip(archive) as stream, tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as tar:
            for member in tar:
                stop.check()
                stream.left = 2 * _LARGEST_IMAGE
                if (name := _image_name(member, archive.name)) is None:
                    continue
                if name in names or archive_of.setdefault(name, archive.name) != archive.name:
                    where = " twice" if name in names else f", and so does {archive_of[name]}"
                    raise ValueError(
                        f"{archive.name} contains {name}{where}. Download it from a source that you trust."
                    )
                record_image(archive.name, name)
                with atomic(folder / name) as part, open(part, "wb") as image:
                    shutil.copyfileobj(tar.extractfile(member), image, _CHUNK)
                names[name] = True
        if not names:
            raise ValueError(f"{archive.name} contains no PNG files: expected images such as images/00000001_000.png.")
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{archive.name} is damaged ({error}). Download it again.") from error
    return list(names)


def _image_name(member, archive):
    """Returns the image name of a member of an archive; `None` if the member is a folder or a `SYSTEM_FILE`."""
    path = member.name.removeprefix("./")
    inside = not path.startswith("/") and ".." not in path.split("/")
    if inside and (SYSTEM_FILE.search(path) or (member.isdir() and not path.endswith(".png"))):
        return None
    image = re.fullmatch(r"(?:[^/]+/)*([^/.\n][^/\\\n]*)\.png", path, re.I)
    # The zeros of a sparse member are not stored in the archive: a few bytes could fill a disk.
    if not (inside and member.isreg() and image) or member.issparse() or member.size > _LARGEST_IMAGE:
        kind = f"a file of {member.size:,} bytes" if member.isreg() else _KINDS.get(member.type, "a device")
        raise ValueError(
            f"{archive} contains '{member.name}' ({kind}), expected only regular PNG files such as "
            "images/00000001_000.png. This file was not unpacked. Download the archive from a source that you trust."
        )
    return f"{image[1]}.png"


class _LimitedGzip(gzip.GzipFile):
    """A gzip file that raises if it decompresses to more data than images can have.

    Attributes:
        left: int, bytes that may be read until it is set again, so that no tar header can fill the memory.
    """

    left = 2 * _LARGEST_IMAGE

    def read(self, size=-1):
        with readable(self.name):
            data = super().read(size)
        self.left -= len(data)
        if self.left < 0 or self.tell() > _LARGEST_RATIO * os.path.getsize(self.name) + _LARGEST_IMAGE:
            raise ValueError(
                f"{os.path.basename(self.name)} decompresses to more data than images can have. Download it from a "
                "source that you trust."
            )
        return data


def link_images(file, folder, stop):
    """Links a folder of unpacked images into `folder` without copying them.

    Each image is added to the existing record before it appears. The links are hard links where possible, else symbolic
    links (as from another disk).

    Args:
        file: the `release.ReleaseFile` of a local folder; its images are recorded under its name.
        folder: `Path` of the folder to create the links in.
        stop: `http_client.Stop`.

    Returns:
        List of the names of the images.

    Raises:
        DriveError: the drive of the images is gone.
        OSError: a link cannot be created.
        concurrent.futures.CancelledError: `stop` was set.
    """
    for name, path in file.images.items() if os.path.realpath(file.address) != os.path.realpath(folder) else []:
        stop.check()
        record_image(file.name, name)
        image = os.path.realpath(path)  # the file itself if `path` is a link
        with atomic(folder / name) as part, readable(image):
            try:
                os.link(image, part)
            except OSError:  # another disk, or a file system without hard links
                os.stat(image)  # raises an error if the image cannot be read
                os.symlink(image, part)
    return list(file.images)
