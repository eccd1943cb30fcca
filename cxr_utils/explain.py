"""What a model makes of a film on its way through the layers."""

import keras
import numpy as np


def activations(model, film, layer_names):
    """Follows one film through a model.

    Args:
        model: a `keras.Model` that takes `(n, size, size, 1)` uint8.
        film: `(size, size)` uint8.
        layer_names: list of names of layers.

    Returns:
        Dict of layer name → output for this film, as `(height, width, channels)` or `(units,)` float32.

    Raises:
        ValueError: the model has no layer of that name.
    """
    outputs = [model.get_layer(name).output for name in layer_names]
    values = keras.Model(model.inputs[0], outputs)(film[None, ..., None])
    return {name: keras.ops.convert_to_numpy(value)[0] for name, value in zip(layer_names, values)}


def most_informative(maps, count):
    """Chooses the maps that vary most over the film; a map that is the same everywhere shows nothing.

    Args:
        maps: `(height, width, channels)`.
        count: int.

    Returns:
        `(min(count, channels),)` int, channels by falling standard deviation.
    """
    return np.argsort(-maps.std(axis=(0, 1)), kind="stable")[:count]
