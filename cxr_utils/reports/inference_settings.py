"""Thresholds and calibration of a model, stored in its `.h5` file for predictions of single images."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from cxr_utils import config
from cxr_utils._files import atomic

_ATTRIBUTE = "cxr_utils_decisions"


def save_inference_settings(settings, name, images, validation_images):
    """Writes thresholds and calibration into `cnnmodels/<name>_model.h5`.

    Args:
        settings: frame of `evaluation.choose_thresholds`.
        name: `"baseline"` or `"mobilenet"`.
        images: str, source of the validation images, see `data.image_source`.
        validation_images: int, number of validation images.
    """
    path = config.home() / "cnnmodels" / f"{name}_model.h5"
    # JSON has no NaN.
    values = {
        label: {column: None if np.isnan(value) else value for column, value in row.items()}
        for label, row in settings.iterrows()
    }
    with atomic(path) as part:
        shutil.copyfile(path, part)
        with h5py.File(part, "r+") as file:
            file.attrs[_ATTRIBUTE] = json.dumps(
                {"images": images, "validation_images": validation_images, "findings": values}
            )


def load_inference_settings(path):
    """Reads thresholds and calibration from the file of a model.

    Args:
        path: path of the model's `.h5` file.

    Returns:
        Frame as returned by `evaluation.choose_thresholds`, with `attrs["images"]` and `attrs["validation_images"]`;
        `None` if the file contains no settings.

    Raises:
        ValueError: the file is not an HDF5 file.
    """
    try:
        with h5py.File(path) as file:
            text = file.attrs.get(_ATTRIBUTE)
    except OSError as error:
        raise ValueError(
            f"{Path(path).name} cannot be opened as HDF5 ({error}): expected the .h5 file of a model from 200 or 210."
        ) from error
    if text is None:
        return None
    # Model files of earlier versions use the word "films" in these names.
    stored = {name.replace("films", "images"): value for name, value in json.loads(text).items()}
    table = pd.DataFrame.from_dict(stored.pop("findings"), orient="index", dtype=float).rename_axis("label")
    table.attrs = stored
    return table
