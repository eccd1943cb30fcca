"""What a model makes of an image on its way through the layers, and where on the image it looks for a finding."""

import cv2
import keras
import numpy as np

from cxr_utils import config, models

# Pixels a side of the maps that show where a model looks: a box about a nodule, some 80 of 1024 pixels wide, is then two of them wide.
MIN_MAP_SIZE = 24
_BATCH = 64  # images whose maps are in memory at once


def grad_cam(model, images, finding):
    """Computes where on each image a model looks for a finding, by Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391).

    Heat is what the maps of `target_layer` add to the finding's logit: maps times gradient, summed over the channels, where
    that is above zero. As there, the gradient is that of the score before the sigmoid: a probability near 0 or 1 has
    none. Unlike there, it is not averaged over a map, but taken place by place (HiResCAM, Draelos & Carin 2020,
    arXiv:2011.08891). For the last maps of a model that ends in global average pooling both are the same; for the baseline, whose
    dense layers know each place, and for earlier maps an average mixes the places up.

    Args:
        model: a `keras.Model` of `models`, `(n, size, size, 1)` uint8 → `(n, 14)`.
        images: `(n, size, size)` uint8, `pixels.Images` or an array.
        finding: one of `config.LABELS`, or a list of one for each image.

    Returns:
        `(n, size, size)` float32 in [0, 1]: 1 at the image's hottest place, 0 everywhere where nothing speaks for the finding.

    Raises:
        ValueError: a finding is none of the 14 or their number is not that of the images, the images have another size than the model
            takes, the model has no convolution to look at, or Keras runs on another backend than TensorFlow or JAX.
    """
    findings = [finding] * len(images) if isinstance(finding, str) else list(finding)
    unknown = sorted(set(findings) - set(config.LABELS))
    if unknown:
        raise ValueError(f"The finding is '{unknown[0]}': expected one of {', '.join(config.LABELS)}.")
    if len(findings) != len(images):
        raise ValueError(
            f"{len(findings)} findings are given for {len(images)} images: expected one for each image, or one for all."
        )
    layer, last = target_layer(model), model.layers[-1]
    below = keras.Model(model.inputs[0], layer.output, name=model.name)
    gradient = _gradient(keras.Model(layer.output, last.input))
    # A logit is the last layer's input times the finding's column of its kernel; its bias has no gradient.
    columns = keras.ops.convert_to_numpy(last.kernel).T[[config.LABELS.index(name) for name in findings]]
    size = model.input_shape[1]
    heat = np.zeros((len(images), size, size), np.float32)
    start = 0
    for maps in models.predict_batches(below, images, _BATCH):
        maps = np.asarray(maps, np.float32)
        slopes = np.asarray(gradient(maps, columns[start : start + len(maps)]), np.float32)
        for small in np.maximum((maps * slopes).sum(axis=-1), 0):
            heat[start] = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
            start += 1
    highest = heat.max(axis=(1, 2), keepdims=True)
    return np.divide(heat, highest, out=heat, where=highest > 0)


def target_layer(model):
    """Chooses the layer whose maps show where a model looks: the deepest with maps of `MIN_MAP_SIZE` pixels a side.

    The last maps of a model, as of the Grad-CAM paper, are 4×4 or 8×8 for an image of 128×128: too coarse to point at a nodule.
    On the phantom (the baseline at 128×128, taught nodules, masses and effusions) the hottest point lies in the box on 54 % of the
    images by maps of 8×8, 64 % by 16×16, 95 % by 32×32, 90 % by 64×64. Everything that the model makes of an image has to pass through
    the layer, so that no shortcut past it (of a residual block) is left out. Where all such maps are smaller, it is the largest.

    Args:
        model: as of `grad_cam`.

    Returns:
        The `keras.Layer`.

    Raises:
        ValueError: the model has no such layer: no convolution, or only maps of one pixel.
    """
    first = next(
        (n for n, layer in enumerate(model.layers) if isinstance(layer, keras.layers.Conv2D)), len(model.layers)
    )
    # Padded maps are a pixel or two larger than what they show.
    found = [
        (min(min(layer.output.shape[1:3]), MIN_MAP_SIZE), number)
        for number, layer in _passed_by_all(model)
        if number >= first and len(layer.output.shape) == 4 and not isinstance(layer, keras.layers.ZeroPadding2D)
    ]
    size, number = max(found, default=(0, 0))
    if size < 2:
        raise ValueError(
            f"The model {model.name} has no convolution with maps of more than one pixel: where it looks can't be shown. Expected a "
            "model of build_baseline or build_pretrained."
        )
    return model.layers[number]


def _passed_by_all(model):
    """Returns number and layer of those that no connection between other layers passes by."""
    numbers = {id(model.layers[number].output): number for number in range(len(model.layers))}
    earliest, found = len(model.layers), []
    for number in reversed(range(1, len(model.layers))):
        # No later layer takes from before this one.
        if earliest >= number:
            found.append((number, model.layers[number]))
        sources = keras.tree.flatten(model.layers[number].input)
        # What is no layer's output counts as the image: of models of another make (Sequential, nested) it can't be told.
        earliest = min(earliest, *(numbers.get(id(source), 0) for source in sources))
    return found


def _gradient(above):
    """Returns a function of maps `(b, h, w, c)` and columns `(b, units)`: the gradient of each image's logit by its maps."""

    def logits(maps, columns):
        return keras.ops.sum(above(maps, training=False) * columns)

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        def gradient(maps, columns):
            maps = tf.convert_to_tensor(maps)
            with tf.GradientTape() as tape:
                tape.watch(maps)
                total = logits(maps, columns)
            return tape.gradient(total, maps)

        return gradient
    if backend == "jax":
        import jax

        return jax.jit(jax.grad(logits))
    raise ValueError(f"Keras runs on {backend}: Grad-CAM needs KERAS_BACKEND=tensorflow or jax.")
