"""VA-Judger-Bench: one verdict on one pair a row.

Columns ``text_prompt, video_1_relative_path, video_2_relative_path, human_preference_answer``, which is ``video 1 is
better`` or ``video 2 is better``. Paths start from the folder of the split, where ``data.jsonl`` lies.
"""

from __future__ import annotations

from videoalign.contracts.records import OVERALL, Label
from videoalign.data.formats.common import PairEntry, clip_in, name_dimensions
from videoalign.data.formats.verdicts import (
    VerdictOptions,
    known_verdicts,
    normalise_label,
)
from videoalign.data.source_table import Row, SourceTable

ANSWERS = {"video 1 is better": Label.A, "video 2 is better": Label.B, "tie": Label.TIE}


class VAJudgerOptions(VerdictOptions):
    """Settings of ``data import va-judger``."""

    dimensions: tuple[str, ...] | None = ("human_preference_answer",)
    """Column with the answer."""
    rename: dict[str, str] = {"human_preference_answer": OVERALL}
    """Name of what is judged."""
    rater: str = "va-judger"
    """Name under which the answers are kept; the table does not say who gave them."""


class VAJudgerImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: VAJudgerOptions) -> None:
        columns = options.dimensions or ()
        table.require("text_prompt", "video_1_relative_path", "video_2_relative_path", *columns)
        self.dimensions = name_dimensions(columns, options)
        self.rater, self.known = options.rater, known_verdicts(options, ANSWERS)

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        return [
            PairEntry(
                prompt=row.text("text_prompt"),
                clip_a=clip_in(row, "video_1_relative_path"),
                clip_b=clip_in(row, "video_2_relative_path"),
                rater=self.rater,
                labels={
                    name: normalise_label(row.text(column), column, self.known)
                    for name, column in self.dimensions.items()
                },
            )
        ]
