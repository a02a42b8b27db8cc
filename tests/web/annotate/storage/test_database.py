"""What is written stays written, what fails leaves nothing, and some rows nobody can change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import alembic.autogenerate
import alembic.migration
import pytest
from sqlalchemy import event, func, inspect, select, text
from sqlalchemy.exc import DBAPIError

from videoalign.errors import ConfigError, OutputError
from videoalign.web.annotate.storage.database import Database, DatabaseGone
from videoalign.web.annotate.storage.tables import Audit, Base, Person, Said

Open = Callable[..., Any]
Make = Callable[..., Path]


@pytest.fixture
def database(db: str) -> Iterator[Database]:
    opened = Database(db)
    yield opened
    opened.close()


def add_person(name: str) -> Callable[[Any], None]:
    return lambda session: session.add(Person(name=name, role="rater", status="active", created_at=0.0))


def names(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Person.name).order_by(Person.name)))


def test_migrations_make_the_tables_that_the_code_knows(new_db: str) -> None:
    database = Database(new_db)
    with database.read() as session:
        connection = session.connection()
        context = alembic.migration.MigrationContext.configure(connection)
        assert alembic.autogenerate.compare_metadata(context, Base.metadata) == []
        assert set(inspect(connection).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
    database.close()


def test_opening_a_database_again_changes_nothing(new_db: str) -> None:
    for _ in range(2):
        database = Database(new_db)
        with database.read() as session:
            assert session.scalar(text("SELECT count(*) FROM alembic_version")) == 1
        database.close()


def test_of_writes_that_share_a_commit_only_the_one_that_fails_is_undone(database: Database) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: Any) -> None:
        begun.set()
        go_on.wait()

    first = database.write_soon(hold)
    begun.wait()

    def fail(session: Any) -> None:
        add_person("nobody")(session)
        session.flush()
        raise ValueError("no")

    writes = [database.write_soon(work) for work in (add_person("a"), fail, add_person("b"))]
    go_on.set()
    first.result()
    writes[0].result()
    writes[2].result()
    with pytest.raises(ValueError, match="no"):
        writes[1].result()
    assert names(database) == ["a", "b"]
    with pytest.raises(ValueError, match="no"):
        database.write(fail)
    assert names(database) == ["a", "b"]


@pytest.mark.parametrize(
    "statement", ["UPDATE audit SET action = 'nothing'", "DELETE FROM audit", "DELETE FROM judgements"]
)
def test_the_audit_log_and_raw_verdicts_can_be_neither_changed_nor_removed(
    open_programme: Open, make_dataset: Make, statement: str
) -> None:
    programme = open_programme(make_dataset(1))
    programme.invite().judge()
    database = programme.running.database
    with database.read() as session:
        before = [session.scalar(select(func.count()).select_from(table)) for table in (Audit, Said)]
    assert min(before) >= 1
    with pytest.raises(DBAPIError, match="only ever added to"):
        database.write(lambda session: session.execute(text(statement)))
    with database.read() as session:
        assert [session.scalar(select(func.count()).select_from(table)) for table in (Audit, Said)] == before


@pytest.mark.parametrize("given", ["mysql://x/y", "sqlite://", "nonsense", "nosuch://host/x"])
def test_an_address_that_is_none_is_refused_in_one_line(given: str) -> None:
    with pytest.raises(ConfigError, match=r"^--db: .*postgresql://user@host/name"):
        Database(given)


def test_a_database_that_cannot_be_reached_is_refused_in_one_line(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/missing/x.sqlite", f"postgresql://nobody@/x?host={tmp_path}"):
        with pytest.raises(OutputError, match=r"^--db: the database cannot be used \(.*\)\.$"):
            Database(url)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite"
    file.write_bytes(b"not a database, but somebody's notes" * 100)
    with pytest.raises(OutputError, match="--db"):
        Database(f"sqlite:///{file}")
    assert file.read_bytes().startswith(b"not a database")


def test_a_sqlite_file_that_was_removed_takes_no_more_writes(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite"
    database = Database(f"sqlite:///{file}")
    database.write(add_person("a"))
    file.rename(tmp_path / "moved.sqlite")
    with pytest.raises(DatabaseGone) as gone:
        database.write(add_person("b"))
    assert gone.value.code == "database_gone"
    (tmp_path / "moved.sqlite").rename(file)
    database.write(add_person("c"))
    assert names(database) == ["a", "c"]
    database.close()


def test_a_full_disk_refuses_and_what_was_written_before_stays(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.sqlite"
    database = Database(url)
    database.write(add_person("a"))

    def fill(session: Any) -> None:
        pages = session.scalar(text("PRAGMA page_count"))
        session.execute(text(f"PRAGMA max_page_count = {pages}"))
        for _ in range(100):
            session.add(Audit(at=0.0, action="x", detail={"text": "x" * 4000}))
        session.flush()

    with pytest.raises(DatabaseGone) as gone:
        database.write(fill)
    assert gone.value.code == "disk_full"
    database.close()
    again = Database(url)
    assert names(again) == ["a"]
    again.write(add_person("b"))
    assert names(again) == ["a", "b"]
    again.close()


@pytest.mark.databases("sqlite")  # which can be told how large it may become
def test_while_the_disk_is_full_people_are_told_and_what_was_refused_can_be_sent_again(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(40))
    rater = programme.invite()
    with programme.running.database.read() as session:
        room = {"pages": session.scalar(text("PRAGMA page_count")) + 2}
    engine = programme.running.database._engine
    event.listen(engine, "checkout", lambda raw, *_: raw.execute(f"PRAGMA max_page_count = {room['pages']}"))
    accepted, refused = 0, None
    while refused is None:
        body = rater.body(rater.next()["assignment"], comment="x" * 2000)
        answer = rater.http.post("/api/judgements", json=body)
        accepted += answer.status_code == 200
        refused = body if answer.status_code != 200 else None
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "disk_full")
    assert "must free some space" in answer.json()["error"]["reason"]
    assert accepted >= 1
    room["pages"] = 10**6
    assert rater.http.post("/api/judgements", json=refused).status_code == 200
    with programme.running.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Said)) == accepted + 1


@pytest.mark.databases("postgresql")
def test_when_postgresql_goes_away_people_are_told_and_nothing_acknowledged_is_lost(
    postgres_server: Any, open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(3, files=True))
    rater = programme.invite()
    rater.judge()
    turn = rater.next()
    body = rater.body(turn["assignment"])
    postgres_server.stop()
    try:
        answer = rater.http.post("/api/judgements", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_gone")
        assert answer.headers["retry-after"] == "5"
        page = rater.http.get("/rate")
        assert page.status_code == 503
        assert "Nothing that was accepted is lost" in page.text
        assert rater.http.get("/ready").status_code == 503
        assert rater.http.get("/health").status_code == 200
    finally:
        postgres_server.start()
    assert rater.next() == turn
    assert rater.http.post("/api/judgements", json=body).status_code == 200
    with programme.running.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Said)) == 2
