"""How a model predicts: thresholds, calibration and test-time augmentation.

They are stored in `<model>_inference.json` next to the model, `<model>_model.h5`.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_utils import config, data
from cxr_utils._files import sha256, write_text

_COLUMNS = [*config.THRESHOLD_RULES, "slope", "intercept"]
_FIELDS = [
    "model_sha256",
    "network",
    "weights",
    "pretrained",
    "image_size",
    "parameters",
    "members",
    "transforms",
    "images",
    "synthetic",
    "validation_images",
]


def save_inference_settings(name, settings, facts, images, validation_images, transforms=()):
    """Writes `cnnmodels/<name>_inference.json`, with the SHA-256 of the file that the model was read from.

    Args:
        name: `"baseline"` or `"mobilenet"`.
        settings: frame of `evaluation.choose_thresholds`.
        facts: dict, from `models.facts`, of the model that made the predictions.
        images: str, source of the validation images, see `data.image_source`.
        validation_images: int, number of validation images.
        transforms: `(k, 2, 3)` float, those of the test-time augmentation with which they were predicted.
    """
    # JSON has no NaN.
    findings = settings.astype(object).where(settings.notna(), None).to_dict("index")
    stored = {
        **facts,
        "images": images,
        "synthetic": data.is_phantom(),
        "validation_images": validation_images,
        "transforms": np.asarray(transforms, float).tolist(),
        "findings": findings,
    }
    write_text(config.home() / "cnnmodels" / f"{name}_inference.json", json.dumps(stored, indent=1))


def load_inference_settings(model_file):
    """Reads thresholds and calibration from the file next to a model.

    Args:
        model_file: path of the model's `.h5` file. If it does not exist, as in copied results, it is not compared with
            the SHA-256 in the settings.

    Returns:
        Frame as returned by `evaluation.choose_thresholds`, with all other fields in `attrs`: `model_sha256`,
        `network`, `weights`, `pretrained`, `image_size`, `parameters`, `members`, `transforms` (a list of matrices;
        the model has to predict with them, see `models.predict`), `images`, `synthetic` (whether the phantom drew the
        images) and `validation_images`. `None` if the model has no settings.

    Raises:
        OSError: the settings or the model cannot be read.
        ValueError: the settings are damaged or belong to another model file; the message names the notebook to run.
    """
    model_file, path = Path(model_file), settings_file(model_file)
    writer = config.TEST_NOTEBOOKS.get(_name(model_file), " or ".join(config.TEST_NOTEBOOKS.values()))
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        transforms = np.asarray(stored["transforms"], float)
        if transforms.size and not (transforms.shape[1:] == (2, 3) and np.isfinite(transforms).all()):
            raise ValueError("transforms are not matrices of 2×3 numbers")
        table = pd.DataFrame.from_dict(stored["findings"], orient="index", dtype=float).rename_axis("label")
        # Nor did they choose this threshold.
        table = table.assign(specific=table.get("specific", np.nan)).loc[config.LABELS, _COLUMNS]
        table.attrs = {field: stored[field] for field in _FIELDS}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} is damaged ({error}): run {writer} to write it again.") from error
    if model_file.is_file() and sha256(model_file) != stored["model_sha256"]:
        raise ValueError(
            f"{path.name} does not belong to this {model_file.name} (their SHA-256 differ): run {writer} to choose "
            "thresholds and calibration again, or copy both files from the same folder."
        )
    return table


def settings_file(model_file):
    """Returns the `Path` of the settings of a model: `X_inference.json` next to `X_model.h5`."""
    return Path(model_file).with_name(f"{_name(model_file)}_inference.json")


def _name(model_file):
    return Path(model_file).stem.removesuffix("_model")
