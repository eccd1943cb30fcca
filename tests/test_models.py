"""Tests of `models`: parameters, saving, opening in plain Keras, preprocessing, weights, stamp, misleading errors."""

import errno
import fcntl
import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
from http.client import IncompleteRead
from urllib.error import URLError

import h5py
import keras
import numpy as np
import pytest
from scipy.special import expit, logit

from cxr_utils import config, data, models
from cxr_utils.training import artifacts
from tests.helpers import TESTED_BACKBONES, seeded


def _trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def _save(model, path, **attributes):
    """Saves a model, with HDF5 attributes in place of what Keras or a training run wrote."""
    path.parent.mkdir(exist_ok=True)
    model.save(path)
    with h5py.File(path, "r+") as file:
        file.attrs.update(attributes)
    return path


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
@pytest.mark.parametrize("backbone", TESTED_BACKBONES)
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
    for backbone in (None, "MobileNet") if under_jax else (None, *TESTED_BACKBONES):
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
            model.stamp = {}
            artifacts.save_model(model, tmp_path / names[-1])
            np.save(tmp_path / f"{names[-1]}.npy", predicted)
    subprocess.run([sys.executable, "-c", PLAIN, *names], check=True, cwd=tmp_path)


@pytest.mark.slow
def test_a_loaded_model_states_its_network_and_weights(home):
    model = models.build_pretrained("MobileNet", 64, weights=None)
    path = _save(model, home / "cnnmodels" / "mobilenet_model.h5")
    loaded = models.load_model("mobilenet")
    assert models.facts(loaded) == {
        "network": "MobileNet", "weights": "random initialization", "pretrained": False, "members": 1, "image_size": 64,
        "parameters": model.count_params(), "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }  # fmt: skip
    assert models.describe(loaded) == "MobileNet, random initialization"
    baseline = models.build_baseline(64)
    assert models.describe(baseline) == models.facts(baseline)["network"] == "baseline"
    assert models.facts(baseline)["weights"] == "random initialization" and not models.facts(baseline)["pretrained"]
    imagenet = keras.Model(baseline.inputs, baseline.outputs, name="MobileNet_imagenet")
    assert models.describe(imagenet) == "MobileNet, ImageNet weights" and models.facts(imagenet)["pretrained"]


@pytest.mark.slow
@pytest.mark.parametrize(("stem", "shown"), [("chest_X-rays", "chest_X-rays"), ("Röntgen (1) a:b", "R_ntgen__1__a_b")])
def test_weights_can_be_loaded_from_a_file_whose_name_is_shown(tmp_path, stem, shown):
    body = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(64, 64, 3))
    file = tmp_path / f"{stem}.weights.h5"
    body.save_weights(file)
    model = models.build_pretrained("MobileNet", 64, weights=str(file))
    assert models.describe(model) == f"MobileNet, weights from {shown}.weights" and models.facts(model)["pretrained"]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert model.initial_weights == {"file": file.name, "sha256": digest}
    assert np.array_equal(model.get_layer("conv1").get_weights()[0], body.get_layer("conv1").get_weights()[0])
    # TensorFlow checks the name when a model computes.
    assert models.predict(model, np.zeros((1, 64, 64), np.uint8)).shape == (1, 14)


@pytest.mark.slow
def test_imagenet_weights_are_downloaded_once_and_named_with_their_hash(
    no_imagenet_weights, serve, tmp_path, monkeypatch
):
    body = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(128, 128, 3))
    (tmp_path / "server").mkdir()
    file = tmp_path / "server" / "mobilenet_1_0_128_tf_no_top.h5"
    body.save(file)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name)
    (tmp_path / "keras").mkdir()
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path / "keras"))
    monkeypatch.setattr("keras.src.applications.mobilenet.BASE_WEIGHT_PATH", f"{serve(tmp_path / 'server')}/")
    model = models.build_pretrained()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert model.initial_weights == {"file": file.name, "sha256": digest}
    assert np.array_equal(model.get_layer("conv1").get_weights()[0], body.get_layer("conv1").get_weights()[0])
    file.unlink()
    assert models.build_pretrained().initial_weights == model.initial_weights  # from Keras' cache


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "size"),
    # MobileNet and MobileNetV2 have several files.
    [
        (name, size)
        for name in TESTED_BACKBONES
        for size in ((96, 128, 160, 192, 200, 224) if "Mobile" in name else (128,))
    ],
)
def test_the_hash_is_that_of_the_file_that_keras_loads(monkeypatch, tmp_path, backbone, size):
    asked = []

    def get_file(fname, origin, **kwargs):
        asked.append(tmp_path / fname)
        asked[-1].write_text(f"weights of {fname}")
        return str(asked[-1])

    for module in ("keras.src.utils.file_utils", "keras.utils"):
        monkeypatch.setattr(f"{module}.get_file", get_file)
    monkeypatch.setattr("keras.Model.load_weights", lambda self, path: None)
    found = models.build_pretrained(backbone, size).initial_weights
    assert found == {"file": asked[0].name, "sha256": hashlib.sha256(asked[0].read_bytes()).hexdigest()}


def test_missing_imagenet_weights_are_reported_with_file_and_folder(no_imagenet_weights):
    folder = re.escape(os.environ["KERAS_HOME"])
    with pytest.raises(
        ConnectionError, match=rf"MobileNet .*https://\S+/mobilenet_1_0_128_tf_no_top\.h5 .*{folder}/models/"
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
    (OSError(errno.ENOSPC, "no space left"), OSError), (PermissionError(errno.EACCES, "denied"), PermissionError),
    (ConnectionResetError("reset by peer"), None), (Exception("URL fetch failure on https://a/b.h5"), None),
    (ssl.SSLError(1, "decryption failed"), None), (ssl.SSLCertVerificationError("self-signed certificate"), None),
    (URLError(ssl.SSLError("handshake failure")), None), (IncompleteRead(b""), None), (TimeoutError("timed out"), None),
    (OSError(errno.EHOSTUNREACH, "no route to host"), None), (OSError(errno.ENETUNREACH, "unreachable"), None),
])  # fmt: skip
@pytest.mark.slow
def test_only_a_failed_download_leads_to_random_weights(monkeypatch, raised, expected):
    whole = keras.applications.MobileNet

    def build(weights, **given):
        if weights == "imagenet":
            raise raised
        return whole(weights=weights, **given)

    monkeypatch.setattr(keras.applications, "MobileNet", build)
    with pytest.raises(expected or ConnectionError) as caught:
        models.build_pretrained(image_size=64)
    assert type(caught.value) is (expected or ConnectionError)
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


@pytest.mark.slow
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
    _save(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), path)
    with pytest.raises(ValueError, match=r"\(None, 3\) .*\(None, 2\).*\(None, 14\).*200-basemodel"):
        models.load_model("baseline")


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [errno.ENOLCK, errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE, errno.ETIMEDOUT, errno.EAGAIN]
)
@pytest.mark.parametrize("where", ["shutil.copyfile", "keras.models.load_model"])
def test_an_error_of_the_file_system_does_not_send_the_user_to_train_again(home, monkeypatch, where, number):
    _save(models.build_baseline(48), home / "cnnmodels" / "baseline_model.h5")

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(where, fail)
    with pytest.raises(OSError, match=rf"cnnmodels/baseline_model\.h5 .*{os.strerror(number)}") as caught:
        models.load_model("baseline")
    assert "200-base" not in str(caught.value)


def test_a_model_file_that_another_process_has_locked_opens(home):
    path = _save(models.build_baseline(48), home / "cnnmodels" / "baseline_model.h5")
    with open(path, "rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert models.load_model("baseline").input_shape == (None, 48, 48, 1)


@pytest.mark.parametrize(("old", "new"), [
    ('"name": "block1_conv"', '"name": "block1_conv", "of_the_future": 1'),
    ('"class_name": "Flatten"', '"class_name": "FutureFlatten"'), ('"activation": "relu"', '"activation": "future_lu"'),
])  # fmt: skip
@pytest.mark.parametrize("written", ["99.0.1", "2.2.4-tf"])
def test_a_model_of_another_version_of_keras_is_named_with_both_versions(home, old, new, written):
    path = _save(models.build_baseline(48), home / "cnnmodels" / "baseline_model.h5", keras_version=written)
    with h5py.File(path, "r+") as file:
        layers = file.attrs["model_config"]
        assert old in layers
        file.attrs["model_config"] = layers.replace(old, new)
    with pytest.raises(ValueError, match=rf"baseline_model\.h5 .*{re.escape(written)}.*{keras.__version__}") as caught:
        models.load_model("baseline")
    assert f"keras=={written}" in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("image_data_format", "channels_first"), ("floatx", "float16"),
                                             ("floatx", "float64"), ("epsilon", 1e-8)])  # fmt: skip
def test_other_settings_of_keras_are_rejected(home, name, value):
    _save(models.build_baseline(48), home / "cnnmodels" / "baseline_model.h5")
    usual = getattr(keras.config, name)()
    getattr(keras.config, f"set_{name}")(value)
    try:
        for use in (models.build_baseline, models.build_pretrained, lambda: models.load_model("baseline")):
            with pytest.raises(ValueError, match=rf"{name} .*{value}.*keras\.json.*{usual}"):
                use()
    finally:
        getattr(keras.config, f"set_{name}")(usual)


@pytest.mark.slow
def test_an_old_keras_json_is_named(tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"image_data_format": "channels_first", "floatx": "float32"}))
    command = [sys.executable, "-m", "cxr_utils", "predict", "none.h5", "none.png"]
    outcome = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"KERAS_HOME": str(tmp_path)})
    assert outcome.returncode == 1 and outcome.stdout == ""
    (line,) = outcome.stderr.splitlines()
    assert all(text in line for text in (f"{tmp_path}/keras.json", "channels_first", "channels_last"))


@pytest.mark.slow
def test_a_model_does_not_predict_findings_without_a_training_image(home, images):
    model = models.build_baseline(64)
    plain = models.predict(model, images[..., 0])
    assert np.isfinite(plain).all()
    path = home / "cnnmodels" / "baseline_model.h5"
    _save(model, path)
    assert models.load_model("baseline").stamp == {}
    stamp = {"run": "3f", "started": "2026-11-28T12:00:00", "absent": ["Hernia", "Edema"]}
    _save(model, path, cxr_utils_training=json.dumps(stamp))
    opened = models.load_model("baseline")
    assert opened.stamp == stamp
    model.stamp = stamp  # as during training
    expected = np.where(np.isin(config.LABELS, ["Edema", "Hernia"]), np.nan, plain)
    for predicted in (models.predict(opened, images[..., 0], 3), models.predict(model, images[..., 0])):
        np.testing.assert_allclose(predicted, expected, atol=1e-6)


@pytest.mark.slow
def test_initial_weights_tell_a_new_model_from_a_trained_one(images):
    def build(seed, build=models.build_baseline, **given):
        keras.utils.set_random_seed(seed)
        return build(image_size=64, **given)

    model = build(1)
    assert model.initial_digest == models.weights_digest(model) == build(1).initial_digest != build(2).initial_digest
    model.compile("sgd", "binary_crossentropy")
    model.fit(images, np.eye(4, 14), verbose=0)
    assert models.weights_digest(model) not in (model.initial_digest, build(2).initial_digest)
    # Also the batch statistics belong to a trained model.
    other = build(1)
    other.get_layer("block1_norm").moving_mean.assign_add(np.full(8, 1e-6, "float32"))
    assert models.weights_digest(other) != other.initial_digest
    pretrained = build(1, models.build_pretrained, weights=None)
    assert pretrained.initial_digest == models.weights_digest(pretrained)


@pytest.mark.slow
def test_predictions_equal_those_of_keras_and_a_wrong_size_is_rejected(images):
    model = models.build_baseline(64)
    assert models.predict(model, images[..., 0], batch_size=3) == pytest.approx(
        model.predict(images, verbose=0), abs=1e-6
    )
    with pytest.raises(ValueError, match=r"32×32 .*baseline .*64×64"):
        models.predict(model, images[:, :32, :32, 0])


@pytest.mark.slow
def test_test_time_augmentation_averages_logits(home, images):
    model = models.build_baseline(64)
    model.layers[-1].set_weights([30 * model.layers[-1].get_weights()[0], np.linspace(-5, 5, 14)])
    pixels, matrices = images[..., 0], data.fixed_affines(64)
    views = [pixels, *(data.transform(pixels, [matrix] * len(pixels)) for matrix in matrices)]
    logits = [logit(models.predict(model, view).astype(float)) for view in views]
    assert np.ptp(logits, axis=0).max() > 0.1
    augmented = models.predict(model, pixels, transforms=matrices)
    assert augmented.dtype == np.float32 and augmented == pytest.approx(expit(np.mean(logits, axis=0)), abs=1e-6)
    assert models.predict(model, pixels, 3, matrices) == pytest.approx(augmented, abs=1e-6)
    assert models.describe(model, matrices) == "baseline, 5 × TTA" and models.describe(model) == "baseline"
    # Also of tiny probabilities.
    model.layers[-1].set_weights([model.layers[-1].get_weights()[0] * 0, np.full(14, -60.0)])
    assert models.predict(model, pixels, transforms=matrices) == pytest.approx(expit(-60.0), rel=1e-3)
    model.stamp = {"absent": ["Hernia"]}
    augmented = models.predict(model, pixels, transforms=matrices)
    assert np.isnan(augmented[:, config.LABELS.index("Hernia")]).all() and np.isnan(augmented).sum() == len(pixels)
