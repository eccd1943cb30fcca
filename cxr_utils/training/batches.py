"""Makes Keras batches from the image array, with augmentation for training."""

import cv2
import joblib
import keras
import numpy as np

from cxr_utils import config

# The ranges of the 2019 models: shift as a share of the width, rotation in degrees, zoom as a share. Shear is the
# tangent of the angle; in 2019 it was only ±0.1° because its unit was misread.
SHIFT = 0.1
ROTATION = 5.0
SHEAR = 0.1
ZOOM = 0.15


class XrayGenerator(keras.utils.PyDataset):
    """Batches of images and their labels.

    A batch depends only on the seed, the epoch and its number, so it is the same for any number of workers.

    Args:
        images: `(n, size, size)` uint8, `data.Images` or an array.
        y_true: `(n, 14)` 0 or 1.
        batch_size: int.
        training: bool. If true, images are shuffled in every epoch and augmented; otherwise they come unchanged and in
            order.
        seed: int.
        **kwargs: of `keras.utils.PyDataset`, such as `workers`.

    Raises:
        ValueError: there are no images, or not as many rows of labels as images.
    """

    def __init__(self, images, y_true, batch_size, training=False, seed=config.SEED, **kwargs):
        # Threads suffice: reading and transforming images releases Python's global interpreter lock.
        super().__init__(**{"workers": min(8, joblib.cpu_count()), **kwargs})
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
        """Returns `(x, y)`: `(b, size, size, 1)` uint8 and `(b, 14)` float32. The last batch may be smaller."""
        positions = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        if self.training:
            x = augment(self.images, positions, np.random.default_rng([self.seed, self.epoch, number]))
        else:
            x = self.images[positions]
        return x[..., None], self.y_true[positions]

    def on_epoch_end(self):
        self.start_epoch(self.epoch + 1)

    def start_epoch(self, epoch):
        """Sets the epoch, counted from 0, of the next batches; `fit` advances it at the end of every epoch."""
        self.epoch = epoch
        self.order = np.arange(len(self.images))
        if self.training:
            np.random.default_rng([self.seed, epoch]).shuffle(self.order)


def augment(images, positions, rng):
    """Applies a random shift, rotation, shear and zoom about the center to each image, in a single transform.

    Uncovered areas are filled by reflection.

    Args:
        images: `(n, size, size)` uint8, `data.Images` or an array.
        positions: `(b,)` int, of the images to transform.
        rng: `numpy.random.Generator`.

    Returns:
        `(b, size, size)` uint8.
    """
    size = images.shape[1]
    x = np.empty((len(positions), size, size), np.uint8)
    for image, matrix, position in zip(x, random_affines(size, len(positions), rng), positions, strict=True):
        # Both reading from disk and the transform release the interpreter lock, so several threads run at once.
        cv2.warpAffine(images[position], matrix, (size, size), image, cv2.INTER_LINEAR, cv2.BORDER_REFLECT)
    return x


def random_affines(size, count, rng):
    """Draws random affine transforms, uniform within `SHIFT`, `ROTATION`, `SHEAR` and `ZOOM`.

    Args:
        size: int, pixels per side of the images.
        count: int, number of transforms.
        rng: `numpy.random.Generator`.

    Returns:
        `(count, 2, 3)` float64. Each matrix maps `(x, y, 1)` in the input image to `(x, y)` in the output, in pixels.
    """
    angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION, count))
    shear = rng.uniform(-SHEAR, SHEAR, count)
    zoom_x, zoom_y = rng.uniform(1 - ZOOM, 1 + ZOOM, (2, count))
    shift = rng.uniform(-SHIFT, SHIFT, (count, 2)) * size
    cos, sin = np.cos(angle), np.sin(angle)
    # Rotation · [[1, shear], [0, 1]] · diag(zoom_x, zoom_y)
    linear = np.array([[cos * zoom_x, (cos * shear - sin) * zoom_y], [sin * zoom_x, (sin * shear + cos) * zoom_y]])
    linear = linear.transpose(2, 0, 1)
    center = np.full(2, (size - 1) / 2)
    return np.concatenate([linear, (center + shift - linear @ center)[..., None]], axis=2)
