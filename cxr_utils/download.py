"""Fetch a release, verify it, unpack the films, remove the archives; check and repair the films that are there.

`python -m cxr_utils.download --check` lists films that are missing or damaged, `--repair` fetches their archives again.
"""

import argparse
import errno
import fcntl
import os
import shutil
import sys
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from cxr_utils import config, inventory, web
from cxr_utils.fetch import fetch
from cxr_utils.files import atomic
from cxr_utils.progress import Board
from cxr_utils.release import NIH_ARCHIVES, find_release, forget_listing
from cxr_utils.unpack import link, unpack

CONNECTIONS = 3
_UNPACKERS = 2  # archives fetched side by side arrive side by side
_REDRAW_S = 0.5
_SHOWN = 20  # films to name for each archive


def plan(found, archives):
    """Says how much a download still has to fetch and how much more disk it takes.

    Args:
        found: the `release.Release`.
        archives: int, how many of its archives to take, from the first; `None` for all.

    Returns:
        A dict of GB (1e9 bytes): `fetch` (over the network), `films` (lasting), `peak` (the most that is taken on the way; less what
        has arrived), `free` (on the disk of `CXR_HOME`).

    Raises:
        ValueError: `archives` is not between 1 and the number there is.
    """
    return {name: size / 1e9 for name, size in _space(found, _todo(_choose(found, archives))).items()}


def download(found, archives, connections=CONNECTIONS):
    """Brings a release to `data/`: the tables first, then the archives, each verified before it is unpacked and unpacked while
    the next ones load.

    What an earlier call finished is not done again, and what it left unfinished is continued. Archives of a local release are read
    where they lie and never removed; its unpacked films are linked, not copied.

    Args:
        found: the `release.Release`.
        archives: int, how many of its archives to take, from the first; `None` for all.
        connections: int, how many archives to fetch at once.

    Raises:
        ValueError: a file is not the published one; an archive holds what is no film; `data/` holds another release; `archives` is
            not between 1 and the number there is.
        OSError: the disk has too little space, or another process downloads to it.
        requests.RequestException: the server refuses, or gave nothing in several tries.
    """
    _bring(found, _choose(found, archives), connections)


def repair(found, checked):
    """Fetches the archives of films that `inventory.check` found missing or damaged, and no others.

    Films that another program unpacked and that are whole count as unpacked from then on.

    Args:
        found: the `release.Release` to fetch from.
        checked: the `inventory.Check`.

    Raises:
        ValueError: the release does not have these archives; besides, what `download` raises.
    """
    for file in NIH_ARCHIVES:
        if file.name in checked.unrecorded:
            inventory.record(file.name, file.md5, checked.unrecorded[file.name])
    files = [file for file in found.archives if file.name in checked.archives]
    if len(files) < len(checked.archives):
        raise ValueError(
            f"'{found.name}' has no {', '.join(set(checked.archives) - {file.name for file in files})}: set CXR_RELEASE to the "
            "release that the films came from."
        )
    for file in files:
        inventory.forget(file.name)
    _bring(found, files, CONNECTIONS)


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
    present = inventory.film_names()

    def is_unpacked(file):
        md5, names = inventory.recorded(file.name)
        return md5 == str(file.md5) and present.issuperset(names)

    return [file for file in files if not is_unpacked(file)]


def _space(found, todo):
    """Returns bytes by purpose, as `plan` does in GB."""
    config.home().mkdir(parents=True, exist_ok=True)
    here = fetching()
    arrived = sum((here / file.name).stat().st_size for file in todo if (here / file.name).is_file())
    remote = [file.size or 0 for file in todo if not file.is_local]
    tables = [file.size or 0 for file in found.tables if todo and not file.is_local]
    # A PNG takes as much room unpacked as in its archive, but for the end of its last block on disk.
    films = int(1.01 * sum(file.size or 0 for file in todo))
    return {
        "fetch": sum(remote) + sum(tables) - arrived,
        "films": films,
        # An archive that waits is there instead of its films; only while it is unpacked are both.
        "peak": films + sum(tables) + sum(sorted(remote)[-_UNPACKERS:]) - arrived,
        "free": shutil.disk_usage(config.home()).free,
    }


def fetching():
    """Returns the folder of what is on its way as a `Path`; it is there only while a download is unfinished."""
    return config.home() / "data" / "fetching"


def _bring(found, files, connections):
    data = config.home() / "data"
    note = data / config.RELEASE_NOTE
    if note.is_file() and note.read_text().strip() != found.name:
        raise ValueError(
            f"data/ holds films of '{note.read_text().strip()}', not of '{found.name}': "
            "set CXR_HOME to another folder, or remove data/."
        )
    todo = _todo(files)
    if not todo and all((data / table.name).is_file() for table in found.tables) and not fetching().exists():
        print(f"Nothing to do: {len(files)} archives are unpacked.")
        return
    space = _space(found, todo)
    if space["free"] < space["peak"]:
        raise OSError(
            f"{space['peak'] / 1e9:.2f} GB of disk needed, {space['free'] / 1e9:.2f} GB free: free some or set ARCHIVES lower."
        )
    with _alone():
        # The name stays with the films: every figure drawn from them says what they are.
        with atomic(note) as part:
            part.write_text(found.name + "\n")
        try:
            # New films come with the tables of their release.
            tables = [table for table in found.tables if todo or not (data / table.name).is_file()]
            _Run(tables, todo, connections).work()
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


@contextmanager
def _alone():
    """Holds the folder of what is on its way, which vanishes when the block succeeds; another process is refused."""
    here = fetching()
    here.mkdir(parents=True, exist_ok=True)
    with open(here / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"Another process is downloading to {here.parent}: wait for it, or stop it.") from None
        for left in [*here.parent.glob(".*.part.*"), *here.parent.glob("*/.*.part.*")]:
            left.unlink()  # by a run that was killed
        yield
        shutil.rmtree(here)


class _Run:
    """One download: a few threads fetch, two unpack, the calling one draws and waits."""

    def __init__(self, tables, archives, connections):
        self._data = config.home() / "data"
        self._stop = web.Stop()
        self._board = Board(sum(file.size or 0 for file in [*tables, *archives]))
        self._fetchers, self._unpacker = ThreadPoolExecutor(connections), ThreadPoolExecutor(_UNPACKERS)
        self._jobs = []
        self._tables, self._archives = tables, archives

    def work(self):
        """Does it; an archive that is not the published one does not keep the others from coming."""
        try:
            # The small files come first, so that a bad network shows in seconds.
            for bring, files in ((self._bring_table, self._tables), (self._bring_archive, self._archives)):
                self._jobs += [self._fetchers.submit(bring, file) for file in files]
                self._wait()
        finally:
            # Also when the user interrupts: whatever the threads do has ended before another run can begin.
            self._stop.set()
            for pool in (self._fetchers, self._unpacker):
                pool.shutdown(cancel_futures=True)
            self._board.draw(last=True)

    def _wait(self):
        """Draws until all jobs are done, those too that they add."""
        while left := [job for job in self._jobs if not job.done()]:
            ended, _ = wait(left, _REDRAW_S, FIRST_EXCEPTION)
            self._board.draw()
            for job in ended:
                if not isinstance(job.exception(), (ValueError, type(None))):
                    raise job.exception()
        for job in self._jobs:
            job.result()

    def _bring_table(self, file):
        source = self._fetch(file)
        if file.is_local:
            with atomic(self._data / file.name) as part:
                shutil.copyfile(source, part)
        else:
            os.replace(source, self._data / file.name)

    def _bring_archive(self, file):
        source = Path(file.address) if file.is_folder else self._fetch(file)
        self._jobs.append(self._unpacker.submit(self._unpack, file, source))

    def _fetch(self, file):
        bar = self._board.bar(file.name, file.size, counts=True)
        try:
            return fetch(file, fetching(), self._stop, bar, self._board.note)
        finally:
            self._board.end(bar)

    def _unpack(self, file, source):
        bar = self._board.bar(f"{file.name} unpack", file.size)
        images = inventory.images()
        names = link(source, images, self._stop) if file.is_folder else unpack(source, images, self._stop, bar)
        # A record, and an archive that is gone, must not outlive a power cut that the films don't.
        os.sync()
        inventory.record(file.name, file.md5, names)
        if not file.is_local:
            source.unlink()
        self._board.end(bar, f"{file.name}: {len(names):,} films")


def main(arguments=None):
    """Checks or repairs the films in `data/images/`; `CXR_HOME` and `CXR_RELEASE` say where they are and came from.

    Returns:
        0 when all films are there and whole, 1 otherwise.
    """
    parser = argparse.ArgumentParser(prog="python -m cxr_utils.download", description=__doc__.splitlines()[0])
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--check", action="store_true", help="read every film and list what is missing or damaged")
    task.add_argument("--repair", action="store_true", help="the same, then fetch the archives of these films again")
    options = parser.parse_args(arguments)
    try:
        checked = inventory.check()
        _tell(checked)
        if options.repair and (checked.faults or checked.unrecorded):
            repair(find_release(config.release_source()), checked)
            checked = inventory.check()
            _tell(checked)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 1 if checked.faults else 0


def _tell(checked):
    for archive, faults in groupby(sorted(checked.faults, key=lambda fault: str(fault[2])), lambda fault: fault[2]):
        faults = list(faults)
        print(f"{archive or 'of no known archive'}: {len(faults):,} films")
        for name, reason, _ in faults[:_SHOWN]:
            print(f"  {name} {reason}")
        if len(faults) > _SHOWN:
            print(f"  and {len(faults) - _SHOWN:,} more")
    print(f"{checked.sound:,} films are whole, {len(checked.faults):,} missing or damaged.")
    if checked.archives:
        print(f"To fetch again, by python -m cxr_utils.download --repair: {', '.join(checked.archives)}")


if __name__ == "__main__":
    sys.exit(main())
