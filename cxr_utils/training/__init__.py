"""Training a model: augmented batches, callbacks, saved artifacts, resuming, devices."""

from cxr_utils.training.artifacts import check_split, keep_best, save_summary
from cxr_utils.training.batches import XrayGenerator
from cxr_utils.training.callbacks import build_callbacks
from cxr_utils.training.devices import configure_devices, leave_hosts

__all__ = [
    "XrayGenerator",
    "build_callbacks",
    "check_split",
    "configure_devices",
    "keep_best",
    "leave_hosts",
    "save_summary",
]
