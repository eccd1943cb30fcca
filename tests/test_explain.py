"""Tests of `explain`: heat maps compared with known maps, for every model, and with the boxes of the phantom."""

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from cxr_utils import config, data, evaluation, explain, models
from cxr_utils.explain import heat_maps
from tests.conftest import draw_images
from tests.helpers import TESTED_BACKBONES, only_in_ci, seeded

BUILDERS = ["baseline", *TESTED_BACKBONES]
PLANTED = ["Nodule", "Mass", "Effusion"]
SIZE, TRAINED = 64, 300  # of 420 images; the others are test images


def _build(name, size=SIZE):
    return models.build_baseline(size) if name == "baseline" else models.build_pretrained(name, size, weights=None)


def _noise(count, size=SIZE):
    return seeded(0).integers(0, 256, (count, size, size), dtype=np.uint8)


def test_with_one_convolution_and_average_pooling_heat_is_class_activation_mapping_of_positive_weights():
    # CAM (Zhou et al. 2016): the feature maps, weighted by the kernel that connects their averages with the finding.
    inputs = keras.Input((32, 32, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    maps = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(x)
    outputs = keras.layers.Dense(14, activation="sigmoid")(keras.layers.GlobalAveragePooling2D()(maps))
    model = keras.Model(inputs, outputs)
    images = _noise(3, 32)
    followed = np.stack([explain.activations(model, image, ["conv"])["conv"] for image in images])
    for finding in ("Mass", "Effusion"):
        weights = model.layers[-1].get_weights()[0][:, config.LABELS.index(finding)]
        cam = gaussian_filter(np.einsum("nhwc,c->nhw", followed, np.maximum(weights, 0)), (0, 0.8, 0.8), mode="mirror")
        expected = cam / np.maximum(cam.max(axis=(1, 2), keepdims=True), 1e-9)
        assert explain.layer_cam(model, images, finding) == pytest.approx(expected, abs=1e-3)
    # A probability of 1 still has a heat map, although bias and weights are so large that the sigmoid has no slope.
    kernel, bias = model.layers[-1].get_weights()
    before = explain.layer_cam(model, images, "Mass")
    model.layers[-1].set_weights([kernel * 1e3, bias + 1e3])
    assert models.predict(model, images).min() == 1
    assert explain.layer_cam(model, images, "Mass") == pytest.approx(before, abs=1e-5)
    # With negative weights everywhere there is no heat and no division by zero.
    model.layers[-1].set_weights([-np.abs(kernel), bias])
    assert explain.layer_cam(model, images, "Mass").max() == 0


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "baseline")) for name in BUILDERS]
)
def test_every_model_has_heat_maps_before_and_after_loading(name, tmp_path):
    model, images = _build(name), _noise(3)
    heat = explain.layer_cam(model, images, "Mass")
    assert heat.shape == (3, SIZE, SIZE) and heat.dtype == np.float32
    assert heat.min() >= 0 and heat.max(axis=(1, 2)) == pytest.approx(1)
    model.save(tmp_path / "model.h5")
    loaded = keras.models.load_model(tmp_path / "model.h5", compile=False)
    assert explain.layer_cam(loaded, images, "Mass") == pytest.approx(heat, abs=1e-3)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "baseline")) for name in BUILDERS]
)
def test_no_connection_bypasses_the_target_layer(name):
    model = _build(name)
    layer = heat_maps.target_layer(model)
    assert min(layer.output.shape[1:3]) >= heat_maps.MIN_MAP_SIZE
    # The rest of the model computes the same predictions from the feature maps of the layer alone.
    above, below = keras.Model(layer.output, model.output), keras.Model(model.inputs[0], layer.output)
    images = _noise(2)[..., None]
    assert np.asarray(above(below(images))) == pytest.approx(np.asarray(model(images)), abs=1e-5)


@pytest.mark.slow
def test_each_image_can_have_its_own_finding_with_any_batch_size(monkeypatch):
    model, images = _build("baseline"), _noise(5)
    whole = {finding: explain.layer_cam(model, images, finding) for finding in ("Mass", "Hernia")}
    assert np.abs(whole["Mass"] - whole["Hernia"]).max() > 0.1
    monkeypatch.setattr(heat_maps, "BATCH_SIZE", 2)
    mixed = explain.layer_cam(model, images, ["Mass", "Hernia", "Hernia", "Mass", "Hernia"])
    expected = [whole[finding][image] for image, finding in enumerate(["Mass", "Hernia", "Hernia", "Mass", "Hernia"])]
    assert mixed == pytest.approx(np.stack(expected), abs=1e-4)


def test_heat_maps_follow_weights_that_change(tmp_path):
    model, images = _build("baseline"), _noise(2)
    first = explain.layer_cam(model, images, "Mass")
    rng = seeded(3)
    model.set_weights([weight + rng.normal(0, 0.1, weight.shape) ** 2 for weight in model.get_weights()])
    changed = explain.layer_cam(model, images, "Mass")
    assert np.abs(changed - first).max() > 0.1
    model.save(tmp_path / "model.h5")
    loaded = keras.models.load_model(tmp_path / "model.h5", compile=False)
    assert explain.layer_cam(loaded, images, "Mass") == pytest.approx(changed, abs=1e-3)


def test_invalid_input_raises_a_clear_error():
    model, images = _build("baseline"), _noise(2)
    with pytest.raises(ValueError, match=r"Cold.*Atelectasis, .*Hernia"):
        explain.layer_cam(model, images, "Cold")
    with pytest.raises(ValueError, match=r"3 .*2 images"):
        explain.layer_cam(model, images, ["Mass"] * 3)
    with pytest.raises(ValueError, match=r"48×48 .*baseline .*64×64"):
        explain.layer_cam(model, _noise(2, 48), "Mass")
    inputs = keras.Input((SIZE, SIZE, 1))
    flat = keras.Model(inputs, keras.layers.Dense(14)(keras.layers.Flatten()(inputs)), name="flat")
    with pytest.raises(ValueError, match=r"flat .*convolution"):
        explain.layer_cam(flat, images, "Mass")


def test_an_unsupported_backend_is_rejected(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match=r"torch.* KERAS_BACKEND=tensorflow or jax"):
        explain.layer_cam(_build("baseline"), _noise(1), "Mass")


@pytest.fixture(scope="module")
def planted():
    """Returns images `(n, size, size)` of one patient each, labels `(n, 14)` and the frame of boxes.

    About half of the images show each of the findings `PLANTED`.
    """
    images = TRAINED + 120
    shown = seeded(5).random((images, 3)) < 0.5
    y_true = np.zeros((images, 14), np.float32)
    y_true[:, [config.LABELS.index(finding) for finding in PLANTED]] = shown
    drawn, boxes = draw_images(np.arange(images), np.zeros(images, int), y_true, SIZE)
    rows = [(f"{number}.png", finding, *box) for number, some in enumerate(boxes) for finding, box in some]
    return drawn, y_true, pd.DataFrame(rows, columns=["imgindex", "label", *"xywh"])


def _localization(planted, y_train):
    """Returns the localization table of a baseline that was trained on these labels."""
    images, _, boxes = planted
    keras.utils.set_random_seed(0)
    model = models.build_baseline(SIZE, batch_norm_momentum=0.9)
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
    model.fit(images[:TRAINED, ..., None], y_train, batch_size=32, epochs=25, verbose=0)
    numbers = np.arange(TRAINED, len(images))
    test = pd.DataFrame({"imgindex": [f"{number}.png" for number in numbers], "patientID": numbers})
    cases = data.select_cases(boxes, test)
    heat = explain.layer_cam(model, images[TRAINED:][cases.image], cases.label)
    return evaluation.localization_table(cases, heat)


@pytest.mark.slow
def test_heat_maps_of_a_trained_model_locate_the_findings_of_the_phantom(planted):
    row = _localization(planted, planted[1][:TRAINED]).loc["all"]
    assert row.films > 150
    # After so few images they need not be better than their mean, which knows where a finding usually is.
    assert row.lower > row.centre_upper
    assert row.share > 1.5 * row.centre_share


@only_in_ci
@pytest.mark.slow
def test_heat_maps_of_a_model_trained_on_shuffled_labels_do_not(planted):
    shuffled = seeded(0).permutation(planted[1][:TRAINED])
    row = _localization(planted, shuffled).loc["all"]
    assert row.upper < 0.3 and row.share < 1.5 * row.centre_share
