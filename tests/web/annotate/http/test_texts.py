"""What is stored of people's words can be sent back, and what cannot is refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from videoalign.web.annotate.storage.tables import Assignment, Audit, Person, Said
from videoalign.web.text import require_line, require_lines, require_visible

Open = Callable[..., Any]
Make = Callable[..., Path]

JSON = {"content-type": "application/json"}
UNFIT = ["\ud83d", "\udc00", "\x00", "\x1b[31m", "\x07", "\x7f", "\x9b", "\u202e", "\u2066"]
FIT = ["", "sharper", "日本語", "👩‍👩‍👧 🏴󠁧󠁢󠁥󠁮󠁧󠁿", "שלום עולם", "می‌خواهم", "e\u0301", "\u200fabc"]


def send(person: Any, path: str, body: Any) -> Any:
    """Posts a body whose texts may be half characters, as some clients send them."""
    return person.http.post(path, content=json.dumps(body), headers=JSON)


def test_a_text_is_fit_when_no_character_of_it_acts_on_others() -> None:
    for text in FIT:
        assert require_lines(text) == require_line(text) == text
    for text in UNFIT:
        for check in (require_lines, require_line):
            with pytest.raises(ValueError, match=r"must not hold the character U\+"):
                check(f"good {text}")
    assert require_lines("two\r\n\tlines\u2028") == "two\r\n\tlines\u2028"
    for text in ("\n", "\t", "\r", "\u2028", "\u2029"):
        with pytest.raises(ValueError, match="must not hold"):
            require_line(text)
    for text in ("\u200b", " \u2060", "\u3000"):
        with pytest.raises(ValueError, match="can be seen"):
            require_visible(text)


DRAFTS = [
    *({"comment": text} for text in UNFIT),
    {"\ud83d": 1},
    {"a": [{"b": "\udfff"}]},
    {"x": float("nan")},
    {"x": [float("-inf")]},
    {"x": 10**400},
    {"x": -(10**20)},
    {"x": 1e300},
]


def test_a_draft_that_could_not_be_sent_back_is_refused_and_locks_nobody_out(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(2))
    rater = programme.invite()
    mine = rater.next()["assignment"]
    good = {
        "verdicts": {"VQ": "left"},
        "ratings": None,
        "comment": "日本 👩‍👩‍👧\n",
        "watched": [0.5, 1],
        "saved_at": 1.8e12,
    }
    assert send(rater, "/api/heartbeat", {"assignment": mine["id"], "draft": good}).status_code == 200
    deep: Any = {}
    for _ in range(300):
        deep = {"d": deep}
    for draft in (*DRAFTS, deep, {"x": "y" * 20_001}):
        answer = send(rater, "/api/heartbeat", {"assignment": mine["id"], "draft": draft})
        assert answer.status_code == 422, draft
        assert answer.json()["error"]["code"] == "bad_request"
        assert rater.next()["assignment"]["draft"] == good


def test_a_bad_draft_that_is_stored_already_is_left_out(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1))
    rater = programme.invite()
    mine = rater.next()["assignment"]["id"]
    for draft in ({"comment": "\ud83d"}, {"x": 10**30}):
        stored = update(Assignment).where(Assignment.id == mine).values(draft=draft)
        programme.running.database.write(lambda session, stored=stored: session.execute(stored) and None)
        assert rater.next()["assignment"]["draft"] is None


def test_words_that_could_not_be_shown_again_are_refused_wherever_they_are_sent(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(2))
    rater, admin = programme.invite(), programme.admin
    mine = rater.next()["assignment"]
    judged = rater.body(mine, "left")
    for text in UNFIT:
        refused = [
            send(rater, "/api/judgements", judged | {"comment": text}),
            send(rater, "/api/judgements", judged | {"verdicts": {text: "left"}}),
            send(rater, "/api/judgements", judged | {"ratings": {"left": {text: 1}, "right": {}}}),
            send(rater, "/api/judgements", judged | {text: 1}),
            send(rater, "/api/skip", {"assignment": mine["id"], "reason": f"because {text}"}),
            send(admin, "/api/admin/invitations", {"role": "rater", "name": f"Jo {text}"}),
            send(admin, "/api/admin/invitations", {"role": text, "name": "Jo"}),
            send(admin, "/api/admin/raters/2/pause", {"reason": text}),
        ]
        for answer in refused:
            assert answer.status_code == 422, (text, answer.request.url, answer.text)
            assert set(answer.json()["error"]) == {"code", "reason"}
    for name in ("", " ", "\u200b", "\t", "a\nb", "x" * 201):
        assert send(admin, "/api/admin/invitations", {"role": "rater", "name": name}).status_code == 422, name
        form = {"role": "rater", "name": name, "csrf_token": admin.http.headers["x-csrf-token"]}
        assert admin.http.post("/admin/invitations", data=form).status_code == 422, name
    programme.invite(name=" Zoë 👩‍👩‍👧 ")
    with programme.running.database.read() as session:
        assert session.scalars(select(Person.name).order_by(Person.id)).all() == ["owner", "Rater", "Zoë 👩‍👩‍👧"]
        assert session.scalar(select(Said.id)) is None
    for comment in (*FIT, "two\nlines"):
        assert send(rater, "/api/judgements", judged | {"comment": comment}).status_code == 200
        assert rater.http.post("/api/undo").json()["next"]["assignment"]["draft"]["comment"] == comment


def test_a_number_that_no_row_has_and_an_act_that_there_is_not_are_not_found(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(1))
    admin, adjudicator = programme.admin, programme.invite("adjudicator")
    token = {"csrf_token": admin.http.headers["x-csrf-token"]}
    with programme.running.database.read() as session:
        before = session.scalars(select(Audit.id)).all()
    for number in (-1, 0, 99, 2**31, 2**63, 10**30, "9" * 5000, "x", "1.5", "%00"):
        for page, api in (
            (f"raters/{number}/{act}",) * 2 for act in ("pause", "resume", "link", "discard", "restore", "explode", "")
        ):
            assert admin.http.post(f"/admin/{page}", data=token).status_code == 404, page
            assert admin.http.post(f"/api/admin/{api}").status_code == 404, api
        for path in (f"/admin/invitations/{number}/revoke", f"/api/admin/invitations/{number}/revoke"):
            assert admin.http.post(path, data=token).status_code == 404, path
        assert admin.http.get(f"/admin/pairs/{number}").status_code == 404
        assert admin.http.get(f"/media/pairs/{number}/a").status_code == 404
        assert admin.http.get(f"/media/examples/{number}").status_code == 404
        assert adjudicator.http.post(f"/adjudicate/{number}").status_code in (404, 409), number
    for act in ("explode", "PAUSE", "pause%20", "link/link"):
        assert admin.http.post(f"/admin/raters/1/{act}", data=token, follow_redirects=False).status_code == 404
        assert admin.http.post(f"/api/admin/raters/1/{act}").status_code == 404
    with programme.running.database.read() as session:
        assert session.scalars(select(Audit.id)).all() == before
