"""The dataset and the settings may change under a programme: nothing breaks, nothing is lost, everything comes back."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from videoalign.cli.main import main
from videoalign.contracts.records import Clip, Prompt
from videoalign.data.clip_content import input_keys
from videoalign.data.dataset import Dataset
from videoalign.data.formats import EXPORTS, export_data
from videoalign.errors import DataError
from videoalign.web.annotate.http.app import create_app
from videoalign.web.annotate.programme.export import write_tables
from videoalign.web.annotate.programme.maintenance import Upkeep
from videoalign.web.annotate.programme.media_index import Library
from videoalign.web.annotate.programme.pairs import sync_pairs
from videoalign.web.annotate.programme.programme import open_programme as open_at
from videoalign.web.annotate.storage.database import Database
from videoalign.web.annotate.storage.tables import Assignment, Pair, PairState, Said

Open = Callable[..., Any]
Make = Callable[..., Path]
PAGES = ("/admin", "/admin/raters", "/admin/agreement", "/admin/leaderboard", "/admin/pairs", "/admin/pairs?state=gold",
         "/admin/pairs/1", "/admin/pairs/2", "/admin/audit", "/adjudicate", "/guideline", "/api/admin/overview",
         "/api/admin/agreement", "/api/admin/leaderboard", "/api/admin/raters")  # fmt: skip


def pairs(programme: Any) -> list[Any]:
    with programme.running.database.read() as session:
        return session.execute(select(*Pair.__table__.columns).order_by(Pair.clip_a)).all()


def states(programme: Any) -> dict[str, int]:
    return dict(Counter(row.state for row in pairs(programme)))


def add_clip(folder: Path, like: str, clip_id: str, generator: str) -> None:
    dataset = Dataset.open(folder)
    clips = dataset.clips()
    (model,) = (clip for clip in clips if clip.clip_id == like)
    dataset.write_clips([*clips, replace(model, clip_id=clip_id, generator=generator)])


def upkeep_of(programme: Any) -> Upkeep:
    """One that writes the tables in this process, as at the end of a server."""
    upkeep = Upkeep(programme.running)
    upkeep._end.set()
    return upkeep


def require_all_pages(programme: Any) -> None:
    for page in PAGES:
        answer = programme.admin.http.get(page)
        assert answer.status_code == 200, (page, answer.text)


def test_every_kind_of_pair_comes_back_as_it_stood_when_its_clips_do(
    open_programme: Open, make_dataset: Make, tmp_path: Path
) -> None:
    gold = tmp_path / "gold.csv"
    gold.write_text("clip_a,clip_b,VQ\nc000-0,c000-1,A\n", encoding="utf-8")
    folder = make_dataset(7)
    settings = {"raters_per_pair": 2, "gold": gold, "selection": "coverage"}
    programme = open_programme(folder, **settings)
    one, two = programme.invite(), programme.invite()
    one.judge_all("left")
    for _ in range(5):
        two.judge("left" if _ < 2 else "tie")
    adjudicator = programme.invite("adjudicator")
    skip = {"assignment": adjudicator.next()["assignment"]["id"], "reason": "broken"}
    adjudicator.http.post("/api/skip", json=skip)
    adjudicator.judge("right")
    before = {row.id: (row.state, row.judged, row.decision, row.answers) for row in pairs(programme)}
    assert {state for state, *_ in before.values()} >= {"gold", "decided", "disputed", "excluded"}
    assert len({state for state, *_ in before.values()} & {"open", "full"}) == 1
    said = Dataset.open(folder)
    write_tables(programme.running)
    rows = said.judgements()
    clips = said.clips()
    said.write_clips([clip for clip in clips if clip.clip_id != "c003-0"][:-2])
    partly = open_programme(folder, **settings)
    assert states(partly)["retired"] == 2
    require_all_pages(partly)
    said.write_clips(clips[2:4])
    gone = open_programme(folder, **settings)
    assert states(gone)["retired"] == 6
    write_tables(gone.running)
    assert 0 < len(said.judgements()) < len(rows)
    said.write_clips(clips)
    again = open_programme(folder, **settings)
    after = {row.id: (row.state, row.judged, row.decision, row.answers) for row in pairs(again)}
    assert {key: value if value[0] != "full" else ("open", *value[1:]) for key, value in before.items()} == {
        key: value if value[0] != "full" else ("open", *value[1:]) for key, value in after.items()
    }
    write_tables(again.running)
    assert said.judgements() == rows
    with again.running.database.read() as session:
        for row in session.execute(select(Pair.id, Pair.taken)):
            held = select(Assignment.state).where(Assignment.pair_id == row.id, Assignment.kind == "rating")
            assert row.taken == sum(state in ("leased", "submitted") for state in session.scalars(held))


def test_a_dataset_without_clips_is_refused_and_nothing_is_retired(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(3)
    programme = open_programme(folder)
    programme.invite().judge_all()
    before, clips = pairs(programme), Dataset.open(folder).clips()
    Dataset.open(folder).write_clips([])
    with pytest.raises(DataError, match="no pair to judge"):
        open_programme(folder)
    assert pairs(programme) == before
    Dataset.open(folder).write_clips(clips)
    assert states(open_programme(folder)) == states(programme)


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("what", "running"),
    [("prompt", True), ("prompt and clips", False), ("one clip", False), ("all clips of a generator", True)],
)
def test_what_is_taken_out_of_the_dataset_breaks_no_page_no_export_and_no_upkeep(
    open_programme: Open, make_dataset: Make, what: str, running: bool, tmp_path: Path, caplog: Any, capsys: Any
) -> None:
    folder = make_dataset(4, 3)
    settings = {"raters_per_pair": 1, "selection": "informative", "sync_seconds": 0.05, "ratings": True}
    programme = open_programme(folder, **settings)
    rater = programme.invite()
    ratings = {side: {"VQ": 4} for side in ("left", "right")}
    for _ in range(11):
        rater.judge("left", ratings=ratings)
    write_tables(programme.running)
    dataset = Dataset.open(folder)
    prompts, clips, rows = dataset.prompts(), dataset.clips(), dataset.judgements()
    if what.startswith("prompt"):
        dataset.write_prompts(prompts[1:])
    if what != "prompt":
        gone = {"prompt and clips": "c000-", "one clip": "c000-1", "all clips of a generator": "-1"}[what]
        dataset.write_clips([clip for clip in clips if gone not in clip.clip_id])
    after = programme if running else open_programme(folder, **settings)
    upkeep = upkeep_of(after)
    with caplog.at_level(logging.ERROR):
        upkeep.once()
    assert caplog.records == []
    require_all_pages(after)
    assert after.admin.http.get("/api/admin/overview").json()["left_out"] > 0
    known = Dataset.open(folder).judgements()
    assert 0 < len(known) < len(rows)
    assert {*known} < {*rows}
    dataset.write_judgements(rows)  # as an import would have left them
    for layout in EXPORTS:
        assert export_data(layout, dataset, tmp_path / f"{layout}.json") > 0
    assert main(["annotate", "leaderboard", str(folder)]) == 0
    assert "are left out" in capsys.readouterr().err
    assert main(["data", "card", str(folder)]) == 0, "which measures the agreement"
    dataset.write_prompts(prompts)
    dataset.write_clips(clips)
    upkeep.once()
    assert dataset.judgements() == rows
    assert after.admin.http.get("/api/admin/overview").json()["left_out"] == 0
    assert states(after).get("retired", 0) == 0


def test_a_pair_that_is_taken_out_is_taken_from_who_holds_it_and_its_verdict_cannot_be_taken_back(
    open_programme: Open, make_dataset: Make
) -> None:
    folder = make_dataset(2, files=True)
    programme = open_programme(folder)
    upkeep = Upkeep(programme.running)
    rater = programme.invite()
    first = rater.next()["assignment"]
    rater.judge()
    second = rater.next()["assignment"]
    dataset = Dataset.open(folder)
    clips = dataset.clips()
    dataset.write_clips([clip for clip in clips if clip.prompt_id == "p" + first["prompt"].split()[1].zfill(3)])
    assert rater.http.get(f"/media/{second['id']}/left").status_code == 200
    upkeep.look()
    refused = rater.http.post("/api/judgements", json=rater.body(second))
    assert (refused.status_code, refused.json()["error"]["code"]) == (410, "expired")
    assert rater.http.get(f"/media/{second['id']}/left").status_code == 404
    assert rater.next()["state"] == "done"
    dataset.write_clips([clip for clip in clips if clip.prompt_id != "p" + first["prompt"].split()[1].zfill(3)])
    upkeep.look()
    undone = rater.http.post("/api/undo")
    assert (undone.status_code, undone.json()["error"]["code"]) == (409, "final")
    assert rater.next()["assignment"]["id"] == second["id"], "what came back is taken up again"
    dataset.write_clips(clips)
    upkeep.look()
    assert rater.http.post("/api/undo").status_code == 200
    with programme.running.database.read() as session:
        assert len(session.scalars(select(Said)).all()) == 1


@pytest.mark.databases("sqlite")
def test_upkeep_survives_whatever_happens_says_it_and_goes_on(
    open_programme: Open, make_dataset: Make, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    folder = make_dataset(3)
    programme = open_programme(folder, sync_seconds=0.01)
    rater = programme.invite()
    rater.judge()
    upkeep = upkeep_of(programme)
    with monkeypatch.context() as broken, caplog.at_level(logging.ERROR):
        broken.setattr("videoalign.web.annotate.programme.export.write_tables", lambda _: 1 / 0)
        upkeep.once()
        broken.setattr("videoalign.web.annotate.programme.following.stamp", lambda _: 1 / 0)
        upkeep.once()
    assert "ZeroDivisionError" in caplog.text and len(caplog.records) == 3
    upkeep.once()
    assert len(Dataset.open(folder).judgements()) == 3


@pytest.mark.databases("sqlite")
def test_a_dataset_that_cannot_be_read_leaves_a_running_programme_as_it_was_and_is_told_once(
    open_programme: Open, make_dataset: Make, caplog: Any
) -> None:
    folder = make_dataset(3)
    programme = open_programme(folder)
    upkeep, rater = Upkeep(programme.running), programme.invite()
    table = (folder / "clips.parquet").read_bytes()
    (folder / "clips.parquet").write_bytes(b"half a table")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            upkeep.look()
    assert len(caplog.records) == 1 and "clips.parquet" in caplog.text
    rater.judge()
    (folder / "clips.parquet").write_bytes(table)
    upkeep.look()
    assert rater.judge_all() == 2
    assert states(programme) == {"open": 3}


@pytest.mark.databases("sqlite")
def test_another_dataset_in_the_place_of_the_one_that_is_served_is_not_taken_over(
    open_programme: Open, make_dataset: Make, caplog: Any
) -> None:
    folder = make_dataset(3)
    programme = open_programme(folder)
    folder.rename(folder.with_name("old"))
    make_dataset(2)
    with caplog.at_level(logging.ERROR):
        Upkeep(programme.running).look()
    assert "belongs to another dataset" in caplog.text
    assert states(programme) == {"open": 3}


def second_server(db: str, folder: Path, first: Any) -> tuple[Any, Database]:
    store = Database(db)
    running = open_at(store, Library(folder), first.running.settings, first.running.now)
    sync_pairs(running)
    return running, store


@pytest.mark.parametrize("looks", [True, False])
def test_a_second_server_that_knows_more_clips_does_not_block_the_raters_of_the_first(
    open_programme: Open, make_dataset: Make, db: str, looks: bool
) -> None:
    folder = make_dataset(12)
    first = open_programme(folder, raters_per_pair=1)
    upkeep = Upkeep(first.running)
    mine, other = first.invite(), first.invite()
    mine.judge()
    for p in range(12):
        add_clip(folder, f"c{p:03}-0", f"c{p:03}-2", "g2")
    running, store = second_server(db, folder, first)
    http = TestClient(create_app(running), base_url="http://rate.test", raise_server_exceptions=False)
    http.cookies, http.headers["x-csrf-token"] = other.http.cookies, other.http.headers["x-csrf-token"]
    there = type(mine).__new__(type(mine))
    there.http = http
    if looks:
        upkeep.look()
    judged = 0
    for _ in range(40):
        for person in (mine, there):
            if person.next()["assignment"] is not None:
                person.judge()
                judged += 1
    if not looks:
        upkeep.look()
        judged += mine.judge_all()
    assert judged == 35
    assert states(first) == {"decided": 36}
    store.close()


def test_new_clips_of_a_running_programme_are_judged(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(2)
    programme = open_programme(folder, raters_per_pair=1)
    rater = programme.invite()
    assert rater.judge_all() == 2
    add_clip(folder, "c000-0", "c000-2", "g2")
    dataset = Dataset.open(folder)
    shape = {"fps": 8.0, "num_frames": 5, "height": 16, "width": 16}
    new = [Clip(clip_id=f"n{k}", prompt_id="new", path=f"clips/n{k}.mp4", generator=f"g{k}", **shape) for k in (0, 1)]
    dataset.add(prompts=[Prompt(prompt_id="new", text="a new prompt")], clips=new)
    Upkeep(programme.running).look()
    assert rater.judge_all() == 3
    assert states(programme) == {"decided": 5}
    assert {row.matchup for row in pairs(programme)} == {"g0 | g1", "g0 | g2", "g1 | g2"}
    assert PairState.RETIRED not in states(programme)


def test_tables_of_pairs_and_gold_are_followed_as_they_grow(
    open_programme: Open, make_dataset: Make, tmp_path: Path, caplog: Any
) -> None:
    folder = make_dataset(5)
    asked, known = tmp_path / "pairs.csv", tmp_path / "gold.csv"
    asked.write_text("clip_a,clip_b\nc000-0,c000-1\nc001-1,c001-0\n", encoding="utf-8")
    known.write_text("clip_a,clip_b,VQ\nc004-0,c004-1,A\n", encoding="utf-8")
    programme = open_programme(folder, pairs=asked, gold=known, raters_per_pair=1)
    upkeep, rater = Upkeep(programme.running), programme.invite()
    upkeep.look()
    upkeep.look()
    assert rater.judge_all("left") == 2
    before, said = pairs(programme), export_of(programme)
    with asked.open("a", encoding="utf-8") as table:
        table.write("c002-0,c002-1\n")
    upkeep.look()
    assert rater.next()["assignment"] is None, "somebody may still be writing it"
    upkeep.look()
    assert states(programme) == {"decided": 2, "open": 1, "gold": 1}
    assert rater.judge_all("left") == 1
    assert [row for row in pairs(programme) if row.clip_a < "c002"] == before[:2], "with their numbers"
    assert export_of(programme)[: len(said) - 1] == said[:-1], "the last one is the known answer"
    known.write_text("clip_a,clip_b,VQ\nc004-0,c004-1,A\nc003-0,c003-1,B\n", encoding="utf-8")
    with asked.open("a", encoding="utf-8") as table, caplog.at_level(logging.ERROR):
        table.write("c002-0,nobody\n")
        table.flush()
        for _ in range(4):
            upkeep.look()
        assert len(caplog.records) == 1 and "pairs.csv:5: clip 'nobody' is not in the dataset" in caplog.text
        assert states(programme) == {"decided": 3, "gold": 1}, "what was there before stays"
    asked.write_text("clip_a,clip_b\nc000-0,c000-1\nc002-0,c002-1\n", encoding="utf-8")
    for _ in range(2):
        upkeep.look()
    assert states(programme) == {"decided": 2, "retired": 1, "gold": 2}
    assert len(export_of(programme)) == len(said) + 3 + 1, "what was said of a pair that is not asked any more counts"


def export_of(programme: Any) -> list[Any]:
    """The programme's rows of the dataset, written now."""
    write_tables(programme.running)
    return Dataset.open(programme.running.library.dataset.path).judgements()


def test_a_verdict_tells_the_clips_that_were_sent_and_not_those_that_lie_there_later(
    open_programme: Open, make_dataset: Make, make_clip: Callable[..., Path]
) -> None:
    folder = make_dataset(2, files=True)
    programme, dataset = open_programme(folder, raters_per_pair=1), Dataset.open(folder)
    rater = programme.invite()
    clips = dataset.clips()
    keys = dict(zip((clip.clip_id for clip in clips), input_keys(dataset, clips), strict=True))
    shown = rater.next()["assignment"]
    for side in ("left", "right"):
        assert rater.http.get(shown[side]["url"]).status_code == 200
    replaced = f"c{int(shown['prompt'].split()[1]):03}-0"
    make_clip(folder / f"clips/{replaced}.mp4", tint=99)
    assert rater.judge_all("left") == 2
    rows = export_of(programme)
    assert len(rows) == 6
    assert all((row.content_a, row.content_b) == (keys[row.clip_a], keys[row.clip_b]) for row in rows)
    with pytest.raises(DataError, match=f"stale for 1 clips.*{replaced}"):
        dataset.judged_pairs()
