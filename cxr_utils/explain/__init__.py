"""Shows what a model computes from an image.

- `heat_maps`: heat maps of a finding by LayerCAM.
- `layers`: activations of the layers.
"""

from cxr_utils.explain.heat_maps import layer_cam
from cxr_utils.explain.layers import activations, most_variable

__all__ = ["activations", "layer_cam", "most_variable"]
