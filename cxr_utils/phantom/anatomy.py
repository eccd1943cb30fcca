"""The healthy chest of the phantom: what a patient keeps, the thorax of one image, and how it is drawn.

Lengths and densities are those of `phantom_canvas`. Shapes follow a frontal chest radiograph as anatomy books describe it.
"""

import numpy as np

from cxr_utils.phantom.canvas import SIZE, bell, ramp, smooth

RIGHT, LEFT = -1, 1  # the patient's sides as signs of x
SIDES = (RIGHT, LEFT)


def body_of(rng, sex):
    """Returns the anatomy that a patient keeps from image to image: a dict of lengths and ratios, drawn from `rng`."""
    return {
        "chest": rng.uniform(0.62, 0.71) - 0.03 * (sex == "F"),  # half-width of the lungs where widest
        "apex": rng.uniform(-0.76, -0.66),
        "heart": rng.uniform(0.41, 0.48),  # heart's width / chest's width
        "heart_left": rng.uniform(0.67, 0.74),  # share of the heart left of the midline
        "knob": rng.uniform(0.05, 0.085),
        "pitch": rng.uniform(0.118, 0.138),  # from rib to rib
        "drop": rng.uniform(0.85, 1.2),
        "clavicle": rng.uniform(-0.06, 0.05),
        "fat": rng.uniform(0, 1),
        "breast": rng.uniform(0.14, 0.26) if sex == "F" else 0.0,
        "curve": rng.normal(0, 0.012),  # sideways bend of the spine
        "bubble": rng.uniform(0.03, 0.1),
        "vessels": int(rng.integers(2**31)),
    }


class Thorax:
    """The chest of one image: where things are, known before anything is drawn. Findings may change it.

    Args:
        body: dict of `body_of`.
        view: "PA" or "AP"; AP images magnify the heart, raise the diaphragm and leave the shoulder blades in the lungs.
        rng: `numpy.random.Generator` of the image.
    """

    def __init__(self, body, view, rng):
        portable = view == "AP"
        breath = rng.normal(0, 0.025) - 0.06 * portable
        self.body, self.view = body, view
        self.chest = body["chest"] + 0.2 * breath
        self.heart = body["heart"] * (1.07 if portable else 1.0)
        self.dome = {RIGHT: 0.37 + breath, LEFT: 0.41 + breath}  # y of the top of each hemidiaphragm
        self.depth = {RIGHT: 0.17, LEFT: 0.17}  # from there to the costophrenic angle
        self.air, self.vessels = 1.0, 1.0  # how dark the lungs are, how strong their markings

    def wall(self, y):
        """Returns the distance from the midline to the inner chest wall at height y."""
        up = np.clip((0.25 - y) / (0.25 - self.body["apex"]), 0, 1)
        down = np.clip(y - 0.25, 0, None)
        return 0.27 + (self.chest - 0.27) * (1 - up**2.3) ** 0.62 - 0.25 * down**2

    def floor(self, x, side):
        """Returns y of the diaphragm at distance x >= 0 from the midline."""
        reach = np.where(x > 0.33, self.chest - 0.33, 0.42)
        return self.dome[side] + self.depth[side] * (np.abs(x - 0.33) / reach) ** 2.2

    def lung(self, side, shrink=1.0):
        """Returns a lung's outline `(n, 2)`; `shrink` < 1 draws it back towards its hilum, as air around it does."""
        apex, base = self.body["apex"], self.floor(self.chest, side)
        down = apex + (base - 0.02 - apex) * np.linspace(0, 1, 40) ** 1.5
        lateral = np.stack([self.wall(down), down], -1)
        x = np.linspace(lateral[-1, 0], 0.07, 30)
        lower = np.stack([x, self.floor(x, side)], -1)
        up = apex + (lower[-1, 1] - apex) * np.linspace(1, 0, 30) ** 1.5
        high = np.clip((-0.42 - up) / (-0.42 - apex), 0, 1)
        medial = np.stack([0.27 - 0.2 * np.sqrt(1 - high**3) + 0.03 * high * (1 - high), up], -1)
        outline = np.concatenate([lateral, lower, medial])
        hilum = np.array([0.12, 0.0])
        return (hilum + shrink * (outline - hilum)) * [side, 1]

    def heart_outline(self):
        """Returns the heart's outline `(n, 2)`: a slanted oval with its apex towards the left diaphragm."""
        width = 2 * self.chest * self.heart
        left, right = width * self.body["heart_left"], width * (1 - self.body["heart_left"])
        angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        low = self.dome[LEFT] + 0.03
        x = np.where(np.cos(angle) > 0, left, right) * np.cos(angle)
        y = np.sin(angle) * np.where(np.sin(angle) > 0, 0.2, 0.36 + 0.3 * (self.heart - 0.44))
        return np.stack([x, low - 0.17 + y + 0.22 * x * (x > 0)], -1)

    def ribs(self, back):
        """Returns the hind (`back`) or front parts of ten pairs of ribs, `(20, n, 2)`: tilted rings seen from the front."""
        turn = np.linspace(0.1, 1.65, 24) if back else np.linspace(1.5, 2.5, 18)
        curves = []
        for index in range(10):
            top = self.body["apex"] - 0.06 + index * self.body["pitch"]
            drop = self.body["drop"] * min(0.26 + 0.06 * index, 0.56)
            radius = self.wall(top + drop / 2) + 0.012
            y = top + drop * (1 - np.cos(turn)) / 2 - 0.03 * np.sin(2 * turn) * (turn < 1.57)
            curves += [np.stack([side * radius * np.sin(turn) ** 0.85, y], -1) for side in SIDES]
        return np.array(curves)


def vessels(canvas, thorax):
    """Returns the branching lung markings, densest at the hila, `(SIZE, SIZE)` float64 in [0, 1]."""
    rng = np.random.default_rng(thorax.body["vessels"])
    groups = []
    for side in SIDES:
        angle = np.linspace(-1.35, 1.45, 9) + rng.normal(0, 0.08, 9)
        start = np.stack([np.full(9, 0.13), np.linspace(-0.12, 0.1, 9)], -1)
        length = 0.15
        for width, brightness in [(4, 0.75), (3, 0.6), (2, 0.5), (2, 0.36), (1, 0.4), (1, 0.3)]:
            steps = angle[:, None] + np.cumsum(rng.normal(0, 0.13, (len(angle), 4)), 1)
            lengths = length * rng.uniform(0.7, 1.2, (len(angle), 1)) / 4
            path = start[:, None] + np.cumsum(lengths[..., None] * np.stack([np.cos(steps), np.sin(steps)], -1), 1)
            path = np.concatenate([start[:, None], path], 1)  # (branches, 5, 2)
            groups.append((path * [side, 1], width, brightness))
            fork = rng.uniform(0.2, 0.5, len(angle))
            angle = np.concatenate([steps[:, -1] - fork, steps[:, -1] + fork])
            start, length = np.concatenate([path[:, -1]] * 2), 0.8 * length
    return canvas.lines(sorted(groups, key=lambda group: group[2]), 0.7)  # the large ones on top


def draw_body(canvas, thorax):
    """Returns soft tissue with the skin's edge, the shoulders' bones and the breasts, `(SIZE, SIZE)` float64."""
    body, portable = thorax.body, thorax.view == "AP"
    neck, side = 0.2 + 0.05 * body["fat"], thorax.chest + 0.13 + 0.14 * body["fat"]
    up = np.array([0, 0.09 * portable])  # shoulders are raised and their blades not turned out on AP images
    half = (
        np.array(
            [
                [neck, -1.4],
                [neck, -1.0],
                [neck + 0.1, -0.88],
                [0.55, -0.79],
                [0.85, -0.71],
                [1.03, -0.52],
                [1.1, -0.2],
                [1.12, 0.1],
                [side + 0.08, 0.02],
                [side, 0.3],
                [side, 0.75],
                [side + 0.05, 1.4],
            ]
        )
        - up
    )
    skin = canvas.area(np.concatenate([half, half[::-1] * [-1, 1]]), 2.0)
    tissue = skin * (0.45 + 0.5 * smooth(skin, 14.0))
    tissue += 0.2 * skin * ramp(canvas.y - 0.55, 0.25)  # the abdomen is thicker
    along = np.linspace(0, 1, 20)
    clavicle = (
        np.stack([0.07 + 0.65 * along, -0.5 + (body["clavicle"] - 0.18) * along + 0.035 * np.sin(6.3 * along)], -1) - up
    )
    inner = 0.52 if portable else 0.66
    blade = [
        [inner + 0.12, -0.62],
        [inner, -0.42],
        [inner + 0.03, -0.15],
        [inner + 0.1, 0.04],
        [0.8, -0.3],
        [0.86, -0.55],
    ] - up
    shaft = np.array([[0.95, -0.5], [1.0, -0.2], [1.06, 0.2]]) - up
    fill, rim = canvas.bands([clavicle * [side, 1] for side in SIDES], 0.03)
    tissue += 0.12 * fill + 0.08 * rim + 0.12 * canvas.bands([shaft * [side, 1] for side in SIDES], 0.05, 1.0)[0]
    tissue += 0.06 * canvas.lines([([blade[:4] * [side, 1] for side in SIDES], 2, 1.0)], 0.8)
    for side in SIDES:
        tissue += (
            0.07 * canvas.area(blade * [side, 1], 1.2) + 0.16 * canvas.ball(0.93 * side, -0.56 - up[1], 0.12) * skin
        )
        if body["breast"]:
            size = body["breast"]
            breast = canvas.ball(side * 0.42, 0.28 + 0.4 * size, 0.2 + 0.6 * size, 0.85)
            tissue += 1.0 * size * breast**1.3 * ramp(canvas.y - 0.1, 0.15) * skin
    return tissue


def draw_middle(canvas, thorax):
    """Returns spine, windpipe, great vessels and heart together, and the heart's shadow in [0, 1]: `(SIZE, SIZE)` float64."""
    body, low = thorax.body, thorax.dome[LEFT]
    axis = canvas.x - body["curve"] * (1 - 3 * canvas.y**2)
    column = bell(2 * (axis / 0.085) ** 2 * (axis / 0.085) ** 2)
    disc = np.cos(2 * np.pi * (canvas.y + 0.3) / 0.13)
    middle = column * (0.1 + 0.06 * ramp(disc + 0.5, 0.3))
    middle += 0.035 * (1 + disc) * bell(((np.abs(axis) - 0.055) / 0.01) ** 2)  # pedicles
    path = np.array(
        [
            [-0.06, -1.0],
            [-0.1, -0.65],
            [-0.105, -0.35],
            [-0.12, 0.0],
            [-0.1, low],
            [0.12, low],
            [0.14, 0.0],
            [0.125, -0.15],
            [0.12, -0.35],
            [0.09, -0.65],
            [0.06, -1.0],
        ]
    )
    middle += 0.25 * canvas.area(path, 3.0)
    middle += 0.2 * smooth(canvas.ball(0.085, -0.28, body["knob"] + 0.05) ** 0.7, 1.0)
    heart = canvas.area(thorax.heart_outline(), 1.6)
    # Below the diaphragm the heart lies in tissue as dense as itself.
    middle += heart * (0.27 + 0.22 * smooth(heart, 9.0)) * (1 - 0.85 * ramp(canvas.y - low - 0.02, 0.05))
    middle += 0.15 * (canvas.glow(-0.15, -0.02, 0.05, 0.1) + canvas.glow(0.15, -0.07, 0.05, 0.09))  # hila
    windpipe = np.array([[-0.005, -1.0], [-0.012, -0.6], [-0.02, -0.26]])
    bronchi = [[[-0.02, -0.27], [-0.07, -0.19], [-0.13, -0.1]], [[-0.02, -0.27], [0.05, -0.18], [0.14, -0.12]]]
    middle -= 0.26 * canvas.bands([windpipe], 0.042, 1.5)[0] + 0.12 * canvas.bands(bronchi, 0.025, 1.5)[0]
    bubble = canvas.ball(0.3, low + 0.05 + 0.8 * body["bubble"], 1.5 * body["bubble"], 0.55)
    return middle - 0.3 * smooth(bubble, 1.5), heart


def draw_bones(canvas, thorax):
    """Returns the rib cage, hind and front parts crossing, `(SIZE, SIZE)` float64."""
    total = np.zeros((SIZE, SIZE))
    for back, strength in ((True, 1.0), (False, 0.75)):
        fill, rim = canvas.bands(thorax.ribs(back), 0.026)
        total += strength * (0.075 * fill + 0.06 * rim)
    return total * (1 - 0.7 * ramp(canvas.y - max(thorax.dome.values()) - 0.12, 0.1))


def draw_chest(canvas, thorax):
    """Draws a chest without its lungs.

    Returns:
        Its density and the heart's shadow in [0, 1], both `(SIZE, SIZE)` float64.
    """
    middle, heart = draw_middle(canvas, thorax)
    return draw_body(canvas, thorax) + middle + draw_bones(canvas, thorax), heart


def draw_equipment(canvas, rng):
    """Returns what lies on patients at the bedside: leads with their electrodes, a line in a great vein."""
    leads, total = [], np.zeros((SIZE, SIZE))
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(-0.6, 0.6), rng.uniform(-0.45, 0.45)
        steps = np.cumsum(rng.normal(0, 0.07, (8, 2)) + [0.1 * np.sign(x), 0.02], 0)
        leads.append(np.concatenate([[[x, y]], [x, y] + steps]))
        total += 0.22 * (canvas.ball(x, y, 0.035) > 0)
    total += canvas.lines([(leads, 1, 0.2)], 0.5)
    if rng.random() < 0.5:
        vein = [[-0.42, -0.95], [-0.3, -0.6], [-0.13, -0.48], [-0.09, -0.25], [-0.1, -0.02]]
        total += canvas.lines([([vein], 2, 0.16)], 0.6)
    return smooth(total, 0.5)
