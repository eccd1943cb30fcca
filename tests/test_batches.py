"""Tests of `training.batches`: counts and order of images, and what a batch depends on."""

import keras
import numpy as np
import pytest

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


def test_unequal_numbers_of_images_and_labels_are_rejected(images, y_true):
    with pytest.raises(ValueError, match=r"50 .*49"):
        XrayGenerator(images, y_true[:49], 16)
    with pytest.raises(ValueError, match="0 images"):
        XrayGenerator(images[:0], y_true[:0], 16)
