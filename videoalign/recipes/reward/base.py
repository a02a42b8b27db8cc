"""What a reward can be trained from: the embedded base, a pretrained model, or a trained reward."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from videoalign.errors import ModelError
from videoalign.models.videoreward.checkpoint import MODEL_FOLDER, SETTINGS_FILE
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.worlds.sprites.renderer import SIZE_PX

SPRITES = "sprites"
SPRITES_BASE = Path(str(files("videoalign") / "worlds" / "sprites" / "weights" / "reward_base"))
SPRITES_LIMITS = ReadingLimits(fps=8.0, max_frames=16, min_frame_pixels=SIZE_PX**2, max_frame_pixels=SIZE_PX**2)
"""What the shipped base was pretrained on; used for it when a run sets no limits of its own."""


def base_path(base: str) -> str | Path:
    """Where a base is: the embedded one by its name, anything else as given.

    Raises:
        ModelError: this installation lacks the embedded base.
    """
    if base != SPRITES:
        return base
    if not (SPRITES_BASE / "config.json").is_file():
        raise ModelError(f"--model sprites: {SPRITES_BASE} is missing; install the package again.")
    return SPRITES_BASE


def is_reward(base: str) -> bool:
    """Whether a base is a trained reward's folder."""
    return base != SPRITES and any((Path(base) / part / SETTINGS_FILE).is_file() for part in ("", MODEL_FOLDER))
