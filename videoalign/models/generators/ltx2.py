"""LTX-2, from a text: the parts of a generator from an LTX2Pipeline, whose clips have sound.

The transformer reads tokens of the video and of its sound and predicts the velocities of both. What is trained is the
video alone: its velocity with the attention between the two switched off, as the pipeline's own guidance asks for it,
so that no sound reaches it and no dataset need hold any. Sampling is the pipeline's own call and makes both together,
the sound from noise of the clip's seed; it has its say in the video and is then let go of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import LTX2Pipeline
from diffusers.models.autoencoders.autoencoder_kl_ltx2_audio import LATENT_DOWNSAMPLE_FACTOR
from diffusers.utils import logging
from torch import Tensor

from videoalign.contracts.generator import VelocityNet
from videoalign.contracts.output import fingerprint
from videoalign.errors import ConfigError, ModelError
from videoalign.flow.condition import Condition, join_conditions
from videoalign.models.digest import config_digest
from videoalign.models.generators.identity import part_identity
from videoalign.models.generators.ltx import (
    LtxConditioner,
    LtxSampler,
    pack,
    require_ltx_parts,
    require_ltx_sizes,
    unpack,
)
from videoalign.models.generators.parts import TEXT_ARGUMENTS, PipelineNetwork, masked, told_in_call
from videoalign.models.generators.settings import SamplingSettings, settings_of_call
from videoalign.models.quiet import no_notes
from videoalign.randomness import fold_in

WEIGHED_PARTS = ("transformer", "vae", "audio_vae", "text_encoder", "connectors", "vocoder")
LEFT_OUT = ("processor", "prompt_enhancer", "duration_head")
"""Parts that some models have to write prompts anew and to choose a length by them; a clip's length is a setting."""

ATTENTION = tuple(f"attn{number}.{layer}" for number in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0"))
TARGETS: dict[str, tuple[str, ...]] = {
    "attention": ATTENTION,
    "attention+ffn": (*ATTENTION, "ff.net.0.proj", "ff.net.2"),
}
"""Of the video: self- and cross-attention to the text. What sound passes through is as it was."""

AUDIO = r"(^|\.)(audio_|av_cross_attn_|video_a2v_|video_to_audio_)"
"""Parts of the transformer that have no say in the video where the two are kept apart, by the names in it."""

DEFAULTS = settings_of_call(LTX2Pipeline, num_frames=121)
"""The number of frames is what the pipeline fills in."""

AUDIO_GUIDANCE = ("audio_guidance_scale", "audio_stg_scale", "audio_modality_scale", "audio_guidance_rescale")
"""Arguments of the call; where one is None the sound is guided as the video."""
UNGUIDED = {"stg_scale": 0.0, "modality_scale": 1.0, "guidance_rescale": 0.0, **dict.fromkeys(AUDIO_GUIDANCE)}
UNSKIPPED = {"stg_scale": 0.0, "audio_stg_scale": None}


def text_width(config: Mapping[str, Any]) -> str:
    """Setting of a transformer that has the width of the text: LTX-2 projects it, LTX-2.3 reads it as it comes."""
    return "caption_channels" if config.get("use_prompt_embeddings", True) else "cross_attention_dim"


def require_ltx2_parts(name: str | Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks that a token is one latent, and that latents are decoded without a time and noise of their own.

    Raises:
        ModelError: it is not, or they are not.
    """
    require_ltx_parts(name, configs)
    if configs["vae"].get("timestep_conditioning"):
        raise ModelError(
            f"--model: the autoencoder of {name} is told a time when it decodes; wanted one that is not, as of LTX-2."
        )


def sound_tokens(settings: SamplingSettings, audio_vae: Mapping[str, Any]) -> int:
    """Tokens of the sound of a clip, by the settings of its autoencoder."""
    of_second = audio_vae["sample_rate"] / audio_vae["mel_hop_length"] / float(LATENT_DOWNSAMPLE_FACTOR)
    return round(settings.num_frames / settings.fps * of_second)


def require_ltx2_legal(name: str, settings: SamplingSettings, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks frames, height and width, that a clip is long enough for a sound, and a length of texts that registers
    fill up.

    Raises:
        ConfigError: the model cannot work in them.
    """
    require_ltx_sizes(name, settings, configs)
    if not sound_tokens(settings, configs["audio_vae"]):
        raise ConfigError(
            f"fps: got {settings.fps:g}; '{name}' makes sound too, for which {settings.num_frames} frames then are too "
            "short. Set fps lower, as 24."
        )
    length = settings.max_text_tokens
    for kind in ("video", "audio"):
        step = configs["connectors"].get(f"{kind}_connector_num_learnable_registers")
        if step and length % step:
            near = [size for size in (length // step * step, (length // step + 1) * step) if size]
            raise ConfigError(
                f"max_text_tokens: got {length}; '{name}' wants a multiple of {step}. "
                f"Set {' or '.join(f'max_text_tokens={size}' for size in near)}."
            )


class Ltx2Conditioner(LtxConditioner):
    """A `contracts.generator.Conditioner` over Gemma and the connectors, for the video.

    A text stands at the end of what Gemma reads; the connectors put it in front and fill up with registers, which count
    as its words do. So there is nothing to trim, and as much of every prompt.
    """

    @property
    def lengths(self) -> Mapping[str, int]:
        """Texts and mask are read at one length."""
        return {name: self.settings.max_text_tokens for name in self.names if name != "fps"}

    def tokens(self, prompt: str) -> list[int]:
        """Of Gemma."""
        return super().tokens(prompt.strip())

    def condition(self, prompts: Sequence[str]) -> Condition:
        """``text`` (B, max_text_tokens, text width), ``text_mask`` (B, max_text_tokens) and ``fps`` (B,).

        One prompt at a time: the states of all layers of Gemma are some 400 MB for one.
        """
        return join_conditions(self._one(prompt) for prompt in prompts)

    def identity(self) -> str:
        """Text encoder, tokenizer, length, frames per second and connectors."""
        self.pipeline.tokenizer.padding_side = "left"  # as the pipeline leaves it when it has read a prompt
        return fingerprint([super().identity(), part_identity(self.pipeline.connectors)])

    def _one(self, prompt: str) -> Condition:
        pipeline, settings = self.pipeline, self.settings
        states, mask, _, _ = pipeline.encode_prompt(
            [prompt], do_classifier_free_guidance=False, max_sequence_length=settings.max_text_tokens
        )
        video, audio, used = pipeline.connectors(states, mask, padding_side=pipeline.tokenizer.padding_side)
        told = {**masked(video, used), "audio_text": masked(audio, used)["text"]}
        told["fps"] = torch.full((1,), settings.fps, device=video.device)
        return Condition({name: told[name] for name in self.names}, self.lengths)


class SoundingConditioner(Ltx2Conditioner):
    """The same for sampling, which makes sound too: with ``audio_text`` (B, max_text_tokens, its width)."""

    @property
    def names(self) -> tuple[str, ...]:
        """Text for the video, for its sound, which of them counts, and frames per second."""
        return ("text", "audio_text", "text_mask", "fps")


class Ltx2Network(PipelineNetwork):
    """A `contracts.generator.VelocityNet` over the pipeline's LTX2VideoTransformer3DModel, for the video."""

    @staticmethod
    def predict(
        transformer: Any, x_t: Tensor, t: Tensor, condition: Condition, constants: Mapping[str, float]
    ) -> Tensor:
        """v of the video, kept apart from a sound of one empty token; see `families.Family.predict`."""
        told = {"audio_num_frames": 1, "isolate_modalities": True}
        return _beside_silence(transformer, x_t, t * constants["time_scale"], condition, text_tokens=1, **told)

    @staticmethod
    def heard(told: Mapping[str, Any], constants: Mapping[str, float]) -> Condition:
        """Text, mask and frames per second of a transformer's call; see `families.Family.heard`."""
        text = told["encoder_hidden_states"]
        fps = torch.full((len(text),), float(told["fps"]), device=text.device)
        return Condition({"text": text, "text_mask": told["encoder_attention_mask"], "fps": fps})


class Ltx2Sampler(LtxSampler):
    """A `contracts.generator.Sampler`: the pipeline's own call.

    With classifier-free guidance its other guidances are on as the call has them by itself: away from skipped blocks,
    away from video and sound kept apart, and rescaled. Without it all of them are off.
    """

    def conditioner(self, settings: SamplingSettings) -> Ltx2Conditioner:
        """Gemma and the connectors."""
        return SoundingConditioner(self.pipeline, settings, self.name)

    @property
    def passes(self) -> int:
        """With guidance also without skipped blocks, where some can be skipped, and with video and sound apart."""
        return super().passes if super().passes == 1 else 3 + bool(self.pipeline.transformer.config.perturbed_attn)

    def one_pass(self, network: VelocityNet, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Of the video and as much sound as belongs to it."""
        told = {"audio_num_frames": sound_tokens(self.settings, self.pipeline.audio_vae.config)}
        transformer, length = network.transformers["transformer"], condition["text"].shape[1]
        return _beside_silence(transformer, x_t, t, condition, text_tokens=length, isolate_modalities=False, **told)

    def drawn(self, seeds: Sequence[int]) -> dict[str, Any]:
        """What draws the noise of the sounds."""
        return {"generator": [fold_in(seed, "audio") for seed in seeds]}

    def call(
        self, condition: Condition, negative: Condition | None, noise: Tensor, settings: SamplingSettings, **common: Any
    ) -> Tensor:
        """Latents as the pipeline's own call leaves them, normalised again."""
        pipeline, vae = self.pipeline, self.pipeline.vae
        others: dict[str, Any] = UNGUIDED
        if negative is not None:  # blocks that cannot be skipped need not be computed again as if they were
            others = {} if pipeline.transformer.config.perturbed_attn else UNSKIPPED
        texts = _side_by_side(condition), None if negative is None else _side_by_side(negative)
        widths = [condition[name].shape[-1] for name in ("text", "audio_text")]
        with _past_connectors(pipeline, widths), no_notes(logging):  # of latents that are packed
            made = pipeline(
                latents=pack(noise),
                frame_rate=settings.fps,
                guidance_scale=settings.guidance_scale,
                **told_in_call(*texts, TEXT_ARGUMENTS),
                **others,
                **common,
            ).frames
        raw: Tensor = pipeline._normalize_latents(made, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)
        return raw

    def identity(self) -> dict[str, Any]:
        """Also that of the sound's autoencoder, whose settings say how many tokens of sound there are."""
        return {**super().identity(), "audio_vae": config_digest(self.pipeline.audio_vae)}


def _beside_silence(
    transformer: Any, x_t: Tensor, time: Tensor, condition: Condition, *, text_tokens: int, **told: Any
) -> Tensor:
    """v of the video beside ``audio_num_frames`` empty tokens of sound, with a text of empty ones for it."""
    config, shape, x = transformer.config, x_t.shape[2:], pack(x_t.to(transformer.dtype))
    width = config.caption_channels if config.use_prompt_embeddings else config.audio_cross_attention_dim
    predicted = transformer(
        hidden_states=x,
        audio_hidden_states=x.new_zeros(len(x), told["audio_num_frames"], config.audio_in_channels),
        encoder_hidden_states=condition["text"].to(x.dtype),
        audio_encoder_hidden_states=x.new_zeros(len(x), text_tokens, width),
        timestep=time,
        sigma=time,
        encoder_attention_mask=condition["text_mask"],
        num_frames=shape[0],
        height=shape[1],
        width=shape[2],
        fps=condition["fps"].float().reshape(-1, 1, 1),
        return_dict=False,
        **told,
    )[0]
    return unpack(predicted, shape)


def _side_by_side(condition: Condition) -> Condition:
    """Both texts as one, as the pipeline's call carries them to its connectors."""
    texts = torch.cat([condition["text"], condition["audio_text"]], dim=-1)
    return Condition({"text": texts, "text_mask": condition["text_mask"]})


@contextmanager
def _past_connectors(pipeline: Any, widths: Sequence[int]) -> Iterator[None]:
    """While the block runs, the pipeline takes texts that have passed its connectors, side by side in these widths."""

    def passed(texts: Tensor, mask: Tensor, **_: Any) -> tuple[Tensor, Tensor, Tensor]:
        video, audio = texts.split(list(widths), dim=-1)
        return video, audio, mask

    own = pipeline.connectors
    try:
        pipeline.connectors = passed
        yield
    finally:
        pipeline.connectors = own
