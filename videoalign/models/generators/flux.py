"""FLUX.1, stills from a text: the parts of a generator from a FluxPipeline.

The transformer reads latents as one row of tokens, 2 x 2 of them in each, is told the time itself and not a thousand
times it, and, where the model is distilled, a guidance scale (``embedded_guidance``), which is a part of the condition.
Classifier-free guidance proper (``guidance_scale``) is off unless asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videoalign.contracts.output import fingerprint
from videoalign.errors import ModelError
from videoalign.flow.condition import Condition
from videoalign.models.generators.identity import part_identity, tokenizer_identity
from videoalign.models.generators.packed import PackedScheduler
from videoalign.models.generators.parts import PipelineConditioner, PipelineNetwork, told_in_call
from videoalign.models.generators.pipeline_call import dynamic_shift
from videoalign.models.generators.sd3 import ADDED, ATTENTION, FFN
from videoalign.models.generators.settings import CALL_NAMES, SamplingSettings, settings_of_call
from videoalign.models.generators.stills import STILL, StillSampler, space_of
from videoalign.models.generators.stock import FluxPipeline

WEIGHED_PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2")

TARGETS: dict[str, tuple[str, ...]] = {
    "attention": (*ATTENTION, *ADDED),
    "attention+ffn": (*ATTENTION, *ADDED, *FFN, "proj_mlp"),
}

DEFAULTS = settings_of_call(
    FluxPipeline,
    names={**CALL_NAMES, "guidance_scale": "true_cfg_scale", "embedded_guidance": "guidance_scale"},
    **STILL,
    height=1024,
    width=1024,
)
"""Height and width are those of FLUX.1's own autoencoder; see `flux_settings`."""

SIDE = 128
"""Latents along each side of a still when the pipeline is told no size."""

PATCH = 2
"""Latents along each side of a token."""


def flux_settings(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Size of the stills of one model: that of its pipeline, by its autoencoder."""
    side = SIDE * space_of(configs)
    return {"height": side, "width": side}


def require_flux_parts(name: str | Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that a token of the transformer is 2 x 2 latents of the autoencoder and no more.

    Raises:
        ModelError: it is not, as of models that fill in, or that read a picture or its depth.
    """
    got, wanted = configs["transformer"].get("in_channels"), configs["vae"].get("latent_channels", 0) * PATCH**2
    if got != wanted or configs["transformer"].get("patch_size", 1) != 1:
        raise ModelError(
            f"--model: the transformer of {name} reads {got} channels where {PATCH} x {PATCH} latents of the "
            f"autoencoder have {wanted}; wanted a text-to-image model, such as FLUX.1-dev."
        )


class FluxConditioner(PipelineConditioner):
    """A `contracts.generator.Conditioner` over T5 and CLIP: ``text``, ``pooled``, and ``guidance`` where it is read."""

    @property
    def names(self) -> tuple[str, ...]:
        """States of T5, the vector of CLIP, and the guidance scale that the transformer is told."""
        return ("text", "pooled", "guidance") if self._is_told else ("text", "pooled")

    @property
    def lengths(self) -> Mapping[str, int]:
        """The transformer looks at the places after a text as well."""
        return {"text": self.settings.max_text_tokens}

    def tokens(self, prompt: str) -> list[int]:
        """Of T5, which reads more than CLIP does."""
        found: list[int] = self.pipeline.tokenizer_2(prompt).input_ids
        return found

    def condition(self, prompts: Sequence[str]) -> Condition:
        """``text`` (B, max_text_tokens, width of T5), ``pooled`` (B, width of CLIP) and ``guidance`` (B,), a scale."""
        text, pooled, _ = self.pipeline.encode_prompt(list(prompts), max_sequence_length=self.settings.max_text_tokens)
        told = {"guidance": torch.full((len(prompts),), self._guidance, device=text.device)} if self._is_told else {}
        return Condition({"text": text, "pooled": pooled, **told}, self.lengths)

    def identity(self) -> str:
        """Both text encoders, their tokenizers, the length and the guidance scale."""
        second = part_identity(self.pipeline.text_encoder_2), tokenizer_identity(self.pipeline.tokenizer_2)
        return fingerprint([super().identity(), *second, self._guidance if self._is_told else None])

    @property
    def _is_told(self) -> bool:
        return bool(self.pipeline.transformer.config.guidance_embeds)

    @property
    def _guidance(self) -> float:
        told = self.settings.embedded_guidance
        return float(DEFAULTS.embedded_guidance or 0.0) if told is None else told


class FluxNetwork(PipelineNetwork):
    """A `contracts.generator.VelocityNet` over the pipeline's FluxTransformer2DModel."""

    @staticmethod
    def predict(
        transformer: Any, x_t: Tensor, t: Tensor, condition: Condition, constants: Mapping[str, float]
    ) -> Tensor:
        """v of latents that are packed for the transformer; see `families.Family.predict`."""
        dtype, scale, shape = transformer.dtype, constants["time_scale"], x_t.shape[2:]
        text = condition["text"].to(dtype)
        told = {"guidance": condition["guidance"].float()} if "guidance" in condition.tensors else {}
        height, width = shape[1] // PATCH, shape[2] // PATCH
        places = FluxPipeline._prepare_latent_image_ids(len(x_t), height, width, x_t.device, dtype)
        predicted = transformer(
            hidden_states=pack_squares(x_t.to(dtype)),
            timestep=(t * scale).to(dtype) / scale,
            encoder_hidden_states=text,
            pooled_projections=condition["pooled"].to(dtype),
            txt_ids=text.new_zeros(text.shape[1], 3),
            img_ids=places,
            **told,
            return_dict=False,
        )[0]
        return unpack_squares(predicted, shape)

    @staticmethod
    def heard(told: Mapping[str, Any], constants: Mapping[str, float]) -> Condition:
        """Text, vector and guidance scale of a transformer's call; see `families.Family.heard`."""
        guidance = {} if told.get("guidance") is None else {"guidance": told["guidance"]}
        return Condition({"text": told["encoder_hidden_states"], "pooled": told["pooled_projections"], **guidance})


class FluxSampler(StillSampler):
    """A `contracts.generator.Sampler`: the pipeline's own call."""

    @property
    def time_shift(self) -> float:
        """Sigma shift of the times that it samples at, which may grow with the tokens of a still.

        Raises:
            ConfigError: see `PipelineSampler.time_shift`.
        """
        _, _, height, width = self.latent_shape
        return dynamic_shift(self.pipeline.scheduler.config, height * width // PATCH**2) or super().time_shift

    def conditioner(self, settings: SamplingSettings) -> FluxConditioner:
        """T5 and CLIP."""
        return FluxConditioner(self.pipeline, settings, self.name)

    def call(
        self, condition: Condition, negative: Condition | None, noise: Tensor, settings: SamplingSettings, **common: Any
    ) -> Tensor:
        """Latents as the pipeline's own call leaves them, unpacked."""
        names = {"text": "prompt_embeds", "pooled": "pooled_prompt_embeds"}
        told = told_in_call(condition, negative, names)
        if "guidance" in condition.tensors:
            told["guidance_scale"] = float(condition["guidance"][0])
        made = self.stills(pack_squares(noise), true_cfg_scale=settings.guidance_scale, **told, **common)
        return unpack_squares(made, noise.shape[2:])

    def facing(self, scheduler: Any) -> Any:
        """One that is given packed latents."""
        shape = torch.Size(self.latent_shape[1:])
        return PackedScheduler(scheduler, pack_squares, lambda tokens: unpack_squares(tokens, shape))


def pack_squares(latents: Tensor) -> Tensor:
    """Latents (B, C, 1, H, W) as tokens (B, H W / 4, 4 C)."""
    size, channels, _, height, width = latents.shape
    made: Tensor = FluxPipeline._pack_latents(latents, size, channels, height, width)
    return made


def unpack_squares(tokens: Tensor, shape: Sequence[int]) -> Tensor:
    """Tokens (B, H W / 4, 4 C) as latents (B, C, 1, H, W) of this (1, H, W)."""
    made: Tensor = FluxPipeline._unpack_latents(tokens, shape[1], shape[2], 1)
    return made[:, :, None]


def shape_told(told: Mapping[str, Any]) -> tuple[int, int, int]:
    """(1, H, W) of the latents of a transformer's call, by the places of its tokens."""
    last = told["img_ids"].reshape(-1, 3).amax(0).int().tolist()
    return 1, PATCH * (last[1] + 1), PATCH * (last[2] + 1)
