"""Clips of a dataset as a reward reads them."""

from __future__ import annotations

from collections.abc import Sequence

from videoalign.contracts.progress import Progress
from videoalign.contracts.records import Clip
from videoalign.data.dataset import Dataset
from videoalign.models.videoreward.processing import Patches, VideoProcessor

CACHE_BYTES = 2 * 1024**3
"""Decoded clips kept in memory while training; clips beyond it are decoded again at each use."""


class ClipReader:
    """Patches of a dataset's clips, decoded once while they fit into memory."""

    def __init__(self, dataset: Dataset, processor: VideoProcessor, *, cache_bytes: int = CACHE_BYTES) -> None:
        self.dataset, self.processor, self.free_bytes = dataset, processor, cache_bytes
        self.kept: dict[str, Patches] = {}

    def warm(self, clips: Sequence[Clip], progress: Progress) -> None:
        """Decodes as many of the clips as fit."""
        with progress("read clips", len(clips)) as advance:
            for clip in clips:
                if self.free_bytes > 0:
                    self.read(clip)
                advance()

    def read(self, clip: Clip) -> Patches:
        """The patches of one clip."""
        if clip.clip_id in self.kept:
            return self.kept[clip.clip_id]
        patches = self.processor.read_chosen(
            lambda choose: self.dataset.load(clip, choose).frames,
            str(self.dataset.clip_source(clip)),
        )
        size = patches.values.numel()
        if size <= self.free_bytes:
            self.kept[clip.clip_id] = patches
            self.free_bytes -= size
        return patches
