"""Builds, opens and applies the CNNs.

Every model takes raw 8-bit images. Preprocessing is part of the model, so that no caller can get it wrong.

- `networks`: builds the baseline and the pretrained networks.
- `ensemble`: joins several trained networks into one model.
- `trained`: opens models, describes them, predicts.
"""

from cxr_utils.models.ensemble import join_members, split_members
from cxr_utils.models.networks import build_baseline, build_pretrained, weights_digest
from cxr_utils.models.trained import describe, facts, load_model, open_model, predict, predict_batches

__all__ = [
    "build_baseline",
    "build_pretrained",
    "describe",
    "facts",
    "join_members",
    "load_model",
    "open_model",
    "predict",
    "predict_batches",
    "split_members",
    "weights_digest",
]
