"""How large a clip from somebody unknown may be; checked by what its header says, and again while it is decoded."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from pydantic import Field

from videoalign.config import Config
from videoalign.errors import LimitError, VideoError

Item = TypeVar("Item")

MOST_PIXELS = 2**31 - 1
"""FFmpeg's own limit of a frame."""


class ClipLimits(Config):
    """The largest clip that is read; a larger one is a `LimitError`, before its frames take memory."""

    seconds: float = Field(60.0, gt=0)
    """Longest clip."""
    frames: int = Field(3600, gt=0)
    """Most frames in a clip, read or not."""
    frame_pixels: int = Field(4096 * 2304, gt=0, le=MOST_PIXELS)
    """Largest frame: width times height."""
    read_pixels: int = Field(2**27, gt=0)
    """Most pixels in all frames together that are read of one clip; each takes three bytes."""
    decode_seconds: float = Field(30.0, gt=0)
    """Longest time that decoding one clip may take."""

    @property
    def most_decoded_pixels(self) -> int:
        """What a decoder may take for one frame, whose sides it rounds up, so that a lying header costs little."""
        return min(2 * self.frame_pixels + 2**16, MOST_PIXELS)


UNLIMITED = ClipLimits(
    seconds=sys.float_info.max,
    frames=sys.maxsize,
    frame_pixels=MOST_PIXELS,
    read_pixels=sys.maxsize,
    decode_seconds=sys.float_info.max,
)
"""For clips of one's own."""


class Guard:
    """Watches over the reading of one clip; every method raises `LimitError` when the clip is over a limit."""

    def __init__(self, name: str, limits: ClipLimits = UNLIMITED) -> None:
        self.name, self.limits = name, limits
        self._deadline = time.monotonic() + limits.decode_seconds
        self._num_read = 0
        self._size: tuple[int, int] | None = None

    def length(self, num_frames: int, seconds: float) -> None:
        """Checks how long the clip is."""
        self._require(num_frames, self.limits.frames, "has {} frames")
        self._require(seconds, self.limits.seconds, "lasts {:.6g} seconds")

    def size(self, height: int, width: int) -> None:
        """Checks how large one frame is."""
        self._require(height * width, self.limits.frame_pixels, f"has frames of {width}x{height}, {{}} pixels")

    def reading(self, num_frames: int, height: int, width: int) -> None:
        """Checks how much is read when this many frames of this size are."""
        self._num_read = num_frames
        self._require(num_frames * height * width, self.limits.read_pixels, "would need {} pixels to be read")

    def frame(self, height: int, width: int) -> None:
        """Checks a decoded frame, whatever the header said.

        Raises:
            VideoError: it is of another size than those before it.
        """
        if self._size is None:
            self.size(height, width)
            self.reading(self._num_read, height, width)
            self._size = (height, width)
        elif self._size != (height, width):
            before = f"{self._size[1]}x{self._size[0]}"
            raise VideoError(f"{self.name}: its frames change from {before} to {width}x{height}; cut it there.")

    def in_time(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, as long as there is time left."""
        for item in items:
            if time.monotonic() > self._deadline:
                raise LimitError(
                    f"{self.name}: takes more than {self.limits.decode_seconds:g} seconds to decode; shorten it."
                )
            yield item

    def _require(self, got: float, most: float, what: str) -> None:
        if got > most:
            raise LimitError(f"{self.name}: {what.format(got)}, at most {most:g} are read; make it smaller.")
