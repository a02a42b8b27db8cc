"""Generators by name: the embedded one, a folder, or a hub id."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoalign.errors import ModelError

if TYPE_CHECKING:
    from videoalign.models.generators.generator import PipelineGenerator

SPRITES = "sprites"


def load_generator(
    name_or_path: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    offload: str = "none",
    settings: Mapping[str, Any] | None = None,
) -> PipelineGenerator:
    """The generator called ``sprites``, in a diffusers folder, or of a hub id.

    Args:
        name_or_path: see above.
        device: where it runs, as torch names it; ``auto`` is the graphics card where there is one.
        dtype: precision of transformer and text encoder: ``float32``, ``bfloat16``, or ``auto``, which is bfloat16 on a
            graphics card.
        offload: ``none``; ``model``, which keeps parts off the graphics card while they do not run; or
            ``sequential``, which keeps layers off it likewise: slow, for sampling alone.
        settings: those of `SamplingSettings` that are to be other than the model's own.

    Raises:
        ModelError: there is none, or it is of a family that is not supported.
        ConfigError: a device, precision or setting that cannot be met.
    """
    from videoalign.models.generators.generator import PipelineGenerator

    name = None
    if str(name_or_path) == SPRITES:
        name_or_path, name = sprites_folder(), SPRITES
    place: dict[str, Any] = {"device": device, "dtype": dtype, "offload": offload}
    return PipelineGenerator.from_pretrained(name_or_path, name=name, settings=settings, **place)


def sprites_folder() -> Path:
    """Where the embedded generator stands.

    Raises:
        ModelError: this installation lacks it.
    """
    folder = Path(str(files("videoalign") / "worlds" / "sprites" / "weights" / "generator"))
    if not (folder / "model_index.json").is_file():
        raise ModelError(f"--model: the weights of 'sprites' are not in {folder}; install the package again.")
    return folder
