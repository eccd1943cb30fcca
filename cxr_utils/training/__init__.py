"""Trains a model: augmented batches, callbacks, saved files, resuming and devices.

- `artifacts`: saves models, logs and summaries, keeps the best model, checks its split, and keeps two runs apart.
- `batches`: makes augmented batches from the image array.
- `callbacks`: computes the validation scores and saves the best weights.
- `plan`: the learning rate, the names of the members of a model, and the cost of a run.
- `devices`: configures the number format, GPUs and hosts.
- `resume`: identifies a training run, writes its log, and continues it after an interruption.
"""

from cxr_utils.training.artifacts import check_split, keep_best, lock, save_summary
from cxr_utils.training.batches import XrayGenerator
from cxr_utils.training.callbacks import build_callbacks
from cxr_utils.training.devices import configure_devices, leave_hosts
from cxr_utils.training.plan import describe_cost, learning_rate, member_names

__all__ = [
    "XrayGenerator",
    "build_callbacks",
    "check_split",
    "configure_devices",
    "describe_cost",
    "keep_best",
    "learning_rate",
    "leave_hosts",
    "lock",
    "member_names",
    "save_summary",
]
