"""A picture from a file, as it is shown."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps

from videoalign.errors import VideoError
from videoalign.video.addresses import open_bytes


def read_picture(place: str | Path) -> Image.Image:
    """The picture at a path or an address, RGB, turned as its camera says.

    Raises:
        VideoError: it is missing, or no picture that can be read, as a clip is none.
    """
    try:
        with open_bytes(place) as file, Image.open(file) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")
    except FileNotFoundError:
        raise VideoError(f"{place}: there is no such picture; correct the path.") from None
    except Exception as error:
        raise VideoError(
            f"{place}: is not a picture that can be read ({type(error).__name__}); wanted a PNG, JPEG, WebP or GIF, "
            "such as the first frame of a clip."
        ) from None
