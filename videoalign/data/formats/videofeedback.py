"""VideoFeedback and VideoScore-Bench: scores of single clips on five dimensions; pairs are made within a prompt.

Columns, with spaces in their names, ``text prompt, video link`` and ``visual quality, temporal consistency, dynamic
degree, text-to-video alignment, factual consistency``; scores go from 1 (bad) to 4 (perfect). ``images`` and
``conversations`` are not read. The part of VideoScore-Bench with a column ``preference`` holds pairs: the rows with the
ids ``0000_left`` and ``0000_right`` are one, and the higher preference wins.
"""

from __future__ import annotations

from videoalign.contracts.records import OVERALL, Label
from videoalign.data.formats.common import Importer, PairEntry, clip_in, names_in
from videoalign.data.formats.ratings import RatingsImporter, RatingsOptions
from videoalign.data.source_table import Row, SourceTable
from videoalign.errors import DataError

RENAMED = {
    "visual quality": "visual_quality",
    "temporal consistency": "temporal_consistency",
    "dynamic degree": "dynamic_degree",
    "text-to-video alignment": "text_to_video_alignment",
    "factual consistency": "factual_consistency",
}


class VideoFeedbackOptions(RatingsOptions):
    """Settings of ``data import videofeedback``."""

    clip: str = "video link"
    """Column with the path or address of the clip."""
    prompt: str = "text prompt"
    """Column with the prompt."""
    dimensions: tuple[str, ...] | None = tuple(RENAMED)
    """Columns that are judged."""
    rename: dict[str, str] = RENAMED
    """New names of dimensions."""
    unnamed_rater: str = "videofeedback"
    """Name under which the scores are kept; the table does not say who gave them."""


def VideoFeedbackImporter(table: SourceTable, options: VideoFeedbackOptions) -> Importer:  # noqa: N802
    """Reads scores, or halves of pairs where the table has preferences."""
    return _HalvesImporter(table, options) if "preference" in table.columns else RatingsImporter(table, options)


class _HalvesImporter:
    """Puts the left and the right row of a pair together; the first of the two waits for the other."""

    def __init__(self, table: SourceTable, options: VideoFeedbackOptions) -> None:
        table.require("id", options.clip, options.prompt)
        self.clip, self.prompt, self.rater = options.clip, options.prompt, options.unnamed_rater
        self.dimensions = {OVERALL: "preference"}
        self._ids = set(names_in(table, lambda row: [row.optional("id")]))
        self._waiting: dict[str, Row] = {}

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        name, _, side = row.text("id").rpartition("_")
        if side not in ("left", "right"):
            raise DataError(f"column 'id' must end in _left or _right; got '{row.text('id')}'.")
        other = f"{name}_{'right' if side == 'left' else 'left'}"
        if other not in self._ids:
            raise DataError(f"the other clip of the pair, '{other}', is not in the table.")
        if other not in self._waiting:
            self._waiting[row.text("id")] = row
            return []
        left, right = (row, self._waiting.pop(other)) if side == "left" else (self._waiting.pop(other), row)
        if left.text(self.prompt) != right.text(self.prompt):
            raise DataError(f"the prompts of '{name}_left' and '{name}_right' differ; correct one.")
        return [
            PairEntry(
                prompt=left.text(self.prompt),
                clip_a=clip_in(left, self.clip),
                clip_b=clip_in(right, self.clip),
                rater=self.rater,
                labels={OVERALL: _better(left, right)},
            )
        ]


def _better(left: Row, right: Row) -> Label:
    one, other = left.number_or_none("preference"), right.number_or_none("preference")
    if one is None or other is None:
        raise DataError("column 'preference' is empty in one of the two rows of the pair; both need it.")
    if one == other:
        return Label.TIE
    return Label.A if one > other else Label.B
