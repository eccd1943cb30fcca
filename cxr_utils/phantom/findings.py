"""Draws the visible signs of the 14 findings.

A finding can act in two steps. `reshape` changes the thorax before it is drawn, for example by a wider heart or a
higher diaphragm; cardiomegaly and emphysema have this step only. Then the functions in `SIGNS` change the density of
the image. The location of a finding comes from a random generator of the patient, so it is the same in all images of
the patient. The strength of a finding varies slightly from image to image.
"""

import numpy as np

from cxr_utils.phantom.anatomy import LEFT, SIDES
from cxr_utils.phantom.canvas import SIZE, gaussian, noise, ramp, smooth
from cxr_utils.phantom.scene import random_side


def reshape(thorax, finding, site, strength):
    """Changes the shape of the thorax for a finding; most findings change nothing.

    Args:
        thorax: `Thorax`, changed in place.
        finding: one of `config.LABELS`.
        site: `numpy.random.Generator` of the patient and the finding.
        strength: float in [0, 1], from subtle to obvious.
    """
    match finding:
        case "Cardiomegaly":
            thorax.heart *= 1.12 + 0.28 * strength
        case "Emphysema":
            thorax.chest += 0.02 + 0.02 * strength
            thorax.heart *= 0.96 - 0.08 * strength
            thorax.air += 0.01 + 0.08 * strength
            thorax.vessels *= 0.9 - 0.25 * strength
            for side in SIDES:
                thorax.dome[side] += 0.01 + 0.06 * strength
                thorax.depth[side] = 0.15 - 0.08 * strength
        case "Atelectasis":
            thorax.dome[random_side(site)] -= 0.1 + 0.08 * strength
        case "Fibrosis":
            for side in SIDES:
                thorax.dome[side] -= 0.04 + 0.04 * strength  # fibrosis reduces lung volume
        case "Edema":
            thorax.vessels *= 1.1 + 0.3 * strength


# Each of the following functions draws one finding. It takes the scene, the generator `site` of the patient and the
# finding, and the strength in [0, 1]. It returns the density that the finding adds to the image, and a list of fields,
# one for each box, that are high where the finding is. Density and fields are `(SIZE, SIZE)` float32. The fields are
# used only for the findings in `config.BOXED`.


def effusion(scene, site, strength):
    """Draws fluid with a meniscus above the diaphragm of one side."""
    side, thorax, canvas = random_side(site), scene.thorax, scene.canvas
    level = thorax.dome[side] + thorax.depth[side] - 0.33 - 0.36 * strength * site.uniform(0.7, 1.0)
    outward = (canvas.x * side - 0.1) / thorax.chest
    surface = level + 0.2 * (1 - np.clip(outward, 0, 1) ** 4)  # the meniscus rises towards the chest wall
    fluid = scene.lung[side] * ramp(canvas.y - surface, 0.03)
    return 0.64 * fluid, [fluid]


def atelectasis(scene, site, strength):
    """Draws two or three band-like opacities above the raised diaphragm of one side."""
    side, thorax = random_side(site), scene.thorax
    plates = []
    for index in range(site.integers(2, 4)):
        x = np.linspace(site.uniform(0.14, 0.22), site.uniform(0.5, 0.6), 12)
        y = thorax.dome[side] - 0.07 - 0.1 * index + site.uniform(-0.2, 0.2) * (x - 0.35) - 0.03 * np.sin(4 * x)
        plates.append(np.stack([side * x, y], -1))
    taper = np.sin(np.linspace(0.15, 3.0, 12))[:, None] ** 0.6
    bands = scene.canvas.bands(plates, (0.022 + 0.012 * strength) * taper, 1.2) * scene.lung[side]
    haze = scene.lung[side] * scene.canvas.gaussian(side * 0.35, thorax.dome[side], 0.25, 0.1)
    return (0.24 + 0.12 * strength) * bands + 0.1 * haze, [bands]


def pneumothorax(scene, site, strength):
    """Draws a rim of air without vessels outside a visible pleural line."""
    side, canvas = random_side(site), scene.canvas
    outline = scene.thorax.lung(side, shrink=0.84 - 0.22 * strength * site.uniform(0.6, 1.0))
    inner = canvas.area(outline, 0.8)
    rim = scene.lung[side] * (1 - inner) * ramp(canvas.x * side - 0.2, 0.05)
    scene.vessels *= 1 - 0.95 * rim
    pleura = canvas.lines([([outline[:70]], 1, 1.0)]) * ramp(canvas.x * side - 0.16, 0.03)
    return 0.3 * pleura + 0.08 * inner * scene.lung[side] - 0.3 * rim, [rim]


def edema(scene, site, strength):
    """Draws perihilar opacities on both sides and Kerley B lines, without boxes."""
    canvas, thorax = scene.canvas, scene.thorax
    perihilar = sum(canvas.gaussian(side * 0.26, 0.02, 0.15, 0.24) for side in SIDES)
    perihilar *= 0.6 + 0.5 * scene.noise(4.0, scene.rng)
    kerley = [
        np.array([[side * (thorax.wall(y) - 0.02), y], [side * (thorax.wall(y) - 0.14), y + 0.01]])
        for side in SIDES
        for y in np.arange(0.05, thorax.dome[side], 0.055)
    ]
    opacity = (0.12 + 0.16 * strength) * perihilar + 0.05 * canvas.lines([(kerley, 1, 1.0)], 0.5) + 0.02
    return opacity * scene.lungs, []


def fibrosis(scene, site, strength):
    """Draws a reticular pattern, strongest in the periphery and at the bases, without boxes."""
    canvas = scene.canvas
    net = np.zeros((SIZE, SIZE), np.float32)
    for sigma in (2.0, 3.0):
        rough = smooth(noise(site), sigma)
        net += 0.6 * gaussian((rough / rough.std() / 0.28) ** 2)
    outward = sum(scene.lung[side] * np.clip(canvas.x * side / scene.thorax.chest, 0, 1) for side in SIDES)
    where = np.clip(0.9 * outward + 0.9 * ramp(canvas.y - 0.1, 0.25) - 0.35, 0, 1) * scene.lungs
    return (0.22 + 0.16 * strength) * net * where, []


def consolidation(scene, site, strength):
    """Draws a dense lobe with air bronchograms, bounded by a fissure."""
    side, canvas = random_side(site), scene.canvas
    upper = site.random() < 0.25
    fissure = (
        site.uniform(-0.18, -0.02)
        + site.uniform(-0.1, 0.25) * canvas.x * side
        + 0.08 * (scene.noise(12.0, site) - 0.5)  # not quite straight
    )
    lobe = scene.lung[side] * ramp((fissure - canvas.y) if upper else (canvas.y - fissure - 0.1), 0.025)
    branches = np.clip(1.6 * scene.vessels / scene.thorax.vessels / 0.2, 0, 1)  # bronchi follow the vessels
    scene.vessels *= 1 - lobe
    return (0.62 + 0.14 * strength) * lobe * (0.7 + 0.3 * scene.noise(7.0, site)) * (1 - 0.5 * branches), [lobe]


def patches(scene, site, spots, spread, height):
    """Returns the density of ill-defined patches within the lungs, `(SIZE, SIZE)` float32.

    Args:
        scene: `Scene`.
        site: `numpy.random.Generator` of the patient and the finding.
        spots: list of `(x, y)`, the centers.
        spread: float, standard deviation of a patch, varied by 20 %.
        height: float, scale of the density.
    """
    gaussians = [scene.canvas.gaussian(x, y, *(spread * site.uniform(0.8, 1.2, 2))) for x, y in spots]
    return height * np.max(gaussians, axis=0) * (0.35 + 0.8 * scene.noise(3.0, site)) * scene.lungs


def infiltration(scene, site, strength):
    """Draws four ill-defined patches in one or both lungs."""
    side = random_side(site)
    sides = [side, side, -side, -side] if site.random() < 0.4 else [side] * 4
    spots = [(sign * site.uniform(0.25, 0.5), site.uniform(-0.35, 0.3)) for sign in sides]
    field = patches(scene, site, spots, 0.11, 0.26 + 0.12 * strength)
    return field, [field * (np.sign(scene.canvas.x) == sign) for sign in sorted(set(sides))]


def pneumonia(scene, site, strength):
    """Draws three ill-defined patches close together, denser than those of an infiltration."""
    side = random_side(site)
    x, y = site.uniform(0.3, 0.42), site.choice([-0.35, 0.16])
    spots = [(side * (x + site.uniform(-0.08, 0.08)), y + site.uniform(-0.08, 0.08)) for _ in range(3)]
    field = patches(scene, site, spots, 0.13, 0.42 + 0.14 * strength)
    return field, [field]


def pleural_thickening(scene, site, strength):
    """Draws a band with calcified plaques along the lateral chest wall of one or both sides."""
    side, thorax, canvas = random_side(site), scene.thorax, scene.canvas
    sides = SIDES if site.random() < 0.6 else [side]  # pleural plaques are often bilateral, as after asbestos exposure
    width = 0.14 + 0.06 * strength
    waves = np.sin(canvas.y * site.uniform(5, 9) + site.uniform(0, 6)) + 0.5 * np.sin(canvas.y * site.uniform(14, 20))
    top, bottom = -site.uniform(0.55, 0.9), site.uniform(0.2, 0.45)
    inward = thorax.wall(canvas.y) - np.abs(canvas.x)
    band = (
        sum(scene.lung[side] for side in sides)
        * ramp(width * (0.8 + 0.15 * waves) - inward, 0.015)
        * (ramp(canvas.y - top, 0.05) * ramp(bottom - canvas.y, 0.08))
    )
    plaques = ramp(scene.noise(2.5, site) - 0.75, 0.1)  # calcifications
    return (0.3 + 0.12 * strength + 0.2 * plaques) * band, [band]


def nodule(scene, site, strength):
    """Draws two to four small round opacities, each with a box."""
    fields = [
        round_opacity(scene, site, site.uniform(0.065, 0.08) + 0.015 * strength, 0.5)
        for _ in range(site.integers(2, 5))
    ]
    return (0.4 + 0.2 * strength) * np.max(fields, axis=0), fields


def mass(scene, site, strength):
    """Draws one large round opacity."""
    field = round_opacity(scene, site, site.uniform(0.14, 0.18) + 0.04 * strength, 0.35)
    return (0.5 + 0.2 * strength) * field, [field]


def round_opacity(scene, site, radius, power):
    """Returns a round opacity in [0, 1] made of three overlapping balls, at a random place in one lung."""
    side, y = random_side(site), site.uniform(-0.45, 0.22)
    inner = 0.2 + radius / 2
    x = inner + (scene.thorax.wall(y) - radius - 0.02 - inner) * site.uniform(0, 1)
    field = scene.canvas.ball(side * x, y, radius)
    for turn in site.uniform(0, 2 * np.pi, 2):
        center = side * x + 0.5 * radius * np.cos(turn), y + 0.5 * radius * np.sin(turn)
        field = np.maximum(field, scene.canvas.ball(*center, 0.7 * radius))
    return smooth(field**power, 0.8)


def hernia(scene, site, strength):
    """Draws a hiatal hernia: a pouch with an air-fluid level behind the heart."""
    canvas = scene.canvas
    radius = site.uniform(0.2, 0.23) + 0.05 * strength
    x, y = site.uniform(0.02, 0.12), scene.thorax.dome[LEFT] - 0.65 * radius
    pouch = smooth(canvas.ball(x, y, radius) ** 0.4, 0.8)
    gas = smooth(canvas.ball(x, y, 0.86 * radius) ** 0.5, 0.8) * ramp(y - 0.02 - canvas.y, 0.012)
    return 0.25 * pouch - (0.65 + 0.3 * strength) * gas, [pouch]


SIGNS = {
    "Atelectasis": atelectasis,
    "Consolidation": consolidation,
    "Infiltration": infiltration,
    "Pneumothorax": pneumothorax,
    "Edema": edema,
    "Fibrosis": fibrosis,
    "Effusion": effusion,
    "Pneumonia": pneumonia,
    "Pleural_Thickening": pleural_thickening,
    "Nodule": nodule,
    "Mass": mass,
    "Hernia": hernia,
}
