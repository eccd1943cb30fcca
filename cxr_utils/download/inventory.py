"""Which archive each image came from, and whether all images in `data/images/` are present and intact.

For each archive, `data/unpacked/` contains a record: a text file with the archive's MD5 and the names of its images. It
is begun before the first image appears, so that an interrupted run leaves no image of unknown origin.
"""

import zlib
from concurrent.futures import ThreadPoolExecutor

import joblib

from cxr_utils import config
from cxr_utils._files import write_text
from cxr_utils._progress import progress
from cxr_utils.download.folders import image_folder, image_names, readable
from cxr_utils.download.release import NIH_MD5, NIH_NAME, release_note
from cxr_utils.download.tables import nih_order

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# In place of the MD5 in the record of an archive that is being unpacked, or that has missing or damaged images.
INCOMPLETE = "to fetch again"


def record(archive, md5, names):
    """Records that an archive is unpacked.

    Args:
        archive: string, the name of the archive.
        md5: string, the MD5 of the archive, or `INCOMPLETE`; `None` if none is published.
        names: list of strings, the names of its images.
    """
    write_text(_record_file(archive), "\n".join([str(md5), *names]) + "\n")


def recorded(archive):
    """Returns the record of an archive as `(md5, names)`; `(None, [])` if there is no record."""
    if not _record_file(archive).is_file():
        return None, []
    md5, *names = _record_file(archive).read_text().rstrip("\n").split("\n")
    # An archive that was begun twice has some names twice; on a full disk, a name may be cut off.
    return md5, list(dict.fromkeys(name for name in names if name.endswith(".png")))


def record_image(archive, name):
    """Adds an image to the existing record of an archive; to be called before the image appears."""
    with open(_record_file(archive), "a") as stream:
        stream.write(f"{name}\n")


def records():
    """Returns the sorted names of all recorded archives."""
    return sorted(path.stem for path in _record_file("").parent.glob("*.txt"))


def _record_file(archive):
    return config.data_folder() / "unpacked" / f"{archive}.txt"


def check_images():
    """Reads every image in `data/images/` completely and verifies the checksums inside each PNG file.

    Returns:
        `{image: defect}` of all images that should be there. A defect is a string that follows the image's name in a
        sentence, such as "is missing"; it is `None` if the image is intact.

    Raises:
        FileNotFoundError: there are neither images nor records of images.
        DriveError: images are linked, and their drive is gone.
    """
    names = sorted(image_names() | archives().keys())
    if not names:
        raise FileNotFoundError(f"{image_folder()} contains no images: run 000-data_download first.")
    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        defects = pool.map(_image_defect, names)
        return dict(zip(names, progress(iterable=defects, total=len(names), desc="check", unit=" images"), strict=True))


def archives():
    """Returns `{image: archive}`, which archive each image belongs to, from the records and `unrecorded`."""
    names_of = {archive: recorded(archive)[1] for archive in records()} | unrecorded()
    return {name: archive for archive, names in names_of.items() for name in names}


def unrecorded():
    """Returns `{archive: image names}` of the NIH archives that another program unpacked, at least partly.

    It assumes NIH's order of the images, but only if nothing in `data/` says that they are of another release.
    """
    known = {name for archive in records() for name in recorded(archive)[1]}
    present = image_names()
    return {
        archive: names
        for archive, names in nih_images().items()
        if known.isdisjoint(names) and not present.isdisjoint(names)
    }


def nih_images():
    """Returns `{archive: image names}` of NIH's archives, from the label table in `data/`.

    The dict is empty if the table does not list NIH's 112,120 images, or if `RELEASE.txt` or the MD5 of an unpacked
    archive belongs to another release, which can contain the same images in another order.
    """
    note = release_note()
    if (note and note.name != NIH_NAME) or any(
        recorded(archive)[0] not in (INCOMPLETE, NIH_MD5.get(archive)) for archive in records()
    ):
        return {}
    return dict(zip(NIH_MD5, nih_order(), strict=False))


def report_unlisted(listed):
    """Prints how many images in `data/images/` are in no row of the label table, which has the images `listed`."""
    present = image_names()
    if unlisted := present.difference(listed):
        print(
            f"{len(unlisted):,} of the {len(present):,} images in data/images/ are in no row of the label table and "
            f"are not used, such as {min(unlisted)}."
        )


def _image_defect(name):
    path = image_folder() / name
    try:
        with readable(path):
            return png_defect(path.read_bytes())
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def png_defect(data, depths=(8,)):
    """Describes the first defect found in the bytes of a PNG file.

    A decoder is not enough: it fills the missing part of a truncated file with black and raises no error.

    Args:
        data: bytes of the file.
        depths: tuple of int, the accepted bit depths per channel.

    Returns:
        A string that follows the file's name in a sentence, such as "is empty"; `None` if there is no defect.
    """
    if not data:
        return "is empty"
    if not data.startswith(_SIGNATURE):
        return f"is not a PNG file (it begins with {data[:8]!r})"
    # Chunks: length (4 bytes), type (4), body, CRC of type and body (4); https://www.w3.org/TR/png-3/#5Chunk-layout
    start, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8]
        end = start + 12 + length
        if len(data) < end:
            return f"is truncated after {len(data):,} bytes"
        if zlib.crc32(memoryview(data)[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            return f"is damaged (wrong checksum in its {kind.decode('latin-1')} chunk)"
        if kind == b"IHDR" and data[start + 16] not in depths:
            return f"has {data[start + 16]} bits per channel"
        start = end
    return None
