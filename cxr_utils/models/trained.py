"""Opens models, describes them, and predicts."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers
from scipy.special import expit, logit

from cxr_utils import config, data
from cxr_utils._files import sha256
from cxr_utils.models import ensemble
from cxr_utils.models.networks import check_keras

# HDF5 attribute of a model file: a JSON object about its training.
STAMP = "cxr_utils_training"
# What follows the network in a model's name, in words; otherwise it is the weights file.
_INITIALIZATIONS = {"random_initialization": "random initialization", "imagenet": "ImageNet weights"}
# What h5py and Keras raise for content that they cannot read.
_CONTENT_ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError, ImportError, RuntimeError)


def facts(model):
    """Returns a dict of what is known about a model, for `reports.save_inference_settings`.

    It contains `network` (`"baseline"` or the backbone), `weights` (`"random initialization"`, `"ImageNet weights"` or
    `"weights from <file>"`), `pretrained` (bool, whether it started from such weights), `members` (int, how many
    networks are joined in it), `image_size` (int, pixels per side), `parameters` (int) and `model_sha256` (of the
    file).
    """
    network, _, source = model.name.partition("_")
    source = source or "random_initialization"
    return {
        "network": network,
        "weights": _INITIALIZATIONS.get(source, f"weights from {source.removeprefix('from_')}"),
        "pretrained": source != "random_initialization",
        "members": len(ensemble.member_features(model)),
        "image_size": model.input_shape[1],
        "parameters": model.count_params(),
        "model_sha256": getattr(model, "file_sha256", None),
    }


def describe(model, transforms=()):
    """Describes a model in words for titles and tables, such as `"MobileNet, ImageNet weights, 3 members, 5 × TTA"`.

    Args:
        model: a `keras.Model`.
        transforms: those of its test-time augmentation, see `predict`.
    """
    known = facts(model)
    words = (
        (True, known["network"]),
        ("_" in model.name, known["weights"]),
        (known["members"] > 1, f"{known['members']} members"),
        (len(transforms), f"{1 + len(transforms)} × TTA"),
    )
    return ", ".join(word for applies, word in words if applies)


def load_model(name):
    """Loads `cnnmodels/<name>_model.h5`, the model `"baseline"` or `"mobilenet"`, like `open_model`."""
    return open_model(config.home() / "cnnmodels" / f"{name}_model.h5")


def open_model(path):
    """Opens a model file from any folder.

    Args:
        path: of the `.h5` file.

    Returns:
        The `keras.Model`. Its `stamp` is a dict of what the file states about its training, empty if that is nothing.

    Raises:
        FileNotFoundError: the file does not exist; the message names the notebook to run.
        OSError: the file cannot be read, for example without permission.
        ValueError: the file is not a model of this pipeline, another version of Keras wrote it, or Keras has other
            settings than the pipeline needs.
    """
    check_keras()
    path = Path(path)
    name = f"{path.resolve().parent.name}/{path.name}"
    notebooks, written = config.TRAINING_NOTEBOOKS, None
    writer = notebooks.get(path.stem.removesuffix("_model"), " or ".join(notebooks.values()))
    with tempfile.TemporaryDirectory() as folder:
        # Model, stamp and SHA-256 are of the same file, also if a training run replaces it meanwhile.
        copy = Path(folder) / "model.h5"
        try:
            shutil.copyfile(path, copy)
            with h5py.File(copy) as file:
                written = file.attrs.get("keras_version")
                stamp = json.loads(file.attrs.get(STAMP, "{}"))
            model = keras.models.load_model(copy, compile=False)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise FileNotFoundError(f"{name} is missing: run {writer} to train and save the model.") from error
        except _CONTENT_ERRORS as error:
            if getattr(error, "errno", None):
                raise OSError(
                    f"{name} cannot be read ({os.strerror(error.errno)}). The cause is the file system or its "
                    "permissions, not the model: try again or copy the file to a local disk. Where files cannot be "
                    "locked, set HDF5_USE_FILE_LOCKING=FALSE before Python starts."
                ) from error
            if written not in (None, keras.__version__):
                raise ValueError(
                    f"{name} was written by Keras {written}, and Keras {keras.__version__} cannot open it: use it "
                    f"after pip install keras=={written}, or run {writer} again."
                ) from error
            raise ValueError(f"{name} cannot be opened as a Keras model ({error}): run {writer} again.") from error
        model.stamp, model.file_sha256 = stamp, sha256(copy)
    shape, last = model.input_shape, model.layers[-1]
    # Square grayscale images of a fixed size, and a last layer of probabilities whose weights heat maps can read.
    fits = (
        len(shape) == 4
        and shape[1] is not None
        and shape[1:] == (shape[1], shape[1], 1)
        and isinstance(last, layers.Dense)
        and last.activation is keras.activations.sigmoid
        and model.output_shape == (None, len(config.LABELS))
    )
    if not fits:
        raise ValueError(
            f"{name} maps {shape} to {model.output_shape}; its last layer is {last.name}. Expected (None, size, size, "
            f"1) to (None, {len(config.LABELS)}) and a dense sigmoid layer as the last one: run {writer} again."
        )
    return model


def predict(model, images, batch_size=128, transforms=()):
    """Predicts the probability of each finding on each image.

    Args:
        model: a `keras.Model`, `(n, size, size, 1)` uint8 → `(n, 14)`.
        images: `(n, size, size)` uint8, `data.Images` or an array.
        batch_size: int.
        transforms: `(k, 2, 3)` float, for test-time augmentation, see `data.fixed_affines`. The logits of the image and
            of its k transforms are averaged.

    Returns:
        `(n, 14)` float32 in [0, 1]; NaN for the findings in `model.stamp["absent"]`, which no training image had.

    Raises:
        ValueError: the size of the images is not the model's input size.
    """
    return np.concatenate(list(predict_batches(model, images, batch_size, transforms)))


def predict_batches(model, images, batch_size, transforms=()):
    """Predicts images batch by batch, with only one batch of images in memory at a time.

    It takes the same arguments as `predict` and raises the same errors.

    Yields:
        `(b, 14)` float32 in [0, 1] or NaN, for the next `b` images in order.
    """
    if images.shape[1:] != model.input_shape[1:3]:
        raise ValueError(
            f"The images have {images.shape[1]}×{images.shape[2]} pixels, but the model {model.name} takes "
            f"{model.input_shape[1]}×{model.input_shape[2]}: load them with load_images(frame, {model.input_shape[1]})."
        )
    absent = np.flatnonzero(np.isin(config.LABELS, getattr(model, "stamp", {}).get("absent", [])))
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        views = [batch, *(data.transform(batch, [matrix] * len(batch)) for matrix in transforms)]
        predicted = np.array([model.predict_on_batch(view[..., None]) for view in views])
        predicted = predicted[0] if len(views) == 1 else _mean_of_logits(predicted)
        predicted[:, absent] = np.nan
        yield predicted


def _mean_of_logits(probabilities):
    """Returns the probabilities `(n, 14)` float32 of the mean logits of `(k, n, 14)` probabilities."""
    # Probabilities of exactly 0 or 1, where 32 bits end, have no logit.
    limits = np.finfo(np.float32)
    logits = logit(np.clip(probabilities.astype(np.float64), limits.tiny, 1 - limits.eps))
    return expit(logits.mean(axis=0)).astype(np.float32)
