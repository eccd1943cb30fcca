"""Tests of `training.batches`: counts of images, and the augmentation compared with SciPy."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from cxr_utils.training import batches
from cxr_utils.training.batches import XrayGenerator
from tests.helpers import seeded


@pytest.fixture
def images():
    return np.repeat(np.arange(50, dtype=np.uint8), 64 * 64).reshape(50, 64, 64)


@pytest.fixture
def y_true():
    return seeded(0).integers(0, 2, (50, 14))


@pytest.mark.parametrize("training", [True, False])
def test_each_image_comes_once_per_epoch_with_its_labels(images, y_true, training):
    batches = XrayGenerator(images, y_true, 16, training=training)
    orders = []
    for _ in range(2):
        drawn = [batches[number] for number in range(len(batches))]
        x = np.concatenate([x for x, _ in drawn])
        y = np.concatenate([y for _, y in drawn])
        assert x.shape == (50, 64, 64, 1) and x.dtype == np.uint8 and y.dtype == np.float32
        # Each image has a single gray level, its number, which no transform changes.
        numbers = x[:, 0, 0, 0].astype(int)
        assert sorted(numbers) == list(range(50))
        assert np.array_equal(y, y_true[numbers])
        orders.append(numbers.tolist())
        batches.on_epoch_end()
    if training:
        assert len({tuple(order) for order in [*orders, range(50)]}) == 3
    else:
        assert orders[0] == orders[1] == list(range(50))


def test_a_seed_gives_the_same_images_in_any_order_of_batches(y_true):
    images = seeded(1).integers(0, 256, (50, 64, 64), dtype=np.uint8)
    one, two, other = (XrayGenerator(images, y_true, 16, training=True, seed=seed) for seed in (1, 1, 2))
    forwards = [one[number][0] for number in range(4)]
    backwards = [two[number][0] for number in reversed(range(4))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not np.array_equal(forwards[0], other[0][0])
    one.on_epoch_end()
    assert not np.array_equal(forwards[0], one[0][0])


def _batches_given_to_fit(images, y_true, workers):
    """Returns the batches that `fit` receives in two epochs."""
    received = []

    class Model(keras.Model):
        def call(self, x):
            return keras.ops.zeros((keras.ops.shape(x)[0], 14))

        def train_step(self, *args):
            received.append(np.asarray(args[-1][0]))
            return {"loss": 0.0}

    if keras.backend.backend() != "tensorflow":
        pytest.skip("the model of this test records its inputs, which works with TensorFlow only")
    model = Model()
    model.compile(run_eagerly=True, jit_compile=False)
    batches = XrayGenerator(images, y_true, 16, training=True, workers=workers)
    model.fit(batches, epochs=2, verbose=0, shuffle=False)
    return received


def test_fit_receives_the_same_images_with_any_number_of_workers(y_true):
    images = seeded(1).integers(0, 256, (50, 8, 8), dtype=np.uint8)
    one, three = (_batches_given_to_fit(images, y_true, workers) for workers in (1, 3))
    assert [len(x) for x in one] == [16, 16, 16, 2] * 2
    assert all(np.array_equal(a, b) for a, b in zip(one, three, strict=True))
    assert not np.array_equal(one[0], one[4])


def test_there_are_no_more_workers_than_available_cpus(images, y_true, monkeypatch):
    # joblib counts the CPUs that a container or a scheduler leaves to this process; this variable stands for them.
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert XrayGenerator(images, y_true, 16).workers == 1


def test_augmentation_equals_the_affine_transform_of_scipy():
    rng = seeded(2)
    image = ndimage.gaussian_filter(rng.random((128, 128)), 3)
    image = np.uint8(255 * (image - image.min()) / np.ptp(image))
    for seed in range(20):
        ours = batches.augment(image[None], [0], np.random.default_rng(seed))[0]
        matrix = batches.random_affines(128, 1, np.random.default_rng(seed))[0]
        # SciPy maps output (row, column) to input; ours maps input (x, y) to output.
        inverse = np.linalg.inv(matrix[:, :2])
        theirs = ndimage.affine_transform(
            image.astype(float), inverse[::-1, ::-1], -(inverse @ matrix[:, 2])[::-1], order=1, mode="reflect"
        )
        assert np.abs(ours - theirs).max() <= 4  # OpenCV rounds positions to 1/32 pixel
    assert np.abs(ours - image.astype(float)).max() > 40


def test_transforms_stay_within_the_published_ranges_about_the_center():
    size, shifts, angles, zooms, shears = 101, [], [], [], []
    for matrix in batches.random_affines(size, 500, seeded(0)):
        shifts.append((matrix @ [50, 50, 1] - 50) / size)
        angles.append(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
        # QR decomposition removes the rotation: zoom is on the diagonal, shear times zoom next to it.
        upper = np.linalg.qr(matrix[:, :2])[1]
        zooms.append(np.abs(np.diag(upper)))
        shears.append(upper[0, 1] / upper[1, 1])
    for values, bound in ((shifts, 0.1), (angles, 5), (np.array(zooms) - 1, 0.15), (shears, 0.1)):
        assert 0.9 * bound < np.abs(values).max() <= bound + 1e-9


def test_unequal_numbers_of_images_and_labels_are_rejected(images, y_true):
    with pytest.raises(ValueError, match=r"50 .*49"):
        XrayGenerator(images, y_true[:49], 16)
    with pytest.raises(ValueError, match="0 images"):
        XrayGenerator(images[:0], y_true[:0], 16)
