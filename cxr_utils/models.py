"""Builds, loads and applies the CNNs.

Every model takes raw 8-bit images. Preprocessing is part of the model, so that no caller can get it wrong.
"""

import re
from http.client import HTTPException
from pathlib import Path

import keras
import numpy as np
from keras import layers

from cxr_utils import config
from cxr_utils._files import sha256

# Pixels per side: the baseline's pooling layers divide the size by 2·2·2·2·3 = 48. Keras' backbones accept 48, too.
MIN_IMAGE_SIZE = 48

# From uint8 to the input range of each backbone in its ImageNet training (keras.applications.*.preprocess_input).
_TO_PLUS_MINUS_1 = {"scale": 1 / 127.5, "offset": -1.0}
_BACKBONE_SCALING = dict.fromkeys(("MobileNet", "MobileNetV2", "ResNet50V2", "EfficientNetV2B0"), _TO_PLUS_MINUS_1) | {
    "DenseNet121": {
        "scale": [1 / (255 * std) for std in (0.229, 0.224, 0.225)],
        "offset": [-mean / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))],
    },
}
BACKBONES = tuple(_BACKBONE_SCALING)
_BACKBONE_OPTIONS = {"EfficientNetV2B0": {"include_preprocessing": False}}  # otherwise it scales a second time
# What follows the network in a model's name, in words; otherwise it is the weights file.
_INITIALIZATIONS = {"random_initialization": "random initialization", "imagenet": "ImageNet weights"}


def build_baseline(image_size=128, batch_norm_momentum=0.99):
    """Builds the baseline, a CNN that is trained from scratch.

    It has five blocks of convolution, batch normalization, max pooling and dropout, then two dense layers: 369,470
    parameters at 128×128.

    Args:
        image_size: int, pixels per side, at least `MIN_IMAGE_SIZE`.
        batch_norm_momentum: float in [0, 1), for the batch statistics. With 0.9 they settle within an epoch of 20
            steps; 0.99, Keras' default, suits long epochs.

    Returns:
        An uncompiled `keras.Model`: `(n, size, size, 1)` uint8 → `(n, 14)` probabilities in [0, 1].

    Raises:
        ValueError: `image_size` is too small.
    """
    inputs, x = _image_input(image_size, scaling="standardise")
    for block, (filters, pool) in enumerate([(8, 2), (16, 2), (32, 2), (64, 2), (128, 3)], start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"block{block}_conv")(x)
        x = layers.BatchNormalization(momentum=batch_norm_momentum, name=f"block{block}_norm")(x)
        x = layers.MaxPooling2D(pool, name=f"block{block}_pool")(x)
        x = layers.Dropout(0.2, name=f"block{block}_dropout")(x)
    x = layers.Flatten(name="flatten")(x)
    for units in (256, 512):
        x = layers.Dense(units, activation="relu", name=f"dense_{units}")(x)
        x = layers.Dropout(0.5, name=f"dropout_{units}")(x)
    return keras.Model(inputs, _findings(x), name="baseline")


def build_pretrained(
    backbone="MobileNet", image_size=128, weights="imagenet", scaling="standardise", batch_norm_momentum=0.99
):
    """Builds a `keras.applications` backbone with a new head for the 14 findings: 3,760,846 parameters with MobileNet.

    Args:
        backbone: one of `BACKBONES`.
        image_size: int, pixels per side, at least `MIN_IMAGE_SIZE`.
        weights: `"imagenet"`; the path of a weights file for this backbone without its top layers; or `None` for random
            initialization.
        scaling: `"standardise"` (1/255, then each image to mean 0 and standard deviation 1, as in this project's first
            MobileNet) or `"backbone"` (as in the backbone's ImageNet training).
        batch_norm_momentum: float, see `build_baseline`.

    Returns:
        An uncompiled `keras.Model`: `(n, size, size, 1)` uint8 → `(n, 14)` probabilities in [0, 1]. Its `name` states
        backbone and weights: `MobileNet_imagenet`, `MobileNet_random_initialization` or `MobileNet_from_<file>`.

    Raises:
        ValueError: unknown backbone or scaling, `image_size` too small, or weights that do not fit.
        FileNotFoundError: the weights file does not exist.
        ConnectionError: the ImageNet weights could not be downloaded. With `CXR_RANDOM_START=1` (set by `cxr run` for
            the phantom) the model starts from random weights instead; a message and the model's name say so.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"BACKBONE is '{backbone}': expected one of {', '.join(BACKBONES)}.")
    inputs, x = _image_input(image_size, scaling, backbone)
    expected = f"expected a weights file of {backbone} without its top layers"
    source = weights or "random_initialization"
    if source not in ("imagenet", "random_initialization"):
        if not Path(weights).is_file():
            raise FileNotFoundError(f"WEIGHTS is '{weights}', which does not exist: {expected}.")
        source = "from_" + re.sub(r"[^\w.-]", "_", Path(weights).stem, flags=re.ASCII)  # allowed in names of models
    try:
        shape = {"input_tensor": x, "input_shape": x.shape[1:], **_BACKBONE_OPTIONS.get(backbone, {})}
        body = getattr(keras.applications, backbone)(include_top=False, weights=weights, **shape)
    except Exception as error:
        # keras.utils.get_file raises a bare Exception without an answer, and the others if the transfer breaks off.
        if type(error) is Exception or isinstance(error, (ConnectionError, TimeoutError, HTTPException)):
            failure = _failed_download(backbone, error)
            if not config.random_start():
                raise failure from error
            print(f"{failure}\nCXR_RANDOM_START=1: the model starts from RANDOM INITIALIZATION instead.")
            return build_pretrained(backbone, image_size, None, scaling, batch_norm_momentum)
        if weights is None or getattr(error, "errno", None) or not isinstance(error, (OSError, ValueError, KeyError)):
            raise
        again = " Delete it in ~/.keras/models/ to download it again." if weights == "imagenet" else ""
        raise ValueError(f"WEIGHTS is '{weights}', which does not fit: {expected} ({error}).{again}") from error
    for layer in body.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = batch_norm_momentum
    x = layers.GlobalAveragePooling2D(name="pool")(body.output)
    x = layers.Dropout(0.5, name="dropout")(x)
    x = layers.Dense(512, activation="relu", name="dense_512")(x)
    x = layers.Dropout(0.5, name="dropout_512")(x)
    return keras.Model(inputs, _findings(x), name=f"{backbone}_{source}")


def facts(model):
    """Returns a dict of what is known about a model, for `reports.save_inference_settings`.

    It contains `network` (`"baseline"` or the backbone), `weights` (`"random initialization"`, `"ImageNet weights"` or
    `"weights from <file>"`), `image_size` (int, pixels per side), `parameters` (int) and `model_sha256` (of the file).
    """
    network, _, source = model.name.partition("_")
    file = f"weights from {source.removeprefix('from_')}"
    known = {"network": network, "weights": _INITIALIZATIONS.get(source or "random_initialization", file)}
    known |= {"image_size": model.input_shape[1], "parameters": model.count_params()}
    return known | {"model_sha256": getattr(model, "file_sha256", None)}


def describe(model):
    """Describes a model in words for titles and tables, such as `"MobileNet, random initialization"`."""
    return "{network}, {weights}".format(**facts(model)) if "_" in model.name else model.name


def load_model(name):
    """Loads `cnnmodels/<name>_model.h5`, the model `"baseline"` or `"mobilenet"`, like `open_model`."""
    return open_model(config.home() / "cnnmodels" / f"{name}_model.h5")


def open_model(path):
    """Opens a model file from any folder.

    Args:
        path: of the `.h5` file.

    Returns:
        The `keras.Model`.

    Raises:
        FileNotFoundError: the file does not exist; the message names the notebook to run.
        ValueError: the file is not a model of this pipeline.
    """
    path = Path(path)
    name = f"{path.resolve().parent.name}/{path.name}"
    every = " or ".join(config.TRAINING_NOTEBOOKS.values())
    writer = config.TRAINING_NOTEBOOKS.get(path.stem.removesuffix("_model"), every)
    if not path.is_file():
        raise FileNotFoundError(f"{name} is missing: run {writer} to train and save the model.")
    try:
        model = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{name} cannot be opened as a Keras model ({error}): run {writer} again.") from error
    shape, last = model.input_shape, model.layers[-1]
    # Square grayscale images of a fixed size, and a last layer of probabilities whose weights Grad-CAM can read.
    fits = len(shape) == 4 and shape[1] is not None and shape[1:] == (shape[1], shape[1], 1)
    fits &= isinstance(last, layers.Dense) and last.activation is keras.activations.sigmoid
    if not fits or model.output_shape != (None, len(config.LABELS)):
        raise ValueError(
            f"{name} maps {shape} to {model.output_shape}; its last layer is {last.name}. Expected (None, size, size, "
            f"1) to (None, {len(config.LABELS)}) and a dense sigmoid layer as the last one: run {writer} again."
        )
    model.file_sha256 = sha256(path)
    return model


def predict(model, images, batch_size=128):
    """Predicts the probability of each finding on each image.

    Args:
        model: a `keras.Model`, `(n, size, size, 1)` uint8 → `(n, 14)`.
        images: `(n, size, size)` uint8, `data.Images` or an array.
        batch_size: int.

    Returns:
        `(n, 14)` float32 in [0, 1].

    Raises:
        ValueError: the size of the images is not the model's input size.
    """
    return np.concatenate(list(predict_batches(model, images, batch_size)))


def predict_batches(model, images, batch_size):
    """Predicts images batch by batch, with only one batch of images in memory at a time.

    It takes the same arguments as `predict` and raises the same errors.

    Yields:
        `(b, 14)` float32 in [0, 1], for the next `b` images in order.
    """
    if images.shape[1:] != model.input_shape[1:3]:
        raise ValueError(
            f"The images have {images.shape[1]}×{images.shape[2]} pixels, but the model {model.name} takes "
            f"{model.input_shape[1]}×{model.input_shape[2]}: load them with load_images(frame, {model.input_shape[1]})."
        )
    for start in range(0, len(images), batch_size):
        yield model.predict_on_batch(images[start : start + batch_size][..., None])


def _image_input(image_size, scaling, backbone=None):
    """Returns the input tensor and the preprocessed `(n, size, size, 3)` tensor, made by built-in layers only.

    The layers compute in float32 also under mixed precision: 16 bits would round away gray levels.
    """
    exact = {"dtype": "float32"}
    if image_size < MIN_IMAGE_SIZE:
        raise ValueError(f"IMAGE_SIZE is {image_size}: expected at least {MIN_IMAGE_SIZE} pixels per side.")
    if scaling not in ("standardise", "backbone"):
        raise ValueError(f"SCALING is '{scaling}': expected 'standardise' or 'backbone'.")
    inputs = keras.Input((image_size, image_size, 1), dtype="uint8", name="image")
    if scaling == "backbone":
        x = layers.Rescaling(1.0, name="to_float", **exact)(inputs)
        x = layers.Concatenate(name="grey_to_rgb", **exact)([x, x, x])
        return inputs, layers.Rescaling(**_BACKBONE_SCALING[backbone], name="backbone_scaling", **exact)(x)
    x = layers.Rescaling(1 / 255, name="rescale", **exact)(inputs)
    # One group: mean and standard deviation of the whole image. LayerNormalization over three axes would not work: from
    # .h5, keras.models.load_model (Keras 3.15) restores it over the last axis only, and every image becomes zeros.
    x = layers.GroupNormalization(groups=1, center=False, scale=False, name="standardise", **exact)(x)
    return inputs, layers.Concatenate(name="grey_to_rgb", **exact)([x, x, x])


def _findings(x):
    # In float32 also under mixed precision: 16 bits are too coarse for a probability of 0.001.
    return layers.Dense(len(config.LABELS), activation="sigmoid", dtype="float32", name="findings")(x)


def _failed_download(backbone, error):
    """Returns the exception that explains how to continue without a download."""
    url = re.search(r"https?://\S+", str(error))
    file = url.group().rstrip(":.,") if url else "its file without the top layers from keras.io/api/applications"
    return ConnectionError(
        f"The ImageNet weights of {backbone} could not be downloaded ({type(error).__name__}: {error}). "
        f"Download {file} on a machine with internet access, save it under the same name in ~/.keras/models/ or "
        "set WEIGHTS to its path, then run this cell again. WEIGHTS = None starts from random weights instead."
    )
