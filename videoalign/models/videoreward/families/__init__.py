"""The kinds of backbone that a reward can have, one file each."""

from __future__ import annotations

from videoalign.errors import ModelError
from videoalign.models.videoreward.families.family import POSITIONS, Family
from videoalign.models.videoreward.families.qwen2_5_vl import QWEN2_5_VL
from videoalign.models.videoreward.families.qwen2_vl import QWEN2_VL
from videoalign.models.videoreward.families.qwen3_vl import QWEN3_VL

FAMILIES = {family.kind: family for family in (QWEN2_VL, QWEN2_5_VL, QWEN3_VL)}
"""By ``model_type``."""


def find_family(kind: object, where: object = "backbone") -> Family:
    """The family of a ``model_type``.

    Args:
        kind: of the config.
        where: folder or name that the error tells.

    Raises:
        ModelError: there is none.
    """
    if kind not in FAMILIES:
        raise ModelError(f"{where}: it is a '{kind}' model; wanted one of {', '.join(FAMILIES)}.")
    return FAMILIES[str(kind)]


__all__ = ["FAMILIES", "POSITIONS", "Family", "find_family"]
