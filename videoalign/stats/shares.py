"""Shares of clips or pairs, with intervals that hold where rows of one prompt resemble each other, and means."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from videoalign.stats.resampling import Estimate, sum_by_cluster

Floats = NDArray[np.float64]

LEVEL = 0.95
"""How often an interval is to hold the true share."""

PRIOR_CORRELATION = 0.15
"""How much rows of one cluster are taken to resemble each other before anything is seen."""


def share(
    values: ArrayLike, clusters: Sequence[Hashable] | NDArray[np.generic] | None = None, *, level: float = LEVEL
) -> Estimate:
    """The mean of values in [0, 1] with its interval; see `share_of_sums`.

    Args:
        values: 1 for a row that counts, 0 for one that does not, 1/2 for a tie, (N,).
        clusters: what each row belongs to (its prompt), N of them; None where all rows are independent.
        level: how often the interval is to hold the true share, in (0, 1).

    Raises:
        ValueError: lengths that differ, values outside [0, 1], a level outside (0, 1).
    """
    values = np.asarray(values, dtype=np.float64)
    names = range(len(values)) if clusters is None else clusters
    if values.ndim != 1 or len(values) != len(names):
        raise ValueError(f"values must be (N,) and clusters as many; got {values.shape} and {len(names)}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("values must be in [0, 1]")
    sums = sum_by_cluster(np.stack([values, np.ones(len(values))], axis=1), list(names))
    return share_of_sums(sums[:, 0], sums[:, 1], level=level)


def mean_interval(values: ArrayLike, *, level: float = LEVEL) -> Estimate:
    """The mean of numbers with Student's t interval, which holds for few of them where they are near normal.

    Args:
        values: independent of each other, (N,).
        level: share of such intervals that hold the true mean, in (0, 1).

    Returns:
        nan at both ends for a single value, which tells nothing about how far others lie.

    Raises:
        ValueError: no values.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not len(found):
        raise ValueError(f"values must be (N,), at least one; got {found.shape}")
    value, num = float(found.mean()), len(found)
    if num < 2:
        return Estimate(value, math.nan, math.nan)
    half = float(stdtrit(num - 1, (1 + level) / 2) * found.std(ddof=1)) / math.sqrt(num)
    return Estimate(value, value - half, value + half)


def share_of_sums(counted: ArrayLike, totals: ArrayLike, *, level: float = LEVEL) -> Estimate:
    """The share of rows that count, from sums by cluster, with Wilson's score interval for clustered rows.

    Wilson (1927) takes every p for possible at which the share found lies within z standard errors, the error being
    that at p itself; so the interval lies in [0, 1], has a width always, and exchanging what counts with what does not
    mirrors it. The variance p (1 - p) / N is multiplied by the design effect: the variance between clusters over what
    independent rows would have. It is below 1 where many rows are ties. Beside the data stands a prior of weight 1, the
    design effect under `PRIOR_CORRELATION`, which decides where all rows agree; what the design effect has over 1 is an
    estimate from so many clusters, so there z gives way to Student's t with (clusters - 1) degrees of freedom.
    ``benchmarks/coverage.py`` measures how often it holds the truth.

    Args:
        counted: sum of the values in [0, 1] of each cluster's rows, (C,).
        totals: number of the cluster's rows, above 0, (C,).
        level: how often the interval is to hold the true share, in (0, 1).

    Returns:
        All nan without a row; an interval from 0 to 1 for one cluster, which tells nothing about others.

    Raises:
        ValueError: a level outside (0, 1).
    """
    counted, totals = np.asarray(counted, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    if not len(totals):
        return Estimate(math.nan, math.nan, math.nan)
    value = float(counted.sum() / totals.sum())
    effect = design_effect(counted, totals)
    return Estimate(value, *wilson_interval(value, float(totals.sum()), len(totals), effect, level=level))


def design_effect(counted: ArrayLike, totals: ArrayLike) -> float:
    """By how much rows of one cluster resembling each other multiply the variance of a share, see `share_of_sums`; nan
    for fewer than two clusters."""
    counted, totals = np.asarray(counted, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    clusters = len(totals)
    if clusters < 2:
        return math.nan
    num, value = float(totals.sum()), float(counted.sum() / totals.sum())
    between = float(((counted - value * totals) ** 2).sum()) * clusters / (clusters - 1)
    together = float((totals**2).sum()) / num  # rows in the cluster of an average row
    return (between + 1 + PRIOR_CORRELATION * (together - 1)) / (num * value * (1 - value) + 1)


def wilson_interval(
    value: float, num: float, clusters: int, effect: float, *, level: float = LEVEL
) -> tuple[float, float]:
    """Both ends of the interval of `share_of_sums`.

    Args:
        value: the share.
        num: rows.
        clusters: what they belong to; one tells nothing about others, and its interval is from 0 to 1.
        effect: see `design_effect`.
        level: how often the interval is to hold the true share, in (0, 1).

    Raises:
        ValueError: a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1); got {level}")
    if clusters < 2:
        return 0.0, 1.0
    if value > 0.5:
        low, high = wilson_interval(1 - value, num, clusters, effect, level=level)
        return 1 - high, 1 - low
    z, wide = ndtri((1 - level) / 2), stdtrit(clusters - 1, (1 - level) / 2)  # below 0; only their squares count
    spread = float(z**2 * min(effect, 1.0) + wide**2 * max(effect - 1.0, 0.0)) / num
    middle = value + spread / 2
    half = math.sqrt(spread * (value * (1 - value) + spread / 4))
    return max((middle - half) / (1 + spread), 0.0), min((middle + half) / (1 + spread), 1.0)
