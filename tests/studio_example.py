"""A studio of a few thousand weights, its parts as the commands would leave them, and a judge that costs nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videoalign.contracts.video import Video
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.models.lora import LoraSettings, add_lora, save_adapter
from videoalign.models.small_wan import TINY_SETTINGS, TINY_SIZES, small_wan_generator
from videoalign.video.judge import FrameJudge
from videoalign.web.studio.opening import Opened, Sources, open_sources
from videoalign.web.studio.settings import StudioSettings

PROMPT = "a red circle moves left"
OTHER = "a blue square moves right"
PLACE = {"device": "cpu", "dtype": "float32", "offload": "none"}


class Brightness(FrameJudge):
    """VQ is how bright a clip is, MQ how much it changes from frame to frame."""

    name = "brightness"
    dimensions = ("VQ", "MQ")

    def score_videos(self, videos: Sequence[Video], prompts: Sequence[str]) -> np.ndarray:
        frames = [video.frames.astype(np.float64) / 255 for video in videos]
        return np.array([[one.mean(), np.abs(np.diff(one, axis=0)).mean()] for one in frames]).reshape(-1, 2)


def write_parts(folder: Path, **settings: Any) -> Sources:
    """A generator in ``model``, a guide that pulls hard in ``guide``, an adapter in ``bright``."""
    sizes = TINY_SETTINGS.model_copy(update={"num_steps": 3, "guidance_scale": 1.0, **settings})
    generator = small_wan_generator([PROMPT, OTHER], TINY_SIZES, settings=sizes)
    generator.save_pretrained(folder / "model")
    transformer = generator.network.transformers["transformer"]
    reward = LatentRewardModel.from_transformer(transformer, ("VQ", "MQ"), num_blocks=1, base="model")
    with torch.no_grad():
        reward.head_weight.mul_(300)
    reward.save_pretrained(folder / "guide")
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in add_lora(transformer, LoraSettings(rank=2)).values():
            value.copy_(torch.randn(value.shape, generator=draws))
    save_adapter(transformer, folder / "bright", generator.identity())
    return Sources(model=str(folder / "model"), guide=folder / "guide", adapters={"bright": folder / "bright"})


def open_example(sources: Sources, **settings: Any) -> Opened:
    """The parts opened, with the judge."""
    opened = open_sources(sources, StudioSettings(**settings), PLACE)
    return dataclasses.replace(opened, judge=Brightness(), prompts=(PROMPT, OTHER))
