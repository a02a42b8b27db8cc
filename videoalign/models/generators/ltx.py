"""LTX-Video, from a text: the parts of a generator from an LTXPipeline.

The transformer reads latents as one row of tokens, and a text with a mask. Its positions are in seconds, so ``fps`` is
a part of the condition. The autoencoder may ask for a time and noise when it decodes (``decode_timestep``,
``decode_noise_scale``); the noise of a clip follows its seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import LTXPipeline
from torch import Tensor

from videoalign.contracts.output import fingerprint
from videoalign.errors import ModelError
from videoalign.flow.condition import Condition
from videoalign.models.generators.packed import PackedScheduler
from videoalign.models.generators.parts import (
    TEXT_ARGUMENTS,
    PipelineCodec,
    PipelineConditioner,
    PipelineNetwork,
    masked,
    told_in_call,
)
from videoalign.models.generators.pipeline_call import PipelineSampler, dynamic_shift
from videoalign.models.generators.settings import SamplingSettings, settings_of_call
from videoalign.models.generators.sizes import require_sizes
from videoalign.randomness import fold_in

WEIGHED_PARTS = ("transformer", "vae", "text_encoder")

TARGETS: dict[str, tuple[str, ...]] = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "attention+ffn": ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"),
}
"""Self- and cross-attention alike."""

DEFAULTS = settings_of_call(LTXPipeline)

PIPELINE_STEP = 32
"""The LTXPipeline wants multiples of this, whatever its parts could work in."""


def require_ltx_parts(name: str | Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that a token of the transformer is one latent of the autoencoder, which is all that the pipeline can pack.

    Raises:
        ModelError: it is not.
    """
    config, wanted = configs["transformer"], configs["vae"].get("latent_channels")
    got = [config.get(key) for key in ("in_channels", "patch_size", "patch_size_t")]
    if got != [wanted, 1, 1]:
        raise ModelError(
            f"--model: the transformer of {name} reads {got[0]} channels in patches of {got[1]} and {got[2]}; wanted "
            f"the {wanted} that the autoencoder makes in patches of 1, as of LTX-Video."
        )


def require_ltx_sizes(name: str, settings: SamplingSettings, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks frames, height and width; see `sizes.require_sizes`.

    Raises:
        ConfigError: the model cannot work in them.
    """
    config = configs["vae"]
    halvings = sum(config["spatio_temporal_scaling"])
    time = config.get("temporal_compression_ratio") or config["patch_size_t"] * 2**halvings
    space = config.get("spatial_compression_ratio") or config["patch_size"] * 2**halvings
    step = math.lcm(space, PIPELINE_STEP)
    require_sizes(name, settings, time=time, down=step, right=step)


class LtxCodec(PipelineCodec):
    """A `contracts.generator.Codec` over the pipeline's AutoencoderKLLTXVideo."""

    def normalised(self, raw: Tensor) -> Tensor:
        """By the mean and deviation that the autoencoder holds beside its weights."""
        vae = self.pipeline.vae
        made: Tensor = self.pipeline._normalize_latents(
            raw, vae.latents_mean, vae.latents_std, vae.config.scaling_factor
        )
        return made

    def decoded(self, latents: Tensor, seeds: Sequence[int]) -> Tensor:
        """Pixels in [-1, 1]; where the autoencoder is told a time, noise of the clip's seed is mixed in first."""
        vae, settings, times = self.pipeline.vae, self.settings, None
        raw = self.pipeline._denormalize_latents(latents, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)
        if vae.config.timestep_conditioning:
            times = torch.full((len(raw),), settings.decode_timestep or 0.0, device=raw.device, dtype=raw.dtype)
            share = settings.decode_timestep if settings.decode_noise_scale is None else settings.decode_noise_scale
            noise = [torch.randn(raw.shape[1:], generator=decode_draw(seed), dtype=raw.dtype) for seed in seeds]
            raw = (1 - (share or 0.0)) * raw + (share or 0.0) * torch.stack(noise).to(raw.device)
        if times is None or not vae.use_slicing:
            pixels: Tensor = vae.decode(raw, times, return_dict=False)[0]
            return pixels
        # diffusers' own slicing pairs no clip with its time
        pairs = zip(raw.split(1), times.split(1), strict=True)
        return torch.cat([vae.decode(one, time, return_dict=False)[0] for one, time in pairs])


def decode_draw(seed: int) -> torch.Generator:
    """Draws the noise that a clip of this seed is decoded with."""
    return fold_in(seed, "decode")


class LtxConditioner(PipelineConditioner):
    """A `contracts.generator.Conditioner` over the pipeline's T5: ``text``, ``text_mask`` and ``fps``."""

    @property
    def names(self) -> tuple[str, ...]:
        """Text, which of it counts, and the frames per second that its positions are in."""
        return ("text", "text_mask", "fps")

    @property
    def lengths(self) -> Mapping[str, int]:
        """Text and mask are read at one length."""
        return dict.fromkeys(("text", "text_mask"), self.settings.max_text_tokens)

    def tokens(self, prompt: str) -> list[int]:
        """Of T5."""
        found: list[int] = self.pipeline.tokenizer(prompt).input_ids
        return found

    def condition(self, prompts: Sequence[str]) -> Condition:
        """``text`` (B, max_text_tokens, text width), ``text_mask`` (B, max_text_tokens) and ``fps`` (B,)."""
        states, mask, _, _ = self.pipeline.encode_prompt(
            list(prompts), do_classifier_free_guidance=False, max_sequence_length=self.settings.max_text_tokens
        )
        fps = torch.full((len(prompts),), self.settings.fps, device=states.device)
        return Condition({**masked(states, mask), "fps": fps}, self.lengths)

    def identity(self) -> str:
        """Text encoder, tokenizer, length and frames per second."""
        return fingerprint([super().identity(), self.settings.fps])


class LtxNetwork(PipelineNetwork):
    """A `contracts.generator.VelocityNet` over the pipeline's LTXVideoTransformer3DModel."""

    def __init__(self, pipeline: Any, settings: SamplingSettings, name: str) -> None:
        super().__init__(pipeline, settings, name)
        self.constants["pixels_in_time"] = float(pipeline.vae_temporal_compression_ratio)
        self.constants["pixels_in_space"] = float(pipeline.vae_spatial_compression_ratio)

    @staticmethod
    def predict(
        transformer: Any, x_t: Tensor, t: Tensor, condition: Condition, constants: Mapping[str, float]
    ) -> Tensor:
        """v of latents that are packed for the transformer; see `families.Family.predict`."""
        dtype, shape = transformer.dtype, x_t.shape[2:]
        seconds = constants["pixels_in_time"] / condition["fps"].float().reshape(-1, 1, 1, 1, 1)
        predicted = transformer(
            hidden_states=pack(x_t.to(dtype)),
            encoder_hidden_states=condition["text"].to(dtype),
            timestep=t * constants["time_scale"],
            encoder_attention_mask=condition["text_mask"],
            num_frames=shape[0],
            height=shape[1],
            width=shape[2],
            rope_interpolation_scale=(seconds, constants["pixels_in_space"], constants["pixels_in_space"]),
            return_dict=False,
        )[0]
        return unpack(predicted, shape)

    @staticmethod
    def heard(told: Mapping[str, Any], constants: Mapping[str, float]) -> Condition:
        """Text, mask and frames per second of a transformer's call; see `families.Family.heard`."""
        text = told["encoder_hidden_states"]
        fps = constants["pixels_in_time"] / float(told["rope_interpolation_scale"][0])
        return Condition(
            {"text": text, "text_mask": told["encoder_attention_mask"], "fps": text.new_full((len(text),), fps)}
        )


class LtxSampler(PipelineSampler):
    """A `contracts.generator.Sampler`: the pipeline's own call."""

    @property
    def time_shift(self) -> float:
        """Sigma shift of the times that it samples at, which grows with the tokens of a clip.

        That the sampler ends above t = 0 (``shift_terminal``) is no part of it: training is for all times.

        Raises:
            ConfigError: see `PipelineSampler.time_shift`.
        """
        return dynamic_shift(self.pipeline.scheduler.config, math.prod(self.latent_shape[1:])) or super().time_shift

    @property
    def least_steps(self) -> int:
        """One step of a schedule with an end of its own (``shift_terminal``) would divide by zero."""
        return 2 if self.pipeline.scheduler.config.get("shift_terminal") else 1

    def conditioner(self, settings: SamplingSettings) -> LtxConditioner:
        """T5 alone."""
        return LtxConditioner(self.pipeline, settings, self.name)

    def call(
        self, condition: Condition, negative: Condition | None, noise: Tensor, settings: SamplingSettings, **common: Any
    ) -> Tensor:
        """Latents as the pipeline's own call leaves them, unpacked."""
        made = self.pipeline(
            latents=pack(noise),
            frame_rate=settings.fps,
            guidance_scale=settings.guidance_scale,
            **told_in_call(condition, negative, TEXT_ARGUMENTS),
            **common,
        ).frames
        return unpack(made, noise.shape[2:])

    def facing(self, scheduler: Any) -> Any:
        """One that is given packed latents."""
        shape = torch.Size(self.latent_shape[1:])
        return PackedScheduler(scheduler, pack, lambda tokens: unpack(tokens, shape))


def pack(latents: Tensor) -> Tensor:
    """Latents (B, C, F, H, W) as tokens (B, F H W, C)."""
    made: Tensor = LTXPipeline._pack_latents(latents)
    return made


def unpack(tokens: Tensor, shape: Sequence[int]) -> Tensor:
    """Tokens (B, F H W, C) as latents (B, C, F, H, W) of this (F, H, W)."""
    made: Tensor = LTXPipeline._unpack_latents(tokens, *shape)
    return made
