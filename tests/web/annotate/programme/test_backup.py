"""A backup is of one moment, and putting it back loses nothing that is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from videoalign.cli.main import main
from videoalign.data.dataset import Dataset
from videoalign.web.annotate.programme import forgetting, judging, next_pair, people
from videoalign.web.annotate.programme.media_index import Library
from videoalign.web.annotate.programme.pairs import sync_pairs
from videoalign.web.annotate.programme.programme import OpenProgramme
from videoalign.web.annotate.programme.programme import open_programme as open_at
from videoalign.web.annotate.programme.schema import Submission
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.database import Database, address
from videoalign.web.annotate.storage.tables import Person, PersonRole

Make = Callable[..., Path]
SETTINGS = AnnotateSettings(qualification_pairs=0, gold_share=0, repeat_share=0, min_watch=0, raters_per_pair=1, seed=0)


@dataclass
class Served:
    """A programme with a rater, at the place where the commands look for it."""

    running: OpenProgramme
    rater: int

    def judge(self, num: int = 1, comment: str = "") -> None:
        for _ in range(num):
            self.running.database.write(lambda session: self._judge(session, comment))

    def _judge(self, session: Any, comment: str) -> None:
        person = people.find(session, self.rater)
        turn = next_pair.next_body(self.running, session, person)["assignment"]
        verdicts = {one["name"]: "left" for one in turn["dimensions"]}
        watched = {"left": 5.0, "right": 5.0}
        body = Submission(assignment=turn["id"], verdicts=verdicts, comment=comment, watched_seconds=watched)
        judging.submit(self.running, session, person, body)


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    opened: list[Database] = []

    def start(folder: Path, db: str | None = None) -> Served:
        store = Database(address(folder, db))
        opened.append(store)
        running = open_at(store, Library(folder), SETTINGS)
        sync_pairs(running)
        with store.read() as session:
            rater = session.scalar(select(Person.id).where(Person.status == "active"))
        invited = (
            rater or store.write(lambda session: people.invite(running, session, None, PersonRole.RATER, "Mina"))[0]
        )
        return Served(running, invited)

    yield start
    for database in opened:
        if database._writer.is_alive():
            database.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def call(*words: str | Path, code: int = 0) -> Any:
        capsys.readouterr()
        assert main(["annotate", *map(str, words), "--json"]) == code
        said = capsys.readouterr()
        if code:
            assert said.err.startswith("error: ") and said.err.count("\n") == 1, said.err
        return said.err if code else json.loads(said.out)

    return call


def verdicts(file: Path) -> int:
    with sqlite3.connect(file) as connection:
        return connection.execute("SELECT count(*) FROM judgements").fetchone()[0]


def database_of(folder: Path) -> Path:
    return Path(address(folder, None).database or "")


def crash(served: Served, file: Path) -> None:
    """As after kill -9: the server is gone, what it did not bring into the file lies in the log beside it."""
    left = {end: file.with_name(file.name + end).read_bytes() for end in ("", "-wal", "-shm")}
    served.running.database.close()
    for end, data in left.items():
        file.with_name(file.name + end).write_bytes(data)
    assert len(left["-wal"]) > 0


def test_a_backup_is_put_back_over_the_log_of_a_server_that_was_killed_and_nothing_is_lost(
    make_dataset: Make, serve: Any, run: Any, tmp_path: Path
) -> None:
    folder, backup = make_dataset(20), tmp_path / "backups" / "one.sqlite"
    served = serve(folder)
    served.judge(5)
    assert run("backup", folder, "--out", backup) == {"out": str(backup)}
    assert os.stat(backup).st_mode & 0o777 == 0o600
    assert [file.name for file in backup.parent.iterdir()] == ["one.sqlite"]
    served.judge(5)
    file = database_of(folder)
    crash(served, file)
    held = backup.read_bytes()
    done = run("restore", folder, backup)
    assert backup.read_bytes() == held
    assert {"database": str(file), "verdicts": 5, "forgotten": []}.items() <= done.items()
    assert not any(file.with_name(file.name + end).exists() for end in ("-wal", "-shm", "-journal"))
    assert (verdicts(file), verdicts(Path(done["kept"]))) == (5, 10)
    assert {one.name for one in file.parent.iterdir()} >= {file.name, Path(done["kept"]).name}
    again = serve(folder)
    again.judge(15)
    assert main(["annotate", "export", str(folder)]) == 0
    assert len(Dataset.open(folder).judgements()) == 3 * 20
    again.running.database.close()
    assert verdicts(Path(run("restore", folder, done["kept"])["database"])) == 10, (
        "what was kept comes back the same way"
    )


def test_a_backup_is_of_one_moment_while_verdicts_come_in(
    make_dataset: Make, serve: Any, run: Any, tmp_path: Path
) -> None:
    folder, end = make_dataset(60), threading.Event()
    served = serve(folder)
    served.judge(1)

    def work() -> None:
        for _ in range(59):
            served.judge()
            if end.is_set():
                return

    thread = threading.Thread(target=work)
    thread.start()
    numbers = []
    for number in range(4):
        file = tmp_path / f"{number}.sqlite"
        run("backup", folder, "--out", file)
        with sqlite3.connect(file) as connection:
            counted = [
                connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0]
                for what in ("judgements", "assignments WHERE state = 'submitted'", "pairs WHERE judged = 1")
            ]
        assert len({*counted}) == 1, counted
        numbers.append(counted[0])
    end.set()
    thread.join()
    assert numbers == sorted(numbers)


def test_a_running_server_and_another_dataset_are_refused_and_nothing_changes(
    make_dataset: Make, serve: Any, run: Any, tmp_path: Path
) -> None:
    folder, backup = make_dataset(3), tmp_path / "b.sqlite"
    served = serve(folder)
    served.judge()
    run("backup", folder, "--out", backup)
    names = {*database_of(folder).parent.iterdir()}
    assert "is in use; stop its server" in run("restore", folder, backup, code=2)
    assert {*database_of(folder).parent.iterdir()} == names
    served.judge()
    served.running.database.close()
    other = folder.rename(tmp_path / "other")
    folder.with_name("prefs.annotations").rename(tmp_path / "other.annotations")
    folder = make_dataset(3)
    serve(folder).running.database.close()
    before = database_of(folder).read_bytes()
    assert "belongs to another dataset" in run("restore", folder, backup, code=2)
    assert "belongs to another dataset" in run(
        "backup", folder, "--db", f"sqlite:///{database_of(other)}", "--out", tmp_path / "c.sqlite", code=2
    )
    assert not (tmp_path / "c.sqlite").exists()
    assert [file.name for file in database_of(folder).parent.iterdir()] == ["annotate.sqlite"]
    assert database_of(folder).read_bytes() == before
    assert run("restore", other, backup)["verdicts"] == 1


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("missing", "holds no rating programme"),
        ("no database", "holds no rating programme"),
        ("empty", "holds no rating programme"),
        ("another program's", "holds no rating programme"),
        ("cut off", "damaged|malformed"),
        ("later", "of a later version"),
        ("itself", "is the database itself"),
    ],
)
def test_what_is_no_backup_of_this_programme_is_refused_in_one_line(
    make_dataset: Make, serve: Any, run: Any, tmp_path: Path, what: str, told: str
) -> None:
    folder, file = make_dataset(3), tmp_path / "b.sqlite"
    served = serve(folder)
    served.judge(2)
    if what in ("cut off", "later"):
        run("backup", folder, "--out", file)
    served.running.database.close()
    if what == "no database":
        file.write_text("notes\n" * 1000)
    elif what == "empty":
        file.touch()
    elif what == "another program's":
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE programme (id INTEGER)")
    elif what == "cut off":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif what == "later":
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
    elif what == "itself":
        file = database_of(folder)
    before = {one.name: one.read_bytes() for one in database_of(folder).parent.iterdir()}
    error = run("restore", folder, file, code=2)
    assert re.search(told, error) and str(file) in error, error
    assert {one.name: one.read_bytes() for one in database_of(folder).parent.iterdir()} == before


@pytest.mark.parametrize("how", ["lost", "lost but for its log", "damaged", "elsewhere"])
def test_a_database_that_is_lost_or_damaged_comes_back_where_it_was(
    make_dataset: Make, serve: Any, run: Any, tmp_path: Path, how: str
) -> None:
    folder, backup = make_dataset(3), tmp_path / "b.sqlite"
    db = f"sqlite:///{tmp_path}/else.sqlite" if how == "elsewhere" else None
    served = serve(folder, db)
    served.judge(2)
    place = ["--db", db] if db else []
    run("backup", folder, *place, "--out", backup)
    file = Path(address(folder, db).database or "")
    crash(served, file)
    file.unlink()
    if how != "lost but for its log":
        file.with_name(file.name + "-wal").unlink()
    if how == "damaged":
        file.write_bytes(b"\0" * 5000)
    done = run("restore", folder, backup)
    assert (done["database"], done["verdicts"]) == (str(file), 2)
    if how == "damaged":
        assert Path(done["kept"]).read_bytes() == b"\0" * 5000
    else:
        assert done["kept"] is None
    assert verdicts(file) == 2
    serve(folder, db).judge()


def test_what_is_there_is_not_written_over(make_dataset: Make, serve: Any, run: Any, tmp_path: Path) -> None:
    folder, backup = make_dataset(3), tmp_path / "b.sqlite"
    served = serve(folder)
    run("backup", folder, "--out", backup)
    held = backup.read_bytes()
    served.judge()
    assert "is there already" in run("backup", folder, "--out", backup, code=2)
    assert backup.read_bytes() == held
    served.running.database.close()
    second = serve(folder, f"sqlite:///{tmp_path}/second.sqlite")
    second.judge(2)
    run("backup", folder, "--db", f"sqlite:///{tmp_path}/second.sqlite", "--out", tmp_path / "second-b.sqlite")
    assert "holds another programme" in run("restore", folder, tmp_path / "second-b.sqlite", code=2)
    assert verdicts(database_of(folder)) == 1
    done = run("restore", folder, tmp_path / "second-b.sqlite", "--db", f"sqlite:///{database_of(folder)}")
    assert (verdicts(database_of(folder)), verdicts(Path(done["kept"]))) == (2, 1)


def test_who_was_forgotten_since_stays_forgotten(make_dataset: Make, serve: Any, run: Any, tmp_path: Path) -> None:
    folder, backup = make_dataset(4), tmp_path / "b.sqlite"
    served = serve(folder)
    served.judge(2, "by Mina")
    run("backup", folder, "--out", backup)
    assert b"Mina" in backup.read_bytes()
    forgetting.forget(served.running, served.rater)
    served.running.database.close()
    assert run("restore", folder, backup)["forgotten"] == ["rater-1"]
    assert b"Mina" not in database_of(folder).read_bytes()
    assert verdicts(database_of(folder)) == 2
    done = run("restore", folder, shutil.copy(backup, tmp_path / "c.sqlite"))
    assert done["forgotten"] == ["rater-1"] and b"Mina" not in Path(done["kept"]).read_bytes()


def test_a_backup_of_an_earlier_version_is_brought_up_to_date(
    make_dataset: Make, serve: Any, run: Any, tmp_path: Path
) -> None:
    folder, backup = make_dataset(3), tmp_path / "b.sqlite"
    served = serve(folder)
    served.judge(2)
    served.running.database.close()
    with sqlite3.connect(database_of(folder)) as connection:
        connection.execute("DROP INDEX ix_people_crowd_key")
        connection.execute("ALTER TABLE people DROP COLUMN crowd_key")
        for name in ("content_a", "content_b"):
            connection.execute(f"ALTER TABLE judgements DROP COLUMN {name}")
        connection.execute("UPDATE alembic_version SET version_num = '0004'")
    connection.close()
    run("backup", folder, "--out", backup)
    assert run("restore", folder, backup)["verdicts"] == 2
    assert main(["annotate", "export", str(folder)]) == 0


def test_postgresql_is_left_to_its_own_tools(make_dataset: Make, run: Any, tmp_path: Path, serve: Any) -> None:
    folder, db = make_dataset(2), "postgresql://eve:secret@db/prefs"
    error = run("backup", folder, "--db", db, "--out", tmp_path / "b.sqlite", code=2)
    assert "pg_dump" in error and "secret" not in error
    serve(folder)
    run("backup", folder, "--out", tmp_path / "b.sqlite")
    error = run("restore", folder, tmp_path / "b.sqlite", "--db", db, code=2)
    assert "pg_restore" in error and "secret" not in error


def test_a_database_of_something_else_is_no_backup_though_its_tables_are_called_the_same(
    make_dataset: Make, serve: Callable[..., Served], run: Callable[..., Any], tmp_path: Path
) -> None:
    folder = make_dataset(2)
    serve(folder).running.database.close()
    with sqlite3.connect(tmp_path / "other.sqlite") as connection:
        connection.execute("CREATE TABLE programme (name)")
        connection.execute("CREATE TABLE people (id, status)")
        connection.execute("INSERT INTO programme VALUES ('theatre')")
    connection.close()
    assert "holds no rating programme" in run("restore", folder, tmp_path / "other.sqlite", code=2)


def test_a_backup_does_not_take_the_place_of_a_link_that_leads_nowhere(
    make_dataset: Make, serve: Callable[..., Served], run: Callable[..., Any], tmp_path: Path
) -> None:
    folder = make_dataset(2)
    serve(folder).running.database.close()
    (tmp_path / "copy.sqlite").symlink_to(tmp_path / "away" / "copy.sqlite")
    assert "is there already" in run("backup", folder, "--out", tmp_path / "copy.sqlite", code=2)
    assert (tmp_path / "copy.sqlite").is_symlink()
