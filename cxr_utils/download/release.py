"""The files of a release and where they come from.

A release is a list of files: archives of images, label table, official lists, boxes. All are at one URL or in one local
folder, which may contain unpacked images instead, with `MD5SUMS`, the MD5 of each archive. NIH's release is built in.
"""

import json
import re
from collections import namedtuple
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path

from cxr_utils import config
from cxr_utils._files import write_text
from cxr_utils.download import folders, http_client
from cxr_utils.download.tables import LABEL_COLUMNS, listed_images, nih_order, tables_error

# From NIH's batch_download_zips.py and the MD5 list next to it: name, static link, size in bytes, MD5.
_NIH_STATIC = "https://nihcc.box.com/shared/static/"
_NIH_LINKS = [
    ("images_001.tar.gz", "vfk49d74nhbxq3nqjg0900w5nvkorp5c.gz", 2008470987, "fe8ed0a6961412fddcbb3603c11b3698"),
    ("images_002.tar.gz", "i28rlmbvmfjbl8p2n3ril0pptcmcu9d1.gz", 3952623504, "ab07a2d7cbe6f65ddd97b4ed7bde10bf"),
    ("images_003.tar.gz", "f1t00wrtdk94satdfb9olcolqx20z2jp.gz", 3929234850, "2301d03bde4c246388bad3876965d574"),
    ("images_004.tar.gz", "0aowwzs5lhjrceb3qp67ahp0rd1l1etg.gz", 3838903983, "9f1b7f5aae01b13f4bc8e2c44a4b8ef6"),
    ("images_005.tar.gz", "v5e3goj22zr6h8tzualxfsqlqaygfbsn.gz", 3935496531, "1861f3cd0ef7734df8104f2b0309023b"),
    ("images_006.tar.gz", "asi7ikud9jwnkrnkj99jnpfkjdes7l6l.gz", 3986301172, "456b53a8b351afd92a35bc41444c58c8"),
    ("images_007.tar.gz", "jn1b4mw4n6lnh74ovmcjb8y48h8xj07n.gz", 4016328426, "1075121ea20a137b87f290d6a4a5965e"),
    ("images_008.tar.gz", "tvpxmn7qyrgl0w8wfh9kqfjskv6nmm1j.gz", 4018347353, "b61f34cec3aa69f295fbb593cbd9d443"),
    ("images_009.tar.gz", "upyy3ml7qdumlgk2rfcvlb9k6gvqq2pj.gz", 4111327929, "442a3caa61ae9b64e61c561294d1e183"),
    ("images_010.tar.gz", "l6nilvfa9cg3s28tqv1qc1olm3gnz54p.gz", 4181556296, "09ec81c4c31e32858ad8cf965c494b74"),
    ("images_011.tar.gz", "hhq8fkdgvcari67vfhs7ppg2w6ni4jze.gz", 4187084020, "499aefc67207a5a97692424cf5dbeed5"),
    ("images_012.tar.gz", "ioqwiy20ihqwyr8pf4c24eazhh281pbu.gz", 2914187733, "dc9fda1757c2de0032b63347a7d2895c"),
]
_NIH_TABLE = "https://nihcc.app.box.com/index.php?rm=box_download_shared_file&vanity_name=ChestXray-NIHCC&file_id=f_"
NIH_NAME = "NIH ChestX-ray14"
NIH_COPY = f"{NIH_NAME} (unverified copy)"  # no MD5 of unpacked images is published
NIH_PAGE = "https://nihcc.app.box.com/v/ChestXray-NIHCC"


@dataclass(frozen=True)
class ReleaseFile:
    """One file of a release.

    Attributes:
        name: string, the file name.
        address: string, a URL or a local path. For an archive, it may be a local folder of unpacked images.
        size: int, size in bytes; `None` if it is not published.
        md5: string of hex digits; `None` if it is not published.
        images: dict of image name → path of its file, for images to link from a local folder; else `None`.
    """

    name: str
    address: str
    size: int | None = None
    md5: str | None = None
    images: dict | None = field(default=None, repr=False)

    @property
    def is_local(self):
        return not _is_url(self.address)


@dataclass(frozen=True)
class Release:
    """A list of files to download.

    Attributes:
        name: string, shown in figures.
        tables: list of `ReleaseFile`: label table and, if there are any, official lists and boxes.
        archives: list of `ReleaseFile`.
        kind: string, `"phantom"` for synthetic images, else `""`.
    """

    name: str
    tables: list
    archives: list
    kind: str = ""


# What `RELEASE.txt` says: the name of the release (its first line) and its kind, see `Release`.
ReleaseNote = namedtuple("ReleaseNote", "name kind")
NIH_ARCHIVES = [ReleaseFile(name, _NIH_STATIC + link, size, md5) for name, link, size, md5 in _NIH_LINKS]
NIH_MD5 = {file.name: file.md5 for file in NIH_ARCHIVES}


def find_release(source):
    """Lists the files of a release.

    The list of a URL is saved in `data/release.json`, so that a completed download needs no network. The URL is queried
    again after a downloaded file differed from the list, or after `data/release.json` was deleted.

    Args:
        source: string, one of `"nih"`, `"phantom"` (000 has to draw it first), a local folder, or an `http(s)://` URL.
            They contain `MD5SUMS`, the archives that it lists, a label table, the official lists (optional in a folder)
            and, optionally, boxes, adjudicated labels and `RELEASE.txt`. A folder may instead contain NIH's archives,
            or unpacked images, which replace complete archives if there are both. What is not used is printed.

    Returns:
        A `Release`.

    Raises:
        FileNotFoundError: the folder, `MD5SUMS`, an archive, the label table or an official list does not exist.
        DriveError: the drive of the folder is gone.
        ValueError: `MD5SUMS` has a wrong line or lists no archive, or unpacked images do not match the label table.
        requests.RequestException: the server does not answer.
    """
    if source == "nih":
        tables = [
            ReleaseFile(config.LABEL_TABLES[0], _NIH_TABLE + "219760887468", 9003496),
            ReleaseFile(config.TRAIN_VAL_LIST, _NIH_TABLE + "256056636701"),
            ReleaseFile(config.TEST_LIST, _NIH_TABLE + "256055473534"),
        ]
        return Release(NIH_NAME, tables, NIH_ARCHIVES)
    source = str(config.home() / "phantom") if source == "phantom" else source
    with folders.readable(source):
        if not _is_url(source) and ("://" in source or not Path(source).expanduser().is_dir()):
            raise FileNotFoundError(
                f"There is no folder '{source}': set CXR_RELEASE to 'nih', 'phantom', a folder or an https:// URL."
            )
    place = source.rstrip("/") if _is_url(source) else str(Path(source).expanduser().resolve())
    if _is_url(place) and _listing().is_file():
        # A damaged list, or one of another version of this project, is replaced.
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            saved = json.loads(_listing().read_text())
            groups = {name: [ReleaseFile(**file) for file in saved[name]] for name in ("tables", "archives")}
            if saved.pop("place") == place and "kind" in saved:
                return Release(**saved | groups)
    sums = _md5sums(place)
    files = [] if _is_url(place) else folders.list_files(place)
    lists = []
    for name in (config.TRAIN_VAL_LIST, config.TEST_LIST):  # of 224-pixel copies under other names
        found = _required(place, name) if _is_url(place) else _find(place, name, name.replace(".txt", "_NIH.txt"))
        lists.append(found and replace(found, name=name))
    optional = [_find(place, name) for name in (config.BOXES, config.ADJUDICATED)]
    tables = [_required(place, *config.LABEL_TABLES), *lists, *optional]
    archives = [_required(place, name) for name in sorted(sums) if name.endswith(".tar.gz")]
    archives = archives or _unlisted_images(place, files, tables[0])
    tables, archives = (
        [replace(file, md5=sums.get(file.name, file.md5)) for file in group if file] for group in (tables, archives)
    )
    used = {f"{place}/{name}" for name in ("MD5SUMS", config.RELEASE_NOTE, *(file.name for file in archives))}
    used |= {path for file in [*tables, *archives] for path in (file.address, *(file.images or {}).values())}
    if unused := [path for path in files if path not in used]:
        print(f"Not used of {place}: {folders.summary(place, unused)}.")
    name, kind = release_note(place) or ("", "")
    if {file.md5 for file in archives}.issubset(NIH_MD5.values()):
        name = NIH_NAME
    elif not name and any(f.images for f in archives) and nih_order(Path(place)) and not tables_error(Path(place)):
        name = NIH_COPY
    release = Release(name or place.rpartition("/")[2], tables, archives, kind)
    if _is_url(place):
        write_text(_listing(), json.dumps({"place": place, **asdict(release)}, indent=1))
    return release


def release_note(place=None):
    """Reads `RELEASE.txt`, which says what the images of a release are.

    Args:
        place: URL or folder; `data/` when `None`.

    Returns:
        A `ReleaseNote`; `None` if there is no `RELEASE.txt`.
    """
    file = _find(str(place or config.data_folder()), config.RELEASE_NOTE)
    if file is None:
        return None
    name, *lines = map(str.strip, _read(file).strip().split("\n"))
    return ReleaseNote(name, "phantom" if "kind: phantom" in lines else "")


def forget_listing():
    """Deletes the saved list of files, so that `find_release` queries the URL again."""
    _listing().unlink(missing_ok=True)


def _listing():
    return config.data_folder() / "release.json"


def _md5sums(place):
    """Returns `{name: MD5}` from `MD5SUMS`, which is required at a URL and optional in a local folder."""
    file = _required(place, "MD5SUMS") if _is_url(place) else _find(place, "MD5SUMS")
    lines = _read(file).splitlines() if file else []
    sums = {line: re.fullmatch(r"([0-9a-fA-F]{32}) [ *](?:\./)?(\w[\w.-]*)", line) for line in lines}
    wrong = [line for line, found in sums.items() if not found]
    if file and (wrong or not any(line.endswith(".tar.gz") for line in lines)):
        raise ValueError(
            f"{file.address} {f'has the line {wrong[0]!r}' if wrong else 'lists no archive'}: expected only lines like "
            "'<32 hex digits>  images_001.tar.gz'."
        )
    return {found[2]: found[1].lower() for found in sums.values()}


def _unlisted_images(place, files, table):
    """Returns the archives of a local folder without `MD5SUMS`: archives of NIH, or folders of unpacked images."""
    if nih := [replace(file, address=f"{place}/{file.name}") for file in NIH_ARCHIVES if _find(place, file.name)]:
        order = zip(NIH_MD5, nih_order(Path(place)), strict=False)
        nih += [
            ReleaseFile(name, folder, 0, images={image: f"{folder}/{image}" for image in images})
            for name, images in order
            if (folder := folders.complete_folder(images, set(files)))
        ]
        return [file for _, file in sorted({file.name: file for file in nih}.items())]
    images = folders.select_images(files, listed_images(Path(table.address), LABEL_COLUMNS), table.name)
    return [
        ReleaseFile(folder[len(place) + 1 :].replace("/", "-") or Path(place).name, folder, 0, images=dict(group))
        for folder, group in groupby(images.items(), lambda item: item[1].rpartition("/")[0])
    ] or [_required(place, "MD5SUMS", "PNG images")]


def _is_url(place):
    return place.startswith(("http://", "https://"))


def _find(place, *names):
    """Returns the first of these files that exists at a URL or in a folder, as a `ReleaseFile`; `None` if none does."""
    for name in names:
        address = f"{place}/{name}"
        with suppress(FileNotFoundError):
            if not _is_url(place):
                return ReleaseFile(name, address, Path(address).stat().st_size)
            length = http_client.query(address, lambda response: response.headers.get("Content-Length"))
            return ReleaseFile(name, address, None if length is None else int(length))
    return None


def _required(place, *names):
    """Returns the first of these files that exists; raises `FileNotFoundError` if none does."""
    if found := _find(place, *names):
        return found
    there = (
        " (or denies access to it)" if _is_url(place) else f", but {folders.summary(place, folders.list_files(place))}"
    )
    raise FileNotFoundError(
        f"{place} has no {' or '.join(names)}{there}. A release contains a label table, MD5SUMS and the archives that "
        f"it lists, {config.TRAIN_VAL_LIST} and {config.TEST_LIST}; a local folder may have PNG images instead of "
        "archives, and no lists. Set CXR_RELEASE to a folder or URL that has these files, or to 'nih' or 'phantom'."
    )


def _read(file):
    """Returns the text of a file, which is UTF-8 wherever it is."""
    if file.is_local:
        return Path(file.address).read_text("utf-8-sig", "replace")
    return http_client.query(file.address, lambda response: response.content).decode("utf-8-sig", "replace")
