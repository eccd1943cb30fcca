"""Reads tables and checks them. An error names the file, what was found and what was expected."""

import pandas as pd

from cxr_utils.download.tables import OTHER_NAMES


def read_nih_table(path, columns, expected, **options):
    """Reads some columns of one of NIH's CSV files.

    Args:
        path: `Path` of the file.
        columns: dict of NIH's name → new name of the columns to keep.
        expected: str, the expected file in words, for the error message.
        **options: of `pandas.read_csv`.

    Returns:
        Frame with the new names, in the order of `columns`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a column is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is not in {path.parent.name}/: run 000-data_download first.")
    frame = pd.read_csv(path, **options).rename(columns=OTHER_NAMES)
    require_columns(frame, columns, path.name, f"expected {expected}; download it again with 000-data_download.")
    return frame[list(columns)].rename(columns=columns)


def require_columns(frame, columns, source, advice):
    """Raises `ValueError` unless a frame has all columns.

    Args:
        frame: the frame to check.
        columns: iterable of str, names of the columns.
        source: file that the frame was read from, or what it is; the message begins with it.
        advice: str, what was expected or what to do; it ends the message.
    """
    found = list(getattr(frame, "columns", []))  # a pickle can contain something else than a frame
    missing = [column for column in columns if column not in found]
    if missing:
        raise ValueError(f"{source} has no column {missing}; found {found}: {advice}")


def require_rows(frame, valid, source, message):
    """Raises `ValueError` unless all rows of a frame are valid.

    Args:
        frame: the frame to check.
        valid: bool Series, which rows are valid.
        source: str, file that the frame was read from, or what it is; the message begins with it.
        message: str, one sentence on the first row that is not valid, with its columns in braces.
    """
    wrong = frame[~valid]
    if len(wrong):
        raise ValueError(f"{source}: {message.format_map(wrong.iloc[0])} Rows with this error: {len(wrong):,}.")
