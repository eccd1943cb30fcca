"""Shared code of the seven notebooks: from NIH's ChestX-ray14 to trained and evaluated classifiers of 14 findings.

The predictions are a pre-diagnosis aid, never a diagnosis.
"""

from cxr_utils._startup import without_startup_messages

__all__ = ["without_startup_messages"]
