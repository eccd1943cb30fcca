"""Trains a model: augmented batches, callbacks, saved files, resuming and devices.

- `artifacts`: saves models and summaries, keeps the best one, and checks which split a model was trained on.
- `batches`: makes augmented batches from the image array.
- `callbacks`: computes the validation scores, saves the best weights and writes the training log.
- `devices`: configures the number format, GPUs and hosts.
- `resume`: continues an interrupted training run.
"""

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
