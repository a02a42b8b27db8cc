"""The official VideoAlign table: one pair a row, in training and in VideoGen-RewardBench.

Columns ``path_A, path_B, prompt, VQ, MQ, TA``, optionally ``A_model, B_model`` and ``MOS_A_<dim>, MOS_B_<dim>`` (mean
opinion scores; empty or 0 means none). ``fps_*`` and ``num_frames_*`` are written on export; on import the files
themselves are asked.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from statistics import fmean

from videoalign.contracts.output import whole_file
from videoalign.contracts.records import Label
from videoalign.data.dataset import Dataset
from videoalign.data.formats.common import (
    ImportOptions,
    PairEntry,
    SourceClip,
    name_dimensions,
    normalise_label,
)
from videoalign.data.formats.source import Row, SourceTable
from videoalign.errors import DataError

_WRITTEN = {Label.A: "A", Label.B: "B", Label.TIE: "same"}


class VideoAlignOptions(ImportOptions):
    """Settings of ``data import videoalign``."""

    dimensions: tuple[str, ...] | None = ("VQ", "MQ", "TA")
    """Columns that are judged."""
    rater: str = "videoalign"
    """Name under which the verdicts are kept; the table does not say who gave them."""


class VideoAlignImporter:
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: VideoAlignOptions) -> None:
        columns = options.dimensions or ()
        table.require("path_A", "path_B", "prompt", *columns)
        self.dimensions = name_dimensions(columns, options)
        self.rater = options.rater

    def entries(self, row: Row) -> list[PairEntry]:
        """See `Importer.entries`."""
        labels, ratings = {}, {}
        for name, column in self.dimensions.items():
            text = row.optional(column)
            if text:
                labels[name] = normalise_label(text, column)
            for side in ("a", "b"):
                score = row.number_or_none(f"MOS_{side.upper()}_{column}")
                if score:
                    ratings[side, name] = score
        return [
            PairEntry(
                prompt=row.text("prompt"),
                clip_a=SourceClip(path=row.text("path_A"), generator=row.optional("A_model")),
                clip_b=SourceClip(path=row.text("path_B"), generator=row.optional("B_model")),
                rater=self.rater,
                labels=labels,
                ratings=ratings,
            )
        ]


def export_videoalign(dataset: Dataset, out: Path) -> int:
    """Writes the aggregated pairs as such a table; paths are relative to its folder. Returns the number of rows.

    Verdicts are those of `Dataset.judged_pairs`; where there is none, ``invalid`` is written. MOS columns appear when
    the dataset has ratings, and hold the mean over raters.

    Raises:
        DataError: no pair to write.
    """
    pairs = dataset.judged_pairs()
    if not pairs:
        raise DataError(f"{dataset.path}: no judged pair to export.")
    clips = {clip.clip_id: clip for clip in dataset.clips()}
    texts = {prompt.prompt_id: prompt.text for prompt in dataset.prompts()}
    scores: dict[tuple[str, str], list[float]] = {}
    for rating in dataset.ratings():
        scores.setdefault((rating.clip_id, rating.dimension), []).append(rating.score)
    rows = []
    for pair in pairs:
        sides = {"A": clips[pair.clip_a], "B": clips[pair.clip_b]}
        row: dict[str, object] = {f"path_{side}": _relative(dataset, clip.path, out) for side, clip in sides.items()}
        row |= {"prompt": texts[pair.prompt_id]}
        row |= {name: _WRITTEN.get(label, "invalid") if label else "invalid" for name, label in pair.labels.items()}
        for side, clip in sides.items():
            row |= {
                f"fps_{side}": clip.fps,
                f"num_frames_{side}": float(clip.num_frames),
                f"{side}_model": clip.generator,
            }
            if scores:
                for name in dataset.dimensions:
                    given = scores.get((clip.clip_id, name))
                    row[f"MOS_{side}_{name}"] = fmean(given) if given else ""
        rows.append(row)
    with whole_file(out) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def _relative(dataset: Dataset, path: str, out: Path) -> str:
    return path if "://" in path else os.path.relpath((dataset.path / path).resolve(), out.resolve().parent)
