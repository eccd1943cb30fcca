"""What a run writes for its readers: result files, model card, comparison with published results, and slides.

- `results`: the tables of `test_results/`.
- `provenance`: which model and which split these files were computed from.
- `inference_settings`: thresholds and calibration, stored next to a model.
- `model_card`: a summary of a model and its results, in Markdown.
- `published`: mean AUROC reported by others, by split.
- `slides`: the list of slides, from the files of a run.
- `slides_html`, `slides_pptx`: write them as one HTML file and as a PowerPoint file.
"""

from cxr_utils.reports.inference_settings import load_inference_settings, save_inference_settings
from cxr_utils.reports.model_card import auroc_columns, operating_columns, per_image_columns, write_model_card
from cxr_utils.reports.provenance import load_training_log, start_comparison, start_results
from cxr_utils.reports.published import SPLITS, describe_published, published_table
from cxr_utils.reports.results import (
    describe_seeds,
    load_auroc,
    load_means,
    load_predictions,
    load_table,
    missing_files,
    save_auroc,
    save_predictions,
    save_table,
)
from cxr_utils.reports.slides import Slide, build_slides, write_slides

__all__ = [
    "SPLITS",
    "Slide",
    "auroc_columns",
    "build_slides",
    "describe_published",
    "describe_seeds",
    "load_auroc",
    "load_inference_settings",
    "load_means",
    "load_predictions",
    "load_table",
    "load_training_log",
    "missing_files",
    "operating_columns",
    "per_image_columns",
    "published_table",
    "save_auroc",
    "save_inference_settings",
    "save_predictions",
    "save_table",
    "start_comparison",
    "start_results",
    "write_model_card",
    "write_slides",
]
