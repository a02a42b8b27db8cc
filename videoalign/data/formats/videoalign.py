"""The official VideoAlign table: one pair a row, in training and in VideoGen-RewardBench.

Columns ``path_A, path_B, prompt, VQ, MQ, TA``, optionally ``A_model, B_model`` and ``MOS_A_<dim>, MOS_B_<dim>`` (mean
opinion scores; empty or 0 means none). ``fps_*`` and ``num_frames_*`` are written on export; on import the files
themselves are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from videoalign.contracts.records import Aggregation, Label
from videoalign.data.dataset import Dataset
from videoalign.data.formats.common import PairEntry, SourceClip, clip_in, name_dimensions
from videoalign.data.formats.verdicts import (
    VerdictOptions,
    known_verdicts,
    normalise_label,
)
from videoalign.data.formats.writing import Contents, write_rows
from videoalign.data.judgements.aggregate import JudgedPair
from videoalign.data.source_table import Row, SourceTable

_WRITTEN = {Label.A: "A", Label.B: "B", Label.TIE: "same"}


class VideoAlignOptions(VerdictOptions):
    """Settings of ``data import videoalign``."""

    dimensions: tuple[str, ...] | None = ("VQ", "MQ", "TA")
    """Columns that are judged."""
    rater: str = "videoalign"
    """Name under which the verdicts are kept; the table does not say who gave them."""


class VideoAlignImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: VideoAlignOptions, *, check_stated: bool = False) -> None:
        columns = options.dimensions or ()
        table.require("path_A", "path_B", "prompt", *columns)
        self.dimensions = name_dimensions(columns, options)
        self.rater, self.check_stated, self.known = options.rater, check_stated, known_verdicts(options)
        scores = {
            (side, name): f"MOS_{side.upper()}_{column}" for side in "ab" for name, column in self.dimensions.items()
        }
        self.scores = {key: column for key, column in scores.items() if column in table.columns}

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        said = {name: (text, column) for name, column in self.dimensions.items() if (text := row.optional(column))}
        scores = {key: row.number_or_none(column) for key, column in self.scores.items()}
        return [
            PairEntry(
                prompt=row.text("prompt"),
                clip_a=self._clip(row, "A"),
                clip_b=self._clip(row, "B"),
                rater=self.rater,
                labels={
                    name: normalise_label(text, column, self.known) for name, (text, column) in said.items() if text
                },
                ratings={key: score for key, score in scores.items() if score},
            )
        ]

    def _clip(self, row: Row, side: str) -> SourceClip:
        stated = {name: row.number_or_none(f"{name}_{side}") for name in ("fps", "num_frames") if self.check_stated}
        return clip_in(row, f"path_{side}", generator=row.optional(f"{side}_model"), **stated)


def export_videoalign(dataset: Dataset, out: Path, aggregate: Aggregation = Aggregation.ADJUDICATED) -> int:
    """The official training table (CSV): one row a pair, its labels, opinion scores where there are.

    Paths are relative to the folder of the table. Where there is no label, ``invalid`` is written. MOS columns appear
    when the dataset has ratings, and hold the mean over raters.

    Raises:
        DataError: no pair to write.
    """
    return write_rows(
        out, _pair_rows(dataset, Contents(dataset, out), aggregate), f"{dataset.path}: no judged pair to export."
    )


def _pair_rows(dataset: Dataset, contents: Contents, aggregate: Aggregation) -> Iterator[dict[str, Any]]:
    scores: dict[tuple[str, str], list[float]] = {}
    for rating in dataset.stream_ratings():
        scores.setdefault((rating.clip_id, rating.dimension), []).append(rating.score)
    for pair in dataset.stream_judged_pairs(aggregate):
        row = official_row(contents, pair, dataset.dimensions)
        for side, clip in contents.sides(pair.clip_a, pair.clip_b).items():
            row[f"{side}_model"] = clip.generator
            for name in dataset.dimensions if scores else ():
                given = scores.get((clip.clip_id, name))
                row[f"MOS_{side}_{name}"] = fmean(given) if given else None
        yield row


def official_row(contents: Contents, pair: JudgedPair, dimensions: Iterable[str]) -> dict[str, Any]:
    """What the official tables say of a pair: paths, prompt, a verdict per dimension, rate and length of each file."""
    row: dict[str, Any] = {"path_A": contents.path(pair.clip_a), "path_B": contents.path(pair.clip_b)}
    row |= {"prompt": contents.prompt(pair.clip_a)}
    for name in dimensions:
        label = pair.labels.get(name)
        row[name] = _WRITTEN.get(label, "invalid") if label else "invalid"
    for side, clip in contents.sides(pair.clip_a, pair.clip_b).items():
        row |= {f"fps_{side}": clip.fps, f"num_frames_{side}": float(clip.num_frames)}
    return row
