"""Draws shapes and blurs, and converts density to the gray values of an image.

An image is computed as density, that is, the attenuation of the X-ray beam summed along its path. The soft tissue next
to the lungs has a density of about 1. Soft tissue, bone and heart add density; air removes it. `expose` converts
density to gray values by a sigmoid curve, so contrast is lower in very dark and very bright areas, as in real images.

Lengths are in units of half the width of an image: x runs from -1 to 1 (the patient's left is on the right of the
image), y from -1 (top) to 1. All arrays are float64 and are rounded only once, so that every machine draws the same
pixels.
"""

import cv2
import numpy as np

SIZE = 256  # width and height in pixels: 1,700 images stay below 100 MB
PHANTOM_AT = 210, 247  # column and row of the word PHANTOM in every image
# Letters of five rows. They are defined here because the fonts of OpenCV differ between versions.
LETTERS = {
    "A": ".###. #...# ##### #...# #...#",
    "H": "#...# #...# ##### #...# #...#",
    "L": "#.... #.... #.... #.... #####",
    "M": "#...# ##.## #.#.# #...# #...#",
    "N": "#...# ##..# #.#.# #..## #...#",
    "O": ".###. #...# #...# #...# .###.",
    "P": "####. #...# ####. #.... #....",
    "R": "####. #...# ####. #..#. #...#",
    "T": "##### ..#.. ..#.. ..#.. ..#..",
}


class Canvas:
    """Maps coordinates of the patient to pixels; each image has a slightly different rotation, scale and shift.

    Args:
        degrees: float, rotation of the patient in the image.
        scale: float, size of the patient in the image; with 1, a length of 1 is half the width of the image.
        shift: `(2,)` float, x and y, in units of half the width of the image.

    Attributes:
        x, y: `(SIZE, SIZE)` float64, the patient's coordinates of each pixel.
    """

    def __init__(self, degrees=0.0, scale=1.0, shift=(0.0, 0.0)):
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        self._matrix = scale * SIZE / 2 * np.array([[cos, -sin], [sin, cos]])
        self._center = (SIZE - 1) / 2 + SIZE / 2 * np.asarray(shift)
        rows, columns = np.mgrid[:SIZE, :SIZE] - self._center[::-1, None, None]
        self.x, self.y = (row[0] * columns + row[1] * rows for row in np.linalg.inv(self._matrix))

    def _fixed(self, points):
        """Returns points `(..., 2)` in OpenCV's fixed-point format (in 1/16 pixel), drawn alike on every machine."""
        pixels = points[..., :1] * self._matrix[:, 0] + points[..., 1:] * self._matrix[:, 1] + self._center
        return np.round(16 * pixels).astype(np.int32)

    def area(self, outline, blur=0.7):
        """Returns a polygon `(n, 2)` filled with 1, blurred by `blur` pixels: `(SIZE, SIZE)` float64."""
        mask = cv2.fillPoly(np.zeros((SIZE, SIZE), np.uint8), [self._fixed(outline)], 255, cv2.LINE_AA, 4)
        return smooth(mask / 255.0, blur)

    def lines(self, groups, blur=0.6):
        """Returns curves as lines, blurred by `blur` pixels.

        Args:
            groups: list of `(curves, width, brightness)`: `(m, n, 2)` points, int in pixels, float in [0, 1].
            blur: float, pixels.

        Returns:
            `(SIZE, SIZE)` float64 in [0, 1].
        """
        mask = np.zeros((SIZE, SIZE), np.uint8)
        for curves, width, brightness in groups:
            cv2.polylines(
                mask, list(self._fixed(np.asarray(curves))), False, round(255 * brightness), width, cv2.LINE_AA, 4
            )
        return smooth(mask / 255.0, blur)

    def bands(self, curves, half_width, blur=0.6):
        """Returns curves as bands and their edges; bones have a denser edge, the cortex.

        Args:
            curves: `(m, n, 2)` points of the centerlines.
            half_width: float, or array that broadcasts to `(m, n, 2)`.
            blur: float, pixels.

        Returns:
            Fill and edges, both `(SIZE, SIZE)` float64 in [0, 1].
        """
        mask = np.zeros((SIZE, SIZE), np.uint8)
        along = np.gradient(curves, axis=1)
        normal = np.stack([-along[..., 1], along[..., 0]], -1) / np.hypot(along[..., 0], along[..., 1])[..., None]
        upper, lower = curves - half_width * normal, curves + half_width * normal
        # One by one: if all bands were filled in one call, their overlaps would stay empty.
        for outline in self._fixed(np.concatenate([upper, lower[:, ::-1]], 1)):
            cv2.fillPoly(mask, [outline], 255, cv2.LINE_AA, 4)
        return smooth(mask / 255.0, blur), self.lines([([*upper, *lower], 1, 1.0)], blur)

    def ball(self, x, y, radius, stretch=1.0):
        """Returns the density of a ball, 1 at the center and 0 outside; its height is `stretch` times its width."""
        squared = ((self.x - x) ** 2 + ((self.y - y) / stretch) ** 2) / radius**2
        return np.sqrt(np.clip(1 - squared, 0, None))

    def gaussian(self, x, y, width, height):
        """Returns a Gaussian with a maximum of 1 and the standard deviations `width` and `height`."""
        return gaussian(((self.x - x) / width) ** 2 + ((self.y - y) / height) ** 2)


def smooth(field, sigma):
    """Blurs a `(SIZE, SIZE)` float64 field with a Gaussian of `sigma` pixels, at most 20."""
    if sigma <= 5:
        return cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    # Wide blurs are computed at a quarter of the size, which is faster.
    quarter = field.reshape(SIZE // 4, 4, SIZE // 4, 4).mean((1, 3))
    return cv2.resize(smooth(quarter, sigma / 4), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def gaussian(squared):
    """Returns a Gaussian with a maximum of 1, at squared distances in standard deviations."""
    return np.exp(-0.5 * np.minimum(squared, 80))  # limited, as an exponential that underflows takes 20 times as long


def ramp(field, width):
    """Returns a smooth step of about `width`: near 0 where `field` is negative, near 1 where it is positive."""
    return 0.5 * (1 + np.tanh(field / width))


def expose(density, view, rng):
    """Converts density to an image: scatter, exposure, quantum noise, collimator edges and burned-in letters.

    Args:
        density: `(SIZE, SIZE)` float64, about 1 for soft tissue.
        view: "PA" or "AP".
        rng: `numpy.random.Generator` of the image.

    Returns:
        `(SIZE, SIZE)` uint8 image, bones bright.
    """
    density = (
        density
        + rng.uniform(0.05, 0.16) * smooth(density, 20.0)  # scatter
        + 0.012 * smooth(rng.normal(0, 4.0, density.shape), 2.0)
    )
    middle, width = rng.uniform(0.6, 0.76), rng.uniform(0.24, 0.33)
    light = 1 / (1 + np.exp(-(density - middle) / width))
    gray = (
        rng.uniform(0, 12)
        + 248 * (light - 0.04) / 0.96
        + rng.normal(0, 1, light.shape) * (1.0 + 1.2 * np.sqrt(np.clip(1 - light, 0, 1)))  # quantum noise
    )
    if rng.random() < 0.2:  # a collimator leaves the edge of the image unexposed
        edges = Canvas(rng.normal(0, 1.5))
        gray[np.abs(edges.x) + 0.3 * rng.random() * edges.x > rng.uniform(0.93, 1.0)] = 3
    gray = np.round(np.clip(gray, 0, 255)).astype(np.uint8)
    marker = "L" if rng.random() < 0.8 else "R"
    burn(gray, marker, rng.integers(212, 238) if marker == "L" else rng.integers(8, 30), rng.integers(8, 34), 2)
    if view == "AP":
        burn(gray, "AP", rng.integers(8, 30), rng.integers(226, 240), 1)
    burn(gray, "PHANTOM", *PHANTOM_AT, 1)
    return gray


def burn(gray, text, x, y, size):
    """Writes text on a darkened plate into an image, in place.

    Args:
        gray: `(SIZE, SIZE)` uint8 image, changed in place.
        text: str of letters in `LETTERS`.
        x: int, leftmost column of the plate.
        y: int, top row of the plate.
        size: int, pixels per dot of a letter.
    """
    rows = [".".join(LETTERS[letter].split()[row] for letter in text) for row in range(5)]
    ink = np.pad([[mark == "#" for mark in row] for row in rows], 1).repeat(size, axis=0).repeat(size, axis=1)
    plate = gray[y : y + ink.shape[0], x : x + ink.shape[1]]
    plate[:] = np.where(ink, 210, plate // 3)
