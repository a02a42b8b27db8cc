"""HunyuanVideo, from a text: the parts of a generator from a HunyuanVideoPipeline.

The transformer reads the states of a LLaMA with a mask, a pooled vector of CLIP and, as the released model is
distilled, a guidance scale (``embedded_guidance``), which is a part of the condition. Classifier-free guidance proper
(``guidance_scale``) is off unless asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import HunyuanVideoPipeline
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from torch import Tensor

from videoalign.contracts.output import fingerprint
from videoalign.errors import ModelError
from videoalign.flow.condition import Condition
from videoalign.models.generators.identity import part_identity, tokenizer_identity
from videoalign.models.generators.parts import (
    TEXT_ARGUMENTS,
    PipelineCodec,
    PipelineConditioner,
    PipelineNetwork,
    masked,
    told_in_call,
)
from videoalign.models.generators.pipeline_call import PipelineSampler
from videoalign.models.generators.settings import CALL_NAMES, SamplingSettings, settings_of_call
from videoalign.models.generators.sizes import require_sizes

WEIGHED_PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2")

ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
ADDED = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out")
"""Projections of the text in the blocks that keep it apart."""
TARGETS: dict[str, tuple[str, ...]] = {
    "attention": (*ATTENTION, *ADDED),
    "attention+ffn": (
        *ATTENTION,
        *ADDED,
        "ff.net.0.proj",
        "ff.net.2",
        "ff_context.net.0.proj",
        "ff_context.net.2",
        "proj_mlp",
    ),
}

DEFAULTS = settings_of_call(
    HunyuanVideoPipeline,
    names={**CALL_NAMES, "guidance_scale": "true_cfg_scale", "embedded_guidance": "guidance_scale"},
    fps=24.0,
)
"""The pipeline knows no rate; this is the one that the model was released at."""

PIPELINE_STEP = 16
"""The HunyuanVideoPipeline wants multiples of this."""
GUIDANCE_SCALE = 1000.0
"""What the pipeline multiplies a guidance scale with."""


def require_hunyuan_parts(name: str | Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that the transformer reads latents of the autoencoder and no picture.

    Raises:
        ModelError: it reads something else.
    """
    config, wanted = configs["transformer"], configs["vae"].get("latent_channels")
    if config.get("in_channels") != wanted or config.get("image_condition_type") is not None:
        raise ModelError(
            f"--model: the transformer of {name} reads {config.get('in_channels')} channels where the autoencoder "
            f"makes {wanted}, or a picture; wanted a text-to-video model, such as HunyuanVideo."
        )


def require_hunyuan_sizes(
    name: str, settings: SamplingSettings, configs: Mapping[str, Mapping[str, Any]], *, step: int = 1
) -> None:
    """Checks frames, height and width, which the pipeline wants in multiples of ``step``; see `sizes.require_sizes`.

    Raises:
        ConfigError: the model cannot work in them.
    """
    vae = configs["vae"]
    step = math.lcm(vae["spatial_compression_ratio"] * configs["transformer"]["patch_size"], step)
    require_sizes(name, settings, time=vae["temporal_compression_ratio"], down=step, right=step)


class HunyuanCodec(PipelineCodec):
    """A `contracts.generator.Codec` over the pipeline's AutoencoderKLHunyuanVideo."""

    def normalised(self, raw: Tensor) -> Tensor:
        """Times ``scaling_factor``."""
        scaled: Tensor = raw * self.pipeline.vae.config.scaling_factor
        return scaled

    def decoded(self, latents: Tensor, seeds: Sequence[int]) -> Tensor:
        """Pixels in [-1, 1]; no noise is drawn."""
        vae = self.pipeline.vae
        pixels: Tensor = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
        return pixels


class HunyuanConditioner(PipelineConditioner):
    """A `contracts.generator.Conditioner` over LLaMA and CLIP: ``text``, ``text_mask``, ``pooled`` and ``guidance``."""

    @property
    def names(self) -> tuple[str, ...]:
        """States and mask of LLaMA, the vector of CLIP, and the guidance scale that the transformer is told."""
        return ("text", "text_mask", "pooled", "guidance")

    @property
    def lengths(self) -> Mapping[str, int]:
        """Text and mask are read at one length."""
        return dict.fromkeys(("text", "text_mask"), self.settings.max_text_tokens)

    def tokens(self, prompt: str) -> list[int]:
        """Of LLaMA, behind the part of the pipeline's template that is cut off."""
        whole: list[int] = self.pipeline.tokenizer(DEFAULT_PROMPT_TEMPLATE["template"].format(prompt)).input_ids
        return whole[DEFAULT_PROMPT_TEMPLATE["crop_start"] :]

    def condition(self, prompts: Sequence[str]) -> Condition:
        """``text`` (B, L, D), ``text_mask`` (B, L), ``pooled`` (B, width of CLIP) and ``guidance`` (B,), a scale."""
        text, pooled, mask = self.pipeline.encode_prompt(
            list(prompts), max_sequence_length=self.settings.max_text_tokens
        )
        guidance = torch.full((len(prompts),), self._guidance(), device=text.device)
        return Condition({**masked(text, mask), "pooled": pooled, "guidance": guidance}, self.lengths)

    def identity(self) -> str:
        """Both text encoders, their tokenizers, the length and the guidance scale."""
        second = part_identity(self.pipeline.text_encoder_2), tokenizer_identity(self.pipeline.tokenizer_2)
        return fingerprint([super().identity(), *second, self._guidance()])

    def _guidance(self) -> float:
        told = self.settings.embedded_guidance
        return float(DEFAULTS.embedded_guidance or 0.0) if told is None else told


class HunyuanNetwork(PipelineNetwork):
    """A `contracts.generator.VelocityNet` over the pipeline's HunyuanVideoTransformer3DModel."""

    @staticmethod
    def predict(
        transformer: Any, x_t: Tensor, t: Tensor, condition: Condition, constants: Mapping[str, float]
    ) -> Tensor:
        """v; the guidance is told as the time is, in thousandths. See `families.Family.predict`."""
        dtype = transformer.dtype
        predicted: Tensor = transformer(
            hidden_states=x_t.to(dtype),
            timestep=t * constants["time_scale"],
            encoder_hidden_states=condition["text"].to(dtype),
            encoder_attention_mask=condition["text_mask"].to(dtype),
            pooled_projections=condition["pooled"].to(dtype),
            guidance=condition["guidance"].to(dtype) * GUIDANCE_SCALE,
            return_dict=False,
        )[0]
        return predicted

    @staticmethod
    def heard(told: Mapping[str, Any], constants: Mapping[str, float]) -> Condition:
        """Text, mask, vector and guidance scale of a transformer's call; see `families.Family.heard`."""
        names = {"text": "encoder_hidden_states", "text_mask": "encoder_attention_mask", "pooled": "pooled_projections"}
        tensors = {name: told[argument] for name, argument in names.items()}
        return Condition({**tensors, "guidance": told["guidance"].float() / GUIDANCE_SCALE})


class HunyuanSampler(PipelineSampler):
    """A `contracts.generator.Sampler`: the pipeline's own call."""

    def conditioner(self, settings: SamplingSettings) -> HunyuanConditioner:
        """LLaMA and CLIP."""
        return HunyuanConditioner(self.pipeline, settings, self.name)

    def call(
        self, condition: Condition, negative: Condition | None, noise: Tensor, settings: SamplingSettings, **common: Any
    ) -> Tensor:
        """Latents as the pipeline's own call leaves them."""
        made: Tensor = self.pipeline(
            latents=noise,
            guidance_scale=float(condition["guidance"][0]),
            true_cfg_scale=settings.guidance_scale,
            **told_in_call(condition, negative, {**TEXT_ARGUMENTS, "pooled": "pooled_prompt_embeds"}),
            **common,
        ).frames
        return made
