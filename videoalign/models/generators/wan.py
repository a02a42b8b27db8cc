"""Wan text-to-video models, Wan 2.1 T2V, Wan 2.2 A14B and TI2V: the parts of a generator from a WanPipeline.

The transformer is told t times the scheduler's ``num_train_timesteps``, t being the pipeline's sigma, and reads latents
that are shifted and scaled by the autoencoder's ``latents_mean`` and ``latents_std``. The pipeline of Wan 2.2 TI2V
(``expand_timesteps``) tells it the time of every token, which for a text alone is that of the clip; told once, the
transformer gives the same velocity. Of the two transformers of Wan 2.2 A14B the first serves the times from
``boundary_ratio`` on, the second those below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import WanPipeline
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from torch import Tensor, nn

from videoalign.contracts.generator import SchedulerWrapper
from videoalign.contracts.output import fingerprint
from videoalign.contracts.video import Video
from videoalign.errors import ConfigError, DataError
from videoalign.flow.condition import Condition
from videoalign.models.digest import adapter_digest
from videoalign.models.generators.identity import part_identity, scheduler_identity, tokenizer_identity
from videoalign.models.generators.settings import SamplingSettings
from videoalign.randomness import fold_in

WEIGHED_PARTS = ("transformer", "transformer_2", "vae", "text_encoder")

TARGETS: dict[str, tuple[str, ...]] = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "attention+ffn": ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"),
}
"""Self- and cross-attention alike."""

COMFYUI_NAMES = {
    "attn1.": "self_attn.",
    "attn2.": "cross_attn.",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "o",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
}
"""Parts of a layer's name in diffusers, and in the original Wan code that ComfyUI follows."""


@dataclass(frozen=True, eq=False)
class WanCodec:
    """A `contracts.generator.Codec` over the pipeline's AutoencoderKLWan."""

    pipeline: WanPipeline
    settings: SamplingSettings
    name: str

    @property
    def clip_shape(self) -> tuple[int, int, int]:
        """(frames, height, width) in pixels."""
        return self.settings.num_frames, self.settings.height, self.settings.width

    @property
    def fps(self) -> float:
        """Frames per second of its clips."""
        return self.settings.fps

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """(C, F, H, W) of the latents of one clip."""
        return latent_shape(self.pipeline, self.settings)

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
        vae = self.pipeline.vae
        pixels = torch.from_numpy(frames).permute(0, 4, 1, 2, 3)
        posterior = vae.encode(pixels.to(vae.device, vae.dtype) / 127.5 - 1).latent_dist
        mean, std = self._moments()
        return (posterior.mode().float() - mean) / std

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Video]:
        """The clips behind normalised latents (B, C, F, H, W), by the very arithmetic of the pipeline's own call."""
        vae = self.pipeline.vae
        mean, std = (moment.to(vae.dtype) for moment in self._moments())
        decoded = vae.decode(latents.to(vae.device, vae.dtype) / (1.0 / std) + mean, return_dict=False)[0]
        pixels = self.pipeline.video_processor.postprocess_video(decoded, output_type="np")  # (B, F, H, W, 3)
        return [Video(frames=clip, fps=self.settings.fps) for clip in (pixels * 255).round().astype(np.uint8)]

    def identity(self) -> str:
        """The autoencoder."""
        return part_identity(self.pipeline.vae)

    def _moments(self) -> tuple[Tensor, Tensor]:
        config, device = self.pipeline.vae.config, self.pipeline.vae.device
        mean, std = (torch.tensor(values, device=device) for values in (config.latents_mean, config.latents_std))
        return mean.reshape(1, -1, 1, 1, 1), std.reshape(1, -1, 1, 1, 1)


@dataclass(frozen=True, eq=False)
class WanConditioner:
    """A `contracts.generator.Conditioner` over the pipeline's UMT5: ``text``, which is read at one length."""

    pipeline: WanPipeline
    settings: SamplingSettings
    name: str

    @property
    def names(self) -> tuple[str, ...]:
        """The text alone."""
        return ("text",)

    @property
    def lengths(self) -> Mapping[str, int]:
        """The transformer looks at the zeros after a text as well."""
        return {"text": self.settings.max_text_tokens}

    def check(self, prompts: Sequence[str]) -> None:
        """Checks that the model can read every prompt; it is tokenised and no more.

        Raises:
            DataError: a text longer than the model reads or, where the model says so, with words it does not know.
        """
        tokenizer, limit = self.pipeline.tokenizer, self.settings.max_text_tokens
        for prompt in prompts:
            tokens = tokenizer(prompt_clean(prompt)).input_ids
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
        """``text`` (B, max_text_tokens, text width), zero after the end of each text.

        Raises:
            DataError: see `check`.
        """
        self.check(prompts)
        states, _ = self.pipeline.encode_prompt(
            list(prompts), do_classifier_free_guidance=False, max_sequence_length=self.settings.max_text_tokens
        )
        return Condition({"text": states}, self.lengths)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask, int64 (B, max_text_tokens) each, as the pipeline makes them."""
        tokens = self.pipeline.tokenizer(
            [prompt_clean(text) for text in texts],
            padding="max_length",
            max_length=self.settings.max_text_tokens,
            truncation=True,
            return_tensors="pt",
        )
        return tokens.input_ids, tokens.attention_mask

    def identity(self) -> str:
        """Text encoder, tokenizer and length."""
        encoder, tokenizer = self.pipeline.text_encoder, self.pipeline.tokenizer
        return fingerprint([part_identity(encoder), tokenizer_identity(tokenizer), self.settings.max_text_tokens])


class WanNetwork(nn.Module):
    """A `contracts.generator.VelocityNet` over the pipeline's WanTransformer3DModel."""

    def __init__(self, pipeline: WanPipeline, settings: SamplingSettings, name: str) -> None:
        super().__init__()
        self.transformer: Any = pipeline.transformer
        self.transformer_2: Any = pipeline.transformer_2
        self.boundary = pipeline.config.boundary_ratio
        self.constants = {"time_scale": float(pipeline.scheduler.config.num_train_timesteps)}

    @property
    def transformers(self) -> dict[str, nn.Module]:
        """The one, or that of the high noise and that of the low."""
        second = {} if self.transformer_2 is None else {"transformer_2": self.transformer_2}
        return {"transformer": self.transformer, **second}

    @property
    def device(self) -> torch.device:
        """Where the transformer lives."""
        return next(self.transformer.parameters()).device

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predicted v = x_noise - x_data, float32, at latents (B, C, F, H, W), times (B,) and ``text`` (B, L, D)."""
        if self.transformer_2 is None:
            return predict(self.transformer, x_t, t, condition, self.constants).float()
        is_high = t >= self.boundary
        sides = ((self.transformer, is_high.nonzero()[:, 0]), (self.transformer_2, (~is_high).nonzero()[:, 0]))
        made = [
            (rows, predict(part, x_t[rows], t[rows], condition.rows(rows), self.constants).float())
            for part, rows in sides
            if len(rows)
        ]
        order = torch.cat([rows for rows, _ in made]).argsort()
        return torch.cat([predicted for _, predicted in made])[order]

    def identity(self) -> str:
        """The transformers without adapters, and where one ends and the other begins."""
        if self.transformer_2 is None:
            return part_identity(self.transformer)
        return fingerprint([self.boundary, *map(part_identity, (self.transformer, self.transformer_2))])


@dataclass(frozen=True, eq=False)
class WanSampler:
    """A `contracts.generator.Sampler`: the pipeline's own call."""

    pipeline: WanPipeline
    settings: SamplingSettings
    name: str

    @property
    def time_shift(self) -> float:
        """Sigma shift s t / (1 + (s - 1) t) of the times that it samples at.

        Raises:
            ConfigError: the shift is no one number: it depends on the size of a clip, or there is more to it.
        """
        config = self.pipeline.scheduler.config
        shift = config.get("flow_shift", config.get("shift", 1.0))
        bends = ("use_dynamic_shifting", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
        found = [name for name in (*bends, "shift_terminal") if config.get(name)]
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
        return torch.randn(latent_shape(self.pipeline, self.settings), generator=fold_in(seed, "noise"))

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
            DataError: a prompt that the text encoder cannot read; see `WanConditioner.check`.
        """
        settings = self._asked(num_steps, guidance_scale)
        scale = settings.guidance_scale
        if len(prompts) != len(seeds):
            raise ValueError(f"one seed per prompt: got {len(prompts)} prompts and {len(seeds)} seeds")
        conditioner = WanConditioner(self.pipeline, settings, self.name)
        condition = conditioner.encode(prompts)
        text = condition["text"]
        negative = conditioner.encode([settings.negative_prompt])["text"].expand_as(text) if scale > 1 else None
        with self._scheduler(wrap_scheduler, condition):
            made: Tensor = self.pipeline(
                prompt_embeds=text,
                negative_prompt_embeds=negative,
                latents=torch.stack([self.noise(seed) for seed in seeds]),
                num_frames=settings.num_frames,
                height=settings.height,
                width=settings.width,
                num_inference_steps=settings.num_steps,
                guidance_scale=scale,
                guidance_scale_2=settings.guidance_scale_2,
                output_type="latent",
                callback_on_step_end=None if on_step is None else _each_step(on_step),
            ).frames
        return made.float()

    def identity(self) -> dict[str, Any]:
        """Scheduler, precision, adapter and settings."""
        parts = (self.pipeline.transformer, self.pipeline.text_encoder, self.pipeline.vae)
        own, second = self.settings.model_dump(exclude={"known_words_only", "max_text_tokens"}, exclude_none=True), {}
        if self.pipeline.transformer_2 is not None:
            second = {"adapter_2": adapter_digest(self.pipeline.transformer_2)}
        return {
            "scheduler": scheduler_identity(self.pipeline.scheduler),
            "dtype": "/".join(str(part.dtype).removeprefix("torch.") for part in parts),
            "adapter": adapter_digest(self.pipeline.transformer),
            **second,
            **own,
        }

    def _asked(self, num_steps: int | None, guidance_scale: float | None) -> SamplingSettings:
        if (num_steps is not None and num_steps < 1) or (guidance_scale is not None and guidance_scale < 0):
            raise ConfigError(
                f"num_steps: got {num_steps}, guidance_scale: got {guidance_scale}; wanted at least 1 and 0."
            )
        return self.settings.changed({"num_steps": num_steps, "guidance_scale": guidance_scale})

    @contextmanager
    def _scheduler(self, wrap: SchedulerWrapper | None, condition: Condition) -> Iterator[None]:
        own = self.pipeline.scheduler
        try:
            if wrap is not None:
                self.pipeline.scheduler = wrap(own, condition)
            yield
        finally:
            self.pipeline.scheduler = own


def predict(transformer: Any, x_t: Tensor, t: Tensor, condition: Condition, constants: Mapping[str, float]) -> Tensor:
    """v by one transformer, in its precision; see `families.Family.predict`."""
    dtype, told = transformer.dtype, t * constants["time_scale"]
    predicted: Tensor = transformer(x_t.to(dtype), told, condition["text"].to(dtype), return_dict=False)[0]
    return predicted


def comfyui_name(layer: str) -> str | None:
    """The name of a layer in the original Wan code, which ComfyUI's adapters follow; None for no layer of a Wan."""
    block, _, rest = layer.partition(".attn" if ".attn" in layer else ".ffn")
    if not rest or not block.startswith("blocks."):
        return None
    for part, original in COMFYUI_NAMES.items():
        layer = layer.replace(part, original)
    return layer


def latent_shape(pipeline: WanPipeline, settings: SamplingSettings) -> tuple[int, int, int, int]:
    """(C, F, H, W) of the latents of a clip."""
    config = pipeline.vae.config
    frames = (settings.num_frames - 1) // config.scale_factor_temporal + 1
    space = config.scale_factor_spatial
    return config.z_dim, frames, settings.height // space, settings.width // space


def _each_step(action: Callable[[], None]) -> Callable[..., dict[str, Any]]:
    def after(pipeline: WanPipeline, step: int, timestep: Tensor, state: dict[str, Any]) -> dict[str, Any]:
        action()
        return state

    return after
