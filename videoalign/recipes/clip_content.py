"""What stands for the content of a clip's file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import fsspec

from videoalign.contracts.digests import FileDigests
from videoalign.contracts.output import fingerprint
from videoalign.contracts.records import Clip
from videoalign.data.dataset import Dataset
from videoalign.errors import VideoError
from videoalign.video.addresses import is_address, plain_place

DIGESTS_FILE = "digests.json"
"""Where a folder remembers the digests of clips."""


def content_key(source: str | Path, digests: FileDigests) -> str:
    """Another content under the same name has another key.

    Args:
        source: a path; or an address that fsspec reads, of which the place tells whether the file has changed.
        digests: remembers those of files.

    Raises:
        VideoError: missing, or it cannot be read.
    """
    try:
        place = plain_place(source)
        if not is_address(place):
            return digests.of(place)
        system, path = fsspec.url_to_fs(place)
        return fingerprint([place, system.ukey(path)])
    except FileNotFoundError:
        raise VideoError(f"{source}: no such file.") from None
    except IsADirectoryError:
        raise VideoError(f"{source}: is a folder, not a clip.") from None
    except PermissionError:
        raise VideoError(f"{source}: may not be read (permission denied).") from None
    except (OSError, ImportError, ValueError) as error:
        raise VideoError(f"{source}: cannot be read ({' '.join(str(error).split())[:160]}).") from None


def clip_keys(dataset: Dataset, clips: Iterable[Clip]) -> list[str]:
    """`content_key` of clips of a dataset, which remembers them in its ``digests.json``.

    Raises:
        VideoError: a clip that is missing or cannot be read.
    """
    digests = FileDigests(dataset.path / DIGESTS_FILE)
    keys = [content_key(dataset.clip_source(clip), digests) for clip in clips]
    digests.save()
    return keys
