"""WorldReward-Bench: verdicts on pairs of clips of a world that is acted in.

Columns ``input_caption, actions, left, right``, each of the last two an object with ``video`` and ``model``, and
``label``, an object with ``left``, ``right`` or ``tie`` for action, appearance and motion. The prompt is the caption,
and the actions after it, since clips of other actions are not compared. The picture that the clips start
from, ``input_image``, is part of it too, where it is there.
"""

from __future__ import annotations

import json

from videoalign.data.formats.common import PairEntry, clip_in, media_in, name_dimensions, optional_column
from videoalign.data.formats.verdicts import (
    LABELS,
    SIDES,
    VerdictOptions,
    known_verdicts,
    normalise_label,
)
from videoalign.data.source_table import Row, SourceTable
from videoalign.errors import DataError


class WorldRewardBenchOptions(VerdictOptions):
    """Settings of ``data import worldreward-bench``."""

    dimensions: tuple[str, ...] | None = ("action", "appearance", "motion")
    """Labels that are read."""
    media: str | None = "input_image"
    """Column with the picture that the clips start from; may be absent."""
    rater: str = "worldreward-bench"
    """Name under which the verdicts are kept; the table does not say who gave them."""


class WorldRewardBenchImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: WorldRewardBenchOptions) -> None:
        table.require("input_caption", "left", "right", "label")
        self.media = optional_column(table, options, "media")
        self.dimensions = name_dimensions(options.dimensions or (), options)
        self.rater, self.known = options.rater, known_verdicts(options, {**SIDES, **LABELS})

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        sides = [row.fields(side) for side in ("left", "right")]
        clip_a, clip_b = (clip_in(side, "video", generator=side.optional("model")) for side in sides)
        given = row.fields("label")
        return [
            PairEntry(
                prompt=_prompt(row),
                clip_a=clip_a,
                clip_b=clip_b,
                rater=self.rater,
                labels={
                    name: normalise_label(text, asked, self.known)
                    for name, asked in self.dimensions.items()
                    if (text := given.optional(asked))
                },
                media=media_in(row, self.media),
            )
        ]


def _prompt(row: Row) -> str:
    actions = row.cells.get("actions")
    if not actions:
        return row.text("input_caption")
    try:
        written = actions if isinstance(actions, str) else json.dumps(actions, ensure_ascii=False)
    except TypeError as error:
        raise DataError(f"column 'actions' cannot be written as JSON ({error}).") from None
    return f"{row.text('input_caption')} Actions: {written}"
