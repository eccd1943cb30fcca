"""What the layers of a model output for one image."""

import keras
import numpy as np


def activations(model, image, layer_names):
    """Follows one image through a model.

    Args:
        model: a `keras.Model` that takes `(n, size, size, 1)` uint8.
        image: `(size, size)` uint8.
        layer_names: list of names of layers.

    Returns:
        Dict of layer name → output for this image, as `(height, width, channels)` or `(units,)` float32.

    Raises:
        ValueError: the model has no layer of that name.
    """
    outputs = {name: model.get_layer(name).output for name in layer_names}
    # Compiled, as in training: JAX can't split one image over several devices outside of a compiled function.
    values = keras.Model(model.inputs[0], outputs).predict_on_batch(image[None, ..., None])
    return {name: np.asarray(value[0], np.float32) for name, value in values.items()}


def most_variable(maps, count):
    """Chooses the maps that vary most over the image; a map that is the same everywhere shows nothing.

    Args:
        maps: `(height, width, channels)`.
        count: int.

    Returns:
        `(min(count, channels),)` int, channels by falling standard deviation.
    """
    return np.argsort(-maps.std(axis=(0, 1)), kind="stable")[:count]
