"""VideoGen-RewardBench: the official pair table with both generators, an overall verdict and what each file should be.

Columns ``path_A, path_B, A_model, B_model, prompt, VQ, MQ, TA, Overall`` and, where they stand there, ``fps_A,
num_frames_A, fps_B, num_frames_B``. A pair is known by both its paths; one that is there twice counts once. Frames are
chosen by what the files themselves say. The stated rate and length serve as a check: a file that differs from them is
not the one that was judged, so its row cannot be used (``check_stated=false`` takes it all the same).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videoalign.contracts.records import OVERALL, Aggregation
from videoalign.data.dataset import Dataset
from videoalign.data.formats.videoalign import VideoAlignImporter, VideoAlignOptions, official_row
from videoalign.data.formats.writing import Contents, write_rows
from videoalign.data.source_table import SourceTable
from videoalign.errors import DataError


class RewardBenchOptions(VideoAlignOptions):
    """Settings of ``data import rewardbench``."""

    dimensions: tuple[str, ...] | None = ("VQ", "MQ", "TA", OVERALL)
    """Columns that are judged."""
    rater: str = "rewardbench"
    """Name under which the verdicts are kept; the table does not say who gave them."""
    check_stated: bool = True
    """Refuse a clip whose frame rate or number of frames is not what the table says."""


class RewardBenchImporter(VideoAlignImporter):
    """Reads the rows of such a table."""

    def __init__(self, table: SourceTable, options: RewardBenchOptions) -> None:
        table.require("A_model", "B_model")
        super().__init__(table, options, check_stated=options.check_stated)


def export_rewardbench(dataset: Dataset, out: Path, aggregate: Aggregation = Aggregation.ADJUDICATED) -> int:
    """VideoGen-RewardBench's table (CSV): one row a pair, both generators, VQ, MQ, TA, Overall and what else there is.

    Where there is no label, ``invalid`` is written.

    Raises:
        DataError: no pair to write, or a clip whose generator is unknown.
    """
    return write_rows(
        out, _pair_rows(dataset, Contents(dataset, out), aggregate), f"{dataset.path}: no judged pair to export."
    )


def _pair_rows(dataset: Dataset, contents: Contents, aggregate: Aggregation) -> Iterator[dict[str, Any]]:
    names = dict.fromkeys(("VQ", "MQ", "TA", OVERALL, *dataset.dimensions))
    for pair in dataset.stream_judged_pairs(aggregate):
        row = official_row(contents, pair, names)
        for side, clip in contents.sides(pair.clip_a, pair.clip_b).items():
            if not clip.generator:
                raise DataError(f"clip '{clip.clip_id}': its generator is unknown, and the table needs it; name it.")
            row[f"{side}_model"] = clip.generator
        yield row
