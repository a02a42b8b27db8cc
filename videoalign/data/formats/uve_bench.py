"""UVE-Bench: verdicts on pairs, each on one aspect.

Columns ``video_a, video_b, prompt, preference, aspect, dataset``; clips stand in a folder named after ``dataset``. The
``preference`` is written out, as in ``B is better``.
"""

from __future__ import annotations

from dataclasses import replace

from videoalign.contracts.records import Label
from videoalign.data.formats.common import PairEntry, RowDimension, clip_in
from videoalign.data.formats.verdicts import (
    VerdictOptions,
    known_verdicts,
    normalise_label,
)
from videoalign.data.source_table import Row, SourceTable

PREFERENCES = {
    "a is better": Label.A,
    "b is better": Label.B,
    "same quality": Label.TIE,
    "both good": Label.TIE,
    "both are good": Label.TIE,
    "tie": Label.TIE,
    "both bad": Label.BOTH_BAD,
    "both are bad": Label.BOTH_BAD,
}


class UVEBenchOptions(VerdictOptions):
    """Settings of ``data import uve-bench``."""

    rater: str = "uve-bench"
    """Name under which the verdicts are kept; the table does not say who gave them."""


class UVEBenchImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: UVEBenchOptions) -> None:
        table.require("video_a", "video_b", "prompt", "preference", "aspect")
        self.row_dimension = RowDimension(table, "aspect", options)
        self.dimensions = self.row_dimension.dimensions
        self.rater, self.known = options.rater, known_verdicts(options, PREFERENCES)

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        dimension = self.row_dimension.of(row)
        if dimension is None:
            return []
        folder = row.optional("dataset")
        clip_a, clip_b = (clip_in(row, column) for column in ("video_a", "video_b"))
        if folder:
            clip_a, clip_b = (replace(clip, path=f"{folder}/{clip.path}") for clip in (clip_a, clip_b))
        label = normalise_label(row.text("preference"), "preference", self.known)
        return [
            PairEntry(
                prompt=row.text("prompt"), clip_a=clip_a, clip_b=clip_b, rater=self.rater, labels={dimension: label}
            )
        ]
