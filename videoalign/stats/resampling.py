"""Intervals by drawing whole clusters anew, for statistics that depend on sums over the rows alone."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


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


def resampled_sums(sums: Floats, rng: np.random.Generator, num: int) -> Floats:
    """Totals (num, ...) over as many clusters as there are, drawn with replacement from their sums (C, ...)."""
    flat = sums.reshape(len(sums), -1)
    totals = np.empty((num, flat.shape[1]))
    for draw in totals:
        draw[:] = np.bincount(rng.integers(len(flat), size=len(flat)), minlength=len(flat)) @ flat
    return totals.reshape(num, *sums.shape[1:])


def percentile_ends(values: Floats, level: float = 0.95) -> Floats:
    """Lower and upper end (2, ...) of the middle share ``level`` of resampled values (num, ...), leaving out nan."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        ends: Floats = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return ends


def bootstrap(
    sums: Floats,
    statistic: Callable[[Floats], Floats],
    *,
    rng: np.random.Generator,
    num: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """A statistic of the total with its percentile interval; with fewer than two clusters there is no interval.

    Args:
        sums: one row a cluster (a prompt), (C, ...).
        statistic: from totals (n, ...) to n numbers, nan where it has none.
        rng: where the draws come from.
        num: number of resamples; those without a value are left out.
        level: share of resamples inside the interval, in (0, 1).
    """
    value = float(statistic(sums.sum(0)[None])[0]) if len(sums) else math.nan
    if len(sums) < 2 or math.isnan(value):
        return Estimate(value, math.nan, math.nan)
    low, high = percentile_ends(statistic(resampled_sums(sums, rng, num)), level)
    return Estimate(value, float(low), float(high))
