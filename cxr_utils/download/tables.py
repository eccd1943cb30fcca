"""Checks that the tables of a release are complete: the label table, the official lists and the boxes.

NIH publishes no MD5 of these files, so each is compared with the others, and with the numbers of rows that NIH states.
"""

import re
from collections import Counter
from contextlib import suppress

from cxr_utils import config

# NIH's column names → ours, for all editions. The header "OriginalImage[Width,Height]" contains a comma and is read as
# two columns. The header of the first edition ends in a comma, which adds an empty twelfth column.
LABEL_COLUMNS = {
    "Image Index": "imgindex",
    "Finding Labels": "label",
    "Follow-up #": "followup",
    "Patient ID": "patientID",
    "Patient Age": "age",
    "Patient Gender": "gender",
    "View Position": "viewposition",
    "OriginalImage[Width": "width",
    "Height]": "height",
    "OriginalImagePixelSpacing[x": "x",
    "y]": "y",
}
# Other names of these columns: in one copy of the corrected edition, and after Excel has saved the file.
OTHER_NAMES = {"Patient Sex": "Patient Gender", "\ufeffImage Index": "Image Index"}
IMAGE_NAME = r"[^./\\\s][^/\\\s]*\.png"
# Number of images in each of NIH's archives, which contain the images in the order of their names.
NIH_IMAGES = [4_999, *[10_000] * 10, 7_121]
# Rows of NIH's lists and boxes, which belong to a label table of 112,120 rows.
NIH_ROWS = {config.TRAIN_VAL_LIST: 86_524, config.TEST_LIST: 25_596, config.BOXES: 984}


def find_label_table(folder=None):
    """Returns the `Path` of the label table in a folder: the corrected edition of 2020 if it is there, else the first.

    Args:
        folder: `Path`; `data/` when `None`.

    Raises:
        FileNotFoundError: the folder contains neither.
    """
    folder = folder or config.data_folder()
    found = [folder / name for name in config.LABEL_TABLES if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(f"data/ has no {' or '.join(config.LABEL_TABLES)}: run 000-data_download first.")
    return found[0]


def nih_order(folder=None):
    """Lists the images of each of NIH's archives.

    Args:
        folder: `Path` of the folder of the label table; `data/` when `None`.

    Returns:
        List of one list of str for each archive, in their order; empty without a label table of NIH's 112,120 images.
    """
    names = []
    with suppress(FileNotFoundError):
        names = sorted(
            re.findall(r"^([^,\n]*\.png)(?:,|$)", find_label_table(folder).read_text("utf-8", "replace"), re.M)
        )
    images = iter(names)
    return [[next(images) for _ in range(count)] for count in NIH_IMAGES if len(names) == sum(NIH_IMAGES)]


def check_tables(folder=None):
    """Checks that label table, official lists and boxes are complete and belong together.

    A folder may have neither lists nor boxes; only the official split needs the lists. Every image of the label table
    must be in one of the two lists, and lists and boxes must contain no other image. If the label table has as many
    rows as NIH's, lists and boxes must have as many as NIH's too.

    Args:
        folder: `Path` of the folder of the tables; `data/` when `None`.

    Returns:
        List of the images of the label table, in its order.

    Raises:
        FileNotFoundError: the label table, or only one of the lists, does not exist.
        ValueError: a file is truncated, is not the expected table, or does not belong to the others.
    """
    table = find_label_table(folder)
    images = _images_of_rows(table, LABEL_COLUMNS)
    _reject([image for image, count in Counter(images).items() if count > 1], f"{table.name} has images twice")
    paths = [table.with_name(name) for name in (config.TRAIN_VAL_LIST, config.TEST_LIST)]
    lists = {path.name: _images_of_rows(path) for path in paths if any(path.is_file() for path in paths)}
    boxes = {
        path.name: _images_of_rows(path, ("Image Index", "Finding Label")) for path in table.parent.glob(config.BOXES)
    }
    for name, found in [*lists.items(), *boxes.items()]:
        _reject(
            [f"{len(found):,} rows"] * (len(images) == 112_120 and len(found) != NIH_ROWS[name]),
            f"{name} must have {NIH_ROWS[name]:,} rows, as NIH's file, but has",
        )
        _reject(
            set(found).difference(images),
            f"{name} contains images that are not among the {len(images):,} of {table.name}",
        )
    listed = Counter(image for found in lists.values() for image in found)
    _reject(
        [image for image in images if lists and listed[image] != 1],
        f"{' and '.join(f'{name} ({len(found):,} images)' for name, found in lists.items())} must contain each of the "
        f"{len(images):,} images of {table.name} once, but do not",
    )
    return images


def tables_error(folder=None):
    """Returns why `check_tables` rejects the tables in a folder (`data/` when `None`); `None` if it accepts them."""
    try:
        check_tables(folder)
    except (OSError, ValueError) as error:
        return str(error)


def _images_of_rows(path, columns=()):
    """Returns the image of each line of a file that begins with `columns`, or has no header if `columns` is empty."""
    if not path.is_file():
        raise FileNotFoundError(f"data/ has no {path.name}: run 000-data_download first.")
    text = path.read_text("utf-8", "replace")
    rows = [line.strip().replace('"', "").split(",") for line in text.splitlines() if line.strip()]
    header = (rows or [[""]]).pop(0) if columns else ["Image Index"]
    _reject(
        set(columns).difference(OTHER_NAMES.get(name, name) for name in header),
        f"{path.name} begins with {text[:40]!r} and lacks the columns",
    )
    # The header of the first edition ends in a comma. So may its rows, which then are complete without a line break.
    wrong = [
        ",".join(row)
        for row in rows
        if not (sum(map(bool, header)) <= len(row) <= len(header) and re.fullmatch(IMAGE_NAME, row[0]))
    ]
    is_whole = text.endswith("\n") or not columns or (header[-1] == "" and len((rows or [header])[-1]) == len(header))
    _reject(wrong or text.splitlines()[-1:] * (not is_whole), f"{path.name} has incomplete or unexpected rows")
    return [row[0] for row in rows]


def _reject(wrong, message):
    if wrong:
        raise ValueError(
            f"{message}: {min(wrong)[:99]!r}{f' and {len(wrong) - 1:,} more' if len(wrong) > 1 else ''}. Run "
            "000-data_download again to replace the tables; if that fails, set CXR_RELEASE to another source."
        )
