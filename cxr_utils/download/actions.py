"""Plans and runs the download of a release; checks and repairs the images on disk.

`cxr check` lists missing and damaged images. `cxr check --repair` downloads their archives again.
"""

import errno
import shutil
import sys
from pathlib import Path

from cxr_utils import config
from cxr_utils.download import folders, inventory
from cxr_utils.download.release import NIH_MD5, find_release, forget_listing, release_note
from cxr_utils.download.tables import check_tables, tables_error
from cxr_utils.download.transfer import UNPACKERS, Transfer, incoming_folder, locked_incoming_folder, received

CONNECTIONS = 3
_SHOWN = 20  # images to list for each archive


def plan(release, archives):
    """Calculates how much is still to be downloaded and how much disk space it needs.

    Args:
        release: the `release.Release`.
        archives: int, number of archives to download, from the first; `None` for all.

    Returns:
        A dict of sizes in GB (1e9 bytes): `fetch`, to be downloaded; `images`, added by the images; `peak`, the most
        additional disk space needed at any time, without what is downloaded; `free`, free on the disk of the images.

    Raises:
        ValueError: `archives` is not between 1 and the number of archives of the release.
    """
    return _space(release, _todo(_choose(release, archives)))


def download_release(release, archives, connections=CONNECTIONS):
    """Downloads a release to `data/`: first the tables, then the archives.

    Each archive is verified before it is unpacked, and unpacked while the next ones are downloaded. A repeated call
    skips what is complete and continues what is not. The archives of a local release are read in place and never
    deleted; its unpacked images are linked, not copied.

    Args:
        release: the `release.Release`.
        archives: int, number of archives to download, from the first; `None` for all.
        connections: int, number of files to download at the same time.

    Raises:
        ValueError: a file differs from the published one; an archive contains something other than images; `data/`
            contains another release; `archives` or `connections` is out of range.
        OSError: the disk has too little space, or another process is downloading to it.
        requests.RequestException: the server rejected a request, or sent no data in several attempts.
    """
    _run(release, _choose(release, archives), connections)


def repair(release, archives):
    """Downloads archives of missing or damaged images again, and no others.

    Intact images that another program unpacked are recorded as unpacked.

    Args:
        release: the `release.Release` to download from.
        archives: iterable of the names of the archives.

    Raises:
        ValueError: the release does not contain these archives, or a reason given in `download_release`.
        OSError: see `download_release`.
        requests.RequestException: see `download_release`.
    """
    _check_release(release)
    if absent := set(archives) - {file.name for file in release.archives}:
        raise ValueError(
            f"'{release.name}' has no {', '.join(sorted(absent))}. Set CXR_RELEASE to the release that the images came "
            "from."
        )
    if not {file.md5 for file in release.archives}.issubset(NIH_MD5.values()):
        _check_origin()
    for archive, names in inventory.unrecorded().items():
        inventory.record(archive, inventory.INCOMPLETE if archive in archives else NIH_MD5[archive], names)
    for archive in archives:
        # The names stay recorded, so that the images still count as missing if the repair fails.
        inventory.record(archive, inventory.INCOMPLETE, inventory.recorded(archive)[1])
    _run(release, [file for file in release.archives if file.name in archives], CONNECTIONS)


def _check_release(release):
    """Raises `ValueError` if `data/` contains images of another release.

    A release that was moved or renamed is recognized by the MD5 of its archives.
    """
    note = release_note()
    if note is None or note.name in ("", release.name):
        return
    if not any(file.md5 and inventory.recorded(file.name)[0] == file.md5 for file in release.archives):
        raise ValueError(
            f"{config.data_folder()} contains images of '{note.name}', not of '{release.name}'. Set CXR_HOME (or "
            "CXR_DATA, if it is set) to another folder, or remove this one."
        )


def _check_origin():
    """Raises `ValueError` if `data/images/` contains images that this project has neither downloaded nor recorded."""
    images = inventory.image_names()
    if images and not inventory.records() and release_note() is None:
        raise ValueError(
            f"data/images/ contains images that this project did not download ({len(images):,}). If they are NIH's, "
            f"put NIH's {config.LABEL_TABLES[0]} into data/ and run cxr check --repair, which keeps the intact images. "
            "If they are not, set CXR_HOME to another folder."
        )


def _choose(release, archives):
    if archives is not None and not 1 <= archives <= len(release.archives):
        raise ValueError(
            f"ARCHIVES is {archives}, but '{release.name}' has {len(release.archives)} archives: choose a number from "
            f"1 to {len(release.archives)}, or None for all."
        )
    return release.archives[:archives]


def _todo(files):
    """Returns the archives that are not unpacked yet."""
    present = inventory.image_names()

    def is_unpacked(file):
        md5, names = inventory.recorded(file.name)
        name, path = next(iter((file.images or {"": ""}).items()))
        is_old = (link := inventory.image_folder() / name).is_symlink() and link.resolve() != Path(path).resolve()
        return md5 == str(file.md5) and present.issuperset(file.images or names) and not (file.images and is_old)

    return [file for file in files if not is_unpacked(file)]


def _space(release, todo):
    """Returns the dict of `plan`."""
    present = inventory.image_names()
    remote = [file.size or 0 for file in todo if not file.is_local]
    tables = sum(file.size or 0 for file in release.tables if todo and not file.is_local)
    images = 0
    for file in todo:
        there = present.intersection(inventory.recorded(file.name)[1])
        size = sum((inventory.image_folder() / name).lstat().st_size for name in there)
        # A PNG file is as large as in its archive; 1 % is added for the unused end of each file's last disk block.
        images += 1.01 * max(0, (file.size or 0) - size)
    # data/ may be on another disk.
    folder = next(path for path in (inventory.image_folder(), *inventory.image_folder().parents) if path.exists())
    sizes = {
        "fetch": sum(remote) + tables - received(todo),
        "images": images,
        # An archive on disk takes the space of its images. Both exist only while the archive is unpacked.
        "peak": images + tables + sum(sorted(remote)[-UNPACKERS:]) - received(todo),
        "free": shutil.disk_usage(folder).free,
    }
    return {name: size / 1e9 for name, size in sizes.items()}


def _run(release, files, connections):
    if connections < 1:
        raise ValueError(f"CONNECTIONS is {connections}: choose 1 or more.")
    _check_release(release)
    _check_origin()
    todo = _todo(files)
    incoming = [incoming_folder() / file.name for file in [*files, *release.tables] if not file.is_local]
    tables = [config.data_folder() / file.name for file in release.tables]
    # New images are stored together with the tables of their release.
    is_stored = release_note() == (release.name, release.kind) and all(map(Path.exists, tables)) and not tables_error()
    if is_stored and not (todo or any(map(Path.exists, incoming))):
        print(f"Nothing to do; archives already unpacked: {len(files)}.")
        return
    space = _space(release, todo)
    if space["free"] < space["peak"]:
        raise OSError(
            f"The download needs {space['peak']:.2f} GB of disk space, but only {space['free']:.2f} GB are free. Free "
            "some space, or set ARCHIVES to a smaller number."
        )
    with locked_incoming_folder():
        try:
            Transfer(release, todo, connections).run()
        except ValueError:
            forget_listing()
            raise
        except OSError as error:
            if error.filename2 and error.errno in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP):
                raise OSError(
                    f"{inventory.image_folder()} is on a drive without links ({error.strerror}), and images are never "
                    "copied: set CXR_DATA to a folder on a local disk and run this again."
                ) from error
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OSError(
                f"The disk is full: {_space(release, _todo(files))['peak']:.2f} GB more are needed. Data received so "
                "far is kept. Free some space, then run this again to continue."
            ) from error
        # Parts of other archives are kept for a later download.
        for path in incoming:
            path.unlink(missing_ok=True)


def check(repair_defects=False):
    """Reads all images in `data/images/` and prints which are missing or damaged.

    Args:
        repair_defects: bool, whether to download the archives of these images again, from `CXR_RELEASE`.

    Returns:
        int, the exit code: 0 if all images are present and intact, the tables are complete and no download is
        unfinished, else 1.
    """
    try:
        defects, error = _report_defects(), tables_error()
        if repair_defects and (defects or error or inventory.unrecorded()):
            repair(find_release(config.release_source()), [archive for archive in defects if archive])
            defects, error = _report_defects(), tables_error()
        print(error) if error else inventory.report_unlisted(check_tables())
    except (OSError, ValueError, folders.DriveError) as error:
        print(error, file=sys.stderr)
        return 1
    if incoming_folder().exists():
        print("A download is unfinished: run 000-data_download again to continue it.")
    return 1 if defects or error or incoming_folder().exists() else 0


def _report_defects():
    """Prints which images are missing or damaged.

    Returns:
        `{archive: lines about its images}`, for archives with such images; the archive is `""` where it is unknown.
    """
    images = inventory.check_images()
    archive_of = inventory.archives()
    defects = {}
    for name, defect in images.items():
        if defect:
            defects.setdefault(archive_of.get(name, ""), []).append(f"  {name} {defect}")
    for archive, lines in sorted(defects.items()):
        print(f"{archive or 'unknown archive'}: {len(lines):,} missing or damaged", *lines[:_SHOWN], sep="\n")
        if len(lines) > _SHOWN:
            print(f"  and {len(lines) - _SHOWN:,} more")
    count = sum(map(len, defects.values()))
    print(f"Images: {len(images) - count:,} intact, {count:,} missing or damaged.")
    absent = [archive for archive, names in inventory.nih_images().items() if archive_of.keys().isdisjoint(names)]
    if absent:
        print(f"No images of {', '.join(absent)} are present. Run 000-data_download to download them.")
    if archives := sorted(archive for archive in defects if archive.endswith(".tar.gz")):
        print(f"To download these archives again, run cxr check --repair: {', '.join(archives)}")
    return defects
