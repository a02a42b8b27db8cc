"""A decoded clip."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from numbers import Real

import numpy as np

MIN_FRAMES = 2
"""Fewest frames of a clip that a reward reads."""
MAX_ASPECT = 200.0
"""Most that one side of a frame may be of the other for a reward to read it."""


@dataclass(frozen=True, eq=False)
class Video:
    """Frames and their rate; a clip of unknown rate cannot be made."""

    frames: np.ndarray
    """uint8, (F, H, W, 3), sRGB."""
    fps: float
    """Frames per second, above 0. Any real number is taken, a Fraction or one of numpy too, and kept as a float."""

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[-1] != 3:
            raise ValueError(f"frames must be uint8 (F, H, W, 3); got {self.frames.dtype} {self.frames.shape}")
        object.__setattr__(self, "fps", frame_rate(self.fps))


def unreadable(num_frames: int, height: int, width: int) -> str | None:
    """Why no reward can read a clip of this length and size, in words; None where one can."""
    if num_frames < MIN_FRAMES:
        return f"it has {num_frames} frame(s), a reward needs at least {MIN_FRAMES}; give a longer clip."
    if max(height, width) > MAX_ASPECT * min(height, width):
        most = f"one side may be at most {MAX_ASPECT:g} times the other"
        return f"frames of {width}x{height} are too narrow, {most} for a reward to read it; crop it."
    return None


def frame_rate(fps: object) -> float:
    """Frames per second as a float.

    Raises:
        ValueError: it is no real number, or not above 0.
    """
    if isinstance(fps, bool) or not isinstance(fps, Real | Decimal):
        raise ValueError(f"fps must be a number; got {fps!r} of type {type(fps).__name__}")
    if not (float(fps) > 0 and isfinite(fps)):
        raise ValueError(f"fps must be above 0; got {fps}")
    return float(fps)
