"""Each figure of a rater by hand, and simulated raters whose faults are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from videoalign.contracts.records import Judgement
from videoalign.data.dataset import flip
from videoalign.data.judgements.rater_quality import RaterQuality, rater_quality
from videoalign.data.judgements.votes import VERDICTS


def said(label: str, rater: str, pair: int = 0, **changes: object) -> Judgement:
    row = Judgement(
        prompt_id=f"p{pair}", clip_a=f"a{pair}", clip_b=f"b{pair}", rater=rater, dimension="VQ", label=label
    )
    return replace(row, **changes)


def quality(rows: list[Judgement], *dimensions: str) -> dict[str, RaterQuality]:
    return {row.rater: row for row in rater_quality(rows, dimensions or ("VQ",))}


def test_gold_counts_verdicts_that_are_the_known_answer() -> None:
    rows = [
        said("A", "key", 0, role="gold"), said("B", "key", 1, role="gold", clip_a="b1", clip_b="a1"),
        said("A", "x", 0), said("A", "x", 1), said("tie", "x", 2),
        said("both_bad", "y", 0), said("invalid", "y", 1),
    ]  # fmt: skip
    found = quality(rows)
    assert list(found) == ["x", "y"]
    assert (found["x"].gold.value, found["x"].num_gold) == (1, 2)  # (B, A) of pair 1 answered B is (A, B) answered A
    assert (found["y"].gold.value, found["y"].num_gold) == (0, 1)
    assert (found["x"].pairs, found["x"].verdicts, found["x"].ties) == (3, 3, pytest.approx(1 / 3))
    assert (found["y"].pairs, found["y"].verdicts) == (2, 1)


def test_answers_that_test_a_rater_count_against_gold_alone() -> None:
    rows = [
        said("A", "key", 0, role="gold"), said("A", "key", 1, role="gold"),
        said("A", "x", 0, role="qualification", seconds=30.0, left="A"), said("B", "x", 1, role="hidden_gold"),
        said("B", "y", 1), said("A", "y", 2), said("A", "x", 2),
    ]  # fmt: skip
    found = quality(rows)
    assert list(found) == ["x", "y"]
    assert (found["x"].gold.value, found["x"].num_gold) == (pytest.approx(0.5), 2)
    assert (found["x"].pairs, found["x"].verdicts, found["x"].num_others, found["x"].num_times) == (3, 1, 1, 1)
    assert found["x"].left.num == 1
    assert (found["y"].verdicts, found["y"].num_gold, found["y"].num_others) == (2, 1, 1)


def test_nobody_is_as_fast_as_that_even_where_everybody_is() -> None:
    rows = [said("A", rater, pair, seconds=0.1 + 0.01 * pair) for rater in "xy" for pair in range(9)]
    rows += [said("A", "z", pair, seconds=2.0) for pair in range(9)]
    assert [row.num_fast for row in quality(rows).values()] == [9, 9, 0]


def test_repeats_are_held_against_the_first_look_whichever_side_was_shown() -> None:
    rows = [
        said("A", "x", 0), said("B", "x", 0, role="repeat", clip_a="b0", clip_b="a0"),
        said("tie", "x", 1), said("A", "x", 1, role="repeat"), said("tie", "x", 1, source_row="by mistake"),
        said("A", "y", 0), said("B", "y", 0, role="repeat", dimension="MQ"),
    ]  # fmt: skip
    found = quality(rows)
    assert (found["x"].repeats.value, found["x"].num_repeats) == (pytest.approx(2 / 3), 3)
    assert found["y"].num_repeats == 0 and math.isnan(found["y"].repeats.value)
    assert found["x"].verdicts == 2


def test_the_side_is_that_which_was_shown() -> None:
    rows = [said("A", "x", pair, left="A") for pair in range(4)]
    rows += [said("A", "x", pair, left="B") for pair in (4, 5)]
    rows += [said("tie", "x", 6, left="A"), said("A", "x", 7)]
    left = quality(rows)["x"].left
    assert (left.share.value, left.num) == (pytest.approx(4 / 6), 6)


def test_times_far_from_everybodys_are_counted_once_a_pair() -> None:
    rows = [
        replace(said("A", rater, pair), dimension=dimension, seconds=20.0 + pair)
        for rater in "xyz"
        for pair in range(10)
        for dimension in ("VQ", "MQ")
    ]
    rows += [said("A", "z", pair, dimension=name, seconds=0.5) for pair in (10, 11) for name in ("VQ", "MQ")]
    rows += [said("A", "y", 12, seconds=5000.0)]
    found = quality(rows, "VQ", "MQ")
    assert [(found[r].num_times, found[r].num_fast, found[r].num_slow) for r in "xyz"] == [
        (10, 0, 0),
        (11, 0, 1),
        (12, 2, 0),
    ]
    assert found["x"].median_seconds == pytest.approx(24.5)
    assert math.isnan(quality([said("A", "x")])["x"].median_seconds)


def test_agreement_with_the_others_by_hand() -> None:
    rows = [said(label, rater, 0) for label, rater in (("A", "x"), ("A", "y"), ("tie", "z"))]
    rows += [said("B", "x", 1), said("B", "y", 1)]
    found = quality(rows)
    assert (found["z"].others.value, found["z"].num_others) == (0, 1)
    assert (found["x"].others.value, found["x"].num_others) == (1, 1)  # of pair 0 the others have no majority


def test_the_careless_the_left_leaning_and_the_good_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for pair in range(150):
        truth = VERDICTS[int(rng.integers(3))]
        rows.append(said(truth, "key", pair, role="gold"))
        for rater, skill in {"good": 0.95, "fair": 0.8, "careless": 0.1, "lefty": 0.6}.items():
            left = "AB"[int(rng.integers(2))]
            guess = left if rater == "lefty" else VERDICTS[int(rng.integers(3))]
            row = said(truth if rng.random() < skill else guess, rater, pair, left=left)
            if rng.random() < 0.5:
                sides = {"A": "B", "B": "A"}
                row = replace(row, clip_a=row.clip_b, clip_b=row.clip_a, label=flip(row.label), left=sides[left])
            rows.append(row)
    found = quality(rows)
    for figure in ("gold", "others"):
        values = {name: getattr(row, figure).value for name, row in found.items()}
        assert values["good"] > values["fair"] > values["careless"]
    assert found["good"].dawid_skene > found["fair"].dawid_skene > found["careless"].dawid_skene
    assert found["careless"].gold.high < found["good"].gold.low
    assert found["lefty"].left.p_value < 0.01 < min(found[name].left.p_value for name in ("good", "fair", "careless"))


def test_nobody_is_nobody() -> None:
    assert rater_quality([], ["VQ"]) == []
