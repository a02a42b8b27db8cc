"""Qwen2-VL: every frame attends to itself; the clip is one run of places; time counts temporal patches.

The released VideoReward is one, trained with positions 0..L-1 on all axes, so new ones start with these too.
"""

from __future__ import annotations

from transformers import Qwen2VLForConditionalGeneration, Qwen2VLModel

from videoalign.models.videoreward.families.family import Family

QWEN2_VL = Family(
    kind="qwen2_vl",
    title="Qwen2-VL",
    whole=Qwen2VLForConditionalGeneration,
    bare=Qwen2VLModel,
    positions="plain",
    system="You are a helpful assistant.",
)
