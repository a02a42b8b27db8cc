"""One label per pair and dimension from what raters, adjudicators and known answers say; sides do not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from videoalign.contracts.records import Aggregation, Judgement, Label, Role
from videoalign.data.dataset import flip
from videoalign.data.judgements.aggregate import aggregate_pairs
from videoalign.data.judgements.votes import VERDICTS, Vote, collect_votes, count_votes, disputed, standing

SPLITS = {"p": "train", "q": "val"}


def said(label: str, rater: str = "r", pair: str = "ab", role: str = "rater", dimension: str = "VQ") -> Judgement:
    return Judgement(
        prompt_id="p", clip_a=pair[0], clip_b=pair[1], rater=rater, dimension=dimension, label=label, role=role
    )


def decide(rows: list[Judgement], how: Aggregation) -> tuple[Label | None, tuple[float, float, float]]:
    (pair,) = aggregate_pairs(rows, ["VQ"], SPLITS, how)
    return pair.labels["VQ"], pair.shares["VQ"]


def votes_of(labels: str) -> list[Judgement]:
    names = {"A": "A", "t": "tie", "B": "B", "x": "invalid", "b": "both_bad"}
    return [said(names[label], rater=f"r{place}") for place, label in enumerate(labels)]


@pytest.mark.parametrize(("votes", "majority", "shares"), [
    ("AAB", ("A", (1, 0, 0)), (2 / 3, 0, 1 / 3)),
    ("AtB", (None, (0, 0, 0)), (1 / 3, 1 / 3, 1 / 3)),
    ("btB", ("tie", (0, 1, 0)), (0, 2 / 3, 1 / 3)),
    ("xxB", (None, (0, 0, 0)), (0, 0, 1)),
    ("xx", (None, (0, 0, 0)), (0, 0, 0)),
])  # fmt: skip
def test_majority_and_shares_by_hand(votes: str, majority: tuple, shares: tuple) -> None:
    assert decide(votes_of(votes), "majority") == majority
    label, found = decide(votes_of(votes), "shares")
    assert (label, found) == (majority[0], pytest.approx(shares))


def test_the_word_of_an_adjudicator_is_final() -> None:
    votes = votes_of("AAB")
    assert decide(votes, "adjudicated") == ("A", (1, 0, 0))
    word = said("tie", "judge", role="adjudicator")
    assert decide([*votes, word], "adjudicated") == ("tie", (0, 1, 0))
    assert decide([*votes, word, replace(word, label="B")], "adjudicated") == ("B", (0, 0, 1))
    assert decide([*votes, replace(word, label="invalid")], "adjudicated") == (None, (0, 0, 0))
    assert decide([word], "adjudicated") == ("tie", (0, 1, 0))
    for how in ("shares", "dawid_skene"):
        assert decide([*votes, word], how) == ("tie", (0, 1, 0))
        assert decide([*votes, replace(word, label="invalid")], how) == (None, (0, 0, 0))
    assert decide([*votes, word], "majority") == decide(votes, "majority")


def test_the_known_answer_is_the_label_whatever_anybody_says() -> None:
    known = said("B", "gold", role="gold")
    word = said("tie", "judge", role="adjudicator")
    for rows in ([known], [known, *votes_of("AAA")], [*votes_of("AAA"), known, word]):
        for how in ("adjudicated", "shares", "dawid_skene"):
            assert decide(rows, how) == ("B", (0, 0, 1))
    assert decide([known, *votes_of("AAA")], "majority") == ("A", (1, 0, 0))
    assert decide([known], "majority") == (None, (0, 0, 0))


@pytest.mark.parametrize("role", ["repeat", "qualification", "hidden_gold"])
def test_second_looks_and_answers_that_test_a_rater_are_no_votes(role: str) -> None:
    tests = [said("B", f"r{place}", role=role) for place in range(5)]
    (pair,) = aggregate_pairs([*votes_of("AAB"), *tests], ["VQ"], SPLITS)
    assert (pair.labels["VQ"], pair.votes["VQ"]) == ("A", (2, 0, 1))
    for how in Aggregation:
        assert aggregate_pairs(tests, ["VQ"], SPLITS, how) == [], "nobody voted and nothing is known"
        assert decide([*votes_of("AAB"), *tests], how) == decide(votes_of("AAB"), how)
    (only_known,) = aggregate_pairs([*tests, said("A", "gold", role="gold")], ["VQ", "MQ"], SPLITS)
    assert only_known.labels == {"VQ": "A", "MQ": None}
    assert only_known.votes["VQ"] == (0, 0, 0)


def test_a_rater_has_one_vote_the_first_valid_one_and_those_without_a_name_one_each() -> None:
    rows = [said("invalid", "r"), said("A", "r"), said("B", "r"), said("B", "s"), said("A", "t")]
    (pair,) = aggregate_pairs(rows, ["VQ"], SPLITS)
    assert (pair.labels["VQ"], pair.votes["VQ"]) == ("A", (2, 0, 1))
    (unnamed,) = aggregate_pairs([said("A", ""), said("B", ""), said("B", "")], ["VQ"], SPLITS)
    assert (unnamed.labels["VQ"], unnamed.votes["VQ"]) == ("B", (1, 0, 2))


def test_what_has_no_label_is_disputed() -> None:
    counts = {
        "even": count_votes([Vote("r", 1, "rater"), Vote("s", -1, "rater")]),
        "decided": count_votes([Vote("r", 1, "rater"), Vote("s", -1, "rater"), Vote("j", 0, "adjudicator")]),
        "bad": count_votes([Vote("r", 0, "rater"), Vote("s", 0, "rater"), Vote("t", 1, "rater")]),
        "empty": count_votes([]),
    }
    assert disputed(counts) == ["even", "empty"]
    assert [(count.label, count.by) for count in counts.values()] == [
        (None, None), ("tie", "adjudicator"), ("tie", None), (None, None),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_labels_come_from_the_judgements_that_stand_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        said(str(rng.choice([*Label])), f"r{rng.integers(4)}", role=str(rng.choice([*Role, *[Role.RATER] * 6])))
        for _ in range(rng.integers(1, 9))
    ]
    kept = standing(rows)
    assert [pair.labels for pair in aggregate_pairs(kept, ["VQ"], SPLITS)] == [
        pair.labels for pair in aggregate_pairs(rows, ["VQ"], SPLITS)
    ]


def test_a_verdict_on_b_and_a_is_turned_round() -> None:
    rows = [said("A"), said("A", "s", pair="ba"), said("tie", "t", pair="ba"), said("invalid", "u", pair="ba")]
    (pair,) = collect_votes(rows)
    assert (pair.clip_a, pair.clip_b) == ("a", "b")
    assert [vote.value for vote in pair.votes["VQ"]] == [1, -1, 0, None]
    assert pair.table_row("VQ") == {"r": 1, "s": -1, "t": 0}
    assert pair.table_row("MQ") == {}


def panel(seed: int, num: int = 80) -> tuple[list[str], list[Judgement]]:
    """True labels, and verdicts of two good raters and three poor ones, sides turned at random."""
    rng = np.random.default_rng(seed)
    truth = [VERDICTS[k] for k in rng.integers(3, size=num)]
    rows = []
    for place, label in enumerate(truth):
        for rater, skill in {"ada": 0.95, "ben": 0.9, "cyd": 0.4, "dan": 0.4, "eve": 0.4}.items():
            given = label if rng.random() < skill else VERDICTS[int(rng.integers(3))]
            row = Judgement(
                prompt_id="p", clip_a=f"a{place}", clip_b=f"b{place}", rater=rater, dimension="VQ", label=given
            )
            if rng.random() < 0.5:
                row = replace(row, clip_a=row.clip_b, clip_b=row.clip_a, label=flip(row.label))
            rows.append(row)
    return truth, rows


def right(truth: list[str], rows: list[Judgement], how: Aggregation) -> float:
    pairs = aggregate_pairs(rows, ["VQ"], SPLITS, how)
    labels = [
        pair.labels["VQ"] if pair.clip_a[0] == "a" else pair.labels["VQ"] and flip(pair.labels["VQ"]) for pair in pairs
    ]
    return float(np.mean([found == wanted for found, wanted in zip(labels, truth, strict=True)]))


def test_dawid_skene_is_right_more_often_than_the_majority() -> None:
    panels = [panel(seed) for seed in range(4)]
    by_skill, by_majority = (np.mean([right(*one, how) for one in panels]) for how in ("dawid_skene", "majority"))
    assert by_skill > by_majority + 0.05
    for pair in aggregate_pairs(panels[0][1], ["VQ"], SPLITS, "dawid_skene"):
        assert sum(pair.shares["VQ"]) == pytest.approx(1)
        label = pair.labels["VQ"]
        assert label is None or pair.shares["VQ"][VERDICTS.index(label)] == max(pair.shares["VQ"])


@pytest.mark.parametrize("how", [*Aggregation])
def test_turning_every_pair_turns_every_label(how: Aggregation) -> None:
    _, rows = panel(0, 30)
    turned = [replace(row, clip_a=row.clip_b, clip_b=row.clip_a, label=flip(row.label)) for row in rows]
    there, back = (aggregate_pairs(some, ["VQ"], SPLITS, how) for some in (rows, turned))
    for one, other in zip(there, back, strict=True):
        assert (one.clip_a, one.clip_b) == (other.clip_b, other.clip_a)
        assert other.labels["VQ"] == (one.labels["VQ"] and flip(one.labels["VQ"]))
        assert other.shares["VQ"] == pytest.approx(one.shares["VQ"][::-1])


@pytest.mark.parametrize("how", [*Aggregation])
def test_a_dimension_that_nobody_judged_has_no_label(how: Aggregation) -> None:
    (pair,) = aggregate_pairs([said("A")], ["VQ", "MQ"], SPLITS, how)
    assert (pair.labels["MQ"], pair.shares["MQ"], pair.votes["MQ"]) == (None, (0, 0, 0), (0, 0, 0))
    assert pair.labels["VQ"] == "A"
    assert aggregate_pairs([], ["VQ"], SPLITS, how) == []
