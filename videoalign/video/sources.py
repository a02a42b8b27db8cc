"""A clip in whatever form somebody holds it: a file, its bytes, or frames with their rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from videoalign.contracts.video import Video, frame_rate
from videoalign.errors import VideoError
from videoalign.video.files import Choose, read_video
from videoalign.video.limits import UNLIMITED, ClipLimits, Guard
from videoalign.video.opening import Encoded

VideoSource = Encoded | Video | tuple[Any, float]
"""A path, an address, the bytes of a file, a `Video`, or ``(frames, fps)``; the frames are uint8 (F, H, W, 3) or
(F, 3, H, W), an array or a tensor, or a list of PIL pictures of one size."""


SHAPES = "uint8 (F, H, W, 3) or (F, 3, H, W)"


def read_source(
    source: VideoSource, choose: Choose | None = None, *, threads: int = 0, limits: ClipLimits = UNLIMITED
) -> Video:
    """The frames that ``choose`` names, and the rate of the whole clip; of a file only those are decoded.

    Args:
        source: see `VideoSource`.
        choose: from the number of frames and the rate to the indices; None reads every frame.
        threads: for decoding a file; 0 lets FFmpeg choose.
        limits: how large the clip may be.

    Raises:
        VideoError: a file that cannot be trusted, frames without a rate or of another kind.
        LimitError: the clip is over the limits.
    """
    if isinstance(source, str | Path | bytes):
        return read_video(source, choose, threads=threads, limits=limits)
    video = source if isinstance(source, Video) else _from_frames(source)
    num_frames, height, width = video.frames.shape[:3]
    guard = Guard("clip", limits)
    guard.length(num_frames, num_frames / video.fps)
    guard.size(height, width)
    indices = list(range(num_frames) if choose is None else choose(num_frames, video.fps))
    guard.reading(len(indices), height, width)
    return Video(video.frames[indices], video.fps)


def source_name(source: VideoSource) -> str:
    """What to call a clip in a table."""
    if isinstance(source, str | Path):
        return str(source)
    return f"{len(source)} bytes" if isinstance(source, bytes) else "frames"


def _from_frames(source: object) -> Video:
    if not (isinstance(source, tuple) and len(source) == 2):
        raise VideoError(
            f"clip: got {_kind(source)}, wanted a path, bytes, a Video or (frames, fps); give frames with their rate."
        )
    frames, fps = source
    try:
        rate = frame_rate(fps)
    except ValueError:
        kind = type(fps).__name__
        raise VideoError(
            f"clip: its frame rate is {fps} ({kind}), wanted frames per second above 0; give the true rate."
        ) from None
    return Video(_array(frames), rate)


def _array(frames: Any) -> np.ndarray:
    """uint8 (F, H, W, 3)."""
    if isinstance(frames, list | tuple):
        frames = _from_pictures(frames)
    if hasattr(frames, "detach"):
        frames = frames.detach().cpu().numpy()
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.ndim != 4:
        raise VideoError(
            f"clip: its frames are {_kind(frames)}, wanted uint8 (F, H, W, 3) or (F, 3, H, W); convert them."
        )
    last, first = frames.shape[3] == 3, frames.shape[1] == 3
    if last == first:
        raise VideoError(
            f"clip: which axis of {frames.shape} is colour is not clear; give (F, H, W, 3) or (F, 3, H, W)."
        )
    return frames if last else frames.transpose(0, 2, 3, 1)


def _from_pictures(frames: Sequence[Any]) -> np.ndarray:
    if not frames or not all(isinstance(frame, Image) for frame in frames):
        kinds = ", ".join(sorted({_kind(frame) for frame in frames})) or "nothing"
        raise VideoError(f"clip: its list of frames holds {kinds}, wanted PIL pictures; convert them.")
    sizes = {frame.size for frame in frames}
    if len(sizes) > 1:
        raise VideoError(f"clip: its pictures have the sizes {sorted(sizes)}, wanted one; resize them.")
    return np.stack([np.asarray(frame.convert("RGB")) for frame in frames])


def _kind(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return type(value).__name__
