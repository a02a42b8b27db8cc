"""One number over dimensions whose scores have scales of their own: each counts in units of how much it varies between
clips of one prompt."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from videoalign.stats.resampling import cluster_numbers, sum_by_cluster

Floats = NDArray[np.float64]

ROUNDING = 1e-6
"""A deviation below this share of the largest score is rounding, not variation."""


def within_deviation(scores: ArrayLike, prompts: Sequence[Hashable]) -> Floats:
    """The deviation of clips of one prompt around their mean, pooled over the prompts, per dimension, (D,).

    The square root of the sum of squared distances to the prompt's mean over (clips - prompts). A dimension that does
    not vary within any prompt, or prompts of one clip each, take the deviation of all clips around their common mean,
    over (clips - 1); 0 where all clips score the same, or there is one alone.

    Args:
        scores: (N, D), finite.
        prompts: what each row belongs to, N of them.

    Raises:
        ValueError: shapes that do not fit, no row, a score that is not finite.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or len(scores) != len(prompts) or not len(scores):
        raise ValueError(f"scores must be (N, D), N above 0, one row a prompt; got {scores.shape}, {len(prompts)}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    least = ROUNDING * np.abs(scores).max(0)
    within = _deviation(scores, cluster_numbers(prompts), least)
    return np.where(within > 0, within, _deviation(scores, np.zeros(len(scores), dtype=np.int64), least))


def overall(scores: ArrayLike, units: ArrayLike, weights: Sequence[float] | None = None) -> Floats:
    """The weighted mean of the dimensions in these units, (N,): sum(w s / unit) / sum(w).

    Args:
        scores: (N, D).
        units: what counts as 1 on each dimension, above 0, (D,); see `within_deviation`.
        weights: of the dimensions, at least 0, not all 0, (D,); None weighs all the same.

    Raises:
        ValueError: a unit that is not above 0.
    """
    scores, units = np.asarray(scores, dtype=np.float64), np.asarray(units, dtype=np.float64)
    if not (units > 0).all():
        raise ValueError(f"units must be above 0; got {units.tolist()}")
    return np.average(scores / units, axis=1, weights=weights)


def _deviation(scores: Floats, groups: NDArray[np.int64], least: Floats) -> Floats:
    counts = np.bincount(groups)
    degrees = len(scores) - len(counts)
    if not degrees:
        return np.zeros(scores.shape[1])
    means = sum_by_cluster(scores, groups.tolist()) / counts[:, None]
    deviation: Floats = np.sqrt(((scores - means[groups]) ** 2).sum(0) / degrees)
    return np.where(deviation > least, deviation, 0.0)
