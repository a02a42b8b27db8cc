"""Flow-NRG at the place where every diffusers flow pipeline passes: its scheduler."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from videoalign.contracts.reward import Guide, LatentReward
from videoalign.contracts.scheduler import WrappedScheduler
from videoalign.errors import ConfigError, ModelError, did_you_mean
from videoalign.flow.condition import Condition
from videoalign.flow.guidance import reward_guided, unit_guided
from videoalign.flow.path import expand_time
from videoalign.flow.times import follows_flow


class RewardGuide:
    """Pulls a velocity towards latents that a noisy-latent reward prefers: samples p(x) exp(strength sum_k w_k r_k).

    The change is -strength t / (1 - t) grad sum_k w_k r_k(x_t, t, y) for a condition y, equation 11 of "Improving Video
    Generation with Human Feedback", after classifier-free guidance and left out at t = 1. Samples do not touch each
    other.

    On the first steps: t / (1 - t) is 19 at t = 0.95 and 99 at t = 0.99. That is right for the exact reward
    log E[exp r | x_t], whose gradient fades like 1 - t because pure noise tells nothing about the clip. A trained
    reward fades only as far as it has learnt to, and a coarse schedule (few steps, or a large sigma shift) takes one
    long step exactly there, so what is left of its gradient can throw a sample off. ``max_ratio`` bounds that: each
    sample's change is shortened, never turned, to at most ``max_ratio`` times the norm of its velocity. Around 0.5 it
    acts on the first steps alone and the sampled tilt stays as asked for elsewhere; without it the formula is
    followed to the letter. ``normalised`` takes the direction of the gradient alone: every change is then ``strength``
    times as long as the velocity, and what is sampled is no tilt of a known size.
    """

    def __init__(
        self,
        reward: LatentReward,
        weights: Mapping[str, float | Sequence[float]],
        strength: float = 1.0,
        *,
        max_ratio: float | None = None,
        normalised: bool = False,
        window: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        """
        Args:
            reward: scores (B, D) at noisy latents, differentiable in them.
            weights: weight of each dimension, as in {"VQ": 0.5, "MQ": 0.5}, or one for each of the clips that are
                sampled together, as in {"VQ": [0.0, 0.5, 1.0]}; what is absent weighs 0.
            strength: w, at least 0; 0 is sampling without a guide, bit for bit.
            max_ratio: longest change as a multiple of the velocity's norm, above 0; None for no bound.
            normalised: every change is ``strength`` times as long as the velocity; 0.1 is a start.
            window: first and last of the times t at which it changes anything, from 0 to 1.

        Raises:
            ConfigError: an unknown dimension, or a number out of range.
        """
        for name in weights:
            if name not in reward.dimensions:
                raise ConfigError(
                    f"weights: the reward has no dimension '{name}'.{did_you_mean(name, reward.dimensions)}"
                )
        if not (math.isfinite(strength) and strength >= 0):
            raise ConfigError(
                f"strength: must be a number of at least 0; got {strength}. Use 0 to switch the guide off."
            )
        if max_ratio is not None and not max_ratio > 0:
            raise ConfigError(f"max_ratio: must be above 0; got {max_ratio}. Leave it out for no bound.")
        if max_ratio is not None and normalised:
            raise ConfigError("max_ratio: bounds changes that 'normalised' gives one length already; leave one out.")
        if not 0 <= window[0] < window[1] <= 1:
            raise ConfigError(f"window: must be two times from 0 to 1, the lower first; got {window}. Use (0.2, 0.9).")
        self.reward = reward
        self.window = window
        self.weights = {name: _plain(name, weights.get(name, 0.0)) for name in reward.dimensions}
        self.strength = float(strength)
        self.max_ratio = max_ratio
        self.normalised = normalised

    def adjust(self, velocity: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The guided velocity, same shape and dtype as ``velocity`` (B, ...); works inside no_grad and inference_mode.

        Args:
            velocity: after classifier-free guidance, (B, C, F, H, W).
            x_t: latents that it was predicted at, same shape.
            t: times in [0, 1], (B,); 1 is pure noise and left alone.
            condition: of the prompts, B rows.

        Raises:
            ModelError: the reward's gradient is not finite.
        """
        acts = (t < 1) & (t >= self.window[0]) & (t <= self.window[1])
        if self.strength == 0 or not any(self.weights.values()) or not bool(acts.any()):
            return velocity
        gradient = self.gradient(x_t, t, condition)
        change = unit_guided if self.normalised else reward_guided
        guided = change(velocity.float(), gradient, t.float(), self.strength)
        if self.max_ratio is not None:
            guided = _shorten_change(velocity.float(), guided, self.max_ratio)
        return guided.to(velocity.dtype).where(expand_time(acts, velocity), velocity)

    def gradient(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Gradient of sum_k w_k r_k with respect to the latents, float32, shape of ``x_t``; see `adjust`.

        Half of the clips at a time: what is kept for a gradient is about twice what a velocity takes.
        """
        weights = self._weights(x_t.new_zeros(len(x_t), len(self.reward.dimensions), dtype=torch.float32))
        gradients: list[Tensor] = []
        condition = condition.expand(len(x_t))
        for rows in torch.arange(len(x_t)).split(max(2, -(-len(x_t) // 2))):
            with _differentiable(self.reward, x_t[rows], t[rows], condition.rows(rows)) as (x, scores):
                gradients += torch.autograd.grad((scores * weights[rows]).sum(), x)
        return _finite(torch.cat(gradients))

    def _weights(self, scores: Tensor) -> Tensor:
        """(B, D), those of ``scores``."""
        columns = []
        for name in self.reward.dimensions:
            column = scores.new_tensor(self.weights[name])
            if column.ndim and len(column) != len(scores):
                raise ConfigError(
                    f"weights: {name} has {len(column)} weights for {len(scores)} clips; wanted one number, or one a "
                    "clip."
                )
            columns.append(column.expand(len(scores)))
        return torch.stack(columns, 1)


def dimension_gradients(reward: LatentReward, x_t: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
    """Scores (B, D), and the gradient of each dimension's with respect to the latents, float32 (B, D, ...).

    Raises:
        ModelError: a gradient is not finite.
    """
    with _differentiable(reward, x_t, t, condition) as (x, scores):
        each = [torch.autograd.grad(column.sum(), x, retain_graph=True)[0] for column in scores.unbind(1)]
    return scores.detach(), _finite(torch.stack(each, 1))


class GuidedScheduler(WrappedScheduler):
    """A diffusers flow-matching scheduler whose steps follow a guide; to a pipeline it is the scheduler that it wraps.

    Use it for one call: ``pipe.scheduler = GuidedScheduler(pipe.scheduler, guide, condition)``.
    """

    def __init__(self, scheduler: Any, guide: Guide, condition: Condition) -> None:
        """
        Args:
            scheduler: any diffusers scheduler that takes the velocity x_noise - x_data at sigma = t, or, where it
                inverts its sigmas, x_data - x_noise at sigma = 1 - t.
            guide: what changes the velocity.
            condition: of the samples to come, a row each; one row serves a batch of any size.

        Raises:
            ModelError: the scheduler is not a flow-matching one.
        """
        _check_flow(scheduler)
        super().__init__(scheduler, _guide=guide, _condition=condition)

    def step(self, model_output: Tensor, timestep: float | Tensor, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The wrapped scheduler's step on the guided velocity; arguments and result are its own.

        Raises:
            ModelError: a time for each token, or text for another number of samples.
        """
        if kwargs.get("per_token_timesteps") is not None:
            raise ModelError(
                "guide: this pipeline steps every token at a time of its own and turns the sign of the velocity, as "
                "LTXConditionPipeline does; wanted one time per clip, as of WanPipeline."
            )
        t = self._times(timestep, sample)
        if len(self._condition) not in (1, len(sample)):
            raise ModelError(
                f"guide: has conditions of {len(self._condition)} samples, but the pipeline steps {len(sample)}."
            )
        condition = self._condition.to(sample.device).expand(len(sample))
        sign = -1 if self._inverted else 1
        guided = sign * self._guide.adjust(sign * model_output, sample, t, condition)
        return self._inner.step(guided, timestep, sample, *args, **kwargs)

    @property
    def _inverted(self) -> bool:
        """Whether sigmas and velocities run from noise to data, as those of Mochi."""
        return bool(self._inner.config.get("invert_sigmas", False))

    def _times(self, timestep: float | Tensor, sample: Tensor) -> Tensor:
        """Times (B,) of a step: the sigma that the scheduler takes it at, which whole timesteps only come near to.

        The schedule starts from pure noise, t = 1, also where its first sigma stays off 1 by up to a training step.
        """
        scheduler = self._inner
        index = scheduler.step_index
        if index is None:  # the first step
            begin = scheduler.begin_index
            index = scheduler.index_for_timestep(timestep) if begin is None else begin
        t = scheduler.sigmas[index].to(sample.device, torch.float32)
        t = 1 - t if self._inverted else t
        near = 1.0001 / scheduler.config.num_train_timesteps if int(index) == 0 else 1e-5
        return t.where(t < 1 - near, 1.0).expand(len(sample))


def _check_flow(scheduler: Any) -> None:
    if not follows_flow(scheduler.config):
        kind = scheduler.config.get("prediction_type")
        raise ModelError(
            f"guide: {type(scheduler).__name__} does not follow a flow (prediction_type {kind}). "
            "Use a flow-matching scheduler, such as FlowMatchEulerDiscreteScheduler."
        )


@contextmanager
def _differentiable(reward: Any, x_t: Tensor, t: Tensor, condition: Condition) -> Iterator[tuple[Tensor, Tensor]]:
    """Latents in float32 and their scores (B, D) with a graph between them, inside any mode."""
    with torch.inference_mode(False), torch.enable_grad(), _frozen(reward):
        x = x_t.detach().float().clone().requires_grad_(True)
        yield x, reward.score(x, t.clone(), condition.detach())


def _finite(gradient: Tensor) -> Tensor:
    if not bool(torch.isfinite(gradient).all()):
        raise ModelError("guide: the latent reward's gradient is not finite. Train it again, or use another strength.")
    return gradient


@contextmanager
def _frozen(reward: Any) -> Iterator[None]:
    """The reward's weights want no gradient inside the block, so that nothing is kept for one."""
    weights = reward.parameters() if isinstance(reward, nn.Module) else ()
    trained = [weight for weight in weights if weight.requires_grad]
    try:
        for weight in trained:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in trained:
            weight.requires_grad_(True)


def _plain(name: str, given: float | Sequence[float]) -> float | list[float]:
    """A weight or those of clips, given as numbers of any kind, a tensor or an array."""
    try:
        weights = torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        weights = torch.full((1,), torch.nan)
    if weights.ndim > 1 or not weights.numel() or not bool(torch.isfinite(weights).all()):
        raise ConfigError(f"weights: {name} must be a finite number; got {given}. Use for instance {name}=0.5.")
    plain: float | list[float] = weights.tolist()
    return plain


def _shorten_change(velocity: Tensor, guided: Tensor, max_ratio: float) -> Tensor:
    change = guided - velocity
    length, limit = change.flatten(1).norm(dim=1), max_ratio * velocity.flatten(1).norm(dim=1)
    return velocity + expand_time((limit / length.clamp_min(1e-12)).clamp_max(1.0), change) * change
