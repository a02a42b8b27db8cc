"""What browsers play: one answer for import, `data check` and `annotate serve`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from videoalign.video.addresses import path_of
from videoalign.video.limits import UNLIMITED
from videoalign.video.opening import Encoded, opened

TO_MP4 = "ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p OUT.mp4"
"""Makes of any clip one that every browser plays."""

MP4, WEBM = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"

MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/mp4",
    ".webm": "video/webm",
    ".mkv": "video/webm",
}
"""Endings of the files that are served, and as what. A browser goes by what is in the file, once it looks into it;
MOV is of the kind of mp4, Matroska of that of WebM."""

PICTURE_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
}
"""Endings of pictures that every browser shows, and as what they are served."""

_EVERYWHERE = {MP4: {"h264", "vp9", "av1"}, WEBM: {"vp8", "vp9", "av1"}}
"""Codecs by container, all by FFmpeg's names, that every browser plays in 8 bits with colour at half resolution."""
_SOMEWHERE = {"h264", "hevc", "vp8", "vp9", "av1"}
_PIXELS = {"yuv420p", "yuvj420p"}


class Encoding(Protocol):
    """How a clip is stored, by FFmpeg's names; a `VideoInfo` for one."""

    @property
    def container(self) -> str:
        """As in ``mov,mp4,m4a,3gp,3g2,mj2``."""

    @property
    def codec(self) -> str:
        """As in ``h264``."""

    @property
    def pixel_format(self) -> str:
        """As in ``yuv420p``."""


@dataclass(frozen=True)
class FileEncoding:
    """The `Encoding` of a file."""

    container: str
    codec: str
    pixel_format: str


@dataclass(frozen=True)
class Unplayable:
    """Why a clip is not played by every browser."""

    what: str
    """In words."""
    nowhere: bool
    """No browser plays it."""


def encoding_of(clip: Encoded) -> FileEncoding:
    """How a clip is stored, by its header alone.

    Raises:
        VideoError: missing, cut off or not a video.
    """
    with opened(clip, UNLIMITED) as file:
        codec = file.stream.codec_context
        return FileEncoding(file.container.format.name, codec.codec.canonical_name, codec.pix_fmt or "unknown")


def media_type(path: str | Path) -> str | None:
    """As what a clip of this name is served; None where it has none of the endings of `MEDIA_TYPES`."""
    return MEDIA_TYPES.get(path_of(path).suffix.lower())


def unplayable(path: str | Path, clip: Encoding) -> Unplayable | None:
    """None for a clip that every browser plays: H.264, VP9 or AV1 in mp4 or MOV, VP8, VP9 or AV1 in WebM, of 8 bits
    and with colour at half resolution (4:2:0).

    Others play in some browsers, as HEVC, 10 bits, 4:4:4 or H.264 in Matroska; or in none, as GIF, AVI and ProRes.
    """
    if media_type(path) is None:
        wanted = ", ".join(MEDIA_TYPES)
        return Unplayable(f"its file ends in '{path_of(path).suffix}', served are {wanted}.", nowhere=True)
    kind = f"is {clip.codec} in {clip.pixel_format}, in a file of kind {clip.container.split(',')[0]}"
    if clip.container not in _EVERYWHERE or clip.codec not in _SOMEWHERE:
        return Unplayable(f"{kind}, which no browser plays as a video.", nowhere=True)
    if clip.codec not in _EVERYWHERE[clip.container] or clip.pixel_format not in _PIXELS:
        return Unplayable(f"{kind}, which not every browser plays.", nowhere=False)
    return None
