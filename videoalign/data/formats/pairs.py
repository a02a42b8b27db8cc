"""Our plain table: one rater's verdicts on one pair a row, one column per dimension."""

from __future__ import annotations

from videoalign.data.formats.common import (
    LABELS,
    ImportOptions,
    PairEntry,
    SourceClip,
    judged_columns,
    name_dimensions,
    normalise_label,
    optional_column,
)
from videoalign.data.formats.source import Row, SourceTable


class PairsOptions(ImportOptions):
    """Settings of ``data import pairs``."""

    clip_a: str = "clip_a"
    """Column with the path of the first clip."""
    clip_b: str = "clip_b"
    """Column with the path of the second clip."""
    prompt: str = "prompt"
    """Column with the prompt."""
    rater: str | None = "rater"
    """Column that names the rater; may be absent when there is one rater only."""
    model_a: str | None = "model_a"
    """Column that names the generator of the first clip; may be absent."""
    model_b: str | None = "model_b"
    """Column that names the generator of the second clip; may be absent."""


class PairsImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: PairsOptions) -> None:
        table.require(options.clip_a, options.clip_b, options.prompt)
        self.clip_a, self.clip_b, self.prompt = options.clip_a, options.clip_b, options.prompt
        self.rater = optional_column(table, options, "rater")
        self.model_a = optional_column(table, options, "model_a")
        self.model_b = optional_column(table, options, "model_b")
        taken = (self.clip_a, self.clip_b, self.prompt, self.rater, self.model_a, self.model_b)
        columns = options.dimensions or judged_columns(table, taken, lambda text: text.lower() in LABELS)
        table.require(*columns)
        self.dimensions = name_dimensions(columns, options)

    def entry(self, row: Row) -> PairEntry:
        """See `Importer.entry`."""
        given = {name: (row.optional(column), column) for name, column in self.dimensions.items()}
        return PairEntry(
            prompt=row.text(self.prompt),
            clip_a=SourceClip(path=row.text(self.clip_a), generator=row.optional(self.model_a)),
            clip_b=SourceClip(path=row.text(self.clip_b), generator=row.optional(self.model_b)),
            rater=row.text(self.rater) if self.rater else "",
            labels={name: normalise_label(text, column) for name, (text, column) in given.items() if text},
        )
