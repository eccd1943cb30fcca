"""Applies a trained model to a user's own images.

- `predict`: predicts images and draws heat maps, for the notebooks and for `cxr predict`.
"""

from cxr_utils.inference.predict import DISCLAIMER, describe_prediction, predict_files, predict_image

__all__ = ["DISCLAIMER", "describe_prediction", "predict_files", "predict_image"]
