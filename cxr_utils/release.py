"""Which files a release has and where they come from.

A release is a list of files: the archives of films, the label table, the official lists, the boxes. It lies at one HTTP
address or in one local folder, with the archives' MD5 sums in a file `MD5SUMS`. NIH's own is built in.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import requests

from cxr_utils import config

# NIH's batch_download_zips.py and the MD5 list beside it: name, static link, bytes, MD5.
_NIH_STATIC = "https://nihcc.box.com/shared/static/"
_NIH_ARCHIVES = [
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
NIH_PAGE = "https://nihcc.app.box.com/v/ChestXray-NIHCC"


@dataclass(frozen=True)
class ReleaseFile:
    """One file of a release: `address` is a URL or a local path; `size` in bytes and `md5` are `None` if not published."""

    name: str
    address: str
    size: int | None = None
    md5: str | None = None

    @property
    def is_local(self):
        return not _is_url(self.address)


@dataclass(frozen=True)
class Release:
    """A release: the `name` that figures show, its `tables` and its `archives` (lists of `ReleaseFile`)."""

    name: str
    tables: list
    archives: list


def find_release(source):
    """Lists the files of a release.

    Args:
        source: `"nih"`, a local folder, or an `http(s)://` address; in folder and address lie `MD5SUMS`, the archives
            that it names, a label table, the official lists and, if there are any, the boxes.

    Returns:
        A `Release`.

    Raises:
        FileNotFoundError: there is no such folder, or `MD5SUMS`, an archive, the label table or a list is missing.
        ValueError: `MD5SUMS` names no archive.
        requests.RequestException: the address does not answer.
    """
    if source == "nih":
        tables = [
            ReleaseFile(config.LABEL_TABLES[0], _NIH_TABLE + "219760887468", 9003496),
            ReleaseFile(config.TRAIN_VAL_LIST, _NIH_TABLE + "256056636701"),
            ReleaseFile(config.TEST_LIST, _NIH_TABLE + "256055473534"),
        ]
        archives = [ReleaseFile(name, _NIH_STATIC + link, size, md5) for name, link, size, md5 in _NIH_ARCHIVES]
        return Release("NIH ChestX-ray14", tables, archives)

    place = source.rstrip("/") if _is_url(source) else str(Path(source).expanduser().resolve())
    md5sums = _required(place, ["MD5SUMS"])
    sums = re.findall(r"^([0-9a-f]{32}) [ *](\S+\.tar\.gz)$", _read_text(md5sums), flags=re.MULTILINE)
    if not sums:
        raise ValueError(
            f"{md5sums.address} names no archive: expected lines like '<32 hex digits>  images_001.tar.gz'."
        )
    archives = [replace(_required(place, [name]), md5=md5) for md5, name in sorted(sums, key=lambda pair: pair[1])]
    tables = [_required(place, names) for names in (config.LABEL_TABLES, [config.TRAIN_VAL_LIST], [config.TEST_LIST])]
    boxes, note = _look(place, config.BOXES), _look(place, config.RELEASE_NOTE)
    name = _read_text(note).splitlines()[0] if note else place.rpartition("/")[2]
    return Release(name, [table for table in (*tables, boxes) if table], archives)


def _is_url(place):
    return place.startswith(("http://", "https://"))


def _look(place, name):
    """Returns the `ReleaseFile` of that name, or `None` if the place has no such file."""
    address = f"{place}/{name}"
    if not _is_url(place):
        return ReleaseFile(name, address, Path(address).stat().st_size) if Path(address).is_file() else None
    # Not HEAD: Box, where NIH's files lie, answers it with a false 404. A streamed GET reads only the header.
    with requests.get(address, stream=True, timeout=30, headers={"Accept-Encoding": "identity"}) as answer:
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        size = answer.headers.get("Content-Length")
        return ReleaseFile(name, address, int(size) if size else None)


def _required(place, names):
    found = next((file for name in names if (file := _look(place, name))), None)
    if found is None:
        raise FileNotFoundError(
            f"{place} has no {' or '.join(names)}: a release holds MD5SUMS, the archives named there, a label table, "
            f"{config.TRAIN_VAL_LIST} and {config.TEST_LIST}. Point CXR_RELEASE to a folder or URL that does, "
            "or set it to 'nih' or 'phantom'."
        )
    return found


def _read_text(file):
    if file.is_local:
        return Path(file.address).read_text()
    answer = requests.get(file.address, timeout=30)
    answer.raise_for_status()
    return answer.text
