"""The database: reads side by side, writes one after another and durable before anybody hears of them."""

from __future__ import annotations

import asyncio
import queue
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.orm import Session

from videoalign.contracts.people import ANNOTATIONS_SUFFIX
from videoalign.errors import ConfigError, OutputError
from videoalign.web.annotate.storage import migrating, places

T = TypeVar("T")

BUSY_SECONDS = 10
"""How long SQLite waits for another process."""
MOST_AT_ONCE = 64
"""Most writes that share one commit."""
MOST_READERS = 32
"""Connections that stay open; the threads that answer are about as many."""
_LOCK = 0x766A616C
"""Key of the lock that two servers on one PostgreSQL database take in turn."""


class DatabaseGone(Exception):
    """The database cannot be used now; nothing of what was asked was written."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Database:
    """One database and the thread that writes to it; close it in the end.

    All writes go through one thread. Those that wait together share a commit, so a slow disk limits the time of an
    answer but not their number; what one of them refuses does not touch the others. A write may be run twice, so it
    changes nothing but the database.
    """

    def __init__(self, url: str | URL, *, migrate: bool = True) -> None:
        """
        Args:
            url: as SQLAlchemy writes it; ``postgresql://`` is read with psycopg.
            migrate: bring a database of an earlier version up to date; otherwise it is refused and left as it is.

        Raises:
            ConfigError: not an address of a SQLite or PostgreSQL database.
            OutputError: the database cannot be reached, is damaged, of a later version, or cannot be brought up to
                date.
        """
        self.url = _checked(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._file = Path(self.url.database or "") if self.is_sqlite else None
        if self._file is not None and migrate and self._file.parent.name.endswith(ANNOTATIONS_SUFFIX):
            places.private_folder(self._file.parent.with_name(self._file.parent.name.removesuffix(ANNOTATIONS_SUFFIX)))
        self._engine = _sqlite(self.url) if self.is_sqlite else _postgresql(self.url)
        self._writing = self._engine.execution_options(writes=True)
        self._reading = self._glancing = self._engine
        if not self.is_sqlite:
            self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ")
            self._glancing = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._jobs: queue.SimpleQueue[tuple[Callable[[Session], Any], Future[Any]] | None] = queue.SimpleQueue()
        try:
            self._open(migrate)
        except SQLAlchemyError as error:
            self._engine.dispose()
            raise OutputError(f"--db: {plain(error).reason}") from error
        except OutputError:
            self._engine.dispose()
            raise
        self._inode = self._file.stat().st_ino if self._file is not None else 0
        self._writer = threading.Thread(target=self._run, name="writer", daemon=True)
        self._writer.start()

    @property
    def has_tables(self) -> bool:
        """Whether it is more than an empty database."""
        with self._engine.connect() as connection:
            return inspect(connection).has_table("programme")

    def close(self) -> None:
        """Ends what is under way and lets go of the database."""
        self._jobs.put(None)
        self._writer.join()
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the database and writes nothing.

        Raises:
            DatabaseGone: it cannot be reached.
        """
        with _session(self._reading) as session:
            yield session

    @contextmanager
    def glance(self) -> Iterator[Session]:
        """A session for a single statement that writes nothing; spares PostgreSQL the messages around it.

        Raises:
            DatabaseGone: it cannot be reached.
        """
        with _session(self._glancing) as session:
            yield session

    def write(self, work: Callable[[Session], T]) -> T:
        """What ``work`` returns, once it is safe on disk; nothing of it is written when it raises.

        Raises:
            DatabaseGone: it could not be written.
        """
        return self.write_soon(work).result()

    async def written(self, work: Callable[[Session], T]) -> T:
        """As `write`, for whoever must not block; the work is done even where nobody waits for it any more.

        Raises:
            DatabaseGone: it could not be written.
        """
        return await asyncio.shield(asyncio.wrap_future(self.write_soon(work)))

    def write_soon(self, work: Callable[[Session], T]) -> Future[T]:
        """Like `write`, without waiting."""
        future: Future[T] = Future()
        self._jobs.put((work, future))
        return future

    def overwrite_removed(self) -> bool:
        """Writes a file of SQLite anew, so that it holds nothing of what was changed or removed; False where others
        kept reading it. PostgreSQL does so by itself, when it cleans its tables.

        Raises:
            DatabaseGone: it could not be written.
        """
        if not self.is_sqlite:
            return True
        pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        try:
            connection.execute("VACUUM")
            return _empty_log(connection)
        except sqlite3.Error as error:
            raise plain(error) from error
        finally:
            pooled.close()

    def _open(self, migrate: bool) -> None:
        if not migrate:
            with self._engine.begin() as connection:
                migrating.require_up_to_date(connection)
            return
        with self._writing.begin() as connection:  # the lock comes first: two servers may start at once
            self._lock(connection)
            if self.is_sqlite and connection.execute(text("PRAGMA quick_check(1)")).scalar() != "ok":
                raise OutputError(f"--db: {self._file} is damaged; 'videoalign annotate restore' puts a backup back.")
            migrating.bring_up_to_date(connection)

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            batch = [first]
            while len(batch) < MOST_AT_ONCE and not self._jobs.empty():
                job = self._jobs.get()
                if job is None:
                    self._jobs.put(None)
                    break
                batch.append(job)
            self._write_together(batch)

    def _write_together(self, batch: list[tuple[Callable[[Session], Any], Future[Any]]]) -> None:
        works = [work for work, _ in batch]
        outcomes: list[tuple[Any, BaseException | None]]
        try:
            try:
                outcomes = self._commit(works, _plainly)
            except Exception as error:
                if len(works) == 1 or _is_gone(error):
                    raise
                # One of them raised: once more, so that the others are written none the less.
                outcomes = self._commit(works, _attempt)
        except Exception as error:
            failure = plain(error) if _is_gone(error) else error
            outcomes = [(None, failure)] * len(batch)
        for (_, future), (result, failed) in zip(batch, outcomes, strict=True):
            future.set_exception(failed) if failed is not None else future.set_result(result)

    def _commit(self, works: list[Callable[[Session], Any]], run: Callable[..., Any]) -> list[Any]:
        """What becomes of each, all in one transaction."""
        self._require_same_file()
        with Session(self._writing) as session, session.begin():
            self._lock(session)
            outcomes = [run(session, work) for work in works]
            self._require_same_file()
        return outcomes

    def _lock(self, connection: Any) -> None:
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})

    def _require_same_file(self) -> None:
        """SQLite would go on writing to a file that somebody removed, and nobody would find it again."""
        if self._file is None:
            return
        try:
            same = self._file.stat().st_ino == self._inode
        except OSError:
            same = False
        if not same:
            raise DatabaseGone("database_gone", f"the database file {self._file.name} was removed or replaced.")


@contextmanager
def _session(engine: Engine) -> Iterator[Session]:
    try:
        with Session(engine) as session:
            yield session
    except DBAPIError as error:
        if not _is_gone(error):
            raise
        raise plain(error) from error


def _plainly(session: Session, work: Callable[[Session], Any]) -> tuple[Any, BaseException | None]:
    session.expunge_all()
    result = work(session)
    session.flush()
    return result, None


def _attempt(session: Session, work: Callable[[Session], Any]) -> tuple[Any, BaseException | None]:
    """As `_plainly`, in a savepoint: costs two more messages, and keeps the others' work when this one raises."""
    session.expunge_all()
    try:
        with session.begin_nested():
            return work(session), None
    except Exception as error:
        if _is_gone(error):
            raise
        return None, error


def _is_gone(error: Exception) -> bool:
    """Whether the database is at fault, rather than what was asked of it."""
    cause = getattr(error, "orig", None)
    code = getattr(cause, "sqlite_errorname", "") or ""
    damaged = code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or getattr(cause, "sqlstate", "") == "XX001"
    return damaged or isinstance(error, OperationalError | InterfaceError | OSError | DatabaseGone)


def plain(error: Exception) -> DatabaseGone:
    """What went wrong, in words for whoever is to mend it."""
    if isinstance(error, DatabaseGone):
        return error
    cause = getattr(error, "orig", None) or error
    reason = " ".join(str(cause).split())
    if getattr(cause, "sqlite_errorname", "").startswith("SQLITE_FULL") or getattr(cause, "sqlstate", "") == "53100":
        return DatabaseGone("disk_full", f"the disk of the database is full ({reason}).")
    return DatabaseGone("database_gone", f"the database cannot be used ({reason}).")


def _checked(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError):
        told = re.sub(r":[^:/@]*@", ":***@", str(url))
        raise ConfigError(f"--db: got '{told}', wanted postgresql://user@host/name or sqlite:///FILE.") from None
    if backend == "postgres":
        parsed, backend = parsed.set(drivername="postgresql"), "postgresql"
    if backend not in ("sqlite", "postgresql") or (backend == "sqlite" and not parsed.database):
        raise ConfigError(f"--db: got {backend}, wanted postgresql://user@host/name or sqlite:///FILE.")
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def _postgresql(url: URL) -> Engine:
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=MOST_READERS,
        pool_use_lifo=True,  # the connections in use know the statements already
        connect_args={"connect_timeout": 5},
    )


def _sqlite(url: URL) -> Engine:
    """An engine whose transactions begin when ours do, as Python's own handling does not."""
    engine = create_engine(
        url, pool_size=MOST_READERS, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None
        _use_wal(connection)
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _empty_log(connection: Any) -> bool:
    """Brings all into the file itself; False where somebody reads an earlier state for too long."""
    end = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _use_wal(connection: Any) -> None:
    """SQLite does not wait by itself where another process is just doing the same."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > end:
                raise
            time.sleep(0.02)


def address(folder: Path, db: str | URL | None) -> URL:
    """Where the database of a dataset is: as given, or see `videoalign.web.annotate.storage.places.own_database`.

    Raises:
        ConfigError: not an address, or none was given and it is not clear which one is meant.
    """
    return _checked(db) if db is not None else places.own_database(folder)
