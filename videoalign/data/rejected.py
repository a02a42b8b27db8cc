"""Clips of a dataset that some work could not use, with the reasons, and how many of them are let pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from videoalign.data.additions import alone
from videoalign.data.tables import read_table, write_columns
from videoalign.errors import ConfigError, DataError, VideoAlignError

REJECTED_FILE = "rejected.parquet"
COLUMNS = ("stage", "clip_id", "reason")


class Rejections:
    """What was rejected so far, by its key.

    Args:
        work: what cannot be done with these clips, as ``scored``, for messages.
        total: how many there are.
        most: largest share of them that may be rejected, in [0, 1]; with 0 the others are done before one is refused.

    Raises:
        ConfigError: a share out of range.
    """

    def __init__(self, work: str, total: int, most: float) -> None:
        if not 0 <= most <= 1:
            raise ConfigError(f"--max-rejected: got {most:g}, wanted a share of the clips, from 0 to 1.")
        self.work, self.total, self.most = work, total, most
        self.reasons: dict[str, VideoAlignError] = {}

    def add(self, rejected: Mapping[str, VideoAlignError]) -> None:
        """Takes in more.

        Raises:
            DataError: more than may be, where any may.
        """
        self.reasons |= rejected
        if self.most > 0 and self.most * self.total < len(self.reasons):
            first = next(iter(self.reasons.values()))
            raise DataError(
                f"{len(self.reasons)} of {self.total} clips cannot be {self.work}, more than --max-rejected "
                f"{self.most:g} allows; the first: {first} Mend them, or allow more."
            )


def write_rejected(folder: Path, stage: str, reasons: Mapping[str, str]) -> None:
    """Replaces what ``rejected.parquet`` of a dataset says of one kind of work; no file where nothing was rejected.

    Args:
        folder: of the dataset.
        stage: the kind of work, as ``score videoreward``.
        reasons: by clip id.

    Raises:
        OutputError: the folder cannot be written.
    """
    file = folder / REJECTED_FILE
    if not reasons and not file.is_file():
        return
    with alone(folder):
        others = [row for row in read_rejected(folder) if row["stage"] != stage]
        rows = [*others, *({"stage": stage, "clip_id": key, "reason": text} for key, text in reasons.items())]
        if rows:
            write_columns(file, {name: (str, [row[name] for row in rows]) for name in COLUMNS})
        else:
            file.unlink()


def read_rejected(folder: Path) -> list[dict[str, str]]:
    """Rows ``{stage, clip_id, reason}``; none where nothing was rejected."""
    file = folder / REJECTED_FILE
    return read_table(file).to_pylist() if file.is_file() else []
