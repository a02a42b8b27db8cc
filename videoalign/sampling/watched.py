"""A sampling that somebody watches from step to step and may change: a scheduler around the model's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from videoalign.contracts.generator import SchedulerWrapper
from videoalign.flow.condition import Condition
from videoalign.flow.path import expand_time
from videoalign.sampling.guided import GuidedScheduler


@dataclass(frozen=True)
class StepTaken:
    """A step that a scheduler took; latents (B, C, F, H, W), times (B,)."""

    scheduler: Any
    """That took it."""
    number: int
    """Of the step, from 1."""
    x_t: Tensor
    """Latents before it."""
    t: Tensor
    """Their times."""
    velocity: Tensor
    """At them, as the project has it."""
    moved: Tensor
    """Latents after it."""
    t_next: Tensor
    """Their times."""
    condition: Condition
    """Of the clips."""

    @property
    def share(self) -> float:
        """Of the schedule that is done now, above 0; 1 after the last step."""
        return self.number / len(self.scheduler.timesteps)

    @property
    def between_steps(self) -> bool:
        """Whether the scheduler is not in the middle of a step that takes two evaluations."""
        return bool(getattr(self.scheduler, "state_in_first_order", True))

    def rearrange(self, parents: Tensor, change: Tensor) -> None:
        """Gives each clip the past of another, its parent, in what the scheduler keeps of earlier steps.

        Args:
            parents: (B,).
            change: (B, C, F, H, W), added to the noise of the clips, so t times it to latents at t.
        """

        def of_parents(value: Any) -> Any:
            if isinstance(value, list):
                return [of_parents(one) for one in value]
            same = isinstance(value, Tensor) and value.shape == self.x_t.shape
            return value[parents.to(value.device)] if same else value

        for name, value in vars(self.scheduler).items():
            kept = of_parents(value)
            if name == "last_sample" and isinstance(kept, Tensor):
                kept = kept + expand_time(self.t, change).to(kept) * change.to(kept)
            if kept is not value:
                setattr(self.scheduler, name, kept)


class WatchedScheduler(GuidedScheduler):
    """A scheduler whose steps are shown to somebody, who may give back other latents; see `GuidedScheduler`."""

    def __init__(self, scheduler: Any, after: Callable[[StepTaken], Tensor], condition: Condition) -> None:
        """
        Args:
            scheduler: see `GuidedScheduler`.
            after: is shown each step and returns the latents to go on from.
            condition: of the samples to come, a row each.

        Raises:
            ModelError: the scheduler is not a flow-matching one.
        """
        super().__init__(scheduler, _Unguided(), condition)
        self.__dict__.update(_after=after, _number=0)

    def step(self, model_output: Tensor, timestep: float | Tensor, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        """See `GuidedScheduler.step`."""
        t, velocity = self._times(timestep, sample), -model_output if self._inverted else model_output
        out = super().step(model_output, timestep, sample, *args, **kwargs)
        self.__dict__["_number"] += 1
        condition = self._condition.to(sample.device).expand(len(sample))
        states = sample.float(), t, velocity.float(), out[0].float(), self._times(timestep, sample)
        moved = self._after(StepTaken(self._inner, self._number, *states, condition)).to(out[0].dtype)
        return (moved, *out[1:]) if isinstance(out, tuple) else type(out)(prev_sample=moved)


class _Unguided:
    def adjust(self, velocity: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return velocity


def wrapper(after: Callable[[StepTaken], Tensor]) -> SchedulerWrapper:
    """What `Sampler.latents` takes to show its steps to ``after``."""
    return lambda scheduler, condition: WatchedScheduler(scheduler, after, condition)
