"""What a clip looks like while it is sampled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from videoalign.contracts.reward import Guide
from videoalign.flow.condition import Condition
from videoalign.flow.path import data_from_velocity
from videoalign.sampling.guided import GuidedScheduler


@dataclass(frozen=True, kw_only=True)
class Glance:
    """Clips at one step of their sampling."""

    x_t: Tensor
    """Noisy latents, (B, C, F, H, W)."""
    t: Tensor
    """Times in [0, 1], (B,)."""
    velocity: Tensor
    """What the step is taken with, shape of ``x_t``."""
    condition: Condition
    """Of the prompts, B rows."""

    def expected(self) -> Tensor:
        """The latents that the step leads to, were the velocity right to the end, float32, shape of ``x_t``."""
        return data_from_velocity(self.velocity.float(), self.x_t.float(), self.t.float())


class Watching:
    """A `contracts.reward.Guide` that does what another does, or nothing, and shows each step to somebody.

    Whatever ``on_step`` raises ends the sampling.
    """

    def __init__(self, guide: Guide | None, on_step: Callable[[Glance], None]) -> None:
        """
        Args:
            guide: what changes the velocities; None leaves them bit for bit.
            on_step: called once a step, before it is taken.
        """
        self.guide, self.on_step = guide, on_step

    def adjust(self, velocity: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """See `Guide.adjust`."""
        if self.guide is not None:
            velocity = self.guide.adjust(velocity, x_t, t, condition)
        self.on_step(Glance(x_t=x_t, t=t, velocity=velocity, condition=condition))
        return velocity

    def wrap(self, scheduler: object, condition: Condition) -> GuidedScheduler:
        """As `Sampler.latents` takes it for ``wrap_scheduler``."""
        return GuidedScheduler(scheduler, self, condition)
