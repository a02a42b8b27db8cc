"""How the frames that a file holds are shown: mirrored, turned, and in square pixels, as browsers and ffmpeg do."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import av.video.frame
import numpy as np
from PIL import Image

from videoalign.errors import VideoError

_MOST_SLANT = math.tan(math.radians(1))
"""A matrix that is less than a degree off is taken for the quarter turn that is meant, as by ffmpeg."""


def shown_size(height: int, width: int, pixel_aspect: Fraction) -> tuple[int, int]:
    """Height and width in square pixels, before any turn. One side grows and none shrinks, as in browsers.

    Args:
        height: of the stored frame.
        width: of the stored frame.
        pixel_aspect: width of a stored pixel over its height.
    """
    if pixel_aspect >= 1:
        return height, round(width * pixel_aspect)
    return round(height / pixel_aspect), width


def shown_pixels(name: str, frame: av.video.frame.VideoFrame, pixel_aspect: Fraction) -> np.ndarray:
    """A decoded frame as it is shown, uint8 (H, W, 3), sRGB.

    Args:
        name: of the clip, for errors.
        frame: as it was decoded.
        pixel_aspect: width of a stored pixel over its height.

    Raises:
        VideoError: the file asks for a turn by other than quarters.
    """
    # By itself, FFmpeg starts a thread for every core for each frame, which takes longer than a small frame does.
    pixels = frame.reformat(format="rgb24", threads=1).to_ndarray()
    height, width = shown_size(frame.height, frame.width, pixel_aspect)
    if (height, width) != (frame.height, frame.width):
        pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
    transposed, *backwards = _orientation(name, frame)
    if transposed:
        pixels = pixels.transpose(1, 0, 2)
    rows, columns = (slice(None, None, -1 if turned else 1) for turned in backwards)
    return pixels[rows, columns]


def frame_size(name: str, frame: av.video.frame.VideoFrame, pixel_aspect: Fraction) -> tuple[int, int]:
    """Height and width of `shown_pixels`; same arguments and errors."""
    height, width = shown_size(frame.height, frame.width, pixel_aspect)
    return (width, height) if _orientation(name, frame)[0] else (height, width)


def _orientation(name: str, frame: av.video.frame.VideoFrame) -> tuple[bool, bool, bool]:
    """Whether rows become columns, and whether rows and columns are then shown from last to first.

    A pixel at (x, y) is shown at (a x + c y, b x + d y), but for where the corner comes to lie (ISO/IEC 14496-12,
    6.2.2); a matrix of zeros, as careless programs write it, asks for nothing.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(memoryview(matrix), np.int32)[:5].tolist()
    if max(abs(b), abs(c)) <= _MOST_SLANT * min(abs(a), abs(d)):
        return False, d < 0, a < 0
    if max(abs(a), abs(d)) < _MOST_SLANT * min(abs(b), abs(c)):
        return True, b < 0, c < 0
    degrees = math.degrees(math.atan2(b, a))
    raise VideoError(f"{name}: asks to be shown turned by {degrees:.3g} degrees; only quarter turns can be read.")
