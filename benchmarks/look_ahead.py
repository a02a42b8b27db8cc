"""Steering by a reward of clips: its gradient at the clip that a velocity points to, through the autoencoder.

One-step prediction, as FreeDoM has it: x_data = x_t - t v, decoded and scored; the gradient does not go through the
network. To compare with; a noisy-latent reward decodes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from videoalign.contracts.generator import Generator
from videoalign.contracts.records import Asked, text_of
from videoalign.flow.condition import Condition
from videoalign.flow.path import data_ahead
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.processing import Patches, clip_timing, patchify
from videoalign.sampling.guided import GuidedScheduler, RewardGuide


@dataclass(frozen=True)
class LookAhead:
    """A `Steering` by a VideoReward whose clips have the size that it reads."""

    reward: VideoReward
    weights: Mapping[str, float]
    strength: float
    normalised: bool = False
    max_ratio: float | None = None

    name, searches = "look-ahead", False

    def latents(
        self, generator: Generator, prompts: Sequence[Asked], seeds: Sequence[int], *, num_steps: int | None = None
    ) -> Tensor:
        """See `Steering`."""
        ahead = _Ahead(generator, self.reward, [text_of(prompt) for prompt in prompts])
        how: dict[str, Any] = {"normalised": self.normalised, "max_ratio": self.max_ratio}
        guide = _Guide(ahead, self.weights, self.strength, **how)
        return generator.sampler.latents(
            prompts, seeds, num_steps=num_steps, wrap_scheduler=lambda own, told: GuidedScheduler(own, guide, told)
        )


class _Guide(RewardGuide):
    """Shows the reward the velocity, after which the formulas are those of every guide."""

    def adjust(self, velocity: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        self.reward.shown(velocity.detach().float())  # type: ignore[attr-defined]
        return super().adjust(velocity, x_t, t, condition)


class _Ahead:
    """Scores the clip that lies ahead of noisy latents, in raw units."""

    def __init__(self, generator: Any, reward: VideoReward, texts: Sequence[str]) -> None:
        self.codec, self.model, self.texts = generator.codec, reward.eval().requires_grad_(False), texts
        self.dimensions = reward.dimensions

    def shown(self, velocity: Tensor) -> None:
        """The velocity of all clips; whose scores are then asked for, some rows after the other."""
        self.rows = iter(zip(velocity, self.texts, strict=True))

    def score(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """(B, D), differentiable in the latents."""
        self.codec.tiled_vae().requires_grad_(False)
        velocities, texts = zip(*islice(self.rows, len(x_t)), strict=True)
        ahead = data_ahead(x_t, torch.stack(velocities), t)
        pixels = self.codec.decoded(ahead, [0] * len(x_t))  # (B, 3, F, H, W) in [-1, 1]
        frames = 255 * (pixels / 2 + 0.5).clamp(0, 1).transpose(1, 2)
        processor, num_frames = self.model.processor, frames.shape[1]
        chosen = processor.indices(num_frames, self.codec.fps)
        timing = clip_timing(chosen, num_frames, self.codec.fps, processor.temporal)
        cut = [patchify(clip, processor.patch, processor.merge, processor.temporal) for clip in frames[:, chosen]]
        inputs = self.model.inputs([Patches(v.detach().byte(), grid, timing) for v, grid in cut], texts)
        seen = self._normalised(torch.cat([values for values, _ in cut]))
        return self.model(replace(inputs, pixels=seen))

    def _normalised(self, levels: Tensor) -> Tensor:
        """As `VideoProcessor.normalise`, which writes over what it is given and so knows no gradient."""
        dark, bright = (
            self.model.processor.normalise(torch.full_like(levels[:1], level).detach()) for level in (0.0, 255.0)
        )
        return dark + levels / 255 * (bright - dark)
