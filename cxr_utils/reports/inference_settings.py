"""Thresholds and calibration of a model, kept inside its file."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from cxr_utils import config
from cxr_utils._files import atomic

_NOTE = "cxr_utils_decisions"


def save_inference_settings(decisions, name, images, validation_images):
    """Writes decisions into `cnnmodels/<name>_model.h5`, where a prediction of a single image finds them again.

    Args:
        decisions: of `choose_thresholds`.
        name: `"baseline"` or `"mobilenet"`.
        images: where the validation images come from, in words.
        validation_images: int, how many they were.
    """
    path = config.home() / "cnnmodels" / f"{name}_model.h5"
    # NaN is no JSON.
    values = {label: {c: None if np.isnan(v) else v for c, v in row.items()} for label, row in decisions.iterrows()}
    with atomic(path) as part:
        shutil.copyfile(path, part)
        with h5py.File(part, "r+") as file:
            file.attrs[_NOTE] = json.dumps(
                {"images": images, "validation_images": validation_images, "findings": values}
            )


def load_inference_settings(path):
    """Reads the decisions of a model.

    Args:
        path: of a model's `.h5`.

    Returns:
        Frame as of `choose_thresholds`, with `attrs["images"]` and `attrs["validation_images"]`; `None` when none were written.

    Raises:
        ValueError: the file is no HDF5.
    """
    try:
        with h5py.File(path) as file:
            note = file.attrs.get(_NOTE)
    except OSError as error:
        raise ValueError(
            f"{Path(path).name} can't be opened as HDF5 ({error}): expected a model's .h5, as 200 and 210 write it."
        ) from error
    if note is None:
        return None
    note = json.loads(note)
    table = pd.DataFrame.from_dict(note.pop("findings"), orient="index", dtype=float).rename_axis("label")
    table.attrs = note
    return table
