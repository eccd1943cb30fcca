"""Scales gray values to 8 bits and checks that the picture has the contrast of a chest X-ray."""

import numpy as np

# Limits, with room to 1,300 NIH images of 256×256 pixels. These have 145 to 256 gray values, and at most 50 % of their
# pixels have the darkest value, 3.5 % the brightest one.
_LEAST_LEVELS = 64
_MOST_BLACK, _MOST_WHITE = 0.7, 0.1
# Values farther from the range of 5 to 95 % of the pixels than 2 times its width are marks or defects, no tissue; if
# the contrast is implausible then, those farther from the range of 20 to 80 % than 5 times its width. No pixel of NIH's
# images is (at most 1.6 and 3.3 times).
_RANGES = ((5, 2), (20, 5))


def to_8_bits(values, outside=None):
    """Scales gray values linearly to 0–255: the lowest and the highest value of the radiograph.

    A few extreme values, such as a burnt-in mark of 65535 in a 12-bit image, do not count: they become 0 or 255.

    Args:
        values: `(height, width)`, numbers.
        outside: `(height, width)` bool, pixels that are not part of the radiograph, which become 0. `None` if all are.

    Returns:
        `(image, problem)`: `(height, width)` uint8, and what is wrong with its contrast in words, or `None`.
    """
    outside = np.zeros(values.shape, bool) if outside is None else outside
    inside = values[~outside]
    # The darkest and the brightest value may fill the edge of the image, and say nothing about the range of tissue.
    middle = inside[(inside > inside.min()) & (inside < inside.max())]
    middle = middle if len(middle) else inside
    problems = []
    for share, widths in _RANGES:
        low, high = np.percentile(middle, (share, 100 - share))
        margin = widths * (high - low)
        tissue = inside[(inside >= low - margin) & (inside <= high + margin)]
        # Where all are equal, they become 0, which is a problem, too.
        image = np.rint(np.interp(values, (tissue.min(), tissue.max() + 1e-9), (0, 255))).astype(np.uint8)
        image[outside] = 0
        problems.append(problem_of(image[~outside]))
        if problems[-1] is None:
            return image, None
    return image, problems[0]


def problem_of(pixels):
    """Returns in words what is wrong with the contrast of 8-bit pixels, or `None`."""
    levels = len(np.unique(pixels))
    if levels < _LEAST_LEVELS:
        return f"it has only {levels} different gray values"
    for value, most, color in ((0, _MOST_BLACK, "black"), (255, _MOST_WHITE, "white")):
        if (share := (pixels == value).mean()) > most:
            return f"{100 * share:.0f} % of its pixels are {color}"
    return None
