"""A clip over a limit is refused from its header, or while it is decoded where the header lies."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from videoalign.contracts.video import Video
from videoalign.errors import LimitError, VideoError
from videoalign.video import files, limits
from videoalign.video.files import read_video
from videoalign.video.limits import ClipLimits
from videoalign.video.sources import read_source


@pytest.fixture
def clip(tmp_path: Path, make_clip: Callable[..., Path]) -> bytes:
    """Sixteen frames of 32 x 48 at 8 per second."""
    return make_clip(tmp_path / "clip.mp4", num_frames=16, height=32, width=48).read_bytes()


@pytest.mark.parametrize(
    ("most", "over", "reason"),
    [
        ({"seconds": 2.0}, {"seconds": 1.99}, r"lasts 2 seconds, at most 1\.99 are read"),
        ({"frames": 16}, {"frames": 15}, "has 16 frames, at most 15 are read"),
        ({"frame_pixels": 1536}, {"frame_pixels": 1535}, "frames of 48x32, 1536 pixels, at most 1535 are read"),
        ({"read_pixels": 3072}, {"read_pixels": 3071}, "would need 3072 pixels to be read, at most 3071 are read"),
    ],
)
def test_limits_hold_to_the_last_unit_for_files_and_for_frames(
    clip: bytes, most: dict[str, Any], over: dict[str, Any], reason: str
) -> None:
    def ends(num_frames: int, _: float) -> list[int]:
        return [0, num_frames - 1]

    for source in (clip, read_video(clip)):
        assert len(read_source(source, ends, limits=ClipLimits(**most)).frames) == 2
        with pytest.raises(LimitError, match=reason):
            read_source(source, ends, limits=ClipLimits(**over))


def test_a_large_frame_is_refused_before_anything_is_decoded(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "scan_packets", lambda *_: pytest.fail("the packets were read"))
    with pytest.raises(LimitError):
        read_video(clip, limits=ClipLimits(frame_pixels=100))


def test_decoding_stops_when_its_time_is_over(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(limits.time, "monotonic", lambda: float(next(ticks)))
    with pytest.raises(LimitError, match="takes more than 5 seconds to decode"):
        read_video(clip, limits=ClipLimits(decode_seconds=5))
    assert next(ticks) < 10


def test_frames_that_change_their_size_on_the_way_are_no_clip() -> None:
    stream = io.BytesIO()
    for size in (32, 64):
        with av.open(part := io.BytesIO(), "w", format="mpegts") as container:
            picture = container.add_stream("mpeg2video", rate=24)
            picture.width = picture.height = size
            picture.pix_fmt = "yuv420p"
            for level in range(4):
                frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), 40 * level, np.uint8), format="rgb24")
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        stream.write(part.getvalue())
    with pytest.raises(VideoError, match="frames change from 32x32 to 64x64|truncated or damaged"):
        read_video(stream.getvalue())


def test_a_clip_of_ones_own_has_no_limits() -> None:
    video = Video(np.zeros((4000, 2, 2, 3), np.uint8), 1.0)
    assert len(read_source(video, lambda num_frames, _: range(num_frames)).frames) == 4000
