"""Charts (plotly) and images (matplotlib): draw, show and save figures.

- `colors`: the colors of models, labels and groups.
- `charts`: bars, errors, training history and intervals.
- `panels`: ROC, reliability and decision curves, one panel for each finding.
- `images`: grids of X-rays, heat maps and feature maps.
- `show`: shows a figure or a table in a notebook; saves figures to `figs/`.
- `static`: draws a plotly chart with matplotlib, for viewers without JavaScript, for paper and for files.
- `supported`: which features of plotly it can draw; a chart with others is rejected.
"""

from cxr_utils.plots.charts import (
    auroc_intervals,
    error_chart,
    grouped_bars,
    horizontal_bars,
    interval_chart,
    subgroup_chart,
    training_history,
)
from cxr_utils.plots.colors import (
    BASELINE_COLOR,
    GROUP_COLORS,
    LABEL_COLOR,
    LABEL_COLOR_LIGHT,
    NEW_PATIENTS_COLOR,
    PRETRAINED_COLOR,
)
from cxr_utils.plots.images import heat_map, heat_map_grid, image_grid, layer_maps, prediction_caption, wrap
from cxr_utils.plots.panels import net_benefit_panels, reliability_panels, roc_panels
from cxr_utils.plots.show import show_chart, show_images, show_table

__all__ = [
    "BASELINE_COLOR",
    "GROUP_COLORS",
    "LABEL_COLOR",
    "LABEL_COLOR_LIGHT",
    "NEW_PATIENTS_COLOR",
    "PRETRAINED_COLOR",
    "auroc_intervals",
    "error_chart",
    "grouped_bars",
    "heat_map",
    "heat_map_grid",
    "horizontal_bars",
    "image_grid",
    "interval_chart",
    "layer_maps",
    "net_benefit_panels",
    "prediction_caption",
    "reliability_panels",
    "roc_panels",
    "show_chart",
    "show_images",
    "show_table",
    "subgroup_chart",
    "training_history",
    "wrap",
]
