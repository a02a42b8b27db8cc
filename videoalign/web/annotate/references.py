"""The pictures and clips that prompts were asked with, as far as people can be shown them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from videoalign.contracts.records import Prompt
from videoalign.data.dataset import Dataset
from videoalign.video.addresses import is_address
from videoalign.video.playable import MEDIA_TYPES, PICTURE_TYPES


@dataclass(frozen=True)
class References:
    """By prompt id."""

    shown: dict[str, tuple[Path, str]] = field(default_factory=dict)
    """Path and media type."""
    notes: list[str] = field(default_factory=list)
    """A line for each that cannot be shown."""


def sort_references(dataset: Dataset, prompts: Iterable[Prompt]) -> References:
    """Those on this machine, inside the dataset's folder or at an absolute path, that browsers show."""
    result, root, types = References(), dataset.path.resolve(), PICTURE_TYPES | MEDIA_TYPES
    for prompt in prompts:
        if not prompt.media:
            continue
        path = Path(prompt.media)
        place, kind = dataset.path / path, types.get(path.suffix.lower())
        if is_address(prompt.media):
            why = "it is not on this machine; fetch it first"
        elif kind is None:
            why = f"it does not end in {', '.join(types)}; convert it"
        elif not path.is_absolute() and not (root / path).resolve().is_relative_to(root):
            why = "it leaves the dataset's folder; move it inside"
        elif not place.is_file():
            why = "it is not there"
        else:
            result.shown[prompt.prompt_id] = (place, kind)
            continue
        result.notes.append(f"prompt '{prompt.prompt_id}' is shown without {prompt.media}: {why}.")
    return result
