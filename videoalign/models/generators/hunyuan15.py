"""HunyuanVideo 1.5, from a text: the parts of a generator from a HunyuanVideo15Pipeline.

The transformer reads zeros where its siblings read a picture. The scale of guidance is that of the pipeline's guider,
which is set for each call; steps are counted at the scheduler, as the call takes no callback.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ClassifierFreeGuidance, HunyuanVideo15Pipeline
from diffusers.pipelines.hunyuan_video1_5.image_processor import HunyuanVideo15ImageProcessor
from diffusers.pipelines.hunyuan_video1_5.pipeline_hunyuan_video1_5 import format_text_input
from diffusers.utils import logging
from torch import Tensor

from videoalign.contracts.output import fingerprint
from videoalign.errors import ModelError
from videoalign.flow.condition import Condition
from videoalign.models.generators.hunyuan import ADDED, ATTENTION, HunyuanCodec
from videoalign.models.generators.identity import part_identity, tokenizer_identity
from videoalign.models.generators.packed import PackedScheduler
from videoalign.models.generators.parts import (
    PipelineConditioner,
    PipelineNetwork,
    masked,
    told_in_call,
)
from videoalign.models.generators.pipeline_call import PipelineSampler
from videoalign.models.generators.settings import SamplingSettings, settings_of_call
from videoalign.models.quiet import no_notes

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

DEFAULTS = settings_of_call(
    HunyuanVideo15Pipeline,
    fps=24.0,
    guidance_scale=inspect.signature(ClassifierFreeGuidance).parameters["guidance_scale"].default,
    max_text_tokens=1000,
)
"""The pipeline knows no rate; this is the one that the model was released at."""


def hunyuan15_settings(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Size and scale of one model of the family: those of its transformer and its guider."""
    found: dict[str, Any] = {}
    if configs["transformer"].get("target_size"):
        space = configs["vae"]["spatial_compression_ratio"]
        sizes = HunyuanVideo15ImageProcessor(vae_scale_factor=space)
        found["height"], found["width"] = sizes.calculate_default_height_width(
            9, 16, configs["transformer"]["target_size"]
        )
    if configs.get("guider", {}).get("guidance_scale") is not None:
        found["guidance_scale"] = configs["guider"]["guidance_scale"]
    return found


def require_hunyuan15_parts(name: str | Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that the transformer reads latents, as many channels of a picture and a mask, and is told one time.

    Raises:
        ModelError: it reads something else.
    """
    config, channels = configs["transformer"], configs["vae"].get("latent_channels", 0)
    if config.get("in_channels") != 2 * channels + 1 or config.get("use_meanflow"):
        raise ModelError(
            f"--model: the transformer of {name} reads {config.get('in_channels')} channels where the autoencoder "
            f"makes {channels}, or two times; wanted a text-to-video model, such as HunyuanVideo 1.5 T2V."
        )


class Hunyuan15Codec(HunyuanCodec):
    """A `contracts.generator.Codec` over the pipeline's AutoencoderKLHunyuanVideo15, whose attention takes one clip."""

    def encode_frames(self, frames: np.ndarray) -> Tensor:
        """See `PipelineCodec.encode_frames`; clip by clip."""
        return torch.cat([super(Hunyuan15Codec, self).encode_frames(clip[None]) for clip in frames])

    def decoded(self, latents: Tensor, seeds: Sequence[int]) -> Tensor:
        """Pixels in [-1, 1], clip by clip; no noise is drawn."""
        return torch.cat([super(Hunyuan15Codec, self).decoded(one[None], seeds) for one in latents])


class Hunyuan15Conditioner(PipelineConditioner):
    """A `contracts.generator.Conditioner` over Qwen2.5-VL and ByT5, each with its mask."""

    @property
    def names(self) -> tuple[str, ...]:
        """States and mask of the whole text, and of what it has in quotation marks."""
        return ("text", "text_mask", "glyphs", "glyphs_mask")

    @property
    def lengths(self) -> Mapping[str, int]:
        """Each text and its mask are read at one length."""
        texts = dict.fromkeys(("text", "text_mask"), self.settings.max_text_tokens)
        return {**texts, **dict.fromkeys(("glyphs", "glyphs_mask"), self.pipeline.tokenizer_2_max_length)}

    def tokens(self, prompt: str) -> list[int]:
        """Of Qwen2.5-VL, behind the part of the pipeline's template that is cut off."""
        [turns] = format_text_input([prompt], self.pipeline.system_message)
        whole: list[int] = self.pipeline.tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"]
        return whole[self.pipeline.prompt_template_encode_start_idx :]

    def condition(self, prompts: Sequence[str]) -> Condition:
        """``text`` (B, L, D), ``glyphs`` (B, 256, width of ByT5) and their masks."""
        pipeline = self.pipeline
        text = pipeline._get_mllm_prompt_embeds(
            text_encoder=pipeline.text_encoder,
            tokenizer=pipeline.tokenizer,
            prompt=list(prompts),
            device=pipeline._execution_device,
            tokenizer_max_length=self.settings.max_text_tokens,
            system_message=pipeline.system_message,
            crop_start=pipeline.prompt_template_encode_start_idx,
        )
        glyphs = pipeline._get_byt5_prompt_embeds(
            tokenizer=pipeline.tokenizer_2,
            text_encoder=pipeline.text_encoder_2,
            prompt=list(prompts),
            device=pipeline._execution_device,
            tokenizer_max_length=pipeline.tokenizer_2_max_length,
        )
        second = {name.replace("text", "glyphs"): value for name, value in masked(*glyphs).items()}
        return Condition({**masked(*text), **second}, self.lengths)

    def identity(self) -> str:
        """Both text encoders, their tokenizers and the length."""
        second = part_identity(self.pipeline.text_encoder_2), tokenizer_identity(self.pipeline.tokenizer_2)
        return fingerprint([super().identity(), *second])


class Hunyuan15Network(PipelineNetwork):
    """A `contracts.generator.VelocityNet` over the pipeline's HunyuanVideo15Transformer3DModel."""

    @staticmethod
    def predict(
        transformer: Any, x_t: Tensor, t: Tensor, condition: Condition, constants: Mapping[str, float]
    ) -> Tensor:
        """v, with nothing where a picture could be; see `families.Family.predict`."""
        dtype = transformer.dtype
        x = x_t.to(dtype)
        text, text_mask = _used(condition["text"], condition["text_mask"])
        glyphs, glyphs_mask = _used(condition["glyphs"], condition["glyphs_mask"])
        picture = (
            len(x),
            1,
            transformer.config.image_embed_dim,
        )  # no token of no picture counts, however many there are
        predicted: Tensor = transformer(
            hidden_states=torch.cat([x, torch.zeros_like(x), torch.zeros_like(x[:, :1])], dim=1),
            timestep=(t * constants["time_scale"]).to(dtype),
            encoder_hidden_states=text.to(dtype),
            encoder_attention_mask=text_mask.to(dtype),
            encoder_hidden_states_2=glyphs.to(dtype),
            encoder_attention_mask_2=glyphs_mask.to(dtype),
            image_embeds=torch.zeros(picture, device=x.device, dtype=dtype),
            return_dict=False,
        )[0]
        return predicted

    @staticmethod
    def heard(told: Mapping[str, Any], constants: Mapping[str, float]) -> Condition:
        """Both texts and their masks of a transformer's call; see `families.Family.heard`."""
        read = {"text": "hidden_states", "text_mask": "attention_mask"}
        read |= {"glyphs": "hidden_states_2", "glyphs_mask": "attention_mask_2"}
        return Condition({name: told[f"encoder_{argument}"] for name, argument in read.items()})


class Hunyuan15Sampler(PipelineSampler):
    """A `contracts.generator.Sampler`: the pipeline's own call."""

    def conditioner(self, settings: SamplingSettings) -> Hunyuan15Conditioner:
        """Qwen2.5-VL and ByT5."""
        return Hunyuan15Conditioner(self.pipeline, settings, self.name)

    def call(
        self, condition: Condition, negative: Condition | None, noise: Tensor, settings: SamplingSettings, **common: Any
    ) -> Tensor:
        """Latents as the pipeline's own call leaves them."""
        endings = {"text": "", "text_mask": "_mask", "glyphs": "_2", "glyphs_mask": "_mask_2"}
        names = {name: f"prompt_embeds{ending}" for name, ending in endings.items()}
        texts = told_in_call(condition, negative, names)
        pipeline, after = self.pipeline, common.pop("callback_on_step_end")
        if after is not None:
            pipeline.scheduler = PackedScheduler(
                pipeline.scheduler, _same, _same, after=lambda: after(pipeline, 0, None, {})
            )
        guider = pipeline.guider
        try:
            scale = settings.guidance_scale if negative is not None else 1.0
            with no_notes(logging):  # that guiders are new
                pipeline.guider = type(guider).from_config({**guider.config, "guidance_scale": scale})
            made: Tensor = pipeline(latents=noise, **texts, **common).frames
        finally:
            pipeline.guider = guider
        return made


def _used(states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """States and mask up to the end of the longest text, at least one: most prompts are a fraction of what is read."""
    length = max(1, int(mask.sum(1).max()))
    return states[:, :length], mask[:, :length]


def _same(latents: Tensor) -> Tensor:
    return latents
