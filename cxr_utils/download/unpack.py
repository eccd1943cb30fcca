"""Archives and folders of images → one flat folder of images, each whole or not at all."""

import io
import os
import re
import shutil
import tarfile
import zlib

from cxr_utils._files import atomic
from cxr_utils.download.inventory import image_names

_CHUNK = 1 << 18
# Far above any image (a 1024×1024 image takes 4 MB uncompressed), far below what fills memory or disk.
_LARGEST_IMAGE = 1 << 26
_LARGEST_RATIO = 10  # bytes out for a byte in; PNGs are compressed already, so that archives of images have about 1


def unpack(archive, folder, stop, bar, owners):
    """Unpacks the images of a `.tar.gz`, whatever folder they have in it.

    Args:
        archive: `Path`.
        folder: `Path`, where the images go.
        stop: `web.Stop`.
        bar: `progress.Bar` in bytes of the archive.
        owners: dict of image → archive that holds it; those of this archive are added.

    Returns:
        List of the images' names, in the archive's order.

    Raises:
        ValueError: the archive is damaged, inflates without measure, or a member is no regular PNG file inside of it,
            or has the name of another.
        OSError: an image can't be written.
        web.Stopped: `stop` was set.
    """
    names = {}
    try:
        with (
            open(archive, "rb") as stream,
            tarfile.open(fileobj=(inflated := _Inflated(stream, archive)), mode="r|", bufsize=_CHUNK) as tar,
        ):
            for member in tar:
                stop.check()
                inflated.allow(_LARGEST_IMAGE)
                bar.n = stream.tell()
                name = _image_name(member, archive.name)
                if name is None:
                    continue
                if name in names or owners.setdefault(name, archive.name) != archive.name:
                    other = "twice" if name in names else f"as {owners[name]} does"
                    raise ValueError(f"{archive.name} holds {name} {other}: fetch it from a source that you trust.")
                with atomic(folder / name) as part, open(part, "wb") as image:
                    shutil.copyfileobj(tar.extractfile(member), image, _CHUNK)
                names[name] = True
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise ValueError(f"{archive.name} is damaged ({error}): fetch it again.") from error
    return list(names)


def _image_name(member, archive):
    """Returns the name of the image that a member is, `None` for a folder of images."""
    path = member.name.removeprefix("./")
    inside = not path.startswith("/") and ".." not in path.split("/")
    if inside and member.isdir() and not path.endswith(".png"):
        return None
    image = re.fullmatch(r"(?:[^/]+/)*([^/.\n][^/\\\n]*\.png)", path)
    # The zeros of a sparse member lie in no archive: a few bytes can fill a disk with them.
    if not (inside and member.isreg() and image) or member.issparse() or member.size > _LARGEST_IMAGE:
        raise ValueError(
            f"{archive} holds '{member.name}' ({_kind(member)}): expected regular PNG files like images/00000001_000.png and "
            "nothing else. It was not unpacked; fetch the archive from a source that you trust."
        )
    return image[1]


def _kind(member):
    kinds = {"a folder": member.isdir(), "a symbolic link": member.issym(), "a hard link": member.islnk()}
    kinds |= {f"a file of {member.size:,} bytes": member.isreg()}
    return next((kind for kind, holds in kinds.items() if holds), "a device")


class _Inflated(io.RawIOBase):
    """What a gzip file holds, in larger pieces than `gzip` reads them (three times as fast) and bounded in size."""

    def __init__(self, stream, archive):
        self._stream, self._archive = stream, archive
        self._inflate = zlib.decompressobj(wbits=31)
        self._total = _LARGEST_RATIO * os.fstat(stream.fileno()).st_size + _LARGEST_IMAGE
        self.allow(_LARGEST_IMAGE)

    def allow(self, size):
        """Lets this many bytes and one image more pass before the next call: no header can fill the memory."""
        self._left = _LARGEST_IMAGE + size

    def read(self, size):
        out = b""
        while not out:
            data = self._inflate.unconsumed_tail or self._inflate.unused_data or self._stream.read(_CHUNK)
            if self._inflate.eof:
                if not data.strip(b"\0"):
                    return b""
                self._inflate = zlib.decompressobj(wbits=31)  # gzip files may be joined end to end
            elif not data:
                raise EOFError("it ends early")
            out = self._inflate.decompress(data, size)
        self._left -= len(out)
        self._total -= len(out)
        if self._left < 0 or self._total < 0:
            raise ValueError(
                f"{self._archive.name} inflates to more than an archive of images can: fetch it from a source that you trust."
            )
        return out


def link_images(source, folder, stop):
    """Brings a folder of loose images into `folder` without copying them: as hard links, or as symbolic ones from another disk.

    Args:
        source: `Path` of a folder of PNGs.
        folder: `Path`, where the images go.
        stop: `web.Stop`.

    Returns:
        List of the images' names.

    Raises:
        web.Stopped: `stop` was set.
    """
    names = sorted(image_names(source))
    for name in names if source.resolve() != folder.resolve() else []:
        stop.check()
        with atomic(folder / name) as part:
            image = (source / name).resolve()  # what a link there points to
            try:
                os.link(image, part)
            except OSError:  # another disk, or one without hard links
                part.symlink_to(image)
    return names
