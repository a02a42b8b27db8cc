"""Whether a sampler takes enough steps to follow its model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from videoalign.contracts.generator import Generator, Steering
from videoalign.sampling.generate import ClipPlan

NUM_CHECKED = 2
"""Clips that are made a second time."""

COARSE = 0.06
"""Share of the clips' own deviation by which they may differ from those of twice the steps: twice what the sprite base
shows with the scheduler and steps that it is made for, see docs/guides/aligning.md."""


def step_error(latents: Tensor, finer: Tensor) -> float:
    """How far clips differ from those of more steps: the root of the mean square difference over the deviation of
    ``finer`` within its clips.

    Args:
        latents: (N, C, F, H, W).
        finer: from the same noise in more steps, same shape.

    Returns:
        0 for equal clips; about 1.4 for clips that have nothing to do with each other.
    """
    spread = finer.flatten(1).var(1, correction=0).mean()
    return float(((latents - finer).square().mean() / spread).sqrt())


class StepCheck:
    """Makes the first clips of a run again in twice the steps, and says so where they come out as others."""

    def __init__(
        self,
        generator: Generator,
        steering: Steering | None,
        on_note: Callable[[str], None],
        *,
        wanted: bool,
    ) -> None:
        """A check to come.

        Args:
            generator: makes the clips.
            steering: as they are made with it; none that searches.
            on_note: called with one line where the steps are too coarse.
            wanted: False for no check at all.
        """
        self.generator, self.steering, self.on_note, self.wanted = generator, steering, on_note, wanted
        self.seen: list[tuple[ClipPlan, Tensor]] = []

    def after(self, plan: ClipPlan, latents: Tensor) -> None:
        """Takes in a clip with its latents (C, F, H, W); once there are `NUM_CHECKED` they are looked at."""
        is_beside = not self.seen or plan.media == self.seen[0][0].media  # they are made again in one call
        if self.wanted and is_beside:
            self.seen.append((plan, latents))
            if len(self.seen) == NUM_CHECKED:
                self.finish()

    def finish(self) -> None:
        """Looks at what there is, unless that was done."""
        if not self.wanted or not self.seen:
            return
        self.wanted = False
        steps = self.generator.sampler.num_steps
        asked, seeds = [plan.asked for plan, _ in self.seen], [plan.seed for plan, _ in self.seen]
        if self.steering is None:
            finer = self.generator.sampler.latents(asked, seeds, num_steps=2 * steps)
        else:
            finer = self.steering.latents(self.generator, asked, seeds, num_steps=2 * steps)
        error = step_error(torch.stack([latents for _, latents in self.seen]).to(finer), finer)
        if not error <= COARSE:
            self.on_note(self._note(steps, error))

    def _note(self, steps: int, error: float) -> str:
        return (
            f"num_steps={steps} of {self.generator.sampler.scheduler_name} is too coarse for '{self.generator.name}': "
            f"{len(self.seen)} clips differ from the same in {2 * steps} steps by {error:.2f} of their own deviation, "
            f"wanted at most {COARSE}; what is trained on them learns the sampler's error. Set num_steps={2 * steps} "
            "or more, give the model the scheduler that it was made for, or, where few steps are its way, set "
            "check_steps=false."
        )
