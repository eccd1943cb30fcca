"""Computes heat maps: which parts of an image contribute to the prediction of a finding."""

import functools

import cv2
import keras
import numpy as np

from cxr_utils import config, models

# Pixels per side of the feature maps that a heat map is computed from, at least, and standard deviation of the
# smoothing, as a share of the side of the image. Both were chosen on boxes of training images of the phantom, see
# docs/phantom.md.
MIN_MAP_SIZE = 14
SMOOTHING = 0.025
BATCH_SIZE = 64  # images whose feature maps are in memory at once


def layer_cam(model, images, finding):
    """Computes heat maps by LayerCAM (Jiang et al. 2021, doi:10.1109/TIP.2021.3089943), slightly smoothed.

    Heat is the product of the feature maps of `target_layer` and the positive part of the gradient of the finding's
    logit with respect to them, summed over the channels, with negative sums set to 0. The gradient is that of the
    logit, because the sigmoid has no slope at probabilities near 0 or 1. Unlike in Grad-CAM, it is not averaged over
    each feature map, which would mix the positions. For a joined model, the sum is over the channels of all members.

    Args:
        model: a `keras.Model` of `models`, `(n, size, size, 1)` uint8 → `(n, 14)`.
        images: `(n, size, size)` uint8, `data.Images` or an array.
        finding: one of `config.LABELS`, or a list with one for each image.

    Returns:
        `(n, size, size)` float32 in [0, 1]: 1 at the hottest pixel of each image, or 0 everywhere if no sum is
        positive.

    Raises:
        ValueError: a finding is not one of the 14, there are not as many findings as images, the size of the images is
            not the model's input size, the model has no suitable layer, or the Keras backend is not TensorFlow or JAX.
    """
    findings = [finding] * len(images) if isinstance(finding, str) else list(finding)
    unknown = sorted(set(findings) - set(config.LABELS))
    if unknown:
        raise ValueError(f"The finding is '{unknown[0]}': expected one of {', '.join(config.LABELS)}.")
    if len(findings) != len(images):
        raise ValueError(
            f"{len(findings)} findings are given for {len(images)} images: expected one for each image, or one for all."
        )
    below, above, gradient = _parts(model)
    # Passed to the compiled function, because they may have changed since it was compiled.
    weights = [[v.value for v in part] for part in (above.trainable_variables, above.non_trainable_variables)]
    # A logit is the input of the last layer times the finding's column of its kernel, plus a bias without gradient.
    columns = keras.ops.convert_to_numpy(model.layers[-1].kernel).T[[config.LABELS.index(name) for name in findings]]
    size = model.input_shape[1]
    heat = []
    for maps in models.predict_batches(below, images, BATCH_SIZE):
        maps = np.asarray(maps, np.float32)
        gradients = np.asarray(gradient(maps, columns[len(heat) :][: len(maps)], *weights), np.float32)
        small = np.maximum((maps * np.maximum(gradients, 0)).sum(axis=-1), 0)
        large = [cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR) for image in small]
        heat += [cv2.GaussianBlur(image, (0, 0), SMOOTHING * size) for image in large]
    heat = np.array(heat, np.float32).reshape(len(images), size, size)
    highest = heat.max(axis=(1, 2), keepdims=True)
    return np.divide(heat, highest, out=heat, where=highest > 0)


def target_layer(model):
    """Chooses the layer for heat maps: the deepest one with feature maps of at least `MIN_MAP_SIZE` pixels per side.

    The last feature maps have 4×4 pixels for an image of 128×128: too coarse to locate a nodule. All information from
    the image has to pass through the layer, so that no shortcut connection (of a residual block) bypasses it. If all
    such feature maps are smaller, the layer with the largest ones is chosen.

    Args:
        model: see `layer_cam`.

    Returns:
        The `keras.Layer`.

    Raises:
        ValueError: the model has no such layer, because it has no convolution or only feature maps of one pixel.
    """
    first = next(
        (n for n, layer in enumerate(model.layers) if isinstance(layer, keras.layers.Conv2D)), len(model.layers)
    )
    # Zero padding only adds a border to smaller feature maps.
    found = [
        (min(min(layer.output.shape[1:3]), MIN_MAP_SIZE), number)
        for number, layer in _without_bypass(model)
        if number >= first and len(layer.output.shape) == 4 and not isinstance(layer, keras.layers.ZeroPadding2D)
    ]
    size, number = max(found, default=(0, 0))
    if size < 2:
        raise ValueError(
            f"The model {model.name} has no convolution with feature maps of more than one pixel, so no heat map can "
            "be computed: expected a model of build_baseline or build_pretrained."
        )
    return model.layers[number]


def _without_bypass(model):
    """Yields the `(number, layer)` of each layer that no connection between other layers bypasses, the last first."""
    numbers = {id(layer.output): number for number, layer in enumerate(model.layers)}
    earliest = len(model.layers)
    for number, layer in reversed(list(enumerate(model.layers))[1:]):
        # No later layer has an input from before this one.
        if earliest >= number:
            yield number, layer
        # An input that is not the output of a layer counts as the image itself, as in Sequential and nested models,
        # whose connections are not visible here.
        earliest = min(earliest, *(numbers.get(id(source), 0) for source in keras.tree.flatten(layer.input)))


@functools.lru_cache(maxsize=2)
def _parts(model):
    """Returns the parts of a model up to and from the feature maps of its target layer, and a gradient function.

    The feature maps of the members of a joined model are joined, too. The function takes feature maps `(b, height,
    width, channels)`, kernel columns `(b, units)` and the variables of the second part. It returns the gradient of each
    image's logit with respect to its feature maps. The result is kept for two models, because Keras compiles every new
    part, and TensorFlow warns of that from the fifth on.
    """
    targets = [target_layer(member).output for member in models.split_members(model)]
    joined = targets[0] if len(targets) == 1 else keras.layers.Concatenate()(targets)
    below = keras.Model(model.inputs[0], joined, name=model.name)
    above = keras.Model(targets, model.layers[-1].input)

    def logits(maps, columns, *weights):
        maps = keras.ops.split(maps, len(targets), axis=-1)
        return keras.ops.sum(above.stateless_call(*weights, maps, training=False)[0] * columns)

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        def gradient(maps, *others):
            maps = tf.Variable(maps)
            with tf.GradientTape() as tape:
                total = logits(maps, *others)
            return tape.gradient(total, maps)

    elif backend == "jax":
        import jax

        gradient = jax.jit(jax.grad(logits))
    else:
        raise ValueError(
            f"Keras runs on {backend}, but heat maps need TensorFlow or JAX: set KERAS_BACKEND=tensorflow or jax "
            "before Python starts."
        )

    return below, above, gradient
