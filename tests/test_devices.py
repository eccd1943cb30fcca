"""Tests of `training.devices`: several devices and hosts compared with one, in separate processes; mixed precision."""

import json
import os
import re
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from cxr_utils import explain, models, training
from tests.conftest import REPOSITORY, save_split
from tests.helpers import only_in_ci, seeded


def separate(test):
    """Marks a test that trains in processes of its own, each of which imports Keras."""
    return only_in_ci(pytest.mark.slow(pytest.mark.timeout(900)(test)))


# Trains, saves and applies a small model on numbers of images that no device count divides; prints the results as JSON.
TRAIN = """
import json, os, re
import keras, numpy as np
from cxr_utils import config, data, explain, models, training
from cxr_utils.training import XrayGenerator

devices = training.configure_devices()
keras.utils.set_random_seed(int(os.environ.get("SEED", 0)))
rng = np.random.default_rng(0)
images, y_true = rng.integers(0, 256, (163, 48, 48), dtype=np.uint8), rng.integers(0, 2, (163, 14)).astype("float32")
inputs = keras.Input((48, 48, 1), dtype="uint8")
x = keras.layers.GroupNormalization(1, center=False, scale=False)(keras.layers.Rescaling(1 / 255)(inputs))
x = keras.layers.Concatenate(name="grey_to_rgb")([x, x, x])
x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(x)
x = keras.layers.BatchNormalization(momentum=0.9)(x)
x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D(name="pool")(x))
outputs = keras.layers.Dense(14, activation="sigmoid", name="findings")(x)
model = keras.Model(inputs, outputs, name="baseline")
metrics = ["categorical_accuracy", keras.metrics.AUC(name="auc")]
model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", metrics=metrics)
steps = []
record = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(dict(logs)))
batches = XrayGenerator(images, y_true, 33, training=True)  # five batches, the last one of 31 images
train, valid, _ = data.load_split().values()
scored = (images[:101], y_true[:101])
callbacks = training.build_callbacks("baseline", batches, (train, valid), *scored, plateau=3, patience=8)
model.fit(batches, epochs=1, callbacks=[record, *callbacks], verbose=0)
found = models.predict(model, images[:101], 50)
training.leave_hosts()
alone = []
if config.rank() == 0:
    training.keep_best("baseline", model)
    saved = models.load_model("baseline")
    alone = models.predict(saved, images[:101]).tolist()
    maps = explain.activations(saved, images[0], ["conv", "pool"])
    alone = [alone, {name: value.tolist() for name, value in maps.items()}]
work = []
if "cpu:1" in devices and config.processes() == 1:
    import jax

    weights = [[np.array(v) for v in part] for part in (model.trainable_variables, model.non_trainable_variables)]
    forward = jax.jit(lambda weights, x: model.stateless_call(*weights, x)[0]).lower(weights, images[:33, ..., None])
    work = sorted(set(re.findall(r"f32\\[(\\d+),48,48,8\\]", forward.compile().as_text())))
results = {"devices": devices, "steps": steps, "found": found.tolist(), "alone": alone, "work": work}
print(json.dumps(results, default=float))
"""
PLAIN = """
import json, numpy as np, keras
model = keras.models.load_model("cnnmodels/baseline_model.h5")
images = np.random.default_rng(0).integers(0, 256, (163, 48, 48), dtype=np.uint8)
print(json.dumps(model.predict(images[:101, ..., None], verbose=0).tolist()))
"""


def _start(home, code=TRAIN, cwd=REPOSITORY, **variables):
    environment = {"KERAS_BACKEND": "jax", "CXR_HOME": str(home), "TF_CPP_MIN_LOG_LEVEL": "2", **variables}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | environment, cwd=cwd, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    return process


def _end(process):
    """Waits for a process and returns its results."""
    printed, errors = process.communicate()
    assert process.returncode == 0, errors[-3000:]
    return json.loads(printed.splitlines()[-1])


def _free_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    return {name: _with_split(tmp_path_factory.mktemp(name)) for name in ("one", "two", "hosts")}


def _with_split(home):
    """Writes into `home` the splits that `keep_best` marks a model with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_HOME", str(home))
        save_split([1, 4], [2, 3])
    return home


@pytest.fixture(scope="module")
def trained(homes):
    """Results of one device, two devices in one process, and two processes on loopback, all on the same images."""
    one, two = _start(homes["one"]), _start(homes["two"], XLA_FLAGS="--xla_force_host_platform_device_count=2")
    found = {"one": _end(one), "two": _end(two)}
    # A proxy that is not there must not be asked for the other host.
    hosts = {"CXR_ADDRESS": _free_address(), "CXR_PROCESSES": "2", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    processes = [_start(homes["hosts"], **hosts, CXR_RANK=str(rank)) for rank in (1, 0)]
    found["rank 1"], found["rank 0"] = [_end(process) for process in processes]
    return found


@separate
@pytest.mark.parametrize("name", ["two", "rank 0", "rank 1"])
def test_losses_metrics_and_predictions_equal_those_of_one_device(trained, name):
    one, other = trained["one"], trained[name]
    assert len(other["steps"]) == len(one["steps"]) == 5
    for step, expected in zip(other["steps"], one["steps"], strict=True):
        assert step == pytest.approx(expected, abs=1e-3)
    assert np.shape(other["found"]) == (101, 14)
    # After five steps the weights differ in their last digits.
    assert np.abs(np.subtract(other["found"], one["found"])).max() < 1e-3


@separate
@pytest.mark.parametrize("name", ["one", "two", "rank 0"])
def test_predictions_are_the_same_before_and_after_leaving_the_other_hosts(trained, name):
    found, (alone, maps) = trained[name]["found"], trained[name]["alone"]
    assert np.abs(np.subtract(found, alone)).max() < 1e-6
    assert np.abs(np.subtract(found, trained["rank 1" if name == "rank 0" else name]["found"])).max() == 0
    assert np.shape(maps["conv"]) == (48, 48, 8) and np.shape(maps["pool"]) == (8,)


@separate
def test_two_devices_share_each_batch(trained):
    # A batch has 33 images: as compiled by XLA, the convolution on each device takes 17 (one is padding on the second).
    assert trained["two"]["work"] == ["17"]
    assert "cpu:0, cpu:1" in trained["two"]["devices"] and "cpu:1" not in trained["one"]["devices"]
    assert "Rank 1 of 2" in trained["rank 1"]["devices"]


@separate
def test_only_rank_0_writes_files(trained, homes):
    lists = [sorted(path.relative_to(home).as_posix() for path in home.rglob("*")) for home in homes.values()]
    # Each home has the same number of files: the second process added none.
    assert [len(names) for names in lists] == [len(lists[0])] * 3
    assert "cnnmodels/baseline_model.h5" in lists[2] and "logs/baseline_training.csv" in lists[2]


@separate
def test_a_model_saved_with_jax_predicts_the_same_with_tensorflow(trained, homes):
    under_tensorflow = _end(_start(homes["hosts"], PLAIN, homes["hosts"], KERAS_BACKEND="tensorflow"))
    assert np.abs(np.subtract(under_tensorflow, trained["rank 0"]["found"])).max() < 1e-5


@separate
def test_different_weights_on_two_hosts_are_rejected(homes):
    hosts = {"CXR_ADDRESS": _free_address(), "CXR_PROCESSES": "2"}
    processes = [_start(homes["hosts"], **hosts, CXR_RANK=str(rank), SEED=str(rank)) for rank in (1, 0)]
    for process in processes:
        process.communicate()
    # JAX checks that replicated values are equal on all hosts; the host that stops first stops the other.
    assert all(process.returncode for process in processes)


@pytest.mark.slow
def test_mixed_precision_keeps_images_and_probabilities_in_32_bits():
    images = seeded(0).integers(0, 256, (8, 64, 64), dtype=np.uint8)
    exact = models.build_baseline(64)
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = models.build_baseline(64)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    mixed.set_weights(exact.get_weights())
    assert mixed.get_layer("block1_conv").compute_dtype == "bfloat16" and mixed.output.dtype == "float32"
    prepared = [explain.activations(model, images[0], ["grey_to_rgb"])["grey_to_rgb"] for model in (exact, mixed)]
    assert prepared[0] == pytest.approx(prepared[1], abs=1e-5)
    assert models.predict(mixed, images) == pytest.approx(models.predict(exact, images), abs=5e-3)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="tests the error of a backend other than JAX")
def test_several_hosts_require_jax(monkeypatch):
    monkeypatch.setenv("CXR_PROCESSES", "2")
    with pytest.raises(ValueError, match=r"CXR_PROCESSES .*2.*tensorflow.*KERAS_BACKEND=jax"):
        training.configure_devices()


BACKEND = keras.backend.backend()


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Returns a function that puts an nvidia-smi of a machine with one GPU on the path."""
    for name in ("CXR_ALLOW_CPU", "CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)

    def write(driver, capability="8.0"):
        program = tmp_path / "nvidia-smi"
        # Drivers before version 510 do not know the field.
        known = f"echo {capability}" if capability else "exit 2"
        code = f'case "$*" in *compute_cap*) {known};; *) echo "NVIDIA A100, {driver}";; esac'
        program.write_text(f"#!/bin/sh\n{code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return write


@pytest.mark.parametrize(
    ("driver", "capability", "has_cuda", "variable", "reason"),
    [
        ("570.86.10", "8.0", False, None, "make gpu"),
        ("470.256.02", "3.7", True, None, "older.*525.*update"),
        ("470.256.02", "", True, None, "older.*525.*update"),
        ("570.86.10", "8.0", True, ("CUDA_VISIBLE_DEVICES", ""), "CUDA_VISIBLE_DEVICES=''.*unset"),
        ("570.86.10", "8.0", True, ("CUDA_VISIBLE_DEVICES", "-1"), "CUDA_VISIBLE_DEVICES='-1'.*unset"),
        ("570.86.10", "8.0", True, ("JAX_PLATFORMS", "cpu"), "JAX_PLATFORMS='cpu'.*unset"),
        ("570.86.10", "8.0", True, None, "list_devices"),
        ("[N/A]", "[N/A]", True, None, "list_devices"),
    ],
)  # fmt: skip
def test_training_stops_if_the_gpu_cannot_be_used(
    nvidia_smi, monkeypatch, driver, capability, has_cuda, variable, reason
):
    nvidia_smi(driver, capability)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if has_cuda else None)
    if variable:
        monkeypatch.setenv(*variable)
    with pytest.raises(
        RuntimeError, match=rf"NVIDIA A100, driver {re.escape(driver)}.*{BACKEND}.*{reason}.*CXR_ALLOW_CPU=1"
    ) as error:
        training.configure_devices(to_train=True)
    assert "\n" not in str(error.value)
    # Testing and predicting take minutes, also on the CPU.
    assert re.search(reason, training.configure_devices())
    monkeypatch.setenv("CXR_ALLOW_CPU", "1")
    assert re.search(reason, training.configure_devices(to_train=True))


def test_training_goes_on_without_a_gpu(tmp_path, monkeypatch):
    assert "NVIDIA" not in training.configure_devices(to_train=True)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho No devices were found\nexit 6\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "NVIDIA" not in training.configure_devices(to_train=True)


@pytest.mark.parametrize(("capability", "warned"), [("9.0", False), ("12.0", True)])
def test_tensorflow_warns_of_a_gpu_newer_than_its_kernels(nvidia_smi, monkeypatch, capability, warned):
    nvidia_smi("570.86.10", capability)
    monkeypatch.setattr("keras.distribution.list_devices", lambda: ["gpu:0"])
    try:
        said = training.configure_devices(to_train=True)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert ("KERAS_BACKEND=jax" in said) == (warned and BACKEND == "tensorflow") and "mixed_bfloat16" in said
