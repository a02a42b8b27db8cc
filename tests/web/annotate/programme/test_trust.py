"""Whose verdicts count: people who are let go on, whose work is discarded, and what admins see of both."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from videoalign.cli.main import main
from videoalign.data.dataset import Dataset
from videoalign.web.annotate.programme.export import write_tables
from videoalign.web.annotate.storage.tables import Assignment, Audit, Kind, Pair, PairState, Person, Said

Open = Callable[..., Any]
Make = Callable[..., Path]
NAMES = ("VQ", "MQ", "TA")


def says(programme: Any, label: str, gold: str | None = None) -> Callable[[dict[str, Any], str], str]:
    """A verdict of this label, and of another one where the pair is gold in disguise."""

    def verdict(assignment: dict[str, Any], _: str) -> str:
        with programme.running.database.read() as session:
            row = session.get(Assignment, assignment["id"])
        wanted = gold if gold is not None and row.kind == Kind.GOLD else label
        sides = {"A": "right", "B": "left"} if row.swapped else {"A": "left", "B": "right"}
        return sides.get(wanted, wanted)

    return verdict


def number_of(programme: Any, name: str) -> int:
    with programme.running.database.read() as session:
        return int(session.scalar(select(Person.id).where(Person.name == name)))


def shown(programme: Any, name: str) -> dict[str, Any]:
    rows = programme.admin.http.get("/api/admin/raters").json()["raters"]
    return next(row for row in rows if row["name"] == name)


def pairs(programme: Any) -> list[tuple[str, int, int]]:
    with programme.running.database.read() as session:
        rows = session.execute(select(Pair.state, Pair.taken, Pair.judged).order_by(Pair.id))
        return [(state, taken, judged) for state, taken, judged in rows]


def gold_table(folder: Path, num: int) -> Path:
    file = folder / "gold.csv"
    rows = [f"c{p:03}-0,c{p:03}-1,A" for p in range(num)]
    file.write_text("\n".join(["clip_a,clip_b,VQ", *rows]), encoding="utf-8")
    return file


def act(programme: Any, name: str, action: str) -> dict[str, Any]:
    made = programme.admin.http.post(f"/api/admin/raters/{number_of(programme, name)}/{action}")
    assert made.status_code == 200, made.text
    return dict(made.json())


def test_whom_an_admin_lets_go_on_is_measured_anew(open_programme: Open, make_dataset: Make, tmp_path: Path) -> None:
    programme = open_programme(
        make_dataset(60), gold=gold_table(tmp_path, 20), gold_share=0.4, min_gold=3, raters_per_pair=1
    )
    rater = programme.invite(name="Mina")
    for _ in range(2):
        while rater.next()["assignment"] is not None:
            rater.judge(says(programme, "A", gold="B"))
        paused = shown(programme, "Mina")
        assert (paused["status"], paused["hidden_gold"]["pairs"], paused["hidden_gold"]["right"]) == ("paused", 3, 0)
        act(programme, "Mina", "resume")
        assert shown(programme, "Mina")["hidden_gold"] == {"right": 0, "of": 0, "pairs": 0, "anew": True}
    for _ in range(20):
        assert rater.judge(says(programme, "A"))["state"] == "rating"
    found = shown(programme, "Mina")["hidden_gold"]
    assert found["right"] == found["of"] == found["pairs"] >= 3
    page = programme.admin.http.get("/admin/raters").text
    assert f"hidden: {found['right']} of {found['of']}, since let go on" in page


def test_discarded_verdicts_count_nowhere_and_their_pairs_go_to_others(
    open_programme: Open, make_dataset: Make
) -> None:
    folder = make_dataset(4)
    programme = open_programme(folder, raters_per_pair=2)
    bad, good, third = (programme.invite(name=name) for name in ("Bad", "Good", "Third"))
    assert bad.judge_all(says(programme, "B")) == 4
    for _ in range(2):
        good.judge(says(programme, "A"))
    assert sorted(state for state, *_ in pairs(programme)) == ["disputed", "disputed", "full", "full"]
    assert act(programme, "Bad", "discard") == {"discarded": 4}
    assert pairs(programme).count((PairState.OPEN, 1, 1)) == 2
    row = shown(programme, "Bad")
    assert (row["submitted"], row["discarded"], row["in_labels"]) == (0, 4, 0)
    write_tables(programme.running)
    assert {row.label for row in Dataset.open(folder).judgements()} == {"A"}
    assert bad.next()["assignment"] is None, "nobody gets a pair back whose verdict was discarded"
    assert third.judge_all(says(programme, "A")) == 4
    assert good.judge_all(says(programme, "A")) == 2
    assert pairs(programme) == [(PairState.DECIDED, 2, 2)] * 4
    with programme.running.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Said)) == 4 + 4 + 4, "all of them stay stored"
        told = session.scalars(select(Audit.detail).where(Audit.action == "work.discarded")).all()
    assert told == [{"verdicts": 4, "skips": 0, "pairs": 4}]
    assert bad.http.post("/api/undo").json()["error"]["code"] == "nothing_to_undo"


def test_a_discard_can_be_taken_back(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(3), raters_per_pair=2)
    for name, label in (("Bad", "B"), ("Good", "A")):
        programme.invite(name=name).judge_all(says(programme, label))
    before = pairs(programme)
    assert {state for state, *_ in before} == {PairState.DISPUTED}
    for _ in range(2):
        assert act(programme, "Bad", "discard") == {"discarded": 3}
        assert pairs(programme) == [(PairState.OPEN, 1, 1)] * 3
        assert act(programme, "Bad", "discard") == {"discarded": 0}
        assert act(programme, "Bad", "restore") == {"restored": 3}
        assert pairs(programme) == before
    act(programme, "Bad", "discard")
    programme.invite(name="Third").judge_all(says(programme, "A"))
    act(programme, "Bad", "restore")
    assert pairs(programme) == [(PairState.DECIDED, 3, 3)] * 3


def test_an_adjudicator_is_asked_again_only_about_what_is_disputed_now(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(1), raters_per_pair=2)
    first, second, third = (programme.invite(name=name) for name in ("One", "Two", "Three"))
    judge = programme.invite("adjudicator", "Judge")
    for rater, label in ((first, "A"), (second, "B")):
        rater.judge(lambda a, name, label=label: says(programme, label if name == "VQ" else "A")(a, name))
    judge.judge(says(programme, "B"))
    assert pairs(programme) == [(PairState.DECIDED, 2, 2)]
    act(programme, "Two", "discard")
    assert pairs(programme) == [(PairState.OPEN, 1, 1)]
    third.judge(lambda a, name: says(programme, "B" if name == "MQ" else "A")(a, name))
    assert pairs(programme) == [(PairState.DISPUTED, 2, 2)]
    asked = judge.next()["assignment"]
    assert [one["name"] for one in asked["dimensions"]] == ["MQ"]
    assert [one["verdicts"]["MQ"] for one in asked["said"]].count("left") == 1
    act(programme, "Three", "discard")
    assert judge.http.post("/api/judgements", json=judge.body(asked)).json()["error"]["code"] == "expired"
    assert judge.next()["state"] == "done"


def test_a_word_of_an_adjudicator_can_be_discarded_too(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(2), raters_per_pair=2)
    for name, label in (("One", "A"), ("Two", "B")):
        programme.invite(name=name).judge_all(says(programme, label))
    judge = programme.invite("adjudicator", "Judge")
    judge.judge("tie")
    judge.http.post("/api/skip", json={"assignment": judge.next()["assignment"]["id"], "reason": "broken"})
    assert sorted(state for state, *_ in pairs(programme)) == [PairState.DECIDED, PairState.EXCLUDED]
    act(programme, "Judge", "discard")
    assert {state for state, *_ in pairs(programme)} == {PairState.DISPUTED}
    assert judge.next()["state"] == "done"
    assert programme.invite("adjudicator", "Other").judge_all("tie") == 2
    act(programme, "Judge", "restore")
    assert sorted(state for state, *_ in pairs(programme)) == [PairState.DECIDED, PairState.EXCLUDED]


@pytest.mark.databases("sqlite")
def test_the_raters_page_says_what_a_paused_rater_left_in_the_labels_and_offers_to_discard_it(
    open_programme: Open, make_dataset: Make, tmp_path: Path
) -> None:
    programme = open_programme(
        make_dataset(30), gold=gold_table(tmp_path, 6), gold_share=0.5, min_gold=3, raters_per_pair=1
    )
    rater = programme.invite(name="Mina")
    while rater.next()["assignment"] is not None:
        rater.judge(says(programme, "A", gold="B"))
    count = shown(programme, "Mina")["in_labels"]
    assert count == sum(judged for _, _, judged in pairs(programme)) > 0
    admin = programme.admin.http
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", admin.get("/admin/raters").text))
    assert re.search(rf"{count} verdicts? of theirs still counts? in labels", page)
    form = {"csrf_token": admin.headers["x-csrf-token"]}
    number = number_of(programme, "Mina")
    assert "discarded" in admin.post(f"/admin/raters/{number}/discard", data=form).text
    assert sum(judged for _, _, judged in pairs(programme)) == 0
    assert "Count discarded work again" in admin.get("/admin/raters").text
    admin.post(f"/admin/raters/{number}/restore", data=form)
    assert shown(programme, "Mina")["in_labels"] == count
    assert "work.restored" in admin.get("/admin/audit").text
    assert rater.http.post(f"/api/admin/raters/{number}/discard").status_code == 403


@pytest.mark.databases("sqlite")
def test_the_command_line_discards_and_takes_back(
    open_programme: Open, make_dataset: Make, db: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_dataset(2)
    programme = open_programme(folder, raters_per_pair=1)
    for name in ("Mina", "Jo", "Jo"):
        programme.invite(name=name)
    programme.invite(name="Kim").judge_all("left")
    command = ["annotate", "discard", str(folder), "--db", db]
    assert main([*command, "Kim"]) == 0
    assert capsys.readouterr().out == "Kim: 2 verdicts discarded\n"
    assert pairs(programme) == [(PairState.OPEN, 0, 0)] * 2
    assert main([*command, "rater-5", "--undo"]) == 0
    assert pairs(programme) == [(PairState.DECIDED, 1, 1)] * 2
    for person, reason in (("Jo", "PERSON: 2 people are called 'Jo'"), ("Min", "Did you mean 'Mina'?")):
        assert main([*command, person]) == 2
        assert reason in capsys.readouterr().err


def test_a_word_that_is_the_number_of_one_and_the_name_of_another_is_refused(
    open_programme: Open, make_dataset: Make, db: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_dataset(2)
    programme = open_programme(folder, raters_per_pair=1)
    for name in ("3", "rater-2", "Mina"):
        programme.invite(name=name)
    for word in ("3", "rater-2"):
        assert main(["annotate", "forget", str(folder), word, "--db", db]) == 2
        told = f"PERSON: 2 people are called '{word}', by name or by number; give another word for one: 2, rater-3."
        assert told in capsys.readouterr().err
    for word, name in (("2", "3"), ("rater-3", "rater-2"), ("Mina", "Mina"), ("4", "Mina")):
        assert main(["annotate", "discard", str(folder), word, "--db", db]) == 0
        assert capsys.readouterr().out.startswith(f"{name}: ")
