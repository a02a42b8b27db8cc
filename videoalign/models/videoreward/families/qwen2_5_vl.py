"""Qwen2.5-VL: most layers of the tower attend within windows; the rotary time axis runs with the clip's seconds."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLModel

from videoalign.errors import VideoError
from videoalign.models.videoreward.families.family import Family


def by_seconds(seconds_per_patch: Tensor | None) -> dict[str, Any]:
    """Time runs with the clip.

    Raises:
        VideoError: how long the clips last is not known.
    """
    if seconds_per_patch is None:
        raise VideoError("clip: when its frames are shown is not known; read it whole, or give read_frames its timing.")
    return {"second_per_grid_ts": seconds_per_patch}


QWEN2_5_VL = Family(
    kind="qwen2_5_vl",
    title="Qwen2.5-VL",
    whole=Qwen2_5_VLForConditionalGeneration,
    bare=Qwen2_5_VLModel,
    positions="mrope",
    system="You are a helpful assistant.",
    pace=by_seconds,
    shortest_patch=lambda vision: 1 / vision.tokens_per_second,
)
