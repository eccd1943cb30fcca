"""Draws what is in or on a patient of the phantom: implants, electrodes, leads and catheters."""

import numpy as np

from cxr_utils.phantom.anatomy import SIDES
from cxr_utils.phantom.canvas import SIZE, smooth


def draw_implants(canvas, rng):
    """Returns the density of what stays in a patient: nothing, a pacemaker, sternal wires or surgical clips."""
    total = np.zeros((SIZE, SIZE), np.float32)
    match rng.choice(["none", "pacemaker", "wires", "clips"], p=[0.4, 0.2, 0.2, 0.2]):
        case "pacemaker":
            side, x, y = rng.choice(SIDES), rng.uniform(0.5, 0.66), rng.uniform(-0.58, -0.44)
            lead = np.array([[side * x, y], [side * 0.2, -0.42], [-0.05, -0.2], [-0.08, 0.1], [0.12, 0.3]])
            total += 0.5 * (canvas.ball(side * x, y, rng.uniform(0.07, 0.1), 0.8) > 0)
            total += canvas.lines([([lead], 2, 0.3)], 0.5)
        case "wires":
            top, count = rng.uniform(-0.45, -0.3), rng.integers(4, 8)
            turn = np.linspace(0, 2 * np.pi, 12)[:, None]
            loops = [
                [0.01, top + 0.11 * number] + 0.035 * np.hstack([np.cos(turn), 0.7 * np.sin(turn)])
                for number in range(count)
            ]
            total += canvas.lines([(loops, 1, 0.5)], 0.4)
        case "clips":
            spots = rng.uniform([-0.6, -0.6], [0.6, 0.3], (rng.integers(3, 9), 1, 2))
            total += canvas.lines([(np.add(spots, [[0, 0], [0.03, 0.02]]), 2, 0.6)], 0.4)
    return total


def draw_equipment(canvas, rng):
    """Returns the density of bedside equipment: ECG leads with electrodes, and at times a central venous catheter."""
    leads, total = [], np.zeros((SIZE, SIZE), np.float32)
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(-0.6, 0.6), rng.uniform(-0.45, 0.45)
        steps = np.cumsum(rng.normal(0, 0.07, (8, 2)) + np.array([0.1 * np.sign(x), 0.02]), 0)
        leads.append(np.vstack([[x, y], np.add([x, y], steps)]))
        total += 0.22 * (canvas.ball(x, y, 0.035) > 0)
    total += canvas.lines([(leads, 1, 0.2)], 0.5)
    if rng.random() < 0.5:
        vein = [[-0.42, -0.95], [-0.3, -0.6], [-0.13, -0.48], [-0.09, -0.25], [-0.1, -0.02]]
        total += canvas.lines([([vein], 2, 0.16)], 0.6)
    return smooth(total, 0.5)
