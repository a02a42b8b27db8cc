"""Flow-NRG on a pipeline as diffusers has it: attached, it steers the pipeline's own call."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from videoalign.contracts.reward import LatentReward
from videoalign.contracts.scheduler import WrappedScheduler
from videoalign.errors import ConfigError, ModelError
from videoalign.flow.condition import Condition
from videoalign.models.generators.families import Family, family_of
from videoalign.models.generators.packed import PackedScheduler
from videoalign.models.latent_reward import LatentRewardModel
from videoalign.sampling.guided import GuidedScheduler, RewardGuide
from videoalign.sampling.holding import HoldingGuide


class RewardGuidance(GuidedScheduler):
    """A scheduler whose steps a noisy-latent reward steers; see `sampling.guided.RewardGuide` for the formula.

    On a pipeline, nobody passes a text::

        guidance = RewardGuidance.attach(pipe, "guide", weights={"VQ": 0.5, "MQ": 0.5}, strength=1.0)
        pipe(prompt="a red circle moves left")
        guidance.detach()

    In a loop of one's own it stands where the scheduler stood and is given the condition:
    ``RewardGuidance(scheduler, reward, weights=..., strength=..., condition=condition)``.
    """

    def __init__(
        self,
        scheduler: Any,
        reward: LatentReward,
        *,
        weights: Mapping[str, float | Sequence[float]],
        strength: float = 1.0,
        max_ratio: float | None = None,
        normalised: bool = False,
        window: tuple[float, float] = (0.0, 1.0),
        hold: Literal["others"] | None = None,
        condition: Condition,
    ) -> None:
        """
        Args:
            scheduler: see `GuidedScheduler`; it steps latents (B, C, F, H, W).
            reward: scores (B, D) at noisy latents, differentiable in them.
            weights: see `RewardGuide`, as those below.
            strength: 0 is sampling without a guide, bit for bit.
            max_ratio: longest change as a multiple of the velocity's norm.
            normalised: every change is ``strength`` times as long as the velocity.
            window: times t at which it acts.
            hold: ``others`` takes off the gradient what would change the scores of dimensions without weight, step by
                step; see `HoldingGuide`.
            condition: of the samples to come, a row each; one row serves a batch of any size.

        Raises:
            ConfigError: see `RewardGuide`.
            ModelError: the scheduler is not a flow-matching one.
        """
        if hold not in (None, "others"):
            raise ConfigError(f"hold: got '{hold}'; wanted 'others', or None to let them go.")
        if hold is not None and normalised:
            raise ConfigError("hold: counts on changes as long as the gradient says; leave 'normalised' out.")
        how: dict[str, Any] = {"max_ratio": max_ratio, "window": window}
        if hold is None:
            guide = RewardGuide(reward, weights, strength, normalised=normalised, **how)
        else:
            guide = HoldingGuide(reward, weights, strength, **how)
        super().__init__(scheduler, guide, condition)
        self.__dict__["_ear"] = None

    @classmethod
    def attach(
        cls,
        pipe: Any,
        reward: LatentRewardModel | str | Path,
        *,
        weights: Mapping[str, float | Sequence[float]],
        strength: float = 1.0,
        max_ratio: float | None = None,
        normalised: bool = False,
        window: tuple[float, float] = (0.0, 1.0),
        hold: Literal["others"] | None = None,
    ) -> Self:
        """Steers every call of a pipeline from now on, until `detach`.

        What the reward reads of the prompt is what the transformer is told in the conditional half of its call, after
        which classifier-free guidance is applied as ever. The transformer may be compiled, have a cache for its steps,
        or be kept off the device that it runs on; where ``torch.compile`` puts another in its place, attach after.

        Args:
            pipe: a diffusers pipeline of a family in `models.generators.families.FAMILIES`, on its device.
            reward: made by ``videoalign guide train`` for this model, or the folder of one.
            weights: see `RewardGuide`, as those below.
            strength: 0 is sampling without a guide, bit for bit.
            max_ratio: longest change as a multiple of the velocity's norm.
            normalised: every change is ``strength`` times as long as the velocity.
            window: times t at which it acts.
            hold: as of the class.

        Raises:
            ConfigError: see `RewardGuide`.
            ModelError: no pipeline of a family, a scheduler that follows no flow, a reward of another model, or a
                pipeline that is steered already.
        """
        family = family_of(getattr(pipe.config, "_name_or_path", "") or "the pipeline", type(pipe).__name__)
        if isinstance(pipe.scheduler, WrappedScheduler):
            raise ModelError("guide: the pipeline is steered already; call detach() of what steers it first.")
        found = (getattr(pipe, name, None) for name in ("transformer", "transformer_2"))
        transformers: list[Any] = [transformer for transformer in found if transformer is not None]
        model = reward if isinstance(reward, LatentRewardModel) else LatentRewardModel.from_pretrained(reward)
        for transformer in transformers:
            model.require_base(type(pipe).__name__, transformer.config)
        options: dict[str, Any] = {"strength": strength, "max_ratio": max_ratio, "normalised": normalised}
        options |= {"window": window, "hold": hold}
        made = cls(pipe.scheduler, model, weights=weights, **options, condition=Condition({}))
        made.__dict__["_ear"] = ear = _Ear(pipe, family, model, transformers)
        pipe.scheduler = ear.facing(made)
        return made

    def detach(self) -> None:
        """Leaves the pipeline as it was before `attach`; a second time nothing happens."""
        ear: _Ear | None = self._ear
        if ear is not None:
            ear.close(self._inner)
            self.__dict__["_ear"] = None

    @property
    def set_timesteps(self) -> Any:
        """The wrapped scheduler's own, before which nothing of an earlier call counts that did not come to its step."""
        if self._ear is not None:
            self._ear.told = None
        return self._inner.set_timesteps

    def step(self, model_output: Tensor, timestep: float | Tensor, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        """See `GuidedScheduler.step`.

        Raises:
            ModelError: also where the transformer was not heard, or was called with other rows.
        """
        if self._ear is not None:
            self._ear.reward.to(sample.device)  # where a pipeline samples that keeps its parts elsewhere
            self.__dict__["_condition"] = self._ear.condition(len(sample))
        return super().step(model_output, timestep, sample, *args, **kwargs)


class _Ear:
    """What the transformers of a pipeline are told, kept from the first call of a step: the one with the prompt."""

    def __init__(self, pipe: Any, family: Family, reward: LatentRewardModel, transformers: list[nn.Module]) -> None:
        self.pipe, self.family, self.reward = pipe, family, reward
        self.constants = family.network(pipe, family.defaults, "the pipeline").constants
        self.signature = inspect.signature(family.transformer.forward)
        self.told: Mapping[str, Any] | None = None
        self.before = pipe.scheduler
        self.hooks = [one.register_forward_pre_hook(self._hear, with_kwargs=True) for one in transformers]

    def __deepcopy__(self, memo: dict[int, Any]) -> _Ear:
        """Of a copied pipeline, whose scheduler is not steered: deaf."""
        deaf = copy.copy(self)
        deaf.told = {}
        return deaf

    def _hear(self, transformer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.told is not None:
            return
        if not isinstance(self.pipe.scheduler, WrappedScheduler):
            other = type(self.pipe.scheduler).__name__
            raise ModelError(
                f"guide: the pipeline was given a {other} after the guide was attached, and "
                "nothing would be steered; call detach(), and attach again."
            )
        self.told = self.signature.bind(transformer, *args, **kwargs).arguments

    def condition(self, num: int) -> Condition:
        """Of ``num`` samples; the next call that is heard begins a new step."""
        told, self.told = self.told, None
        if told is None:
            raise ModelError(
                "guide: the pipeline steps, but its transformer was not heard; attach the guide to the pipeline after "
                "its transformer was changed or compiled."
            )
        found = self.family.heard(told, self.constants)
        if len(found) == 2 * num:  # without a prompt and with it, in one call
            found = found.rows(slice(num, None))
        return found

    def facing(self, guided: Any) -> Any:
        """A scheduler of latents (B, C, F, H, W) as the pipeline can call it."""
        pack, unpack = self.family.pack, self.family.unpack
        if pack is None or unpack is None:
            return guided
        return PackedScheduler(guided, pack, lambda tokens: unpack(tokens, self._shape()))

    def _shape(self) -> torch.Size:
        """(F, H, W) of the latents of the last call."""
        if self.told is not None:
            self.shape = torch.Size(self.family.shape_told(self.told))
        return self.shape

    def close(self, scheduler: Any) -> None:
        """Stops listening and puts the scheduler back, unless another one was set meanwhile."""
        for hook in self.hooks:
            hook.remove()
        if isinstance(self.pipe.scheduler, WrappedScheduler):
            self.pipe.scheduler = scheduler
