"""Tests of `models.ensemble`: joined models compared with the mean logit, and with heat maps of their members."""

import json
import re

import keras
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import expit, logit

from cxr_utils import config, explain, models, training
from cxr_utils.training.batches import XrayGenerator
from tests.conftest import save_split
from tests.helpers import seeded


def _members(build, count=3):
    built = []
    for seed in range(count):
        keras.utils.set_random_seed(seed)
        built.append(build())
        # As large as after training: with the initial weights, all images have nearly the same features.
        kernel, _ = built[-1].layers[-1].get_weights()
        features = keras.Model(built[-1].inputs, built[-1].layers[-1].input).predict(
            _noise(built[-1].input_shape[1])[..., None], verbose=0
        )
        kernel = seeded(seed).normal(size=kernel.shape) / features.std(axis=0).max() / len(kernel) ** 0.5
        built[-1].layers[-1].set_weights([kernel, seeded(seed).normal(size=14)])
    return built


def _noise(size, count=4):
    return seeded(0).integers(0, 256, (count, size, size), dtype=np.uint8)


def _mean_logit(members, images):
    return expit(np.mean([logit(models.predict(member, images).astype(float)) for member in members], axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["baseline", "MobileNet"])
def test_a_joined_model_averages_logits_and_opens_in_plain_keras(name, tmp_path):
    size = 64

    def build():
        return models.build_baseline(size) if name == "baseline" else models.build_pretrained(name, size, None)

    members, images = _members(build), _noise(size)
    joined = models.join_members(members)
    expected = _mean_logit(members, images)
    assert np.abs(expected - models.predict(members[0], images)).max() > 0.05
    assert np.ptp(logit(expected), axis=0).max() > 0.1  # the features matter, not only the biases
    # A member whose probability is near 1 in 32 bits has an inexact logit.
    assert models.predict(joined, images) == pytest.approx(expected, abs=1e-4)
    joined.save(tmp_path / "model.h5")
    plain = keras.models.load_model(tmp_path / "model.h5", compile=False)
    assert plain.input_shape == (None, size, size, 1) and plain.inputs[0].dtype == "uint8"
    assert plain.predict(images[..., None], verbose=0) == pytest.approx(expected, abs=1e-4)
    opened = models.open_model(tmp_path / "model.h5")
    assert models.facts(opened)["members"] == 3 and models.describe(opened).endswith(", 3 members")
    assert models.describe(opened).startswith(models.describe(members[0]))
    assert models.facts(opened)["parameters"] == sum(member.count_params() for member in members) - 2 * 14


def _with_one_convolution():
    inputs = keras.Input((32, 32, 1), dtype="uint8")
    maps = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(
        keras.layers.Rescaling(1 / 255)(inputs)
    )
    outputs = keras.layers.Dense(14, activation="sigmoid")(keras.layers.GlobalAveragePooling2D()(maps))
    return keras.Model(inputs, outputs)


def test_the_heat_map_of_a_joined_model_adds_up_class_activation_maps_of_its_members():
    members, images = _members(_with_one_convolution), _noise(32)
    cam = np.zeros((4, 32, 32))
    for member in members:
        maps = np.stack([explain.activations(member, image, ["conv"])["conv"] for image in images])
        weights = member.layers[-1].get_weights()[0][:, config.LABELS.index("Mass")]
        cam += np.einsum("nhwc,c->nhw", maps, np.maximum(weights, 0))
    cam = gaussian_filter(cam, (0, 0.8, 0.8), mode="mirror")  # the smoothing of heat maps
    assert (cam.max(axis=(1, 2)) > 0).any()
    expected = cam / np.maximum(cam.max(axis=(1, 2), keepdims=True), 1e-9)
    assert explain.layer_cam(models.join_members(members), images, "Mass") == pytest.approx(expected, abs=1e-3)


def _train(names, data, epochs=2, stop_at=None):
    """Trains the members as 200 does; Ctrl-C in the second epoch of the member `stop_at`."""
    images, y_true, sets = data
    members = []
    for seed in range(len(names)):
        keras.utils.set_random_seed(seed)
        members.append(models.build_baseline(48))
        members[-1].compile(
            "adam", "binary_crossentropy", run_eagerly=True,
            metrics=["categorical_accuracy", keras.metrics.AUC(name="auc")],
        )  # fmt: skip

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    for seed, (name, model) in enumerate(zip(names, members, strict=True)):
        batches = XrayGenerator(images[:16], y_true[:16], 8, training=True, seed=seed)
        callbacks = training.build_callbacks(name, batches, sets, images[16:], y_true[16:], 3, 8)
        stop = [Stop()] if name == stop_at else []
        model.fit(batches, epochs=epochs, callbacks=[*stop, *callbacks], verbose=0)
    return members


@pytest.mark.slow
def test_members_are_trained_one_after_the_other_resumed_and_joined(home, capsys):
    rng = seeded(0)
    data = (
        rng.integers(0, 256, (32, 48, 48), dtype=np.uint8),
        rng.integers(0, 2, (32, 14)),
        save_split(range(16), range(16, 32)),
    )
    names = training.member_names("baseline", 3)
    assert names == ["baseline", "baseline_m2", "baseline_m3"]
    whole = _train(names, data)
    kept = training.keep_best("baseline", *whole)
    assert [path.name.partition("_weights")[0] for path in kept] == names
    assert not list((home / "weights").glob("*_state.npz"))
    assert {path.name for path in (home / "logs").iterdir()} == {
        f"{name}_training.{kind}" for name in names for kind in ("csv", "json")
    }
    joined = models.load_model("baseline")
    assert [stamp["seed"] for stamp in joined.stamp["members"]] == [0, 1, 2]
    assert joined.stamp["run"] == whole[0].stamp["run"]
    saved = [keras.models.load_model(path, compile=False) for path in kept]
    expected = _mean_logit(saved, data[0])
    assert models.predict(joined, data[0]) == pytest.approx(expected, abs=1e-6)

    # Interrupted while the second member was being trained: the first is not trained again, the result is the same.
    with pytest.raises(KeyboardInterrupt):
        _train(names, data, stop_at="baseline_m2")
    record = home / "logs" / "baseline_training.json"
    first = json.loads(record.read_text())["run"]
    capsys.readouterr()
    again = _train(names, data)
    printed = capsys.readouterr().out
    # The first member has all its 2 epochs, the second one 1.
    for member, epochs in (("baseline", "2 of 2"), ("baseline_m2", "1 of 2")):
        assert re.search(rf"^{member}: .*\b{epochs}\b", printed, re.M)
    assert json.loads(record.read_text())["run"] == first
    # A model of one member, saved meanwhile, does not end the training of three.
    training.keep_best("baseline", again[0])
    assert (home / "weights" / "baseline_state.npz").is_file()
    training.keep_best("baseline", *again)
    assert np.array_equal(models.predict(models.load_model("baseline"), data[0]), models.predict(joined, data[0]))
