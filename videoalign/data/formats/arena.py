"""Arena votes: two models, a winner, one vote a row.

Columns ``prompt, video_a, video_b, model_a, model_b, winner``, which is ``model_a``, ``model_b``, ``tie`` or
``both_bad`` (older: ``tie (bothbad)``); optionally ``judge``, who voted, and ``dimension``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videoalign.contracts.records import Label
from videoalign.data.dataset import Dataset
from videoalign.data.formats.common import PairEntry, RowDimension, clip_in, rater_column
from videoalign.data.formats.verdicts import (
    VerdictOptions,
    known_verdicts,
    normalise_label,
)
from videoalign.data.formats.writing import Contents, write_rows
from videoalign.data.judgements.votes import standing
from videoalign.data.source_table import Row, SourceTable

WINNERS = {
    "model_a": Label.A,
    "model_b": Label.B,
    "tie": Label.TIE,
    "both_bad": Label.BOTH_BAD,
    "bothbad": Label.BOTH_BAD,
    "tie (bothbad)": Label.BOTH_BAD,
}


class ArenaOptions(VerdictOptions):
    """Settings of ``data import arena``."""

    clip_a: str = "video_a"
    """Column with the path of the first clip."""
    clip_b: str = "video_b"
    """Column with the path of the second clip."""
    prompt: str = "prompt"
    """Column with the prompt."""
    rater: str | None = "judge"
    """Column that names who voted; may be absent."""


class ArenaImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: ArenaOptions) -> None:
        self.clip_a, self.clip_b, self.prompt = options.clip_a, options.clip_b, options.prompt
        table.require(self.clip_a, self.clip_b, self.prompt, "model_a", "model_b", "winner")
        self.rater = rater_column(table, options)
        self.known = known_verdicts(options, WINNERS)
        self.row_dimension = RowDimension(table, "dimension", options)
        self.dimensions = self.row_dimension.dimensions

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        dimension = self.row_dimension.of(row)
        if dimension is None:
            return []
        return [
            PairEntry(
                prompt=row.text(self.prompt),
                clip_a=clip_in(row, self.clip_a, generator=row.optional("model_a")),
                clip_b=clip_in(row, self.clip_b, generator=row.optional("model_b")),
                rater=row.text(self.rater) if self.rater else "arena",
                labels={dimension: normalise_label(row.text("winner"), "winner", self.known)},
            )
        ]


def export_arena(dataset: Dataset, out: Path) -> int:
    """What counts on each dimension, one vote a row, with both models; invalid votes are left out.

    That is the known answer or an adjudicator's last word where there is one, else the vote of each rater.
    """
    return write_rows(out, _rows(dataset, Contents(dataset, out)), f"{dataset.path}: no vote to export.")


def _rows(dataset: Dataset, contents: Contents) -> Iterator[dict[str, Any]]:
    written = {Label.A: "model_a", Label.B: "model_b", Label.TIE: "tie", Label.BOTH_BAD: "both_bad"}
    for row in (row for part in dataset.judgements_by_pair() for row in standing(part)):
        if row.label in written:
            pair = contents.pair(row.clip_a, row.clip_b)
            yield {
                **{name: pair[name] for name in ("prompt", "model_a", "model_b")},
                "winner": written[Label(row.label)],
                "judge": row.rater,
                "dimension": row.dimension,
                "video_a": pair["clip_a"],
                "video_b": pair["clip_b"],
            }
