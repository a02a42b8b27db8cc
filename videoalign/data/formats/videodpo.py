"""VideoDPO's pairs and other tables of chosen and rejected clips; their labels come from scores, not from people.

``pair.json``: columns ``video1, video2`` (numbers of clips) and ``frame_caption``, which ``metadata.json`` beside it
has where the table lacks it. Clip 2k is the better one of pair k, in ``winvideos/00000k.mp4``, and clip 2k + 1 the
worse one, in ``losevideos/00000k.mp4``. Other tables: columns ``chosen, rejected`` and ``caption`` or ``prompt``,
and, as this tool writes them, ``dimension``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videoalign.contracts.records import Aggregation, Label
from videoalign.data.dataset import Dataset
from videoalign.data.formats.common import ImportOptions, PairEntry, RowDimension, SourceClip, clip_in
from videoalign.data.formats.writing import Contents, write_rows
from videoalign.data.source_table import Row, SourceTable
from videoalign.errors import DataError


class VideoDPOOptions(ImportOptions):
    """Settings of ``data import videodpo``."""

    rater: str = "omniscore"
    """Name under which the verdicts are kept."""
    metadata: str = "metadata.json"
    """Table of the clips, beside the table of pairs; read where that has no caption."""


class VideoDPOImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: VideoDPOOptions) -> None:
        self.rater = options.rater
        self.row_dimension = RowDimension(table, "dimension", options)
        self.dimensions = self.row_dimension.dimensions
        self.numbered = "chosen" not in table.columns
        table.require(*(("video1", "video2") if self.numbered else ("chosen", "rejected")))
        self.captions: list[str] = []
        if self.numbered:
            if "frame_caption" not in table.columns:
                clips = SourceTable.open(f"{table.folder}/{options.metadata}")
                clips.require("misc")
                self.captions = [_caption(row.fields("misc")) for row in clips.rows]
        elif "prompt" not in table.columns:
            table.require("caption")

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        dimension = self.row_dimension.of(row)
        if dimension is None:
            return []
        if self.numbered:
            indices = [_index(row, column) for column in ("video1", "video2")]
            if indices[0] % 2 == indices[1] % 2:
                raise DataError(f"clips {indices[0]} and {indices[1]} are both the better one or both the worse one.")
            clips = [SourceClip(path=f"{'losevideos' if k % 2 else 'winvideos'}/{k // 2:06d}.mp4") for k in indices]
            label = Label.B if indices[0] % 2 else Label.A
            prompt = self._caption_of(row, indices[0])
        else:
            clips, label = [clip_in(row, "chosen"), clip_in(row, "rejected")], Label.A
            prompt = row.optional("prompt") or row.text("caption")
        return [PairEntry(prompt=prompt, clip_a=clips[0], clip_b=clips[1], rater=self.rater, labels={dimension: label})]

    def _caption_of(self, row: Row, index: int) -> str:
        if not self.captions:
            return _caption(row)
        if index >= len(self.captions):
            raise DataError(f"clip {index} is not in the metadata, which has {len(self.captions)}.")
        return self.captions[index]


def _caption(row: Row) -> str:
    """A caption, or the first of a list of them."""
    value = row.cells.get("frame_caption")
    first = value[0] if isinstance(value, list) and value else value
    return Row(row.number, {"frame_caption": first or None}).text("frame_caption")


def _index(row: Row, column: str) -> int:
    number = row.whole_or_none(column, range(2**31))
    if number is None:
        raise DataError(f"column '{column}' is empty; it must hold the number of a clip.")
    return number


def export_dpo(dataset: Dataset, out: Path, aggregate: Aggregation = Aggregation.ADJUDICATED) -> int:
    """The decided pairs, as prompt, chosen and rejected clip, with a column ``dimension``; ties are left out."""
    return write_rows(
        out, _rows(dataset, Contents(dataset, out), aggregate), f"{dataset.path}: no decided pair to export."
    )


def _rows(dataset: Dataset, contents: Contents, aggregate: Aggregation) -> Iterator[dict[str, Any]]:
    for number, pair in enumerate(dataset.stream_judged_pairs(aggregate)):
        for name, label in pair.labels.items():
            if label in (Label.A, Label.B):
                better, worse = (pair.clip_a, pair.clip_b) if label == Label.A else (pair.clip_b, pair.clip_a)
                yield {
                    "id": f"{number}-{name}",
                    "prompt": contents.prompt(better),
                    "chosen": contents.path(better),
                    "rejected": contents.path(worse),
                    "dimension": name,
                }
