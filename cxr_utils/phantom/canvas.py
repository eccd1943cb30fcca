"""What an image of the phantom is drawn on: shapes placed on the patient, blurs, and the exposure of the finished image.

An image is a sum of what the beam meets, in units in which the soft tissue beside the lungs is about 1: body, bone and heart
add to it, air takes away. `expose` turns that into gray levels, so an opacity in dark lung and one behind the heart look as
they do on a real image. Lengths are half an image's side: x runs from -1 to 1 (the patient's left is on the right of the image),
y from -1 (top) to 1. All arrays are float64 and are rounded once, so that every machine draws the same pixels.
"""

import cv2
import numpy as np

SIZE = 256  # pixels a side: 1,700 images stay below 100 MB
PHANTOM_AT = 210, 247  # column and row of the word on every image
# Letters of five rows, drawn here as OpenCV's fonts differ from version to version.
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
    """Places points of the patient on the image, which is slightly turned and shifted from image to image.

    Args:
        degrees: float, rotation of the patient on the image.
        scale: float, 1 leaves a length of 1 at half the image's side.
        shift: (2,) float, x and y in units of half an image's side.

    Attributes:
        x, y: `(SIZE, SIZE)` float64, where each pixel lies in the patient.
    """

    def __init__(self, degrees=0.0, scale=1.0, shift=(0.0, 0.0)):
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        self._matrix = scale * SIZE / 2 * np.array([[cos, -sin], [sin, cos]])
        self._centre = (SIZE - 1) / 2 + SIZE / 2 * np.asarray(shift)
        rows, columns = np.mgrid[:SIZE, :SIZE].astype(float)
        back = np.linalg.inv(self._matrix)
        columns, rows = columns - self._centre[0], rows - self._centre[1]
        self.x = back[0, 0] * columns + back[0, 1] * rows
        self.y = back[1, 0] * columns + back[1, 1] * rows

    def _fixed(self, points):
        """Returns points `(..., 2)` as OpenCV's fixed-point pixels with four binary places: integers draw alike everywhere."""
        x, y = points[..., 0], points[..., 1]
        pixels = [row[0] * x + row[1] * y + centre for row, centre in zip(self._matrix, self._centre)]
        return np.round(16 * np.stack(pixels, -1)).astype(np.int32)

    def area(self, outline, blur=0.7):
        """Returns a polygon `(n, 2)` filled with 1, `(SIZE, SIZE)` float64, its edge softened by `blur` pixels."""
        mask = np.zeros((SIZE, SIZE), np.uint8)
        cv2.fillPoly(mask, [self._fixed(outline)], 255, cv2.LINE_AA, 4)
        return smooth(mask / 255.0, blur)

    def lines(self, groups, blur=0.6):
        """Returns `(SIZE, SIZE)` float64 with groups of curves, each `(curves (m, n, 2), width in pixels, brightness)`."""
        mask = np.zeros((SIZE, SIZE), np.uint8)
        for curves, width, brightness in groups:
            cv2.polylines(
                mask, list(self._fixed(np.asarray(curves))), False, round(255 * brightness), width, cv2.LINE_AA, 4
            )
        return smooth(mask / 255.0, blur)

    def bands(self, curves, half_width, blur=0.6):
        """Returns curves `(m, n, 2)` as bands with brighter rims, as bones look: two `(SIZE, SIZE)` float64, fill and rims."""
        mask, rims = np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
        curves = np.asarray(curves)
        along = np.gradient(curves, axis=1)
        normal = np.stack([-along[..., 1], along[..., 0]], -1) / np.hypot(along[..., 0], along[..., 1])[..., None]
        upper, lower = self._fixed(curves - half_width * normal), self._fixed(curves + half_width * normal)
        for outline in np.concatenate([upper, lower[:, ::-1]], 1):  # one by one, as crossing bands must not cancel
            cv2.fillPoly(mask, [outline], 255, cv2.LINE_AA, 4)
        cv2.polylines(rims, [*upper, *lower], False, 255, 1, cv2.LINE_AA, 4)
        return smooth(mask / 255.0, blur), smooth(rims / 255.0, blur)

    def ball(self, x, y, radius, stretch=1.0):
        """Returns what the beam meets in a ball (higher than wide by `stretch`): 1 through its middle, 0 outside."""
        squared = ((self.x - x) ** 2 + ((self.y - y) / stretch) ** 2) / radius**2
        return np.sqrt(np.clip(1 - squared, 0, None))

    def glow(self, x, y, width, height):
        """Returns a Gaussian of height 1 and the standard deviations `width` and `height`."""
        return bell(((self.x - x) / width) ** 2 + ((self.y - y) / height) ** 2)


def smooth(field, sigma):
    """Blurs a `(SIZE, SIZE)` float64 field with a Gaussian of `sigma` pixels; wide ones at a quarter of the size."""
    if sigma < 5:
        return cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    quarter = field.reshape(SIZE // 4, 4, SIZE // 4, 4).mean((1, 3))
    quarter = cv2.GaussianBlur(quarter, (0, 0), sigma / 4, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(quarter, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def bell(squared):
    """Returns the Gaussian of height 1 at a squared distance in standard deviations."""
    return np.exp(-0.5 * np.minimum(squared, 80))  # an exponential that underflows takes 20 times as long


def ramp(field, width):
    """Returns a smooth step of `field`: 0 where far below 0, 1 where far above, over about `width`."""
    return 0.5 * (1 + np.tanh(field / width))


def expose(density, view, rng):
    """Turns what the beam met into an image: scatter, exposure, quantum noise, shutters, burned-in letters.

    Args:
        density: `(SIZE, SIZE)` float64, soft tissue about 1.
        view: "PA" or "AP".
        rng: `numpy.random.Generator` of the image.

    Returns:
        `(SIZE, SIZE)` uint8.
    """
    density = density + rng.uniform(0.05, 0.16) * smooth(density, 20.0)
    density += 0.012 * smooth(rng.normal(0, 4.0, density.shape), 2.0)
    middle, width = rng.uniform(0.6, 0.76), rng.uniform(0.24, 0.33)
    light = 1 / (1 + np.exp(-(density - middle) / width))
    gray = rng.uniform(0, 12) + 248 * (light - 0.04) / 0.96
    gray += rng.normal(0, 1, gray.shape) * (1.0 + 1.2 * np.sqrt(np.clip(1 - light, 0, 1)))
    if rng.random() < 0.2:  # the beam's shutters leave the edge of the image unexposed
        shutters = Canvas(rng.normal(0, 1.5))
        gray[np.abs(shutters.x) + 0.3 * rng.random() * shutters.x > rng.uniform(0.93, 1.0)] = 3
    gray = np.round(np.clip(gray, 0, 255)).astype(np.uint8)
    marker = "L" if rng.random() < 0.8 else "R"
    burn(gray, marker, rng.integers(212, 238) if marker == "L" else rng.integers(8, 30), rng.integers(8, 34), 2)
    if view == "AP":
        burn(gray, "AP", rng.integers(8, 30), rng.integers(226, 240), 1)
    burn(gray, "PHANTOM", *PHANTOM_AT, 1)
    return gray


def burn(gray, text, x, y, size):
    """Writes letters of `size` pixels a dot into an image in place, on a darkened plate from column x and row y on."""
    rows = ["." + ".".join(LETTERS[letter].split()[row] for letter in text) + "." for row in range(5)]
    rows = ["." * len(rows[0]), *rows, "." * len(rows[0])]
    ink = np.kron([[mark == "#" for mark in row] for row in rows], np.ones((size, size), int)) > 0
    plate = gray[y : y + ink.shape[0], x : x + ink.shape[1]]
    plate //= 3
    plate[ink] = 210
