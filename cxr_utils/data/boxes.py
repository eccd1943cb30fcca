"""Boxes that radiologists drew around findings: NIH's list, or the phantom's."""

from pathlib import Path

import numpy as np
import pandas as pd

from cxr_utils import config
from cxr_utils.data import splits

# NIH's names → ours; three empty columns follow.
_COLUMNS = {"Image Index": "imgindex", "Finding Label": "label", "Bbox [x": "x", "y": "y", "w": "w", "h]": "h"}
_SIDES = ["x", "y", "w", "h"]


def read_boxes(path):
    """Reads the list of boxes.

    Args:
        path: NIH's `BBox_List_2017.csv`, or the phantom's.

    Returns:
        Frame with `imgindex` (file name), `label` (one of `config.BOXED`) and `x`, `y` (upper left corner), `w`, `h` (pixels of the
        1024×1024 original, float), one row for each box in the list's order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, a finding is none of the eight, or a box is no box on the image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is not in {path.parent.name}/: run 000-data_download first.")
    frame = pd.read_csv(path)
    missing = [name for name in _COLUMNS if name not in frame.columns]
    if missing:
        raise ValueError(
            f"{path.name} has no column {missing}; found {list(frame.columns)}. Expected NIH's {config.BOXES}: fetch it again with "
            "000-data_download."
        )
    frame = frame[list(_COLUMNS)].rename(columns=_COLUMNS)
    given = frame[_SIDES]
    frame = frame.assign(
        label=frame.label.replace("Infiltrate", "Infiltration"),
        **given.apply(pd.to_numeric, errors="coerce").astype(float),
    )
    unknown = frame[~frame.label.isin(config.BOXED)]
    if len(unknown):
        row = unknown.iloc[0]
        raise ValueError(
            f"{path.name}: the box of {row.imgindex} is of '{row.label}'; expected one of {', '.join(config.BOXED)}."
        )
    right, bottom = frame.x + frame.w, frame.y + frame.h
    inside = (frame.x >= 0) & (frame.y >= 0) & (frame.w > 0) & (frame.h > 0)
    inside &= (right <= config.ORIGINAL_SIZE) & (bottom <= config.ORIGINAL_SIZE)
    if not inside.all():
        wrong = frame.index[~inside][0]
        raise ValueError(
            f"{path.name}: the box of {frame.label[wrong]} on {frame.imgindex[wrong]} is {', '.join(map(str, given.loc[wrong]))}; expected x, y, w "
            f"and h in pixels, within {config.ORIGINAL_SIZE}×{config.ORIGINAL_SIZE}."
        )
    return frame


def select_cases(boxes, test):
    """Selects what a model may be judged by: boxes on test images, which it was neither trained nor selected on.

    Args:
        boxes: frame of `read_boxes`.
        test: frame of the test images, with `imgindex` and `patientID`.

    Returns:
        Frame of one row for each finding boxed on a image, in the order of findings and test images: `image` (int, the image's place in
        `test`), `imgindex`, `patientID`, `label` and `boxes` (list of `(x, y, w, h)`, as of `read_boxes`).

    Raises:
        ValueError: a column is missing.
    """
    splits.check_frame(test, ["imgindex", "patientID"], len(test))
    place = pd.DataFrame(
        {"image": np.arange(len(test)), "imgindex": test.imgindex.array, "patientID": test.patientID.array}
    )
    known = place.merge(boxes, on="imgindex").sort_values(["label", "image"], kind="stable")
    rows = [
        (*key, list(group[_SIDES].itertuples(index=False, name=None)))
        for key, group in known.groupby(["image", "imgindex", "patientID", "label"], sort=False)
    ]
    return pd.DataFrame(rows, columns=["image", "imgindex", "patientID", "label", "boxes"])
