"""Tests of `data.augmentation`, compared with SciPy, and of the fixed transforms of test-time augmentation."""

import numpy as np
import pytest
from scipy import ndimage

from cxr_utils.data import augmentation
from tests.helpers import seeded


def test_augmentation_equals_the_affine_transform_of_scipy():
    rng = seeded(2)
    image = ndimage.gaussian_filter(rng.random((128, 128)), 3)
    image = np.uint8(255 * (image - image.min()) / np.ptp(image))
    for seed in range(20):
        ours = augmentation.augment(image[None], [0], np.random.default_rng(seed))[0]
        matrix = augmentation.random_affines(128, 1, np.random.default_rng(seed))[0]
        # SciPy maps output (row, column) to input; ours maps input (x, y) to output.
        inverse = np.linalg.inv(matrix[:, :2])
        theirs = ndimage.affine_transform(
            image.astype(float), inverse[::-1, ::-1], -(inverse @ matrix[:, 2])[::-1], order=1, mode="reflect"
        )
        assert np.abs(ours - theirs).max() <= 4  # OpenCV rounds positions to 1/32 pixel
    assert np.abs(ours - image.astype(float)).max() > 40


def test_transforms_stay_within_the_published_ranges_about_the_center():
    size, shifts, angles, zooms, shears = 101, [], [], [], []
    for matrix in augmentation.random_affines(size, 500, seeded(0)):
        shifts.append((matrix @ [50, 50, 1] - 50) / size)
        angles.append(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
        # QR decomposition removes the rotation: zoom is on the diagonal, shear times zoom next to it.
        upper = np.linalg.qr(matrix[:, :2])[1]
        zooms.append(np.abs(np.diag(upper)))
        shears.append(upper[0, 1] / upper[1, 1])
    for values, bound in ((shifts, 0.1), (angles, 5), (np.array(zooms) - 1, 0.15), (shears, 0.1)):
        assert 0.9 * bound < np.abs(values).max() <= bound + 1e-9


def test_the_fixed_transforms_are_within_the_training_augmentation_balanced_and_never_mirrored():
    size = 101
    fixed = augmentation.fixed_affines(size)
    assert fixed.shape == (4, 2, 3) and len(np.unique(fixed.round(6), axis=0)) == 4
    shifts = (fixed @ [50, 50, 1] - 50) / size
    angles = np.degrees(np.arctan2(fixed[:, 1, 0], fixed[:, 0, 0]))
    zooms = np.sqrt(np.linalg.det(fixed[:, :, :2])) - 1  # the determinant of a mirrored image is negative
    for values, bound in ((shifts, 0.1), (angles, 5), (zooms, 0.15)):
        assert 0 < np.abs(values).min() and np.abs(values).max() <= bound
        assert values.mean(axis=0) == pytest.approx(0, abs=1e-9)
    assert np.array_equal(augmentation.fixed_affines(size), fixed)


def test_each_image_gets_its_own_transform():
    images = seeded(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)
    identity, shifted = [[1, 0, 0], [0, 1, 0]], [[1, 0, 5], [0, 1, 0]]
    moved = augmentation.transform(images, [identity, shifted])
    assert np.array_equal(moved[0], images[0]) and np.array_equal(moved[1][:, 5:], images[1][:, :-5])
    assert np.array_equal(moved[1][:, :5], images[1][:, 4::-1])  # reflected
