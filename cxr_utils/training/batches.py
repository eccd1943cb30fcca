"""Keras batches from the pixel array, augmented."""

import os

import cv2
import keras
import numpy as np

from cxr_utils import config

# As the published models were trained (2019); shear there was ±0.1° by a misread unit, here it is the tangent.
SHIFT = 0.1
ROTATION = 5.0
SHEAR = 0.1
ZOOM = 0.15


class XrayGenerator(keras.utils.PyDataset):
    """Batches of images and their findings.

    Each batch depends on seed, epoch and number alone, so it is the same for any number of workers.

    Args:
        images: `(n, size, size)` uint8, `pixels.Images` or an array.
        y_true: `(n, 14)` 0 or 1.
        batch_size: int.
        training: bool; images are shuffled anew each epoch and augmented. Otherwise they come in order as they are.
        seed: int.

    Raises:
        ValueError: the numbers of images and of label rows differ, or there are none.
    """

    def __init__(self, images, y_true, batch_size, training=False, seed=config.SEED, **kwargs):
        # Threads: reading and transforming images leaves the interpreter's lock to others.
        super().__init__(**{"workers": min(8, os.cpu_count()), **kwargs})
        if len(images) != len(y_true) or not len(images):
            raise ValueError(
                f"{len(images)} images and {len(y_true)} rows of labels: expected the same number, at least one."
            )
        self.images = images
        self.y_true = np.asarray(y_true, np.float32)
        self.batch_size = batch_size
        self.training = training
        self.seed = seed
        self.start_epoch(0)

    def __len__(self):
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, number):
        """Returns `(x, y)`: `(b, size, size, 1)` uint8 and `(b, 14)` float32; the last batch may be smaller."""
        which = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        if self.training:
            x = augment(self.images, which, np.random.default_rng([self.seed, self.epoch, number]))
        else:
            x = self.images[which]
        return x[..., None], self.y_true[which]

    def on_epoch_end(self):
        self.start_epoch(self.epoch + 1)

    def start_epoch(self, epoch):
        """Makes the next batches those of an epoch; `fit` counts on by itself."""
        self.epoch = epoch
        self.order = np.arange(len(self.images))
        if self.training:
            np.random.default_rng([self.seed, epoch]).shuffle(self.order)


def augment(images, which, rng):
    """Shifts, turns, shears and zooms images at random about their centres, filled by reflection, in one transform each.

    Args:
        images: `(n, size, size)` uint8, `pixels.Images` or an array.
        which: `(b,)` int, positions of the images to take.
        rng: `numpy.random.Generator`.

    Returns:
        `(b, size, size)` uint8.
    """
    size = images.shape[1]
    x = np.empty((len(which), size, size), np.uint8)
    for image, matrix, position in zip(x, random_affines(size, len(which), rng), which):
        # Read from disk and transformed in one step, without the lock of the interpreter: other threads do the same.
        cv2.warpAffine(images[position], matrix, (size, size), image, cv2.INTER_LINEAR, cv2.BORDER_REFLECT)
    return x


def random_affines(size, count, rng):
    """Draws the transforms of some images.

    Args:
        size: int, pixels a side.
        count: int, of images.
        rng: `numpy.random.Generator`.

    Returns:
        `(count, 2, 3)` float64: each maps (x, y, 1) of the image to (x, y) of the result, in pixels.
    """
    angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION, count))
    shear = rng.uniform(-SHEAR, SHEAR, count)
    zoom_x, zoom_y = rng.uniform(1 - ZOOM, 1 + ZOOM, (2, count))
    shift = rng.uniform(-SHIFT, SHIFT, (count, 2)) * size
    cos, sin = np.cos(angle), np.sin(angle)
    # Rotation · [[1, shear], [0, 1]] · diag(zoom_x, zoom_y)
    linear = np.array([[cos * zoom_x, (cos * shear - sin) * zoom_y], [sin * zoom_x, (sin * shear + cos) * zoom_y]])
    linear = linear.transpose(2, 0, 1)
    centre = np.full(2, (size - 1) / 2)
    return np.concatenate([linear, (centre + shift - linear @ centre)[..., None]], axis=2)
