"""All notebooks on NIH's real images; needs CXR_TEST_RELEASES."""

import hashlib
import tarfile
from pathlib import Path

import cv2
import h5py
import keras
import numpy as np
import pandas as pd
import pytest
from keras.src.backend.config import keras_home
from PIL import Image
from sklearn.metrics import roc_auc_score

from cxr_utils import config, data, models, run, training
from cxr_utils.__main__ import main
from tests.conftest import draw_images
from tests.test_dicom import SIZE, dicom, make_cases, read
from tests.test_labels_and_splits import TEST_SHARES
from tests.test_notebooks import NOTEBOOKS

pytestmark = pytest.mark.slow


def _mean_auroc(home, model):
    """Mean AUROC on test images by scikit-learn, over findings with at least 10 positives."""
    test = pd.read_pickle(home / "subset" / "test_set.pkl")
    y_prob = pd.read_csv(home / "test_results" / f"predictions_{model}_test.csv")
    return np.mean([roc_auc_score(test[label], y_prob[label]) for label in config.LABELS if test[label].sum() >= 10])


def grayscale(archive):
    """Yields the images of an archive, `(height, width)` uint8."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.endswith(".png"):
                yield cv2.imdecode(np.frombuffer(tar.extractfile(member).read(), np.uint8), cv2.IMREAD_GRAYSCALE)


@pytest.fixture
def run_notebooks(home, monkeypatch):
    """Function that runs some notebooks on a release and returns the folder that they wrote to."""

    def start(release, parameters):
        monkeypatch.setenv("CXR_RELEASE", str(release))
        for path in NOTEBOOKS:
            if path.stem[:3] in parameters:
                assert run.run_notebook(path, home / "notebooks", parameters[path.stem[:3]])
        return home

    return start


def test_notebook_100_gives_the_published_split_with_all_images_in_place(real, home, run_notebooks):
    images = home / "data" / "images"
    images.mkdir(parents=True)
    table = real / "release256" / "Data_Entry_2017_v2020.csv"
    (home / "data" / table.name).write_bytes(table.read_bytes())
    for name in pd.read_csv(table)["Image Index"]:
        (images / name).touch()
    run_notebooks("nih", {"100": {}})
    sets = [
        pd.read_pickle(home / "subset" / f"{name}.pkl") for name in ("subset", "train_set", "valid_set", "test_set")
    ]
    assert [len(frame) for frame in sets] == [109_577, 53_692, 32_874, 23_011]
    assert (sets[3][config.LABELS].mean() * 100).to_dict() == TEST_SHARES


def test_the_pretrained_backbone_computes_what_an_independent_forward_pass_does(real):
    file = Path(keras_home()) / "models" / "mobilenet_1_0_224_tf_no_top.h5"
    if not file.is_file():
        pytest.skip(f"needs the ImageNet weights of MobileNet for 224×224 pixels in Keras' cache: {file}")
    with tarfile.open(real / "release256" / "images_001.tar.gz") as tar:
        names = [member for member in tar.getmembers() if member.name.endswith(".png")][:8]
        opened = [Image.open(tar.extractfile(name)).convert("L").resize((224, 224)) for name in names]
        pixels = np.stack([np.asarray(image) for image in opened])
    model = models.build_pretrained("MobileNet", 224, scaling="backbone")
    assert model.initial_weights["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    ours = keras.Model(model.inputs, model.get_layer("pool").output).predict(pixels[..., None], verbose=0)
    body = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(224, 224, 3), pooling="avg")
    with h5py.File(file) as stored:
        groups = stored["model_weights"] if "model_weights" in stored else stored
        for layer in body.layers:
            if layer.weights:
                group = groups[layer.name]
                layer.set_weights([group[name][()] for name in group.attrs["weight_names"]])
    theirs = body.predict(np.repeat(pixels[..., None] / 127.5 - 1, 3, axis=-1), verbose=0)
    assert theirs.std(axis=0).max() > 0.1
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_each_case_of_a_real_image_has_the_probabilities_of_its_reference(real, tmp_path):
    y_true = (np.random.default_rng(3).random((240, 14)) < 0.25).astype(np.float32)
    drawn, _ = draw_images(np.arange(240), np.zeros(240, int), y_true, SIZE)
    # An inverted image has the opposite labels, so the model learns to look at the gray values.
    drawn, y_true = np.concatenate([drawn, 255 - drawn]), np.concatenate([y_true, 1 - y_true])
    keras.utils.set_random_seed(config.SEED)
    model = models.build_baseline(SIZE)
    model.compile("adam", "binary_crossentropy")
    model.fit(training.XrayGenerator(drawn, y_true, 16, training=True, seed=3), epochs=6, verbose=0)
    real_image = next(
        image for image in grayscale(real / "release1024" / "images_001.tar.gz") if image.shape == (1024, 1024)
    )
    rows, folder = make_cases(real_image, tmp_path)

    def probabilities(name):
        image, _ = data.read_user_image(folder / name)
        return models.predict(model, data.resize(image, SIZE)[None])[0]

    plain = probabilities("reference.png")
    inverted = models.predict(model, 255 - data.resize(real_image, SIZE)[None])[0]
    assert np.abs(plain - inverted).max() > 0.1, "the model hardly looks at the image"
    for name, row in rows.items():
        assert np.abs(probabilities(name) - probabilities(row["reference"])).max() <= 0.02, name


def test_real_images_are_read_without_warnings(real, tmp_path):
    found = [
        read(tmp_path, dicom(image.astype(np.uint16) * 16))[1]
        for archive in sorted(real.glob("release*/*.tar.gz"))
        for image in grayscale(archive)
    ]
    print(f"{len(found)} images, {sum(map(bool, found))} with warnings")
    assert len(found) == 1300 + 178
    assert sum(bool(notes) for notes in found) <= 0.01 * len(found)


@pytest.mark.timeout(900)
def test_release1024_runs_through_all_notebooks(real, tmp_path):
    home = tmp_path / "run"
    where = ["--release", str(real / "release1024"), "--home", str(home)]
    assert main(["run", *where, "SPLIT=patient", "EPOCHS=1", "210.WEIGHTS=None"]) == 0
    assert len(list((home / "data" / "images").iterdir())) == 178
    table = pd.read_csv(home / "test_results" / "auroc_baseline.csv", index_col="label")
    test = pd.read_pickle(home / "subset" / "test_set.pkl")
    rare = [label for label in config.LABELS if test[label].sum() < 10]
    assert table.auroc[rare].isna().all() and table.auroc.drop(rare).notna().all()
    assert {"Hernia", "Fibrosis"} <= set(rare)


@pytest.mark.timeout(3600)
def test_the_baseline_learns_from_real_images(real, run_notebooks):
    means = []
    for seed in (42, 1):
        split = {"SPLIT": "patient", "SEED": seed}
        training = {"EPOCHS": 60, "PLATEAU": 60, "PATIENCE": 60}
        home = run_notebooks(real / "release256", {"000": {}, "100": split, "200": training, "300": {}})
        means.append(_mean_auroc(home, "baseline"))
    print("mean AUROC on test images, split seeds 42, 1:", np.round(means, 3))
    assert np.mean(means) >= 0.65
