"""The pictures and clips that prompts were asked with, as far as people can be shown them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from videoalign.contracts.records import Prompt
from videoalign.data.dataset import Dataset
from videoalign.video.playable import MEDIA_TYPES, PICTURE_TYPES
from videoalign.web.annotate.programme.showing import MOST_NAMED, trouble


@dataclass(frozen=True)
class References:
    """By prompt id."""

    shown: dict[str, tuple[Path, str]] = field(default_factory=dict)
    """Path and media type."""
    doubts: list[str] = field(default_factory=list)
    """A line for each that is not shown, or not by every browser."""

    def kind(self, prompt_id: str) -> str:
        """``image`` or ``video``; empty where raters see the prompt alone."""
        _, media_type = self.shown.get(prompt_id, (None, ""))
        return media_type.partition("/")[0]

    def notes(self) -> list[str]:
        """What to tell whoever starts a server."""
        more = len(self.doubts) - MOST_NAMED
        return self.doubts if more <= 0 else [*self.doubts[:MOST_NAMED], f"{more} more prompts like these."]


def sort_references(dataset: Dataset, prompts: Iterable[Prompt]) -> References:
    """Those that a browser shows; the raters of the others see the prompt alone."""
    result, root, types = References(), dataset.path.resolve(), PICTURE_TYPES | MEDIA_TYPES
    for prompt in prompts:
        if not prompt.media:
            continue
        found, place = trouble(root, prompt.media, PICTURE_TYPES), root / prompt.media
        is_shown = found is None or (not found.nowhere and place.is_file())
        if is_shown:
            result.shown[prompt.prompt_id] = (place, types[place.suffix.lower()])
        if found is not None:
            how = "shown, but what it was asked with" if is_shown else "shown without what it was asked with"
            result.doubts.append(f"{how}: prompt '{prompt.prompt_id}': {found.what}")
    return result
