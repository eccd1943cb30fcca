"""Draws one image of the phantom: healthy anatomy, signs of the findings, exposure; and its boxes."""

import cv2
import numpy as np

from cxr_utils import config
from cxr_utils.phantom.anatomy import (
    Thorax,
    draw_body,
    draw_mediastinum,
    draw_ribs,
    patient_anatomy,
)
from cxr_utils.phantom.canvas import SIZE, Canvas, expose
from cxr_utils.phantom.devices import draw_equipment, draw_implants
from cxr_utils.phantom.findings import SIGNS, reshape
from cxr_utils.phantom.scene import Scene


def draw_image(seed, patient, followup, sex, age, view, findings):
    """Draws one image.

    Args:
        seed: int, of the release.
        patient: int, number of the patient. With `seed`, it determines the anatomy and the location of findings.
        followup: int, number of the image. With `seed` and `patient`, it determines pose, exposure and noise.
        sex: "M" or "F".
        age: int, years.
        view: "PA" or "AP".
        findings: list of names from `config.LABELS`.

    Returns:
        `(image, boxes)`: a `(256, 256)` uint8 array and a list of `(finding, [x, y, w, h])` in pixels of the 1024×1024
        original.
    """
    rng = np.random.default_rng([seed, patient, 1, followup])
    body = patient_anatomy(np.random.default_rng([seed, patient, 0]), sex, age)
    # Images of any shape are stored as squares, so width and height are scaled differently.
    scale = body["scale"] * rng.normal(1, 0.015) * rng.normal(1, 0.01, 2)
    canvas = Canvas(body["tilt"] + rng.normal(0, 1.2), scale, body["shift"] + rng.normal(0, 0.02, 2))
    thorax = Thorax(body, view, rng)
    strength = {
        finding: float(
            np.clip(np.random.default_rng([seed, patient, 2, index]).beta(1.6, 1.6) + rng.normal(0, 0.07), 0, 1)
        )
        for index, finding in enumerate(config.LABELS)
        if finding in findings
    }

    def site(finding):
        return np.random.default_rng([seed, patient, 3, config.LABELS.index(finding)])

    for finding in findings:
        reshape(thorax, finding, site(finding), strength[finding])
    scene = Scene(canvas, thorax, rng)
    middle, heart = draw_mediastinum(canvas, thorax)
    density = draw_body(canvas, thorax) + middle + draw_ribs(canvas, thorax) - scene.air
    boxes = []
    for finding in findings:
        fields = [heart]  # cardiomegaly has no sign of its own: its box surrounds the heart
        if finding in SIGNS:
            opacity, fields = SIGNS[finding](scene, site(finding), strength[finding])
            density += (0.5 + 0.4 * strength[finding]) * opacity
        if finding in config.BOXED:
            boxes += [(finding, box_around(field)) for field in fields]
    density += scene.vessels
    density += draw_implants(canvas, np.random.default_rng([seed, patient, 4]))
    if view == "AP":
        density += draw_equipment(canvas, rng)
    return expose(density, body, view, rng), boxes


def box_around(field):
    """Returns the box of a sign: `[x, y, w, h]`, in pixels of the 1024×1024 original.

    Args:
        field: `(SIZE, SIZE)` float32. The box surrounds the pixels above 0.4 of its maximum.
    """
    box = cv2.boundingRect((field > 0.4 * field.max()).astype(np.uint8))
    return [length * config.ORIGINAL_SIZE / SIZE for length in box]
