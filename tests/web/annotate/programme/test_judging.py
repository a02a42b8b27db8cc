"""Verdicts: taken once, kept for ever, taken back where that is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from videoalign.web.annotate.storage.tables import Pair, PairState, Said

Open = Callable[..., Any]
Make = Callable[..., Path]


def said(programme: Any, *, live: bool = True) -> int:
    with programme.running.database.read() as session:
        rows = select(func.count()).select_from(Said)
        return session.scalar(rows.where(Said.withdrawn_at.is_(None)) if live else rows)


def states(programme: Any) -> list[tuple[str, int]]:
    with programme.running.database.read() as session:
        return [tuple(row) for row in session.execute(select(Pair.state, Pair.judged).order_by(Pair.id))]


def test_a_pair_that_was_skipped_takes_no_verdict_from_another_tab(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(3), raters_per_pair=1)
    rater = programme.invite()
    turn = rater.next()["assignment"]
    assert rater.http.post("/api/skip", json={"assignment": turn["id"], "reason": "broken"}).status_code == 200
    late = rater.http.post("/api/judgements", json=rater.body(turn))
    assert (late.status_code, late.json()["error"]["code"]) == (409, "already_skipped")
    with programme.running.database.read() as session:
        assert all(row.judged <= row.taken for row in session.execute(select(Pair.judged, Pair.taken)))


def test_the_same_verdict_again_is_accepted_and_nothing_is_doubled(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset())
    rater = programme.invite()
    body = rater.body(rater.next()["assignment"], "left")
    answers = [rater.http.post("/api/judgements", json=body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert answers[0].json() == answers[1].json() == answers[2].json()
    assert said(programme) == 1
    other = rater.http.post("/api/judgements", json=body | {"comment": "on second thoughts"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "already_judged")


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"verdicts": {"VQ": "left"}}, "incomplete"),
        ({"verdicts": {"VQ": "left", "MQ": "left", "TA": "left", "XX": "left"}}, "incomplete"),
        ({"verdicts": {"VQ": "left", "MQ": "left", "TA": "A"}}, "bad_request"),
        ({"watched_seconds": {"left": 0.5, "right": 0.1}}, "not_watched"),
        ({"watched_seconds": {"left": -1, "right": 5}}, "bad_request"),
        ({"watched_seconds": {"left": True, "right": 5}}, "bad_request"),
        ({"watched_seconds": {"left": "5", "right": 5}}, "bad_request"),
        ({"ratings": {"left": {"VQ": True}, "right": {}}}, "bad_request"),
        ({"ratings": {"left": {"VQ": "3"}, "right": {}}}, "bad_request"),
        ({"ratings": {"left": {"VQ": 3}, "right": {}}}, "no_ratings"),
        ({"comment": "a\0b"}, "bad_request"),
        ({"comment": "x" * 5001}, "bad_request"),
        ({"colour": "red"}, "bad_request"),
    ],
)
def test_a_verdict_that_is_not_whole_is_refused_with_the_reason(
    open_programme: Open, make_dataset: Make, change: dict[str, Any], code: str
) -> None:
    programme = open_programme(make_dataset(), min_watch=1.0)
    rater = programme.invite()
    answer = rater.http.post("/api/judgements", json=rater.body(rater.next()["assignment"]) | change)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
    assert said(programme) == 0


def test_ratings_are_kept_with_the_clip_that_they_belong_to(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(8), ratings=True, raters_per_pair=1)
    rater = programme.invite()
    ids = []
    while (assignment := rater.next()["assignment"]) is not None:
        ids.append(assignment["id"])
        rater.judge("left", ratings={"left": {"VQ": 5}, "right": {"VQ": 1, "MQ": 2}})
    assert rater.http.post("/api/undo").status_code == 200
    assert rater.next()["assignment"]["draft"]["ratings"] == {"left": {"VQ": 5}, "right": {"VQ": 1, "MQ": 2}}
    with programme.running.database.read() as session:
        rows = session.execute(select(Said.verdicts, Said.ratings)).all()
    assert {row.verdicts["VQ"] for row in rows} == {"A", "B"}
    assert all(row.ratings[row.verdicts["VQ"].lower()] == {"VQ": 5} for row in rows)


def test_undo_gives_the_last_pair_back_with_what_was_said_and_keeps_the_old_verdict(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(), raters_per_pair=1)
    rater = programme.invite()
    first = rater.next()["assignment"]
    held = rater.judge("left", comment="sharper")["assignment"]
    assert states(programme).count((PairState.DECIDED, 1)) == 1
    back = rater.http.post("/api/undo").json()["next"]["assignment"]
    draft = {"verdicts": dict.fromkeys(("VQ", "MQ", "TA"), "left"), "ratings": None, "comment": "sharper"}
    assert back == first | {"draft": draft}
    assert (said(programme), said(programme, live=False)) == (0, 1)
    assert (PairState.DECIDED, 1) not in states(programme)
    assert rater.http.post("/api/undo").json()["error"]["code"] == "nothing_to_undo"
    assert rater.judge("right")["assignment"] == held
    assert (said(programme), said(programme, live=False)) == (1, 2)


@pytest.mark.databases("sqlite")
def test_undo_is_refused_where_the_programme_does_not_allow_it(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(), allow_undo=False)
    rater = programme.invite()
    assert rater.http.post("/api/undo").status_code == 403
    rater.judge()
    assert rater.http.post("/api/undo").json()["error"]["code"] == "no_undo"
    assert said(programme) == 1


def test_a_skipped_pair_goes_to_others_and_never_comes_back(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1), raters_per_pair=1)
    rater, other = programme.invite(), programme.invite()
    body = {"assignment": rater.next()["assignment"]["id"], "reason": "the left clip does not play"}
    assert rater.http.post("/api/skip", json={**body, "reason": ""}).status_code == 422
    assert rater.http.post("/api/skip", json=body).json()["next"]["state"] == "done"
    assert rater.http.post("/api/skip", json=body).status_code == 200
    assert states(programme) == [(PairState.DISPUTED, 0)]
    assert other.next()["assignment"] is None


def test_with_more_raters_a_skip_leaves_the_pair_open_to_them(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1), raters_per_pair=2)
    skips, *rest = (programme.invite() for _ in range(3))
    skips.http.post("/api/skip", json={"assignment": skips.next()["assignment"]["id"], "reason": "unsure"})
    assert [rater.judge_all() for rater in rest] == [1, 1]
    assert states(programme) == [(PairState.DECIDED, 2)]


def test_what_an_undone_verdict_sent_again_says_counts_once(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1), raters_per_pair=2)
    rater = programme.invite()
    body = rater.body(rater.next()["assignment"], "left")
    for _ in range(2):
        assert rater.http.post("/api/judgements", json=body).status_code == 200
        rater.http.post("/api/undo")
    assert rater.http.post("/api/judgements", json=body).status_code == 200
    assert (said(programme), said(programme, live=False)) == (1, 3)
    assert states(programme) == [(PairState.OPEN, 1)]
