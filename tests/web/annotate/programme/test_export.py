"""What people said arrives in the dataset's tables, whole and once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from videoalign.contracts.records import Judgement, Rating
from videoalign.data.additions import alone
from videoalign.data.dataset import Dataset
from videoalign.web.annotate.programme.export import export_programme, write_tables
from videoalign.web.annotate.programme.maintenance import Upkeep
from videoalign.web.annotate.settings import AnnotateSettings

Open = Callable[..., Any]
Make = Callable[..., Path]

FOREIGN = Judgement(
    prompt_id="p000", clip_a="c000-0", clip_b="c000-1", rater="x", dimension="VQ", label="A", source_row="a:1"
)


def test_the_tables_hold_every_verdict_once_however_often_they_are_written(
    open_programme: Open, make_dataset: Make
) -> None:
    folder = make_dataset(3)
    dataset = Dataset.open(folder)
    dataset.add(judgements=[FOREIGN], ratings=[Rating(clip_id="c000-0", rater="x", dimension="VQ", score=2.0)])
    programme = open_programme(folder, ratings=True)
    for _ in range(2):
        programme.invite().judge_all("left")
    for _ in range(3):
        assert write_tables(programme.running) == 18
    rows = dataset.judgements()
    assert rows[0] == FOREIGN
    assert len(rows) == 19 == len(set(rows))
    ours = rows[1:]
    assert {row.rater for row in ours} == {"rater-2", "rater-3"}
    assert all(row.label == row.left for row in ours), "everybody chose the clip on the left"
    assert {row.left for row in ours} == {"A", "B"}
    assert Counter((row.prompt_id, row.dimension) for row in ours) == dict.fromkeys(
        [(f"p00{p}", name) for p in range(3) for name in ("VQ", "MQ", "TA")], 2
    )
    assert len(dataset.ratings()) == 1
    assert {one["name"] for one in programme.admin.http.get("/api/admin/raters").json()["raters"]} == {"Rater"}
    assert not any("Rater" in str(row) for row in rows), "names stay in the database"


def test_without_a_server_the_same_tables_are_written_byte_for_byte_and_nothing_changes_in_the_database(
    open_programme: Open, make_dataset: Make, db: str
) -> None:
    folder = make_dataset(3)
    Dataset.open(folder).add(judgements=[FOREIGN])
    programme = open_programme(folder, ratings=True, raters_per_pair=1)
    rater = programme.invite()
    ratings = {side: {"VQ": 4} for side in ("left", "right")}
    rater.judge("left", comment="sharper", ratings=ratings)
    rater.http.post("/api/undo")
    rater.judge_all("right")
    assert write_tables(programme.running) == 9
    annotations = folder.with_name("prefs.annotations") / "annotations.parquet"
    tables = [*sorted(folder.glob("*.parquet")), annotations]
    by_server = {path: path.read_bytes() for path in tables}
    log = programme.admin.http.get("/admin/audit").text
    annotations.unlink()
    for _ in range(2):
        assert export_programme(folder, AnnotateSettings(db=db)) == 9
        assert {path: path.read_bytes() for path in [*sorted(folder.glob("*.parquet")), annotations]} == by_server
    assert Dataset.open(folder).judgements()[0] == FOREIGN
    assert programme.admin.http.get("/admin/audit").text == log


def test_a_writer_that_had_to_wait_writes_what_was_said_meanwhile(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(3)
    programme = open_programme(folder, raters_per_pair=1)
    rater = programme.invite()
    rater.judge("left")
    with alone(folder):
        late = threading.Thread(target=write_tables, args=(programme.running,))
        late.start()
        late.join(0.5)
        assert late.is_alive() and Dataset.open(folder).judgements() == []
        rater.judge("left")
    late.join(30)
    assert len(Dataset.open(folder).judgements()) == 6


def test_a_verdict_that_is_taken_back_leaves_the_tables_but_not_the_log(
    open_programme: Open, make_dataset: Make
) -> None:
    folder = make_dataset(2)
    programme = open_programme(folder)
    rater = programme.invite()
    rater.judge("left", comment="sharper")
    write_tables(programme.running)
    rater.http.post("/api/undo")
    rater.judge("tie")
    write_tables(programme.running)
    assert [row.label for row in Dataset.open(folder).judgements()] == ["tie"] * 3
    log = pq.read_table(folder.with_name("prefs.annotations") / "annotations.parquet").to_pylist()
    assert [row["comment"] for row in log] == ["sharper", ""]
    assert [row["withdrawn_at"] is None for row in log] == [False, True]
    assert {row["left"] for row in log} <= {"A", "B"}


@pytest.mark.databases("sqlite")
def test_comments_and_times_stand_in_the_dataset_only_where_asked(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(2)
    inside, beside = folder / "annotations.parquet", folder.with_name("prefs.annotations") / "annotations.parquet"
    programme = open_programme(folder)
    programme.invite().judge("left", comment="sharper")
    write_tables(programme.running)
    assert (inside.exists(), beside.exists()) == (False, True)
    assert beside.parent.stat().st_mode & 0o077 == 0, "for the owner of the data alone"
    assert not any(b"sharper" in file.read_bytes() for file in folder.rglob("*") if file.is_file())
    asked = open_programme(folder, comments_in_dataset=True)
    write_tables(asked.running)
    assert pq.read_table(inside)["comment"].to_pylist() == ["sharper"]
    write_tables(programme.running)
    assert not inside.exists(), "what stands beside need not stay"
    pq.write_table(pq.read_table(beside).set_column(0, "assignment", [["another programme's"]]), inside)
    write_tables(programme.running)
    assert inside.exists(), "what is nowhere else stays"


def test_gold_repeats_and_adjudicators_are_told_apart_by_their_role(
    open_programme: Open, make_dataset: Make, tmp_path: Path
) -> None:
    gold = tmp_path / "gold.csv"
    gold.write_text("clip_a,clip_b,VQ\nc000-0,c000-1,A\n", encoding="utf-8")
    folder = make_dataset(8)
    programme = open_programme(
        folder, gold=gold, gold_share=0.3, repeat_share=0.5, repeat_gap=2, raters_per_pair=2, min_gold=9
    )
    programme.invite().judge_all("left")
    programme.invite().judge_all("tie")
    adjudicator = programme.invite("adjudicator")
    adjudicator.judge("right")
    skip = {"assignment": adjudicator.next()["assignment"]["id"], "reason": "broken"}
    adjudicator.http.post("/api/skip", json=skip)
    write_tables(programme.running)
    rows = Dataset.open(folder).judgements()
    roles = {role: {row.rater.partition("-")[0] for row in rows if row.role == role} for role in {r.role for r in rows}}
    assert roles == {
        "rater": {"rater"},
        "repeat": {"rater"},
        "hidden_gold": {"rater"},
        "adjudicator": {"adjudicator"},
        "gold": {"gold"},
    }
    assert [(row.clip_a, row.label) for row in rows if row.role == "gold"] == [("c000-0", "A")]
    invalid = [row for row in rows if row.label == "invalid"]
    assert len(invalid) == 3
    assert {row.role for row in invalid} == {"adjudicator"}
    votes = Counter((row.clip_a, row.rater, row.dimension) for row in rows if row.role == "rater")
    assert set(votes.values()) == {1}


def test_the_server_keeps_the_tables_up_to_date_by_itself(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(3, 3)
    programme = open_programme(folder, sync_seconds=0.05, selection="informative")
    upkeep = Upkeep(programme.running)
    upkeep.start()
    rater = programme.invite()
    for _ in range(4):
        rater.judge("left")
    upkeep.stop()
    rows = Dataset.open(folder).judgements()
    assert len(rows) == 12
    written = (folder / "judgements.parquet").stat().st_mtime_ns
    upkeep.once()
    assert (folder / "judgements.parquet").stat().st_mtime_ns == written
    wanted = programme.running.matchups.next(9)
    assert set(wanted) == {"g0 | g1", "g0 | g2", "g1 | g2"}


@pytest.mark.databases("sqlite")
def test_the_most_telling_matchup_is_that_of_generators_that_were_compared_least(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(6, 3), selection="informative", raters_per_pair=1)
    programme.running.matchups.set(["g0 | g1"])
    rater = programme.invite()
    for _ in range(5):
        rater.judge("tie")
    upkeep = Upkeep(programme.running)
    upkeep.once()
    assert "g0 | g1" not in programme.running.matchups.next(1)


@pytest.mark.databases("sqlite")
def test_the_pages_of_admins_show_agreement_raters_and_a_leaderboard(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(4))
    for _ in range(3):
        programme.invite().judge_all("tie")
    admin = programme.admin.http
    agreement = admin.get("/api/admin/agreement").json()
    assert set(agreement) == {"VQ", "MQ", "TA"}
    assert agreement["VQ"]["raw"]["with_ties"] == 1.0
    assert agreement["VQ"]["shared_pairs"] == 4
    overview = admin.get("/api/admin/overview").json()
    assert (overview["judged"], overview["wanted"], overview["pairs"]["decided"]) == (12, 12, 4)
    board = admin.get("/api/admin/leaderboard").json()["overall"]
    assert [row["strength"]["value"] for row in board["models"]] == [0.0, 0.0]
    raters = admin.get("/api/admin/raters").json()["raters"]
    assert [row["quality"]["others"]["value"] for row in raters] == [1.0] * 3
    assert "12 of 12 judgements" in admin.get("/admin").text
    assert "100%" in admin.get("/admin/agreement").text
    for path in ("/admin/raters", "/admin/leaderboard", "/admin/pairs?state=decided", "/admin/audit"):
        assert admin.get(path).status_code == 200
    made = admin.post("/admin/raters/2/link", data={"csrf_token": admin.headers["x-csrf-token"]})
    assert "http://rate.test/join/" in made.text
    for action, state in (("pause", "paused"), ("resume", "active")):
        form = {"csrf_token": admin.headers["x-csrf-token"], "reason": "rest"}
        assert admin.post(f"/admin/raters/2/{action}", data=form).url.path == "/admin/raters"
        assert admin.get("/api/admin/raters").json()["raters"][0]["status"] == state
