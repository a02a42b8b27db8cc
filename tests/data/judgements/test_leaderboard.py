"""Who beats whom, counted by hand, and pairs chosen where they tell most."""

from __future__ import annotations

import math

import numpy as np
import pytest

from videoalign.contracts.records import TOGETHER
from videoalign.data.judgements.aggregate import JudgedPair, Shares
from videoalign.data.judgements.leaderboard import build_leaderboards, choose_pairs
from videoalign.stats.ranking import probabilities

MODELS = {"x0": "x", "y0": "y", "z0": "z", "x1": "x", "u0": ""}


def judged(a: str, b: str, prompt: str = "p", **shares: Shares) -> JudgedPair:
    labels = dict.fromkeys(shares)
    return JudgedPair(prompt_id=prompt, clip_a=a, clip_b=b, labels=labels, split="train", shares=shares)


def test_wins_ties_and_losses_by_hand() -> None:
    pairs = [
        judged("x0", "y0", "p", VQ=(1, 0, 0), MQ=(0, 1, 0)),
        judged("y0", "x1", "q", VQ=(2 / 3, 1 / 3, 0), MQ=(0, 0, 0)),
        judged("y0", "z0", "q", VQ=(0, 0, 1)),
        judged("x0", "x1", "q", VQ=(1, 0, 0)),
        judged("x0", "u0", "q", VQ=(1, 0, 0)),
    ]
    boards = build_leaderboards(pairs, MODELS, ["VQ", "MQ"], num=50)
    assert list(boards) == ["VQ", "MQ", TOGETHER]
    board = boards["VQ"]
    assert (board.pairs, board.prompts, board.left_out) == (3, 2, 2)
    counts = {row.model: (row.wins, row.ties, row.losses) for row in board.models}
    assert counts["x"] == pytest.approx((1, 1 / 3, 2 / 3))
    assert counts["y"] == pytest.approx((2 / 3, 1 / 3, 2))
    assert counts["z"] == (1, 0, 0)
    assert [(d.first, d.second) for d in board.duels] == [("x", "y"), ("y", "z")]
    assert (board.duels[0].wins, board.duels[0].ties, board.duels[0].losses) == pytest.approx((1, 1 / 3, 2 / 3))
    assert board.models[0].model == "z" and board.models[-1].model == "y"
    assert board.connected and not board.settled  # z never lost
    assert (boards["MQ"].pairs, [row.model for row in boards["MQ"].models]) == (1, ["x", "y"])
    assert boards[TOGETHER].models[-1].ties == pytest.approx(4 / 3)


def test_models_that_were_never_compared_are_of_different_groups() -> None:
    generators = {"a": "a", "b": "b", "c": "c", "d": "d"}
    pairs = [judged("a", "b", VQ=(0.5, 0, 0.5)), judged("c", "d", "q", VQ=(0, 1, 0))]
    board = build_leaderboards(pairs, generators, ["VQ"], num=20)["VQ"]
    assert [(row.model, row.group) for row in board.models] == [("a", 0), ("b", 0), ("c", 1), ("d", 1)]
    assert not board.connected


def test_ranks_hold_within_a_group_however_strong_the_others_are() -> None:
    generators = {name: name for name in "abcdefg"}
    clear, close = (1, 0, 0), (0.6, 0, 0.4)
    pairs = [judged("a", "b", f"p{k}", VQ=clear) for k in range(6)]
    pairs += [judged("d", "c", f"p{k}", VQ=close) for k in range(6)] + [judged("c", "e", "p6", VQ=close)]
    pairs += [judged("f", "g", "p7", VQ=(0, 1, 0))]
    board = build_leaderboards(pairs, generators, ["VQ"], num=200)["VQ"]
    assert [(row.model, row.group, row.rank) for row in board.models] == [
        ("a", 0, 1), ("b", 0, 2), ("d", 1, 1), ("c", 1, 2), ("e", 1, 3), ("f", 2, 1), ("g", 2, 1),
    ]  # fmt: skip
    for row in board.models:
        members = [other for other in board.models if other.group == row.group]
        assert 1 <= row.rank_low <= row.rank <= row.rank_high <= len(members)
        assert sum(other.strength.value for other in members) == pytest.approx(0, abs=1e-9)
    alone = build_leaderboards(pairs[:6], generators, ["VQ"], num=200)["VQ"]
    assert [row.rank for row in alone.models] == [row.rank for row in board.models if row.group == 0]


def test_nothing_judged_is_an_empty_board() -> None:
    board = build_leaderboards([], {}, ["VQ"])["VQ"]
    assert (board.models, board.duels, board.pairs) == ((), (), 0)


def test_simulated_models_stand_in_their_order_with_the_truth_inside() -> None:
    rng = np.random.default_rng(0)
    truth = {"m0": 1.5, "m1": 0.0, "m2": -1.5}
    clips = {f"{model}-{k}": model for model in truth for k in range(120)}
    pairs = []
    for k in range(120):
        for a, b in (("m0", "m1"), ("m2", "m1"), ("m2", "m0")):
            won, tied, lost = rng.multinomial(1, probabilities(truth[a] - truth[b], 1.0)).tolist()
            pairs.append(judged(f"{a}-{k}", f"{b}-{k}", f"p{k}", VQ=(won, tied, lost)))
    board = build_leaderboards(pairs, clips, ["VQ"], num=300)["VQ"]
    assert [row.model for row in board.models] == ["m0", "m1", "m2"]
    for row in board.models:
        assert row.strength.low < truth[row.model] < row.strength.high
    assert board.settled and board.nu == pytest.approx(1, abs=0.3)
    assert not any(math.isnan(row.strength.low) for row in board.models)


def test_sides_do_not_matter() -> None:
    shares = [(1, 0, 0), (0.2, 0.5, 0.3), (0, 1, 0)]
    clips = [("x0", "y0"), ("y0", "z0"), ("z0", "x0")]
    there = [judged(a, b, f"p{k}", VQ=s) for k, ((a, b), s) in enumerate(zip(clips, shares, strict=True))]
    back = [judged(b, a, f"p{k}", VQ=s[::-1]) for k, ((a, b), s) in enumerate(zip(clips, shares, strict=True))]
    one, other = (build_leaderboards(pairs, MODELS, ["VQ"], num=50)["VQ"] for pairs in (there, back))
    assert one == other


def test_pairs_that_tell_most_come_first_and_those_that_tell_nothing_last() -> None:
    generators = {"x0": "x", "x1": "x", "y0": "y", "z0": "z", "u0": ""}
    known = [judged("x0", "y0", f"p{k}", VQ=(0.5, 0, 0.5)) for k in range(30)]
    candidates = [("x0", "x1"), ("x0", "y0"), ("u0", "y0"), ("y0", "z0"), ("x0", "z0")]
    chosen = choose_pairs(known, generators, ["VQ"], candidates, 5)
    assert sorted(chosen[:2]) == [3, 4]
    assert chosen[2:] == [1, 0, 2]
    assert choose_pairs(known, generators, ["VQ"], candidates, 1) == chosen[:1]
    assert choose_pairs([], generators, ["VQ"], candidates, 9) == choose_pairs([], generators, ["VQ"], candidates, 9)
    assert choose_pairs(known, generators, ["VQ"], [], 3) == []
