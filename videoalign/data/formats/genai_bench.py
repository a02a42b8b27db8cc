"""The video part of GenAI-Bench: one vote on one pair a row.

Columns ``prompt, left_model, left_video, right_model, right_video, vote_type``. A video is a path, an address, the
bytes of a file, or ``{path, bytes}`` as Hugging Face datasets keep it in Parquet; bytes are written into the dataset.
``bothbad_vote`` is kept as such and counts as a tie. The benchmark has two splits of different size, ``test`` and
``test_v1``: give the file of the one that is meant. The one vote is the dimension ``Overall``;
``rename.vote_type=TA`` has it compared with a reward's TA alone, as published figures of VideoReward are.
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

VOTES = {"leftvote": Label.A, "rightvote": Label.B, "tievote": Label.TIE, "bothbad_vote": Label.BOTH_BAD}


class GenAIBenchOptions(VerdictOptions):
    """Settings of ``data import genai-bench``."""

    dimensions: tuple[str, ...] | None = ("vote_type",)
    """Column with the vote."""
    rename: dict[str, str] = {"vote_type": OVERALL}
    """Name of what is judged."""
    rater: str = "genai-bench"
    """Name under which the votes are kept; the table does not say who gave them."""


class GenAIBenchImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: GenAIBenchOptions) -> None:
        columns = options.dimensions or ()
        table.require("prompt", "left_model", "left_video", "right_model", "right_video", *columns)
        self.dimensions = name_dimensions(columns, options)
        self.rater, self.known = options.rater, known_verdicts(options, VOTES)

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        labels = {
            name: normalise_label(row.text(column), column, self.known) for name, column in self.dimensions.items()
        }
        return [
            PairEntry(
                prompt=row.text("prompt"),
                clip_a=clip_in(row, "left_video", generator=row.optional("left_model")),
                clip_b=clip_in(row, "right_video", generator=row.optional("right_model")),
                rater=self.rater,
                labels=labels,
            )
        ]
