"""Keras batches from the pixel array, augmented."""

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
    """Batches of films and their findings.

    Each batch depends on seed, epoch and number alone, so it is the same for any number of workers.

    Args:
        films: `(n, size, size)` uint8, `pixels.Films` or an array.
        y_true: `(n, 14)` 0 or 1.
        batch_size: int.
        training: bool; films are shuffled anew each epoch and augmented. Otherwise they come in order as they are.
        seed: int.

    Raises:
        ValueError: the numbers of films and of label rows differ, or there are none.
    """

    def __init__(self, films, y_true, batch_size, training=False, seed=config.SEED, **kwargs):
        super().__init__(**kwargs)
        if len(films) != len(y_true) or not len(films):
            raise ValueError(
                f"{len(films)} films and {len(y_true)} rows of labels: expected the same number, at least one."
            )
        self.films = films
        self.y_true = np.asarray(y_true, np.float32)
        self.batch_size = batch_size
        self.training = training
        self.seed = seed
        self.start_epoch(0)

    def __len__(self):
        return -(-len(self.films) // self.batch_size)

    def __getitem__(self, number):
        """Returns `(x, y)`: `(b, size, size, 1)` uint8 and `(b, 14)` float32; the last batch may be smaller."""
        which = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        x = self.films[which]
        if self.training:
            rng = np.random.default_rng([self.seed, self.epoch, number])
            x = np.stack([augment(film, rng) for film in x])
        return x[..., None], self.y_true[which]

    def on_epoch_end(self):
        self.start_epoch(self.epoch + 1)

    def start_epoch(self, epoch):
        """Makes the next batches those of an epoch; `fit` counts on by itself."""
        self.epoch = epoch
        self.order = np.arange(len(self.films))
        if self.training:
            np.random.default_rng([self.seed, epoch]).shuffle(self.order)


def augment(film, rng):
    """Shifts, turns, shears and zooms a film at random about its centre, filled by reflection, in one transform.

    Args:
        film: `(size, size)` uint8.
        rng: `numpy.random.Generator`.

    Returns:
        `(size, size)` uint8.
    """
    size = film.shape[0]
    matrix = random_affine(size, rng)
    return cv2.warpAffine(film, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def random_affine(size, rng):
    """Draws the transform of one film.

    Args:
        size: int, pixels a side.
        rng: `numpy.random.Generator`.

    Returns:
        `(2, 3)` float64: maps (x, y, 1) of the film to (x, y) of the result, in pixels.
    """
    angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION))
    shear = rng.uniform(-SHEAR, SHEAR)
    zoom_x, zoom_y = rng.uniform(1 - ZOOM, 1 + ZOOM, 2)
    shift = rng.uniform(-SHIFT, SHIFT, 2) * size
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotate @ np.array([[1, shear], [0, 1]]) @ np.diag([zoom_x, zoom_y])
    centre = np.full(2, (size - 1) / 2)
    return np.column_stack([linear, centre + shift - linear @ centre])
