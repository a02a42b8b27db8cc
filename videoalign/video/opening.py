"""Opening a clip: which file, which of its video streams, and what is refused before a frame is decoded."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import av.container
import av.stream
import av.video.stream
from PIL import Image

from videoalign.errors import DataError, VideoError
from videoalign.video.addresses import copy_at_hand
from videoalign.video.limits import ClipLimits, Guard
from videoalign.video.shown import shown_size

Encoded = str | Path | bytes
"""A path, an address that fsspec reads, or the bytes of a file."""

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,gif,ogg,asf,h264,hevc,ivf,m4v,wav,mp3,flac,aac"
)
"""Kinds of files that are read, by FFmpeg's names. Playlists are not: FFmpeg would open the files that they name."""

PICTURES = ("WEBP", "PNG", "JPEG", "BMP", "TIFF")
"""Kinds of pictures, moving ones too, that are refused by their name; Pillow's names."""


@dataclass(frozen=True)
class OpenClip:
    """A clip that is being read."""

    guard: Guard
    container: av.container.InputContainer
    stream: av.video.stream.VideoStream
    """The one that is read: the largest."""

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a stored pixel over its height."""
        return Fraction(self.stream.sample_aspect_ratio or 1)


@contextmanager
def opened(clip: Encoded, limits: ClipLimits) -> Iterator[OpenClip]:
    """The clip, until the block ends; what FFmpeg says about a bad file becomes a `VideoError`.

    Raises:
        VideoError: missing, truncated or not a video, on opening or within the block.
        LimitError: its header says that it is over the limits.
    """
    name = f"clip of {len(clip)} bytes" if isinstance(clip, bytes) else str(clip)
    source: str | _InMemory = ""
    file: OpenClip | None = None
    try:
        options = {"format_whitelist": CONTAINERS}
        with (
            _at_hand(clip) as source,
            av.open(source, mode="r", options=options, metadata_errors="replace") as container,
        ):
            if (end_of := _ENDS.get(container.format.name.partition(",")[0])) is not None:
                with open(source, "rb") if isinstance(source, str) else io.BytesIO(source.getvalue()) as content:
                    _require_whole(name, content, end_of)
            file = OpenClip(Guard(name, limits), container, _largest(name, container))
            _check_header(file, limits)
            yield file
    except FileNotFoundError:
        raise VideoError(f"{name}: no such file.") from None
    except IsADirectoryError:
        raise VideoError(f"{name}: is a folder, not a clip.") from None
    except PermissionError:
        raise VideoError(f"{name}: may not be read (permission denied).") from None
    except (av.error.FFmpegError, OSError) as error:
        if file is not None:
            raise VideoError(f"{name}: truncated or damaged ({error.strerror}); fetch the file again.") from None
        kind = _picture_kind(source)
        if kind:
            raise VideoError(f"{name}: is a {kind} picture, not a video; convert it to mp4.") from None
        raise VideoError(f"{name}: truncated or not a video ({error.strerror}).") from None


class _InMemory(io.BytesIO):
    """Bytes as a file whose refusals FFmpeg understands."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None


@contextmanager
def _at_hand(clip: Encoded) -> Iterator[str | _InMemory]:
    """What FFmpeg opens: the bytes, the path of a clip, or for an address that of a copy on this machine."""
    if isinstance(clip, bytes):
        yield _InMemory(clip)
        return
    with ExitStack() as stack:
        try:
            path = stack.enter_context(copy_at_hand(clip))
        except DataError as error:
            raise VideoError(str(error)) from None
        if Path(path).is_dir():
            raise IsADirectoryError(path)
        yield os.path.abspath(path)  # FFmpeg takes what stands before a colon for a protocol, unless it is absolute


def _largest(name: str, container: av.container.InputContainer) -> av.video.stream.VideoStream:
    """The video stream with most pixels, as ffmpeg chooses; the first of several. Pictures of a cover do not count."""
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        raise VideoError(f"{name}: has no video stream; give a file with pictures.")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise VideoError(f"{name}: is in a codec that cannot be decoded here; convert it to mp4.")
    return max(known, key=lambda stream: stream.codec_context.height * stream.codec_context.width)


def _check_header(clip: OpenClip, limits: ClipLimits) -> None:
    codec = clip.stream.codec_context
    clip.guard.size(codec.height, codec.width)
    clip.guard.size(*shown_size(codec.height, codec.width, clip.pixel_aspect))
    clip.guard.length(clip.stream.frames, (clip.container.duration or 0) / av.time_base)
    codec.options = {"max_pixels": str(limits.most_decoded_pixels)}


def _picture_kind(source: str | io.BytesIO) -> str | None:
    """By Pillow's name, as WEBP or PNG, when the file is a picture, moving or not."""
    file = io.BytesIO(source.getvalue()) if isinstance(source, io.BytesIO) else source
    try:
        with Image.open(file, formats=PICTURES) as picture:
            return f"moving {picture.format}" if getattr(picture, "is_animated", False) else picture.format
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _require_whole(name: str, file: IO[bytes], end_of: Callable[[IO[bytes], int], int | None]) -> None:
    """Refuses a file that ends inside one of its outer parts, even where FFmpeg copes."""
    end = file.seek(0, io.SEEK_END)
    start: int | None = 0
    while start is not None and end - start >= 8:
        file.seek(start)
        start = end_of(file, start)
    if start is not None and start > end:
        raise VideoError(f"{name}: truncated, {start - end} bytes are missing at the end; fetch the file again.")


def _end_of_box(file: IO[bytes], start: int) -> int | None:
    """Where the box of an mp4 ends that begins here (ISO/IEC 14496-12, 4.2); None for the end of the file."""
    header = file.read(16)
    size = int.from_bytes(header[:4], "big")
    if size == 0:
        return None
    return start + max(int.from_bytes(header[8:], "big") if size == 1 else size, 8)


def _end_of_element(file: IO[bytes], start: int) -> int | None:
    """Where the element of a Matroska or WebM file ends that begins here (RFC 8794); None where it does not say, as in
    a live recording, or where none begins."""
    for keeps_mark in (True, False):  # the name, then the size
        first = file.read(1)
        length = 9 - first[0].bit_length() if first and first[0] else 9
        if length > (4 if keeps_mark else 8):
            return None
        value = int.from_bytes(first + file.read(length - 1), "big")
    size, unknown = value & ((1 << 7 * length) - 1), (1 << 7 * length) - 1
    return None if size == unknown else file.tell() + size


_ENDS: dict[str, Callable[[IO[bytes], int], int | None]] = {"mov": _end_of_box, "matroska": _end_of_element}
"""Where an outer part of a file ends, by the first of FFmpeg's names of its kind."""
