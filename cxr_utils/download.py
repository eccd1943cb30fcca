"""Fetch a release, verify it, unpack the films, remove the archives."""

import hashlib
import os
import shutil
import tarfile
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from cxr_utils import config
from cxr_utils.files import atomic
from cxr_utils.progress import progress

_CHUNK = 1 << 20


def plan(found, archives):
    """Says how much a download still has to fetch and how much more disk it takes.

    Args:
        found: the `release.Release`.
        archives: int, how many of its archives to take, from the first; `None` for all.

    Returns:
        A dict of GB (1e9 bytes): `fetch` (over the network), `films` (lasting: PNGs are as large unpacked as in the
        archive), `peak` (the films and the largest archive fetched), `free` (on the disk of `CXR_HOME`).

    Raises:
        ValueError: `archives` is not between 1 and the number there is.
    """
    chosen = _todo(found, archives)
    fetched = [file.size or 0 for file in [*found.tables, *chosen] if chosen and not file.is_local]
    films = sum(file.size or 0 for file in chosen)
    config.home().mkdir(parents=True, exist_ok=True)
    sizes = {
        "fetch": sum(fetched),
        "films": films,
        "peak": films + max(fetched, default=0),
        "free": shutil.disk_usage(config.home()).free,
    }
    return {name: size / 1e9 for name, size in sizes.items()}


def download(found, archives):
    """Brings a release to `data/`: the tables, then one archive after the other, each verified before it is unpacked.

    What an earlier call finished is not done again: `data/unpacked/` holds a list of films for each archive. Archives
    of a local release are read where they lie and never removed.

    Args:
        found: the `release.Release`.
        archives: int, how many of its archives to take, from the first; `None` for all.

    Raises:
        ValueError: a file has another size or MD5 than published, or is a web page; or `data/` holds another release.
        OSError: the disk has too little space.
        requests.RequestException: no connection after five tries, or one that broke.
    """
    data = config.home() / "data"
    note = data / config.RELEASE_NOTE
    if note.is_file() and note.read_text().strip() != found.name:
        raise ValueError(
            f"data/ holds films of '{note.read_text().strip()}', not of '{found.name}': "
            "set CXR_HOME to another folder, or remove data/."
        )
    todo = _todo(found, archives)
    space = plan(found, archives)
    if todo and space["free"] < space["peak"]:
        raise OSError(
            f"{space['peak']:.1f} GB of disk needed, {space['free']:.1f} GB free: free some or set ARCHIVES lower."
        )
    for left in [*data.glob(".*.part.*"), *data.glob("images/.*.part.*")]:
        left.unlink()  # by a run that was killed
    # The name stays with the films: every figure drawn from them says what they are.
    with atomic(note) as part:
        part.write_text(found.name + "\n")
    # The small files come first, so that a bad network shows in seconds.
    for table in found.tables:
        # New films come with the tables of their release.
        if todo or not (data / table.name).is_file():
            source = fetch(table, data)
            if table.is_local:
                with atomic(data / table.name) as part:
                    shutil.copyfile(source, part)
    for file in todo:
        source = fetch(file, data)
        names = unpack(source, data / "images")
        with atomic(data / "unpacked" / f"{file.name}.txt") as part:
            part.write_text("\n".join([file.md5, *names]) + "\n")
        if not file.is_local:
            source.unlink()


def fetch(file, folder):
    """Fetches one file and verifies size and MD5 as its bytes pass; a local file is verified where it lies.

    Args:
        file: a `release.ReleaseFile`.
        folder: where to put it.

    Returns:
        `Path` of the verified file.

    Raises:
        ValueError: size or MD5 differ from the published ones, or a web page came instead of the file.
        requests.RequestException: no connection after five tries, or one that broke.
    """
    if file.is_local:
        with open(file.address, "rb") as stream:
            _verified(file, iter(lambda: stream.read(_CHUNK), b""), lambda chunk: None)
        return Path(file.address)
    session = requests.Session()
    patience = Retry(total=5, backoff_factor=1, status_forcelist=[429, 500, 502, 503, 504])
    for scheme in ("https://", "http://"):  # of whatever host the address redirects to
        session.mount(scheme, HTTPAdapter(max_retries=patience))
    with (
        session.get(file.address, stream=True, timeout=60, headers={"Accept-Encoding": "identity"}) as answer,
        atomic(Path(folder) / file.name) as part,
        open(part, "wb") as stream,
    ):
        answer.raise_for_status()
        _verified(file, answer.iter_content(_CHUNK), stream.write)
    return Path(folder) / file.name


def unpack(archive, folder):
    """Unpacks the PNGs of an archive into one flat folder, each whole or not at all.

    Args:
        archive: path of a `.tar.gz`.
        folder: where the films go, whatever folder they have in the archive.

    Returns:
        List of the films' names, in the archive's order.

    Raises:
        ValueError: a member is no regular PNG file, or has the name of another.
        tarfile.TarError: the archive is damaged.
    """
    names = {}
    with tarfile.open(archive, "r:gz") as tar, progress(desc=f"unpack {archive.name}", unit=" films") as bar:
        for member in tar:
            if member.isdir():
                continue
            name = Path(member.name).name
            if not (member.isfile() and name.endswith(".png")) or name in names:
                raise ValueError(
                    f"{archive.name} holds '{member.name}', which is no regular PNG file or there twice: expected films "
                    "like images/00000001_000.png. Fetch the archive again from a source that you trust."
                )
            with atomic(folder / name) as part, open(part, "wb") as stream:
                shutil.copyfileobj(tar.extractfile(member), stream)
            names[name] = True
            bar.update()
    return list(names)


def _choose(found, archives):
    if archives is None:
        return found.archives
    if not 1 <= archives <= len(found.archives):
        raise ValueError(
            f"ARCHIVES is {archives}, but '{found.name}' has {len(found.archives)}: choose 1 to that or None."
        )
    return found.archives[:archives]


def _todo(found, archives):
    """Returns the archives that are not unpacked yet."""
    data = config.home() / "data"
    present = set(os.listdir(data / "images")) if (data / "images").is_dir() else set()
    return [file for file in _choose(found, archives) if not _is_unpacked(file, data, present)]


def _is_unpacked(file, data, present):
    done = data / "unpacked" / f"{file.name}.txt"
    md5, *names = done.read_text().split() if done.is_file() else [None]
    return md5 == file.md5 and present.issuperset(names)


def _verified(file, chunks, write):
    """Passes `chunks` of bytes on to `write` and raises at the end if they were not the file that was published."""
    md5, size = hashlib.md5(), 0
    with progress(total=file.size, desc=file.name, unit="B", unit_scale=True) as bar:
        for chunk in chunks:
            if size == 0 and chunk.lstrip()[:1] == b"<":
                raise ValueError(
                    f"{file.name}: a web page came from {file.address} instead of the file. Open the address in a browser "
                    "to read what it says, and run this cell again later."
                )
            md5.update(chunk)
            size += len(chunk)
            write(chunk)
            bar.update(len(chunk))
    if file.size not in (None, size):
        raise ValueError(
            f"{file.name} has {size:,} bytes, expected {file.size:,}: run this cell again to fetch it anew."
        )
    if file.md5 not in (None, md5.hexdigest()):
        raise ValueError(f"{file.name} has MD5 {md5.hexdigest()}, expected {file.md5}: it is damaged; fetch it anew.")
