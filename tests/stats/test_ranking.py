"""Strengths are those of maximum likelihood, and each comparison is asked for where it tells most."""

from __future__ import annotations

import math
import time
from itertools import combinations

import evalica
import numpy as np
import pytest
from scipy.optimize import minimize

from videoalign.stats.ranking import (
    PRIOR_DEVIATION,
    fit,
    information_gain,
    linked_groups,
    most_informative,
    probabilities,
    standings,
)

TRUTH = np.array([1.2, 0.4, 0.1, -0.5, -1.2])
NU = 0.8


def simulated(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (num, 2) of five models, and who won, (num, 3), one 1 in each row."""
    rng = np.random.default_rng(seed)
    pairs = np.array([rng.choice(5, 2, replace=False) for _ in range(num)])
    chances = probabilities(TRUTH[pairs[:, 0]] - TRUTH[pairs[:, 1]], NU)
    return pairs, np.stack([rng.multinomial(1, row) for row in chances])


def test_chances_by_hand() -> None:
    assert probabilities(0.0, 1.0) == pytest.approx([1 / 3] * 3)
    assert probabilities(0.0, 0.5) == pytest.approx([0.4, 0.2, 0.4])
    win, tie, lose = probabilities(math.log(4.0), 1.0)  # 2 : 1 : 1/2
    assert (win, tie, lose) == pytest.approx((2 / 3.5, 1 / 3.5, 0.5 / 3.5))
    assert probabilities(400.0, 1.0) == pytest.approx([1, 0, 0])


def test_strengths_are_the_highest_point_of_the_posterior() -> None:
    pairs, counts = simulated(300)

    def cost(x: np.ndarray) -> float:
        chances = probabilities(x[pairs[:, 0]] - x[pairs[:, 1]], math.exp(x[5]))
        return float(-(counts * np.log(chances)).sum() + (x**2).sum() / (2 * PRIOR_DEVIATION**2))

    expected = minimize(cost, np.zeros(6), method="BFGS", options={"gtol": 1e-8}).x
    found = fit(pairs, counts, 5)
    assert found.strengths == pytest.approx(expected[:5], abs=1e-4)  # as far as BFGS comes
    assert found.nu == pytest.approx(math.exp(expected[5]), abs=1e-5)
    assert found.strengths.sum() == pytest.approx(0, abs=1e-9)


def test_with_many_comparisons_strengths_are_those_of_evalica_and_near_the_truth() -> None:
    pairs, counts = simulated(20_000)
    found = fit(pairs, counts, 5)
    winners = [(evalica.Winner.X, evalica.Winner.Draw, evalica.Winner.Y)[k] for k in counts.argmax(1)]
    theirs = evalica.newman(pairs[:, 0].tolist(), pairs[:, 1].tolist(), winners, tolerance=1e-9, limit=1000)
    scores = np.log(theirs.scores.sort_index().to_numpy())
    assert found.strengths == pytest.approx(scores - scores.mean(), abs=2e-3)
    assert found.nu == pytest.approx(2 * theirs.v, abs=2e-3)
    assert found.strengths == pytest.approx(TRUTH, abs=0.1)


def test_ties_between_equals_are_as_frequent_as_seen() -> None:
    found = fit([[0, 1]], [[1000, 500, 1000]], 2)
    assert found.strengths == pytest.approx([0, 0], abs=1e-12)
    assert probabilities(0.0, found.nu)[1] == pytest.approx(0.2, abs=1e-3)


def test_the_order_of_rows_and_sides_does_not_matter() -> None:
    pairs, counts = simulated(100)
    turned = fit(pairs[::-1, ::-1], counts[::-1, ::-1], 5)
    assert turned.strengths == pytest.approx(fit(pairs, counts, 5).strengths, abs=1e-9)


def test_a_model_that_never_lost_has_a_strength() -> None:
    found = fit([[0, 1], [1, 2]], [[20, 0, 0], [20, 0, 0]], 3)
    assert np.isfinite(found.strengths).all()
    assert found.strengths[0] > found.strengths[1] > found.strengths[2]
    nothing = fit(np.zeros((0, 2)), np.zeros((0, 3)), 2)
    assert nothing.strengths.tolist() == [0, 0]
    assert nothing.covariance == pytest.approx(PRIOR_DEVIATION**2 * np.eye(2))


def test_covariance_is_the_spread_of_repeated_experiments() -> None:
    draws = np.stack([fit(*simulated(400, seed), 5).strengths for seed in range(200)])
    spread = fit(*simulated(400), 5).covariance
    for i, j in combinations(range(5), 2):
        variance = spread[i, i] + spread[j, j] - 2 * spread[i, j]
        assert (draws[:, i] - draws[:, j]).std() == pytest.approx(math.sqrt(variance), rel=0.25)


def test_groups_are_those_that_comparisons_link() -> None:
    pairs, wins = [[0, 1], [2, 3]], [[1, 0, 0], [0, 1, 0]]
    assert linked_groups(pairs, wins, 5).tolist() == [0, 0, 1, 1, 2]
    assert linked_groups(pairs, wins, 5, strongly=True).tolist() == [0, 1, 2, 2, 3]
    ring = [[0, 1], [1, 2], [2, 0]]
    assert linked_groups(ring, [[1, 0, 0]] * 3, 3, strongly=True).tolist() == [0, 0, 0]
    assert linked_groups([[0, 1]], [[0, 0, 0]], 2).tolist() == [0, 1]


def test_standings_cover_the_truth_and_name_what_is_not_settled() -> None:
    pairs, counts = simulated(600)
    rows = standings(pairs, counts, range(600), 5, rng=np.random.default_rng(0))
    assert [row.rank for row in rows] == [1, 2, 3, 4, 5]
    for row, truth in zip(rows, TRUTH, strict=True):
        assert row.strength.low < truth < row.strength.high
        assert row.rank_low <= row.rank <= row.rank_high
    assert (rows[0].rank_low, rows[0].rank_high) == (1, 1)
    assert rows[1].rank_high == 3 and rows[2].rank_low == 2
    again = standings(pairs, counts, range(600), 5, rng=np.random.default_rng(0))
    assert again == rows


def test_standings_of_one_prompt_have_no_interval() -> None:
    rows = standings([[0, 1]], [[1, 0, 1]], ["p"], 2, rng=np.random.default_rng(0))
    assert [row.rank for row in rows] == [1, 1]
    assert math.isnan(rows[0].strength.low) and (rows[0].rank_low, rows[0].rank_high) == (1, 1)


def test_verdicts_that_repeat_within_a_prompt_do_not_narrow_the_interval() -> None:
    pairs, counts = simulated(100)
    once = standings(pairs, counts, range(100), 5, rng=np.random.default_rng(0))
    thrice = standings(
        np.tile(pairs, (3, 1)), np.tile(counts, (3, 1)), [*range(100)] * 3, 5, rng=np.random.default_rng(0)
    )
    for a, b in zip(once, thrice, strict=True):
        assert b.strength.high - b.strength.low > 0.9 * (a.strength.high - a.strength.low)


def test_gain_is_the_shrinking_of_the_uncertainty() -> None:
    pairs, counts = simulated(60)
    before = fit(pairs, counts, 5)
    (gain,) = information_gain(before, before.covariance, [[0, 1]])
    assert information_gain(before, before.covariance, [[0, 1], [1, 0]]).tolist() == pytest.approx([gain] * 2)
    chances = probabilities(before.strengths[0] - before.strengths[1], before.nu)
    known = (chances[0] + chances[2] - (chances[0] - chances[2]) ** 2) / 4
    step = np.array([1.0, -1, 0, 0, 0])
    after = np.linalg.inv(np.linalg.inv(before.covariance) + known * np.outer(step, step))
    shrunk = (np.linalg.slogdet(before.covariance)[1] - np.linalg.slogdet(after)[1]) / 2
    assert gain == pytest.approx(shrunk)


def test_close_and_little_known_pairs_come_first_and_equal_ones_in_order() -> None:
    even = fit([[0, 1], [2, 3]], [[50, 0, 50], [1, 0, 1]], 4)
    assert most_informative(even, [[0, 1], [2, 3]], 1) == [1]
    sure = fit([[0, 1], [2, 3]], [[10, 10, 10], [30, 0, 0]], 4)
    assert most_informative(sure, [[2, 3], [0, 1]], 1) == [1]
    blank = fit(np.zeros((0, 2)), np.zeros((0, 3)), 4)
    candidates = [[2, 3], [0, 1], [2, 3], [1, 0]]
    assert most_informative(blank, candidates, 9) == [0, 1, 2, 3]
    assert most_informative(blank, [[0, 1], [0, 1], [2, 3]], 2) == [0, 2]
    assert most_informative(blank, np.zeros((0, 2)), 3) == []


def test_asking_where_it_tells_most_settles_more_than_asking_at_random() -> None:
    truth, candidates = 3 * TRUTH, list(combinations(range(5), 2))

    def error(seed: int, informed: bool) -> float:
        rng = np.random.default_rng(seed)
        pairs, counts = np.array(candidates), np.zeros((10, 3))
        for _ in range(120):
            place = most_informative(fit(pairs, counts, 5), candidates, 1)[0] if informed else int(rng.integers(10))
            i, j = candidates[place]
            counts[place] += rng.multinomial(1, probabilities(truth[i] - truth[j], NU))
        return float(((fit(pairs, counts, 5).strengths - truth) ** 2).mean())

    informed, random = (np.mean([error(seed, way) for seed in range(8)]) for way in (True, False))
    assert informed < 0.8 * random


def test_a_leaderboard_of_a_thousand_prompts_and_twelve_models_takes_seconds() -> None:
    rng = np.random.default_rng(0)
    pairs = np.array([rng.choice(12, 2, replace=False) for _ in range(6000)])
    counts = np.eye(3)[rng.integers(3, size=6000)]
    start = time.process_time()
    standings(pairs, counts, (np.arange(6000) // 6).tolist(), 12, rng=rng, num=500)
    assert time.process_time() - start < 10
