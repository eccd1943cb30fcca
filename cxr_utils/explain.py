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
    outputs = {name: model.get_layer(name).output for name in layer_names}
    # Compiled, as in training: JAX can't split one film over several devices outside of a compiled function.
    values = keras.Model(model.inputs[0], outputs).predict_on_batch(film[None, ..., None])
    return {name: np.asarray(value[0], np.float32) for name, value in values.items()}


def most_informative(maps, count):
    """Chooses the maps that vary most over the film; a map that is the same everywhere shows nothing.

    Args:
        maps: `(height, width, channels)`.
        count: int.

    Returns:
        `(min(count, channels),)` int, channels by falling standard deviation.
    """
    return np.argsort(-maps.std(axis=(0, 1)), kind="stable")[:count]
