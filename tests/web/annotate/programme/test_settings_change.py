"""Settings may change on a programme that runs: each takes effect or is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from videoalign.data.dataset import Dataset
from videoalign.errors import ConfigError, DataError
from videoalign.web.annotate.programme.export import write_tables
from videoalign.web.annotate.programme.maintenance import Upkeep
from videoalign.web.annotate.programme.pairs import sync_pairs
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.tables import Pair, Person, Status

Open = Callable[..., Any]
Make = Callable[..., Path]


def pairs(programme: Any) -> list[Any]:
    with programme.running.database.read() as session:
        return session.execute(select(*Pair.__table__.columns).order_by(Pair.clip_a)).all()


def states(programme: Any) -> dict[str, int]:
    return dict(Counter(row.state for row in pairs(programme)))


def test_more_raters_a_pair_reopen_what_was_decided_by_fewer(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(3)
    programme = open_programme(folder, raters_per_pair=1)
    programme.invite().judge_all("tie")
    assert states(programme) == {"decided": 3}
    more = open_programme(folder, raters_per_pair=2)
    assert states(more) == {"open": 3}
    assert more.admin.http.get("/api/admin/overview").json()["wanted"] == 6
    rater = more.invite()
    assert rater.judge_all("tie") == 3
    assert states(more) == {"decided": 3}


def test_fewer_raters_a_pair_hand_what_as_many_skipped_to_adjudicators(
    open_programme: Open, make_dataset: Make
) -> None:
    folder = make_dataset(1)
    programme = open_programme(folder, raters_per_pair=2)
    rater = programme.invite()
    skip = {"assignment": rater.next()["assignment"]["id"], "reason": "broken"}
    assert rater.http.post("/api/skip", json=skip).status_code == 200
    assert states(programme) == {"open": 1}
    assert states(open_programme(folder, raters_per_pair=1)) == {"disputed": 1}


def test_what_an_adjudicator_decided_is_not_reopened(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(2)
    programme = open_programme(folder, raters_per_pair=2)
    programme.invite().judge_all("both_bad")
    programme.invite().judge_all("left")
    adjudicator = programme.invite("adjudicator")
    adjudicator.judge("tie")
    assert states(programme) == {"decided": 1, "disputed": 1}
    more = open_programme(folder, raters_per_pair=3)
    assert states(more) == {"decided": 1, "open": 1}


def test_pairs_that_the_settings_ask_for_no_more_are_retired_and_come_back(
    open_programme: Open, make_dataset: Make, tmp_path: Path
) -> None:
    folder = make_dataset(3, 3)
    dataset, names = Dataset.open(folder), {"0": "g0", "1": "g0", "2": "g2"}
    dataset.write_clips([replace(clip, generator=names[clip.clip_id[-1]]) for clip in dataset.clips()])
    programme = open_programme(folder, raters_per_pair=1)
    programme.invite().judge_all()
    assert states(programme) == {"decided": 9}
    across = open_programme(folder, raters_per_pair=2, pairs="across")
    assert states(across) == {"open": 6, "retired": 3}
    assert across.invite().judge_all() == 6
    table = tmp_path / "few.csv"
    table.write_text("clip_a,clip_b\nc000-0,c000-1\n", encoding="utf-8")
    few = open_programme(folder, raters_per_pair=2, pairs=table)
    assert states(few) == {"open": 1, "retired": 8}
    assert sync_pairs(few.running) == 1, "those that are retired are not counted"
    assert few.invite().judge_all() == 1
    assert states(open_programme(folder, raters_per_pair=2)) == {"decided": 7, "open": 2}
    write_tables(few.running)
    assert len(dataset.judgements()) == 3 * (9 + 6 + 1), "what was said of pairs that are not asked for counts"


def test_gold_that_is_withdrawn_is_judged_like_any_other_pair(
    open_programme: Open, make_dataset: Make, tmp_path: Path
) -> None:
    gold = tmp_path / "gold.csv"
    gold.write_text("clip_a,clip_b,VQ\nc000-0,c000-1,A\nc001-1,c001-0,B\n", encoding="utf-8")
    folder = make_dataset(3)
    programme = open_programme(folder, gold=gold, qualification_pairs=2, raters_per_pair=1)
    assert states(programme) == {"gold": 2, "open": 1}
    waiting = programme.invite()
    assert waiting.next()["state"] == "qualification"
    gold.write_text("clip_a,clip_b,VQ\nc000-0,c000-1,B\n", encoding="utf-8")
    changed = open_programme(folder, gold=gold, qualification_pairs=2, raters_per_pair=1)
    assert [row.answers for row in pairs(changed)] == [{"VQ": "B"}, None, None]
    without = open_programme(folder, raters_per_pair=1)
    assert states(without) == {"open": 3}
    assert [row.answers for row in pairs(without)] == [None] * 3
    with without.running.database.read() as session:
        assert {*session.scalars(select(Person.status))} == {Status.ACTIVE}
    assert without.invite().judge_all() == 3
    write_tables(without.running)
    assert {row.role for row in Dataset.open(folder).judgements()} == {"rater"}


def test_a_shorter_qualification_lets_those_begin_who_have_done_it(
    open_programme: Open, make_dataset: Make, tmp_path: Path
) -> None:
    gold = tmp_path / "gold.csv"
    gold.write_text("clip_a,clip_b,VQ\n" + "".join(f"c00{p}-0,c00{p}-1,tie\n" for p in range(4)), encoding="utf-8")
    folder = make_dataset(6)
    programme = open_programme(folder, gold=gold, qualification_pairs=4)
    good, bad = programme.invite(), programme.invite()
    for _ in range(2):
        good.judge("tie")
        bad.judge("left")
    again = open_programme(folder, gold=gold, qualification_pairs=2)
    found = {}
    for name, person in (("good", good), ("bad", bad)):
        client = again.client()
        client.cookies = person.http.cookies
        found[name] = client.get("/api/next").json()["state"]
    assert found == {"good": "rating", "bad": "paused"}


def test_a_clip_that_a_table_of_gold_names_may_leave_and_one_that_never_was_is_refused(
    open_programme: Open, make_dataset: Make, tmp_path: Path
) -> None:
    gold = tmp_path / "gold.csv"
    gold.write_text("clip_a,clip_b,VQ\nc000-0,c000-1,A\n", encoding="utf-8")
    folder = make_dataset(3)
    programme = open_programme(folder, gold=gold)
    dataset = Dataset.open(folder)
    clips = dataset.clips()
    dataset.write_clips(clips[1:])
    upkeep = Upkeep(programme.running)
    upkeep.look()
    assert states(programme) == states(open_programme(folder, gold=gold)) == {"retired": 1, "open": 2}
    dataset.write_clips(clips)
    upkeep.look()
    assert states(programme) == {"gold": 1, "open": 2}
    gold.write_text("clip_a,clip_b,VQ\nc000-0,nosuch,A\n", encoding="utf-8")
    with pytest.raises(DataError, match="clip 'nosuch' is not in the dataset"):
        open_programme(folder, gold=gold)


def test_a_running_server_takes_over_the_settings_of_the_one_that_started_last(
    open_programme: Open, make_dataset: Make
) -> None:
    folder = make_dataset(2)
    first = open_programme(folder, raters_per_pair=1, programme="Old", sync_seconds=77.0)
    rater = first.invite()
    open_programme(folder, raters_per_pair=2, programme="New", sync_seconds=5.0)
    Upkeep(first.running).look()
    assert (first.running.settings.raters_per_pair, first.running.settings.programme) == (2, "New")
    assert first.running.settings.sync_seconds == 77.0, "of this machine"
    rater.judge_all()
    assert states(first) == {"open": 2}


@pytest.mark.parametrize(
    "setting", ["raters_per_pair", "repeat_gap", "lease_seconds", "hold_seconds", "session_hours", "link_hours"]
)
def test_a_number_that_no_database_and_no_cookie_holds_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"setting '{setting}' got .*: Input should be less than"):
        AnnotateSettings.load(None, [f"{setting}=1{'0' * 20}"])
