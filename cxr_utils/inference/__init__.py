"""A trained model applied to a user's own images."""

from cxr_utils.inference.predict import NO_DIAGNOSIS, describe_prediction, predict_files, predict_image

__all__ = ["NO_DIAGNOSIS", "describe_prediction", "predict_files", "predict_image"]
