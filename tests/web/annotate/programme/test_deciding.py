"""Majorities, disputes and their end, qualification and hidden gold."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from videoalign.data.dataset import Dataset
from videoalign.web.annotate.programme.export import write_tables
from videoalign.web.annotate.storage.tables import Assignment, Kind, Pair, PairState, Person

Open = Callable[..., Any]
Make = Callable[..., Path]


def decision(programme: Any, pair: int = 1) -> tuple[str, dict[str, Any] | None]:
    with programme.running.database.read() as session:
        return tuple(session.execute(select(Pair.state, Pair.decision).where(Pair.id == pair)).one())


def of_clips(programme: Any, labels: dict[str, str]) -> Callable[[dict[str, Any], str], str]:
    """Says what makes these labels, whichever way the clips are shown."""

    def verdict(assignment: dict[str, Any], name: str) -> str:
        with programme.running.database.read() as session:
            swapped = session.get(Assignment, assignment["id"]).swapped
        sides = {"A": "right", "B": "left"} if swapped else {"A": "left", "B": "right"}
        return sides.get(labels[name], labels[name])

    return verdict


def vote(programme: Any, *votes: dict[str, str]) -> list[Any]:
    raters = [programme.invite() for _ in votes]
    for rater, labels in zip(raters, votes, strict=True):
        rater.judge(of_clips(programme, labels))
    return raters


def gold_table(folder: Path, num: int, label: str = "A") -> Path:
    file = folder / "gold.csv"
    turned = {"A": "B", "B": "A"}.get(label, label)
    rows = [f"c{p:03}-1,c{p:03}-0,{turned},," for p in range(num)]
    file.write_text("\n".join(["clip_a,clip_b,VQ,MQ,TA", *rows]) + "\n", encoding="utf-8")
    return file


def test_a_majority_on_every_dimension_decides(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1))
    vote(
        programme,
        {"VQ": "A", "MQ": "B", "TA": "tie"},
        {"VQ": "A", "MQ": "A", "TA": "both_bad"},
        {"VQ": "B", "MQ": "A", "TA": "A"},
    )
    labels = {"VQ": "A", "MQ": "A", "TA": "tie"}
    assert decision(programme) == (
        PairState.DECIDED,
        {name: {"label": label, "by": "majority"} for name, label in labels.items()},
    )


def test_an_adjudicator_is_asked_what_has_no_majority_and_sees_what_was_said(
    open_programme: Open, make_dataset: Make
) -> None:
    programme = open_programme(make_dataset(1))
    same = {"VQ": "A", "TA": "A"}
    raters = vote(programme, same | {"MQ": "A"}, same | {"MQ": "tie"}, same | {"MQ": "B"})
    assert decision(programme)[0] == PairState.DISPUTED
    adjudicator = programme.invite("adjudicator")
    asked = adjudicator.next()
    assert asked["state"] == "adjudication"
    assert [one["name"] for one in asked["assignment"]["dimensions"]] == ["MQ"]
    said = [one["verdicts"]["MQ"] for one in asked["assignment"]["said"]]
    assert [one["rater"] for one in asked["assignment"]["said"]] == ["1", "2", "3"]
    assert said in (["left", "tie", "right"], ["right", "tie", "left"])
    adjudicator.judge(of_clips(programme, {"MQ": "B"}))
    state, labels = decision(programme)
    assert (state, labels["MQ"]) == (PairState.DECIDED, {"label": "B", "by": "adjudicator"})
    assert labels["VQ"] == {"label": "A", "by": "majority"}
    assert raters[-1].http.post("/api/undo").json()["error"]["code"] == "final"
    assert adjudicator.http.post("/api/undo").json()["error"]["code"] == "final"
    assert adjudicator.next()["state"] == "done"


def test_two_adjudicators_never_get_one_pair_and_may_choose(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(2), raters_per_pair=2)
    for labels in ("A", "B"):
        rater = programme.invite()
        for _ in range(2):
            rater.judge(of_clips(programme, dict.fromkeys(("VQ", "MQ", "TA"), labels)))
    first, second, third = (programme.invite("adjudicator", f"judge {n}") for n in range(3))
    mine = first.next()["assignment"]["id"]
    assert second.next()["assignment"]["id"] != mine
    assert third.next()["state"] == "done"
    token = {"csrf_token": third.http.headers["x-csrf-token"]}
    assert third.http.post("/adjudicate/1", data=token).status_code == 409
    first.judge("tie")
    assert "somebody is at it" in third.http.get("/adjudicate").text


def test_a_pair_that_an_adjudicator_skips_is_excluded(open_programme: Open, make_dataset: Make) -> None:
    programme = open_programme(make_dataset(1), raters_per_pair=2)
    vote(programme, dict.fromkeys(("VQ", "MQ", "TA"), "A"), dict.fromkeys(("VQ", "MQ", "TA"), "B"))
    adjudicator = programme.invite("adjudicator")
    body = {"assignment": adjudicator.next()["assignment"]["id"], "reason": "not safe"}
    assert adjudicator.http.post("/api/skip", json=body).json()["next"]["state"] == "done"
    assert decision(programme)[0] == PairState.EXCLUDED


def test_what_is_decided_in_the_programme_is_the_label_in_the_tables(
    open_programme: Open, make_dataset: Make, tmp_path: Path
) -> None:
    folder = make_dataset(3)
    programme = open_programme(folder, gold=gold_table(tmp_path, 1), qualification_pairs=1, pass_mark=0.0)
    raters = [programme.invite() for _ in range(3)]
    says = {"prompt 0": "BBB", "prompt 1": ["A", "B", "both_bad"], "prompt 2": "BAA"}
    for place, rater in enumerate(raters):
        while (assignment := rater.next()["assignment"]) is not None:
            label = says[assignment["prompt"]][place]
            rater.judge(of_clips(programme, dict.fromkeys(("VQ", "MQ", "TA"), label)))
    programme.invite("adjudicator").judge(of_clips(programme, dict.fromkeys(("VQ", "MQ", "TA"), "B")))
    write_tables(programme.running)
    dataset = Dataset.open(folder)
    labels = {pair.prompt_id: pair.labels for pair in dataset.judged_pairs()}
    assert labels == {
        "p000": {"VQ": "A", "MQ": None, "TA": None},
        "p001": dict.fromkeys(("VQ", "MQ", "TA"), "B"),
        "p002": dict.fromkeys(("VQ", "MQ", "TA"), "A"),
    }
    by = {number: "majority" if number == 3 else "adjudicator" for number in (2, 3)}
    for number, who in by.items():
        decided = {name: {"label": label, "by": who} for name, label in labels[f"p00{number - 1}"].items()}
        assert decision(programme, number) == (PairState.DECIDED, decided)
    votes = {pair.prompt_id: pair.votes["VQ"] for pair in dataset.judged_pairs("train", "majority")}
    assert votes == {"p000": (0, 0, 0), "p001": (1, 1, 1), "p002": (2, 0, 1)}
    page = programme.admin.http.get("/admin/pairs/1").text
    assert re.search(r"VQ <strong>A</strong> *<span[^>]*>gold", page)
    board = programme.admin.http.get("/api/admin/leaderboard").json()["VQ"]
    assert (board["pairs"], board["duels"][0]["wins"]) == (3, pytest.approx(1 + 0 + 2 / 3))
    agreement = programme.admin.http.get("/api/admin/agreement").json()["VQ"]
    assert (agreement["pairs"], agreement["votes"]) == (2, 6)


def skip(rater: Any) -> dict[str, Any]:
    body = {"assignment": rater.next()["assignment"]["id"], "reason": "A clip does not play"}
    return rater.http.post("/api/skip", json=body).json()["next"]


def test_skipping_a_qualification_is_not_knowing_it(open_programme: Open, make_dataset: Make, tmp_path: Path) -> None:
    settings = {"gold": gold_table(tmp_path, 8), "qualification_pairs": 5, "pass_mark": 0.7}
    programme = open_programme(make_dataset(12), **settings)
    right = of_clips(programme, {"VQ": "A", "MQ": "A", "TA": "A"})
    for skipped, state in ((4, "paused"), (2, "paused"), (1, "rating")):
        rater = programme.invite()
        for _ in range(skipped):
            assert skip(rater)["state"] == "qualification"
        for _ in range(5 - skipped):
            last = rater.judge(right)
        assert last["state"] == state, skipped
    rater = programme.invite()
    for _ in range(5):
        last = skip(rater)
    assert last["state"] == "paused"


def test_skipping_hidden_gold_is_not_knowing_it(open_programme: Open, make_dataset: Make, tmp_path: Path) -> None:
    programme = open_programme(
        make_dataset(40), gold=gold_table(tmp_path, 8), gold_share=0.5, min_gold=3, raters_per_pair=3
    )
    rater = programme.invite()
    right = of_clips(programme, {"VQ": "A", "MQ": "A", "TA": "A"})
    skipped = 0
    while (assignment := rater.next()["assignment"]) is not None:
        with programme.running.database.read() as session:
            gold = session.get(Assignment, assignment["id"]).kind == Kind.GOLD
        skipped += gold
        skip(rater) if gold else rater.judge(right)
    assert (rater.next()["state"], skipped) == ("paused", 3)


@pytest.mark.parametrize(
    ("truth", "answer", "state"),
    [("A", "A", "rating"), ("A", "B", "paused"), ("tie", "both_bad", "rating"), ("both_bad", "tie", "rating")],
)
def test_a_new_rater_judges_gold_first_and_passes_or_not(
    open_programme: Open, make_dataset: Make, tmp_path: Path, truth: str, answer: str, state: str
) -> None:
    gold = gold_table(tmp_path, 3, truth)
    programme = open_programme(make_dataset(5), gold=gold, qualification_pairs=2, pass_mark=0.7)
    rater = programme.invite()
    assert rater.next()["state"] == "qualification"
    assert rater.next()["progress"] == {"done": 0, "total": 2}
    for _ in range(2):
        last = rater.judge(of_clips(programme, {"VQ": answer, "MQ": "tie", "TA": "tie"}))
    assert last["state"] == state
    with programme.running.database.read() as session:
        pairs = set(session.scalars(select(Pair.state).join(Assignment, Assignment.pair_id == Pair.id)))
    assert pairs == ({PairState.GOLD, PairState.OPEN} if state == "rating" else {PairState.GOLD})


def test_a_rater_who_misses_hidden_gold_is_paused_and_may_be_let_go_on(
    open_programme: Open, make_dataset: Make, tmp_path: Path
) -> None:
    programme = open_programme(
        make_dataset(30), gold=gold_table(tmp_path, 6), gold_share=0.6, min_gold=3, raters_per_pair=1
    )
    good, bad = programme.invite(), programme.invite()
    for _ in range(10):
        good.judge(of_clips(programme, {"VQ": "A", "MQ": "B", "TA": "B"}))
    assert good.next()["state"] == "rating"
    wrong = of_clips(programme, {"VQ": "B", "MQ": "B", "TA": "B"})
    judged = next(count for count in range(1, 20) if bad.judge(wrong)["state"] == "paused")
    assert 3 <= judged < 15
    with programme.running.database.read() as session:
        number = session.scalar(select(Person.id).where(Person.status == "paused"))
    programme.admin.http.post(f"/api/admin/raters/{number}/resume")
    assert bad.next()["state"] == "rating"
