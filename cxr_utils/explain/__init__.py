"""What a model makes of an image: layer activations and heat maps."""

from cxr_utils.explain.heat_maps import grad_cam
from cxr_utils.explain.layers import activations, most_variable

__all__ = ["activations", "grad_cam", "most_variable"]
