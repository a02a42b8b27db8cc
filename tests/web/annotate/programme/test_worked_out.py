"""Numbers that take long are worked out now and then, elsewhere, and pages say how old they are."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from videoalign.web.annotate.programme import statistics, worked_out
from videoalign.web.refusals import Refusal

Open = Callable[..., Any]
Make = Callable[..., Path]


def wait_for(holds: Callable[[], bool]) -> None:
    """Until a thread of the server has done its work."""
    for thread in threading.enumerate():
        if thread.name in worked_out.TABLES:
            thread.join(60)
    assert holds()


def rounded(values: dict[str, Any]) -> Any:
    """Another process may differ in the last bits."""
    return json.loads(json.dumps(values), parse_float=lambda text: round(float(text), 9))


def test_with_few_verdicts_the_numbers_are_always_the_newest(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(3), raters_per_pair=1)
    rater, numbers = programme.invite(), programme.admin.http.app.state.figures
    for votes in range(3):
        assert numbers("agreement").values["VQ"]["votes"] == votes
        assert not numbers("agreement").is_old
        rater.judge("left")


@pytest.mark.databases("sqlite")
def test_with_many_a_process_of_its_own_works_the_same_numbers_out_and_meanwhile_the_page_shows_the_last(
    open_programme: Open, make_dataset: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worked_out, "MANY", 1)
    programme = open_programme(make_dataset(4), raters_per_pair=1)
    rater, admin, numbers = programme.invite(), programme.admin.http, programme.admin.http.app.state.figures
    rater.judge("left")
    rater.judge("left")
    here: list[str] = []
    for name in worked_out.TABLES:
        table = numbers(name)
        assert rounded(table.values) == rounded(getattr(statistics, name)(programme.running))
        monkeypatch.setitem(worked_out.TABLES, name, lambda _, name=name: here.append(name) or {})
    assert numbers("agreement").values["VQ"]["votes"] == 2
    assert "As of" not in admin.get("/admin/agreement").text
    rater.judge("left")
    old = numbers("agreement")
    assert (old.is_old, old.values["VQ"]["votes"]) == (True, 2)
    for page in ("", "/agreement", "/leaderboard", "/raters"):
        assert "As of 2027-01-15 08:00 UTC" in admin.get(f"/admin{page}").text, page
    assert not here, "nothing is worked out in this process"


@pytest.mark.databases("postgresql")
def test_that_process_reads_a_database_of_postgresql_as_well(
    open_programme: Open, make_dataset: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worked_out, "MANY", 1)
    programme = open_programme(make_dataset(2), raters_per_pair=1)
    programme.invite().judge_all("left")
    values = programme.admin.http.app.state.figures("agreement").values
    assert rounded(values) == rounded(statistics.agreement(programme.running)) and values["VQ"]["votes"] == 2


@pytest.mark.databases("sqlite")
def test_a_table_is_renewed_behind_the_page_when_it_is_due_and_a_failure_leaves_it_as_it_was(
    open_programme: Open, make_dataset: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worked_out, "MANY", 1)
    monkeypatch.setattr(worked_out, "LARGEST_SHARE", 1e9)
    monkeypatch.setattr(worked_out, "_aside", lambda running, name: worked_out.TABLES[name](running))
    programme = open_programme(make_dataset(5), raters_per_pair=1)
    rater, numbers = programme.invite(), programme.admin.http.app.state.figures
    rater.judge("left")
    rater.judge("left")
    assert numbers("agreement").values["VQ"]["votes"] == 2
    rater.judge("left")
    assert numbers("agreement").is_old
    wait_for(lambda: numbers("agreement").values["VQ"]["votes"] == 3)
    assert not numbers("agreement").is_old
    monkeypatch.setitem(worked_out.TABLES, "agreement", lambda _: 1 / 0)
    rater.judge("left")
    for _ in range(2):
        assert numbers("agreement").values["VQ"]["votes"] == 3
        wait_for(lambda: True)


@pytest.mark.databases("sqlite")
def test_whoever_asks_while_numbers_are_worked_out_for_the_first_time_is_told_to_come_back(
    open_programme: Open, make_dataset: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worked_out, "PATIENCE", 0.01)
    programme = open_programme(make_dataset(1))
    numbers = programme.admin.http.app.state.figures
    with numbers._locks["quality"], pytest.raises(Refusal, match="being worked out"):
        numbers("quality")
    with numbers._locks["quality"]:
        page = programme.admin.http.get("/admin/raters")
    assert (page.status_code, page.headers["retry-after"]) == (503, "5")
    assert programme.admin.http.get("/admin/raters").status_code == 200
