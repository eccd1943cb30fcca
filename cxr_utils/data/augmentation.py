"""Affine transforms of images: random ones for training, fixed ones for test-time augmentation."""

import cv2
import numpy as np

# The ranges of the 2019 models: shift as a share of the width, rotation in degrees, zoom as a share. Shear is the
# tangent of the angle; in 2019 it was only ±0.1° because its unit was misread.
SHIFT = 0.1
ROTATION = 5.0
SHEAR = 0.1
ZOOM = 0.15
# Directions of rotation, zoom and shifts (x, y) of the fixed transforms. Each column is balanced.
_DIRECTIONS = np.array([[1, 1, 1, 1], [1, -1, -1, -1], [-1, 1, -1, 1], [-1, -1, 1, -1]])


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
    # Both reading from disk and the transform release the interpreter lock, so several threads run at once.
    affines = random_affines(images.shape[1], len(positions), rng)
    return transform((images[position] for position in positions), affines)


def transform(images, matrices):
    """Applies an affine transform to each image; uncovered areas are filled by reflection.

    Args:
        images: iterable of b `(size, size)` uint8.
        matrices: `(b, 2, 3)` float, see `random_affines`.

    Returns:
        `(b, size, size)` uint8.
    """
    moved = [
        cv2.warpAffine(image, matrix, image.shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        for image, matrix in zip(images, np.asarray(matrices, float), strict=True)
    ]
    return np.array(moved)


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
    zoom = rng.uniform(1 - ZOOM, 1 + ZOOM, (2, count))
    return _affines(size, angle, shear, zoom, rng.uniform(-SHIFT, SHIFT, (count, 2)) * size)


def fixed_affines(size):
    """Returns the four transforms of test-time augmentation: half the ranges of the training augmentation, no shear.

    They rotate, zoom and shift in balanced directions, so that their average favors none. None mirrors the image.

    Args:
        size: int, pixels per side of the images.

    Returns:
        `(4, 2, 3)` float64, see `random_affines`.
    """
    rotation, zoom, *shift = _DIRECTIONS.T / 2
    zoom = 1 + ZOOM * zoom
    return _affines(
        size, np.deg2rad(ROTATION * rotation), np.zeros(4), [zoom, zoom], np.transpose(shift) * SHIFT * size
    )


def _affines(size, angle, shear, zoom, shift):
    """Returns `(n, 2, 3)`: rotation · [[1, shear], [0, 1]] · diag(zoom) about the center, then the shift `(n, 2)`."""
    (zoom_x, zoom_y), cos, sin = zoom, np.cos(angle), np.sin(angle)
    linear = np.array([[cos * zoom_x, (cos * shear - sin) * zoom_y], [sin * zoom_x, (sin * shear + cos) * zoom_y]])
    linear = linear.transpose(2, 0, 1)
    center = np.full(2, (size - 1) / 2)
    return np.concatenate([linear, (center + shift - linear @ center)[..., None]], axis=2)
