"""Which files hold what people said, so that nothing of ours removes or publishes them by mistake."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from videoalign.contracts.records import INFO_FILE
from videoalign.errors import OutputError

DATABASE_FILE = "annotate.sqlite"
"""Database of a rating programme."""
ANNOTATIONS_FILE = "annotations.parquet"
"""Every verdict of a programme with its times and comment."""
PROGRAMME_FILE = "annotate.json"
"""In a dataset folder that people judge: where the databases with their verdicts are."""
ANNOTATIONS_SUFFIX = ".annotations"
"""End of the name of the folder beside a dataset's, in which its database is kept."""
TABLES = ("judgements.parquet", "ratings.parquet")
"""What people said, in a dataset folder; imported and simulated rows stand there as well."""
_OTHER_FILES = (INFO_FILE, "prompts.parquet", "clips.parquet", "digests.json", "lineage.json", PROGRAMME_FILE)
_FOLDERS = ("scores", "pairs", "latents", "clips")
"""What else a dataset is made of."""

Said = Callable[[Path], str | None]
"""Tells what people said in a folder and would be lost with it, in words; None where there is nothing."""


def beside(folder: Path) -> Path:
    """The folder in which the database of a dataset is kept."""
    folder = folder.resolve()
    return folder.with_name(folder.name + ANNOTATIONS_SUFFIX)


def programme_in(folder: Path) -> str | None:
    """Signs of a rating programme in a folder, below it, or beside it; None where there are none."""
    for file in _files(folder):
        if file.name in (PROGRAMME_FILE, ANNOTATIONS_FILE) or file.name.startswith(DATABASE_FILE):
            return f"{file} belongs to a rating programme"
    database = beside(folder) / DATABASE_FILE
    return f"its rating programme is in {database}" if database.exists() else None


def said_in(folder: Path) -> str | None:
    """As `programme_in`, and any table of judgements or ratings, whoever they are from."""
    tables = (f"{file} holds judgements" for file in _files(folder) if file.name in TABLES)
    return programme_in(folder) or next(tables, None)


def require_no_own_table(out: Path) -> None:
    """Checks that a file that a user asked for is not one that a dataset is made of.

    Raises:
        OutputError: it is.
    """
    if not out.exists():
        return
    if out.name in (*TABLES, ANNOTATIONS_FILE):
        raise OutputError(f"--out: {out} holds what people said; give another file.")
    place = Path(os.path.realpath(out.parent)) / out.name
    folder = next((parent for parent in place.parents if (parent / INFO_FILE).is_file()), None)
    if folder is not None:
        first, *more = place.relative_to(folder).parts
        if first in (_FOLDERS if more else _OTHER_FILES):
            raise OutputError(f"--out: {out} is part of the dataset {folder}; give another file.")


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent) / name for name in sorted(names))
