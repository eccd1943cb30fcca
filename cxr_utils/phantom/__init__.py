"""Draws the synthetic release: chest X-rays of no patient in NIH's layout, so that everything runs without a download."""

from cxr_utils.phantom.release import NOTE, draw_release

__all__ = ["NOTE", "draw_release"]
