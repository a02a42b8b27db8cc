"""The dataset as the server needs it: read once, kept in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from videoalign.contracts.records import Clip
from videoalign.data.dataset import Dataset
from videoalign.errors import DataError

MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
}
"""File endings that are served, and as what."""


class Library:
    """Clips, prompts and dimensions of one dataset."""

    def __init__(self, folder: str | Path) -> None:
        """
        Raises:
            DataError: no dataset there, or a clip that cannot be shown to anybody.
        """
        self.dataset = Dataset.open(folder)
        self.prompts = {row.prompt_id: row.text for row in self.dataset.prompts()}
        self.clips = {row.clip_id: row for row in self.dataset.clips()}
        self._root = self.dataset.path.resolve()
        for clip in self.clips.values():
            self._require_showable(clip)

    def file(self, clip_id: str) -> tuple[Path, str]:
        """Path and media type of a clip."""
        path = self.dataset.clip_path(self.clips[clip_id])
        return path, MEDIA_TYPES[path.suffix.lower()]

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

    def _require_showable(self, clip: Clip) -> None:
        """A clip is a file with the ending of a video, and a relative path stays inside the dataset's folder."""
        path = Path(clip.path)
        if "://" in clip.path:
            raise DataError(f"clip '{clip.clip_id}': {clip.path} is not on this machine; fetch the clips first.")
        if path.suffix.lower() not in MEDIA_TYPES:
            wanted = ", ".join(MEDIA_TYPES)
            raise DataError(f"clip '{clip.clip_id}': got {clip.path}, wanted a file ending in {wanted}; convert it.")
        if not path.is_absolute() and not (self._root / path).resolve().is_relative_to(self._root):
            raise DataError(f"clip '{clip.clip_id}': its path {clip.path} leaves the dataset's folder; move it inside.")
