"""The database's judgements in the tables of the dataset folder; writing them again never doubles a row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, func, select
from sqlalchemy.orm import Session

from videoalign.contracts.people import ANNOTATIONS_FILE
from videoalign.contracts.records import Judgement, Rating
from videoalign.data.additions import alone
from videoalign.data.tables import read_table, write_columns
from videoalign.errors import DataError, OutputError
from videoalign.web.annotate.programme import identity, records
from videoalign.web.annotate.programme.media_index import Library
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.programme.wording import read_wording
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage import database, places
from videoalign.web.annotate.storage.database import Database, DatabaseGone
from videoalign.web.annotate.storage.tables import Assignment, Pair, Person, Programme, Said, Status, Work

Row = TypeVar("Row", Judgement, Rating)

TEXT_COLUMNS = (
    "assignment",
    "rater",
    "kind",
    "state",
    "prompt_id",
    "clip_a",
    "clip_b",
    "left",
    "verdicts",
    "ratings",
    "comment",
)
NUMBER_COLUMNS = ("given_at", "shown_at", "submitted_at", "withdrawn_at", "seconds", "watched_a", "watched_b")


def state(programme: OpenProgramme) -> tuple[Any, ...]:
    """Changes whenever what would be written does."""
    with programme.database.read() as session:
        last = session.execute(select(func.max(Said.id), func.count(Said.withdrawn_at))).one()
        ended = session.execute(select(func.max(Assignment.ended_at))).one()
        gold = session.execute(select(func.count(Pair.id)).where(Pair.answers.is_not(None))).one()
        discarded = select(func.count()).select_from(Assignment).where(Assignment.state == Work.DISCARDED)
        forgotten = select(func.count()).select_from(Person).where(Person.status == Status.FORGOTTEN)
        counts = (session.scalar(discarded), session.scalar(forgotten))
    return (*last, *ended, *gold, *counts, programme.library.stamp, programme.wording.version)


def write_tables(programme: OpenProgramme) -> int:
    """Writes ``judgements.parquet``, ``ratings.parquet`` and ``annotations.parquet``; returns how many judgements.

    Rows from elsewhere stay; verdicts on pairs that are not in the dataset are left out. ``annotations.parquet`` has a
    row for each verdict, also for those that were taken back or discarded, with the shown order, times, comment, kind
    and state; it stands beside the dataset's folder unless the settings say ``comments_in_dataset``.

    Raises:
        OutputError: the disk is full or the folder cannot be written.
    """
    programme = replace(programme)  # the dataset may change meanwhile
    dataset = programme.library.dataset
    with alone(dataset.path):
        with programme.database.read() as session:
            judgements, ratings = records.judgements(programme, session), records.ratings(programme, session)
            annotations = _annotations(session)
        _write_annotations(programme, annotations)
        dataset.write_judgements([*_others(programme, dataset.judgements()), *judgements])
        if ratings or dataset.ratings():
            dataset.write_ratings([*_others(programme, dataset.ratings()), *ratings])
    return len(judgements)


def export_programme(folder: Path, settings: AnnotateSettings) -> int:
    """Writes the tables as `write_tables` does, without a server; returns how many judgements.

    Args:
        folder: of the dataset.
        settings: ``db`` says where the database is; nothing is changed there.

    Raises:
        ConfigError: the database belongs to another dataset, or it is not clear which one is meant.
        DataError: no dataset, or no database of a programme, is there.
        OutputError: the database cannot be reached or is not of this version, or the folder not written.
    """
    with opened(folder, settings, database.address(folder, settings.db)) as programme:
        return write_tables(programme)


def not_served(folder: Path) -> DataError:
    """What to tell where there is no database."""
    return DataError(f"{folder}: no programme was served here; run 'videoalign annotate serve' or name its --db.")


@contextmanager
def opened(folder: Path, settings: AnnotateSettings, url: URL) -> Iterator[OpenProgramme]:
    """A programme that was served before, without a server and as its settings are not.

    Raises:
        ConfigError, DataError, OutputError: see `export_programme`.
    """
    library = Library(folder)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise not_served(folder)
    store = Database(url, migrate=False)
    try:
        with store.read() as session:
            row = session.scalar(select(Programme)) if store.has_tables else None
            if row is None:
                raise not_served(folder)
            if row.dataset_id:
                identity.require_same(session, row, library)
            wording = read_wording(session, library.dataset.dimensions)
            programme = OpenProgramme(store, library, settings, row.key, row.seed, wording)
        yield programme
    except DatabaseGone as gone:
        raise OutputError(f"--db: {gone.reason}") from gone
    finally:
        store.close()


def _write_annotations(programme: OpenProgramme, columns: dict[str, tuple[type, list[Any]]]) -> None:
    """Comments are not for everybody, and the dataset's folder may be published: there they stand only where asked."""
    inside, beside = _annotations_files(programme)
    if programme.settings.comments_in_dataset:
        write_columns(inside, columns)
        return
    write_columns(beside, columns)
    if _holds_only(inside, columns):
        inside.unlink()  # an earlier version wrote it there; all of it was just written beside


def rewrite_annotations(programme: OpenProgramme) -> None:
    """Writes ``annotations.parquet`` anew where this programme has written one, after somebody was forgotten.

    Raises:
        OutputError: the disk is full or the folder cannot be written.
    """
    with alone(programme.library.dataset.path):
        with programme.database.read() as session:
            columns = _annotations(session)
        for file in _annotations_files(programme):
            if _holds_only(file, columns):
                write_columns(file, columns)


def _annotations_files(programme: OpenProgramme) -> tuple[Path, Path]:
    """Where ``annotations.parquet`` may be: in the dataset's folder, and in the one beside it."""
    folder = programme.library.dataset.path
    return folder / ANNOTATIONS_FILE, places.private_folder(folder) / ANNOTATIONS_FILE


def _holds_only(file: Path, columns: dict[str, tuple[type, list[Any]]]) -> bool:
    """Whether a table is of this programme, which has all its rows, and not of another one."""
    return file.is_file() and {*read_table(file)["assignment"].to_pylist()} <= {*columns["assignment"][1]}


def _others(programme: OpenProgramme, rows: list[Row]) -> list[Row]:
    return [row for row in rows if not row.source_row.startswith(records.source(programme))]


def _annotations(session: Session) -> dict[str, tuple[type, list[Any]]]:
    texts: dict[str, list[Any]] = {name: [] for name in TEXT_COLUMNS}
    numbers: dict[str, list[Any]] = {name: [] for name in NUMBER_COLUMNS}
    guidelines: list[int] = []
    for row in records.said_rows(session, every=True):
        made = {
            "assignment": row.assignment_id,
            "rater": records.rater_id(row.person_id, row.role),
            "left": "B" if row.swapped else "A",
            "verdicts": json.dumps(row.verdicts),
            "ratings": json.dumps(row.ratings) if row.ratings is not None else None,
        }
        for name, cells in texts.items():
            cells.append(made[name] if name in made else getattr(row, name))
        for name, cells in numbers.items():
            cells.append(getattr(row, name))
        guidelines.append(row.guideline)
    versions = {"guideline": (int, guidelines)}
    return (
        {name: (str, cells) for name, cells in texts.items()}
        | versions
        | {name: (float, cells) for name, cells in numbers.items()}
    )
