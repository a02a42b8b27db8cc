"""Stable Diffusion 3 and 3.5, stills from a text: the parts of a generator from a StableDiffusion3Pipeline.

The transformer reads the states of two CLIPs and a T5 strung together, without a mask, and the vectors of the CLIPs. A
model without its T5 reads zeros in place of its states, as the pipeline has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from videoalign.contracts.output import fingerprint
from videoalign.errors import ConfigError
from videoalign.flow.condition import Condition
from videoalign.models.generators.identity import part_identity, tokenizer_identity
from videoalign.models.generators.packed import PackedScheduler
from videoalign.models.generators.parts import PipelineConditioner, PipelineNetwork, told_in_call
from videoalign.models.generators.settings import SamplingSettings, settings_of_call
from videoalign.models.generators.stills import (
    STILL,
    StillSampler,
    pack_still,
    require_still_sizes,
    space_of,
    unpack_still,
)
from videoalign.models.generators.stock import StableDiffusion3Pipeline

WEIGHED_PARTS = ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
ADDED = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
"""Projections of the text."""
FFN = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")
TARGETS: dict[str, tuple[str, ...]] = {
    "attention": (*ATTENTION, *ADDED),
    "attention+ffn": (*ATTENTION, *ADDED, *FFN),
}

DEFAULTS = settings_of_call(StableDiffusion3Pipeline, **STILL, height=1024, width=1024)
"""Height and width are those of a model whose transformer tells no other; see `sd3_settings`."""


def sd3_settings(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Size of the stills of one model: that of its transformer."""
    side = configs["transformer"]["sample_size"] * space_of(configs)
    return {"height": side, "width": side}


def require_sd3_sizes(name: str, settings: SamplingSettings, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks frames, height and width; see `stills.require_still_sizes`.

    Raises:
        ConfigError: the model cannot work in them.
    """
    patch = configs["transformer"]["patch_size"]
    require_still_sizes(name, settings, configs, patch=patch)
    most = configs["transformer"]["pos_embed_max_size"] * patch * space_of(configs)
    for side, value in (("height", settings.height), ("width", settings.width)):
        if value > most:
            raise ConfigError(
                f"{side}: got {value}; '{name}' wants {most} at most, as it has no more positions. Set {side}={most}."
            )


class Sd3Conditioner(PipelineConditioner):
    """A `contracts.generator.Conditioner` over two CLIPs and a T5: ``text`` and ``pooled``."""

    @property
    def names(self) -> tuple[str, ...]:
        """States of all, and the vectors of the CLIPs."""
        return ("text", "pooled")

    @property
    def lengths(self) -> Mapping[str, int]:
        """The transformer looks at the places after a text as well."""
        return {"text": self.pipeline.tokenizer_max_length + self.settings.max_text_tokens}

    def tokens(self, prompt: str) -> list[int]:
        """Of T5, which reads more than the CLIPs do."""
        tokenizer = self.pipeline.tokenizer_3 or self.pipeline.tokenizer
        found: list[int] = tokenizer(prompt).input_ids
        return found

    def condition(self, prompts: Sequence[str]) -> Condition:
        """``text`` (B, tokens of CLIP + max_text_tokens, width) and ``pooled`` (B, width of both CLIPs)."""
        options = {"do_classifier_free_guidance": False, "max_sequence_length": self.settings.max_text_tokens}
        text, _, pooled, _ = self.pipeline.encode_prompt(list(prompts), None, None, **options)
        return Condition({"text": text, "pooled": pooled}, self.lengths)

    def identity(self) -> str:
        """All text encoders, their tokenizers and the length."""
        pairs = [(f"text_encoder_{n}", f"tokenizer_{n}") for n in (2, 3)]
        found = [(getattr(self.pipeline, encoder), getattr(self.pipeline, tokenizer)) for encoder, tokenizer in pairs]
        more = [(part_identity(encoder), tokenizer_identity(tokenizer)) for encoder, tokenizer in found if encoder]
        return fingerprint([super().identity(), *more])


class Sd3Network(PipelineNetwork):
    """A `contracts.generator.VelocityNet` over the pipeline's SD3Transformer2DModel."""

    @staticmethod
    def predict(
        transformer: Any, x_t: Tensor, t: Tensor, condition: Condition, constants: Mapping[str, float]
    ) -> Tensor:
        """v of latents without their one frame; see `families.Family.predict`."""
        dtype = transformer.dtype
        predicted = transformer(
            hidden_states=pack_still(x_t.to(dtype)),
            timestep=t * constants["time_scale"],
            encoder_hidden_states=condition["text"].to(dtype),
            pooled_projections=condition["pooled"].to(dtype),
            return_dict=False,
        )[0]
        return unpack_still(predicted)

    @staticmethod
    def heard(told: Mapping[str, Any], constants: Mapping[str, float]) -> Condition:
        """Text and vectors of a transformer's call; see `families.Family.heard`."""
        return Condition({"text": told["encoder_hidden_states"], "pooled": told["pooled_projections"]})


class Sd3Sampler(StillSampler):
    """A `contracts.generator.Sampler`: the pipeline's own call."""

    def conditioner(self, settings: SamplingSettings) -> Sd3Conditioner:
        """Two CLIPs and a T5."""
        return Sd3Conditioner(self.pipeline, settings, self.name)

    def call(
        self, condition: Condition, negative: Condition | None, noise: Tensor, settings: SamplingSettings, **common: Any
    ) -> Tensor:
        """Latents as the pipeline's own call leaves them, with their frame."""
        names = {"text": "prompt_embeds", "pooled": "pooled_prompt_embeds"}
        told = told_in_call(condition, negative, names)
        return unpack_still(self.stills(pack_still(noise), guidance_scale=settings.guidance_scale, **told, **common))

    def facing(self, scheduler: Any) -> Any:
        """One that is given latents without a frame."""
        return PackedScheduler(scheduler, pack_still, unpack_still)
