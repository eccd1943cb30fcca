"""From NIH's ChestX-ray14 to tested models of 14 findings: what more than one of the seven notebooks needs.

A pre-diagnosis aid, never a diagnosis.
"""

from cxr_utils._startup import without_startup_messages

__all__ = ["without_startup_messages"]
