"""Generators by name: the embedded one, a folder, or a hub id."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from videoalign.errors import ModelError

if TYPE_CHECKING:
    from videoalign.models.generators.wan import WanGenerator

SPRITES = "sprites"


def load_generator(name_or_path: str | Path, *, device: str = "cpu") -> WanGenerator:
    """The generator called ``sprites``, in a diffusers folder, or of a hub id, in float32.

    Raises:
        ModelError: there is none, or it is of a family that is not supported.
    """
    from videoalign.models.generators.wan import WanGenerator

    if str(name_or_path) == SPRITES:
        folder = Path(str(files("videoalign") / "worlds" / "sprites" / "weights" / "generator"))
        if not (folder / "model_index.json").is_file():
            raise ModelError(
                "--model: the weights of 'sprites' are not in this installation; "
                "make them with: python -m videoalign.worlds.sprites.pretrain"
            )
        return WanGenerator.from_pretrained(folder, name=SPRITES, device=device)
    return WanGenerator.from_pretrained(name_or_path, device=device)
