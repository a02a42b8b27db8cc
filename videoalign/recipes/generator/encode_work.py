"""What is done to a batch in `encode`, wherever its model stands: prompts, clips, and pairs on the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from videoalign.contracts.engine import raise_wrong
from videoalign.contracts.generator import Generator
from videoalign.contracts.records import Asked, Clip
from videoalign.contracts.video import Video
from videoalign.distributed.memory import memory_told
from videoalign.errors import VideoAlignError
from videoalign.flow.condition import Condition
from videoalign.recipes.generator.clip_fit import ClipFit
from videoalign.training.objectives.dpo import reference_errors
from videoalign.training.objectives.flow import PairExample, TimeSettings


@dataclass(frozen=True)
class EncodePrompts:
    """Prompts to conditions, a row each."""

    generator: Generator

    def __call__(self, prompts: Sequence[Asked]) -> list[Condition]:
        return self.generator.conditioner.encode(prompts).split()


@dataclass(frozen=True)
class WaitingClip:
    """A clip to be encoded, and where its latents go."""

    clip: Clip
    source: str | Path
    key: str
    group: str
    """Of the store."""
    fit: ClipFit

    def read(self) -> tuple[ClipFit, Video]:
        """Its frames as the generator works in them."""
        return self.fit, self.fit.load(self.source, self.clip)


@dataclass(frozen=True)
class EncodeClips:
    """Clips of one shape to latents, or what was wrong with each."""

    generator: Generator

    def __call__(self, clips: Sequence[tuple[ClipFit, Video] | VideoAlignError]) -> list[Tensor | VideoAlignError]:
        whole = [one for one in clips if not isinstance(one, VideoAlignError)]
        if not whole:
            return [one for one in clips if isinstance(one, VideoAlignError)]
        shape = dict(zip(("num_frames", "height", "width"), whole[0][0].shape, strict=True))
        codec = self.generator.changed(shape).codec
        with memory_told(f"{whole[0][0].group}batch_size", len(whole)):
            rows = iter(codec.encode([video for _, video in whole]).cpu())
        return [one if isinstance(one, VideoAlignError) else next(rows).clone() for one in clips]


@dataclass(frozen=True)
class MakeReference:
    """Pairs with the seed of their draws to errors (P, K, 2, 1 + F): winner and loser, whole and by latent frame."""

    generator: Generator
    num_draws: int
    times: TimeSettings
    dtype: str

    def __call__(self, pairs: Sequence[tuple[PairExample, int] | VideoAlignError]) -> Tensor:
        given = [raise_wrong(one) for one in pairs]
        network = self.generator.network
        with torch.autocast(network.device.type, torch.bfloat16, enabled=self.dtype == "bfloat16"):
            made = reference_errors(
                network,
                [example for example, _ in given],
                seeds=[seed for _, seed in given],
                num_draws=self.num_draws,
                times=self.times,
                batch_size=len(given),
                device=network.device,
            )
        whole = torch.stack([made.errors_win, made.errors_lose], dim=2)
        frames = torch.stack([made.frames_win, made.frames_lose], dim=2)
        return torch.cat([whole[..., None], frames], dim=3).cpu()
