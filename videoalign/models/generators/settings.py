"""What a generator samples when nothing else is asked for, and what its parts allow."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from videoalign.config import Config

SETTINGS_FILE = "videoalign.json"
NOTED_SETTINGS = "_videoalign_settings"
"""Attribute of a pipeline that says what it was built for."""
CALL_NAMES = {
    "fps": "frame_rate",
    "num_frames": "num_frames",
    "height": "height",
    "width": "width",
    "num_steps": "num_inference_steps",
    "guidance_scale": "guidance_scale",
    "max_text_tokens": "max_sequence_length",
}
"""Settings, and what the calls of most pipelines name them."""


class SamplingSettings(Config):
    """``videoalign.json`` beside ``model_index.json``: what a model samples when nothing else is asked for.

    The defaults here are those of Wan; what is not in a file is what the pipeline's own call takes.
    """

    fps: float = Field(default=16.0, gt=0)
    """Frames per second of its clips."""
    num_frames: int = Field(default=81, gt=0)
    """Frames of a clip; 1 more than a multiple of the temporal compression."""
    height: int = Field(default=480, gt=0)
    """Pixels; a multiple of the model's step, 16 for most, 32 for LTX-Video."""
    width: int = Field(default=832, gt=0)
    """Pixels; as the height."""
    num_steps: int = Field(default=50, gt=0)
    """Sampling steps."""
    guidance_scale: float = Field(default=5.0, ge=0)
    """Scale of classifier-free guidance; 1 or less switches it off."""
    guidance_scale_2: float | None = Field(default=None, ge=0)
    """Scale below the boundary of a model with two transformers; default: as above it."""
    embedded_guidance: float | None = Field(default=None, ge=0)
    """Guidance scale that a model which reads it as an input (HunyuanVideo) is told, in training as in sampling."""
    decode_timestep: float | None = Field(default=None, ge=0, le=1)
    """Time that an autoencoder which reads one (LTX-Video) is told when it decodes; default: 0."""
    decode_noise_scale: float | None = Field(default=None, ge=0, le=1)
    """Share of noise in what such an autoencoder decodes; default: `decode_timestep`."""
    max_text_tokens: int = Field(default=512, gt=0)
    """Length that text states are padded to."""
    negative_prompt: str = ""
    """What classifier-free guidance leads away from."""
    vae_tiling: bool | None = None
    """Let the autoencoder work in tiles of a clip's pictures: less memory, other latents near the seams."""
    vae_slicing: bool | None = None
    """Let the autoencoder take one clip at a time: less memory for a batch."""
    from_picture: bool | None = None
    """What the model makes clips from, a picture beside a text or a text alone; see `ModelSettings`."""
    known_words_only: bool = False
    """Refuse prompts with a word that the tokenizer does not know, for models with a closed vocabulary."""

    def changed(self, values: Mapping[str, Any]) -> SamplingSettings:
        """These settings with some of them changed; what is None stays as it is.

        Raises:
            ConfigError: an unknown setting, or a value out of range.
        """
        given = {name: value for name, value in values.items() if value is not None}
        return SamplingSettings.build_from({**self.model_dump(), **given}) if given else self


class ModelSettings(Config):
    """What every command that opens a generator may ask of it, for a hub id as for a folder; default: the model's own.

    A command that samples nothing takes those of sampling as well, so that one file serves all; they decide nothing.
    """

    num_frames: int | None = Field(default=None, gt=0)
    """Frames of a clip; for Wan 1 more than a multiple of 4. What a model cannot make is refused with the nearest."""
    height: int | None = Field(default=None, gt=0)
    """Pixels; for Wan a multiple of 16."""
    width: int | None = Field(default=None, gt=0)
    """Pixels; for Wan a multiple of 16."""
    fps: float | None = Field(default=None, gt=0)
    """Frames per second that the model works in."""
    max_text_tokens: int | None = Field(default=None, gt=0)
    """Length that text states are padded to; longer prompts are refused."""
    embedded_guidance: float | None = Field(default=None, ge=0)
    """Guidance scale that a model which reads it as an input (HunyuanVideo) is told, in training as in sampling."""
    vae_tiling: bool | None = None
    """Let the autoencoder work in tiles of a clip's pictures: less memory, other latents near the seams."""
    vae_slicing: bool | None = None
    """Let the autoencoder take one clip at a time: less memory for a batch."""

    from_picture: bool | None = None
    """Of a model that makes clips from a text and from a picture beside it alike (Wan 2.2 TI2V): which of the two it is
    opened for; default: what its files say."""

    num_steps: int | None = Field(default=None, gt=0)
    """Sampling steps."""
    guidance_scale: float | None = Field(default=None, ge=0)
    """Scale of classifier-free guidance; 1 or less switches it off."""
    negative_prompt: str | None = None
    """What classifier-free guidance leads away from."""

    def of_model(self) -> dict[str, Any]:
        """The fields of this class, for `SamplingSettings.changed`."""
        return {name: getattr(self, name) for name in ModelSettings.model_fields}


def settings_of_call(pipeline: type, *, names: Mapping[str, str] = CALL_NAMES, **own: Any) -> SamplingSettings:
    """What a pipeline's own call samples when nothing else is asked for, as its signature tells.

    Args:
        pipeline: class of a diffusers pipeline.
        names: arguments of the call by our names.
        own: what the signature does not tell.
    """
    told = {name: value.default for name, value in inspect.signature(pipeline.__call__).parameters.items()}
    found = {ours: told[theirs] for ours, theirs in names.items() if told.get(theirs) is not None}
    return SamplingSettings(**{**found, **own})


def read_settings(folder: Path, values: Mapping[str, Any], defaults: SamplingSettings) -> SamplingSettings:
    """The settings in a model's folder, the rest those of its family, with some of them changed.

    Raises:
        ConfigError: the file cannot be read, or see `SamplingSettings.changed`.
    """
    file = folder / SETTINGS_FILE
    stored = SamplingSettings.load(file).model_dump(exclude_unset=True) if file.is_file() else {}
    return defaults.changed(stored).changed(values)
