"""Draws the phantom: synthetic chest X-rays in the layout of NIH's release, so that everything runs without a download.

- `release`: plans the images, draws them into archives and writes the tables.
- `image`: draws one image with its boxes.
- `findings`: draws the visible signs of the findings.
- `scene`: the lungs, their air and their vessels, which the signs are drawn on.
- `anatomy`: draws the healthy chest.
- `canvas`: places shapes on an image, blurs them and simulates the exposure.
"""

from cxr_utils.phantom.image import draw_image
from cxr_utils.phantom.release import draw_release

__all__ = ["draw_image", "draw_release"]
