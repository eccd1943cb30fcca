"""The threads of a download: a few fetch, two unpack, the calling one draws and waits."""

import os
import shutil
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from cxr_utils import config
from cxr_utils._files import atomic
from cxr_utils._progress import Board
from cxr_utils.download import http_client, inventory
from cxr_utils.download.fetch import fetch
from cxr_utils.download.unpack import link_images, unpack

UNPACKERS = 2  # archives fetched side by side arrive side by side
_REDRAW_S = 0.5


def incoming_folder():
    """Returns the folder of what is on its way as a `Path`; it is there only while a download is unfinished."""
    return config.home() / "data" / "fetching"


class Transfer:
    """One download of some tables and archives to `data/`.

    Args:
        name: of the release.
        tables: list of `release.ReleaseFile`.
        archives: list of `release.ReleaseFile`.
        connections: int, how many to fetch at once.
    """

    def __init__(self, name, tables, archives, connections):
        self._data = config.home() / "data"
        self._stop = http_client.Stop()
        self._board = Board(sum(file.size or 0 for file in [*tables, *archives]))
        self._fetchers, self._unpacker = ThreadPoolExecutor(connections), ThreadPoolExecutor(UNPACKERS)
        self._jobs = []
        self._name, self._tables, self._archives = name, tables, archives
        coming = {file.name for file in archives}
        self._owners = {image: archive for image, archive in inventory.archives().items() if archive not in coming}

    def work(self):
        """Does it; an archive that is not the published one does not keep the others from coming.

        Raises:
            ValueError: files are not the published ones, or archives hold what is no image.
            OSError: something can't be read or written.
            requests.RequestException: the server refuses, or gave nothing in several tries.
        """
        try:
            # The small files come first, so that a bad network shows in seconds.
            self._all(self._fetch_table, self._tables)
            # The name stays with the images: every figure drawn from them says what they are.
            if not (self._data / config.RELEASE_NOTE).is_file():
                with atomic(self._data / config.RELEASE_NOTE) as part:
                    part.write_text(self._name + "\n")
            self._all(self._fetch_archive, self._archives)
        except KeyboardInterrupt:
            print(
                "Ending: what has arrived is kept. A server that is silent may hold this up for half a minute.",
                flush=True,
            )
            raise
        finally:
            self._end()

    def _end(self):
        # Whatever the threads do has ended before another run can begin, also when the user interrupts more than once.
        self._stop.set()
        while True:
            try:
                for pool in (self._fetchers, self._unpacker):
                    pool.shutdown(cancel_futures=True)
                break
            except KeyboardInterrupt:
                continue
        self._board.draw(last=True)

    def _all(self, bring, files):
        """Draws until all jobs are done, those too that they add."""
        self._jobs += [self._fetchers.submit(bring, file) for file in files]
        while True:
            left = [job for job in self._jobs if not job.done()]
            faults = [job.exception() for job in self._jobs if job.done() and job.exception()]
            for fault in faults:
                if not isinstance(fault, ValueError):
                    raise fault
            self._board.draw()
            if not left:
                break
            wait(left, _REDRAW_S, FIRST_EXCEPTION)
        if faults:
            raise ValueError("\n".join(map(str, faults)))

    def _fetch_table(self, file):
        source = self._fetch(file)
        if file.is_local:
            with atomic(self._data / file.name) as part:
                shutil.copyfile(source, part)
        else:
            os.replace(source, self._data / file.name)

    def _fetch_archive(self, file):
        source = Path(file.address) if file.is_folder else self._fetch(file)
        self._jobs.append(self._unpacker.submit(self._unpack, file, source))

    def _fetch(self, file):
        bar = self._board.bar(file.name, file.size, counts=True)
        try:
            return fetch(file, incoming_folder(), self._stop, bar, self._board.note)
        finally:
            self._board.end(bar)

    def _unpack(self, file, source):
        bar = self._board.bar(f"{file.name} unpack", file.size)
        images = inventory.image_folder()
        names = (
            link_images(source, images, self._stop)
            if file.is_folder
            else unpack(source, images, self._stop, bar, self._owners)
        )
        # A record, and an archive that is gone, must not outlive a power cut that the images don't.
        os.sync()
        inventory.record(file.name, file.md5, names)
        if not file.is_local:
            source.unlink()
        self._board.end(bar, f"{file.name}: {len(names):,} images")
