"""A decoded clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Video:
    """Frames and their rate; a clip of unknown rate cannot be made."""

    frames: np.ndarray
    """uint8, (F, H, W, 3), sRGB."""
    fps: float
    """Frames per second, above 0."""

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[-1] != 3:
            raise ValueError(f"frames must be uint8 (F, H, W, 3); got {self.frames.dtype} {self.frames.shape}")
        if not self.fps > 0:
            raise ValueError(f"fps must be above 0; got {self.fps}")
