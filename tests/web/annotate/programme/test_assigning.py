"""Who gets which pair: none is lost, none is given too often, none twice to one rater."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from videoalign.data.dataset import Dataset
from videoalign.web.annotate.programme.programme import COUNTED_SECONDS, FEW_PAIRS, Totals
from videoalign.web.annotate.storage.tables import Assignment, Kind, Pair, PairState, Said

Open = Callable[..., Any]
Make = Callable[..., Path]


def assignments(programme: Any, *kinds: str) -> list[Any]:
    columns = (Assignment.pair_id, Assignment.person_id, Assignment.kind, Assignment.swapped, Assignment.state)
    with programme.running.database.read() as session:
        rows = session.execute(select(*columns).order_by(Assignment.turn)).all()
    return [row for row in rows if not kinds or row.kind in kinds]


def pairs(programme: Any) -> list[Any]:
    with programme.running.database.read() as session:
        return list(session.execute(select(*Pair.__table__.columns).order_by(Pair.id)).all())


@pytest.mark.parametrize("selection", ["random", "coverage", "informative"])
def test_every_pair_is_judged_by_as_many_raters_as_set_and_by_each_once(
    open_programme: Open, make_dataset: Make, selection: str
) -> None:
    programme = open_programme(make_dataset(2, 3), raters_per_pair=2, selection=selection)
    raters = [programme.invite() for _ in range(3)]
    for _ in range(7):
        for rater in raters:
            if rater.next()["assignment"] is not None:
                rater.judge()
    given = Counter(row.pair_id for row in assignments(programme))
    assert given == dict.fromkeys(range(1, 7), 2)
    assert len({(row.pair_id, row.person_id) for row in assignments(programme)}) == 12
    assert {row.state for row in pairs(programme)} == {PairState.DECIDED}
    assert all(rater.next()["state"] == "done" for rater in raters)


def test_the_same_pair_comes_until_it_is_judged_and_the_one_after_it_is_known(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset())
    rater = programme.invite()
    first = rater.next()
    assert rater.next() == first
    after = rater.judge()
    assert after["assignment"]["left"]["url"] == first["upcoming"]["left"]
    assert after["progress"] == {"done": 1, "total": 4}


@pytest.mark.databases("sqlite")
def test_the_total_follows_what_others_take_after_a_while(open_programme: Open, make_dataset: Make, clock: Any) -> None:
    programme = open_programme(make_dataset(8), raters_per_pair=1)
    rater, other = programme.invite(), programme.invite()
    assert rater.next()["progress"] == {"done": 0, "total": 8}
    for _ in range(2):
        other.judge()
    assert rater.judge()["progress"] == {"done": 1, "total": 8}
    clock.time += COUNTED_SECONDS
    assert rater.judge()["progress"] == {"done": 2, "total": 4}, "the other rater has judged two and holds two"
    rater.judge()
    assert rater.judge()["progress"] == {"done": 4, "total": 4}


def test_a_lease_that_runs_out_lets_somebody_else_have_the_pair(
    open_programme: Open, make_dataset: Make, clock: Any
) -> None:
    programme = open_programme(make_dataset(1), raters_per_pair=1, lease_seconds=60)
    absent, present = programme.invite(), programme.invite()
    late = absent.next()["assignment"]
    assert present.next()["state"] == "done"
    clock.time += 61
    present.judge("left")
    answer = absent.http.post("/api/judgements", json=absent.body(late))
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "expired")
    assert [row.judged for row in pairs(programme)] == [1]


def test_a_heartbeat_keeps_the_lease_and_the_draft(open_programme: Open, make_dataset: Make, clock: Any) -> None:
    programme = open_programme(make_dataset(2), raters_per_pair=1, lease_seconds=60)
    rater, other = programme.invite(), programme.invite()
    mine = rater.next()["assignment"]
    for _ in range(3):
        clock.time += 50
        beat = rater.http.post("/api/heartbeat", json={"assignment": mine["id"], "draft": {"VQ": "left"}})
        assert beat.json() == {"lease_seconds": 60}
        assert other.next()["state"] == "done"
    assert rater.next()["assignment"]["draft"] == {"VQ": "left"}
    rater.judge()


def test_a_late_verdict_counts_where_nobody_else_took_the_pair(
    open_programme: Open, make_dataset: Make, clock: Any
) -> None:
    programme = open_programme(make_dataset(1), raters_per_pair=1, lease_seconds=60)
    rater, other = programme.invite(), programme.invite()
    late = rater.next()["assignment"]
    clock.time += 61
    other.http.get("/api/next")
    clock.time += 61
    rater.next()
    assert rater.http.post("/api/judgements", json=rater.body(late)).status_code == 200
    assert [(row.taken, row.judged) for row in pairs(programme)] == [(1, 1)]


def test_a_pair_that_expired_comes_back_to_its_rater_with_the_same_sides(
    open_programme: Open, make_dataset: Make, clock: Any
) -> None:
    programme = open_programme(make_dataset(1), lease_seconds=60)
    rater = programme.invite()
    first = rater.next()["assignment"]
    clock.time += 61
    assert rater.next()["assignment"] == first
    rater.judge()
    assert len(assignments(programme)) == 1


@pytest.mark.databases("sqlite")
def test_sides_are_drawn_for_each_rater_and_pair_and_stay_as_the_seed_says(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(12), raters_per_pair=3)
    for _ in range(3):
        programme.invite().judge_all()
    rows = assignments(programme)
    assert 10 <= sum(row.swapped for row in rows) <= 26
    by_pair = {pair: {row.swapped for row in rows if row.pair_id == pair} for pair in {row.pair_id for row in rows}}
    assert sum(len(sides) == 2 for sides in by_pair.values()) >= 5
    draws = [programme.running.draw("side", row.pair_id, row.person_id, 0) < 0.5 for row in rows]
    assert draws == [row.swapped for row in rows]


def test_verdicts_are_stored_in_the_order_of_the_clips_whatever_was_shown(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(10), raters_per_pair=1)
    sides = {}

    def first_clip(assignment: dict[str, Any], _: str) -> str:
        with programme.running.database.read() as session:
            swapped = session.get(Assignment, assignment["id"]).swapped
        sides[assignment["id"]] = swapped
        return "right" if swapped else "left"

    programme.invite().judge_all(first_clip)
    with programme.running.database.read() as session:
        said = session.scalars(select(Said.verdicts)).all()
    assert {*sides.values()} == {True, False}
    assert [*said] == [{"VQ": "A", "MQ": "A", "TA": "A"}] * 10


def test_coverage_takes_the_pairs_with_the_fewest_raters_first(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(9), selection="coverage", raters_per_pair=3)
    first, second = programme.invite(), programme.invite()
    for _ in range(3):
        first.judge()
    for _ in range(2):
        second.judge()
    assert max(row.taken for row in pairs(programme)) == 1


def test_repeats_come_back_blind_and_do_not_count_towards_the_pair(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(12), repeat_share=0.5, repeat_gap=3, raters_per_pair=1)
    assert programme.invite().judge_all() > 12
    repeats = [row.pair_id for row in assignments(programme, Kind.REPEAT)]
    assert 3 <= len(repeats) == len(set(repeats))
    assert all((row.taken, row.judged) == (1, 1) for row in pairs(programme))


def test_a_rater_who_is_paused_gives_pairs_back_and_gets_none(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(2), raters_per_pair=1)
    rater, other = programme.invite(), programme.invite()
    mine = rater.next()["assignment"]
    assert other.next()["state"] == "done"
    number = assignments(programme)[0].person_id
    paused = programme.admin.http.post(f"/api/admin/raters/{number}/pause", json={"reason": "a talk first"})
    assert paused.status_code == 200
    assert (rater.next()["state"], rater.next()["message"]) == ("paused", "a talk first")
    assert rater.http.post("/api/judgements", json=rater.body(mine)).status_code == 403
    assert other.judge_all() == 2
    programme.admin.http.post(f"/api/admin/raters/{number}/resume")
    assert rater.next()["state"] == "done"


def test_a_restart_loses_nothing_and_begins_where_everybody_was(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(5)
    programme = open_programme(folder)
    rater = programme.invite()
    rater.judge()
    before = rater.next()
    again = open_programme(folder)
    client = again.client()
    client.cookies = rater.http.cookies
    assert client.get("/api/next").json() == before
    assert again.running.key == programme.running.key


def test_fewer_raters_a_pair_settle_what_is_judged_and_more_open_what_was_full(
    open_programme: Open, make_dataset: Make
) -> None:
    folder = make_dataset(2)
    programme = open_programme(folder, raters_per_pair=2)
    programme.invite().judge_all()
    assert [(row.state, row.judged) for row in pairs(programme)] == [(PairState.OPEN, 1)] * 2
    assert [row.state for row in pairs(open_programme(folder, raters_per_pair=1))] == [PairState.DECIDED] * 2


def test_a_pair_whose_clip_is_gone_is_retired_and_taken_from_who_held_it(
    open_programme: Open, make_dataset: Make
) -> None:
    folder = make_dataset(2)
    programme = open_programme(folder)
    rater = programme.invite()
    assert len({rater.next()["assignment"]["prompt"], rater.judge()["assignment"]["prompt"]}) == 2
    dataset = Dataset.open(folder)
    dataset.write_clips(dataset.clips()[:2])
    again = open_programme(folder)
    assert sorted(row.state for row in pairs(again))[-1] == PairState.RETIRED
    assert again.invite().judge_all() == 1


@pytest.mark.databases("sqlite")
def test_a_table_of_pairs_says_what_is_judged(open_programme: Open, make_dataset: Make, tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("clip_a,clip_b,note\nc001-2,c001-0,first\nc000-0,c000-1,second\n", encoding="utf-8")
    programme = open_programme(make_dataset(3, 3), pairs=table)
    assert {(row.clip_a, row.clip_b) for row in pairs(programme)} == {("c001-0", "c001-2"), ("c000-0", "c000-1")}


def kind_of(programme: Any, assignment: dict[str, Any]) -> str:
    with programme.running.database.read() as session:
        return str(session.get(Assignment, assignment["id"]).kind)


@pytest.mark.databases("sqlite")
def test_the_progress_of_a_rater_who_works_alone_says_nothing_of_what_a_pair_is_given_for(
    open_programme: Open, make_dataset: Make, clock: Any, tmp_path: Path
) -> None:
    gold = tmp_path / "gold.csv"
    gold.write_text("clip_a,clip_b,VQ\n" + "".join(f"c{p:03}-0,c{p:03}-1,A\n" for p in range(10)), encoding="utf-8")
    programme = open_programme(
        make_dataset(50), gold=gold, gold_share=0.2, repeat_share=0.15, repeat_gap=3, min_gold=99, raters_per_pair=1
    )
    rater = programme.invite()
    totals, kinds, judged = set(), Counter[str](), 0
    for turn in range(45):
        clock.time += COUNTED_SECONDS + 1
        shown = rater.next()
        assert shown["progress"]["done"] == judged
        kinds[kind_of(programme, shown["assignment"])] += 1
        if turn % 9 == 8:
            body = {"assignment": shown["assignment"]["id"], "reason": "unsure"}
            assert rater.http.post("/api/skip", json=body).status_code == 200
        else:
            rater.judge("left")
            judged += 1
        totals.add(shown["progress"]["total"] + turn // 9)
    assert len(totals) == 1, "one less for each pair that was skipped, and no other change"
    assert min(kinds[kind] for kind in (Kind.RATING, Kind.GOLD, Kind.REPEAT)) >= 3
    while rater.next()["assignment"] is not None:
        clock.time += COUNTED_SECONDS + 1
        before = rater.next()["progress"]
        after = rater.judge("left")["progress"]
        judged += 1
        assert after["total"] - before["total"] in (0, 1) or after["done"] == after["total"]
    assert rater.next()["progress"] == {"done": judged, "total": judged}
    assert abs(judged - totals.pop()) < 8


def test_many_pairs_are_counted_once_in_a_while_for_everybody_and_few_always() -> None:
    """Counting reads every pair, and would do so at every verdict of every rater."""
    for many, wanted in ((FEW_PAIRS, 2), (FEW_PAIRS - 1, 6)):
        totals, counts = Totals(), 0

        def count(many: int = many) -> dict[str, int]:
            nonlocal counts
            counts += 1
            return {"open": many - 1, "gold": 1}

        for now in (100.0, 100.0, 105.0, 109.9, 110.0, 115.0):
            assert totals.pairs(now, count) == {"open": many - 1, "gold": 1}
        assert counts == wanted


def test_an_open_tab_without_anybody_holds_its_pairs_for_a_while_only(
    open_programme: Open, make_dataset: Make, clock: Any
) -> None:
    programme = open_programme(make_dataset(4), raters_per_pair=1, lease_seconds=600, hold_seconds=3600)
    absent, other = programme.invite(), programme.invite()
    body = {"assignment": absent.next()["assignment"]["id"], "draft": {"comment": "hm"}}
    for _ in range(5):
        clock.time += 590
        assert absent.http.post("/api/heartbeat", json=body).status_code == 200
    assert other.judge_all() == 2
    for _ in range(12):
        clock.time += 590
        absent.http.post("/api/heartbeat", json=body)
    assert other.judge_all() == 2
    lost = absent.http.post("/api/heartbeat", json=body)
    assert (lost.status_code, lost.json()["error"]["code"]) == (410, "expired")
    assert {row.state for row in pairs(programme)} == {PairState.DECIDED}


def test_a_pair_that_is_taken_back_may_be_held_anew(open_programme: Open, make_dataset: Make, clock: Any) -> None:
    programme = open_programme(make_dataset(2), raters_per_pair=1, hold_seconds=1000)
    rater = programme.invite()
    for _ in range(3):
        clock.time += 300
        rater.next()
    mine = rater.next()["assignment"]["id"]
    rater.judge("left")
    clock.time += 500
    assert rater.http.post("/api/undo").json()["next"]["assignment"]["id"] == mine
    clock.time += 500
    assert rater.http.post("/api/heartbeat", json={"assignment": mine, "draft": {}}).status_code == 200
    assert rater.next()["assignment"]["id"] == mine


def test_a_clock_that_is_set_back_gives_no_negative_time_and_no_longer_leases(
    open_programme: Open, make_dataset: Make, clock: Any
) -> None:
    programme = open_programme(make_dataset(2), raters_per_pair=1)
    rater, other = programme.invite(), programme.invite()
    first = rater.next()["assignment"]
    clock.time -= 7200
    assert rater.http.post("/api/judgements", json=rater.body(first)).status_code == 200
    with programme.running.database.read() as session:
        assert session.scalars(select(Said.seconds)).all() == [0.0]
    assert rater.next()["assignment"] is not None
    clock.time += 5
    rater.next()
    assert other.next()["state"] == "done"
    clock.time += 601
    assert other.judge_all() == 1, "the pair that was held since before waited for ten minutes, not for two hours"
