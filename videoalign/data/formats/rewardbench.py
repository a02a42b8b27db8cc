"""VideoGen-RewardBench: the official pair table with both generators, an overall verdict and what each file should be.

Columns ``path_A, path_B, A_model, B_model, prompt, VQ, MQ, TA, Overall`` and, where they stand there, ``fps_A,
num_frames_A, fps_B, num_frames_B``. A pair is known by both its paths; one that is there twice counts once. Frames are
chosen by what the files themselves say. The stated rate and length serve as a check: a file that differs from them is
not the one that was judged, so its row cannot be used (``check_stated=false`` takes it all the same).
"""

from __future__ import annotations

from dataclasses import replace

from videoalign.contracts.records import OVERALL
from videoalign.data.formats.common import PairEntry, SourceClip
from videoalign.data.formats.source import Row, SourceTable
from videoalign.data.formats.videoalign import VideoAlignImporter, VideoAlignOptions


class RewardBenchOptions(VideoAlignOptions):
    """Settings of ``data import rewardbench``."""

    dimensions: tuple[str, ...] | None = ("VQ", "MQ", "TA", OVERALL)
    """Columns that are judged."""
    rater: str = "rewardbench"
    """Name under which the verdicts are kept; the table does not say who gave them."""
    check_stated: bool = True
    """Refuse a clip whose frame rate or number of frames is not what the table says."""


class RewardBenchImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: RewardBenchOptions) -> None:
        table.require("A_model", "B_model")
        self.pairs = VideoAlignImporter(table, options)
        self.dimensions = self.pairs.dimensions
        self.check_stated = options.check_stated

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        entries = self.pairs.entries(row)
        if not self.check_stated:
            return entries
        return [
            replace(entry, clip_a=_stated(entry.clip_a, row, "A"), clip_b=_stated(entry.clip_b, row, "B"))
            for entry in entries
        ]


def _stated(clip: SourceClip, row: Row, side: str) -> SourceClip:
    fps, num_frames = row.number_or_none(f"fps_{side}"), row.number_or_none(f"num_frames_{side}")
    return replace(clip, fps=fps, num_frames=num_frames)
