"""One answer to what browsers play, by container, codec and pixel format."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from videoalign.video.files import probe
from videoalign.video.playable import MP4, WEBM, media_type, unplayable

from .clips import encoded, grey

EVERYWHERE, SOMEWHERE, NOWHERE = None, False, True


@pytest.mark.parametrize(("path", "container", "codec", "pixels", "wanted"), [
    ("a.mp4", MP4, "h264", "yuv420p", EVERYWHERE),
    ("A.MOV", MP4, "h264", "yuvj420p", EVERYWHERE),
    ("a.mp4", MP4, "vp9", "yuv420p", EVERYWHERE),
    ("a.mp4", MP4, "av1", "yuv420p", EVERYWHERE),
    ("a.webm", WEBM, "vp8", "yuv420p", EVERYWHERE),
    ("https://host/a.webm?signed=1", WEBM, "vp9", "yuv420p", EVERYWHERE),
    ("a.mp4", MP4, "h264", "yuv420p10le", SOMEWHERE),
    ("a.mp4", MP4, "h264", "yuv444p", SOMEWHERE),
    ("a.mp4", MP4, "h264", "yuv422p", SOMEWHERE),
    ("a.mp4", MP4, "hevc", "yuv420p", SOMEWHERE),
    ("a.webm", WEBM, "vp9", "gbrp", SOMEWHERE),
    ("a.mkv", WEBM, "h264", "yuv420p", SOMEWHERE),
    ("a.mp4", MP4, "vp8", "yuv420p", SOMEWHERE),
    ("a.mov", MP4, "prores", "yuv422p10le", NOWHERE),
    ("a.mp4", MP4, "mpeg4", "yuv420p", NOWHERE),
    ("a.mp4", "avi", "h264", "yuv420p", NOWHERE),
    ("a.avi", "avi", "mjpeg", "yuvj420p", NOWHERE),
    ("a.gif", "gif", "gif", "bgra", NOWHERE),
    ("a.mp4", "mpegts", "h264", "yuv420p", NOWHERE),
    ("clip", MP4, "h264", "yuv420p", NOWHERE),
])  # fmt: skip
def test_what_plays_goes_by_what_is_in_the_file(
    path: str, container: str, codec: str, pixels: str, wanted: bool | None
) -> None:
    found = unplayable(path, SimpleNamespace(container=container, codec=codec, pixel_format=pixels))
    assert (None if found is None else found.nowhere) == wanted
    if found is not None and media_type(path) is not None:
        assert codec in found.what and pixels in found.what


@pytest.mark.parametrize(("more", "ending", "wanted"), [
    ({}, "mp4", EVERYWHERE),
    ({"container": "mov"}, "mov", EVERYWHERE),
    ({"codec": "libvpx-vp9", "container": "webm"}, "webm", EVERYWHERE),
    ({"container": "matroska"}, "mkv", SOMEWHERE),
    ({"pixels": "yuv444p"}, "mp4", SOMEWHERE),
    ({"pixels": "yuv420p10le"}, "mp4", SOMEWHERE),
    ({"codec": "libx265"}, "mp4", SOMEWHERE),
    ({"codec": "prores_ks", "pixels": "yuv422p10le", "container": "mov"}, "mov", NOWHERE),
    ({"container": "avi"}, "avi", NOWHERE),
    ({"container": "mpegts"}, "mp4", NOWHERE),
])  # fmt: skip
def test_real_files_are_told_apart(more: dict[str, str], ending: str, wanted: bool | None) -> None:
    info = probe(encoded(np.repeat(grey(4, 64, 64), 1, axis=0), **more))
    found = unplayable(f"clip.{ending}", info)
    assert (None if found is None else found.nowhere) == wanted
