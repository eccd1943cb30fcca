"""Which films an archive brought, and whether the films in `data/images/` are all there and whole.

`data/unpacked/` holds a text file for each archive that was unpacked: its MD5, then the names of its films.
"""

import csv
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cxr_utils import config
from cxr_utils.files import atomic
from cxr_utils.progress import progress
from cxr_utils.release import NIH_ARCHIVES

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# NIH's archives hold the films in the order of their names: so many in the first, the next ten, the last.
NIH_FILMS = [4_999, *[10_000] * 10, 7_121]


def images():
    """Returns the folder of the films as a `Path`."""
    return config.home() / "data" / "images"


def film_names(folder=None):
    """Returns the set of names of the films in a folder, `data/images/` when `None`; none where there is no such folder."""
    folder = images() if folder is None else folder
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return {name for name in names if name.endswith(".png") and name[0] != "."}


def record(archive, md5, names):
    """Notes that an archive is unpacked: its name, its MD5 (or `None`), its films' names."""
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
    """What `check` found: `sound`, the number of whole films; `faults`, `(film, reason, archive)` for each other one;
    `unrecorded`, `{archive: names}` of NIH's archives that somebody else unpacked; `absent`, the names of those of NIH's archives of
    whose films there is none."""

    sound: int
    faults: list
    unrecorded: dict
    absent: list

    @property
    def archives(self):
        """Names of the archives to fetch again."""
        return sorted({archive for *_, archive in self.faults if archive})


def check():
    """Reads every film in `data/images/` from its first byte to its last and compares it with its own checksums.

    Films that another program unpacked are taken for NIH's, if the label table is.

    Returns:
        A `Check`.

    Raises:
        FileNotFoundError: there are no films and no records of any.
    """
    present = film_names()
    if not present and not records():
        raise FileNotFoundError(f"{images()} holds no films: run 000-data_download first.")
    archive_of = archives()
    listed = sorted(present | archive_of.keys())
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress(total=len(listed), desc="check", unit=" films") as bar:
        reasons = {}
        for name, reason in zip(listed, pool.map(_film_fault, listed)):
            reasons[name] = reason
            bar.update()
    faults = [(name, reason, archive_of.get(name)) for name, reason in reasons.items() if reason]
    unrecorded = {}
    for name, archive in archive_of.items():
        if not recorded(archive)[1]:
            unrecorded.setdefault(archive, []).append(name)
    absent = [archive for archive, names in _nih_films().items() if not archive_of.keys() & names]
    return Check(len(listed) - len(faults), faults, unrecorded, absent)


def archives():
    """Returns `{film: archive}` of the archives that were unpacked, by their records; where others did it, by NIH's order."""
    known = {name: archive for archive in records() for name in recorded(archive)[1]}
    present = film_names()
    for archive, names in _nih_films().items():
        if not known.keys() & names and present.intersection(names):
            known |= dict.fromkeys(names, archive)
    return known


def _nih_films():
    """Returns `{archive: names}` of NIH's archives, from the label table; empty when that is not of NIH's 112,120 films."""
    table = next((path for name in config.LABEL_TABLES if (path := config.home() / "data" / name).is_file()), None)
    if table is None:
        return {}
    with open(table, newline="") as stream:
        names = sorted(row[0] for row in csv.reader(stream) if row and row[0].endswith(".png"))
    if len(names) != sum(NIH_FILMS):
        return {}
    films = iter(names)
    return {file.name: [next(films) for _ in range(count)] for file, count in zip(NIH_ARCHIVES, NIH_FILMS)}


def _film_fault(name):
    path = images() / name
    try:
        return png_fault(path.read_bytes())
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"can't be read ({error.strerror})"


def png_fault(data, depths=(8,)):
    """Says what is wrong with the bytes of a PNG of one of these bits per channel, `None` for nothing.

    Decoders fill the missing part of a truncated one with black, without an error.
    """
    if not data:
        return "is empty"
    if not data.startswith(_SIGNATURE):
        return f"is no PNG (it begins with {data[:8]!r})"
    # Chunks: length (4 bytes), type (4), body, CRC of type and body (4); https://www.w3.org/TR/png-3/#5Chunk-layout
    at, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 12 + length
        if len(data) < end:
            return f"is truncated after {len(data):,} bytes"
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            return f"is damaged (wrong checksum in its {kind.decode('latin-1')} chunk)"
        if kind == b"IHDR" and data[at + 16] not in depths:
            return f"has {data[at + 16]} bits per channel"
        at = end
    return None
