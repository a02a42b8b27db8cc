"""Intervals of what is no share, by drawing whole clusters anew."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Statistic = Callable[[Floats], Floats]
"""From how often each cluster counts, (n, C), to n numbers or n rows of them."""

PART = 64
"""Resamples that are held at once."""


class Estimate(NamedTuple):
    """A number with the ends of its interval; nan where there is none."""

    value: float
    low: float
    high: float


def cluster_numbers(clusters: Sequence[Hashable]) -> NDArray[np.int64]:
    """The clusters numbered from 0 in the order in which they first stand, (N,)."""
    codes: dict[Hashable, int] = {}
    return np.array([codes.setdefault(cluster, len(codes)) for cluster in clusters], dtype=np.int64)


def sum_by_cluster(rows: Floats, clusters: Sequence[Hashable]) -> Floats:
    """Rows (N, ...) added up by cluster, (C, ...), in the order of `cluster_numbers`."""
    numbers = cluster_numbers(clusters)
    sums = np.zeros((int(numbers.max(initial=-1)) + 1, *rows.shape[1:]))
    np.add.at(sums, numbers, rows)
    return sums


def drawn_counts(num_clusters: int, rng: np.random.Generator, num: int) -> Iterator[Floats]:
    """How often each cluster counts, (n, C), in as many draws with replacement as there are clusters; ``num`` resamples
    in parts, so that memory stays flat."""
    for start in range(0, num, PART):
        drawn = rng.integers(num_clusters, size=(min(PART, num - start), num_clusters))
        yield np.stack([np.bincount(row, minlength=num_clusters) for row in drawn]).astype(np.float64)


def resample(num_clusters: int, statistic: Statistic, *, rng: np.random.Generator, num: int) -> Floats:
    """The statistic of ``num`` resamples of whole clusters, (num,) or (num, ...); arguments as of `bootstrap`."""
    return np.concatenate([statistic(counts) for counts in drawn_counts(num_clusters, rng, num)])


def of_sums(sums: Floats, statistic: Callable[[Floats], Floats]) -> Statistic:
    """A statistic of totals over clusters as `bootstrap` wants it.

    Args:
        sums: one row a cluster, (C, ...).
        statistic: from totals (n, ...) to n numbers or n rows of them.
    """
    return lambda counts: statistic(np.tensordot(counts, sums, axes=1))


def percentile_ends(values: Floats, level: float = 0.95) -> Floats:
    """Lower and upper end (2, ...) of the middle share ``level`` of resampled values (num, ...), leaving out nan."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        ends: Floats = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return ends


def bootstrap(
    num_clusters: int, statistic: Statistic, *, rng: np.random.Generator, num: int = 2000, level: float = 0.95
) -> Estimate:
    """A statistic with its percentile interval when rows of one cluster (one prompt) are not independent.

    Whole clusters are drawn with replacement. With few of them (below about twenty) the interval is somewhat too
    narrow, with fewer than two there is none. For shares use `stats.shares`, whose intervals hold near 0 and 1 as well.

    Args:
        num_clusters: C.
        statistic: from how often each cluster counts, (n, C), to n numbers, nan where it has none; see `of_sums`.
        rng: where the draws come from.
        num: number of resamples; those without a value are left out.
        level: share of resamples inside the interval, in (0, 1).

    Raises:
        ValueError: a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1); got {level}")
    value = float(statistic(np.ones((1, num_clusters)))[0]) if num_clusters else math.nan
    if num_clusters < 2 or math.isnan(value):
        return Estimate(value, math.nan, math.nan)
    low, high = percentile_ends(resample(num_clusters, statistic, rng=rng, num=num), level)
    return Estimate(value, float(low), float(high))
