"""A database belongs to one dataset, and each finds the other."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from videoalign.data.dataset import Dataset
from videoalign.data.people import said_only_in
from videoalign.errors import ConfigError, OutputError
from videoalign.web.annotate.programme.export import export_programme
from videoalign.web.annotate.programme.media_index import Library
from videoalign.web.annotate.programme.programme import open_programme as open_at
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.database import Database, address

Open = Callable[..., Any]
Make = Callable[..., Path]


def everything(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def move(folder: Path, name: str) -> Path:
    return folder.rename(folder.with_name(name))


def test_a_database_and_its_dataset_hold_the_same_id(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(2)
    assert Dataset.open(folder).info.dataset_id == ""
    programme = open_programme(folder)
    known = Dataset.open(folder).info.dataset_id
    assert len(known) == 32
    open_programme(folder)
    assert Dataset.open(folder).info.dataset_id == known
    with programme.running.database.read() as session:
        assert session.execute(text("SELECT dataset_id FROM programme")).scalars().all() == [known]


@pytest.mark.parametrize("served_before", [False, True])
def test_another_dataset_is_refused_in_one_line_and_nothing_changes(
    open_programme: Open, make_dataset: Make, db: str, served_before: bool, tmp_path: Path
) -> None:
    one = move(make_dataset(3), "one")
    programme = open_programme(one)
    programme.invite().judge_all()
    other = make_dataset(3)
    dataset = Dataset.open(other)
    dataset.write_clips([replace(clip, clip_id="x" + clip.clip_id) for clip in dataset.clips()])
    if served_before:
        store = Database(f"sqlite:///{tmp_path}/other.sqlite")
        open_at(store, Library(other), AnnotateSettings())
        store.close()
    files, before = everything(other), programme.admin.http.get("/api/admin/overview").json()
    log = programme.admin.http.get("/admin/audit").text
    with pytest.raises(ConfigError, match=r"belongs to another dataset .*dataset_id") as refused:
        open_programme(other)
    assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="belongs to another dataset"):
        export_programme(other, AnnotateSettings(db=db))
    assert everything(other) == files
    assert programme.admin.http.get("/api/admin/overview").json() == before
    assert programme.admin.http.get("/admin/audit").text == log


def test_a_dataset_that_was_made_anew_comes_back_with_its_old_id(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(2)
    open_programme(folder).invite().judge_all()
    file = folder / "dataset.json"
    known = json.loads(file.read_text())["dataset_id"]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"dataset_id": ""}))
    with pytest.raises(ConfigError, match=f'"dataset_id": "{known}"'):
        open_programme(folder)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"dataset_id": known}))
    assert open_programme(folder).admin.http.get("/api/admin/overview").json()["judged"] == 2


@pytest.mark.databases("sqlite")
def test_a_database_of_before_there_were_ids_is_taken_where_it_knows_a_pair(
    open_programme: Open, make_dataset: Make, db: str
) -> None:
    one = move(make_dataset(3), "one")
    open_programme(one).invite().judge_all()
    with sqlite3.connect(db.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE programme SET dataset_id = ''")
    other = make_dataset(3)
    dataset = Dataset.open(other)
    dataset.write_clips([replace(clip, clip_id="x" + clip.clip_id) for clip in dataset.clips()])
    with pytest.raises(ConfigError, match="no pair of this database is in .*/prefs"):
        open_programme(other)
    Dataset.open(one).write_clips(Dataset.open(one).clips()[:2])
    open_programme(one)
    with pytest.raises(ConfigError, match="belongs to another dataset"):
        open_programme(other)


def test_another_seed_is_refused(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(2)
    open_programme(folder, seed=5)
    with pytest.raises(ConfigError, match="seed: got 6, but the programme was begun with 5"):
        open_programme(folder, seed=6)
    assert open_programme(folder, seed=None).running.seed == 5


def test_a_folder_that_is_judged_in_a_database_elsewhere_holds_something_that_people_said(
    open_programme: Open, make_dataset: Make
) -> None:
    folder = make_dataset(2)
    assert said_only_in(folder) is None
    open_programme(folder)
    assert "annotate.json belongs to a rating programme" in str(said_only_in(folder))
    assert "annotate.json belongs to a rating programme" in str(said_only_in(folder.parent))


def test_the_note_holds_no_password_and_moves_with_the_dataset(make_dataset: Make, tmp_path: Path) -> None:
    folder = make_dataset(2)
    store = Database(address(folder, None))
    running = open_at(store, Library(folder), AnnotateSettings())
    note = json.loads((folder / "annotate.json").read_text())
    assert note == {"programmes": {running.key: {"database": "../prefs.annotations/annotate.sqlite"}}}
    from videoalign.web.annotate.storage.places import note as write_note

    write_note(folder, "k", address(folder, "postgresql://eve:secret@db/prefs"))
    assert "secret" not in (folder / "annotate.json").read_text()
    store.close()


def test_the_database_is_beside_the_dataset_and_one_inside_is_still_found(make_dataset: Make) -> None:
    folder = make_dataset(2)
    beside, inside = folder.with_name("prefs.annotations") / "annotate.sqlite", folder / "annotate.sqlite"
    assert address(folder, None).database == str(beside)
    assert not beside.parent.exists(), "asking makes nothing"
    Database(f"sqlite:///{inside}").close()
    assert address(folder, None).database == str(inside)
    Database(f"sqlite:///{folder.parent}/prefs.annotations/annotate.sqlite").close()
    with pytest.raises(ConfigError, match=rf"two databases, {beside} and {inside}; name one"):
        address(folder, None)


def test_where_the_database_is_gone_none_is_begun_unasked(make_dataset: Make) -> None:
    folder = make_dataset(2)
    elsewhere = folder.with_name("elsewhere.sqlite")
    store = Database(f"sqlite:///{elsewhere}")
    open_at(store, Library(folder), AnnotateSettings())
    store.close()
    with pytest.raises(ConfigError, match=rf"is judged in sqlite:///{elsewhere}; name that database"):
        address(folder, None)
    renamed = move(folder, "renamed")
    with pytest.raises(ConfigError, match=rf"is judged in sqlite:///{elsewhere}"):
        address(renamed, None)
    assert address(renamed, f"sqlite:///{elsewhere}").database == str(elsewhere)


@pytest.mark.parametrize("name", ["q?uestion", "per%20cent", "h#sh", "sp ace", "ünï 日本", "at@sign:8", "a&b=c"])
def test_a_folder_may_have_any_name(make_dataset: Make, name: str) -> None:
    folder = move(make_dataset(2), name)
    store = Database(address(folder, None))
    open_at(store, Library(folder), AnnotateSettings())
    store.close()
    database = folder.with_name(f"{name}.annotations") / "annotate.sqlite"
    assert database.is_file()
    assert {file.name for file in folder.parent.iterdir()} == {name, f"{name}.annotations"}
    assert export_programme(folder, AnnotateSettings()) == 0


def test_a_database_of_a_later_version_or_of_another_program_is_refused_in_one_line(
    db: str, make_dataset: Make
) -> None:
    store = Database(db)
    store.write(lambda session: session.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    store.close()
    for migrate in (True, False):
        with pytest.raises(OutputError, match=r"of a later version .*revision 9999.* update videoalign") as refused:
            Database(db, migrate=migrate)
        assert "\n" not in str(refused.value)
    with pytest.raises(OutputError, match="of a later version"):
        export_programme(make_dataset(2), AnnotateSettings(db=db))


def test_an_export_does_not_bring_a_database_up_to_date(new_db: str, make_dataset: Make) -> None:
    import alembic.command

    from videoalign.web.annotate.storage import migrating

    store = Database(new_db, migrate=False)
    store.close()
    with store._writing.begin() as connection:
        config = migrating._config()
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "0001")
    folder = make_dataset(2)
    with pytest.raises(OutputError, match="of an earlier version; 'videoalign annotate serve' brings it up to date"):
        export_programme(folder, AnnotateSettings(db=new_db))
    with store._engine.begin() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0001"
    store._engine.dispose()
    Database(new_db).close()


@pytest.mark.databases("sqlite")
def test_servers_that_start_at_once_on_a_new_file_all_start(new_db: str, make_dataset: Make) -> None:
    folder = make_dataset(2)
    barrier, keys, failed = threading.Barrier(4), [], []

    def start() -> None:
        barrier.wait()
        try:
            store = Database(new_db)
            keys.append(open_at(store, Library(folder), AnnotateSettings()).key)
            store.close()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(keys) == 4 and len({*keys}) == 1
