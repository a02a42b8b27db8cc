from __future__ import annotations

import math

import numpy as np
import pytest

from videoalign.stats.pairwise import cluster_bootstrap
from videoalign.stats.resampling import bootstrap, cluster_numbers, percentile_ends, resampled_sums, sum_by_cluster


def mean(totals: np.ndarray) -> np.ndarray:
    return totals[:, 0] / totals[:, 1]


def test_sums_by_cluster_by_hand() -> None:
    assert cluster_numbers(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert sum_by_cluster(rows, ["x", "y", "x"]).tolist() == [[6, 8], [3, 4]]


def test_every_resample_holds_as_many_clusters_as_there_are() -> None:
    totals = resampled_sums(np.eye(5), np.random.default_rng(0), 50)
    assert totals.shape == (50, 5)
    assert (totals.sum(1) == 5).all()


def test_the_interval_of_a_mean_is_that_of_resampled_rows() -> None:
    rng = np.random.default_rng(1)
    values, clusters = rng.normal(size=300), rng.integers(40, size=300).tolist()
    sums = sum_by_cluster(np.stack([values, np.ones(300)], axis=1), clusters)
    found = bootstrap(sums, mean, rng=np.random.default_rng(0))
    assert found.value == pytest.approx(values.mean())
    assert found[1:] == pytest.approx(cluster_bootstrap(values, clusters, rng=np.random.default_rng(0)))


def test_one_cluster_has_no_interval_and_nothing_has_no_value() -> None:
    one = bootstrap(np.array([[3.0, 4.0]]), mean, rng=np.random.default_rng(0))
    assert one.value == 0.75 and math.isnan(one.low) and math.isnan(one.high)
    assert all(math.isnan(x) for x in bootstrap(np.zeros((0, 2)), mean, rng=np.random.default_rng(0)))


def test_resamples_without_a_value_are_left_out() -> None:
    assert percentile_ends(np.array([1.0, math.nan, 1.0]))[0] == 1
    assert np.isnan(percentile_ends(np.array([math.nan, math.nan]))).all()
