"""Qwen3-VL: the time of each temporal patch is written before it, and features of several depths of the tower are added
in the first layers of the language model.

The clip stands in the turn as the family was trained: ``<0.5 seconds>``, then the patch's places between marks of their
own, patch by patch, without a pair of marks around the whole.
"""

from __future__ import annotations

from transformers import Qwen3VLForConditionalGeneration, Qwen3VLModel

from videoalign.errors import VideoError
from videoalign.models.videoreward.families.family import VIDEO_TOKEN, VISION_END, VISION_START, Family
from videoalign.models.videoreward.processing import Patches


def stamped(clip: Patches) -> str:
    """A run of places per temporal patch, its time in seconds before it.

    Raises:
        VideoError: when the frames are shown is not known.
    """
    if clip.timing is None:
        raise VideoError("clip: when its frames are shown is not known; read it whole, or give read_frames its timing.")
    return "".join(f"<{at:.1f} seconds>{VISION_START}{VIDEO_TOKEN}{VISION_END}" for at in clip.timing.middles)


QWEN3_VL = Family(
    kind="qwen3_vl",
    title="Qwen3-VL",
    whole=Qwen3VLForConditionalGeneration,
    bare=Qwen3VLModel,
    positions="mrope",
    system="",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    clip_text=stamped,
)
