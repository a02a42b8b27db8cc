"""The dataset as the server needs it: read once, kept in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from videoalign.data.dataset import Dataset
from videoalign.video.playable import media_type
from videoalign.web.annotate.showing import sort_clips


class Library:
    """Prompts and dimensions of one dataset, and its clips that can be shown."""

    def __init__(self, folder: str | Path) -> None:
        """
        Raises:
            DataError: no dataset there, or no two clips of a prompt that can be shown to anybody.
        """
        self.dataset = Dataset.open(folder)
        self.prompts = {row.prompt_id: row.text for row in self.dataset.prompts()}
        self.sorted = sort_clips(self.dataset, self.dataset.clips())
        self.clips = self.sorted.shown

    def file(self, clip_id: str) -> tuple[Path, str]:
        """Path and media type of a clip."""
        path = self.dataset.clip_path(self.clips[clip_id])
        return path, media_type(path) or "application/octet-stream"

    def seconds(self, clip_id: str) -> float:
        """How long a clip plays."""
        clip = self.clips[clip_id]
        return clip.num_frames / clip.fps

    def card(self, clip_id: str, url: str, watch_seconds: float) -> dict[str, Any]:
        """What the player must know of a clip: the last is how many different seconds of it must be played."""
        clip = self.clips[clip_id]
        return {
            "url": url,
            "fps": clip.fps,
            "num_frames": clip.num_frames,
            "width": clip.width,
            "height": clip.height,
            "watch_seconds": watch_seconds,
        }
