"""Builds the networks: the baseline, and backbones of `keras.applications` with a new head."""

import errno
import hashlib
import re
import ssl
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

import keras
from keras import layers
from keras.src.backend.config import keras_home

from cxr_utils import config
from cxr_utils._files import sha256

# From uint8 to the input range of each backbone in its ImageNet training (keras.applications.*.preprocess_input).
_TO_PLUS_MINUS_1 = {"scale": 1 / 127.5, "offset": -1.0}
_BACKBONE_SCALING = dict.fromkeys(("MobileNet", "MobileNetV2", "ResNet50V2", "EfficientNetV2B0"), _TO_PLUS_MINUS_1) | {
    "DenseNet121": {
        "scale": [1 / (255 * std) for std in (0.229, 0.224, 0.225)],
        "offset": [-mean / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))],
    },
}
_BACKBONE_OPTIONS = {"EfficientNetV2B0": {"include_preprocessing": False}}  # otherwise it scales a second time
# The files of ImageNet weights in Keras' cache, and the image sizes, besides 224, that have a file of their own.
_IMAGENET_FILES = {
    "MobileNet": ("mobilenet_1_0_{}_tf_no_top.h5", (128, 160, 192)),
    "MobileNetV2": ("mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{}_no_top.h5", (96, 128, 160, 192)),
    "DenseNet121": ("densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5", ()),
    "EfficientNetV2B0": ("efficientnetv2-b0_notop.h5", ()),
    "ResNet50V2": ("resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5", ()),
}
# Keras reads these settings from keras.json. Another value changes the networks or their numbers without an error.
_KERAS_SETTINGS = {
    "image_data_format": ("channels_last",),
    "floatx": ("float32",),
    "epsilon": (1e-7,),
    "backend": ("tensorflow", "jax"),
}
# What `keras.utils.get_file` raises without a connection, next to a bare Exception.
_NO_CONNECTION = (ConnectionError, TimeoutError, HTTPException, URLError, ssl.SSLError)
_NO_ROUTE = (errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH)


def build_baseline(image_size=128, batch_norm_momentum=0.99):
    """Builds the baseline, a CNN that is trained from scratch.

    It has five blocks of convolution, batch normalization, max pooling and dropout, then two dense layers: 369,470
    parameters at 128×128.

    Args:
        image_size: int, pixels per side, at least `config.MIN_IMAGE_SIZE`.
        batch_norm_momentum: float in [0, 1), for the batch statistics. With 0.9 they settle within an epoch of 20
            steps; 0.99, Keras' default, suits long epochs.

    Returns:
        An uncompiled `keras.Model`: `(n, size, size, 1)` uint8 → `(n, 14)` probabilities in [0, 1]. Its
        `initial_digest` is the `weights_digest` before training.

    Raises:
        ValueError: `image_size` is too small, or Keras has other settings than the pipeline needs.
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
    return _complete(inputs, x, "baseline")


def build_pretrained(
    backbone="MobileNet", image_size=128, weights="imagenet", scaling="standardise", batch_norm_momentum=0.99
):
    """Builds a `keras.applications` backbone with a new head for the 14 findings: 3,760,846 parameters with MobileNet.

    Args:
        backbone: one of `config.BACKBONES`.
        image_size: int, pixels per side, at least `config.MIN_IMAGE_SIZE`.
        weights: `"imagenet"`; the path of a weights file for this backbone without its top layers; or `None` for random
            initialization.
        scaling: `"standardise"` (1/255, then each image to mean 0 and standard deviation 1, as in this project's first
            MobileNet) or `"backbone"` (as in the backbone's ImageNet training).
        batch_norm_momentum: float, see `build_baseline`.

    Returns:
        An uncompiled `keras.Model`: `(n, size, size, 1)` uint8 → `(n, 14)` probabilities in [0, 1]. Its `name` states
        backbone and weights: `MobileNet_imagenet`, `MobileNet_random_initialization` or `MobileNet_from_<file>`. Its
        `initial_digest` is the `weights_digest` before training. Its `initial_weights` is the dict `{"file": name,
        "sha256": hex digits}` of the file of weights, or `None` for random initialization.

    Raises:
        ValueError: unknown backbone or scaling, `image_size` too small, weights that do not fit, or Keras has other
            settings than the pipeline needs.
        FileNotFoundError: the weights file does not exist.
        ConnectionError: the ImageNet weights could not be downloaded. With `CXR_RANDOM_START=1` (set by `cxr run` for
            the phantom) the model starts from random weights instead; a message and the model's name say so.
    """
    if backbone not in config.BACKBONES:
        raise ValueError(f"BACKBONE is '{backbone}': expected one of {', '.join(config.BACKBONES)}.")
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
        failure = _explained(error, backbone, weights, expected)
        if failure is error:
            raise
        if not isinstance(failure, ConnectionError) or not config.allows("CXR_RANDOM_START"):
            raise failure from error
        print(f"{failure}\nCXR_RANDOM_START=1: the model starts from RANDOM INITIALIZATION instead.")
        return build_pretrained(backbone, image_size, None, scaling, batch_norm_momentum)
    for layer in body.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = batch_norm_momentum
    x = layers.GlobalAveragePooling2D(name="pool")(body.output)
    x = layers.Dropout(0.5, name="dropout")(x)
    x = layers.Dense(512, activation="relu", name="dense_512")(x)
    x = layers.Dropout(0.5, name="dropout_512")(x)
    model = _complete(inputs, x, f"{backbone}_{source}")
    if weights == "imagenet":
        file, sizes = _IMAGENET_FILES[backbone]
        name = file.format(image_size if image_size in sizes else 224)
        # In Keras' cache by now, which is in a temporary folder where Keras cannot write to its own.
        weights = keras.utils.get_file(name, origin=name, cache_subdir="models")
    model.initial_weights = {"file": Path(weights).name, "sha256": sha256(weights)} if weights else None
    return model


def weights_digest(model):
    """Returns the SHA-256 of all variables of a model as hex digits, to tell a new model from a trained one.

    The variables include the batch statistics and the random states of the dropout layers.
    """
    return hashlib.sha256(
        b"".join([keras.ops.convert_to_numpy(variable).tobytes() for variable in model.variables])
    ).hexdigest()


def check_keras():
    """Checks the settings of Keras, which an old `keras.json` may have changed.

    Raises:
        ValueError: a setting is not what the pipeline needs; the message names setting and file.
    """
    for name, allowed in _KERAS_SETTINGS.items():
        if (found := getattr(keras.config, name)()) not in allowed:
            raise ValueError(
                f"Keras has {name} = {found}, from {keras_home()}/keras.json, an environment variable or a call: "
                f"expected {' or '.join(map(str, allowed))}. Change it and restart Python."
            )


def _image_input(image_size, scaling, backbone=None):
    """Returns the input tensor and the preprocessed `(n, size, size, 3)` tensor, made by built-in layers only.

    The layers compute in float32 also under mixed precision: 16 bits would round away gray levels.
    """
    check_keras()
    exact = {"dtype": "float32"}
    if image_size < config.MIN_IMAGE_SIZE:
        raise ValueError(f"IMAGE_SIZE is {image_size}: expected at least {config.MIN_IMAGE_SIZE} pixels per side.")
    if scaling not in config.SCALINGS:
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


def _complete(inputs, x, name):
    """Returns the model with its last layer, one probability for each finding, and `initial_digest`."""
    # In float32 also under mixed precision: 16 bits are too coarse for a probability of 0.001.
    last = layers.Dense(len(config.LABELS), activation="sigmoid", dtype="float32", name="findings")
    model = keras.Model(inputs, last(x), name=name)
    model.initial_digest = weights_digest(model)
    return model


def _explained(error, backbone, weights, expected):
    """Returns the exception that says why weights cannot be loaded and what to do, or `error` if it says so itself."""
    number, folder = getattr(error, "errno", None), f"{keras_home()}/models/".replace(f"{Path.home()}/", "~/", 1)
    if weights == "imagenet" and (type(error) is Exception or isinstance(error, _NO_CONNECTION) or number in _NO_ROUTE):
        url = re.search(r"https?://\S+", str(error))
        file = url.group().rstrip(":.,") if url else "its file without the top layers from keras.io/api/applications"
        return ConnectionError(
            f"The ImageNet weights of {backbone} could not be downloaded ({type(error).__name__}: {error}). "
            f"Download {file} on a machine with internet access, save it under the same name in {folder} or "
            "set WEIGHTS to its path, then run this cell again. WEIGHTS = None starts from random weights instead."
        )
    # With a number, the error is of the system, such as a full disk, and names the file.
    if weights is None or number or not isinstance(error, (OSError, ValueError, KeyError)):
        return error
    again = f" Delete it in {folder} to download it again." if weights == "imagenet" else ""
    return ValueError(f"WEIGHTS is '{weights}', which does not fit: {expected} ({error}).{again}")
