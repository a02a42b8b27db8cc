"""What the samplers of all families have in common: a pipeline's own call, from the noise of each clip's seed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift
from torch import Tensor

from videoalign.contracts.generator import SchedulerWrapper, VelocityNet
from videoalign.contracts.records import Asked
from videoalign.errors import ConfigError
from videoalign.flow.condition import Condition
from videoalign.models.digest import adapter_digest
from videoalign.models.generators.identity import scheduler_identity
from videoalign.models.generators.parts import PipelineConditioner, PipelinePart
from videoalign.models.generators.settings import SamplingSettings
from videoalign.models.generators.weights import open_all, placed
from videoalign.randomness import fold_in

NO_MATTER = {"from_picture", "known_words_only", "max_text_tokens", "vae_slicing"}
"""Settings that a clip does not depend on, or that stand in the identity of another part."""


class PipelineSampler(PipelinePart, ABC):
    """A `contracts.generator.Sampler`: the pipeline's own call."""

    @abstractmethod
    def conditioner(self, settings: SamplingSettings) -> PipelineConditioner:
        """What encodes the prompts of a call with these settings."""

    @abstractmethod
    def call(
        self, condition: Condition, negative: Condition | None, noise: Tensor, settings: SamplingSettings, **common: Any
    ) -> Tensor:
        """Latents (B, C, F, H, W) that the pipeline's own call ends with.

        Args:
            condition: a row for each clip.
            negative: likewise, what classifier-free guidance leads away from; None without guidance.
            noise: (B, C, F, H, W).
            settings: of the call.
            common: arguments of the call that all families take.
        """

    @property
    def passes(self) -> int:
        """Forward passes of the network for a clip in a step."""
        return 2 if self.settings.guidance_scale > 1 else 1

    def one_pass(self, network: VelocityNet, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """One of `passes` with all that goes through the network in it, for counting; see `VelocityNet.forward`."""
        return network(x_t, t, condition)

    @property
    def least_steps(self) -> int:
        """Steps that the pipeline's schedule needs."""
        return 1

    def drawn(self, seeds: Sequence[int]) -> dict[str, Any]:
        """Arguments of the call that follow the seeds of the clips, besides the noise."""
        return {}

    def facing(self, scheduler: Any) -> Any:
        """A wrapped scheduler, which works in the latents of the house, as the pipeline can call it."""
        return scheduler

    @property
    def time_shift(self) -> float:
        """Sigma shift s t / (1 + (s - 1) t) of the times that it samples at.

        Raises:
            ConfigError: the shift is no one number: it depends on the size of a clip, or there is more to it.
        """
        config = self.pipeline.scheduler.config
        shift = config.get("flow_shift", config.get("shift", 1.0))
        bends = ("use_dynamic_shifting", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
        found = [name for name in (*bends, "shift_terminal", "invert_sigmas") if config.get(name)]
        if found or shift is None:
            raise ConfigError(
                f"times.shift: the scheduler of '{self.name}' has {found[0] if found else 'no shift'}, so its times "
                "follow no one shift; set times.shift to a number."
            )
        return float(shift)

    @property
    def scheduler_name(self) -> str:
        """Class of the scheduler and its shift, as in ``UniPCMultistepScheduler, flow_shift 3``."""
        config = self.pipeline.scheduler.config
        told = [f"{name} {config[name]:g}" for name in ("flow_shift", "shift") if config.get(name) is not None]
        return ", ".join([type(self.pipeline.scheduler).__name__, *told])

    @property
    def num_steps(self) -> int:
        """Steps of a clip."""
        return self.settings.num_steps

    def noise(self, seed: int) -> Tensor:
        """The noise (C, F, H, W) that a clip of this seed starts from, float32 on the CPU."""
        return torch.randn(self.latent_shape, generator=fold_in(seed, "noise"))

    def latents(
        self,
        prompts: Sequence[Asked],
        seeds: Sequence[int],
        *,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        wrap_scheduler: SchedulerWrapper | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> Tensor:
        """Latents float32 (B, C, F, H, W); see `contracts.generator.Sampler`.

        Raises:
            ConfigError: a number of steps below 1, or a negative scale.
            DataError: a prompt that the model cannot read; see `PipelineConditioner.check`.
        """
        settings = self.asked(num_steps, guidance_scale)
        if len(prompts) != len(seeds):
            raise ValueError(f"one seed per prompt: got {len(prompts)} prompts and {len(seeds)} seeds")
        conditioner, negative = self.conditioner(settings), None
        condition = conditioner.encode(prompts)
        if settings.guidance_scale > 1:
            negative = conditioner.encode_texts([settings.negative_prompt]).expand(len(prompts))
        noise = torch.stack([self.noise(seed) for seed in seeds])
        common: dict[str, Any] = {
            "num_frames": settings.num_frames,
            "height": settings.height,
            "width": settings.width,
            "num_inference_steps": settings.num_steps,
            "output_type": "latent",
            "callback_on_step_end": None if on_step is None else _each_step(on_step),
            **self.drawn(seeds),
        }
        with placed(self.pipeline), self._scheduler(wrap_scheduler, condition):
            return self.call(condition, negative, noise, settings, **common).float()

    def asked(self, num_steps: int | None, guidance_scale: float | None) -> SamplingSettings:
        """The settings with some changed.

        Raises:
            ConfigError: fewer steps than the sampler takes, or a negative scale.
        """
        if (num_steps is not None and num_steps < 1) or (guidance_scale is not None and guidance_scale < 0):
            raise ConfigError(
                f"num_steps: got {num_steps}, guidance_scale: got {guidance_scale}; wanted at least 1 and 0."
            )
        settings = self.settings.changed({"num_steps": num_steps, "guidance_scale": guidance_scale})
        if settings.num_steps < self.least_steps:
            raise ConfigError(
                f"num_steps: got {settings.num_steps}; the sampler of '{self.name}' takes at least {self.least_steps}. "
                f"Set num_steps={self.least_steps}."
            )
        return settings

    def identity(self) -> dict[str, Any]:
        """Scheduler, precision, adapters and settings."""
        pipeline = self.pipeline
        open_all(pipeline)
        parts = (pipeline.transformer, pipeline.text_encoder, pipeline.vae)
        own, second = self.settings.model_dump(exclude=NO_MATTER, exclude_none=True), {}
        if getattr(pipeline, "transformer_2", None) is not None:
            second = {"adapter_2": adapter_digest(pipeline.transformer_2)}
        return {
            "scheduler": scheduler_identity(pipeline.scheduler),
            "dtype": "/".join(str(part.dtype).removeprefix("torch.") for part in parts),
            "adapter": adapter_digest(pipeline.transformer),
            **second,
            **own,
        }

    @contextmanager
    def _scheduler(self, wrap: SchedulerWrapper | None, condition: Condition) -> Iterator[None]:
        own = self.pipeline.scheduler
        try:
            if wrap is not None:
                self.pipeline.scheduler = self.facing(wrap(own, condition))
            yield
        finally:
            self.pipeline.scheduler = own


def dynamic_shift(config: Mapping[str, Any], tokens: int) -> float | None:
    """The sigma shift of a schedule that grows with the tokens of a clip; None where it does not."""
    if not config.get("use_dynamic_shifting") or config.get("time_shift_type") != "exponential":
        return None
    names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    return math.exp(calculate_shift(tokens, *(config[name] for name in names)))


def _each_step(action: Callable[[], None]) -> Callable[..., dict[str, Any]]:
    def after(pipeline: Any, step: int, timestep: Tensor, state: dict[str, Any]) -> dict[str, Any]:
        action()
        return state

    return after
