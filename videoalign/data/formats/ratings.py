"""A pointwise table: one rater's scores of one clip a row; pairs are made of clips that share a prompt."""

from __future__ import annotations

from videoalign.data.formats.common import (
    PointwiseOptions,
    RatingEntry,
    clip_in,
    judged_columns,
    media_in,
    name_dimensions,
    optional_column,
    rater_column,
)
from videoalign.data.source_table import Row, SourceTable
from videoalign.data.tables import to_float


class RatingsOptions(PointwiseOptions):
    """Settings of ``data import ratings``."""

    clip: str = "clip"
    """Column with the path of the clip."""
    prompt: str = "prompt"
    """Column with the prompt."""
    media: str | None = "media"
    """Column with the picture or clip that was asked with beside the prompt; may be absent."""
    rater: str | None = "rater"
    """Column that names the rater; may be absent when there is one rater only."""
    unnamed_rater: str = ""
    """Name under which scores are kept where no column names the rater."""
    model: str | None = "model"
    """Column that names the generator of the clip; may be absent."""


class RatingsImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: RatingsOptions) -> None:
        table.require(options.clip, options.prompt)
        self.rater = rater_column(table, options)
        self.unnamed_rater = options.unnamed_rater
        self.model = optional_column(table, options, "model")
        self.media = optional_column(table, options, "media")
        self.clip, self.prompt = options.clip, options.prompt
        taken = (self.clip, self.prompt, self.rater, self.model, self.media)
        columns = options.dimensions or judged_columns(table, taken, _is_number, lambda text: "")
        table.require(*columns)
        self.dimensions = name_dimensions(columns, options)

    def entries(self, row: Row) -> list[RatingEntry]:
        """See `Importer.entries`."""
        scores = {name: row.number_or_none(column) for name, column in self.dimensions.items()}
        return [
            RatingEntry(
                prompt=row.text(self.prompt),
                clip=clip_in(row, self.clip, generator=row.optional(self.model)),
                rater=row.text(self.rater) if self.rater else self.unnamed_rater,
                scores={name: score for name, score in scores.items() if score is not None},
                media=media_in(row, self.media),
            )
        ]


def _is_number(text: str) -> bool:
    try:
        to_float(text)
    except ValueError:
        return False
    return True
