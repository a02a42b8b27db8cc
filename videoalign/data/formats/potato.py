"""Potato's annotations of pairs: an instance, who looked at it, and a verdict per dimension.

Each row has ``id`` (or ``instance_id``), ``user_id`` and ``label_annotations``: ``{dimension: "A" | "B" | "tie"}``,
also below the name of a scheme, or ``{dimension: {"A": true}}`` as radio buttons are written. The clips and the
prompt stand in the row or, by id, in the table of instances that ``items`` names.
"""

from __future__ import annotations

from collections.abc import Iterator

from videoalign.data.formats.common import PairEntry, clip_in, names_in, plain_dimensions
from videoalign.data.formats.verdicts import (
    LABELS,
    SIDES,
    VerdictOptions,
    known_verdicts,
    normalise_label,
    word_of,
)
from videoalign.data.source_table import Row, SourceTable
from videoalign.errors import DataError


class PotatoOptions(VerdictOptions):
    """Settings of ``data import potato``."""

    items: str | None = None
    """Table of the instances, where the annotations do not hold the clips."""
    clip_a: str = "video_a"
    """Column with the path of the first clip."""
    clip_b: str = "video_b"
    """Column with the path of the second clip."""
    prompt: str = "prompt"
    """Column with the prompt."""
    rater: str = "user_id"
    """Column that names the rater."""
    labels: str = "label_annotations"
    """Column with the verdicts."""


class PotatoImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: PotatoOptions) -> None:
        self.options = options
        self.key = "instance_id" if "instance_id" in table.columns else "id"
        table.require(self.key, options.rater, options.labels)
        self.items: dict[str, Row] | None = None
        shown = table
        if options.items is not None:
            shown = SourceTable.open(options.items)
            shown.require("id")
            self.items = {row.optional("id"): row for row in shown.rows}
        shown.require(options.clip_a, options.clip_b, options.prompt)
        self.known = known_verdicts(options, {**LABELS, **SIDES})
        asked = names_in(table, lambda row: dict(self._verdicts(row.fields(options.labels))))
        self.dimensions = plain_dimensions(options.dimensions or asked, options)

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        item = row
        if self.items is not None:
            name = row.text(self.key)
            if name not in self.items:
                raise DataError(f"instance '{name}' is not in {self.options.items}; add it.")
            item = self.items[name]
        given = dict(self._verdicts(row.fields(self.options.labels)))
        return [
            PairEntry(
                prompt=item.text(self.options.prompt),
                clip_a=clip_in(item, self.options.clip_a, generator=item.optional("model_a")),
                clip_b=clip_in(item, self.options.clip_b, generator=item.optional("model_b")),
                rater=row.text(self.options.rater),
                labels={
                    name: normalise_label(given[asked], asked, self.known)
                    for name, asked in self.dimensions.items()
                    if given.get(asked)
                },
            )
        ]

    def _verdicts(self, given: Row) -> Iterator[tuple[str, str]]:
        """Name and verdict of each dimension, also of those below the name of a scheme."""
        for name, value in given.cells.items():
            if not isinstance(value, dict):
                yield name, given.optional(name)
            elif len(value) == 1 and word_of(next(iter(value))) in self.known:
                yield name, next(iter(value))
            else:
                yield from self._verdicts(given.fields(name))
