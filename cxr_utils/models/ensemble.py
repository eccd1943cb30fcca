"""Joins several trained networks of the same kind into one model, and finds their parts in it."""

import keras
import numpy as np
from keras import layers

_JOINED = "members"  # name of the layer that joins the features of the members


def join_members(members):
    """Joins trained models into one model that averages their logits.

    The last layer of each member computes logits as features · kernel + bias. So the mean of the logits is one dense
    layer on the features of all members, with their kernels and biases divided by the number of members. The model
    consists of built-in layers, and its last layer is like that of a single model.

    Args:
        members: list of at least two models of `build_baseline` or `build_pretrained` that differ only in their
            weights.

    Returns:
        An uncompiled `keras.Model` with the name and the input of the first member: `(n, size, size, 1)` uint8 →
        `(n, 14)` probabilities in [0, 1].
    """
    inputs = keras.Input(members[0].input_shape[1:], dtype="uint8", name="image")
    prefixes = ["", *(f"m{number}_" for number in range(2, len(members) + 1))]  # the first member keeps its names
    copies = [_copy(member, inputs, prefix) for member, prefix in zip(members, prefixes, strict=True)]
    features = [copy.layers[-1].input for copy in copies]
    last = members[0].layers[-1]
    outputs = last.__class__.from_config(last.get_config())(layers.Concatenate(name=_JOINED)(features))
    model = keras.Model(inputs, outputs, name=members[0].name)
    kernels, biases = zip(*(copy.layers[-1].get_weights() for copy in copies), strict=True)
    model.layers[-1].set_weights([np.concatenate(kernels) / len(members), np.mean(biases, axis=0)])
    return model


def split_members(model):
    """Splits a model into its members.

    Args:
        model: a `keras.Model`, joined or single.

    Returns:
        List of `keras.Model`, one for each member: `(n, size, size, 1)` uint8 → `(n, units)`, its features. Joined in
        this order they are the input of the model's last layer.
    """
    return [keras.Model(model.inputs[0], tensor, name=model.name) for tensor in member_features(model)]


def member_features(model):
    """Returns the features of each member of a model, a list of tensors; a single model is its own only member."""
    return next((layer.input for layer in model.layers if layer.name == _JOINED), [model.layers[-1].input])


def _copy(member, inputs, prefix):
    """Returns a copy of a model with its weights, on other inputs and with a prefix before its layers' names."""

    def renamed(layer):
        settings = layer.get_config()
        return layer.__class__.from_config(settings | {"name": prefix + settings["name"]})

    copy = keras.models.clone_model(member, input_tensors=inputs, clone_function=renamed)
    copy.set_weights(member.get_weights())
    return copy
