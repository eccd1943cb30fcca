"""The 14 findings as visible signs, and the image that shows them.

A finding works twice: `reshape` changes the thorax before it is drawn (a wide heart, a raised diaphragm; for cardiomegaly
and emphysema that is all), `SIGNS` lays an opacity or an air rim over the drawn lungs. Where a finding sits is drawn from a
generator of the patient, so it stays from image to image; how plain it is varies a little with the image.
"""

import numpy as np

from cxr_utils import config
from cxr_utils.phantom.anatomy import LEFT, RIGHT, SIDES, Thorax, body_of, draw_chest, draw_equipment, vessels
from cxr_utils.phantom.canvas import SIZE, Canvas, bell, expose, ramp, smooth


def reshape(thorax, finding, site, strength):
    """Changes the thorax as a finding does; findings that only lie in the lungs change nothing.

    Args:
        thorax: `Thorax`, changed in place.
        finding: one of `config.LABELS`.
        site: `numpy.random.Generator` of the patient and the finding.
        strength: float in [0, 1], subtle to plain.
    """
    if finding == "Cardiomegaly":
        thorax.heart *= 1.38 + 0.2 * strength
    elif finding == "Emphysema":
        thorax.chest += 0.02 + 0.02 * strength
        thorax.heart *= 0.93 - 0.08 * strength
        thorax.air += 0.04 + 0.1 * strength
        thorax.vessels *= 0.8 - 0.25 * strength
        for side in SIDES:
            thorax.dome[side] += 0.05 + 0.09 * strength
            thorax.depth[side] = 0.11 - 0.05 * strength
    elif finding == "Atelectasis":
        thorax.dome[side_of(site)] -= 0.1 + 0.08 * strength
    elif finding == "Fibrosis":
        for side in SIDES:
            thorax.dome[side] -= 0.04 + 0.04 * strength  # stiff lungs are small
    elif finding == "Edema":
        thorax.vessels *= 1.1 + 0.3 * strength


def side_of(site):
    """Returns the side on which a patient's finding sits, more often the right; the first number of its generator."""
    return RIGHT if site.random() < 0.65 else LEFT


class Scene:
    """What a sign needs to know: the canvas, the thorax, both lungs and the image's generator."""

    def __init__(self, canvas, thorax, rng):
        self.canvas, self.thorax, self.rng = canvas, thorax, rng
        self.lung = {side: canvas.area(thorax.lung(side), 1.2) for side in SIDES}
        self.lungs = np.clip(self.lung[RIGHT] + self.lung[LEFT], 0, 1)
        self.air = self.lungs * thorax.air * (0.3 + 0.32 * smooth(self.lungs, 8.0))
        self.vessels = 0.2 * thorax.vessels * vessels(canvas, thorax) * self.lungs

    def clouds(self, sigma, site):
        """Returns uneven density in [0, 1] with grains of `sigma` pixels."""
        noise = smooth(site.normal(0, 1, (SIZE, SIZE)), sigma)
        return ramp(noise / noise.std() + 0.2, 1.0)


# Each sign takes the scene, the generator of the finding's site and the strength in [0, 1]. It returns the density that it
# adds to the image and a list of fields, one for each box: where the finding lies. Both are `(SIZE, SIZE)` float64.


def effusion(scene, site, strength):
    side, thorax, canvas = side_of(site), scene.thorax, scene.canvas
    angle = thorax.dome[side] + thorax.depth[side]
    level = angle - 0.33 - 0.36 * strength * site.uniform(0.7, 1.0)
    outward = (canvas.x * side - 0.1) / thorax.chest
    surface = level + 0.2 * (1 - np.clip(outward, 0, 1) ** 4)  # the meniscus climbs the chest wall
    fluid = scene.lung[side] * ramp(canvas.y - surface, 0.03)
    return 0.64 * fluid, [fluid]


def atelectasis(scene, site, strength):
    side, thorax = side_of(site), scene.thorax
    plates = []
    for index in range(site.integers(2, 4)):
        x = np.linspace(site.uniform(0.14, 0.22), site.uniform(0.5, 0.6), 12)
        y = thorax.dome[side] - 0.07 - 0.1 * index + site.uniform(-0.2, 0.2) * (x - 0.35) - 0.03 * np.sin(4 * x)
        plates.append(np.stack([side * x, y], -1))
    taper = np.sin(np.linspace(0.15, 3.0, 12))[:, None] ** 0.6
    bands = scene.canvas.bands(plates, (0.022 + 0.012 * strength) * taper, 1.2)[0] * scene.lung[side]
    haze = scene.lung[side] * scene.canvas.glow(side * 0.35, thorax.dome[side], 0.25, 0.1)
    return (0.24 + 0.12 * strength) * bands + 0.1 * haze, [bands]


def pneumothorax(scene, site, strength):
    side, canvas = side_of(site), scene.canvas
    shrink = 0.84 - 0.22 * strength * site.uniform(0.6, 1.0)
    outline = scene.thorax.lung(side, shrink)
    inner = canvas.area(outline, 0.8)
    rim = scene.lung[side] * (1 - inner) * ramp(canvas.x * side - 0.2, 0.05)
    scene.vessels *= 1 - 0.95 * rim
    pleura = canvas.lines([([outline[:70]], 1, 1.0)]) * ramp(canvas.x * side - 0.16, 0.03)
    return 0.2 * pleura + 0.06 * inner * scene.lung[side] - 0.2 * rim, [rim]


def edema(scene, site, strength):
    canvas, thorax = scene.canvas, scene.thorax
    wings = sum(canvas.glow(side * 0.26, 0.02, 0.15, 0.24) for side in SIDES) * (
        0.6 + 0.5 * scene.clouds(4.0, scene.rng)
    )
    kerley = [
        np.array([[side * (thorax.wall(y) - 0.02), y], [side * (thorax.wall(y) - 0.14), y + 0.01]])
        for side in SIDES
        for y in np.arange(0.05, thorax.dome[side], 0.055)
    ]
    opacity = (0.16 + 0.16 * strength) * wings + 0.07 * canvas.lines([(kerley, 1, 1.0)], 0.5) + 0.02
    return opacity * scene.lungs, []


def fibrosis(scene, site, strength):
    canvas = scene.canvas
    net = np.zeros((SIZE, SIZE))
    for sigma in (2.0, 3.0):
        noise = smooth(site.normal(0, 1, (SIZE, SIZE)), sigma)
        net += 0.6 * bell((noise / noise.std() / 0.28) ** 2)
    outward = sum(scene.lung[side] * np.clip(canvas.x * side / scene.thorax.chest, 0, 1) for side in SIDES)
    where = np.clip(0.9 * outward + 0.9 * ramp(canvas.y - 0.1, 0.25) - 0.35, 0, 1) * scene.lungs
    return (0.25 + 0.14 * strength) * net * where, []


def consolidation(scene, site, strength):
    side, canvas = side_of(site), scene.canvas
    upper = site.random() < 0.25
    fissure = (
        site.uniform(-0.18, -0.02)
        + site.uniform(-0.1, 0.25) * canvas.x * side
        + 0.08 * (scene.clouds(12.0, site) - 0.5)
    )
    lobe = scene.lung[side] * ramp((fissure - canvas.y) if upper else (canvas.y - fissure - 0.1), 0.025)
    branches = np.clip(1.6 * scene.vessels / scene.thorax.vessels / 0.2, 0, 1)  # bronchi run with the vessels
    scene.vessels *= 1 - lobe
    uneven = 0.7 + 0.3 * scene.clouds(7.0, site)
    return (0.62 + 0.14 * strength) * lobe * uneven * (1 - 0.5 * branches), [lobe]


def patches(scene, site, spots, spread, height):
    """Returns ill-defined patches: `spots` clouds, each about `spread` wide, of density up to `height`."""
    total = np.zeros((SIZE, SIZE))
    for x, y in spots:
        total = np.maximum(
            total, scene.canvas.glow(x, y, spread * site.uniform(0.8, 1.2), spread * site.uniform(0.8, 1.2))
        )
    return height * total * (0.35 + 0.8 * scene.clouds(3.0, site)) * scene.lungs


def infiltration(scene, site, strength):
    side = side_of(site)
    both = site.random() < 0.4
    sides = [side, side, -side, -side] if both else [side] * 4
    spots = [(sign * site.uniform(0.25, 0.5), site.uniform(-0.35, 0.3)) for sign in sides]
    field = patches(scene, site, spots, 0.11, 0.26 + 0.12 * strength)
    return field, [field * (np.sign(scene.canvas.x) == sign) for sign in sorted(set(sides))]


def pneumonia(scene, site, strength):
    side = side_of(site)
    x, y = site.uniform(0.3, 0.42), site.choice([-0.35, 0.16])
    spots = [(side * (x + site.uniform(-0.08, 0.08)), y + site.uniform(-0.08, 0.08)) for _ in range(3)]
    field = patches(scene, site, spots, 0.13, 0.42 + 0.14 * strength)
    return field, [field]


def pleural_thickening(scene, site, strength):
    side, thorax, canvas = side_of(site), scene.thorax, scene.canvas
    sides = SIDES if site.random() < 0.6 else [side]  # asbestos thickens the pleura of both
    width = 0.14 + 0.06 * strength
    waves = np.sin(canvas.y * site.uniform(5, 9) + site.uniform(0, 6)) + 0.5 * np.sin(canvas.y * site.uniform(14, 20))
    top, bottom = -site.uniform(0.55, 0.9), site.uniform(0.2, 0.45)
    inward = thorax.wall(canvas.y) - np.abs(canvas.x)
    band = sum(scene.lung[side] for side in sides) * ramp(width * (0.8 + 0.15 * waves) - inward, 0.015)
    band *= ramp(canvas.y - top, 0.05) * ramp(bottom - canvas.y, 0.08)
    plaques = ramp(scene.clouds(2.5, site) - 0.75, 0.1)  # chalk in the scar
    return (0.48 + 0.12 * strength + 0.3 * plaques) * band, [band]


def nodule(scene, site, strength):
    total, fields = np.zeros((SIZE, SIZE)), []
    for _ in range(site.integers(2, 5)):
        field = lump(scene, site, site.uniform(0.065, 0.08) + 0.015 * strength, 0.5)
        fields.append(field)
        total = np.maximum(total, field)
    return (0.4 + 0.2 * strength) * total, fields


def mass(scene, site, strength):
    field = lump(scene, site, site.uniform(0.14, 0.18) + 0.04 * strength, 0.35)
    return (0.4 + 0.16 * strength) * field, [field]


def lump(scene, site, radius, power):
    """Returns a round shadow of up to three fused balls somewhere in the lungs."""
    side, y = side_of(site), site.uniform(-0.45, 0.22)
    inner = 0.2 + radius / 2
    x = inner + (scene.thorax.wall(y) - radius - 0.02 - inner) * site.uniform(0, 1)
    field = scene.canvas.ball(side * x, y, radius)
    for _ in range(2):
        turn = site.uniform(0, 2 * np.pi)
        beside = side * x + 0.5 * radius * np.cos(turn), y + 0.5 * radius * np.sin(turn)
        field = np.maximum(field, scene.canvas.ball(*beside, 0.7 * radius))
    return smooth(field**power, 0.8)


def hernia(scene, site, strength):
    canvas = scene.canvas
    radius = site.uniform(0.2, 0.23) + 0.05 * strength
    x, y = site.uniform(0.02, 0.12), scene.thorax.dome[LEFT] - 0.65 * radius
    pouch = smooth(canvas.ball(x, y, radius) ** 0.4, 0.8)
    gas = smooth(canvas.ball(x, y, 0.86 * radius) ** 0.5, 0.8) * ramp(y - 0.02 - canvas.y, 0.012)
    return 0.3 * pouch - (0.85 + 0.15 * strength) * gas, [pouch]


SIGNS = {
    "Atelectasis": atelectasis, "Consolidation": consolidation, "Infiltration": infiltration, "Pneumothorax": pneumothorax,
    "Edema": edema, "Fibrosis": fibrosis, "Effusion": effusion, "Pneumonia": pneumonia,
    "Pleural_Thickening": pleural_thickening, "Nodule": nodule, "Mass": mass, "Hernia": hernia,
}  # fmt: skip


def box_of(field):
    """Returns `[x, y, w, h]` in pixels of the original image around where `field` exceeds 0.4 of its highest value."""
    rows, columns = np.nonzero(field > 0.4 * field.max())
    scale = config.ORIGINAL_SIZE / SIZE
    left, top = columns.min() * scale, rows.min() * scale
    return [left, top, (columns.max() + 1) * scale - left, (rows.max() + 1) * scale - top]


def draw_image(seed, patient, followup, sex, view, findings):
    """Draws one image.

    Args:
        seed: int, of the release.
        patient: int, number of the patient; with the seed it fixes the anatomy and where findings sit.
        followup: int, number of the image; with seed and patient it fixes pose, exposure and noise.
        sex: "M" or "F".
        view: "PA" or "AP".
        findings: list of names out of `config.LABELS`.

    Returns:
        `(256, 256)` uint8 image, and its boxes: list of `(finding, [x, y, w, h])` in pixels of the 1024×1024 original.
    """
    rng = np.random.default_rng([seed, patient, 1, followup])
    canvas = Canvas(rng.normal(0, 2), rng.uniform(0.97, 1.12), rng.normal(0, 0.035, 2))
    thorax = Thorax(body_of(np.random.default_rng([seed, patient, 0]), sex), view, rng)
    strength = {
        finding: np.clip(np.random.default_rng([seed, patient, 2, index]).beta(2.0, 1.3) + rng.normal(0, 0.1), 0, 1)
        for index, finding in enumerate(config.LABELS)
    }

    def site(finding):
        return np.random.default_rng([seed, patient, 3, config.LABELS.index(finding)])

    for finding in findings:
        reshape(thorax, finding, site(finding), strength[finding])
    scene = Scene(canvas, thorax, rng)
    density, heart = draw_chest(canvas, thorax)
    density -= scene.air
    boxes = []
    for finding in findings:
        fields = [heart]  # what cardiomegaly is boxed by
        if finding in SIGNS:
            opacity, fields = SIGNS[finding](scene, site(finding), strength[finding])
            density += opacity
        if finding in config.BOXED:
            boxes += [(finding, box_of(field)) for field in fields]
    density += scene.vessels
    if view == "AP":
        density += draw_equipment(canvas, rng)
    return expose(density, view, rng), boxes
