"""Shared code of the seven notebooks: from NIH's ChestX-ray14 to trained and evaluated classifiers of 14 findings.

The predictions are a pre-diagnosis aid, never a diagnosis. In the order of imports:

- `config`: the 14 findings in order, names of files, the root folder, the seed, environment variables.
- `download`: from a release to verified images on disk.
- `phantom`: draws the synthetic release.
- `data`: from the label table and PNG files to splits and arrays.
- `evaluation`: from arrays to metrics, intervals and comparisons.
- `models`: builds and opens models, predicts.
- `training`: trains a model.
- `explain`: feature maps and heat maps.
- `plots`: draws, shows and saves figures.
- `reports`: result tables, model card, slides.
- `inference`: applies a trained model to a user's own images.
- `parameters`: checks the parameters of the notebooks.
- `run`: runs all notebooks.
"""

from cxr_utils._startup import without_startup_messages

__all__ = ["without_startup_messages"]
