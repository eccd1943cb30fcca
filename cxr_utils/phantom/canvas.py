"""Draws shapes and blurs, and converts density to the gray values of an image.

An image is computed as density, that is, the attenuation of the X-ray beam summed along its path. The soft tissue next
to the lungs has a density of about 1. Soft tissue, bone and heart add density; air removes it. `expose` converts
density to gray values by a sigmoid curve, so contrast is lower in very dark and very bright areas, as in real images.

Lengths are in units of half the width of an image: x runs from -1 to 1 (the patient's left is on the right of the
image), y from -1 (top) to 1. Fields are float32; only the masks of shapes are blurred in 8 bits, which is faster.
"""

import cv2
import numpy as np

SIZE = 256  # width and height in pixels: 1,700 images stay below 100 MB
PHANTOM_AT = 210, 247  # column and row of the word PHANTOM in every image
# Standard deviation in pixels and weight of the noise that stands for fine structure.
FINE = ((0.6, 0.03), (1.5, 0.06), (4.0, 0.1))
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
        scale: float or `(2,)`, size of the patient in the image in x and y; with 1, a length of 1 is half its width.
        shift: `(2,)` float, x and y, in units of half the width of the image.

    Attributes:
        x, y: `(SIZE, SIZE)` float32, the patient's coordinates of each pixel.
    """

    def __init__(self, degrees=0.0, scale=1.0, shift=(0.0, 0.0)):
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        self._matrix = np.reshape(scale, (-1, 1)) * SIZE / 2 * np.array([[cos, -sin], [sin, cos]])
        self._center = (SIZE - 1) / 2 + SIZE / 2 * np.asarray(shift)
        columns, rows = (np.arange(SIZE) - self._center[:, None]).astype(np.float32)
        inverse = np.linalg.inv(self._matrix).astype(np.float32)
        self.x, self.y = (row[0] * columns + row[1] * rows[:, None] for row in inverse)

    def _fixed(self, points):
        """Returns points `(..., 2)` in OpenCV's fixed-point format (in 1/16 pixel), drawn alike on every machine."""
        pixels = points[..., :1] * self._matrix[:, 0] + points[..., 1:] * self._matrix[:, 1] + self._center
        return np.round(16 * pixels).astype(np.int32)

    def area(self, outline, blur=0.7):
        """Returns a polygon `(n, 2)` filled with 1, blurred by `blur` pixels: `(SIZE, SIZE)` float32."""
        mask = cv2.fillPoly(np.zeros((SIZE, SIZE), np.uint8), [self._fixed(outline)], 255, cv2.LINE_AA, 4)
        return smooth(mask, blur) / np.float32(255)

    def lines(self, groups, blur=0.6):
        """Returns curves as lines, blurred by `blur` pixels.

        Args:
            groups: list of `(curves, width, brightness)`: `(m, n, 2)` points, int in pixels, float in [0, 1].
            blur: float, pixels.

        Returns:
            `(SIZE, SIZE)` float32 in [0, 1].
        """
        mask = np.zeros((SIZE, SIZE), np.uint8)
        for curves, width, brightness in groups:
            cv2.polylines(
                mask, list(self._fixed(np.asarray(curves))), False, round(255 * brightness), width, cv2.LINE_AA, 4
            )
        return smooth(mask, blur) / np.float32(255)

    def bands(self, curves, half_width, blur=0.6, rim=0.0):
        """Returns curves as bands; bones have a denser edge, the cortex.

        Args:
            curves: `(m, n, 2)` points of the centerlines.
            half_width: float, or array that broadcasts to `(m, n, 2)`.
            blur: float, pixels.
            rim: float, density of the edges relative to that of the bands.

        Returns:
            `(SIZE, SIZE)` float32, 1 in a band.
        """
        mask = np.zeros((SIZE, SIZE), np.uint8)
        along = np.gradient(curves, axis=1)
        normal = np.stack([-along[..., 1], along[..., 0]], -1) / np.hypot(along[..., 0], along[..., 1])[..., None]
        upper, lower = curves - half_width * normal, curves + half_width * normal
        # One by one: if all bands were filled in one call, their overlaps would stay empty.
        for outline in self._fixed(np.concatenate([upper, lower[:, ::-1]], 1)):
            cv2.fillPoly(mask, [outline], 255, cv2.LINE_AA, 4)
        fill = smooth(mask, blur) / np.float32(255)
        return fill + rim * self.lines([([*upper, *lower], 1, 1.0)], blur) if rim else fill

    def ball(self, x, y, radius, stretch=1.0):
        """Returns the density of a ball, 1 at the center and 0 outside; its height is `stretch` times its width."""
        field = np.zeros((SIZE, SIZE), np.float32)
        # Only the square around the ball is computed.
        column, row = self._matrix @ [x, y] + self._center
        reach = 1.05 * radius * max(stretch, 1) * np.abs(self._matrix).max()
        part = tuple(slice(max(int(middle - reach), 0), max(int(middle + reach) + 2, 0)) for middle in (row, column))
        squared = ((self.x[part] - x) ** 2 + ((self.y[part] - y) / stretch) ** 2) / radius**2
        field[part] = np.sqrt(np.maximum(1 - squared, 0))
        return field

    def gaussian(self, x, y, width, height):
        """Returns a Gaussian with a maximum of 1 and the standard deviations `width` and `height`."""
        return gaussian(((self.x - x) / width) ** 2 + ((self.y - y) / height) ** 2)


def noise(rng):
    """Returns white noise with a standard deviation of 1, `(SIZE, SIZE)` float32."""
    return rng.standard_normal((SIZE, SIZE), np.float32)


def smooth(field, sigma):
    """Blurs a `(SIZE, SIZE)` float32 or uint8 field with a Gaussian of `sigma` pixels, at most 20."""
    if sigma <= 3 or len(field) < SIZE:
        return cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    # Wide blurs are computed at a quarter of the size, which is faster.
    quarter = cv2.resize(field, (SIZE // 4, SIZE // 4), interpolation=cv2.INTER_AREA)
    return cv2.resize(smooth(quarter, sigma / 4), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def gaussian(squared):
    """Returns a Gaussian with a maximum of 1, at squared distances in standard deviations."""
    return np.exp(-0.5 * np.minimum(squared, 80))  # limited, as an exponential that underflows takes 20 times as long


def ramp(field, width):
    """Returns a smooth step of about `width`: near 0 where `field` is negative, near 1 where it is positive."""
    return 0.5 * (1 + np.tanh(field / width))


def expose(density, body, view, rng):
    """Converts density to an image: scatter, exposure, quantum noise, collimator edges and burned-in letters.

    Args:
        density: `(SIZE, SIZE)` float32, about 1 for soft tissue.
        body: dict, the anatomy of the patient, see `anatomy.patient_anatomy`. Images of a patient are exposed alike.
        view: "PA" or "AP".
        rng: `numpy.random.Generator` of the image.

    Returns:
        `(SIZE, SIZE)` uint8 image, bones bright.
    """
    portable = view == "AP"
    scatter = rng.uniform(0.05, 0.16) + 0.12 * body["fat"] + 0.08 * portable
    # Fine structure of tissue, as of small vessels and trabeculae, which is not drawn line by line.
    white = noise(rng)
    fine = sum(weight * smooth(white, sigma) for sigma, weight in FINE)
    density = density + scatter * (smooth(density, 20.0) - 0.35) + fine * 6 * density * np.exp(-3 * density)
    middle = 0.8 + body["dark"] + rng.normal(0, 0.05)
    width = (0.4 + body["soft"] + rng.uniform(-0.03, 0.03)) * (1.12 if portable else 1)
    light = 1 / (1 + np.exp(-(density - middle) / width))
    darkest, brightest = rng.uniform(0, 12), rng.uniform(222, 255)
    gray = darkest + (brightest - darkest) * (light - 0.06) / 0.94
    gray += noise(rng) * rng.uniform(0.3, 0.8) * (1 + np.sqrt(1 - light))  # quantum noise
    if rng.random() < 0.4:  # a collimator leaves the edge of the image unexposed
        edges = Canvas(rng.normal(0, 1.5))
        across = edges.x if rng.random() < 0.6 else edges.y
        gray[np.abs(across) + 0.3 * rng.random() * across > rng.uniform(0.92, 1.0)] = 3
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
