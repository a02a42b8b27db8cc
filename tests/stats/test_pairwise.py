from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoalign.stats.pairwise import (
    NO_TIES,
    accuracy_without_ties,
    always_tie,
    fit_threshold,
    held_out_baseline,
    legacy_right_with_ties,
    outcomes,
    random_baseline,
    right_with_ties,
)

HUMAN = [1, -1, 0, 1, -1, 0, 1, -1, 0]
SCORE_A = np.array([0.9, -0.7, 0.1, 0.8, -0.6, 0.2, 0.7, -0.5, 0.3])
SCORE_B = np.array([0.1, -0.8, 0.5, 0.5, -0.3, 0.3, 0.4, -0.4, 0.4])

coarse_pairs = st.lists(
    st.tuples(st.sampled_from([-1, 0, 1]), st.integers(-6, 6).map(lambda x: x / 2)), min_size=1, max_size=40
)
"""Labels and differences that repeat often."""


def accuracy_with_ties(labels: list[int] | np.ndarray, diff: list[float] | np.ndarray, threshold: float) -> float:
    return float(right_with_ties(labels, diff, threshold).mean())


def legacy_accuracy_with_ties(labels: list[int], diff: list[float] | np.ndarray) -> float:
    return float(legacy_right_with_ties(labels, diff).mean())


def best_by_hand(labels: np.ndarray, diff: np.ndarray) -> float:
    return max(accuracy_with_ties(labels, diff, eps) for eps in [NO_TIES, *np.abs(diff)])


def test_accuracy_on_a_case_worked_by_hand() -> None:
    diff = SCORE_A - SCORE_B
    assert accuracy_without_ties(HUMAN, diff) == pytest.approx(5 / 6)
    assert legacy_accuracy_with_ties(HUMAN, diff) == pytest.approx(2 / 3)
    assert accuracy_with_ties(HUMAN, diff, 0.15) == pytest.approx(6 / 9)


def test_equal_scores_are_wrong_about_a_decided_pair_and_right_about_a_tie() -> None:
    assert accuracy_without_ties([1, -1, 1], [0.0, 0.0, 2.0]) == pytest.approx(1 / 3)
    assert accuracy_with_ties([0, 0, 1], [0.0, 0.0, 0.0], 0.0) == pytest.approx(2 / 3)
    assert accuracy_with_ties([0, 0, 1], [0.0, 0.0, 0.0], NO_TIES) == 0.0


def test_the_threshold_itself_predicts_a_tie() -> None:
    assert accuracy_with_ties([0, 1], [0.5, 0.5], 0.5) == 0.5
    assert accuracy_with_ties([0, 1], [0.5, 0.75], 0.5) == 1.0


@given(pairs=coarse_pairs)
def test_the_fitted_threshold_is_the_best_and_the_smallest_of_the_best(pairs: list[tuple[int, float]]) -> None:
    labels, diff = np.array(pairs).T
    threshold = fit_threshold(labels, diff)
    best = best_by_hand(labels, diff)
    assert accuracy_with_ties(labels, diff, threshold) == pytest.approx(best)
    smaller = [eps for eps in [NO_TIES, *np.abs(diff)] if eps < threshold]
    assert all(accuracy_with_ties(labels, diff, eps) < best - 1e-12 for eps in smaller)


@given(pairs=coarse_pairs, order=st.randoms(use_true_random=False))
def test_the_fitted_threshold_does_not_depend_on_row_order(pairs: list[tuple[int, float]], order) -> None:
    shuffled = list(pairs)
    order.shuffle(shuffled)
    assert fit_threshold(*np.array(pairs).T) == fit_threshold(*np.array(shuffled).T)


def test_no_threshold_predicts_no_tie_where_nobody_saw_one() -> None:
    assert fit_threshold([1, -1], [0.0, -1.0]) == NO_TIES


def test_the_official_count_may_stop_inside_a_block_that_no_threshold_can_split() -> None:
    labels, diff = [0, 1], [0.5, 0.5]
    assert legacy_accuracy_with_ties(labels, diff) == 1.0
    assert accuracy_with_ties(labels, diff, fit_threshold(labels, diff)) == 0.5


def test_swapping_every_pair_changes_no_accuracy() -> None:
    rng = np.random.default_rng(0)
    labels, diff = rng.integers(-1, 2, 300), rng.standard_normal(300)
    assert accuracy_without_ties(-labels, -diff) == accuracy_without_ties(labels, diff)
    assert fit_threshold(-labels, -diff) == fit_threshold(labels, diff)


@pytest.mark.parametrize(("tie_share", "expected"), [(0.1, 0.45), (0.7, 0.7)])
def test_random_baseline_nears_its_limit_for_many_pairs(tie_share: float, expected: float) -> None:
    labels = np.zeros(4000, dtype=int)
    labels[int(4000 * tie_share) :] = np.resize([1, -1], 4000 - int(4000 * tie_share))
    assert random_baseline(labels, num_draws=40) == pytest.approx(expected, abs=0.01)
    assert always_tie(labels) == pytest.approx(tie_share)


def test_random_baseline_shows_how_much_fitting_flatters_on_few_pairs() -> None:
    few = random_baseline([1, -1, 0] * 4)
    assert few > 1 / 3 + 0.08
    assert random_baseline([1, -1, 0] * 4) == few
    assert random_baseline([1, -1, 0] * 4, rng=np.random.default_rng(5)) != few


def test_ties_count_half_and_exchanging_the_two_mirrors_the_outcomes() -> None:
    base, candidate = [0.0, 0.0, 0.0, 0.0], [1.0, -1.0, 0.0, 2.0]
    assert outcomes(base, candidate).tolist() == [1.0, 0.0, 0.5, 1.0]
    assert outcomes(candidate, base).tolist() == [0.0, 1.0, 0.5, 0.0]
    assert outcomes(base, base).tolist() == [0.5] * 4


def test_held_out_baseline_is_what_meaningless_scores_reach_on_other_pairs() -> None:
    rng = np.random.default_rng(2)
    reached, told = [], []
    for _ in range(150):
        labels = np.where(rng.random(60) < 0.4, 0, rng.choice([-1, 1], 60))
        diff, half = rng.standard_normal(60), np.arange(60) < 30
        threshold = fit_threshold(labels[half], diff[half])
        reached.append(accuracy_with_ties(labels[~half], diff[~half], threshold))
        told.append(held_out_baseline(labels[~half], labels[half], rng=rng, num_draws=20))
    assert np.mean(told) == pytest.approx(np.mean(reached), abs=0.015)
    assert np.mean(told) < np.mean([random_baseline(np.where(rng.random(30) < 0.4, 0, 1)) for _ in range(10)]) - 0.05


def test_held_out_baseline_of_one_kind_of_verdict_is_exact() -> None:
    rng = np.random.default_rng(0)
    assert held_out_baseline([0, 0], [0] * 99, rng=rng) == pytest.approx(0.99)
    assert held_out_baseline([1, -1], [0] * 99, rng=rng) == pytest.approx(0.005)
    assert math.isnan(held_out_baseline([], [0, 1], rng=rng))


def test_a_share_of_nothing_is_nan() -> None:
    assert math.isnan(accuracy_without_ties([0, 0], [1.0, 2.0]))
    assert math.isnan(always_tie([]))
    assert right_with_ties([], [], 0.0).tolist() == legacy_right_with_ties([], []).tolist() == []


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ValueError, match=r"labels must be \+1, -1 or 0"):
        accuracy_without_ties([1, 22], [0.1, 0.2])
    with pytest.raises(ValueError, match="diff must be finite"):
        accuracy_with_ties([1, 0], [0.1, math.nan], 0.0)
    with pytest.raises(ValueError, match="must both have shape"):
        fit_threshold([1, 0], [0.1])
    with pytest.raises(ValueError, match="must share one shape"):
        outcomes([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="scores must be finite"):
        outcomes([1.0, math.nan], [1.0, 2.0])
