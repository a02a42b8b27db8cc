from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from videoalign.contracts.records import DEFAULT_DIMENSIONS
from videoalign.contracts.video import Video
from videoalign.models.small_qwen import (
    small_qwen2_5_vl,
    small_qwen3_vl,
    small_tokenizer,
    write_base,
)
from videoalign.models.videoreward import VideoReward
from videoalign.models.videoreward.processing import ReadingLimits
from videoalign.models.videoreward.prompt import default_template

LIMITS = ReadingLimits(fps=4.0, min_frame_pixels=32 * 32, max_frame_pixels=32 * 32)


@pytest.fixture(scope="session")
def bases(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base of a few thousand random weights of each family."""
    folder = tmp_path_factory.mktemp("families")
    tokenizer = small_tokenizer(["a red circle moves left", default_template(DEFAULT_DIMENSIONS)] * 9, vocab_size=400)
    write_base(folder / "qwen2_5_vl", small_qwen2_5_vl(tokenizer), tokenizer)
    write_base(folder / "qwen3_vl", small_qwen3_vl(tokenizer), tokenizer)
    return {"qwen2_vl": tiny_base, **{kind: folder / kind for kind in ("qwen2_5_vl", "qwen3_vl")}}


@pytest.fixture
def reward(tiny_base: Path) -> VideoReward:
    return VideoReward.from_base(tiny_base, limits=LIMITS).eval()


@pytest.fixture(scope="session")
def clips() -> list[Video]:
    """Three clips of different shape and length."""
    rng = np.random.default_rng(0)
    shapes = [(17, 64, 64), (9, 48, 96), (24, 80, 40)]
    return [Video(rng.integers(0, 256, (*shape, 3), dtype=np.uint8), 8.0) for shape in shapes]
