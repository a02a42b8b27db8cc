"""Mochi, from a text: the parts of a generator from a MochiPipeline.

Its transformer thinks the other way round: it is told 1000 (1 - t) and predicts data - noise. Both are turned here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import MochiPipeline
from torch import Tensor

from videoalign.flow.condition import Condition, join_conditions
from videoalign.models.generators.parts import (
    TEXT_ARGUMENTS,
    PipelineCodec,
    PipelineConditioner,
    PipelineNetwork,
    masked,
    told_in_call,
)
from videoalign.models.generators.pipeline_call import PipelineSampler
from videoalign.models.generators.settings import SamplingSettings, settings_of_call
from videoalign.models.generators.sizes import require_sizes

WEIGHED_PARTS = ("transformer", "vae", "text_encoder")

ATTENTION = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0")
ADDED = ("attn1.add_q_proj", "attn1.add_k_proj", "attn1.add_v_proj", "attn1.to_add_out")
"""Projections of the text."""
TARGETS: dict[str, tuple[str, ...]] = {
    "attention": (*ATTENTION, *ADDED),
    "attention+ffn": (
        *ATTENTION,
        *ADDED,
        "ff.net.0.proj",
        "ff.net.2",
        "ff_context.net.0.proj",
        "ff_context.net.2",
    ),
}

DEFAULTS = settings_of_call(MochiPipeline, fps=30.0, height=480, width=848)
"""Height and width are what the pipeline fills in; it knows no rate, and Mochi 1 was released at this one."""

PIXELS_IN_TIME, PIXELS_IN_SPACE, PATCH = 6, 8, 2
"""As the MochiPipeline has them, whatever its parts could work in."""


def require_mochi_sizes(name: str, settings: SamplingSettings, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks frames, height and width; see `sizes.require_sizes`.

    Raises:
        ConfigError: the model cannot work in them.
    """
    step = PIXELS_IN_SPACE * PATCH
    require_sizes(name, settings, time=PIXELS_IN_TIME, down=step, right=step)


class MochiCodec(PipelineCodec):
    """A `contracts.generator.Codec` over the pipeline's AutoencoderKLMochi."""

    def normalised(self, raw: Tensor) -> Tensor:
        """Shifted and scaled by ``latents_mean``, ``latents_std`` and ``scaling_factor``."""
        mean, std = self._moments(raw)
        scaled: Tensor = (raw - mean) * self.pipeline.vae.config.scaling_factor / std
        return scaled

    def decoded(self, latents: Tensor, seeds: Sequence[int]) -> Tensor:
        """Pixels in [-1, 1]; no noise is drawn."""
        vae, (mean, std) = self.pipeline.vae, self._moments(latents)
        pixels: Tensor = vae.decode(latents * std / vae.config.scaling_factor + mean, return_dict=False)[0]
        return pixels

    def _moments(self, like: Tensor) -> tuple[Tensor, Tensor]:
        config, num = self.pipeline.vae.config, like.shape[1]
        told = (config.latents_mean or [0.0] * num, config.latents_std or [1.0] * num)
        mean, std = (torch.tensor(values).to(like.device, like.dtype).reshape(1, -1, 1, 1, 1) for values in told)
        return mean, std


class MochiConditioner(PipelineConditioner):
    """A `contracts.generator.Conditioner` over the pipeline's T5: ``text`` and ``text_mask``."""

    @property
    def names(self) -> tuple[str, ...]:
        """Text, and which of it counts."""
        return ("text", "text_mask")

    @property
    def lengths(self) -> Mapping[str, int]:
        """Text and mask are read at one length."""
        return dict.fromkeys(self.names, self.settings.max_text_tokens)

    def tokens(self, prompt: str) -> list[int]:
        """Of T5."""
        found: list[int] = self.pipeline.tokenizer(prompt).input_ids
        return found

    def condition(self, prompts: Sequence[str]) -> Condition:
        """``text`` (B, max_text_tokens, text width) and ``text_mask`` (B, max_text_tokens).

        One prompt at a time: the pipeline blanks all of a batch whose last text is empty.
        """
        return join_conditions(self._one(prompt) for prompt in prompts)

    def _one(self, prompt: str) -> Condition:
        states, mask, _, _ = self.pipeline.encode_prompt(
            [prompt], do_classifier_free_guidance=False, max_sequence_length=self.settings.max_text_tokens
        )
        return Condition(masked(states, mask), self.lengths)


class MochiNetwork(PipelineNetwork):
    """A `contracts.generator.VelocityNet` over the pipeline's MochiTransformer3DModel."""

    @staticmethod
    def predict(
        transformer: Any, x_t: Tensor, t: Tensor, condition: Condition, constants: Mapping[str, float]
    ) -> Tensor:
        """v, turned round, at a time that is turned round; see `families.Family.predict`."""
        dtype = transformer.dtype
        predicted: Tensor = transformer(
            hidden_states=x_t.to(dtype),
            encoder_hidden_states=condition["text"].to(dtype),
            timestep=(1 - t) * constants["time_scale"],
            encoder_attention_mask=condition["text_mask"],
            return_dict=False,
        )[0]
        return -predicted

    @staticmethod
    def heard(told: Mapping[str, Any], constants: Mapping[str, float]) -> Condition:
        """Text and mask of a transformer's call; see `families.Family.heard`."""
        return Condition({"text": told["encoder_hidden_states"], "text_mask": told["encoder_attention_mask"]})


class MochiSampler(PipelineSampler):
    """A `contracts.generator.Sampler`: the pipeline's own call."""

    @property
    def least_steps(self) -> int:
        """Its schedule has a linear part and another one."""
        return 2

    def conditioner(self, settings: SamplingSettings) -> MochiConditioner:
        """T5 alone."""
        return MochiConditioner(self.pipeline, settings, self.name)

    def call(
        self, condition: Condition, negative: Condition | None, noise: Tensor, settings: SamplingSettings, **common: Any
    ) -> Tensor:
        """Latents as the pipeline's own call leaves them."""
        made: Tensor = self.pipeline(
            latents=noise,
            guidance_scale=settings.guidance_scale,
            **told_in_call(condition, negative, TEXT_ARGUMENTS),
            **common,
        ).frames
        return made
