"""Checks that the tables of a release are complete: the label table, the official lists and the boxes.

NIH publishes no MD5 of these files, so each is compared with the others, and with the numbers of rows that NIH states.
"""

import csv
import gzip
import re
import zlib
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
# Other names of these columns: in one copy of the corrected edition, and in Kaggle's sample_labels.csv.
OTHER_NAMES = {
    "Patient Sex": "Patient Gender",
    "OriginalImageWidth": "OriginalImage[Width",
    "OriginalImageHeight": "Height]",
    "OriginalImagePixelSpacing_x": "OriginalImagePixelSpacing[x",
    "OriginalImagePixelSpacing_y": "y]",
}
IMAGE_NAME = r"[^./\\\s][^/\\\s]*\.png"
# Number of images in each of NIH's archives, which contain the images in the order of their names.
NIH_IMAGES = [4_999, *[10_000] * 10, 7_121]
# Rows of NIH's lists and boxes, which belong to a label table of 112,120 rows.
NIH_ROWS = {config.TRAIN_VAL_LIST: 86_524, config.TEST_LIST: 25_596, config.BOXES: 984}


def read_text(path):
    """Returns the text of a table or list at the `Path` `path`, with NIH's names of columns, and images in .png.

    It may be UTF-8 or UTF-16, with or without byte-order marks, and compressed by gzip. Its columns may be separated by
    commas, or by semicolons or tabs, then possibly with decimal commas.
    """
    data = path.read_bytes()
    try:
        data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (EOFError, zlib.error, OSError) as error:
        raise ValueError(f"{path.name} is a damaged gzip file ({error}): copy it again.") from error
    # Without a byte-order mark, UTF-16 is recognized by the zero next to its first character.
    codec = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(data[:2]) or (
        ("utf-16-be", "utf-16-le", "utf-8")[data[:2].find(0)]
    )
    text = data.decode(codec, "replace").replace("\ufeff", "")
    if (separator := max(",;\t", key=text.partition("\n")[0].count)) != ",":
        text = text.replace(",", ".").replace(separator, ",")
    text = re.sub("|".join(OTHER_NAMES), lambda found: OTHER_NAMES[found[0]], text)
    return re.sub(r"\.png\b", ".png", text, flags=re.I)


def find_label_table(folder=None):
    """Returns the `Path` of the label table in a folder: the first one of `config.LABEL_TABLES`.

    Args:
        folder: `Path`; `data/` when `None`.

    Raises:
        FileNotFoundError: the folder contains none.
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
        names = sorted(re.findall(r"^([^,\n]*\.png)(?:,|$)", read_text(find_label_table(folder)), re.M))
    images = iter(names)
    return [[next(images) for _ in range(count)] for count in NIH_IMAGES if len(names) == sum(NIH_IMAGES)]


def check_tables(folder=None):
    """Checks that label table, official lists and boxes are complete and belong together.

    A folder may have neither lists nor boxes; only the official split needs `config.TEST_LIST`. Lists and boxes must
    contain no image that is not in the label table. If there are two lists, every image of the table must be in one of
    them. If the label table has as many rows as NIH's, lists and boxes must have as many as NIH's too.

    Args:
        folder: `Path` of the folder of the tables; `data/` when `None`.

    Returns:
        List of the images of the label table, in its order.

    Raises:
        FileNotFoundError: the label table does not exist.
        ValueError: a file is truncated, is not the expected table, or does not belong to the others.
    """
    table = find_label_table(folder)
    images = listed_images(table, LABEL_COLUMNS)
    _reject([image for image, count in Counter(images).items() if count > 1], f"{table.name} has images twice")
    paths = [table.with_name(name) for name in (config.TRAIN_VAL_LIST, config.TEST_LIST)]
    lists = {path.name: listed_images(path) for path in paths if path.is_file()}
    boxes = {
        path.name: listed_images(path, ("Image Index", "Finding Label")) for path in table.parent.glob(config.BOXES)
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
        [image for image in images if listed[image] > 1 or (len(lists) == 2 and not listed[image])],
        f"{' and '.join(f'{name} ({len(found):,} images)' for name, found in lists.items())} must contain each of the "
        f"{len(images):,} images of {table.name} once{', or not at all' if len(lists) == 1 else ''}; wrong are",
    )
    return images


def tables_error(folder=None):
    """Returns why `check_tables` rejects the tables in a folder (`data/` when `None`); `None` if it accepts them."""
    try:
        check_tables(folder)
    except (OSError, ValueError) as error:
        return str(error)


def listed_images(path, columns=()):
    """Reads the image of each row of a table or list. Empty rows, as spreadsheet programs add them, are left out.

    Args:
        path: `Path` of the file.
        columns: names of columns that its header must contain; empty if the file is a list without a header.

    Returns:
        List of str, in the order of the file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a column is missing, a row is incomplete or does not begin with the name of a PNG file, or the file
            is truncated.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path.name} with the other tables: add it to the release and run 000-data_download."
        )
    lines = [line for line in read_text(path).splitlines(keepends=True) if line.strip(', "\t\r\n')]
    rows = list(csv.reader(line.strip() for line in lines))
    header = [name.strip() for name in (rows or [[""]]).pop(0)] if columns else ["Image Index"]
    _reject(
        set(columns).difference(header),
        f"{path.name} begins with {''.join(lines)[:40]!r} and lacks the columns, separated by commas",
    )
    column = header.index("Image Index")
    # The header of the first edition ends in a comma. So may its rows, which then are complete without a line break.
    wrong = [
        ",".join(row)
        for row in rows
        if not (sum(map(bool, header)) <= len(row) <= len(header) and re.fullmatch(IMAGE_NAME, row[column]))
    ]
    is_whole = (
        not columns
        or lines[-1].endswith(("\n", "\r"))
        or (header[-1] == "" and len((rows or [header])[-1]) == len(header))
    )
    _reject(wrong, f"{path.name} has rows that are incomplete or without a name such as 00000001_000.png (no folder)")
    _reject(lines[-1:] * (not is_whole), f"{path.name} ends without a line break (add one if it is complete)")
    return [row[column] for row in rows]


def _reject(wrong, message):
    if wrong:
        raise ValueError(
            f"{message}: {min(wrong)[:99]!r}{f' and {len(wrong) - 1:,} more' if len(wrong) > 1 else ''}. Correct the "
            "release and run 000-data_download again, which replaces the tables, or set CXR_RELEASE to another one."
        )
