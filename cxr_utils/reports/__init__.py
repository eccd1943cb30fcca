"""What a run writes for readers: result files, model card, published results, slides."""

from cxr_utils.reports.inference_settings import load_inference_settings, save_inference_settings
from cxr_utils.reports.model_card import auroc_columns, operating_columns, write_model_card
from cxr_utils.reports.published import SPLITS, published_table
from cxr_utils.reports.results import (
    load_auroc,
    load_means,
    load_predictions,
    missing,
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
    "missing",
    "operating_columns",
    "published_table",
    "save_auroc",
    "save_inference_settings",
    "save_predictions",
    "save_table",
    "write_model_card",
    "write_slides",
]
