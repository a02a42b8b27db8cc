"""A folder of clips with one table that says what each was to show; scores may stand there too.

Give the folder or the table in it: columns ``clip`` (name of the file), ``prompt``, optionally ``media`` (the picture
or clip that was asked with beside the prompt), ``model``, ``seed``, ``rater`` and, named with ``--dimensions``, scores.
Without scores the dataset holds clips to be judged. Every clip of the folder must be in the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from videoalign.contracts.records import DEFAULT_DIMENSIONS
from videoalign.data.formats.common import (
    CLIP_ENDINGS,
    ClipEntry,
    PointwiseOptions,
    RatingEntry,
    SourceClip,
    clip_in,
    media_in,
    name_dimensions,
    names_in,
    optional_column,
    rater_column,
    seed_of,
)
from videoalign.data.rows import require_text
from videoalign.data.source_table import Row, SourceTable
from videoalign.errors import DataError


class FolderOptions(PointwiseOptions):
    """Settings of ``data import folder``."""

    clip: str = "clip"
    """Column with the name of the file, from the folder of the table."""
    prompt: str = "prompt"
    """Column with the prompt."""
    media: str | None = "media"
    """Column with the picture or clip that was asked with beside the prompt; may be absent."""
    model: str | None = "model"
    """Column that names the generator; may be absent."""
    seed: str | None = "seed"
    """Column with the seed; may be absent."""
    rater: str | None = "rater"
    """Column that names who gave the scores; may be absent."""
    need_all: bool = True
    """Refuse a folder with clips that the table does not name."""


class FolderImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: FolderOptions) -> None:
        table.require(options.clip, options.prompt, *(options.dimensions or ()))
        self.clip, self.prompt = options.clip, options.prompt
        self.model, self.seed, self.media = (
            optional_column(table, options, name) for name in ("model", "seed", "media")
        )
        self.rater = rater_column(table, options)
        self.scored = name_dimensions(options.dimensions or (), options)
        self.dimensions = self.scored or {dimension.name: "" for dimension in DEFAULT_DIMENSIONS}
        if options.need_all and "://" not in table.folder:
            self._require_all_named(table)

    def _require_all_named(self, table: SourceTable) -> None:
        paths = names_in(table, lambda row: [require_text(one.path) for one in self._files(row)])
        named = {(Path(table.folder) / path).resolve() for path in paths}
        there = [file for file in sorted(Path(table.folder).rglob("*")) if file.suffix.lower() in CLIP_ENDINGS]
        missing = [str(file.relative_to(table.folder)) for file in there if file.resolve() not in named]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise DataError(
                f"{table.location}: has no row for {missing[0]}{more}; add the rows, or set need_all=false."
            )

    def _files(self, row: Row) -> Iterator[SourceClip]:
        yield clip_in(row, self.clip)
        if (media := media_in(row, self.media)) is not None:
            yield media

    def entries(self, row: Row) -> list[ClipEntry] | list[RatingEntry]:
        """See `Importer.entries`."""
        clip = clip_in(row, self.clip, generator=row.optional(self.model), seed=seed_of(row, self.seed))
        if not self.scored:
            return [ClipEntry(prompt=row.text(self.prompt), clip=clip, media=media_in(row, self.media))]
        scores = {name: row.number_or_none(column) for name, column in self.scored.items()}
        return [
            RatingEntry(
                prompt=row.text(self.prompt),
                clip=clip,
                rater=row.text(self.rater) if self.rater else "",
                scores={name: score for name, score in scores.items() if score is not None},
                media=media_in(row, self.media),
            )
        ]
