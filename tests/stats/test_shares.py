from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest

from videoalign.stats.shares import share, share_of_sums


def experiments(rate: float, num_prompts: int, *, spread: float, num: int, seed: int) -> np.ndarray:
    """Wins by experiment, prompt and clip (num, num_prompts, 2); prompts differ by a normal effect in the logit."""
    rng = np.random.default_rng(seed)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)

    def mean(centre: float) -> float:
        return float(weights @ expit(centre + spread * nodes) / weights.sum())

    low, high = -20.0, 20.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) < rate else (low, middle)
    chance = expit(low + spread * rng.standard_normal((num, num_prompts, 1)))
    return (rng.random((num, num_prompts, 2)) < chance).astype(float)


@pytest.mark.parametrize("num_prompts", [36, 100])
@pytest.mark.parametrize("rate", [0.5, 0.7, 0.9, 0.95, 0.97])
def test_interval_covers_the_true_win_rate_as_often_as_it_says(rate: float, num_prompts: int) -> None:
    wins = experiments(rate, num_prompts, spread=1.5, num=1000, seed=4).sum(2)
    ends = np.array([share_of_sums(row, np.full(num_prompts, 2.0))[1:] for row in wins])
    assert 0.93 <= ((ends[:, 0] <= rate) & (rate <= ends[:, 1])).mean() <= 0.97
    assert (ends[:, 1] - ends[:, 0] > 0.01).all()
    assert ends.min() >= 0 and ends.max() <= 1


def test_interval_covers_with_few_prompts_of_many_clips_and_with_ties() -> None:
    rng = np.random.default_rng(1)
    for num_prompts, per_prompt, ties in ((10, 6, 0.0), (20, 6, 0.0), (36, 2, 0.3), (20, 10, 0.5)):
        win = rng.beta(2 * 0.7, 2 * 0.3, (600, num_prompts, 1))
        drawn = rng.random((600, num_prompts, per_prompt)) < win
        tied = rng.random(drawn.shape) < ties
        sums = np.where(tied, 0.5, drawn).sum(2)
        truth = (1 - ties) * 0.7 + ties / 2
        found = [share_of_sums(row, np.full(num_prompts, float(per_prompt))) for row in sums]
        assert 0.92 <= np.mean([e.low <= truth <= e.high for e in found]) <= 0.98


def test_all_won_still_has_a_width_and_ends_at_one() -> None:
    found = share([1.0] * 72, [i // 2 for i in range(72)])
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.90 < found.low < 0.95  # exact for 36 and for 72 independent clips: 0.903 and 0.950
    lows = [share_of_sums([2.0] * (36 - k) + [1.0] * k, [2.0] * 36).low for k in range(8)]
    assert lows == sorted(lows, reverse=True)


def test_all_tied_is_one_half_with_a_narrow_interval() -> None:
    found = share([0.5] * 72, [i // 2 for i in range(72)])
    assert found.value == 0.5
    assert 0.01 < 0.5 - found.low < 0.05
    assert found.low == pytest.approx(1 - found.high, abs=1e-15)


def test_independent_rows_have_wilsons_interval() -> None:
    """For many rows, where the design effect of independent rows is known to be 1."""
    values = (np.random.default_rng(0).random(4000) < 0.3).astype(float)
    wanted = binomtest(int(values.sum()), 4000).proportion_ci(method="wilson")
    assert share(values)[1:] == pytest.approx((wanted.low, wanted.high), abs=2e-4)


def test_copies_within_a_cluster_do_not_narrow_the_interval() -> None:
    values = (np.random.default_rng(2).random(50) < 0.6).astype(float)
    once, copied = share(values), share(values.repeat(8), np.arange(50).repeat(8))
    assert copied[1:] == pytest.approx(once[1:], abs=0.005)
    naive = share(values.repeat(8))
    assert naive.high - naive.low < 0.5 * (once.high - once.low)


def test_exchanging_what_counts_mirrors_every_figure() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        totals = rng.integers(1, 6, rng.integers(1, 40)).astype(float)
        counted = np.array([rng.integers(0, 2 * n + 1) / 2 for n in totals])
        there, back = share_of_sums(counted, totals), share_of_sums(totals - counted, totals)
        assert there == pytest.approx((1 - back.value, 1 - back.high, 1 - back.low), abs=1e-15)
        assert 0 <= there.low <= there.value <= there.high <= 1
        assert there.high - there.low > 0


def test_order_of_rows_and_names_of_clusters_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    values, clusters = rng.choice([0.0, 0.5, 1.0], 60), rng.integers(20, size=60)
    order = rng.permutation(60)
    named = [f"prompt {c}" for c in clusters[order]]
    assert share(values[order], named) == pytest.approx(share(values, clusters), abs=1e-12)


def test_one_cluster_tells_nothing_about_others_and_nothing_has_no_share() -> None:
    assert share([1.0, 1.0, 0.0], ["a"] * 3) == pytest.approx((2 / 3, 0.0, 1.0))
    assert all(map(math.isnan, share([])))


def test_a_higher_level_is_wider() -> None:
    values = [1.0] * 30 + [0.0] * 6
    assert share(values, level=0.99).low < share(values).low < share(values).high < share(values, level=0.99).high


def test_what_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        share([0.2, 1.1])
    with pytest.raises(ValueError, match="clusters as many"):
        share([0.2], ["a", "b"])
    with pytest.raises(ValueError, match=r"level must be in \(0, 1\)"):
        share([0.2, 0.3], level=95)
