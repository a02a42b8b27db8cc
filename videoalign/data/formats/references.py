"""The picture or clip that was asked with beside a prompt."""

from __future__ import annotations

import os
from functools import lru_cache

from PIL import Image

from videoalign.errors import VideoError
from videoalign.video.addresses import is_address, path_of
from videoalign.video.files import probe
from videoalign.video.playable import MEDIA_TYPES, PICTURE_TYPES


@lru_cache(maxsize=65_536)
def require_reference(place: str) -> None:
    """Checks that a file is a picture or a clip; what stands at an address is not fetched for that.

    Raises:
        VideoError: it is missing, damaged, or something else.
    """
    ending = path_of(place).suffix.lower()
    if ending not in (PICTURE_TYPES.keys() | MEDIA_TYPES.keys()):
        known = ", ".join([*PICTURE_TYPES, *MEDIA_TYPES])
        raise VideoError(f"{place}: what was asked with must be a picture or a clip that ends in {known}; convert it.")
    if is_address(place):
        return
    if not os.path.isfile(place):
        raise VideoError(f"{place}: what was asked with is not there; correct the path, or set --clips.")
    if ending in MEDIA_TYPES:
        probe(place)
        return
    try:
        with Image.open(place) as picture:
            picture.verify()
    except Exception as error:
        raise VideoError(
            f"{place}: is not a picture that can be read ({type(error).__name__}); make it anew."
        ) from None
