"""What SFT, Flow-RWR and Flow-DPO share: examples in latents, draws of time and noise, the velocity error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from videoalign.config import Config
from videoalign.distributed.sharding import as_part_of
from videoalign.errors import ConfigError
from videoalign.flow.condition import Condition, join_conditions
from videoalign.flow.path import interpolate, velocity
from videoalign.flow.times import stratified, time_quantiles
from videoalign.losses.flow_matching import per_frame_mse, per_sample_mse, weighted_frames
from videoalign.randomness import Draws
from videoalign.training.objective import Loss, require_names

Velocity = Callable[[Tensor, Tensor, Condition], Tensor]
"""v at latents (B, C, F, H, W), times (B,) and conditions of B rows; a `contracts.generator.VelocityNet`."""


class TimeSettings(Config):
    """How training times are drawn."""

    law: Literal["uniform", "logit_normal"] = "uniform"
    """``uniform`` on (0, 1), or ``logit_normal``, the sigmoid of a standard normal, which prefers the middle."""
    shift: Annotated[float, Field(gt=0)] | Literal["model"] = 1.0
    """Sigma shift s t / (1 + (s - 1) t); above 1 it moves times towards noise. ``model`` takes the one that the model
    samples with."""
    stratified: bool = True
    """Spread the times of a whole step evenly over the law, one in each part of equal probability, however many batches
    and processes the step is cut into: less noise in the gradient. Off, each time is drawn on its own."""

    def of_model(self, shift: Callable[[], float]) -> TimeSettings:
        """These settings with a number for a shift that is the model's own, which ``shift`` tells when it is asked."""
        return self.model_copy(update={"shift": shift()}) if self.shift == "model" else self

    def from_uniform(self, u: Tensor) -> Tensor:
        """Times of this law from uniform numbers, float32 (B,), in (0, 1).

        Raises:
            ValueError: the shift is the model's own and no number yet; see `of_model`.
        """
        if self.shift == "model":
            raise ValueError("shift: 'model' is no number yet; say which with of_model")
        return time_quantiles(u, law=self.law, shift=self.shift)

    def quantiles(self, draws: Draws) -> Tensor:
        """Uniform numbers for `from_uniform`, one for each example of a batch, float32 (B,), in [0, 1)."""
        u = draws.uniform("time")
        return stratified(draws.strata("time"), u, draws.num) if self.stratified else u

    def draw(self, draws: Draws) -> Tensor:
        """A time for each example of a batch, float32 (B,), in (0, 1)."""
        return self.from_uniform(self.quantiles(draws))


@dataclass(frozen=True, eq=False)
class PairExample:
    """A preferred clip and another of the same prompt."""

    win: Tensor
    """Latents, float32 (C, F, H, W)."""
    lose: Tensor
    """Latents, same shape."""
    condition: Condition
    """Of their prompt, one row."""
    weight: float = 1.0
    """Weight of the pair in the loss; mean 1 over the data set."""
    preference: float = 1.0
    """Chance that ``win`` is the better one: 1, or 1/2 for a tie."""
    better: Mapping[str, int] = field(default_factory=dict)
    """By dimension: 1 where ``win`` is the better one there, -1 where ``lose`` is, 0 where neither."""
    reference: PairReference | None = None
    """Errors of the reference on fixed draws; None to run the reference during training."""


@dataclass(frozen=True, eq=False)
class PairReference:
    """K fixed draws of a pair, (K,) of each, or, stacked in a batch, (B, K)."""

    times: Tensor
    noise_seeds: Tensor
    errors_win: Tensor
    errors_lose: Tensor
    frames_win: Tensor
    """Error of each latent frame, (K, F), or, in a batch, (B, K, F)."""
    frames_lose: Tensor


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Pairs stacked."""

    win: Tensor
    """(B, C, F, H, W)."""
    lose: Tensor
    """(B, C, F, H, W)."""
    condition: Condition
    """B rows."""
    weight: Tensor
    """(B,)."""
    preference: Tensor
    """(B,)."""
    better: Mapping[str, Tensor]
    """By dimension, (B,); 0 also where it is not known."""
    reference: PairReference | None
    """All of its tensors (B, K)."""


@dataclass(frozen=True, eq=False)
class ClipExample:
    """A clip that counts for as much as its weight."""

    latents: Tensor
    """Float32 (C, F, H, W)."""
    condition: Condition
    """Of their prompt, one row."""
    weight: float = 1.0
    """Mean 1 over the data set."""


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """Clips stacked."""

    latents: Tensor
    """(B, C, F, H, W)."""
    condition: Condition
    """B rows."""
    weight: Tensor
    """(B,)."""


def collate_pairs(examples: Sequence[PairExample]) -> PairBatch:
    """One batch of pairs; with a reference only when every pair has one."""
    references = [example.reference for example in examples if example.reference is not None]
    return PairBatch(
        win=torch.stack([example.win for example in examples]),
        lose=torch.stack([example.lose for example in examples]),
        condition=join_conditions(example.condition for example in examples),
        weight=torch.tensor([example.weight for example in examples]),
        preference=torch.tensor([example.preference for example in examples]),
        better={
            name: torch.tensor([float(example.better.get(name, 0)) for example in examples])
            for name in sorted({name for example in examples for name in example.better})
        },
        reference=stack_references(references) if len(references) == len(examples) else None,
    )


def stack_references(references: Sequence[PairReference]) -> PairReference:
    """(K,) of each pair as (B, K)."""
    return PairReference(*map(torch.stack, zip(*(vars(reference).values() for reference in references), strict=True)))


def collate_clips(examples: Sequence[ClipExample]) -> ClipBatch:
    """One batch of clips."""
    return ClipBatch(
        latents=torch.stack([example.latents for example in examples]),
        condition=join_conditions(example.condition for example in examples),
        weight=torch.tensor([example.weight for example in examples]),
    )


def noise_of_seed(seed: int, shape: Sequence[int]) -> Tensor:
    """The noise that a stored seed stands for, float32 on the CPU."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def velocities(
    predict: Velocity, x_data: Tensor, condition: Condition, t: Tensor, x_noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Predicted and true velocity at x_t = (1 - t) x_data + t x_noise, both (B, C, F, H, W), of the frames that are
    predicted: without those that the condition gives."""
    found = predict(interpolate(x_data, x_noise, t), t, condition), velocity(x_data, x_noise)
    predicted, true = (part[:, :, condition.given_frames :] for part in found)
    return predicted, true


def velocity_errors(predict: Velocity, x_data: Tensor, condition: Condition, t: Tensor, x_noise: Tensor) -> Tensor:
    """Mean squared velocity error of each sample, (B,), at x_t = (1 - t) x_data + t x_noise."""
    return per_sample_mse(*velocities(predict, x_data, condition, t, x_noise))


def spread_weights(weights: Sequence[float], num_frames: int) -> list[float]:
    """Weights of the F latent frames: each holds for an equal part of the clip, as near as frames allow.

    Raises:
        ConfigError: more weights than there are frames.
    """
    if len(weights) > num_frames:
        told = f"frame_weights: got {len(weights)}, but a clip has {num_frames} latent frames"
        raise ConfigError(f"{told}; give at most so many.")
    return [weights[frame * len(weights) // num_frames] for frame in range(num_frames)]


class FlowObjective:
    """The part of an `Objective` that does not depend on the method: what is trained, and its draws.

    Args:
        predict: the generator's velocity, with gradients into ``parameters``.
        parameters: what is trained, by name.
        times: how training times are drawn.
        frame_weights: of the parts of a clip, in the order of time; see `spread_weights`. None weighs all frames alike.
    """

    def __init__(
        self,
        predict: Velocity,
        parameters: Mapping[str, nn.Parameter],
        times: TimeSettings,
        *,
        frame_weights: Sequence[float] | None = None,
    ) -> None:
        self.predict, self.parameters, self.times = predict, dict(parameters), times
        self.frame_weights = frame_weights
        self.device = next(iter(self.parameters.values())).device if self.parameters else torch.device("cpu")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group."""
        return [{"params": list(self.parameters.values())}]

    def loss(self, batch: Any, draws: Draws) -> Loss:
        """What each example costs; every method has its own."""
        raise NotImplementedError

    def after_update(self, row: Mapping[str, float]) -> None:
        """What the objective changes of itself after a step, whose numbers it gets; nothing, unless it says so."""

    def state_dict(self) -> dict[str, Tensor]:
        """The trained parameters by name."""
        return {name: value.detach() for name, value in self.parameters.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copies the tensors into the parameters.

        Raises:
            ValueError: other names than `state_dict` has.
        """
        require_names(state, self.parameters)
        for name, value in self.parameters.items():
            value.copy_(as_part_of(state[name], value))

    def matching_errors(self, latents: Tensor, condition: Condition, draws: Draws) -> tuple[Tensor, Tensor]:
        """Times (B,) and velocity errors (B,) of clips, each at a time and a noise of its own."""
        t, noise = self.times.draw(draws), draws.normal("noise", latents.shape[1:])
        x_data, t, noise = (part.to(self.device) for part in (latents, t, noise))
        return t, self.errors(*velocities(self.predict, x_data, condition.to(self.device), t, noise))

    def errors(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean squared error of each clip, (B,), its frames weighed as the settings say."""
        if self.frame_weights is None:
            return per_sample_mse(prediction, target)
        return self.weighed(per_frame_mse(prediction, target))

    def weighed(self, frames: Tensor) -> Tensor:
        """Errors of frames (..., F) as those of clips (...)."""
        assert self.frame_weights is not None
        return weighted_frames(frames, spread_weights(self.frame_weights, frames.shape[-1]))
