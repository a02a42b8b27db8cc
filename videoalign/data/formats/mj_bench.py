"""MJ-Bench-Video: verdicts on pairs, as a whole and by category.

Columns ``caption`` (or ``prompt``), ``video_0_path, video_1_path, overall_preference`` and ``category_preference``, an
object with a verdict per category. The paths count from 0 and the verdicts from 1: ``Video 1 better`` means
``video_0_path``.
"""

from __future__ import annotations

from videoalign.contracts.records import OVERALL, Label
from videoalign.data.formats.common import PairEntry, clip_in, names_in, plain_dimensions
from videoalign.data.formats.verdicts import (
    VerdictOptions,
    known_verdicts,
    normalise_label,
)
from videoalign.data.source_table import Row, SourceTable

VERDICTS = {"video 1 better": Label.A, "video 2 better": Label.B, "same": Label.TIE}


class MJBenchOptions(VerdictOptions):
    """Settings of ``data import mj-bench``."""

    rater: str = "mj-bench"
    """Name under which the verdicts are kept; the table does not say who gave them."""


class MJBenchImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: MJBenchOptions) -> None:
        self.prompt = "prompt" if "prompt" in table.columns else "caption"
        table.require(self.prompt, "video_0_path", "video_1_path", "overall_preference")
        categories = names_in(table, lambda row: row.fields("category_preference").cells)
        self.dimensions = plain_dimensions(options.dimensions or [OVERALL, *categories], options)
        self.rater, self.known = options.rater, known_verdicts(options, VERDICTS)

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        given = row.fields("category_preference")
        verdicts = {
            name: (row.optional("overall_preference") if asked == OVERALL else given.optional(asked), asked)
            for name, asked in self.dimensions.items()
        }
        return [
            PairEntry(
                prompt=row.text(self.prompt),
                clip_a=clip_in(row, "video_0_path"),
                clip_b=clip_in(row, "video_1_path"),
                rater=self.rater,
                labels={
                    name: normalise_label(text, asked, self.known) for name, (text, asked) in verdicts.items() if text
                },
            )
        ]
