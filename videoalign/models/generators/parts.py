"""What the parts of a generator have in common over the pipelines of all families; a family says the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from videoalign.contracts.generator import Conditioner, SchedulerWrapper
from videoalign.contracts.output import fingerprint
from videoalign.contracts.video import Video
from videoalign.errors import ConfigError, DataError
from videoalign.flow.condition import Condition
from videoalign.models.digest import adapter_digest
from videoalign.models.generators.identity import part_identity, scheduler_identity, tokenizer_identity
from videoalign.models.generators.settings import SamplingSettings
from videoalign.models.generators.weights import open_all, placed, text_encoders
from videoalign.randomness import fold_in

NO_MATTER = {"known_words_only", "max_text_tokens", "vae_slicing"}
"""Settings that a clip does not depend on, or that stand in the identity of another part."""


@dataclass(frozen=True, eq=False)
class PipelinePart:
    """Knows its pipeline, the settings and what the model is called."""

    pipeline: Any
    settings: SamplingSettings
    name: str

    @property
    def compression(self) -> tuple[int, int, int]:
        """Channels of the latents, and pixels that one of them stands for in time and along each side."""
        vae = self.pipeline.vae
        return vae.config.latent_channels, vae.temporal_compression_ratio, vae.spatial_compression_ratio

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """(C, F, H, W) of the latents of one clip."""
        (channels, time, space), settings = self.compression, self.settings
        return channels, (settings.num_frames - 1) // time + 1, settings.height // space, settings.width // space


class PipelineCodec(PipelinePart, ABC):
    """A `contracts.generator.Codec` over the pipeline's autoencoder."""

    @property
    def clip_shape(self) -> tuple[int, int, int]:
        """(frames, height, width) in pixels."""
        return self.settings.num_frames, self.settings.height, self.settings.width

    @property
    def fps(self) -> float:
        """Frames per second of its clips."""
        return self.settings.fps

    @torch.no_grad()
    def encode(self, videos: Sequence[Video]) -> Tensor:
        """Latents float32 (B, C, F, H, W) of clips: the mean of the autoencoder's posterior, normalised.

        Raises:
            DataError: a clip whose frames, height or width are not the model's.
        """
        want = (*self.clip_shape, 3)
        for video in videos:
            if video.frames.shape != want:
                raise DataError(
                    f"encode: got a clip of (frames, height, width, 3) = {video.frames.shape}; '{self.name}' works in "
                    f"{want}. Resize the clip, or set num_frames, height and width of the model."
                )
        return self.encode_frames(np.stack([video.frames for video in videos]))

    @torch.no_grad()
    def encode_frames(self, frames: np.ndarray) -> Tensor:
        """Latents as `encode` makes them, of uint8 frames (B, F, H, W, 3) of any size that the autoencoder takes."""
        pixels = torch.from_numpy(frames).permute(0, 4, 1, 2, 3)
        with placed(self.pipeline, "vae"):
            vae = self._tiled()
            posterior = vae.encode(pixels.to(self.pipeline._execution_device, vae.dtype) / 127.5 - 1).latent_dist
            return self.normalised(posterior.mode().float())

    @torch.no_grad()
    def decode(self, latents: Tensor, seeds: Sequence[int] | None = None) -> list[Video]:
        """The clips behind normalised latents (B, C, F, H, W), by the very arithmetic of the pipeline's own call."""
        with placed(self.pipeline, "vae"):
            own = latents.to(self.pipeline._execution_device, self._tiled().dtype)
            decoded = self.decoded(own, [0] * len(latents) if seeds is None else seeds)
        pixels = self.pipeline.video_processor.postprocess_video(decoded, output_type="np")  # (B, F, H, W, 3)
        return [Video(frames=clip, fps=self.settings.fps) for clip in (pixels * 255).round().astype(np.uint8)]

    def identity(self) -> str:
        """The autoencoder, and whether it works in tiles."""
        whole = part_identity(self.pipeline.vae)
        return fingerprint([whole, "tiled"]) if self.settings.vae_tiling else whole

    def _tiled(self) -> Any:
        """The autoencoder, set to work in tiles and clip by clip or not."""
        vae = self.pipeline.vae
        for asked, on, off in (
            (self.settings.vae_tiling, "enable_tiling", "disable_tiling"),
            (self.settings.vae_slicing, "enable_slicing", "disable_slicing"),
        ):
            if asked is not None and hasattr(vae, on):
                getattr(vae, on if asked else off)()
            elif asked:
                setting = f"vae_{on.removeprefix('enable_')}"
                raise ConfigError(f"{setting}: the autoencoder of '{self.name}' cannot do it; leave it out.")
        return vae

    @abstractmethod
    def normalised(self, raw: Tensor) -> Tensor:
        """The autoencoder's own latents as the transformer reads them."""

    @abstractmethod
    def decoded(self, latents: Tensor, seeds: Sequence[int]) -> Tensor:
        """Pixels (B, 3, F, H, W) in [-1, 1] of normalised latents; the seeds decide what noise the decoder draws."""


class PipelineConditioner(PipelinePart, ABC):
    """A `contracts.generator.Conditioner` over the pipeline's text encoders; the first one decides what is too long."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Of the tensors in its conditions."""

    @property
    @abstractmethod
    def lengths(self) -> Mapping[str, int]:
        """`Condition.lengths` of its conditions."""

    @abstractmethod
    def tokens(self, prompt: str) -> list[int]:
        """What the first text encoder reads of a prompt, however long that is."""

    @abstractmethod
    def condition(self, prompts: Sequence[str]) -> Condition:
        """Of prompts that `check` has let pass."""

    def check(self, prompts: Sequence[str]) -> None:
        """Checks that the model can read every prompt; it is tokenised and no more.

        Raises:
            DataError: a text longer than the model reads or, where the model says so, with words it does not know.
        """
        tokenizer, limit = self.pipeline.tokenizer, self.settings.max_text_tokens
        for prompt in prompts:
            tokens = self.tokens(prompt)
            if len(tokens) > limit:
                raise DataError(
                    f"prompt: '{prompt[:60]}' has {len(tokens)} tokens; '{self.name}' reads {limit}. Shorten it."
                )
            if self.settings.known_words_only and tokenizer.unk_token_id in tokens:
                words = " ".join(tokenizer.decode([t]) if t != tokenizer.unk_token_id else "?" for t in tokens[:-1])
                raise DataError(
                    f"prompt: '{prompt[:60]}' has words that '{self.name}' does not know; it reads '{words}'. "
                    "Use words of its world."
                )

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """A row for each prompt, zeros after the end of each text.

        Raises:
            DataError: see `check`.
        """
        self.check(prompts)
        with placed(self.pipeline, *text_encoders(self.pipeline)):
            return self.condition(prompts)

    def identity(self) -> str:
        """Text encoder, tokenizer and length."""
        encoder, tokenizer = self.pipeline.text_encoder, self.pipeline.tokenizer
        return fingerprint([part_identity(encoder), tokenizer_identity(tokenizer), self.settings.max_text_tokens])


def masked(text: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """``text`` (B, L, D) and ``text_mask`` (B, L) of a condition, zero where no network looks."""
    kept = mask.bool()
    return {"text": text * kept[..., None], "text_mask": kept}


class PipelineNetwork(nn.Module, ABC):
    """A `contracts.generator.VelocityNet` over the pipeline's one transformer."""

    def __init__(self, pipeline: Any, settings: SamplingSettings, name: str) -> None:
        super().__init__()
        self.transformer: Any = pipeline.transformer
        self.constants: dict[str, float] = {"time_scale": float(pipeline.scheduler.config.num_train_timesteps)}

    @staticmethod
    @abstractmethod
    def predict(
        transformer: Any, x_t: Tensor, t: Tensor, condition: Condition, constants: Mapping[str, float]
    ) -> Tensor:
        """v, in the precision of the transformer; see `families.Family.predict`."""

    @property
    def transformers(self) -> dict[str, nn.Module]:
        """The one."""
        return {"transformer": self.transformer}

    @property
    def device(self) -> torch.device:
        """Where the transformer lives."""
        return next(self.transformer.parameters()).device

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predicted v = x_noise - x_data, float32, at latents (B, C, F, H, W) and times (B,)."""
        return self.predict(self.transformer, x_t, t, condition, self.constants).float()

    def identity(self) -> str:
        """The transformer without adapters."""
        return part_identity(self.transformer)


class PipelineSampler(PipelinePart, ABC):
    """A `contracts.generator.Sampler`: the pipeline's own call."""

    @abstractmethod
    def conditioner(self, settings: SamplingSettings) -> Conditioner:
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
    def least_steps(self) -> int:
        """Steps that the pipeline's schedule needs."""
        return 1

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
        prompts: Sequence[str],
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
            DataError: a prompt that the text encoder cannot read; see `PipelineConditioner.check`.
        """
        settings = self.asked(num_steps, guidance_scale)
        if len(prompts) != len(seeds):
            raise ValueError(f"one seed per prompt: got {len(prompts)} prompts and {len(seeds)} seeds")
        conditioner, negative = self.conditioner(settings), None
        condition = conditioner.encode(prompts)
        if settings.guidance_scale > 1:
            negative = conditioner.encode([settings.negative_prompt]).expand(len(prompts))
        noise = torch.stack([self.noise(seed) for seed in seeds])
        common: dict[str, Any] = {
            "num_frames": settings.num_frames,
            "height": settings.height,
            "width": settings.width,
            "num_inference_steps": settings.num_steps,
            "output_type": "latent",
            "callback_on_step_end": None if on_step is None else _each_step(on_step),
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


def _each_step(action: Callable[[], None]) -> Callable[..., dict[str, Any]]:
    def after(pipeline: Any, step: int, timestep: Tensor, state: dict[str, Any]) -> dict[str, Any]:
        action()
        return state

    return after
