"""What a run writes for its readers: result files, model card, comparison with published results, and slides.

- `results`: the tables of `test_results/`.
- `inference_settings`: thresholds and calibration, stored in the file of a model.
- `model_card`: a summary of a model and its results, in Markdown.
- `published`: mean AUROC reported by others, by split.
- `slides_intro`: text of the slides on the question, the data, the networks, the limits and the next steps.
- `slides_results`: text of the slides on the results.
- `slides_html`: writes the slides as one HTML file and calls `slides_pptx`.
- `slides_pptx`: writes the slides as a PowerPoint file.
"""

from cxr_utils.reports import slides_intro, slides_results
from cxr_utils.reports.inference_settings import load_inference_settings, save_inference_settings
from cxr_utils.reports.model_card import auroc_columns, operating_columns, write_model_card
from cxr_utils.reports.published import SPLITS, published_table
from cxr_utils.reports.results import (
    load_auroc,
    load_means,
    load_predictions,
    missing_files,
    save_auroc,
    save_predictions,
    save_table,
)
from cxr_utils.reports.slides_html import SlideText, write_slides

__all__ = [
    "SPLITS",
    "SlideText",
    "auroc_columns",
    "load_auroc",
    "load_inference_settings",
    "load_means",
    "load_predictions",
    "missing_files",
    "operating_columns",
    "published_table",
    "save_auroc",
    "save_inference_settings",
    "save_predictions",
    "save_table",
    "slides_intro",
    "slides_results",
    "write_model_card",
    "write_slides",
]
