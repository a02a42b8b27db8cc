from __future__ import annotations

import math

import numpy as np
import pytest

from videoalign.stats.resampling import (
    PART,
    Estimate,
    bootstrap,
    cluster_numbers,
    drawn_counts,
    of_sums,
    percentile_ends,
    sum_by_cluster,
)


def mean(totals: np.ndarray) -> np.ndarray:
    return totals[:, 0] / totals[:, 1]


def interval_of_mean(values: np.ndarray, clusters: list, rng: np.random.Generator, num: int = 2000) -> Estimate:
    sums = sum_by_cluster(np.stack([values, np.ones(len(values))], axis=1), clusters)
    return bootstrap(len(sums), of_sums(sums, mean), rng=rng, num=num)


def test_sums_by_cluster_by_hand() -> None:
    assert cluster_numbers(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert sum_by_cluster(rows, ["x", "y", "x"]).tolist() == [[6, 8], [3, 4]]


def test_every_resample_holds_as_many_clusters_as_there_are() -> None:
    parts = list(drawn_counts(5, np.random.default_rng(0), PART + 3))
    assert [part.shape for part in parts] == [(PART, 5), (3, 5)]
    assert all((part.sum(1) == 5).all() for part in parts)


def test_the_interval_is_that_of_resampled_rows() -> None:
    """As a plain loop finds it that draws whole clusters of rows."""
    rng = np.random.default_rng(1)
    values, clusters = rng.normal(size=300), rng.integers(40, size=300)
    found = interval_of_mean(values, clusters.tolist(), np.random.default_rng(0))
    draws = [rng.choice(40, 40) for _ in range(2000)]
    plain = [np.concatenate([values[clusters == c] for c in draw]).mean() for draw in draws]
    assert found.value == pytest.approx(values.mean())
    assert found[1:] == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.01)


def test_independent_rows_have_the_normal_interval() -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal(400)
    _, low, high = interval_of_mean(values, list(range(400)), rng, num=4000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_copies_within_a_cluster_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(2).standard_normal(50)
    once = interval_of_mean(values, list(range(50)), np.random.default_rng(3))
    copied = interval_of_mean(values.repeat(8), np.arange(50).repeat(8).tolist(), np.random.default_rng(3))
    assert copied == pytest.approx(once)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """60 prompts of 1 to 6 clips, half of the variance between prompts."""
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(300):
        prompts = np.repeat(np.arange(60), rng.integers(1, 7, 60))
        values = rng.standard_normal(60)[prompts] + rng.standard_normal(len(prompts))
        _, low, high = interval_of_mean(values, prompts.tolist(), rng, num=400)
        covered += low <= 0 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_an_exchange_of_sides_mirrors_the_interval() -> None:
    values, clusters = np.random.default_rng(5).normal(size=60), [i // 3 for i in range(60)]
    there, back = (interval_of_mean(side, clusters, np.random.default_rng(6)) for side in (values, -values))
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))


def test_one_cluster_has_no_interval_and_nothing_has_no_value() -> None:
    one = interval_of_mean(np.array([0.5, 1.0]), ["only", "only"], np.random.default_rng(0))
    assert one.value == 0.75 and math.isnan(one.low) and math.isnan(one.high)
    sums = np.zeros((0, 2))
    assert all(math.isnan(x) for x in bootstrap(0, of_sums(sums, mean), rng=np.random.default_rng(0)))
    with pytest.raises(ValueError, match=r"level must be in \(0, 1\)"):
        bootstrap(2, of_sums(np.ones((2, 2)), mean), rng=np.random.default_rng(0), level=95)


def test_resamples_without_a_value_are_left_out() -> None:
    assert percentile_ends(np.array([1.0, math.nan, 1.0]))[0] == 1
    assert np.isnan(percentile_ends(np.array([math.nan, math.nan]))).all()
