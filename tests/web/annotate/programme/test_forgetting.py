"""Somebody is forgotten: no byte tells who they were, and what they judged stays or is judged again, as asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from videoalign.cli.main import main
from videoalign.data.dataset import Dataset
from videoalign.data.tables import read_table
from videoalign.web.annotate.programme import forgetting, people
from videoalign.web.annotate.programme.export import write_tables
from videoalign.web.annotate.storage.database import Database
from videoalign.web.annotate.storage.tables import (
    Assignment,
    Audit,
    Base,
    Invitation,
    Pair,
    Person,
    PersonRole,
    Said,
    SignIn,
    Status,
)
from videoalign.web.refusals import Refusal

Open = Callable[..., Any]
Make = Callable[..., Path]
NAME = "Zebulon Quux"
SECRET = "zebulon"


def everything(database: Database) -> str:
    """All that the tables hold, as text."""
    with database.read() as session:
        return json.dumps(
            [[*map(str, row)] for table in Base.metadata.sorted_tables for row in session.execute(select(table))]
        )


def busy_programme(open_programme: Open, folder: Path, **settings: Any) -> tuple[Any, Any]:
    """A programme in which somebody left words of theirs wherever there is room for them."""
    programme = open_programme(folder, raters_per_pair=1, **settings)
    rater = programme.invite(name=NAME)
    for number in range(3):
        rater.judge("left", comment=f"{SECRET} was here {number}")
    assert rater.http.post("/api/undo").status_code == 200
    rater.judge("left", comment=f"{SECRET} thought again")
    turn = rater.next()["assignment"]
    assert rater.http.post("/api/skip", json={"assignment": turn["id"], "reason": SECRET}).status_code == 200
    act(programme, 2, "pause", f"{SECRET} naps")
    act(programme, 2, "resume")
    for draft in (f"{SECRET} begins", f"{SECRET} goes on"):
        beat = {"assignment": rater.next()["assignment"]["id"], "draft": {"comment": draft}}
        assert rater.http.post("/api/heartbeat", json=beat).status_code == 200
    return programme, rater


def act(programme: Any, person: int, what: str, reason: str = "") -> Any:
    answer = programme.admin.http.post(f"/api/admin/raters/{person}/{what}", json={"reason": reason})
    return answer.status_code if answer.status_code != 200 else answer.json()


def forget(folder: Path, db: str, capsys: Any, *more: str) -> Any:
    capsys.readouterr()
    assert main(["annotate", "forget", str(folder), *more, "--db", db, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_no_byte_tells_who_it_was_and_every_verdict_stays(
    open_programme: Open, make_dataset: Make, db: str, capsys: Any
) -> None:
    folder = make_dataset(6)
    programme, rater = busy_programme(open_programme, folder)
    write_tables(programme.running)
    annotations = folder.with_name("prefs.annotations") / "annotations.parquet"
    inside = folder / "annotations.parquet"
    inside.write_bytes(annotations.read_bytes())
    before, rows = Dataset.open(folder).judgements(), read_table(annotations).drop_columns(["comment"]).to_pylist()
    assert SECRET in everything(programme.running.database).lower()
    with programme.running.database.read() as session:
        held = session.scalars(select(Assignment.pair_id).where(Assignment.state == "leased")).all()
    assert forget(folder, db, capsys, NAME) == {"rater": "rater-2", "comments": 5, "discarded": 0}
    assert SECRET not in everything(programme.running.database).lower()
    files = [*folder.rglob("*"), *folder.with_name("prefs.annotations").rglob("*")]
    files += [*Path(db.removeprefix("sqlite:///")).parent.iterdir()] if db.startswith("sqlite") else []
    for file in files:
        assert not file.is_file() or SECRET.encode() not in file.read_bytes().lower(), file
    for file in (annotations, inside):
        assert {*read_table(file)["comment"].to_pylist()} == {""}
        assert read_table(file).drop_columns(["comment"]).to_pylist() == rows
    write_tables(programme.running)
    assert Dataset.open(folder).judgements() == before and len(before) == 9
    with programme.running.database.read() as session:
        theirs = [session.scalar(select(func.count()).where(row.person_id == 2)) for row in (Invitation, SignIn)]
        states = session.scalars(select(Pair.state).where(Pair.id.in_(held))).all()
        about = (Audit.subject == "2", Audit.action.like("person.%"))
        log = session.scalars(select(Audit.action).where(*about).order_by(Audit.id)).all()
    assert theirs == [0, 0]
    assert {*states} == {"open"} and held, "what they held goes to others"
    assert log == ["person.paused", "person.resumed", "person.forgotten"]
    assert rater.http.get("/api/next").status_code == 401
    listed = programme.admin.http.get("/api/admin/raters").json()["raters"][0]
    assert (listed["name"], listed["status"], listed["submitted"]) == ("rater-2", "forgotten", 3)
    for page in ("/admin/raters", "/admin/audit", "/admin/invitations", "/admin/pairs/1"):
        assert programme.admin.http.get(page).status_code == 200, page
    assert programme.invite().judge_all() == 2, "those that nobody judged or skipped"


@pytest.mark.databases("sqlite")
def test_with_discard_their_pairs_go_to_others_and_that_can_be_done_later_too(
    open_programme: Open, make_dataset: Make, db: str, capsys: Any
) -> None:
    folder = make_dataset(6)
    programme, _ = busy_programme(open_programme, folder)
    other = programme.invite(name="Other")
    assert forget(folder, db, capsys, "2", "--discard") == {"rater": "rater-2", "comments": 5, "discarded": 3}
    assert write_tables(programme.running) == 0
    assert other.judge_all() == 6
    assert forget(folder, db, capsys, "Other")["discarded"] == 0
    assert write_tables(programme.running) == 18
    assert forget(folder, db, capsys, "rater-3", "--discard") == {"rater": "rater-3", "comments": 0, "discarded": 6}
    assert act(programme, 3, "restore") == {"restored": 6}
    assert write_tables(programme.running) == 18


def test_who_is_forgotten_does_nothing_more_and_gets_nothing_more(
    open_programme: Open, make_dataset: Make, db: str, capsys: Any
) -> None:
    folder = make_dataset(3)
    programme = open_programme(folder)
    link = programme.link(name=NAME)
    assert forget(folder, db, capsys, NAME)["rater"] == "rater-2"
    assert programme.client().post(link).status_code == 404
    assert [act(programme, 2, what) for what in ("pause", "resume", "link")] == [410, 410, 410]
    assert "zebulon" not in everything(programme.running.database).lower()
    with pytest.raises(Refusal, match="was forgotten"), programme.running.database.read() as session:
        people.find(session, 2)  # as whatever was under way when they were
    before = everything(programme.running.database)
    assert forget(folder, db, capsys, "rater-2") == {"rater": "rater-2", "comments": 0, "discarded": 0}
    assert everything(programme.running.database) == before, "once is enough"
    assert main(["annotate", "forget", str(folder), NAME, "--db", db]) == 2
    assert f"nobody is called '{NAME}'" in capsys.readouterr().err


def test_words_of_others_stay_and_nobody_else_is_signed_out(open_programme: Open, make_dataset: Make) -> None:
    programme, _ = busy_programme(open_programme, make_dataset(8))
    other = programme.invite(name="Other")
    other.judge(comment="mine")
    skip = {"assignment": other.next()["assignment"]["id"], "reason": "broken"}
    other.http.post("/api/skip", json=skip)
    act(programme, 3, "pause", "a week off")
    forgetting.forget(programme.running, 2)
    with programme.running.database.read() as session:
        assert [*session.scalars(select(Said.comment).where(Said.comment != ""))] == ["mine"]
        assert [*session.scalars(select(Assignment.reason).where(Assignment.reason != ""))] == ["broken"]
        details = session.scalars(select(Audit.detail).where(Audit.person_id == 3)).all()
        reasons = session.scalars(select(Audit.detail).where(Audit.action == "person.paused").order_by(Audit.id)).all()
    assert [one["reason"] for one in details if "reason" in one] == ["broken"]
    assert reasons == [{}, {"reason": "a week off"}]
    assert other.next()["message"] == "a week off"


@pytest.mark.databases("sqlite")
def test_the_first_admin_may_be_forgotten_and_the_next_start_makes_another(
    open_programme: Open, make_dataset: Make
) -> None:
    folder = make_dataset(2)
    programme = open_programme(folder)
    act(programme, 1, "pause", "typed by the admin")
    forgetting.forget(programme.running, 1)
    assert "typed by the admin" not in everything(programme.running.database)
    assert programme.admin.http.get("/admin").status_code == 401
    again = open_programme(folder)
    assert again.admin.http.get("/admin").status_code == 200
    with again.running.database.read() as session:
        admins = session.execute(select(Person.name, Person.status).where(Person.role == PersonRole.ADMIN)).all()
    assert admins == [("admin-1", Status.FORGOTTEN), ("owner", Status.ACTIVE)]


@pytest.mark.databases("sqlite")
def test_of_a_crowd_the_same_id_comes_back_as_somebody_new(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(3), crowd={"code": "C", "max_people": 1})

    def come() -> int:
        return programme.client().post("/crowd", data={"name": SECRET}, follow_redirects=False).status_code

    assert [come(), come()] == [303, 303]
    forgetting.forget(programme.running, 2)
    assert SECRET not in everything(programme.running.database)
    assert come() == 303
    with programme.running.database.read() as session:
        assert [*session.scalars(select(Person.name).order_by(Person.id))] == ["owner", "rater-2", SECRET]


def test_only_of_who_is_forgotten_may_words_go(open_programme: Open, make_dataset: Make) -> None:
    programme, _ = busy_programme(open_programme, make_dataset(6))
    for statement in ("UPDATE judgements SET comment = '', content_hash = ''", "UPDATE judgements SET verdicts = '{}'"):
        with pytest.raises(Exception, match="only ever added to"):
            programme.running.database.write(lambda session, what=statement: session.execute(text(what)))
    forgetting.forget(programme.running, 2)
    for statement in ("UPDATE judgements SET verdicts = '{}'", "UPDATE judgements SET comment = 'x'"):
        with pytest.raises(Exception, match="only ever added to"):
            programme.running.database.write(lambda session, what=statement: session.execute(text(what)))
