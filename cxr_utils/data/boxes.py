"""Reads the boxes around findings (drawn by NIH's radiologists, or by the phantom) and selects those on test images."""

from pathlib import Path

import numpy as np
import pandas as pd

from cxr_utils import config
from cxr_utils.data import splits, tables

# NIH's column names → ours. The file has three more columns, which are empty.
_COLUMNS = {"Image Index": "imgindex", "Finding Label": "label", "Bbox [x": "x", "y": "y", "w": "w", "h]": "h"}
_SIDES = ["x", "y", "w", "h"]


def read_boxes(path):
    """Reads the list of boxes.

    Args:
        path: of `BBox_List_2017.csv`, either NIH's or the phantom's.

    Returns:
        Frame with one row for each box, in the order of the list: `imgindex` (file name), `label` (one of
        `config.BOXED`), `x`, `y` (upper left corner), `w`, `h` (width and height; float, in pixels of the 1024×1024
        original).

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a column is missing, an image is not a PNG file, a finding is not one of `config.BOXED`, or a box is
            empty or outside the image.
    """
    path = Path(path)
    frame = tables.read_table(path, _COLUMNS, f"NIH's {config.BOXES}: run 000-data_download.")
    frame["label"] = frame.label.replace("Infiltrate", "Infiltration")
    sides = frame[_SIDES].apply(pd.to_numeric, errors="coerce").astype(float)
    size = config.ORIGINAL_SIZE
    inside = (sides.x >= 0) & (sides.y >= 0) & (sides.x + sides.w <= size) & (sides.y + sides.h <= size)
    tables.require_rows(
        frame,
        path.name,
        tables.image_name_check(frame)
        | {
            f"a box on {{imgindex}} has the finding '{{label}}'; expected one of {', '.join(config.BOXED)}.": (
                frame.label.isin(config.BOXED)
            ),
            "the box of {label} on {imgindex} is {x}, {y}, {w}, {h}; expected x, y, w and h in pixels, within "
            f"{size}×{size}.": inside & (sides.w > 0) & (sides.h > 0),
        },
    )
    return frame.assign(**sides)


def select_cases(boxes, test):
    """Selects the boxes on test images; images used for training or model selection would bias the evaluation.

    Args:
        boxes: frame as returned by `read_boxes`.
        test: frame of the test images, with `imgindex` and `patientID`.

    Returns:
        Frame with one row for each pair of a test image and a finding with boxes on it, sorted by finding, then by
        position in `test`: `image` (int, position of the image in `test`), `imgindex`, `patientID`, `label` and `boxes`
        (list of `(x, y, w, h)`, in pixels as in `read_boxes`).

    Raises:
        ValueError: a column of `test` is missing.
    """
    splits.check_frame(test, ["imgindex", "patientID"], len(test))
    positions = pd.DataFrame(
        {"image": np.arange(len(test)), "imgindex": test.imgindex.array, "patientID": test.patientID.array}
    )
    matched = positions.merge(boxes, on="imgindex").sort_values(["label", "image"], kind="stable")
    rows = [
        (*key, list(group[_SIDES].itertuples(index=False, name=None)))
        for key, group in matched.groupby(["image", "imgindex", "patientID", "label"], sort=False)
    ]
    return pd.DataFrame(rows, columns=["image", "imgindex", "patientID", "label", "boxes"])
