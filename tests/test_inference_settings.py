"""Tests of `<model>_inference.json`: what it contains, and when it is rejected."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from cxr_utils import config, reports

FACTS = {
    "network": "MobileNet", "weights": "ImageNet weights", "pretrained": True, "image_size": 128,
    "parameters": 3_760_846, "members": 3, "model_sha256": hashlib.sha256(b"a model").hexdigest(),
}  # fmt: skip
TRANSFORMS = [[[1.0, 0.1, -2.5], [0.0, 1.0, 3.0]]]


@pytest.fixture
def model_file(home):
    """Path of a model file whose settings are saved; Hernia has none."""
    path = home / "cnnmodels" / "mobilenet_model.h5"
    path.parent.mkdir()
    path.write_bytes(b"a model")
    columns = {"youden": 0.1, "sensitive": 1 / 3, "slope": 1.25, "intercept": -0.5}
    settings = pd.DataFrame(columns, pd.Index(config.LABELS, name="label"))
    settings.loc["Hernia"] = np.nan
    reports.save_inference_settings("mobilenet", settings, FACTS, "Images: some", 400, TRANSFORMS)
    assert path.read_bytes() == b"a model"
    return path


def test_the_file_states_what_a_reader_needs(model_file):
    stored = json.loads(model_file.with_name("mobilenet_inference.json").read_text(encoding="utf-8"))
    findings = stored.pop("findings")
    assert stored == FACTS | {
        "images": "Images: some", "synthetic": False, "validation_images": 400, "transforms": TRANSFORMS
    }  # fmt: skip
    assert list(findings) == config.LABELS
    assert findings["Mass"] == {"youden": 0.1, "sensitive": 1 / 3, "slope": 1.25, "intercept": -0.5}
    assert findings["Hernia"] == dict.fromkeys(findings["Mass"])
    assert reports.load_inference_settings(str(model_file)).attrs == stored


def test_settings_may_be_missing_and_so_may_the_model(model_file):
    assert reports.load_inference_settings(model_file.with_name("other_model.h5")) is None
    model_file.unlink()
    assert reports.load_inference_settings(model_file).attrs["network"] == "MobileNet"


def test_settings_that_cannot_be_read_are_not_called_damaged(model_file):
    path = model_file.with_name("mobilenet_inference.json")
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=r"mobilenet_inference\.json"):
        reports.load_inference_settings(model_file)


def test_settings_of_another_model_file_are_rejected(model_file):
    model_file.write_bytes(b"another model")
    with pytest.raises(ValueError, match=r"mobilenet_inference\.json.*mobilenet_model\.h5.*311-testing"):
        reports.load_inference_settings(model_file)
    # The name of the file does not tell which notebook wrote it.
    for name in ("model.h5", "inference.json"):
        model_file.with_name(f"mobilenet_{name}").rename(model_file.with_name(f"mine_{name}"))
    with pytest.raises(ValueError, match=r"mine_inference\.json.*300-testing.* or 311-testing"):
        reports.load_inference_settings(model_file.with_name("mine_model.h5"))


@pytest.mark.parametrize("damage", [
    lambda stored: "",
    lambda stored: stored[:200],
    lambda stored: "[1, 2]",
    lambda stored: "{}",
    lambda stored: stored.replace('"Mass"', '"mass"'),
    lambda stored: stored.replace('"youden"', '"Youden"'),
    lambda stored: stored.replace("0.1,", '"high",'),
    lambda stored: stored.replace('"model_sha256"', '"sha"'),
    lambda stored: stored.replace('"network"', '"net"'),
    lambda stored: stored.replace('"transforms": [', '"transforms": [1, '),
    lambda stored: json.dumps(json.loads(stored) | {"transforms": [1, 0, 0, 0, 1, 0]}),
    lambda stored: json.dumps(json.loads(stored) | {"transforms": [[[1, 0, float("nan")], [0, 1, 0]]]}),
])  # fmt: skip
def test_a_damaged_file_is_rejected(model_file, damage):
    path = model_file.with_name("mobilenet_inference.json")
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match=r"mobilenet_inference\.json .*311-testing"):
        reports.load_inference_settings(model_file)
