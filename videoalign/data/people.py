"""What people said in a folder and nowhere else: not what an import copied from a table, not what was simulated."""

from __future__ import annotations

import os
from pathlib import Path

from videoalign.contracts.people import TABLES, programme_in
from videoalign.contracts.records import ADDED, INFO_FILE, SIMULATED, Judgement, Rating
from videoalign.data.dataset import Dataset
from videoalign.data.tables import read_columns
from videoalign.errors import VideoAlignError


def said_only_in(folder: Path) -> str | None:
    """What people said in the datasets in and below a folder, in words; None where all of it can be had again.

    A judgement or rating can be had again when it is simulated, or when it was imported from a table that is still
    there.
    """
    found = programme_in(folder)
    if found is not None:
        return found
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for table in sorted({*names} & {*TABLES}):
            number = _originals(Path(parent), table)
            if number:
                return f"{Path(parent) / table} holds {number} of people that cannot be imported again"
    return None


def _originals(folder: Path, table: str) -> str:
    """How many rows of a table can not be had again, in words; empty where there are none."""
    record = Judgement if table == "judgements.parquet" else Rating
    copied = (SIMULATED, *_imported(folder))
    try:
        rows = [row for part in read_columns(folder / table, record, ("source_row",)) for row in part[0].to_pylist()]
    except VideoAlignError:
        return f"{record.__name__.lower()}s"
    number = sum(not row.startswith(copied) for row in rows)
    return f"{number} {record.__name__.lower()}s" if number else ""


def _imported(folder: Path) -> list[str]:
    """What ``source_row`` begins with in rows that can be imported again."""
    try:
        provenance = Dataset.open(folder).info.provenance if (folder / INFO_FILE).is_file() else {}
    except VideoAlignError:
        return []
    source = provenance.get("source", "")
    if ADDED in provenance:  # no single import makes it again, and two tables may have one name
        return []
    there = "://" in source or (source != "" and Path(source).exists())
    return [f"{source.rpartition('/')[2]}:"] if there else []
