"""Drawing X-rays in matplotlib: images, where a model looks on them, what its layers make of one.

A function here draws and returns; nothing is shown or saved until a notebook calls `showing.show_images`.
"""

import math
import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from cxr_utils import config
from cxr_utils.plots import colors


def image_grid(images, captions, columns=4):
    """Draws images in a grid.

    Args:
        images: `(n, size, size)` uint8.
        captions: list of n strings.
        columns: int.

    Returns:
        `matplotlib.figure.Figure`.
    """
    figure, axes = _grid(captions, columns)
    for ax, image in zip(axes, images, strict=True):
        _draw_image(ax, image)
    return figure


def heat_map_grid(images, heats, boxes, captions, columns=4):
    """Draws images in a grid with the heat over them and the boxes around what was seen by a radiologist.

    Args:
        images: `(n, size, size)` uint8.
        heats: `(n, size, size)` in [0, 1], of `explain.grad_cam`.
        boxes: list of n lists of `(x, y, w, h)`, as of `heat_map`; an empty one where there is no box.
        captions: list of n strings.
        columns: int.

    Returns:
        `matplotlib.figure.Figure`.
    """
    figure, axes = _grid(captions, columns)
    for ax, image, heat, some in zip(axes, images, heats, boxes, strict=True):
        heat_map(image, heat, some, ax)
    return figure


def heat_map(image, heat, boxes=(), ax=None):
    """Draws an image with heat over it, the more opaque the hotter: without heat the image is as it was.

    Args:
        image: `(size, size)` uint8.
        heat: `(size, size)` in [0, 1], of `explain.grad_cam`.
        boxes: list of `(x, y, w, h)` in pixels of the 1024×1024 original.
        ax: `matplotlib.axes.Axes`, or `None` for new ones.

    Returns:
        The axes.
    """
    if ax is None:
        ax = plt.figure(figsize=(6, 6), layout="constrained").add_subplot()
    _draw_image(ax, image)
    ax.imshow(heat, cmap="autumn", vmin=0, vmax=1, alpha=0.6 * np.asarray(heat, float))
    scale = len(image) / config.ORIGINAL_SIZE
    for x, y, w, h in boxes:
        # The middle of the first pixel is 0, its edge −0.5.
        corner = x * scale - 0.5, y * scale - 0.5
        ax.add_patch(Rectangle(corner, w * scale, h * scale, fill=False, edgecolor=colors.BOX_COLOR, linewidth=1.5))
    return ax


def prediction_caption(row, y_prob):
    """Says an image's diagnosis and the three findings predicted highest: `"diagnosis: Mass\\npredicted:\\nMass 61%\\n…"`."""
    best = np.argsort(-y_prob)[:3]
    guesses = "\n".join(f"{config.LABELS[finding]} {y_prob[finding]:.0%}" for finding in best)
    return f"diagnosis: {row.label.replace('|', ', ')}\npredicted:\n{guesses}".replace("_", " ")


def wrap(text, width):
    """Returns a text whose lines are broken at `width` characters."""
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())


def layer_maps(image, caption, maps, texts):
    """Draws an image and, beside it row by row, what each layer makes of it, as wide as a slide.

    Args:
        image: `(size, size)` uint8.
        caption: of the image.
        maps: list of `(height, width, columns)` arrays, one a layer, all of as many columns.
        texts: list of one explanation for each layer.

    Returns:
        `matplotlib.figure.Figure`.
    """
    columns = maps[0].shape[2]
    # Placed by hand: no layout of matplotlib's keeps room for the caption of an image that is as high as all rows.
    figure = plt.figure(figsize=(13.33, 5.2))
    grid = figure.add_gridspec(
        len(maps),
        columns + 1,
        width_ratios=[3.5] + [1] * columns,
        left=0.3,
        right=0.995,
        top=0.99,
        bottom=0.08,
        wspace=0.05,
        hspace=0.08,
    )
    caption = wrap(caption, 30)
    ax = figure.add_axes([0.01, 0.08, 0.27, 0.88 - 0.045 * (caption.count("\n") + 1)], anchor="S")
    _draw_image(ax, image)
    ax.set_title(caption, fontsize=14)
    for row, (layer, text) in enumerate(zip(maps, texts)):
        ax = figure.add_subplot(grid[row, 0])
        ax.text(0, 0.5, textwrap.fill(text, 26), fontsize=14, va="center")
        ax.axis("off")
        for column in range(columns):
            ax = figure.add_subplot(grid[row, column + 1])
            ax.imshow(layer[..., column], cmap="magma")
            ax.axis("off")
    return figure


def _grid(captions, columns):
    """Returns a figure and its axes, one for each caption."""
    captions, columns = [wrap(caption, 23) for caption in captions], min(columns, len(captions))
    # In inches: beside the words of a slide images are shown somewhat larger, and their captions are read from the last row.
    height = 2.1 + 0.19 * max(caption.count("\n") + 1 for caption in captions)
    rows = math.ceil(len(captions) / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2 * columns, height * rows + 0.4), squeeze=False, layout="compressed"
    )
    for ax in axes.flat:
        ax.axis("off")
    for ax, caption in zip(axes.flat, captions):
        ax.set_title(caption, fontsize=11)
    return figure, axes.flat[: len(captions)]


def _draw_image(ax, image):
    ax.imshow(image, cmap="gray", vmin=0, vmax=255)
    ax.axis("off")
