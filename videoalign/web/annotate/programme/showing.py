"""Which clips of a dataset people can be shown: files on this machine, inside its folder, that a browser plays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from videoalign.contracts.records import Clip
from videoalign.data.dataset import Dataset
from videoalign.errors import DataError, VideoError
from videoalign.video.addresses import is_address
from videoalign.video.playable import MEDIA_TYPES, Unplayable, encoding_of, media_type, unplayable

THREADS = 8
MOST_NAMED = 20
"""Clips that are told one by one; of more the number is told."""


@dataclass(frozen=True)
class Sorted:
    """Clips by id."""

    shown: dict[str, Clip] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Why, of those that no browser can show."""
    doubtful: dict[str, str] = field(default_factory=dict)
    """Why, of those among the shown that not every browser plays, or whose file is not there yet."""

    def notes(self) -> list[str]:
        """What to tell whoever starts a server, a line a clip."""
        kinds = {"left out": self.left_out, "shown, but": self.doubtful}
        lines = [f"{kind}: clip '{clip_id}': {why}" for kind, clips in kinds.items() for clip_id, why in clips.items()]
        more = f"{len(lines) - MOST_NAMED} more clips like these; 'videoalign data check' lists them all."
        return lines if len(lines) <= MOST_NAMED else [*lines[:MOST_NAMED], more]


def sort_clips(dataset: Dataset, clips: Iterable[Clip]) -> Sorted:
    """Looks at the header of every file that is there; one bad clip keeps nobody from the others.

    Raises:
        DataError: where some are left out, no prompt has two others.
    """
    result, rows, root = Sorted(), list(clips), dataset.path.resolve()
    with ThreadPoolExecutor(THREADS) as pool:
        for clip, found in zip(rows, pool.map(lambda clip: trouble(root, clip.path), rows), strict=True):
            if found is not None:
                (result.left_out if found.nowhere else result.doubtful)[clip.clip_id] = found.what
            if found is None or not found.nowhere:
                result.shown[clip.clip_id] = clip
    if result.left_out and max(Counter(clip.prompt_id for clip in result.shown.values()).values(), default=0) < 2:
        raise DataError(f"{dataset.path}: no prompt has two clips that can be shown; {result.notes()[0]}")
    return result


def trouble(root: Path, place: str, pictures: Collection[str] = ()) -> Unplayable | None:
    """Why not every browser shows a file of a dataset; None where all do, as far as its header tells.

    Args:
        root: folder of the dataset, without links.
        place: as the tables name the file.
        pictures: endings of pictures that may stand in place of a clip.
    """
    if is_address(place):
        return Unplayable(f"{place} is not on this machine; fetch it first.", nowhere=True)
    is_picture = Path(place).suffix.lower() in pictures
    if media_type(place) is None and not is_picture:
        wanted = ", ".join([*pictures, *MEDIA_TYPES])
        return Unplayable(f"got {place}, wanted a file ending in {wanted}; convert it.", nowhere=True)
    path = root / place
    if not Path(place).is_absolute() and not path.resolve().is_relative_to(root):
        return Unplayable(f"its path {place} leaves the dataset's folder; move it inside.", nowhere=True)
    try:
        state = path.stat()
    except OSError:
        return Unplayable(f"{path} is not there.", nowhere=False)
    return None if is_picture else _of_file(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=2**17)
def _of_file(path: Path, changed: int, size: int) -> Unplayable | None:
    """What is wrong with a file as it is now; a server that reads its dataset again opens no file again."""
    try:
        return unplayable(path, encoding_of(path))
    except VideoError as error:
        return Unplayable(str(error), nowhere=True)
