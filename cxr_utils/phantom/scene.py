"""What the signs of the findings are drawn on: the lungs of one image, their air and their vessels."""

import numpy as np

from cxr_utils.phantom.anatomy import LEFT, RIGHT, SIDES, vessels
from cxr_utils.phantom.canvas import noise, ramp, smooth


class Scene:
    """The canvas, the thorax and the lungs of one image.

    Args:
        canvas: `Canvas` of the image.
        thorax: `Thorax`, already changed by `findings.reshape`.
        rng: `numpy.random.Generator` of the image.

    Attributes:
        lung: dict of side (`RIGHT`, `LEFT`) → mask of that lung, `(SIZE, SIZE)` float32 in [0, 1].
        lungs: the mask of both lungs.
        air: `(SIZE, SIZE)` float32, the density that the air in the lungs removes.
        vessels: `(SIZE, SIZE)` float32, the density of the lung vessels; some signs reduce it.
    """

    def __init__(self, canvas, thorax, rng):
        self.canvas, self.thorax, self.rng = canvas, thorax, rng
        self.lung = {side: canvas.area(thorax.lung(side), 1.2) for side in SIDES}
        self.lungs = np.clip(self.lung[RIGHT] + self.lung[LEFT], 0, 1)
        self.air = self.lungs * thorax.air * (0.3 + 0.32 * smooth(self.lungs, 8.0))
        self.vessels = 0.2 * thorax.vessels * vessels(canvas, thorax) * self.lungs

    def noise(self, sigma, site):
        """Returns smooth random noise in [0, 1], `(SIZE, SIZE)` float32, with details of about `sigma` pixels."""
        rough = smooth(noise(site), sigma)
        return ramp(rough / rough.std() + 0.2, 1.0)


def random_side(site):
    """Returns the side of a finding, more often the right; this uses the first random number of `site`."""
    return RIGHT if site.random() < 0.65 else LEFT
