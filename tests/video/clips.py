"""Clips made for tests: any container, codec, size and timestamps."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import av.video.stream
import numpy as np

ONE = 1 << 16
"""1.0 in the matrix of an mp4."""


def encoded(
    frames: np.ndarray,
    *,
    container: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    fps: int = 8,
    aspect: Fraction | None = None,
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 24),
    **options: str,
) -> bytes:
    """The file of frames (F, H, W, 3), at ``times`` in ``time_base`` where they are given."""
    return several([frames], container, codec, pixels, fps, aspect, times, time_base, options)


def several(
    streams: Sequence[np.ndarray],
    container: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    fps: int = 8,
    aspect: Fraction | None = None,
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 24),
    options: dict[str, str] | None = None,
) -> bytes:
    """A file of one video stream after the other, each of the same number of frames."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        made: list[Any] = []
        for frames in streams:
            stream: Any = out.add_stream(codec, rate=fps, options={"crf": "1", **(options or {})})
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            if times is not None:
                stream.codec_context.time_base = time_base
            made.append(stream)
        for index in range(len(streams[0])):
            for stream, frames in zip(made, streams, strict=True):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frames[index]), format="rgb24")
                if times is not None:
                    frame.pts, frame.time_base = times[index], time_base
                out.mux(stream.encode(frame))
        for stream in made:
            out.mux(stream.encode(None))
    return file.getvalue()


def with_matrix(clip: bytes, a: float, b: float, c: float, d: float) -> bytes:
    """An mp4 whose track asks to be shown with (x, y) at (a x + c y, b x + d y)."""
    content = bytearray(clip)
    start = content.index(b"tkhd") + 4 + 40
    rows = (a, b, 0, c, d, 0, 0, 0)
    content[start : start + 36] = b"".join(
        [*(round(value * ONE).to_bytes(4, "big", signed=True) for value in rows), (1 << 30).to_bytes(4, "big")]
    )
    return bytes(content)


def grey(num_frames: int, height: int = 32, width: int = 32) -> np.ndarray:
    """Frames of even grey, level 20 + 4 k in frame k."""
    levels = np.arange(20, 20 + 4 * num_frames, 4, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).copy()
