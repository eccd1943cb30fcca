"""Figures of X-rays in matplotlib: grids of images, heat maps and feature maps.

Each function returns a figure or its axes. A figure is shown and saved by `show.show_images`.
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
        columns: int, images in a row.

    Returns:
        `matplotlib.figure.Figure`.
    """
    figure, axes = _grid(captions, columns)
    for ax, image in zip(axes, images, strict=True):
        _draw_image(ax, image)
    return figure


def heat_map_grid(images, heats, boxes, captions, columns=4):
    """Draws images in a grid, each with its heat map and the boxes that mark the finding.

    Args:
        images: `(n, size, size)` uint8.
        heats: `(n, size, size)` in [0, 1], as returned by `explain.grad_cam`.
        boxes: list of n lists of `(x, y, w, h)`, see `heat_map`. An image without a box has an empty list.
        captions: list of n strings.
        columns: int, images in a row.

    Returns:
        `matplotlib.figure.Figure`.
    """
    figure, axes = _grid(captions, columns)
    for ax, image, heat, image_boxes in zip(axes, images, heats, boxes, strict=True):
        heat_map(image, heat, image_boxes, ax)
    return figure


def heat_map(image, heat, boxes=(), ax=None):
    """Draws an image with a heat map over it. The color is more opaque where the heat is higher.

    Args:
        image: `(size, size)` uint8.
        heat: `(size, size)` in [0, 1], as returned by `explain.grad_cam`.
        boxes: list of `(x, y, w, h)` in pixels of the 1024×1024 original.
        ax: `matplotlib.axes.Axes`, or `None` for new axes.

    Returns:
        The axes.
    """
    if ax is None:
        ax = plt.figure(figsize=(6, 6), layout="constrained").add_subplot()
    _draw_image(ax, image)
    ax.imshow(heat, cmap="autumn", vmin=0, vmax=1, alpha=0.6 * np.asarray(heat, float))
    scale = len(image) / config.ORIGINAL_SIZE
    for x, y, w, h in boxes:
        # In matplotlib the center of the first pixel is at 0, so its edge is at −0.5.
        corner = x * scale - 0.5, y * scale - 0.5
        ax.add_patch(Rectangle(corner, w * scale, h * scale, fill=False, edgecolor=colors.BOX_COLOR, linewidth=1.5))
    return ax


def prediction_caption(row, y_prob):
    r"""Returns the label of an image and its three highest predictions as a caption.

    Args:
        row: row of a frame, with `label`.
        y_prob: `(14,)` in [0, 1].

    Returns:
        str, such as `"label: Mass\npredicted:\nMass 61 %\n…"`.
    """
    highest = np.argsort(-y_prob)[:3]
    predictions = "\n".join(f"{config.LABELS[finding]} {100 * y_prob[finding]:.0f} %" for finding in highest)
    return f"label: {row.label.replace('|', ', ')}\npredicted:\n{predictions}".replace("_", " ")


def wrap(text, width):
    """Breaks the lines of a text at `width` characters."""
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())


def layer_maps(image, caption, maps, texts):
    """Draws an image and, to its right, a row of feature maps for each layer.

    Args:
        image: `(size, size)` uint8.
        caption: str, caption of the image.
        maps: list of `(height, width, columns)` arrays, one for each layer, all with the same number of columns.
        texts: list of one explanation for each layer.

    Returns:
        `matplotlib.figure.Figure`, as wide as a slide.
    """
    columns = maps[0].shape[2]
    # The layout is set by hand: matplotlib's layouts leave no space for the caption of an image as high as all rows.
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
    for row, (layer, text) in enumerate(zip(maps, texts, strict=False)):
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
    # In inches. A slide shows the figure slightly enlarged, so that captions can be read from the back of the room.
    height = 2.1 + 0.19 * max(caption.count("\n") + 1 for caption in captions)
    rows = math.ceil(len(captions) / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2 * columns, height * rows + 0.4), squeeze=False, layout="compressed"
    )
    for ax in axes.flat:
        ax.axis("off")
    for ax, caption in zip(axes.flat, captions, strict=False):
        ax.set_title(caption, fontsize=11)
    return figure, axes.flat[: len(captions)]


def _draw_image(ax, image):
    ax.imshow(image, cmap="gray", vmin=0, vmax=255)
    ax.axis("off")
