"""Somebody's table comes into a dataset that is there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from videoalign.contracts.output import plain_errors
from videoalign.contracts.progress import Progress, silent
from videoalign.data.counts import count
from videoalign.data.dataset import Dataset
from videoalign.data.formats import find_format, import_data
from videoalign.data.formats.common import ImportOptions
from videoalign.data.merging import Added, merge_dataset
from videoalign.data.source_table import SourceTable
from videoalign.errors import DataError, did_you_mean
from videoalign.video.addresses import unsigned


@dataclass(frozen=True)
class Grown:
    """What `add_data` gives."""

    dataset: Dataset
    added: Added
    rejected: list[dict[str, str]]
    """Rows that were left out: ``{row, reason}``."""
    not_read: dict[str, str]
    """Columns that were not read, with a cell of each."""

    def as_dict(self) -> dict[str, Any]:
        """The counts of the whole dataset, and what came in."""
        return {**count(self.dataset).as_dict(), "rejected": self.rejected, "added": asdict(self.added)}


def add_data(
    format: str,
    source: str | Path,
    into: str | Path,
    clips: str | Path | None = None,
    *,
    options: ImportOptions | Mapping[str, Any] | None = None,
    new_ids: bool = False,
    progress: Progress = silent,
    on_note: Callable[[str], None] = lambda _: None,
) -> Grown:
    """Imports a table as `import_data` does, beside the dataset, and adds it as `merge_dataset` does: wholly or not at
    all, also while people judge the dataset.

    Args:
        format: as in `import_data`, and so are ``clips``, ``options``, ``progress`` and ``on_note``.
        source: as in `import_data`.
        clips: what relative paths in the table start from; default: the table's folder.
        into: folder of the dataset.
        options: settings of this importer.
        new_ids: see `merge_dataset`.
        progress: counts rows.
        on_note: called with what is worth knowing of the clips.

    Raises:
        ConfigError: see `import_data`.
        DataError: see `import_data` and `merge_dataset`; or no dataset is there, or the table judges what it does not.
        OutputError: the disk is full or the place cannot be written.
    """
    grown, found = Dataset.open(into), find_format(format)
    if not isinstance(options, ImportOptions):
        options = found.options.build_from(dict(options or {}))
    table = SourceTable.open(source)
    for name, column in found.importer(table, options).dimensions.items():
        if column and name not in grown.dimensions:
            raise DataError(
                f"{table.location}: judges '{name}', and {grown.path} does not.{did_you_mean(name, grown.dimensions)} "
                "Name it as it is called there with rename, or take other columns with --dimensions."
            )
    place = grown.path.resolve()
    with (
        plain_errors(place),
        tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.", suffix=".part") as aside,
    ):
        made = Path(aside) / "d"
        report = import_data(format, source, made, clips, options=options, progress=progress, on_note=on_note)
        added = merge_dataset(
            grown,
            Dataset.open(made),
            name=table.location,
            source=unsigned(table.location),
            new_ids=new_ids,
            move=True,
        )
    return Grown(Dataset.open(into), added, report.rejected, report.not_read)
