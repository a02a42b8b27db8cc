"""What sets the kinds of backbone apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from videoalign.models.videoreward.processing import PIXEL_MEAN, PIXEL_STD, Patches, ReadingLimits, VideoProcessor

POSITIONS = ("plain", "mrope")
"""``plain``: 0..L-1 on all three rotary axes, as the released VideoReward; ``mrope``: time, height, width apart, as the
backbone itself was trained."""

VISION_START, VISION_END, VIDEO_TOKEN = "<|vision_start|>", "<|vision_end|>", "<|video_pad|>"

MIN_TOKENS, MAX_TOKENS = 128, 256
"""Places in the language model that a temporal patch takes by default."""


def one_run(clip: Patches) -> str:
    """The whole clip as one run of video places; the template marks where it starts and ends."""
    return VIDEO_TOKEN


def evenly(seconds_per_patch: Tensor | None) -> dict[str, Any]:
    """Time counts temporal patches, however long they last."""
    return {}


@dataclass(frozen=True)
class Family:
    """One kind of backbone; `families.FAMILIES` lists them by ``model_type``."""

    kind: str
    """``model_type`` of its config."""
    title: str
    """What people call it."""
    whole: type[PreTrainedModel]
    """With the language-model head, as it is published."""
    bare: type[PreTrainedModel]
    """Without it, as a reward keeps it."""
    positions: str
    """Those of a new reward, one of `POSITIONS`."""
    system: str
    """The system turn that it was tuned with, empty for none."""
    mean: tuple[float, float, float] = PIXEL_MEAN
    std: tuple[float, float, float] = PIXEL_STD
    """Of sRGB in [0, 1], which the tower expects to be shifted and scaled by."""
    clip_text: Callable[[Patches], str] = field(default=one_run)
    """What a clip becomes in the chat turn, with one video token for each run of places."""
    pace: Callable[[Tensor | None], dict[str, Any]] = field(default=evenly)
    """What ``get_rope_index`` needs beside the grids, from the seconds (B,) that a temporal patch stands for."""
    shortest_patch: Callable[[Any], float] = field(default=lambda vision: 0.0)
    """Seconds; shorter temporal patches of a tower with the given config share a place in time."""

    def processor(self, vision: Any, limits: ReadingLimits | None = None) -> VideoProcessor:
        """Cuts clips for a tower with the config ``vision``.

        By default a temporal patch takes 128 to 256 places: up to 448 x 448 pixels of Qwen2-VL, 512 x 512 of Qwen3-VL.
        """
        area = (vision.patch_size * vision.spatial_merge_size) ** 2
        return VideoProcessor(
            limits or ReadingLimits(min_frame_pixels=MIN_TOKENS * area, max_frame_pixels=MAX_TOKENS * area),
            patch=vision.patch_size,
            merge=vision.spatial_merge_size,
            temporal=vision.temporal_patch_size,
            mean=self.mean,
            std=self.std,
        )
