"""From what was sent to what a reward reads: base64 undone, pictures opened; runs in a decoding thread."""

from __future__ import annotations

import base64
import io

from PIL import Image

from videoalign.errors import DataError, LimitError, VideoError
from videoalign.video.limits import ClipLimits, Guard
from videoalign.video.sources import VideoSource
from videoalign.web.score.settings import ServeSettings
from videoalign.web.score.uploads import Frames, Upload
from videoalign.web.text import require_lines

FORMATS = ("PNG", "JPEG")
MODES = ("1", "L", "P", "RGB", "RGBA")
"""Pictures of eight bits a colour or fewer; what is transparent is taken as it would show without."""


def open_upload(upload: Upload, settings: ServeSettings) -> VideoSource:
    """The clip of an upload.

    Raises:
        LimitError: it is over the limits.
        DataError: the prompt is too long, or holds what is no text.
        VideoError: not base64, or pictures that cannot be read.
    """
    if len(upload.prompt) > settings.max_prompt_chars:
        raise DataError(
            f"prompt: got {len(upload.prompt)} characters, at most {settings.max_prompt_chars} are read; shorten it."
        )
    try:
        require_lines(upload.prompt)
    except ValueError as error:
        raise DataError(f"prompt: {error}.") from None
    source = upload.source
    if isinstance(source, Frames):
        _require_bytes(sum(len(picture) * 3 // 4 for picture in source.pictures), settings)
        return _open_pictures(source, settings.clip), source.fps
    content = _unpacked(source, "video") if isinstance(source, str) else source
    _require_bytes(len(content), settings)
    return content


def _require_bytes(got: int, settings: ServeSettings) -> None:
    if got > settings.max_clip_bytes:
        raise LimitError(f"clip: has {got} bytes, at most {settings.max_clip_bytes} are read; make it smaller.")


def _unpacked(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise VideoError(f"{what}: is not base64 ({error}); encode the bytes of the file.") from None


def _open_pictures(frames: Frames, limits: ClipLimits) -> list[Image.Image]:
    guard = Guard("clip", limits)
    guard.length(len(frames.pictures), len(frames.pictures) / frames.fps)
    pictures = [_open(text, number, guard) for number, text in enumerate(guard.in_time(frames.pictures))]
    guard.reading(len(pictures), pictures[0].height, pictures[0].width)
    for number, picture in enumerate(guard.in_time(pictures)):
        guard.frame(picture.height, picture.width)
        try:
            picture.load()
        except Exception as error:
            raise VideoError(f"frame {number}: is damaged ({error}); send it again.") from None
    return pictures


def _open(text: str, number: int, guard: Guard) -> Image.Image:
    """A picture whose header alone was read."""
    content = _unpacked(text, f"frame {number}")
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError:
        raise LimitError(f"frame {number}: has too many pixels; make it smaller.") from None
    except Exception as error:
        raise VideoError(f"frame {number}: is neither PNG nor JPEG ({type(error).__name__}); convert it.") from None
    guard.size(picture.height, picture.width)
    if picture.mode not in MODES:
        raise VideoError(f"frame {number}: has colours of the kind '{picture.mode}', wanted RGB; convert it.")
    return picture
