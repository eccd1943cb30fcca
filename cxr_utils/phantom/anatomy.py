"""Draws the healthy chest of the phantom: the anatomy of a patient and the thorax in one image.

Units of length and density are those of `canvas`. Shapes follow anatomy textbooks' descriptions of a frontal chest
radiograph.
"""

import numpy as np

from cxr_utils.phantom.canvas import SIZE, gaussian, ramp, smooth

RIGHT, LEFT = -1, 1  # the patient's sides as signs of x
SIDES = (RIGHT, LEFT)


def patient_anatomy(rng, sex, age):
    """Returns the anatomy of a patient, a dict of lengths and ratios: the same in all images but for the signs of age.

    Args:
        rng: `numpy.random.Generator` of the patient.
        sex: "M" or "F".
        age: int, years.
    """
    old = min(max((age - 20) / 60, 0), 1.2)
    return {
        "old": old,
        # How the patient fits into the image, and how images are exposed.
        "scale": rng.uniform(1.0, 1.2) * rng.uniform(0.95, 1.05, 2),
        "tilt": rng.normal(0, 1.8),
        "shift": rng.normal(0, 0.04, 2),
        "dark": rng.normal(0, 0.1),
        "soft": rng.uniform(-0.08, 0.08),
        "chest": rng.uniform(0.6, 0.72) - 0.03 * (sex == "F"),  # half-width of the lungs at their widest level
        "apex": rng.uniform(-0.78, -0.64),
        "heart": rng.uniform(0.4, 0.47) + 0.02 * old,  # width of the heart / width of the chest (cardiothoracic ratio)
        "heart_left": rng.uniform(0.67, 0.74),  # fraction of the heart's width left of the midline
        "knob": rng.uniform(0.045, 0.07) + 0.03 * old,  # the aortic arch widens with age
        "pitch": rng.uniform(0.118, 0.138),  # distance between ribs
        "drop": rng.uniform(0.85, 1.2),
        "clavicle": rng.uniform(-0.06, 0.05),
        "fat": rng.uniform(0, 1),
        "breast": rng.uniform(0.14, 0.26) if sex == "F" else 0.0,
        "curve": rng.normal(0, 0.012) * (1 + old),  # lateral curvature of the spine
        "bone": rng.uniform(0.85, 1.15) - 0.25 * old,  # density of the bones
        "bubble": rng.uniform(0.03, 0.1),
        "vessels": int(rng.integers(2**31)),
    }


class Thorax:
    """The shape of the chest in one image, computed before anything is drawn. Findings may change its attributes.

    AP images are taken at the bedside, often of patients who lie: the heart is closer to the tube and appears larger,
    the diaphragm is higher, the vessels of the upper lungs are wider.

    Args:
        body: dict as returned by `patient_anatomy`.
        view: "PA" or "AP"; in AP images the scapulae overlap the lungs.
        rng: `numpy.random.Generator` of the image.
    """

    def __init__(self, body, view, rng):
        portable = view == "AP"
        breath = rng.normal(0, 0.025) - 0.06 * portable
        self.body, self.view = body, view
        self.chest = body["chest"] + 0.2 * breath
        self.heart = body["heart"] * (rng.uniform(1.08, 1.16) if portable else 1.0)
        self.dome = {RIGHT: 0.37 + breath, LEFT: 0.41 + breath}  # y of the top of each hemidiaphragm
        self.depth = {RIGHT: 0.17, LEFT: 0.17}  # from the top to the costophrenic angle
        self.air, self.vessels = (
            rng.uniform(0.93, 1.07),
            rng.uniform(0.75, 1.25),
        )  # factors of the lungs' air and of the vessels' density

    def wall(self, y):
        """Returns the distance between the midline and the inner chest wall at height `y`."""
        up = np.clip((0.25 - y) / (0.25 - self.body["apex"]), 0, 1)
        return 0.27 + (self.chest - 0.27) * (1 - up**2.3) ** 0.62 - 0.25 * np.clip(y - 0.25, 0, None) ** 2

    def floor(self, x, side):
        """Returns the height y of the diaphragm at the distance `x` >= 0 from the midline, on `side`."""
        reach = np.where(x > 0.33, self.chest - 0.33, 0.42)
        return self.dome[side] + self.depth[side] * (np.abs(x - 0.33) / reach) ** 2.2

    def lung(self, side, shrink=1.0):
        """Returns the outline of a lung, `(n, 2)`; `shrink` < 1 scales it towards the hilum, as in a pneumothorax."""
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
        """Returns the outline of the heart, `(n, 2)`: an oblique oval with the apex towards the left diaphragm."""
        width = 2 * self.chest * self.heart
        left, right = width * self.body["heart_left"], width * (1 - self.body["heart_left"])
        angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        low = self.dome[LEFT] + 0.03
        x = np.where(np.cos(angle) > 0, left, right) * np.cos(angle)
        y = np.sin(angle) * np.where(np.sin(angle) > 0, 0.2, 0.36 + 0.3 * (self.heart - 0.44))
        return np.stack([x, low - 0.17 + y + 0.22 * x * (x > 0)], -1)

    def ribs(self, back):
        """Returns the posterior (`back=True`) or anterior parts of ten pairs of ribs, `(20, n, 2)`."""
        turn = np.linspace(0.1, 1.65, 24) if back else np.linspace(1.5, 2.5, 18)
        number = np.arange(10)[:, None]
        top = self.body["apex"] - 0.06 + number * self.body["pitch"]
        drop = self.body["drop"] * np.minimum(0.26 + 0.06 * number, 0.56)
        x = (self.wall(top + drop / 2) + 0.012) * np.sin(turn) ** 0.85
        y = top + drop * (1 - np.cos(turn)) / 2 - 0.03 * np.sin(2 * turn) * (turn < 1.57)
        return np.concatenate([np.stack([side * x, y], -1) for side in SIDES])


def vessels(canvas, thorax):
    """Returns the branching lung vessels, densest at the hila, `(SIZE, SIZE)` float32 in [0, 1]."""
    rng = np.random.default_rng(thorax.body["vessels"])
    groups = []
    for side in SIDES:
        angle = np.linspace(-1.35, 1.45, 9) + rng.normal(0, 0.08, 9)
        start = np.stack([np.full(9, 0.13), np.linspace(-0.12, 0.1, 9)], -1)
        length = 0.15
        for width, brightness in [(4, 0.75), (3, 0.6), (2, 0.5), (1, 0.5), (1, 0.4)]:
            steps = angle[:, None] + np.cumsum(rng.normal(0, 0.13, (len(angle), 4)), 1)
            lengths = length * rng.uniform(0.7, 1.2, (len(angle), 1)) / 4
            path = start[:, None] + np.cumsum(lengths[..., None] * np.stack([np.cos(steps), np.sin(steps)], -1), 1)
            path = np.concatenate([start[:, None], path], 1)  # (branches, 5, 2)
            groups.append((path * [side, 1], width, brightness))
            fork = rng.uniform(0.2, 0.5, len(angle))
            angle = np.concatenate([steps[:, -1] - fork, steps[:, -1] + fork])
            start, length = np.concatenate([path[:, -1]] * 2), 0.8 * length
    return canvas.lines(sorted(groups, key=lambda group: group[2]), 0.7)  # brighter, larger vessels are drawn last


def draw_body(canvas, thorax):
    """Returns the density of soft tissue, skin line, shoulder bones and breasts, `(SIZE, SIZE)` float32."""
    body, portable = thorax.body, thorax.view == "AP"
    neck, side = 0.2 + 0.05 * body["fat"], thorax.chest + 0.13 + 0.14 * body["fat"]
    up = np.array([0, 0.09 * portable])  # in AP images the shoulders are higher
    half = np.array([
        [neck, -1.4], [neck, -1.0], [neck + 0.1, -0.88], [0.55, -0.79], [0.85, -0.71], [1.03, -0.52], [1.1, -0.2],
        [1.12, 0.1], [side + 0.08, 0.02], [side, 0.3], [side, 0.75], [side + 0.05, 1.4],
    ]) - up  # fmt: skip
    skin = canvas.area(np.concatenate([half, half[::-1] * [-1, 1]]), 2.0)
    along = np.linspace(0, 1, 20)
    clavicle = (
        np.stack([0.07 + 0.65 * along, -0.5 + (body["clavicle"] - 0.18) * along + 0.035 * np.sin(6.3 * along)], -1) - up
    )
    inner = 0.52 if portable else 0.66  # in AP images the scapulae overlap the lungs
    scapula = [
        [inner + 0.12, -0.62], [inner, -0.42], [inner + 0.03, -0.15], [inner + 0.1, 0.04], [0.8, -0.3], [0.86, -0.55],
    ] - up  # fmt: skip
    humerus = np.array([[0.95, -0.5], [1.0, -0.2], [1.06, 0.2]]) - up
    tissue = (
        skin * (0.45 + 0.5 * smooth(skin, 14.0))
        + 0.2 * skin * ramp(canvas.y - 0.55, 0.25)  # the abdomen is thicker
        + 0.12 * canvas.bands([clavicle * [side, 1] for side in SIDES], 0.03, rim=0.67)
        + 0.12 * canvas.bands([humerus * [side, 1] for side in SIDES], 0.05, 1.0)
        + 0.06 * canvas.lines([([scapula[:4] * [side, 1] for side in SIDES], 2, 1.0)], 0.8)
    )
    for side in SIDES:
        joint = canvas.ball(0.93 * side, -0.56 - up[1], 0.12)
        tissue += 0.07 * canvas.area(scapula * [side, 1], 1.2) + 0.16 * joint * skin
        if size := body["breast"]:
            breast = canvas.ball(side * 0.42, 0.28 + 0.4 * size, 0.2 + 0.6 * size, 0.85)
            tissue += size * breast**1.3 * ramp(canvas.y - 0.1, 0.15) * skin
    return tissue


def draw_mediastinum(canvas, thorax):
    """Draws the mediastinum: spine, trachea, great vessels and heart.

    Returns:
        Its density, and the mask of the heart in [0, 1]; both `(SIZE, SIZE)` float32.
    """
    body, low = thorax.body, thorax.dome[LEFT]
    axis = canvas.x - body["curve"] * (1 - 3 * canvas.y**2)
    column = gaussian(2 * (axis / 0.085) ** 2 * (axis / 0.085) ** 2)
    disc = np.cos(2 * np.pi * (canvas.y + 0.3) / 0.13)
    path = np.array([
        [-0.06, -1.0], [-0.1, -0.65], [-0.105, -0.35], [-0.12, 0.0], [-0.1, low],
        [0.12, low], [0.14, 0.0], [0.125, -0.15], [0.12, -0.35], [0.09, -0.65], [0.06, -1.0],
    ])  # fmt: skip
    heart = canvas.area(thorax.heart_outline(), 2.2)
    turn = np.linspace(-1.6, 1.2, 12)[:, None]
    knob = [0.085, -0.28] + (body["knob"] + 0.04) * np.hstack([np.cos(turn), np.sin(turn)])
    trachea = np.array([[-0.005, -1.0], [-0.012, -0.6], [-0.02, -0.26]])
    bronchi = [[[-0.02, -0.27], [-0.07, -0.19], [-0.13, -0.1]], [[-0.02, -0.27], [0.05, -0.18], [0.14, -0.12]]]
    bubble = canvas.ball(0.3, low + 0.05 + 0.8 * body["bubble"], 1.5 * body["bubble"], 0.55)
    density = (
        column * (0.1 + 0.06 * ramp(disc + 0.5, 0.3))
        + 0.035 * (1 + disc) * gaussian(((np.abs(axis) - 0.055) / 0.01) ** 2)  # pedicles
        + 0.25 * canvas.area(path, 3.0)
        + 0.2 * smooth(canvas.ball(0.085, -0.28, body["knob"] + 0.05) ** 0.7, 1.0)
        + 0.3 * max(body["old"] - 0.6, 0) * canvas.lines([([knob], 1, 1.0)], 0.6)  # its wall calcifies
        # Below the diaphragm the heart is hardly visible, as the tissue around it is as dense.
        + heart * (0.27 + 0.22 * smooth(heart, 9.0)) * (1 - 0.85 * ramp(canvas.y - low - 0.02, 0.05))
        + 0.15 * (canvas.gaussian(-0.15, -0.02, 0.05, 0.1) + canvas.gaussian(0.15, -0.07, 0.05, 0.09))  # hila
        - (0.26 * canvas.bands([trachea], 0.042, 1.5) + 0.12 * canvas.bands(bronchi, 0.025, 1.5))
        - 0.3 * smooth(bubble, 1.5)
    )
    return density, heart


def draw_ribs(canvas, thorax):
    """Returns the density of the posterior and anterior ribs, `(SIZE, SIZE)` float32."""
    total = np.zeros((SIZE, SIZE), np.float32)
    for back, strength in ((True, 1.0), (False, 0.75)):
        total += thorax.body["bone"] * strength * 0.065 * canvas.bands(thorax.ribs(back), 0.026, rim=0.77)
    return total * (1 - 0.7 * ramp(canvas.y - max(thorax.dome.values()) - 0.12, 0.1))
