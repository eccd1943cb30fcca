"""CNN builders, loading, predicting. Every model takes raw 8-bit images, so that nobody can prepare them wrongly for it."""

import os
import re
from pathlib import Path

import keras
import numpy as np
from keras import layers

from cxr_utils import config

# The smallest image that the pools of the baseline (2·2·2·2·3) leave a pixel of, and Keras' backbones take.
MIN_IMAGE_SIZE = 48

# What each backbone was trained with on ImageNet, from uint8 (keras.applications.*.preprocess_input).
_SCALE_TO_UNIT = {"scale": 1 / 127.5, "offset": -1.0}
_BACKBONE_SCALING = {
    "MobileNet": _SCALE_TO_UNIT,
    "MobileNetV2": _SCALE_TO_UNIT,
    "ResNet50V2": _SCALE_TO_UNIT,
    "EfficientNetV2B0": _SCALE_TO_UNIT,
    "DenseNet121": {
        "scale": [1 / (255 * std) for std in (0.229, 0.224, 0.225)],
        "offset": [-mean / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))],
    },
}
BACKBONES = tuple(_BACKBONE_SCALING)

# Which notebook trains a model.
NOTEBOOKS = {"baseline": "200-basemodel_cnn_scratch", "mobilenet": "210-pretrained_models"}


def build_baseline(image_size=128, batch_norm_momentum=0.99):
    """Builds the CNN that is trained from scratch: 369,470 parameters at 128×128.

    Five blocks of convolution, batch normalization, pooling and dropout, then two dense layers.

    Args:
        image_size: int, pixels a side.
        batch_norm_momentum: float; 0.9 lets the statistics settle within an epoch of 20 steps, 0.99 suits long epochs.

    Returns:
        An uncompiled `keras.Model`: `(n, size, size, 1)` uint8 → `(n, 14)` in [0, 1].

    Raises:
        ValueError: the images would be too small for its pools.
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
    """Builds a backbone of `keras.applications` with a head for the 14 findings: MobileNet 3,760,846 parameters.

    Args:
        backbone: one of `BACKBONES`.
        image_size: int, pixels a side.
        weights: `"imagenet"`, the path of a weights file of that backbone without its top, or `None` for random ones.
        scaling: `"standardise"` (1/255, each image to mean 0 and deviation 1, as MobileNet was first run here) or
            `"backbone"` (as the backbone was trained on ImageNet).
        batch_norm_momentum: float, as of `build_baseline`.

    Returns:
        An uncompiled `keras.Model`, `(n, size, size, 1)` uint8 → `(n, 14)` in [0, 1]; its `name` says backbone and start
        (`MobileNet_imagenet`, `MobileNet_file`, `MobileNet_random_initialization`).

    Raises:
        ValueError: another backbone or scaling, too small images, or weights that don't fit.
        FileNotFoundError: there is no such weights file.
        ConnectionError: the ImageNet weights could not be fetched. Where `CXR_RANDOM_START=1` allows it (`make run` does
            for the phantom), the model starts from random weights instead, says so, and bears it in its name.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"BACKBONE is '{backbone}': expected one of {', '.join(BACKBONES)}.")
    inputs, x = _image_input(image_size, scaling, backbone)
    build = getattr(keras.applications, backbone)
    # EfficientNetV2 alone brings a scaling of its own.
    options = {"include_preprocessing": False} if backbone.startswith("EfficientNet") else {}
    try:
        body = build(
            include_top=False, weights=weights, input_tensor=x, input_shape=(image_size, image_size, 3), **options
        )
    except Exception as error:  # Keras raises a bare Exception when it can't fetch.
        told = _weights_error(backbone, weights, error)
        if isinstance(told, ConnectionError) and os.environ.get("CXR_RANDOM_START") == "1":
            print(f"{told}\nCXR_RANDOM_START=1: going on with RANDOM INITIALISATION.")
            return build_pretrained(backbone, image_size, None, scaling, batch_norm_momentum)
        raise told from error
    for layer in body.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = batch_norm_momentum
    x = layers.GlobalAveragePooling2D(name="pool")(body.output)
    x = layers.Dropout(0.5, name="dropout")(x)
    x = layers.Dense(512, activation="relu", name="dense_512")(x)
    x = layers.Dropout(0.5, name="dropout_512")(x)
    return keras.Model(inputs, _findings(x), name=f"{backbone}_{_start(weights)}")


def describe(model):
    """Says in words what a model is, as titles and tables show it: `"MobileNet, random initialization"`."""
    name, _, start = model.name.partition("_")
    return f"{name}, {start.replace('_', ' ').replace('imagenet', 'ImageNet start')}" if start else name


def load_model(name):
    """Loads `cnnmodels/<name>_model.h5`.

    Args:
        name: `"baseline"` or `"mobilenet"`.

    Returns:
        The `keras.Model`.

    Raises:
        FileNotFoundError: the notebook that trains it has not been run.
        ValueError: the file is no model of this pipeline.
    """
    return open_model(config.home() / "cnnmodels" / f"{name}_model.h5", NOTEBOOKS[name])


def open_model(path, writer=" or ".join(NOTEBOOKS.values())):
    """Opens a model's `.h5`, wherever it lies.

    Args:
        path: of the file.
        writer: the notebook that writes it, for the user to run where it is missing.

    Returns:
        The `keras.Model`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no model of this pipeline.
    """
    path = Path(path)
    name = f"{path.resolve().parent.name}/{path.name}"
    if not path.is_file():
        raise FileNotFoundError(f"{name} is missing: run {writer} to train and write it.")
    try:
        model = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{name} can't be opened as a Keras model ({error}): run {writer} again.") from error
    taken, last = model.input_shape, model.layers[-1]
    # Square images of one size, and a layer of probabilities whose weights Grad-CAM can read.
    ours = len(taken) == 4 and taken[1] is not None and taken[1:] == (taken[1], taken[1], 1)
    ours &= isinstance(last, layers.Dense) and last.activation is keras.activations.sigmoid
    if not ours or model.output_shape != (None, len(config.LABELS)):
        raise ValueError(
            f"{name} maps {taken} to {model.output_shape} by {last.name}, expected (None, size, size, 1) to (None, {len(config.LABELS)}) by a "
            f"dense layer of sigmoids: run {writer} again."
        )
    return model


def predict(model, images, batch_size=128):
    """Predicts images.

    Args:
        model: a `keras.Model`, `(n, size, size, 1)` uint8 → `(n, 14)`.
        images: `(n, size, size)` uint8, `pixels.Images` or an array.
        batch_size: int.

    Returns:
        `(n, 14)` float32 in [0, 1].

    Raises:
        ValueError: the images have another size than the model takes.
    """
    return np.concatenate(list(predict_batches(model, images, batch_size)))


def predict_batches(model, images, batch_size):
    """Predicts images batch by batch; only one batch of them is in memory at a time.

    Args:
        model: as of `predict`.
        images: as of `predict`.
        batch_size: int.

    Yields:
        `(b, 14)` float32 in [0, 1] of the next images in order.

    Raises:
        ValueError: the images have another size than the model takes.
    """
    if images.shape[1:] != model.input_shape[1:3]:
        raise ValueError(
            f"The images have {images.shape[1]}×{images.shape[2]} pixels, the model {model.name} takes "
            f"{model.input_shape[1]}×{model.input_shape[2]}: open them with load_images(frame, {model.input_shape[1]})."
        )
    for start in range(0, len(images), batch_size):
        yield model.predict_on_batch(images[start : start + batch_size][..., None])


def _image_input(image_size, scaling, backbone=None):
    """Returns the input and the image as a backbone takes it, `(n, size, size, 3)`, by built-in layers alone.

    All in float32 also under mixed precision: 16 bits would round away gray levels before anything has been seen.
    """
    exact = {"dtype": "float32"}
    if image_size < MIN_IMAGE_SIZE:
        raise ValueError(
            f"IMAGE_SIZE is {image_size}: the models take images of at least {MIN_IMAGE_SIZE} pixels a side."
        )
    if scaling not in ("standardise", "backbone"):
        raise ValueError(f"SCALING is '{scaling}': expected 'standardise' or 'backbone'.")
    inputs = keras.Input((image_size, image_size, 1), dtype="uint8", name="image")
    if scaling == "backbone":
        x = layers.Concatenate(name="grey_to_rgb", **exact)(
            [layers.Rescaling(1.0, name="to_float", **exact)(inputs)] * 3
        )
        return inputs, layers.Rescaling(**_BACKBONE_SCALING[backbone], name="backbone_scaling", **exact)(x)
    x = layers.Rescaling(1 / 255, name="rescale", **exact)(inputs)
    # One group: mean and deviation of the whole image. Not LayerNormalization over three axes, which keras.models.load_model
    # reads from .h5 as one over the last axis (Keras 3.15): every image would come out as zeros.
    x = layers.GroupNormalization(groups=1, center=False, scale=False, name="standardise", **exact)(x)
    return inputs, layers.Concatenate(name="grey_to_rgb", **exact)([x, x, x])


def _findings(x):
    # float32 also under mixed precision: 16 bits are too coarse for a probability of 0.001.
    return layers.Dense(len(config.LABELS), activation="sigmoid", dtype="float32", name="findings")(x)


def _start(weights):
    return {"imagenet": "imagenet", None: "random_initialization"}.get(weights, "file")


def _weights_error(backbone, weights, error):
    if weights == "imagenet":
        url = re.search(r"https?://\S+", str(error))
        url = (
            url.group().rstrip(":.,")
            if url
            else f"the file of {backbone} without its top from keras.io/api/applications"
        )
        return ConnectionError(
            f"The ImageNet weights of {backbone} could not be fetched ({type(error).__name__}: {error}). Download {url} on a "
            f"machine with network, put it into ~/.keras/models/ as {url.rpartition('/')[2]} (or set WEIGHTS to its path), and run "
            "this cell again. WEIGHTS = None would train from random weights."
        )
    if weights is not None and not Path(weights).is_file():
        return FileNotFoundError(
            f"WEIGHTS is '{weights}', but there is no such file: expected weights of {backbone} without its top."
        )
    return ValueError(f"{weights} holds no weights that fit {backbone} without its top ({error}).")
