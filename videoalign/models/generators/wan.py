"""Wan text-to-video models, Wan 2.1 T2V, Wan 2.2 A14B and TI2V: the parts of a generator from a WanPipeline.

The transformer is told t times the scheduler's ``num_train_timesteps``, t being the pipeline's sigma, and reads latents
that are shifted and scaled by the autoencoder's ``latents_mean`` and ``latents_std``. The pipeline of Wan 2.2 TI2V
(``expand_timesteps``) tells it the time of every token, which for a text alone is that of the clip; told once, the
transformer gives the same velocity. Of the two transformers of Wan 2.2 A14B the first serves the times from
``boundary_ratio`` on, the second those below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import WanPipeline
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from videoalign.contracts.output import fingerprint
from videoalign.flow.condition import BEGINNING, IMAGE, PICTURE, Condition
from videoalign.models.generators.identity import part_identity
from videoalign.models.generators.parts import PipelineCodec, PipelineConditioner, PipelinePart
from videoalign.models.generators.pipeline_call import PipelineSampler
from videoalign.models.generators.settings import SamplingSettings

WEIGHED_PARTS = ("transformer", "transformer_2", "vae", "text_encoder")

TARGETS: dict[str, tuple[str, ...]] = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "attention+ffn": ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"),
}
"""Self- and cross-attention alike."""

PATCH = 1, 2, 2
"""Latent frames, rows and columns in a token, where the pipeline tells every token a time."""

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


class WanPart(PipelinePart):
    """Knows how far the autoencoder of a Wan compresses."""

    @property
    def compression(self) -> tuple[int, int, int]:
        """As the settings of the autoencoder tell."""
        config = self.pipeline.vae.config
        return config.z_dim, config.scale_factor_temporal, config.scale_factor_spatial


class WanCodec(WanPart, PipelineCodec):
    """A `contracts.generator.Codec` over the pipeline's AutoencoderKLWan."""

    def normalised(self, raw: Tensor) -> Tensor:
        """Shifted and scaled by ``latents_mean`` and ``latents_std``."""
        mean, std = self._moments(raw.device)
        return (raw - mean) / std

    def decoded(self, latents: Tensor, seeds: Sequence[int]) -> Tensor:
        """Pixels in [-1, 1]; no noise is drawn."""
        mean, std = (moment.to(latents.dtype) for moment in self._moments(latents.device))
        pixels: Tensor = self.pipeline.vae.decode(latents / (1.0 / std) + mean, return_dict=False)[0]
        return pixels

    def _moments(self, device: torch.device) -> tuple[Tensor, Tensor]:
        config = self.pipeline.vae.config
        mean, std = (torch.tensor(values, device=device) for values in (config.latents_mean, config.latents_std))
        return mean.reshape(1, -1, 1, 1, 1), std.reshape(1, -1, 1, 1, 1)


class WanConditioner(PipelineConditioner):
    """A `contracts.generator.Conditioner` over the pipeline's UMT5: ``text``, which is read at one length."""

    @property
    def names(self) -> tuple[str, ...]:
        """The text alone."""
        return ("text",)

    @property
    def lengths(self) -> Mapping[str, int]:
        """The transformer looks at the zeros after a text as well."""
        return {"text": self.settings.max_text_tokens}

    def tokens(self, prompt: str) -> list[int]:
        """Of the prompt as the pipeline cleans it."""
        found: list[int] = self.pipeline.tokenizer(prompt_clean(prompt)).input_ids
        return found

    def condition(self, prompts: Sequence[str]) -> Condition:
        """``text`` (B, max_text_tokens, text width), zero after the end of each text."""
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
        made = []
        for part, rows in sides:
            # Processes that share weights run both, so one that has no rows for a part runs it on the first, unseen.
            some = rows.new_zeros(1) if not len(rows) and isinstance(part, FSDPModule) else rows
            if len(some):
                predicted = predict(part, x_t[some], t[some], condition.rows(some), self.constants).float()
                made.append((rows, predicted[: len(rows)]))
        order = torch.cat([rows for rows, _ in made]).argsort()
        return torch.cat([predicted for _, predicted in made])[order]

    def identity(self) -> str:
        """The transformers without adapters, and where one ends and the other begins."""
        if self.transformer_2 is None:
            return part_identity(self.transformer)
        return fingerprint([self.boundary, *map(part_identity, (self.transformer, self.transformer_2))])

    @staticmethod
    def heard(told: Mapping[str, Any], constants: Mapping[str, float]) -> Condition:
        """The text of a transformer's call; see `families.Family.heard`."""
        return Condition({"text": told["encoder_hidden_states"]})


class WanSampler(WanPart, PipelineSampler):
    """A `contracts.generator.Sampler`: the pipeline's own call."""

    def conditioner(self, settings: SamplingSettings) -> WanConditioner:
        """UMT5 alone."""
        return WanConditioner(self.pipeline, settings, self.name)

    def call(
        self, condition: Condition, negative: Condition | None, noise: Tensor, settings: SamplingSettings, **common: Any
    ) -> Tensor:
        """Latents as the pipeline's own call leaves them."""
        made: Tensor = self.pipeline(
            prompt_embeds=condition["text"],
            negative_prompt_embeds=None if negative is None else negative["text"],
            latents=noise,
            guidance_scale=settings.guidance_scale,
            guidance_scale_2=settings.guidance_scale_2,
            **common,
        ).frames
        return made


def predict(transformer: Any, x_t: Tensor, t: Tensor, condition: Condition, constants: Mapping[str, float]) -> Tensor:
    """v by one transformer, in its precision; see `families.Family.predict`."""
    dtype, told = transformer.dtype, t * constants["time_scale"]
    x, more = x_t.to(dtype), {}
    if PICTURE in condition.tensors:  # of an image-to-video model, see `wan_image`
        x = torch.cat([x, condition[PICTURE].to(dtype)], dim=1)
    if IMAGE in condition.tensors:
        more["encoder_hidden_states_image"] = condition[IMAGE].to(dtype)
    if given := condition.given_frames:
        x = torch.cat([condition[BEGINNING].to(dtype), x[:, :, given:]], dim=2)
        frames, height, width = (size // patch for size, patch in zip(x.shape[2:], PATCH, strict=True))
        told = told[:, None].expand(-1, frames * height * width).clone()
        told[:, : given * height * width] = 0
    predicted: Tensor = transformer(x, told, condition["text"].to(dtype), **more, return_dict=False)[0]
    return predicted


def comfyui_name(layer: str) -> str | None:
    """The name of a layer in the original Wan code, which ComfyUI's adapters follow; None for no layer of a Wan."""
    block, _, rest = layer.partition(".attn" if ".attn" in layer else ".ffn")
    if not rest or not block.startswith("blocks."):
        return None
    for part, original in COMFYUI_NAMES.items():
        layer = layer.replace(part, original)
    return layer
