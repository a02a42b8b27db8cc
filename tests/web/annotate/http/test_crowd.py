"""The open link of a crowd: who comes, how many, and what they take back with them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from videoalign.errors import ConfigError
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.tables import Invitation, Person

Open = Callable[..., Any]
Make = Callable[..., Path]
CROWD = {"code": "C0FFEE", "max_people": 2, "redirect_url": "https://crowd.test/done?cc=C0FFEE"}


def come(programme: Any, name: str) -> Any:
    """A browser that followed the open link; signed in where it was let in."""
    client = programme.client()
    page = client.get(f"/crowd?STUDY=x&PROLIFIC_PID={name}")
    if page.status_code != 200:
        return page
    assert not client.cookies, "looking at the link adds nobody"
    found = re.search(r'name="name" value="([^"]*)"', page.text)
    assert found is not None
    came = client.post("/crowd", data={"name": found[1]}, follow_redirects=False)
    assert came.status_code == 303, came.text
    token = re.search(r'name="csrf-token" content="([0-9a-f]{64})"', client.get("/guideline").text)
    assert token is not None
    client.headers["x-csrf-token"] = token[1]
    return client


def judge(client: Any, turn: dict[str, Any] | None = None) -> dict[str, Any]:
    """The turn after a verdict on the pair of this one."""
    assignment = (turn or client.get("/api/next").json())["assignment"]
    verdicts = {one["name"]: "tie" for one in assignment["dimensions"]}
    body = {"assignment": assignment["id"], "verdicts": verdicts, "watched_seconds": {"left": 5.0, "right": 5.0}}
    answer = client.post("/api/judgements", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["next"]


def test_who_comes_by_the_open_link_judges_their_share_and_gets_the_code(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(4), crowd=CROWD, max_judgements_per_rater=2, min_watch=0)
    first = come(programme, "5f3a")
    turn = first.get("/api/next").json()
    assert turn["completion"] is None
    turn = judge(first, turn)
    assert (turn["state"], turn["completion"]) == ("rating", None)
    turn = judge(first, turn)
    assert (turn["state"], turn["assignment"]) == ("done", None)
    assert turn["completion"] == {"code": CROWD["code"], "url": CROWD["redirect_url"]}
    again = come(programme, "5f3a")
    assert again.get("/api/next").json()["completion"] == turn["completion"], "the same person in another browser"
    invited = programme.invite()
    invited.judge()
    assert invited.judge()["completion"] is None, "codes are for the crowd"
    page = programme.admin.http.get("/admin/invitations").text
    assert "1 of 2 people" in page
    assert "http://rate.test/crowd?PROLIFIC_PID=" in page


@pytest.mark.databases("sqlite")
def test_the_code_is_shown_when_no_pair_is_left_but_neither_before_any_verdict_nor_for_a_limit_of_the_day(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(2), crowd=CROWD, raters_per_pair=1, max_judgements_per_day=1, min_watch=0)
    first, late = come(programme, "a"), come(programme, "b")
    assert (judge(first)["state"], judge(late)["state"]) == ("done", "done")
    assert first.get("/api/next").json()["completion"] is None, "there may be more tomorrow"
    programme = open_programme(
        programme.running.library.dataset.path, crowd=CROWD | {"max_people": 9}, raters_per_pair=1
    )
    assert come(programme, "a").get("/api/next").json()["completion"] is not None
    assert come(programme, "too-late").get("/api/next").json()["completion"] is None


def test_only_so_many_people_come_and_only_with_an_id(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1), crowd=CROWD)
    for name in ("", "%7B%7BPROLIFIC_PID%7D%7D", "a%00b", "x" * 101, "a%20b", "%E2%80%AE"):
        page = come(programme, name)
        assert (page.status_code, 'data-code="no_id_link"' in page.text) == (422, True), name
    assert programme.client().get("/crowd").status_code == 422
    assert programme.client().post("/crowd").status_code == 422
    for name in ("a", "b", "a", "b"):
        come(programme, name)
    page = come(programme, "c")
    assert (page.status_code, 'data-code="full_link"' in page.text) == (410, True)
    assert programme.client().post("/crowd", data={"name": "c"}).status_code == 410
    with programme.running.database.read() as session:
        rows = session.execute(select(Person.name, Person.role, Person.crowd_key).order_by(Person.id)).all()
        assert [row[:2] for row in rows] == [("owner", "admin"), ("a", "rater"), ("b", "rater")]
        assert "a" not in [row.crowd_key for row in rows]


def test_an_id_of_the_crowd_never_opens_the_session_of_who_was_invited(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(1), crowd=CROWD)
    programme.invite("adjudicator", "Mina")
    mina = come(programme, "Mina")
    assert mina.get("/adjudicate").status_code == 403
    owner = come(programme, "owner")
    assert owner.get("/admin").status_code == 403


def test_who_was_paused_or_signed_out_by_an_admin_is_not_let_past_that(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(2), crowd=CROWD, max_judgements_per_rater=1, min_watch=0)
    client = come(programme, "a")
    judge(client)
    programme.admin.http.post("/api/admin/raters/2/pause", json={"reason": "too fast"})
    turn = come(programme, "a").get("/api/next").json()
    assert (turn["state"], turn["message"], turn["completion"]) == ("paused", "too fast", None)
    with programme.running.database.read() as session:
        number = session.scalar(select(Invitation.id).where(Invitation.person_id == 2).order_by(Invitation.id))
    programme.admin.http.post(f"/api/admin/invitations/{number}/revoke")
    assert client.get("/api/next").status_code == 401


@pytest.mark.databases("sqlite")
def test_without_the_setting_there_is_no_open_link(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1))
    assert programme.client().get("/crowd?PROLIFIC_PID=a").status_code == 404
    assert programme.client().post("/crowd", data={"name": "a"}).status_code == 404
    assert "Open link" not in programme.admin.http.get("/admin/invitations").text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"redirect_url": "http://crowd.test"}, "must begin with https://"),
        ({"redirect_url": "javascript:alert(1)"}, "must begin with https://"),
        ({"redirect_url": "https://u:p@crowd.test"}, "must begin with https://"),
        ({"code": ""}, "at least 1"),
        ({"code": 123}, "valid string"),
        ({"code": "a\u202eb"}, "must not hold the character U"),
        ({"parameter": "a b"}, "pattern"),
        ({"max_people": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_of_a_crowd_that_would_not_work_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        AnnotateSettings.build_from({"crowd": CROWD | change})
