"""What families of text-to-image models have in common: a still is a clip that shows one picture.

Latents have one frame. In pixels a still is `SHOWN` equal frames, since rewards read frames in twos and a clip of one
frame is taken for a broken one everywhere else; of a clip that is encoded, the first frame is the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from videoalign.errors import ConfigError
from videoalign.models.generators.parts import PipelineCodec, PipelinePart
from videoalign.models.generators.pipeline_call import PipelineSampler
from videoalign.models.generators.settings import SamplingSettings
from videoalign.models.generators.sizes import require_sizes

SHOWN = 2
"""Frames of a still."""

MAX_TEXT_TOKENS = 512
"""The pipelines' own calls read no longer texts."""

STILL: dict[str, Any] = {"num_frames": SHOWN, "fps": float(SHOWN)}
"""Settings of every family of stills: a second."""


def space_of(configs: Mapping[str, Mapping[str, Any]]) -> int:
    """Pixels that a latent of the autoencoder stands for along each side, as pipelines of stills count them."""
    return int(2 ** (len(configs["vae"]["block_out_channels"]) - 1))


def require_still_sizes(
    name: str, settings: SamplingSettings, configs: Mapping[str, Mapping[str, Any]], *, patch: int
) -> None:
    """Checks frames, height and width; see `sizes.require_sizes`.

    Args:
        name: of the model, for the message.
        settings: of the model.
        configs: settings of its parts.
        patch: latents along each side of a token.

    Raises:
        ConfigError: the model cannot work in them.
    """
    if settings.num_frames != SHOWN:
        raise ConfigError(
            f"num_frames: got {settings.num_frames}; '{name}' wants {SHOWN}, as a still is a clip of {SHOWN} equal "
            f"frames. Set num_frames={SHOWN}."
        )
    if settings.max_text_tokens > MAX_TEXT_TOKENS:
        raise ConfigError(
            f"max_text_tokens: got {settings.max_text_tokens}; '{name}' wants at most {MAX_TEXT_TOKENS}. "
            f"Set max_text_tokens={MAX_TEXT_TOKENS}."
        )
    step = space_of(configs) * patch
    require_sizes(name, settings, time=1, down=step, right=step)


def pack_still(latents: Tensor) -> Tensor:
    """Latents (B, C, 1, H, W) as pipelines of stills keep them, (B, C, H, W)."""
    return latents[:, :, 0]


def unpack_still(latents: Tensor, shape: Sequence[int] = ()) -> Tensor:
    """The other way."""
    return latents[:, :, None]


class StillPart(PipelinePart):
    """Knows how far the AutoencoderKL of a pipeline of stills compresses."""

    @property
    def compression(self) -> tuple[int, int, int]:
        """The equal frames of a still are one in latents."""
        return self.pipeline.vae.config.latent_channels, SHOWN, self.pipeline.vae_scale_factor


class StillCodec(StillPart, PipelineCodec):
    """A `contracts.generator.Codec` over the pipeline's AutoencoderKL."""

    def raw(self, vae: Any, pixels: Tensor) -> Tensor:
        """Of the first frame."""
        return unpack_still(vae.encode(pack_still(pixels)).latent_dist.mode())

    def normalised(self, raw: Tensor) -> Tensor:
        """By ``shift_factor`` and ``scaling_factor``."""
        config = self.pipeline.vae.config
        scaled: Tensor = (raw - (config.shift_factor or 0.0)) * config.scaling_factor
        return scaled

    def decoded(self, latents: Tensor, seeds: Sequence[int]) -> Tensor:
        """Pixels (B, 3, 1, H, W) in [-1, 1]; no noise is drawn."""
        vae = self.pipeline.vae
        own = pack_still(latents) / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
        return unpack_still(vae.decode(own, return_dict=False)[0])

    def shown(self, decoded: Tensor) -> np.ndarray:
        """The picture, `SHOWN` times."""
        pictures = self.pipeline.image_processor.postprocess(pack_still(decoded), output_type="np")
        return np.repeat(pictures[:, None], SHOWN, axis=1)


class StillSampler(StillPart, PipelineSampler):
    """A `contracts.generator.Sampler`: the pipeline's own call."""

    def stills(self, noise: Tensor, **told: Any) -> Tensor:
        """What the pipeline's own call returns from this noise, in its layout."""
        told.pop("num_frames")
        made: Tensor = self.pipeline(latents=noise, **told).images
        return made
