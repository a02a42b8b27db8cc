"""A clip gives the same frames in whatever form it comes, and a form that leaves something open is refused."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from videoalign.contracts.video import Video
from videoalign.errors import VideoError
from videoalign.video.files import read_video
from videoalign.video.sources import read_source

CHOSEN = [0, 3, 7]
FRAMES = np.random.default_rng(0).integers(0, 256, (9, 12, 20, 3), dtype=np.uint8)


def choose(num_frames: int, fps: float) -> list[int]:
    assert (num_frames, fps) == (9, 8.0)
    return CHOSEN


@pytest.mark.parametrize(
    "source",
    [
        Video(FRAMES, 8.0),
        (FRAMES, 8),
        (FRAMES.transpose(0, 3, 1, 2), 8.0),
        (torch.from_numpy(FRAMES), 8.0),
        (torch.from_numpy(FRAMES).permute(0, 3, 1, 2), 8.0),
        ([Image.fromarray(frame) for frame in FRAMES], 8.0),
    ],
)
def test_every_form_of_frames_gives_the_same_frames(source: Any) -> None:
    video = read_source(source, choose)
    assert np.array_equal(video.frames, FRAMES[CHOSEN])
    assert video.fps == 8.0


def test_path_text_and_bytes_of_a_file_give_the_same_frames(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    file = make_clip(tmp_path / "c.mp4", num_frames=9)
    wanted = read_video(file).frames[CHOSEN]
    for source in (file, str(file), file.read_bytes()):
        assert np.array_equal(read_source(source, choose, threads=1).frames, wanted)


@pytest.mark.parametrize("fps", [
    24, 24.0, Fraction(24), Decimal(24), np.int64(24), np.uint8(24), np.float32(24), np.float64(24), np.float16(24),
], ids=lambda fps: type(fps).__name__)  # fmt: skip
def test_any_real_number_is_a_frame_rate(fps: Any) -> None:
    for video in (read_source((FRAMES, fps), lambda *_: [0]), Video(FRAMES, fps)):
        assert (video.fps, type(video.fps)) == (24.0, float)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (FRAMES, r"uint8 \(9, 12, 20, 3\), wanted a path, bytes, a Video or \(frames, fps\)"),
        (Image.fromarray(FRAMES[0]), "got Image, wanted"),
        ((FRAMES, None), "frame rate is None"),
        ((FRAMES, float("nan")), "frame rate is nan"),
        ((FRAMES, 0), "frame rate is 0"),
        ((FRAMES, True), r"frame rate is True \(bool\)"),
        ((FRAMES, "24"), r"frame rate is 24 \(str\)"),
        ((FRAMES, np.array([24.0])), r"\(ndarray\)"),
        ((FRAMES, 8j), r"\(complex\)"),
        ((FRAMES, float("inf")), "frame rate is inf"),
        ((FRAMES.astype(np.float32), 8.0), r"float32 \(9, 12, 20, 3\), wanted uint8"),
        ((torch.zeros(9, 3, 4, 4), 8.0), r"float32 \(9, 3, 4, 4\), wanted uint8"),
        ((FRAMES[0], 8.0), r"uint8 \(12, 20, 3\), wanted"),
        ((np.zeros((4, 3, 8, 3), np.uint8), 8.0), "which axis"),
        ((np.zeros((4, 8, 8, 4), np.uint8), 8.0), "which axis"),
        (([], 8.0), "holds nothing"),
        (([FRAMES[0]], 8.0), "holds uint8"),
        (([Image.new("RGB", (4, 4)), Image.new("RGB", (4, 5))], 8.0), r"sizes \[\(4, 4\), \(4, 5\)\]"),
    ],
)
def test_what_leaves_something_open_is_refused(source: Any, reason: str) -> None:
    with pytest.raises(VideoError, match=reason):
        read_source(source, choose)
