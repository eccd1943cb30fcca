"""Downloads and unpacks several archives in parallel threads, while the calling thread draws the progress."""

import fcntl
import os
import shutil
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path

from cxr_utils import config
from cxr_utils._files import atomic
from cxr_utils._progress import Board
from cxr_utils.download import http_client, inventory
from cxr_utils.download.fetch import fetch
from cxr_utils.download.unpack import link_images, unpack

UNPACKERS = 2  # archives unpacked at the same time: parallel downloads end within a short time of each other
_REDRAW_S = 0.5  # seconds between two drawings of the progress


def incoming_folder():
    """Returns the folder of partial downloads as a `Path`; it exists only while a download is unfinished."""
    return config.home() / "data" / "fetching"


@contextmanager
def locked_incoming_folder():
    """Creates and locks the folder of partial downloads, and removes it at the end if it is empty.

    Temporary files that a killed run has left are deleted.

    Raises:
        OSError: another process has locked the folder.
    """
    folder = incoming_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(
                f"Another process is downloading to {folder.parent}: wait until it ends, or stop it."
            ) from None
        tables = (*config.LABEL_TABLES, config.TRAIN_VAL_LIST, config.TEST_LIST, config.BOXES, config.RELEASE_NOTE)
        for pattern in ("images/.*.part.*", "unpacked/.*.part.*", *(f".*.part.{table}" for table in tables)):
            for path in folder.parent.glob(pattern):
                path.unlink()
        yield
        (folder / "lock").unlink()
    with suppress(OSError):  # it contains parts of other archives
        folder.rmdir()


class Transfer:
    """One download of tables and archives to `data/`.

    Args:
        name: string, the name of the release.
        tables: list of `release.ReleaseFile`.
        archives: list of `release.ReleaseFile`.
        connections: int, number of files to download at the same time.
    """

    def __init__(self, name, tables, archives, connections):
        self._data = config.home() / "data"
        self._stop = http_client.Stop()
        self._board = Board(sum(file.size or 0 for file in [*tables, *archives]))
        self._fetchers, self._unpackers = ThreadPoolExecutor(connections), ThreadPoolExecutor(UNPACKERS)
        self._jobs = []
        self._name, self._tables, self._archives = name, tables, archives
        coming = {file.name for file in archives}
        self._archive_of = {image: archive for image, archive in inventory.archives().items() if archive not in coming}

    def run(self):
        """Downloads everything. A wrong archive does not prevent the download of the others.

        Raises:
            ValueError: files differ from the published ones, or archives contain something other than images.
            OSError: a file cannot be read or written.
            requests.RequestException: the server rejected a request, or sent no data in several attempts.
        """
        try:
            # The small files come first, so that a network problem shows within seconds.
            self._run_jobs(self._fetch_table, self._tables)
            # The name is stored with the images because every figure states which images it shows.
            if not (self._data / config.RELEASE_NOTE).is_file():
                with atomic(self._data / config.RELEASE_NOTE) as part:
                    part.write_text(self._name + "\n")
            self._run_jobs(self._fetch_archive, self._archives)
        except KeyboardInterrupt:
            print(
                "Stopping. Data received so far is kept. This can take half a minute if a server does not respond.",
                flush=True,
            )
            raise
        finally:
            self._end()

    def _end(self):
        # All threads must end before another run can begin, even if the user interrupts several times.
        self._stop.set()
        while True:
            try:
                for pool in (self._fetchers, self._unpackers):
                    pool.shutdown(cancel_futures=True)
                break
            except KeyboardInterrupt:
                continue
        self._board.draw(last=True)

    def _run_jobs(self, task, files):
        """Runs `task(file)` for all files and draws until all jobs have ended, including jobs that a task adds."""
        self._jobs += [self._fetchers.submit(task, file) for file in files]
        while True:
            running = [job for job in self._jobs if not job.done()]
            errors = [job.exception() for job in self._jobs if job.done() and job.exception()]
            for error in errors:
                if not isinstance(error, ValueError):
                    raise error
            self._board.draw()
            if not running:
                break
            wait(running, _REDRAW_S, FIRST_EXCEPTION)
        if errors:
            raise ValueError("\n".join(map(str, errors)))

    def _fetch_table(self, file):
        source = self._fetch(file)
        if file.is_local:
            with atomic(self._data / file.name) as part:
                shutil.copyfile(source, part)
        else:
            os.replace(source, self._data / file.name)

    def _fetch_archive(self, file):
        source = Path(file.address) if file.is_folder else self._fetch(file)
        self._jobs.append(self._unpackers.submit(self._unpack, file, source))

    def _fetch(self, file):
        bar = self._board.bar(file.name, file.size, counts=True)
        try:
            return fetch(file, incoming_folder(), self._stop, bar, self._board.note)
        finally:
            self._board.end(bar)

    def _unpack(self, file, source):
        bar = self._board.bar(f"{file.name} unpack", file.size)
        folder = inventory.image_folder()
        names = (
            link_images(source, folder, self._stop)
            if file.is_folder
            else unpack(source, folder, self._stop, bar, self._archive_of)
        )
        # The images must be on disk before the record is written and the archive is deleted: a power failure could
        # otherwise lose images that are recorded as unpacked.
        os.sync()
        inventory.record(file.name, file.md5, names)
        if not file.is_local:
            source.unlink()
        self._board.end(bar, f"{file.name}: {len(names):,} images")
