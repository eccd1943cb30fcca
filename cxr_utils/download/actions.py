"""Fetch a release, verify it, unpack the images, remove the archives; check and repair the images that are there.

`cxr check` lists images that are missing or damaged, `cxr check --repair` fetches their archives again.
"""

import errno
import fcntl
import shutil
import sys
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path

from cxr_utils import config
from cxr_utils.download import inventory
from cxr_utils.download.release import NIH_ARCHIVES, find_release, forget_listing
from cxr_utils.download.transfer import UNPACKERS, Transfer, incoming_folder

CONNECTIONS = 3
_TO_FETCH_AGAIN = "to fetch again"  # stands for the MD5 of an archive of which images are missing or damaged
_SHOWN = 20  # images to name for each archive


def plan(found, archives):
    """Says how much a download still has to fetch and how much more disk it takes.

    Args:
        found: the `release.Release`.
        archives: int, how many of its archives to take, from the first; `None` for all.

    Returns:
        A dict of GB (1e9 bytes): `fetch` (over the network), `images` (lasting), `peak` (the most that is taken on the way; less what
        has arrived), `free` (on the disk of the images).

    Raises:
        ValueError: `archives` is not between 1 and the number there is.
    """
    return {name: size / 1e9 for name, size in _space(found, _todo(_choose(found, archives))).items()}


def download_release(found, archives, connections=CONNECTIONS):
    """Brings a release to `data/`: the tables first, then the archives, each verified before it is unpacked and unpacked while
    the next ones load.

    What an earlier call finished is not done again, and what it left unfinished is continued. Archives of a local release are read
    where they lie and never removed; its unpacked images are linked, not copied.

    Args:
        found: the `release.Release`.
        archives: int, how many of its archives to take, from the first; `None` for all.
        connections: int, how many archives to fetch at once.

    Raises:
        ValueError: a file is not the published one; an archive holds what is no image; `data/` holds another release; `archives` is
            not between 1 and the number there is.
        OSError: the disk has too little space, or another process downloads to it.
        requests.RequestException: the server refuses, or gave nothing in several tries.
    """
    _run(found, _choose(found, archives), connections)


def repair(found, checked):
    """Fetches the archives of images that `inventory.check` found missing or damaged, and no others.

    Images that another program unpacked and that are whole count as unpacked from then on.

    Args:
        found: the `release.Release` to fetch from.
        checked: the `inventory.Check`.

    Raises:
        ValueError: the release does not have these archives; besides, what `download_release` raises.
    """
    _check_release(found)
    files = [file for file in found.archives if file.name in checked.archives]
    if len(files) < len(checked.archives):
        raise ValueError(
            f"'{found.name}' has no {', '.join(set(checked.archives) - {file.name for file in files})}: set CXR_RELEASE to the "
            "release that the images came from."
        )
    md5 = {file.name: file.md5 for file in NIH_ARCHIVES}
    for archive, names in checked.unrecorded.items():
        inventory.record(archive, md5[archive], names)
    for archive in checked.archives:
        # The names stay known, so that a repair that comes to nothing leaves the images missing.
        inventory.record(archive, _TO_FETCH_AGAIN, inventory.recorded(archive)[1])
    _run(found, files, CONNECTIONS)


def _check_release(found):
    """Refuses to mix images of several releases; one that has moved is known by its MD5 sums."""
    note = config.home() / "data" / config.RELEASE_NOTE
    name = note.read_text().strip() if note.is_file() else None
    same = name == found.name or any(
        file.md5 and inventory.recorded(file.name)[0] == file.md5 for file in found.archives
    )
    if name and not same:
        raise ValueError(
            f"data/ holds images of '{name}', not of '{found.name}': set CXR_HOME to another folder, or remove data/."
        )


def _check_origin():
    """Refuses to overwrite images that no download of this project brought, and no repair has taken over."""
    images = inventory.image_names()
    if images and not inventory.records() and not (config.home() / "data" / config.RELEASE_NOTE).is_file():
        raise ValueError(
            f"data/images/ holds {len(images):,} images that came from elsewhere: if they are NIH's, put NIH's "
            f"{config.LABEL_TABLES[0]} into data/ and run cxr check --repair, which keeps those that are whole; "
            "else set CXR_HOME to another folder."
        )


def _choose(found, archives):
    if archives is None:
        return found.archives
    if not 1 <= archives <= len(found.archives):
        raise ValueError(
            f"ARCHIVES is {archives}, but '{found.name}' has {len(found.archives)}: choose 1 to that or None."
        )
    return found.archives[:archives]


def _todo(files):
    """Returns the archives that are not unpacked yet."""
    present = inventory.image_names()

    def is_unpacked(file):
        md5, names = inventory.recorded(file.name)
        names = inventory.image_names(file.address) if file.is_folder else names
        return md5 == str(file.md5) and present.issuperset(names)

    return [file for file in files if not is_unpacked(file)]


def _space(found, todo):
    """Returns bytes by purpose, as `plan` does in GB."""
    here, present = incoming_folder(), inventory.image_names()
    remote = [file.size or 0 for file in todo if not file.is_local]
    tables = [file.size or 0 for file in found.tables if todo and not file.is_local]
    arrived = sum(
        (here / file.name).stat().st_size for file in todo if (here / file.name).is_file() and not file.is_local
    )
    images = 0
    for file in todo:
        names = inventory.recorded(file.name)[1]
        missing = len(set(names) - present) / len(names) if names else 1
        # A PNG takes as much room unpacked as in its archive, but for the end of its last block on disk.
        images += int(1.01 * (file.size or 0) * missing)
    # data/ may be a disk of its own.
    place = next(path for path in (inventory.image_folder(), *inventory.image_folder().parents) if path.exists())
    return {
        "fetch": sum(remote) + sum(tables) - arrived,
        "images": images,
        # An archive that waits is there instead of its images; only while it is unpacked are both.
        "peak": images + sum(tables) + sum(sorted(remote)[-UNPACKERS:]) - arrived,
        "free": shutil.disk_usage(place).free,
    }


def _run(found, files, connections):
    if connections < 1:
        raise ValueError(f"CONNECTIONS is {connections}: choose 1 or more.")
    _check_release(found)
    _check_origin()
    data = config.home() / "data"
    todo = _todo(files)
    left = [incoming_folder() / file.name for file in [*files, *found.tables] if not file.is_local]
    if not todo and all((data / table.name).is_file() for table in found.tables) and not any(map(Path.exists, left)):
        print(f"Nothing to do: {len(files)} archives are unpacked.")
        return
    space = _space(found, todo)
    if space["free"] < space["peak"]:
        raise OSError(
            f"{space['peak'] / 1e9:.2f} GB of disk needed, {space['free'] / 1e9:.2f} GB free: free some or set ARCHIVES lower."
        )
    with _locked():
        try:
            # New images come with the tables of their release.
            tables = [table for table in found.tables if todo or not (data / table.name).is_file()]
            Transfer(found.name, tables, todo, connections).work()
        except ValueError:
            forget_listing()
            raise
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OSError(
                f"The disk is full: {_space(found, _todo(files))['peak'] / 1e9:.2f} GB more are needed. Nothing is lost: free some "
                "and run this again to go on from here."
            ) from error
        # What other archives have brought so far stays for their own turn.
        for path in left:
            path.unlink(missing_ok=True)


@contextmanager
def _locked():
    """Holds the folder of what is on its way, which vanishes when it is empty; another process is refused."""
    here = incoming_folder()
    here.mkdir(parents=True, exist_ok=True)
    with open(here / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"Another process is downloading to {here.parent}: wait for it, or stop it.") from None
        tables = (*config.LABEL_TABLES, config.TRAIN_VAL_LIST, config.TEST_LIST, config.BOXES, config.RELEASE_NOTE)
        for pattern in ("images/.*.part.*", "unpacked/.*.part.*", *(f".*.part.{table}" for table in tables)):
            for path in here.parent.glob(pattern):
                path.unlink()  # of a run that was killed
        yield
        (here / "lock").unlink()
    with suppress(OSError):  # it holds parts of other archives
        here.rmdir()


def check(repair_them=False):
    """Reads all images in `data/images/` and prints which are missing or damaged.

    Args:
        repair_them: bool, whether to fetch the archives of these images again, from `CXR_RELEASE`.

    Returns:
        int, 0 when all images are there and intact, else 1.
    """
    try:
        checked = inventory.check_images()
        _report(checked)
        if repair_them and (checked.defects or checked.unrecorded):
            repair(find_release(config.release_source()), checked)
            checked = inventory.check_images()
            _report(checked)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    if incoming_folder().exists():
        print("A download is unfinished: run 000-data_download again to continue it.")
    return 1 if checked.defects or incoming_folder().exists() else 0


def _report(checked):
    for archive, faults in groupby(sorted(checked.defects, key=lambda fault: str(fault[2])), lambda fault: fault[2]):
        faults = list(faults)
        print(f"{archive or 'of no known archive'}: {len(faults):,} images")
        for name, reason, _ in faults[:_SHOWN]:
            print(f"  {name} {reason}")
        if len(faults) > _SHOWN:
            print(f"  and {len(faults) - _SHOWN:,} more")
    print(f"{checked.intact:,} images are whole, {len(checked.defects):,} missing or damaged.")
    if checked.absent:
        print(f"No image is here of {', '.join(checked.absent)}: 000-data_download fetches them.")
    if checked.archives:
        print(f"To fetch again, by cxr check --repair: {', '.join(checked.archives)}")
