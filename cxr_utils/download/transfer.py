"""Downloads and unpacks several archives in parallel threads, while the calling thread draws the progress."""

import os
import shutil
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path

from cxr_utils import config
from cxr_utils._files import locked, write_text
from cxr_utils._progress import progress
from cxr_utils.download import http_client, inventory
from cxr_utils.download.fetch import fetch
from cxr_utils.download.release import release_note
from cxr_utils.download.tables import tables_error
from cxr_utils.download.unpack import link_images, unpack

UNPACKERS = 2  # archives unpacked at the same time: parallel downloads end within a short time of each other
REDRAW_S = 2  # seconds between two drawings of the progress


def incoming_folder():
    """Returns the folder of partial downloads as a `Path`; it exists only while a download is unfinished."""
    return config.data_folder() / "fetching"


def received(files):
    """Returns the number of bytes of some files of a release that earlier downloads have left on disk."""
    parts = [incoming_folder() / file.name for file in files if not file.is_local]
    return sum(part.stat().st_size for part in parts if part.is_file())


@contextmanager
def locked_incoming_folder():
    """Creates the folder of partial downloads, keeps other downloads out of it, and in the end removes it if empty.

    Temporary files and tables that a killed run has left are deleted.

    Raises:
        OSError: another process has locked the folder.
    """
    folder = incoming_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with locked("download", "the download", folder=folder.parent):
        # Not those of pixel arrays and their indexes: another process may be writing them.
        for pattern in (
            "images/.*.part.*",
            "unpacked/.*.part.*",
            ".*.part.*.txt",
            ".*.part.[DB]*.csv",
            "fetching/*.csv",
            "fetching/*.txt",
        ):
            for path in folder.parent.glob(pattern):
                path.unlink()
        yield
    with suppress(OSError):  # it contains parts of other archives
        folder.rmdir()


class Transfer:
    """One download of the tables and some archives of a release to `data/`.

    Args:
        release: the `release.Release` that the files belong to.
        archives: list of `release.ReleaseFile`.
        connections: int, number of files to download at the same time.
    """

    def __init__(self, release, archives, connections):
        self._release, self._archives = release, archives
        self._stop = http_client.Stop()
        self._fetchers, self._unpackers = ThreadPoolExecutor(connections), ThreadPoolExecutor(UNPACKERS)
        self._jobs = []  # (label, job) of all jobs
        files = [*release.tables, *archives]
        self._done = {file.name: 0 for file in files}  # bytes received
        # An archive may contain images that were linked from a folder.
        self._archive_of = {
            image: name
            for image, name in inventory.archives().items()
            if name not in self._done and name.endswith(".tar.gz")
        }
        total = sum(file.size or 0 for file in files) or None
        # The bytes of an earlier run are left out of the rate.
        self._bar = progress(total=total, initial=received(archives), desc="download", unit="B", unit_scale=True)

    def run(self):
        """Downloads everything. A wrong archive does not prevent the download of the others.

        Raises:
            ValueError: files differ from the published ones, the tables are incomplete, or archives contain something
                other than images.
            OSError: a file cannot be read or written.
            requests.RequestException: the server rejected a request, or sent no data in several attempts.
        """
        with self._bar:
            try:
                # The small files come first, so that a network problem shows within seconds.
                self._replace_tables()
                self._write_note()
                self._run_jobs(self._fetch_archive, self._archives)
            except KeyboardInterrupt:
                self._bar.write(
                    "Stopping. Data received so far is kept. This can take half a minute if a server does not respond."
                )
                raise
            finally:
                self._end()
                self._draw()

    def _end(self):
        """Waits for all threads, as another run cannot begin before, even if the user interrupts several times."""
        self._stop.set()
        try:
            for pool in (self._fetchers, self._unpackers):
                pool.shutdown(cancel_futures=True)
        except KeyboardInterrupt:
            self._end()

    def _draw(self):
        done = max(self._bar.initial, sum(self._done.values()))
        # Some files have no published size, so their bytes are not in the total.
        self._bar.n = min(self._bar.total or done, done)
        self._bar.set_postfix_str(", ".join(label for label, job in self._jobs if job.running()).replace(".tar.gz", ""))

    def _run_jobs(self, task, files):
        """Runs `task(file)` for all files and draws until all jobs have ended, including jobs that a task adds."""
        for file in files:
            self._jobs.append((file.name, self._fetchers.submit(task, file)))
        while True:
            running = [job for _, job in self._jobs if not job.done()]
            errors = [job.exception() for _, job in self._jobs if job.done() and job.exception()]
            if others := [error for error in errors if not isinstance(error, ValueError)]:
                raise others[0]
            if not running:
                break
            self._draw()
            wait(running, REDRAW_S, FIRST_EXCEPTION)
        if errors:
            raise ValueError("\n".join(map(str, errors)))

    def _fetch(self, file):
        return fetch(file, incoming_folder(), self._stop, self._done, self._bar.write)

    def _replace_tables(self):
        """Downloads the tables, and replaces those in `data/` if the new ones are complete and belong together."""
        for pause in (0, 5 * http_client.PAUSE_S)[: 1 if self._release.tables[0].is_local else 2]:
            self._stop.wait(pause)
            self._run_jobs(self._fetch, self._release.tables)
            for file in [file for file in self._release.tables if file.is_local]:
                shutil.copyfile(file.address, incoming_folder() / file.name)
            if not (error := tables_error(incoming_folder())):
                break
        else:
            raise ValueError(f"{error} These tables were read from {self._release.tables[0].address}.")
        for file in self._release.tables:
            os.replace(incoming_folder() / file.name, config.data_folder() / file.name)

    def _write_note(self):
        """Writes `RELEASE.txt`, because every figure states which images it shows."""
        if release_note() != (self._release.name, self._release.kind):
            kind = f"kind: {self._release.kind}\n" if self._release.kind else ""
            write_text(config.data_folder() / config.RELEASE_NOTE, f"{self._release.name}\n{kind}")

    def _fetch_archive(self, file):
        source = Path(file.address) if file.images else self._fetch(file)
        self._jobs.append((f"unpack {file.name}", self._unpackers.submit(self._unpack, file, source)))

    def _unpack(self, file, source):
        folder = inventory.image_folder()
        # The names of an earlier attempt stay, as its images can be there.
        inventory.record(file.name, inventory.INCOMPLETE, inventory.recorded(file.name)[1])
        names = (
            link_images(file, folder, self._stop)
            if file.images
            else unpack(source, folder, self._stop, self._archive_of)
        )
        # The images must be on disk before the record is written and the archive is deleted: a power failure could
        # otherwise lose images that are recorded as unpacked.
        os.sync()
        inventory.record(file.name, file.md5, names)
        if not file.is_local:
            source.unlink()
        self._bar.write(f"{file.name}: {len(names):,} images")
