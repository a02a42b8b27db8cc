"""A copy of the database while it is in use, and putting one back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import URL, func, select
from sqlalchemy.orm import Session

from videoalign.contracts.output import whole_file
from videoalign.contracts.people import beside
from videoalign.errors import ConfigError, DataError, OutputError, VideoAlignError
from videoalign.web.annotate.programme import discarding, export, forgetting, identity
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage import database, places
from videoalign.web.annotate.storage.database import Database
from videoalign.web.annotate.storage.tables import Assignment, Person, Status, Work

LOGS = ("-wal", "-journal")
"""What SQLite keeps beside a database that was not closed, and reads again with it."""
INDEX = "-shm"
"""What SQLite makes anew from these."""


@dataclass(frozen=True)
class Restored:
    """What was put back."""

    database: Path
    kept: Path | None
    """Where the database is that was there before; None where there was none."""
    verdicts: int
    """That stand."""
    forgotten: list[str]
    """Rater ids of people who were forgotten after the backup was made, and were now forgotten again."""


class Holds(NamedTuple):
    """What a file of SQLite tells of its programme."""

    key: str
    dataset_id: str
    """Empty in a database of before there were ids."""
    forgotten: list[int]
    """People who were forgotten."""


def back_up(folder: Path, url: URL, out: Path) -> None:
    """Writes a copy of a programme's database in one file, as it stands at one moment; a server may be running.

    Args:
        folder: of the dataset.
        url: of its database.
        out: the copy, where nothing is yet. Only its owner may read it.

    Raises:
        ConfigError: the database is not SQLite, or belongs to another dataset.
        DataError: no programme was served there.
        OutputError: ``out`` is there already or cannot be written, or the database is damaged.
    """
    file = _file_of(url, "pg_dump makes a copy of it, also while a server runs")
    holds = _look(file) if file.is_file() else None
    if holds is None:
        raise export.not_served(folder)
    if holds.dataset_id:
        identity.require_id(holds.dataset_id, folder)
    if os.path.lexists(out):
        raise OutputError(f"--out: {out} is there already; give another name, so that no backup is lost.")
    with whole_file(out) as aside:
        _copy(file, aside)


def put_back(folder: Path, db: str | None, file: Path) -> Restored:
    """Puts a backup in the place of a programme's database, which is kept under another name.

    A backup of an earlier version is brought up to date. Who was forgotten since it was made is forgotten again.

    Args:
        folder: of the dataset.
        db: address of the database, where it is neither where a dataset's is by default nor where it was noted to be.
        file: the backup; it stays as it is.

    Raises:
        ConfigError: the database is not SQLite, is in use, or is another programme of the dataset, or the backup
            belongs to another dataset.
        DataError: no backup is there.
        OutputError: the backup is damaged or of a later version, or the place cannot be written.
    """
    holds = _look(file) if file.is_file() else None
    if holds is None:
        raise DataError(f"{file}: holds no rating programme; give a file that 'videoalign annotate backup' wrote.")
    url = database.address(folder, db) if db is not None else places.home(folder, holds.key)
    target = _file_of(url, "pg_restore puts back what pg_dump wrote").resolve()
    if target == file.resolve():
        raise ConfigError(f"{file}: is the database itself; give a backup of it.")
    with _naming(file):
        if holds.dataset_id:
            identity.require_id(holds.dataset_id, folder)
    present = _present(target)
    is_same = present is not None and present.key == holds.key
    if db is None and present is not None and not is_same:
        raise ConfigError(
            f"--db: {target} holds another programme of this dataset than {file}; name the place of the one to put "
            f"back. To put it there none the less: --db sqlite:///{target}"
        )
    if target.parent == beside(folder):
        places.private_folder(folder)
    with whole_file(target) as aside:
        _copy(file, aside)
        if target.is_file():
            shutil.copymode(target, aside)
        with _naming(file):
            verdicts, forgotten = _make_ready(folder, aside, present.forgotten if present and is_same else [])
        with _unused(target):
            kept = _set_aside(target)
    places.note(folder, holds.key, url)
    return Restored(target, kept, verdicts, forgotten)


def _make_ready(folder: Path, aside: Path, forgotten: list[int]) -> tuple[int, list[str]]:
    """Checks a copy, brings it up to date, and forgets who is to be; returns its verdicts, and who that was."""
    url = URL.create("sqlite", database=os.fspath(aside))
    try:
        Database(url).close()
        with export.opened(folder, AnnotateSettings(), url) as programme:
            served = discarding.as_served(programme)
            known = select(Person.id).where(Person.id.in_(forgotten), Person.status != Status.FORGOTTEN)
            with programme.database.read() as session:
                numbers = session.scalars(known.order_by(Person.id)).all()
                stand = select(func.count()).select_from(Assignment).where(Assignment.state == Work.SUBMITTED)
                verdicts = session.scalar(stand) or 0

            def forget(session: Session) -> list[str]:
                return [forgetting.forget_in(served, session, number).rater for number in numbers]

            again = programme.database.write(forget)
            programme.database.overwrite_removed()
        with closing(_connect(aside)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
    finally:
        for end in (*LOGS, INDEX):
            aside.with_name(aside.name + end).unlink(missing_ok=True)
    return verdicts, again


def _set_aside(target: Path) -> Path | None:
    """Renames the database that is there, with what SQLite keeps beside it; returns its name now."""
    name = f"{target.stem}.before-restore-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    kept, number = target.with_name(name + target.suffix), 1
    while kept.exists():
        number += 1
        kept = target.with_name(f"{name}-{number}{target.suffix}")
    was_there = target.is_file()
    for end in ("", *LOGS):
        file = target.with_name(target.name + end)
        if file.is_file():
            os.replace(file, kept.with_name(kept.name + end))
    target.with_name(target.name + INDEX).unlink(missing_ok=True)
    return kept if was_there else None


def _present(file: Path) -> Holds | None:
    """What the database holds that is there; None where there is none, or one that cannot be read any more."""
    try:
        return _look(file) if file.is_file() else None
    except OutputError:
        return None


@contextmanager
def _unused(file: Path) -> Iterator[None]:
    """Keeps others from a database while the block runs, and puts what lies in its log into the file.

    Raises:
        ConfigError: somebody has it open.
    """
    if not file.is_file():
        yield
        return
    with closing(_connect(file)) as connection:
        try:
            connection.execute("PRAGMA journal_mode=DELETE")  # from WAL only where nobody else has the file open
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise ConfigError(f"--db: {file} is in use; stop its server, then run this again.") from None
        yield


def _copy(file: Path, copy: Path) -> None:
    """Copies a database as it stands at one moment into a single file for its owner alone.

    Raises:
        OutputError: it is damaged, or the copy cannot be written.
    """
    copy.touch(mode=0o600)
    try:
        with closing(_connect(file)) as source, closing(_connect(copy)) as out:
            source.backup(out)
            out.execute("PRAGMA journal_mode=DELETE")
            if out.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise OutputError(f"{file}: is damaged; nothing was written.")
    except sqlite3.Error as error:
        raise OutputError(f"{file}: {database.plain(error).reason}") from error
    finally:
        for end in (*LOGS, INDEX):
            copy.with_name(copy.name + end).unlink(missing_ok=True)


def _look(file: Path) -> Holds | None:
    """What a file holds; None where it is no database or one without a programme.

    Raises:
        OutputError: it is damaged or cannot be read.
    """
    try:
        with closing(_connect(file)) as connection:
            return _read(connection)
    except sqlite3.Error as error:
        if error.sqlite_errorname == "SQLITE_NOTADB":
            return None
        raise OutputError(f"{file}: {database.plain(error).reason}") from error


def _read(connection: sqlite3.Connection) -> Holds | None:
    has = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"programme", "people"} <= has:
        return None
    connection.row_factory = sqlite3.Row
    row = connection.execute("SELECT * FROM programme").fetchone()
    if row is None or "key" not in row.keys():  # noqa: SIM118
        return None
    forgotten = connection.execute("SELECT id FROM people WHERE status = ?", (str(Status.FORGOTTEN),)).fetchall()
    dataset_id = row["dataset_id"] if "dataset_id" in row.keys() else ""  # noqa: SIM118
    return Holds(row["key"], dataset_id, [one["id"] for one in forgotten])


def _connect(file: Path) -> sqlite3.Connection:
    """A connection to a file that is there; none is made."""
    return sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=1.0)


def _file_of(url: URL, otherwise: str) -> Path:
    if url.get_backend_name() != "sqlite":
        raise ConfigError(f"--db: {places.where(url)} is no file of SQLite; {otherwise}.")
    return Path(url.database or "")


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Says of which file an error tells that looks like one of ``--db``."""
    try:
        yield
    except VideoAlignError as error:
        raise type(error)(f"{file}: {str(error).removeprefix('--db: ')}") from error
