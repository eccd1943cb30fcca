"""Returns what the layers of a model output for one image."""

import keras
import numpy as np


def activations(model, image, layer_names):
    """Returns the activations of some layers for one image.

    Args:
        model: a `keras.Model` that takes `(n, size, size, 1)` uint8.
        image: `(size, size)` uint8.
        layer_names: list of str.

    Returns:
        Dict of layer name → activations, `(height, width, channels)` or `(units,)` float32.

    Raises:
        ValueError: the model has no layer of that name.
    """
    outputs = {name: model.get_layer(name).output for name in layer_names}
    # Compiled, as in training: JAX cannot split one image across several devices outside a compiled function.
    values = keras.Model(model.inputs[0], outputs).predict_on_batch(image[None, ..., None])
    return {name: np.asarray(value[0], np.float32) for name, value in values.items()}


def most_variable(maps, count):
    """Selects the feature maps with the highest standard deviation over the image.

    A feature map that is constant over the image shows nothing.

    Args:
        maps: `(height, width, channels)` float, activations of one layer.
        count: int, number of feature maps.

    Returns:
        `(min(count, channels),)` int, channel numbers in order of decreasing standard deviation.
    """
    return np.argsort(-maps.std(axis=(0, 1)), kind="stable")[:count]
