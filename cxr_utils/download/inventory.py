"""Which images an archive brought, and whether the images in `data/images/` are all there and whole.

`data/unpacked/` holds a text file for each archive that was unpacked: its MD5, then the names of its images.
"""

import csv
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cxr_utils import config
from cxr_utils._files import atomic
from cxr_utils._progress import progress
from cxr_utils.download.png import png_defect
from cxr_utils.download.release import NIH_ARCHIVES

# NIH's archives hold the images in the order of their names: so many in the first, the next ten, the last.
NIH_IMAGES = [4_999, *[10_000] * 10, 7_121]


def image_folder():
    """Returns the folder of the images as a `Path`."""
    return config.home() / "data" / "images"


def image_names(folder=None):
    """Returns the set of names of the images in a folder, `data/images/` when `None`; none where there is no such folder."""
    folder = image_folder() if folder is None else folder
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return {name for name in names if name.endswith(".png") and name[0] != "."}


def record(archive, md5, names):
    """Notes that an archive is unpacked: its name, its MD5 (or `None`), its images' names."""
    with atomic(_record(archive)) as part, open(part, "w") as stream:
        stream.write("\n".join([str(md5), *names]) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def recorded(archive):
    """Returns `(md5, names)` of an archive that was unpacked, `(None, [])` of another."""
    if not _record(archive).is_file():
        return None, []
    md5, *names = _record(archive).read_text().rstrip("\n").split("\n")
    return md5, names


def records():
    """Returns the sorted names of the archives that are recorded."""
    return sorted(path.stem for path in _record("").parent.glob("*.txt"))


def _record(archive):
    return config.home() / "data" / "unpacked" / f"{archive}.txt"


@dataclass(frozen=True)
class Check:
    """What `check` found: `intact`, the number of whole images; `defects`, `(image, reason, archive)` for each other one;
    `unrecorded`, `{archive: names}` of NIH's archives that somebody else unpacked; `absent`, the names of those of NIH's archives of
    whose images there is none."""

    intact: int
    defects: list
    unrecorded: dict
    absent: list

    @property
    def archives(self):
        """Names of the archives to fetch again."""
        return sorted({archive for *_, archive in self.defects if archive})


def check_images():
    """Reads every image in `data/images/` from its first byte to its last and compares it with its own checksums.

    Images that another program unpacked are taken for NIH's, if the label table is.

    Returns:
        A `Check`.

    Raises:
        FileNotFoundError: there are no images and no records of any.
    """
    present = image_names()
    if not present and not records():
        raise FileNotFoundError(f"{image_folder()} holds no images: run 000-data_download first.")
    archive_of = archives()
    listed = sorted(present | archive_of.keys())
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress(total=len(listed), desc="check", unit=" images") as bar:
        reasons = {}
        for name, reason in zip(listed, pool.map(_image_defect, listed)):
            reasons[name] = reason
            bar.update()
    faults = [(name, reason, archive_of.get(name)) for name, reason in reasons.items() if reason]
    unrecorded = {}
    for name, archive in archive_of.items():
        if not recorded(archive)[1]:
            unrecorded.setdefault(archive, []).append(name)
    absent = [archive for archive, names in _nih_images().items() if not archive_of.keys() & names]
    return Check(len(listed) - len(faults), faults, unrecorded, absent)


def archives():
    """Returns `{image: archive}` of the archives that were unpacked, by their records; where others did it, by NIH's order."""
    known = {name: archive for archive in records() for name in recorded(archive)[1]}
    present = image_names()
    for archive, names in _nih_images().items():
        if not known.keys() & names and present.intersection(names):
            known |= dict.fromkeys(names, archive)
    return known


def _nih_images():
    """Returns `{archive: names}` of NIH's archives, from the label table; empty when that is not of NIH's 112,120 images."""
    table = next((path for name in config.LABEL_TABLES if (path := config.home() / "data" / name).is_file()), None)
    if table is None:
        return {}
    with open(table, newline="") as stream:
        names = sorted(row[0] for row in csv.reader(stream) if row and row[0].endswith(".png"))
    if len(names) != sum(NIH_IMAGES):
        return {}
    images = iter(names)
    return {file.name: [next(images) for _ in range(count)] for file, count in zip(NIH_ARCHIVES, NIH_IMAGES)}


def _image_defect(name):
    path = image_folder() / name
    try:
        return png_defect(path.read_bytes())
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"can't be read ({error.strerror})"
