"""VisionRewardDB-Video, both shapes: verdicts on pairs, or a clip with its answers to a checklist.

Pairs: columns ``video1_path, video2_path, prompt, standard_answer``, which is ``video1``, ``video2`` or ``tie``; and,
as this tool writes them, ``dimension``. Checklists: columns ``video_path, prompt, annotation``, an object with a number
per question; pairs are made of clips that share a prompt. Of a question a higher number must be the better one:
``unsafe type`` is none such, and left out unless ``dimensions`` names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videoalign.contracts.records import Aggregation, Label
from videoalign.data.dataset import Dataset
from videoalign.data.formats.common import (
    PairEntry,
    PointwiseOptions,
    RatingEntry,
    RowDimension,
    clip_in,
    names_in,
    plain_dimensions,
)
from videoalign.data.formats.verdicts import (
    VerdictOptions,
    known_verdicts,
    normalise_label,
)
from videoalign.data.formats.writing import Contents, write_rows
from videoalign.data.source_table import Row, SourceTable

ANSWERS = {"video1": Label.A, "video2": Label.B, "tie": Label.TIE}
_NO_SCALE = "unsafe type"


class VisionRewardOptions(PointwiseOptions, VerdictOptions):
    """Settings of ``data import visionreward``."""

    rater: str = "visionreward"
    """Name under which the answers are kept; the table does not say who gave them."""


class VisionRewardImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: VisionRewardOptions) -> None:
        self.rater, self.known = options.rater, known_verdicts(options, ANSWERS)
        self.row_dimension: RowDimension | None = None
        if "annotation" in table.columns:
            table.require("video_path", "prompt")
            asked = names_in(table, lambda row: row.fields("annotation").cells)
            self.dimensions = plain_dimensions(
                options.dimensions or [name for name in asked if name != _NO_SCALE], options
            )
        else:
            table.require("video1_path", "video2_path", "prompt", "standard_answer")
            self.row_dimension = RowDimension(table, "dimension", options)
            self.dimensions = self.row_dimension.dimensions

    def entries(self, row: Row) -> list[PairEntry] | list[RatingEntry]:
        """See `Importer.entries`."""
        return self._scores(row) if self.row_dimension is None else self._verdict(row, self.row_dimension)

    def _scores(self, row: Row) -> list[RatingEntry]:
        answers = row.fields("annotation")
        scores = {name: answers.number_or_none(column) for name, column in self.dimensions.items()}
        return [
            RatingEntry(
                prompt=row.text("prompt"),
                clip=clip_in(row, "video_path"),
                rater=self.rater,
                scores={name: score for name, score in scores.items() if score is not None},
            )
        ]

    def _verdict(self, row: Row, row_dimension: RowDimension) -> list[PairEntry]:
        dimension = row_dimension.of(row)
        if dimension is None:
            return []
        return [
            PairEntry(
                prompt=row.text("prompt"),
                clip_a=clip_in(row, "video1_path"),
                clip_b=clip_in(row, "video2_path"),
                rater=self.rater,
                labels={dimension: normalise_label(row.text("standard_answer"), "standard_answer", self.known)},
            )
        ]


def export_visionreward(dataset: Dataset, out: Path, aggregate: Aggregation = Aggregation.ADJUDICATED) -> int:
    """One verdict a pair and dimension, as VisionReward's tests have them, with a column ``dimension`` besides."""
    return write_rows(
        out, _rows(dataset, Contents(dataset, out), aggregate), f"{dataset.path}: no judged pair to export."
    )


def _rows(dataset: Dataset, contents: Contents, aggregate: Aggregation) -> Iterator[dict[str, Any]]:
    written = {label: answer for answer, label in ANSWERS.items()}
    for pair in dataset.stream_judged_pairs(aggregate):
        for name, label in pair.labels.items():
            if label in written:
                yield {
                    "prompt": contents.prompt(pair.clip_a),
                    "video1_path": contents.path(pair.clip_a),
                    "video2_path": contents.path(pair.clip_b),
                    "standard_answer": written[label],
                    "dimension": name,
                }
