"""Many clips as one: tiles in rows, each with its label above it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from videoalign.contracts.video import Video

SMALLEST_PX = 160
"""Width below which clips are enlarged, by a whole factor, so that a label fits."""
LABEL_PX = 22
GAP_PX = 4
PAPER, INK = (22, 23, 22), (237, 235, 230)


def contact_sheet(clips: Sequence[tuple[str, Video]]) -> Video:
    """Clips of one size beside and below each other, the first at the top left; shorter ones hold their last frame.

    Args:
        clips: the label and the frames of each, at least one.

    Returns:
        As long as the longest of them, at the rate of the first; both sides are even.
    """
    _, first = clips[0]
    height, width = first.frames.shape[1:3]
    factor = max(1, math.ceil(SMALLEST_PX / width))
    tile_height, tile_width = LABEL_PX + factor * height + GAP_PX, factor * width + GAP_PX
    columns = math.ceil(math.sqrt(len(clips)))
    rows = math.ceil(len(clips) / columns)
    num_frames = max(len(video.frames) for _, video in clips)
    size = rows * tile_height + GAP_PX, columns * tile_width + GAP_PX
    frames = np.empty((num_frames, size[0] + size[0] % 2, size[1] + size[1] % 2, 3), dtype=np.uint8)
    frames[:] = PAPER
    for number, (label, video) in enumerate(clips):
        top, left = number // columns * tile_height + GAP_PX, number % columns * tile_width + GAP_PX
        frames[:, top : top + LABEL_PX, left : left + factor * width] = _written(label, factor * width)
        shown = video.frames[np.minimum(np.arange(num_frames), len(video.frames) - 1)]
        top += LABEL_PX
        large = shown.repeat(factor, axis=1).repeat(factor, axis=2)
        frames[:, top : top + factor * height, left : left + factor * width] = large
    return Video(frames, first.fps)


def _written(text: str, width: int) -> np.ndarray:
    picture = Image.new("RGB", (width, LABEL_PX), PAPER)
    ImageDraw.Draw(picture).text((2, 3), text, fill=INK, font=ImageFont.load_default(13))
    return np.asarray(picture)
