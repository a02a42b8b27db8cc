"""From clips in any form to scores: what is read of them, and what goes through the model together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from videoalign.errors import ModelError, VideoAlignError
from videoalign.models.videoreward.processing import Patches, VideoProcessor
from videoalign.models.videoreward.prompt import Chat
from videoalign.video.limits import UNLIMITED, ClipLimits
from videoalign.video.sources import VideoSource, read_source

BATCH_SIZE = 4
"""Clips in one forward pass; more only wait for each other while they are decoded."""
MAX_PATCHES = 20_000
"""Most patches in one forward pass, where more than one clip holds them; four clips of 448 x 448 at 10 frames."""
MAX_PATCHES_CPU = 5_000
"""The same on a processor, where a pass that does not stay in its caches is slower than two."""


class ClipReading(Protocol):
    """What a reward reads clips with."""

    @property
    def processor(self) -> VideoProcessor:
        """Chooses, resizes and cuts frames."""
        ...

    def check_prompt(self, prompt: str) -> None:
        """Raises `DataError` for a prompt that cannot be read."""
        ...


class PatchScorer(ClipReading, Protocol):
    """What a reward scores them with."""

    def score_patches(self, clips: Sequence[Patches], prompts: Sequence[str], *, batch_size: int = ...) -> np.ndarray:
        """Raw scores, float64 (N, D)."""
        ...


def read_clip(
    reward: ClipReading, video: VideoSource, prompt: str, *, threads: int = 1, limits: ClipLimits = UNLIMITED
) -> Patches:
    """What the reward reads of a clip.

    Raises:
        LimitError: the clip is over the limits.
        VideoError: see `videoalign.video.sources.read_source`; also a clip of fewer than two frames or too narrow.
        DataError: a prompt that is empty or holds a special token.
    """
    reward.check_prompt(prompt)
    return reward.processor.read_chosen(
        lambda choose: read_source(video, choose, threads=threads, limits=limits).frames,
        str(video) if isinstance(video, str | Path) else "clip",
    )


@dataclass(frozen=True)
class PatchReader:
    """Reads clips for a reward, without its weights; see `contracts.reward.RewardModel.reader`."""

    processor: VideoProcessor
    chat: Chat

    def __call__(self, clip: tuple[VideoSource, str]) -> tuple[Patches, str]:
        """What the reward reads of a (video, prompt); see `read_clip` for the errors."""
        video, prompt = clip
        return read_clip(self, video, prompt), prompt

    def check_prompt(self, prompt: str) -> None:
        """See `Chat.check_prompt`."""
        self.chat.check_prompt(prompt)


def score_read(
    reward: PatchScorer, read: Sequence[tuple[Patches, str] | VideoAlignError]
) -> list[np.ndarray | VideoAlignError]:
    """See `contracts.reward.RewardModel.score_read`."""
    whole = [one for one in read if not isinstance(one, VideoAlignError)]
    scores = reward.score_patches([clip for clip, _ in whole], [text for _, text in whole], batch_size=len(read))
    rows = iter(scores)
    return [one if isinstance(one, VideoAlignError) else finite(next(rows)) for one in read]


def batches(clips: Sequence[Patches], batch_size: int, device: torch.device) -> Iterator[slice]:
    """Neighbours that go through the model together: at most ``batch_size`` clips, and not too many patches."""
    most = MAX_PATCHES_CPU if device.type == "cpu" else MAX_PATCHES
    start = patches = 0
    for index, clip in enumerate(clips):
        patches += len(clip.values)
        if index > start and (index - start == batch_size or patches > most):
            yield slice(start, index)
            start, patches = index, len(clip.values)
    if clips:
        yield slice(start, len(clips))


def finite(row: np.ndarray) -> np.ndarray | ModelError:
    """Raw scores (D,), or what is wrong with them."""
    if np.isfinite(row).all():
        return row
    return ModelError(f"clip: the model gave {row.tolist()}, wanted finite scores; load it in float32.")
