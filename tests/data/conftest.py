"""Small clips and tables to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from videoalign.contracts.video import Video
from videoalign.data.video import write_video


@pytest.fixture
def make_clip() -> Callable[..., Path]:
    """Writes a clip whose frame k is grey of level 20 + 4 k plus ``tint``, and returns its path."""

    def make(
        path: Path, num_frames: int = 5, height: int = 16, width: int = 16, fps: float = 8.0, tint: int = 0
    ) -> Path:
        levels = 20 + 4 * np.arange(num_frames) + tint
        frames = np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).astype(np.uint8)
        write_video(path, Video(frames, fps))
        return path

    return make


@pytest.fixture
def six_clips(tmp_path: Path, make_clip: Callable[..., Path]) -> Path:
    """A folder with c0.mp4 .. c5.mp4, all different."""
    for number in range(6):
        make_clip(tmp_path / "videos" / f"c{number}.mp4", tint=10 * number)
    return tmp_path / "videos"
