from __future__ import annotations

import math

import numpy as np
import pytest

from videoalign.contracts.video import Video


def test_a_clip_holds_its_frames_and_rate() -> None:
    frames = np.zeros((3, 4, 5, 3), np.uint8)
    video = Video(frames, 8.0)
    assert video.frames is frames
    assert video.fps == 8.0


@pytest.mark.parametrize("fps", [0.0, -1.0, math.nan])
def test_a_clip_of_unknown_rate_cannot_be_made(fps: float) -> None:
    with pytest.raises(ValueError, match="fps must be above 0"):
        Video(np.zeros((1, 2, 2, 3), np.uint8), fps)


@pytest.mark.parametrize(
    "frames", [np.zeros((2, 2, 3), np.uint8), np.zeros((1, 2, 2, 4), np.uint8), np.zeros((1, 2, 2, 3))]
)
def test_frames_of_another_layout_are_refused(frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match="frames must be uint8"):
        Video(frames, 8.0)
