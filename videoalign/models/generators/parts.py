"""What the parts of a generator have in common over the pipelines of all families; a family says the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from videoalign.contracts.output import fingerprint
from videoalign.contracts.records import Asked, media_of, text_of
from videoalign.contracts.video import Video
from videoalign.errors import ConfigError, DataError, ModelError
from videoalign.flow.condition import Condition
from videoalign.models.generators.identity import part_identity, tokenizer_identity
from videoalign.models.generators.settings import SamplingSettings
from videoalign.models.generators.weights import placed, text_encoders
from videoalign.models.quiet import no_notes

TEXT_ARGUMENTS = {"text": "prompt_embeds", "text_mask": "prompt_attention_mask"}
"""What the calls of many pipelines name a text and its mask; see `told_in_call`."""


def require_whole(name: str | Path, index: Mapping[str, Any], *, parts: Sequence[str]) -> None:
    """Checks by ``model_index.json`` that a pipeline has these parts.

    Raises:
        ModelError: it lacks one.
    """
    for part in parts:
        if (index.get(part) or [None])[-1] is None:
            kind = index.get("_class_name", "pipeline")
            raise ModelError(f"--model: {name} lacks the {part} of its {kind}; wanted a whole model.")


def require_channels(name: str | Path, configs: Mapping[str, Mapping[str, Any]], *, wanted: str) -> None:
    """Checks that the transformer reads latents of the autoencoder.

    Args:
        name: of the model, for the message.
        configs: settings of its parts.
        wanted: a model that does, for the message.

    Raises:
        ModelError: it does not.
    """
    reads, makes = configs["transformer"].get("in_channels"), configs["vae"].get("latent_channels")
    if reads != makes:
        raise ModelError(
            f"--model: the transformer of {name} reads {reads} channels where the autoencoder makes {makes}; wanted "
            f"{wanted}."
        )


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

    def tiled_vae(self) -> Any:
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
            vae = self.tiled_vae()
            told = pixels.to(self.pipeline._execution_device, vae.dtype) / 127.5 - 1
            return self.normalised(self.raw(vae, told).float())

    @torch.no_grad()
    def decode(self, latents: Tensor, seeds: Sequence[int] | None = None) -> list[Video]:
        """The clips behind normalised latents (B, C, F, H, W), by the very arithmetic of the pipeline's own call.

        Raises:
            ModelError: pixels are no numbers.
        """
        with placed(self.pipeline, "vae"):
            own = latents.to(self.pipeline._execution_device, self.tiled_vae().dtype)
            decoded = self.decoded(own, [0] * len(latents) if seeds is None else seeds)
        shown = self.shown(decoded)
        if not np.isfinite(shown).all():
            raise ModelError(
                f"--model: pixels of a clip are no numbers, so what '{self.name}' made of it is too large; lower "
                "--strength or --adapter-strength, or take --dtype float32."
            )
        return [Video(frames=clip, fps=self.settings.fps) for clip in (shown * 255).round().astype(np.uint8)]

    def raw(self, vae: Any, pixels: Tensor) -> Tensor:
        """The autoencoder's own latents (B, C, F, H, W) of pixels (B, 3, F, H, W) in [-1, 1]."""
        made: Tensor = vae.encode(pixels).latent_dist.mode()
        return made

    def shown(self, decoded: Tensor) -> np.ndarray:
        """Frames (B, F, H, W, 3) in [0, 1] of `decoded`."""
        made: np.ndarray = self.pipeline.video_processor.postprocess_video(decoded, output_type="np")
        return made

    def identity(self) -> str:
        """The autoencoder, and whether it works in tiles."""
        whole = part_identity(self.pipeline.vae)
        return fingerprint([whole, "tiled"]) if self.settings.vae_tiling else whole

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

    def check(self, prompts: Sequence[Asked]) -> None:
        """Checks that the model can read every prompt; it is tokenised and no more.

        Raises:
            DataError: a text longer than the model reads or, where the model says so, with words it does not know; or a
                picture beside a text, of a model that reads none.
        """
        self.check_texts([text_of(prompt) for prompt in prompts])
        self.check_pictures(prompts)

    def check_texts(self, texts: Sequence[str], setting: str = "prompt") -> None:
        """`check` of texts alone; the setting is what a message calls them."""
        tokenizer, limit = self.pipeline.tokenizer, self.settings.max_text_tokens
        for text in texts:
            with no_notes():  # of a text that is longer than the tokenizer's own limit
                tokens = self.tokens(text)
            if len(tokens) > limit:
                raise DataError(
                    f"{setting}: '{text[:60]}' has {len(tokens)} tokens; '{self.name}' reads {limit}. Shorten it."
                )
            if self.settings.known_words_only and tokenizer.unk_token_id in tokens:
                words = " ".join(tokenizer.decode([t]) if t != tokenizer.unk_token_id else "?" for t in tokens[:-1])
                raise DataError(
                    f"{setting}: '{text[:60]}' has words that '{self.name}' does not know; it reads '{words}'. "
                    "Use words of its world."
                )

    def check_pictures(self, prompts: Sequence[Asked]) -> None:
        """`check` of what stands beside the texts."""
        for prompt in filter(media_of, prompts):
            can = self.pipeline.config.get("expand_timesteps")
            way = "set from_picture=true" if can else "give an image-to-video model"
            raise DataError(
                f"prompt: '{text_of(prompt)[:60]}' is asked with {media_of(prompt)}, but '{self.name}' reads no "
                f"picture; {way}, or leave the picture out (media=null on import)."
            )

    def encode(self, prompts: Sequence[Asked]) -> Condition:
        """A row for each prompt, zeros after the end of each text.

        Raises:
            DataError: see `check`.
        """
        self.check(prompts)
        return self.encode_texts([text_of(prompt) for prompt in prompts])

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Condition:
        """A row for each text, of what stands in a condition for it alone; raises as `check` does."""
        self.check_texts(texts)
        with placed(self.pipeline, *text_encoders(self.pipeline)):
            return self.condition(texts)

    def identity(self) -> str:
        """Text encoder, tokenizer and length."""
        encoder, tokenizer = self.pipeline.text_encoder, self.pipeline.tokenizer
        return fingerprint([part_identity(encoder), tokenizer_identity(tokenizer), self.settings.max_text_tokens])


def masked(text: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """``text`` (B, L, D) and ``text_mask`` (B, L) of a condition, zero where no network looks."""
    kept = mask.bool()
    return {"text": text * kept[..., None], "text_mask": kept}


def told_in_call(condition: Condition, negative: Condition | None, names: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of a pipeline's call for its prompts, and beside them for what guidance leads away from.

    Args:
        condition: a row for each clip.
        negative: likewise; None without guidance.
        names: arguments of the call by the names of tensors; those of ``negative`` begin with ``negative_``.
    """
    told: dict[str, Any] = {argument: condition[name] for name, argument in names.items()}
    if negative is not None:
        told |= {f"negative_{argument}": negative[name] for name, argument in names.items()}
    return told


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
