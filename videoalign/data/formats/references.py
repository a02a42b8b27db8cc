"""The picture or clip that was asked with beside a prompt."""

from __future__ import annotations

import io
import os
from typing import NamedTuple

from PIL import Image

from videoalign.contracts.digests import bytes_digest, file_digest
from videoalign.errors import VideoError
from videoalign.video.addresses import is_address, path_of
from videoalign.video.files import probe
from videoalign.video.playable import MEDIA_TYPES, MP4, PICTURE_TYPES


class Reference(NamedTuple):
    """What is known of one."""

    key: str
    """Stands for its content: the same picture under another name has the same; at an address, the address."""
    ending: str
    """Of the name under which it is stored."""


def reference_at(place: str) -> Reference:
    """The file at a path; what stands at an address is not fetched.

    Raises:
        VideoError: it is missing, damaged, or neither picture nor clip.
    """
    ending = path_of(place).suffix.lower()
    if ending not in (PICTURE_TYPES.keys() | MEDIA_TYPES.keys()):
        known = ", ".join([*PICTURE_TYPES, *MEDIA_TYPES])
        raise VideoError(f"{place}: what was asked with must be a picture or a clip that ends in {known}; convert it.")
    if is_address(place):
        return Reference(place, ending)
    if not os.path.isfile(place):
        raise VideoError(f"{place}: what was asked with is not there; correct the path, or set --clips.")
    if ending in MEDIA_TYPES:
        probe(place)
    else:
        _require_picture(place, place)
    return Reference(file_digest(place), ending)


def reference_in(content: bytes, name: str) -> Reference:
    """The bytes of a file; ``name`` is for messages.

    Raises:
        VideoError: they are neither picture nor clip.
    """
    if _picture_ending(content) is not None:
        _require_picture(io.BytesIO(content), name)
    ending = _picture_ending(content) or (".mp4" if probe(content).container == MP4 else ".webm")
    return Reference(bytes_digest(content), ending)


def _picture_ending(content: bytes) -> str | None:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            ending = f".{(picture.format or '').lower()}"
    except Exception:
        return None
    return ending if ending in PICTURE_TYPES else None


def _require_picture(file: str | io.BytesIO, name: str) -> None:
    try:
        with Image.open(file) as picture:
            picture.verify()
    except Exception as error:
        raise VideoError(f"{name}: is not a picture that can be read ({type(error).__name__}); make it anew.") from None
