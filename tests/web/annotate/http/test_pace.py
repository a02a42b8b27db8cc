"""Programs that loop are told to wait; nobody else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from videoalign.web.annotate.http import pace
from videoalign.web.annotate.http.pace import Pace
from videoalign.web.refusals import Refusal

pytestmark = pytest.mark.databases("sqlite")

Open = Callable[..., Any]
Make = Callable[..., Path]


def test_within_any_minute_each_does_it_so_often_and_no_more() -> None:
    time = 1000.0
    limit = Pace("things", 3, lambda: time)
    for second in (0, 10, 20):
        time = 1000.0 + second
        limit.count("a")
    for second, wait in ((20, 40), (59.5, 1)):
        time = 1000.0 + second
        with pytest.raises(Refusal, match=r"more than 3 things in a minute; wait \d+ seconds") as refused:
            limit.count("a")
        assert wait <= int(refused.value.headers["retry-after"]) <= wait + 1
        limit.count(f"another at {second}")
    time = 1060.5
    limit.count("a")
    with pytest.raises(Refusal):
        limit.count("a")


def test_who_did_nothing_lately_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MANY", 10)
    time = 0.0
    limit = Pace("things", 1, lambda: time)
    for who in range(100):
        time += 10
        limit.count(who)
    assert len(limit._done) <= 10
    with pytest.raises(Refusal):
        limit.count(99)


def test_verdicts_taken_back_links_that_lead_nowhere_and_verdicts_have_a_pace(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(9), verdicts_per_minute=5, undos_per_minute=2, wrong_links_per_minute=3)
    loops, works = programme.invite(), programme.invite()
    for _ in range(2):
        loops.judge()
        assert loops.http.post("/api/undo").status_code == 200
    loops.judge()
    answer = loops.http.post("/api/undo")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_often")
    assert 0 < int(answer.headers["retry-after"]) <= 60
    loops.judge()
    skip = {"assignment": loops.next()["assignment"]["id"], "reason": "too dark"}
    assert loops.http.post("/api/skip", json=skip).status_code == 200
    body = loops.body(loops.next()["assignment"])
    assert loops.http.post("/api/judgements", json=body).status_code == 429
    works.judge()
    assert works.http.post("/api/undo").status_code == 200
    stranger = programme.client()
    statuses = [stranger.request(way, f"/join/{'x' * 43}").status_code for way in ("GET", "POST") * 2]
    assert statuses == [404, 404, 404, 429]
    assert programme.invite().http.get("/rate").status_code == 200, "a link that leads somewhere always does"
