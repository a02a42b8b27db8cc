"""Whether one of two judges is right more often than the other on the same questions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from videoalign.stats.resampling import sum_by_cluster


def sign_flip(differences: ArrayLike, clusters: Sequence[Hashable] | NDArray[np.generic]) -> float:
    """Two-sided p-value of the exact sign-flip test that of two judges none is right more often, where questions of one
    cluster (one prompt) are not independent.

    If the judges are alike, the sum of the differences of a cluster is as likely to have the other sign. So p is the
    share of all ways to give the sums signs that lead as far from 0 as they do; 1 where there is no difference. With
    one question a cluster this is McNemar's exact test.

    Args:
        differences: of each question, 1 where the first alone is right, -1 where the second alone is, else 0, (N,).
        clusters: what each question belongs to, N of them.

    Raises:
        ValueError: another difference, lengths that differ.
    """
    values = np.asarray(differences)
    if values.ndim != 1 or len(values) != len(clusters) or not np.isin(values, (-1, 0, 1)).all():
        raise ValueError(f"differences must be -1, 0 or 1, one a cluster's name; got {values.shape}, {len(clusters)}")
    sums = sum_by_cluster(values.astype(np.float64), list(clusters)).astype(np.int64)
    chances = np.ones(1)  # of each total, from -size to size in steps of 2
    for size in np.abs(sums[sums != 0]).tolist():
        longer = np.zeros(len(chances) + size)
        longer[: len(chances)] += chances / 2
        longer[size:] += chances / 2
        chances = longer
    totals = 2 * np.arange(len(chances)) - (len(chances) - 1)
    return min(float(chances[np.abs(totals) >= abs(int(sums.sum()))].sum()), 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) p-values over a family of tests, in the order given: rejecting those up to alpha keeps the chance
    of any false rejection at alpha."""
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values)
    stepped = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(value) for value in adjusted]
