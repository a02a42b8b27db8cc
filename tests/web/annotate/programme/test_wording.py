"""What raters are asked has versions; nothing that was said under one is lost or pooled unseen with another."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from videoalign.cli.main import main
from videoalign.data.dataset import Dataset
from videoalign.data.formats import export_data, import_data
from videoalign.errors import ConfigError
from videoalign.web.annotate.programme.export import write_tables
from videoalign.web.annotate.programme.maintenance import Upkeep
from videoalign.web.annotate.programme.wording import read_wording
from videoalign.web.annotate.settings import AnnotateSettings
from videoalign.web.annotate.storage.tables import Audit, Guideline, Pair, Said

Open = Callable[..., Any]
Make = Callable[..., Path]


def edit(folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Changes the dimensions in ``dataset.json``."""
    file = folder / "dataset.json"
    info = json.loads(file.read_text())
    change(info["dimensions"])
    file.write_text(json.dumps(info))


def rename_vq(dimensions: list[dict[str, Any]]) -> None:
    dimensions[0]["name"] = "Look"


def turn_mq(dimensions: list[dict[str, Any]]) -> None:
    dimensions[1]["guideline"] = "Motion: the opposite; less is better."


def add_style(dimensions: list[dict[str, Any]]) -> None:
    dimensions.append({"name": "Style", "guideline": "Style: how consistent it is."})


def drop_vq(dimensions: list[dict[str, Any]]) -> None:
    del dimensions[0]


def counted(programme: Any) -> Counter[tuple[str, int]]:
    write_tables(programme.running)
    rows = Dataset.open(programme.running.library.dataset.path).judgements()
    return Counter((row.dimension, row.guideline) for row in rows)


def log(programme: Any) -> list[tuple[str, dict[str, Any]]]:
    with programme.running.database.read() as session:
        rows = session.scalars(select(Audit).where(Audit.action == "guideline.changed").order_by(Audit.id))
        return [(row.subject, row.detail) for row in rows]


def test_a_changed_guideline_is_a_new_version_of_its_dimension_alone(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(4)
    programme = open_programme(folder, raters_per_pair=1)
    rater = programme.invite()
    rater.judge()
    edit(folder, turn_mq)
    again = open_programme(folder, raters_per_pair=1)
    assert log(again) == [("2", {"changed": ["MQ"]})]
    again.invite().judge()
    assert counted(again) == {("VQ", 1): 2, ("MQ", 1): 1, ("MQ", 2): 1, ("TA", 1): 2}
    open_programme(folder, raters_per_pair=1)
    assert len(log(again)) == 1, "an unchanged one is none"
    with again.running.database.read() as session:
        assert session.scalars(select(Said.guideline).order_by(Said.id)).all() == [1, 2]
        texts = [row.dimensions["MQ"]["guideline"] for row in session.scalars(select(Guideline))]
    assert texts[1].startswith("Motion: the opposite") and texts[0] != texts[1]
    log_file = folder.with_name("prefs.annotations") / "annotations.parquet"
    assert pq.read_table(log_file)["guideline"].to_pylist() == [1, 2]


@pytest.mark.databases("sqlite")
def test_a_rater_who_was_shown_the_old_guideline_judged_by_it(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(4)
    programme = open_programme(folder, raters_per_pair=1)
    rater = programme.invite()
    seen = rater.next()["assignment"]
    edit(folder, turn_mq)
    Upkeep(programme.running).look()
    answer = rater.http.post("/api/judgements", json=rater.body(seen)).json()
    new = next(one for one in answer["next"]["assignment"]["dimensions"] if one["name"] == "MQ")
    assert "the opposite" in new["guideline"], "the next pair comes with the new one"
    rater.judge()
    assert counted(programme) == {("VQ", 1): 2, ("MQ", 1): 1, ("MQ", 2): 1, ("TA", 1): 2}


def test_versions_are_told_where_they_are_counted_together(
    open_programme: Open, make_dataset: Make, db: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_dataset(2)
    open_programme(folder).invite().judge_all()
    edit(folder, turn_mq)
    programme = open_programme(folder)
    programme.invite().judge_all()
    write_tables(programme.running)
    found = programme.admin.http.get("/api/admin/agreement").json()
    assert {name: one["guidelines"] for name, one in found.items()} == {
        "VQ": {"1": 4}, "MQ": {"1": 2, "2": 2}, "TA": {"1": 4},
    }  # fmt: skip
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", programme.admin.http.get("/admin/agreement").text))
    assert page.count("Its guideline changed") == 1 and "2 under version 1, 2 under version 2" in page
    assert main(["annotate", "agreement", str(folder)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "MQ: verdicts under more than one version of its guideline are counted together: 2 under version 1, 2" in out
    assert main(["annotate", "agreement", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["guidelines"]["MQ"] == {"1": 2, "2": 2}
    assert main(["annotate", "export", str(folder), "--db", db]) == 0
    assert "given under 2 versions of the guideline" in capsys.readouterr().out


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (rename_vq, {}, r"people judged 'VQ'.* say what became of it: rename\.VQ=Look, or rename\.VQ= where"),
        (drop_vq, {}, r"people judged 'VQ'.*put it back"),
        (rename_vq, {"VQ": "Lok"}, r"rename\.VQ: 'Lok' is not a new dimension of the dataset\. New there: Look\."),
        (rename_vq, {"VQ": "MQ"}, r"rename\.VQ: 'MQ' is not a new dimension"),
        (rename_vq, {"VQQ": "Look"}, r"rename\.VQQ: this programme never asked about 'VQQ'\. Did you mean 'VQ'\?"),
        (add_style, {"VQ": "Style"}, r"rename\.VQ: dataset\.json still has a dimension 'VQ'"),
        (rename_vq, {"VQ": "Look", "MQ": "Look"}, r"rename\.MQ"),
    ],
)
def test_a_dimension_that_goes_away_is_refused_unless_it_is_said_what_became_of_it(
    open_programme: Open, make_dataset: Make, change: Any, settings: Any, message: str
) -> None:
    folder = make_dataset(2)
    programme = open_programme(folder)
    programme.invite().judge()
    before = counted(programme)
    edit(folder, change)
    with pytest.raises(ConfigError, match=message) as refused:
        open_programme(folder, rename=settings)
    assert "\n" not in str(refused.value)
    assert log(programme) == []
    assert counted(programme) == before, "what is served goes on"


def test_a_renamed_dimension_keeps_all_that_was_said_of_it(
    open_programme: Open, make_dataset: Make, tmp_path: Path
) -> None:
    gold = tmp_path / "gold.csv"
    gold.write_text("clip_a,clip_b,VQ\nc000-0,c000-1,A\n", encoding="utf-8")
    folder = make_dataset(4)
    settings = {"raters_per_pair": 2, "gold": gold, "qualification_pairs": 1, "pass_mark": 0.0, "ratings": True}
    programme = open_programme(folder, **settings)
    one, two = programme.invite(), programme.invite()
    ratings = {side: {"VQ": 4} for side in ("left", "right")}
    for _ in range(4):
        one.judge("left", ratings=ratings)
    for _ in range(3):
        two.judge(lambda assignment, name: "right" if name == "VQ" else "left")
    scores = programme.admin.http.get("/api/admin/raters").json()
    edit(folder, rename_vq)
    gold.write_text("clip_a,clip_b,Look\nc000-0,c000-1,A\n", encoding="utf-8")
    again = open_programme(folder, rename={"VQ": "Look"}, **settings)
    assert log(again) == [("2", {"renamed": {"VQ": "Look"}})]
    names = Counter(name for name, _ in counted(again).elements())
    assert names == {"Look": 8, "MQ": 7, "TA": 7}
    assert {version for _, version in counted(again)} == {0, 1}, "of the known answer none; a name is no other question"
    assert {row.dimension for row in Dataset.open(folder).ratings()} == {"Look"}
    now = again.admin.http.get("/api/admin/raters").json()
    assert [row["hidden_gold"] for row in now["raters"]] == [row["hidden_gold"] for row in scores["raters"]]
    assert [row["quality"]["gold"] for row in now["raters"]] == [row["quality"]["gold"] for row in scores["raters"]]
    with again.running.database.read() as session:
        decisions = [decision for decision in session.scalars(select(Pair.decision)) if decision]
        answers = [found for found in session.scalars(select(Pair.answers)) if found]
        assert {name for said in session.scalars(select(Said.verdicts)) for name in said} == {"VQ", "MQ", "TA"}
    assert answers == [{"Look": "A"}]
    assert all("VQ" not in decision for decision in decisions)
    adjudicator = again.invite("adjudicator")
    disputed = adjudicator.next()["assignment"]
    assert disputed["dimensions"][0]["name"] == "Look"
    assert {name for row in disputed["said"] for name in row["verdicts"]} == {"Look", "MQ", "TA"}
    adjudicator.judge("left")
    require = again.admin.http.get("/admin/pairs/2").text
    assert "VQ" not in re.sub(r"<[^>]+>", " ", require)
    open_programme(folder, rename={"VQ": "Look"}, **settings)
    assert len(log(again)) == 1, "once told, it may stay in the settings"


@pytest.mark.databases("sqlite")
def test_who_is_at_a_pair_while_a_dimension_is_renamed_can_send_it(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(3)
    programme = open_programme(folder, raters_per_pair=1)
    rater, other = programme.invite(), programme.invite()
    body = rater.body(rater.next()["assignment"])
    other.judge()
    edit(folder, rename_vq)
    again = open_programme(folder, raters_per_pair=1, rename={"VQ": "Look"})
    client = again.client()
    client.cookies, client.headers["x-csrf-token"] = rater.http.cookies, rater.http.headers["x-csrf-token"]
    assert client.post("/api/judgements", json=body).status_code == 200
    assert client.post("/api/judgements", json=body).status_code == 200, "sent again, it counts once"
    assert Counter(name for name, _ in counted(again).elements()) == {"Look": 2, "MQ": 2, "TA": 2}


@pytest.mark.databases("sqlite")
def test_the_last_verdict_is_taken_back_under_its_new_name(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(2)
    rater = open_programme(folder).invite()
    rater.judge("left")
    edit(folder, rename_vq)
    again = open_programme(folder, rename={"VQ": "Look"})
    client = again.client()
    client.cookies, client.headers["x-csrf-token"] = rater.http.cookies, rater.http.headers["x-csrf-token"]
    draft = client.post("/api/undo").json()["next"]["assignment"]["draft"]
    assert draft["verdicts"] == {"Look": "left", "MQ": "left", "TA": "left"}


def test_a_dimension_that_is_asked_no_more_stays_in_the_tables_and_may_come_back(
    open_programme: Open, make_dataset: Make, tmp_path: Path
) -> None:
    folder = make_dataset(9)
    programme = open_programme(folder, raters_per_pair=1)
    programme.invite().judge()
    whole = json.loads((folder / "dataset.json").read_text())
    edit(folder, drop_vq)
    again = open_programme(folder, raters_per_pair=1, rename={"VQ": None})
    assert log(again) == [("2", {"removed": ["VQ"]})]
    rater = again.invite()
    assert [one["name"] for one in rater.next()["assignment"]["dimensions"]] == ["MQ", "TA"]
    rater.judge()
    assert Counter(name for name, _ in counted(again).elements()) == {"VQ": 1, "MQ": 2, "TA": 2}
    assert again.admin.http.get("/api/admin/overview").json()["pairs"]["decided"] == 2
    for page in ("/admin", "/admin/agreement", "/admin/leaderboard", "/admin/raters", "/admin/pairs/1"):
        assert again.admin.http.get(page).status_code == 200
    export_data("pairs", Dataset.open(folder), tmp_path / "out.csv")
    assert "VQ" in (tmp_path / "out.csv").read_text().splitlines()[0].split(",")
    assert main(["annotate", "leaderboard", str(folder)]) == 0
    (folder / "dataset.json").write_text(json.dumps(whole))
    back = open_programme(folder, raters_per_pair=1)
    assert Counter(name for name, _ in counted(back).elements()) == {"VQ": 1, "MQ": 2, "TA": 2}
    assert [one["name"] for one in back.invite().next()["assignment"]["dimensions"]] == ["VQ", "MQ", "TA"]


def test_a_new_dimension_is_asked_from_then_on_and_reopens_nothing(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(6)
    programme = open_programme(folder, raters_per_pair=1)
    programme.invite().judge("tie")
    edit(folder, add_style)
    again = open_programme(folder, raters_per_pair=2)
    assert log(again) == [("2", {"added": ["Style"]})]
    rater = again.invite()
    while rater.next()["assignment"] is not None:
        rater.judge("tie")
    assert Counter(name for name, _ in counted(again).elements()) == {"VQ": 7, "MQ": 7, "TA": 7, "Style": 6}
    assert again.admin.http.get("/api/admin/overview").json()["pairs"]["disputed"] == 0
    open_programme(folder, raters_per_pair=1)
    with again.running.database.read() as session:
        assert {*session.scalars(select(Pair.state))} == {"decided"}


def test_a_name_that_was_given_up_is_not_given_to_another_question(open_programme: Open, make_dataset: Make) -> None:
    folder = make_dataset(2)
    open_programme(folder).invite().judge()
    edit(folder, rename_vq)
    open_programme(folder, rename={"VQ": "Look"})
    edit(folder, lambda dimensions: dimensions.append({"name": "VQ", "guideline": "something else"}))
    with pytest.raises(ConfigError, match="'VQ' was another dimension before; name it otherwise"):
        open_programme(folder)
    edit(folder, lambda dimensions: dimensions.pop())
    edit(folder, lambda dimensions: dimensions[0].update(name="VQ"))
    back = open_programme(folder, rename={"Look": "VQ"})
    assert {name for name, _ in counted(back)} == {"VQ", "MQ", "TA"}
    with back.running.database.read() as session:
        wording = read_wording(session)
    assert wording.names[1] == {"VQ": "VQ", "MQ": "MQ", "TA": "TA"}
    assert wording.now(2, {"Look": "A"}) == {"VQ": "A"}


def test_a_running_server_goes_on_asking_what_it_asked_when_a_dimension_is_renamed_under_it(
    open_programme: Open, make_dataset: Make, caplog: Any
) -> None:
    folder = make_dataset(4)
    programme = open_programme(folder, raters_per_pair=1)
    rater, upkeep = programme.invite(), Upkeep(programme.running)
    rater.judge()
    edit(folder, rename_vq)
    with caplog.at_level(logging.ERROR):
        upkeep.look()
        upkeep.look()
    assert caplog.text.count("raters are asked what they were asked before") == 1
    rater.judge()
    assert counted(programme) == {("VQ", 1): 2, ("MQ", 1): 2, ("TA", 1): 2}
    second = open_programme(folder, raters_per_pair=1, rename={"VQ": "Look"})
    seen = rater.next()["assignment"]
    assert seen["dimensions"][0]["name"] == "VQ"
    rater.http.post("/api/judgements", json=rater.body(seen))
    assert programme.running.wording.version == 2, "a verdict makes it look what holds now"
    rater.judge()
    assert Counter(name for name, _ in counted(second).elements()) == {"Look": 4, "MQ": 4, "TA": 4}
    upkeep.look()
    assert counted(programme) == counted(second)
    with second.running.database.read() as session:
        decisions = session.scalars(select(Pair.decision)).all()
    assert {name for decision in decisions for name in decision} == {"Look", "MQ", "TA"}


@pytest.mark.databases("sqlite")
def test_a_programme_of_before_there_were_versions_keeps_its_verdicts_as_of_an_unknown_one(
    open_programme: Open, make_dataset: Make, db: str
) -> None:
    folder = make_dataset(6)
    open_programme(folder, raters_per_pair=1).invite().judge()
    with sqlite3.connect(db.removeprefix("sqlite:///")) as connection:
        for trigger in ("judgements_no_update", "judgements_no_delete"):
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute("DELETE FROM guidelines")
        for table in ("judgements", "programme", "assignments"):
            connection.execute(f"UPDATE {table} SET guideline = 0")
    edit(folder, rename_vq)
    with pytest.raises(ConfigError, match=r"people judged 'VQ'"):
        open_programme(folder)
    again = open_programme(folder, raters_per_pair=1, rename={"VQ": "Look"})
    again.invite().judge()
    assert counted(again) == {("Look", 0): 1, ("MQ", 0): 1, ("TA", 0): 1, ("Look", 2): 1, ("MQ", 1): 1, ("TA", 1): 1}


def test_the_rename_map_is_read_from_the_command_line() -> None:
    settings = AnnotateSettings.load(None, ["rename.VQ=Look", "rename.TA="])
    assert settings.rename == {"VQ": "Look", "TA": None}


def test_versions_go_out_with_the_pairs_table_and_come_back(
    open_programme: Open, make_dataset: Make, tmp_path: Path
) -> None:
    folder = make_dataset(2, files=True)
    programme = open_programme(folder)
    programme.invite().judge_all()
    edit(folder, turn_mq)
    again = open_programme(folder)
    again.invite().judge_all()
    before = counted(again)
    for ending in ("csv", "parquet", "jsonl"):
        export_data("pairs", Dataset.open(folder), tmp_path / f"out.{ending}")
        import_data("pairs", tmp_path / f"out.{ending}", tmp_path / ending)
        rows = Dataset.open(tmp_path / ending).judgements()
        assert Counter((row.dimension, row.guideline) for row in rows) == before
