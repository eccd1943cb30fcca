"""Reads tables and checks them. An error names the file, what was found and what was expected."""

import io

import pandas as pd

from cxr_utils.download.tables import IMAGE_NAME, read_text


def read_table(path, columns, expected, **options):
    """Reads some columns of a CSV file, without its empty rows.

    Args:
        path: `Path` of the file.
        columns: dict of name in the file → new name of the columns to keep.
        expected: str, the expected file in words and what to do, for the error message.
        **options: of `pandas.read_csv`.

    Returns:
        Frame with the new names, in the order of `columns`. Its index has the number of each row, counted from 0.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is empty or damaged, a row has too many values, or a column is missing.
    """
    try:
        table = pd.read_csv(io.StringIO(read_text(path)), skipinitialspace=True, skip_blank_lines=False, **options)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path.name} is not in {path.parent.name}/: expected {expected}") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{path.name} cannot be read ({str(error).strip()}): expected {expected}") from error
    require_columns(table, columns, path.name, f"expected {expected}")
    return table.dropna(how="all")[list(columns)].rename(columns=columns)


def require_columns(frame, columns, source, advice):
    """Raises `ValueError` unless a frame has all columns.

    Args:
        frame: the frame to check.
        columns: iterable of str, names of the columns.
        source: file that the frame was read from, or what it is; the message begins with it.
        advice: str, what was expected or what to do; it ends the message.
    """
    found = list(getattr(frame, "columns", []))  # a pickle can contain something else than a frame
    if missing := [column for column in columns if column not in found]:
        raise ValueError(f"{source} has no column {missing}; found {found}: {advice}")


def require_rows(frame, source, checks):
    """Raises `ValueError` unless all rows of a frame are valid.

    Args:
        frame: the frame to check.
        source: str, file that the frame was read from, or what it is; the message begins with it.
        checks: dict of message → bool Series, which rows are valid. The message is one sentence on the first row that
            is not valid, with its columns in braces, and `{row}` for the number of its row in a file, with the header
            as row 1.
    """
    for message, valid in checks.items():
        wrong = frame[~valid]
        if len(wrong):
            found = message.format(row=wrong.index[0] + 2, **wrong.iloc[0])
            raise ValueError(f"{source}: {found} Rows with this error: {len(wrong):,}.")


def image_name_check(frame):
    """Returns a check for `require_rows`: whether each `imgindex` of a frame is the name of a PNG file."""
    message = "row {row} has the image name '{imgindex}'; expected one such as 00000001_000.png, without a folder."
    return {message: frame.imgindex.astype(str).str.fullmatch(IMAGE_NAME)}
