"""Small clips and tables to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def six_clips(tmp_path: Path, make_clip: Callable[..., Path]) -> Path:
    """A folder with c0.mp4 .. c5.mp4, all different."""
    for number in range(6):
        make_clip(tmp_path / "videos" / f"c{number}.mp4", tint=10 * number)
    return tmp_path / "videos"
