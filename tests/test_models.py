"""Tests of `models`: parameters, saving, opening in plain Keras, preprocessing, weights."""

import hashlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from cxr_utils import models
from cxr_utils.training import artifacts
from tests.helpers import seeded


def _trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.fixture
def images():
    return seeded(0).integers(0, 256, (4, 64, 64, 1), dtype=np.uint8)


def test_models_have_the_published_numbers_of_parameters():
    baseline, mobilenet = models.build_baseline(), models.build_pretrained(weights=None)
    # As in the model summaries of this project's models of 2019.
    assert (baseline.count_params(), _trainable(baseline)) == (369_470, 368_974)
    assert (mobilenet.count_params(), _trainable(mobilenet)) == (3_760_846, 3_738_958)
    for model in (baseline, mobilenet):
        assert model.input_shape == (None, 128, 128, 1) and model.inputs[0].dtype == "uint8"
        assert model.output_shape == (None, 14)


@pytest.mark.parametrize("size", [48, 128, 224])
def test_the_baseline_accepts_other_image_sizes(size):
    assert models.build_baseline(size).input_shape == (None, size, size, 1)


def test_each_image_is_standardized_inside_the_model(images):
    model = models.build_baseline(64)
    prepared = keras.Model(model.inputs, model.get_layer("grey_to_rgb").output).predict(images, verbose=0)
    scaled = images / 255.0
    expected = (scaled - scaled.mean(axis=(1, 2, 3), keepdims=True)) / np.sqrt(
        scaled.var(axis=(1, 2, 3), keepdims=True) + 1e-3
    )
    assert prepared == pytest.approx(np.repeat(expected, 3, axis=-1), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", models.BACKBONES)
def test_backbone_scaling_is_the_preprocessing_of_keras_applications(images, backbone):
    model = models.build_pretrained(backbone, 64, weights=None, scaling="backbone")
    prepared = keras.Model(model.inputs, model.get_layer("backbone_scaling").output).predict(images, verbose=0)
    module = {
        "MobileNet": "mobilenet", "MobileNetV2": "mobilenet_v2", "ResNet50V2": "resnet_v2", "DenseNet121": "densenet",
    }.get(backbone)  # fmt: skip
    rgb = np.repeat(images, 3, axis=-1).astype("float32")
    # EfficientNetV2 contains its scaling to [-1, 1] as a layer, and its preprocess_input does nothing.
    expected = getattr(keras.applications, module).preprocess_input(rgb) if module else rgb / 127.5 - 1
    assert prepared == pytest.approx(expected, abs=1e-4)


PLAIN = """
import sys, numpy as np, keras
images = np.load("images.npy")
for name in sys.argv[1:]:
    found = keras.ops.convert_to_numpy(keras.models.load_model(name)(images))
    assert np.abs(found - np.load(name + ".npy")).max() < 1e-6, name
assert not any(name.startswith("cxr_utils") for name in sys.modules)
"""


@pytest.mark.slow
def test_every_model_can_be_trained_saved_and_opened_in_plain_keras(images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    names = []
    # With JAX only the two models of the notebooks: XLA needs minutes for each of the deep ones on two cores.
    under_jax = keras.backend.backend() == "jax"
    for backbone in (None, "MobileNet") if under_jax else (None, *models.BACKBONES):
        keras.utils.clear_session()
        # Momentum 0, because with the initial batch statistics a deep backbone predicts the same for all images.
        if backbone:
            model = models.build_pretrained(backbone, 64, weights=None, batch_norm_momentum=0.0)
        else:
            model = models.build_baseline(64, batch_norm_momentum=0.0)
        model.compile("adam", "binary_crossentropy", run_eagerly=not under_jax)  # tracing a deep model takes a minute
        before = model.get_weights()
        model.fit(images, np.eye(4, 14), verbose=0)
        assert any(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
        predicted = keras.ops.convert_to_numpy(model(images))
        assert np.ptp(predicted, axis=0).max() > 0  # a model that ignores the image predicts the same for all
        for suffix in ("h5", "hdf5") if backbone in (None, "MobileNet") else ("h5",):
            names.append(f"{model.name}.{suffix}")
            artifacts.save_model(model, tmp_path / names[-1])
            np.save(tmp_path / f"{names[-1]}.npy", predicted)
    subprocess.run([sys.executable, "-c", PLAIN, *names], check=True, cwd=tmp_path)


def test_a_loaded_model_states_its_network_and_weights(home):
    model = models.build_pretrained("MobileNet", 64, weights=None)
    artifacts.save_model(model, home / "cnnmodels" / "mobilenet_model.h5")
    loaded = models.load_model("mobilenet")
    assert models.facts(loaded) == {
        "network": "MobileNet", "weights": "random initialization", "image_size": 64,
        "parameters": model.count_params(),
        "model_sha256": hashlib.sha256((home / "cnnmodels" / "mobilenet_model.h5").read_bytes()).hexdigest(),
    }  # fmt: skip
    assert models.describe(loaded) == "MobileNet, random initialization"
    baseline = models.build_baseline(64)
    assert models.describe(baseline) == models.facts(baseline)["network"] == "baseline"
    assert models.facts(baseline)["weights"] == "random initialization"
    imagenet = keras.Model(baseline.inputs, baseline.outputs, name="MobileNet_imagenet")
    assert models.describe(imagenet) == "MobileNet, ImageNet weights"


@pytest.mark.parametrize(("stem", "shown"), [("chest_X-rays", "chest_X-rays"), ("Röntgen (1) a:b", "R_ntgen__1__a_b")])
def test_weights_can_be_loaded_from_a_file_whose_name_is_shown(tmp_path, stem, shown):
    body = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(64, 64, 3))
    file = tmp_path / f"{stem}.weights.h5"
    body.save_weights(file)
    model = models.build_pretrained("MobileNet", 64, weights=str(file))
    assert models.describe(model) == f"MobileNet, weights from {shown}.weights"
    assert np.array_equal(model.get_layer("conv1").get_weights()[0], body.get_layer("conv1").get_weights()[0])
    # TensorFlow checks the name when a model computes.
    assert models.predict(model, np.zeros((1, 64, 64), np.uint8)).shape == (1, 14)


def test_missing_imagenet_weights_are_reported_with_file_and_folder(no_imagenet_weights):
    with pytest.raises(
        ConnectionError, match=r"MobileNet .*https://\S+/mobilenet_1_0_128_tf_no_top\.h5 .*~/\.keras/models/"
    ):
        models.build_pretrained()


def test_random_initialization_replaces_missing_weights_only_if_allowed_and_is_reported(
    no_imagenet_weights, monkeypatch, capsys
):
    monkeypatch.setenv("CXR_RANDOM_START", "1")
    model = models.build_pretrained(image_size=64)
    assert models.facts(model)["weights"] == "random initialization"
    assert "RANDOM" in capsys.readouterr().out


@pytest.mark.parametrize(("raised", "expected"), [
    (MemoryError("out of memory"), MemoryError), (TypeError("a defect"), TypeError),
    (OSError("file signature not found"), ValueError), (ValueError("shapes differ"), ValueError),
    (ConnectionResetError("reset by peer"), None), (Exception("URL fetch failure on https://a/b.h5"), None),
])  # fmt: skip
def test_only_a_failed_download_leads_to_random_weights(monkeypatch, raised, expected):
    whole = keras.applications.MobileNet

    def build(weights, **given):
        if weights == "imagenet":
            raise raised
        return whole(weights=weights, **given)

    monkeypatch.setattr(keras.applications, "MobileNet", build)
    with pytest.raises(expected or ConnectionError):
        models.build_pretrained(image_size=64)
    monkeypatch.setenv("CXR_RANDOM_START", "1")
    if expected:
        with pytest.raises(expected):
            models.build_pretrained(image_size=64)
    else:
        assert models.build_pretrained(image_size=64).name == "MobileNet_random_initialization"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"backbone": "VGG99"}, ValueError, "BACKBONE .*VGG99.*MobileNet,"),
        ({"image_size": 32}, ValueError, "IMAGE_SIZE .*32.* 48"),
        ({"scaling": "none"}, ValueError, "SCALING .*none.*backbone"),
        ({"weights": "absent.h5"}, FileNotFoundError, r"WEIGHTS .*absent\.h5.*MobileNet"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(arguments, error, message):
    with pytest.raises(error, match=message):
        models.build_pretrained(**arguments)


def test_weights_of_another_network_are_rejected(tmp_path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ValueError, match=r"WEIGHTS .*other\.weights\.h5.*MobileNet"):
        models.build_pretrained(weights=str(tmp_path / "other.weights.h5"))


def test_errors_for_a_missing_or_wrong_model_name_the_notebook_to_run(home):
    with pytest.raises(FileNotFoundError, match=r"cnnmodels/mobilenet_model\.h5 .*210-pretrained_models"):
        models.load_model("mobilenet")
    path = home / "cnnmodels" / "baseline_model.h5"
    path.parent.mkdir()
    path.write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"cnnmodels/baseline_model\.h5 .*200-basemodel"):
        models.load_model("baseline")
    artifacts.save_model(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), path)
    with pytest.raises(ValueError, match=r"\(None, 3\) .*\(None, 2\).*\(None, 14\).*200-basemodel"):
        models.load_model("baseline")


def test_predictions_equal_those_of_keras_and_a_wrong_size_is_rejected(images):
    model = models.build_baseline(64)
    assert models.predict(model, images[..., 0], batch_size=3) == pytest.approx(
        model.predict(images, verbose=0), abs=1e-6
    )
    with pytest.raises(ValueError, match=r"32×32 .*baseline .*64×64"):
        models.predict(model, images[:, :32, :32, 0])
