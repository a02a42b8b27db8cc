from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videoalign.stats.pairwise import (
    NO_TIES,
    accuracy_with_ties,
    accuracy_without_ties,
    always_tie,
    cluster_bootstrap,
    fit_threshold,
    legacy_accuracy_with_ties,
    outcomes,
    random_baseline,
    win_rate,
)

HUMAN = [1, -1, 0, 1, -1, 0, 1, -1, 0]
SCORE_A = np.array([0.9, -0.7, 0.1, 0.8, -0.6, 0.2, 0.7, -0.5, 0.3])
SCORE_B = np.array([0.1, -0.8, 0.5, 0.5, -0.3, 0.3, 0.4, -0.4, 0.4])

coarse_pairs = st.lists(
    st.tuples(st.sampled_from([-1, 0, 1]), st.integers(-6, 6).map(lambda x: x / 2)), min_size=1, max_size=40
)
"""Labels and differences that repeat often."""


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


def test_ties_count_half_in_a_win_rate() -> None:
    base, candidate = [0.0, 0.0, 0.0, 0.0], [1.0, -1.0, 0.0, 2.0]
    assert outcomes(base, candidate).tolist() == [1.0, 0.0, 0.5, 1.0]
    assert win_rate(base, candidate) == 0.625
    assert win_rate(candidate, base) == 0.375
    assert win_rate(base, base) == 0.5


def test_bootstrap_of_independent_rows_agrees_with_the_normal_interval() -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal(400)
    low, high = cluster_bootstrap(values, range(400), rng=rng, num=4000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.01)
    assert high == pytest.approx(values.mean() + half, abs=0.01)


def test_copies_within_a_cluster_do_not_narrow_the_interval() -> None:
    values, clusters = np.random.default_rng(2).standard_normal(50), np.arange(50)
    once = cluster_bootstrap(values, clusters, rng=np.random.default_rng(3))
    copied = cluster_bootstrap(np.repeat(values, 8), np.repeat(clusters, 8), rng=np.random.default_rng(3))
    assert copied == pytest.approx(once)
    naive = cluster_bootstrap(np.repeat(values, 8), range(400), rng=np.random.default_rng(3))
    assert naive[1] - naive[0] < 0.5 * (once[1] - once[0])


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """60 prompts of 1 to 6 clips, half of the variance between prompts."""
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(300):
        sizes = rng.integers(1, 7, 60)
        prompts = np.repeat(np.arange(60), sizes)
        values = rng.standard_normal(60)[prompts] + rng.standard_normal(len(prompts))
        low, high = cluster_bootstrap(values, prompts, rng=rng, num=400)
        covered += low <= 0 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_a_statistic_of_ones_own_gets_whole_rows_of_whole_clusters() -> None:
    rng = np.random.default_rng(5)
    values = rng.standard_normal(40)
    clusters = [f"prompt-{i // 4}" for i in range(40)]
    by_mean = cluster_bootstrap(values, clusters, rng=np.random.default_rng(6), num=300)
    by_hand = cluster_bootstrap(values, clusters, np.mean, rng=np.random.default_rng(6), num=300)
    assert by_hand == pytest.approx(by_mean)
    labels = np.resize([1.0, -1.0], 40)
    accuracy = cluster_bootstrap(
        np.stack([labels, values], axis=1),
        clusters,
        lambda rows: accuracy_without_ties(rows[:, 0], rows[:, 1]),
        rng=np.random.default_rng(6),
        num=300,
    )
    right = cluster_bootstrap(labels * values > 0, clusters, rng=np.random.default_rng(6), num=300)
    assert accuracy == pytest.approx(right)


def test_a_share_of_nothing_is_nan() -> None:
    assert math.isnan(accuracy_without_ties([0, 0], [1.0, 2.0]))
    assert math.isnan(accuracy_with_ties([], [], 0.0))
    assert math.isnan(legacy_accuracy_with_ties([], []))
    assert math.isnan(always_tie([]))
    assert math.isnan(win_rate([], []))
    assert all(map(math.isnan, cluster_bootstrap([1.0, 2.0], ["only", "only"], rng=np.random.default_rng(0))))


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ValueError, match=r"labels must be \+1, -1 or 0"):
        accuracy_without_ties([1, 22], [0.1, 0.2])
    with pytest.raises(ValueError, match="diff must be finite"):
        accuracy_with_ties([1, 0], [0.1, math.nan], 0.0)
    with pytest.raises(ValueError, match="must both have shape"):
        fit_threshold([1, 0], [0.1])
    with pytest.raises(ValueError, match="must share one shape"):
        win_rate([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="scores must be finite"):
        win_rate([1.0, math.nan], [1.0, 2.0])
    with pytest.raises(ValueError, match="one length above 0"):
        cluster_bootstrap([1.0, 2.0], ["a"], rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"level must be in \(0, 1\)"):
        cluster_bootstrap([1.0, 2.0], ["a", "b"], rng=np.random.default_rng(0), level=95)
    with pytest.raises(ValueError, match=r"values of shape \(N,\)"):
        cluster_bootstrap(np.zeros((2, 2)), ["a", "b"], rng=np.random.default_rng(0))
