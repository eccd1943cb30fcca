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

# Width and height in inches of a figure for a slide. With matplotlib's own text size of 12 points, captions can be read
# there.
_SLIDE = (14.4, 5.3)
_COLUMNS = 4  # images in a row
_WIDTH = 2.4  # inches of an image in a row


def image_grid(images, captions):
    """Draws images in a grid.

    Args:
        images: `(n, size, size)` uint8.
        captions: list of n strings.

    Returns:
        `matplotlib.figure.Figure`.
    """
    figure, axes = _grid(captions)
    for ax, image in zip(axes, images, strict=True):
        _draw_image(ax, image)
    return figure


def heat_map_grid(images, heats, boxes, captions):
    """Draws images in a grid, each with its heat map and the boxes that mark the finding, and the scale of the heat.

    Args:
        images: `(n, size, size)` uint8.
        heats: `(n, size, size)` in [0, 1], as returned by `explain.layer_cam`.
        boxes: list of n lists of `(x, y, w, h)`, see `heat_map`. An image without a box has an empty list.
        captions: list of n strings.

    Returns:
        `matplotlib.figure.Figure`.
    """
    figure, axes = _grid(captions)
    for ax, image, heat, image_boxes in zip(axes, images, heats, boxes, strict=True):
        heat_map(image, heat, image_boxes, ax)
    figure.colorbar(axes[-1].images[-1], ax=axes, shrink=0.6, label="heat (1: hottest point of an image)")
    return figure


def heat_map(image, heat, boxes=(), ax=None):
    """Draws an image with a heat map over it. The color is more opaque where the heat is higher.

    Args:
        image: `(size, size)` uint8.
        heat: `(size, size)` in [0, 1], as returned by `explain.layer_cam`.
        boxes: list of `(x, y, w, h)` in pixels of the 1024×1024 original.
        ax: `matplotlib.axes.Axes`, or `None` for new axes.

    Returns:
        The axes.
    """
    if ax is None:
        ax = plt.figure(figsize=(6, 6), layout="constrained").add_subplot()
    _draw_image(ax, image)
    ax.imshow(heat, cmap="autumn", vmin=0, vmax=1, alpha=0.6 * np.asarray(heat, float))
    for x, y, w, h in np.array(boxes) * len(image) / config.ORIGINAL_SIZE:
        # In matplotlib the center of the first pixel is at 0, so its edge is at −0.5.
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), w, h, fill=False, edgecolor=colors.BOX_COLOR, linewidth=1.5))
    return ax


def prediction_caption(row, y_prob):
    r"""Returns the label of an image and its three highest predictions, without those that are NaN, as a caption.

    Args:
        row: row of a frame, with `label`.
        y_prob: `(14,)` in [0, 1].

    Returns:
        str, such as `"label: Mass\npredicted:\nMass 61 %\n…"`.
    """
    # NaN comes last.
    highest = np.argsort(-y_prob)[: min(3, np.isfinite(y_prob).sum())]
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
    figure = plt.figure(figsize=_SLIDE, layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[3.4, 9.9])
    left.suptitle(wrap(caption, 28))
    _draw_image(left.subplots(), image)
    widths = [2.6] + [1] * maps[0].shape[2]
    axes = right.subplots(len(maps), len(widths), width_ratios=widths)
    for row, layer, text in zip(axes, maps, texts, strict=True):
        row[0].text(0, 0.5, textwrap.fill(text, 26), fontsize=12, va="center")
        for ax, feature_map in zip(row[1:], np.moveaxis(layer, 2, 0), strict=True):
            ax.imshow(feature_map, cmap="magma")
    for ax in figure.axes:
        ax.axis("off")
    return figure


def _grid(captions):
    """Returns a figure and its axes, one for each caption."""
    captions = [wrap(caption, 25) for caption in captions]
    columns = min(_COLUMNS, len(captions))
    rows = math.ceil(len(captions) / columns)
    # A line of a caption is 0.2 inches high.
    height = _WIDTH + 0.2 * max(caption.count("\n") + 1 for caption in captions)
    figure = plt.figure(figsize=(_WIDTH * columns, height * rows + 0.5), layout="compressed")
    axes = [figure.add_subplot(rows, columns, place, title=caption) for place, caption in enumerate(captions, start=1)]
    return figure, axes


def _draw_image(ax, image):
    ax.imshow(image, cmap="gray", vmin=0, vmax=255)
    ax.axis("off")
