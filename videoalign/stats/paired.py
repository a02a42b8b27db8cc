"""Whether one of two judges is right more often than the other on the same questions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p-value of McNemar's exact test: that of those questions that one judge alone gets right, each is as
    likely to be the one; 1 where there are none.

    Args:
        only_first: questions that the first alone gets right, at least 0.
        only_second: likewise the second.
    """
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) p-values over a family of tests, in the order given: rejecting those up to alpha keeps the chance
    of any false rejection at alpha."""
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values)
    stepped = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(value) for value in adjusted]
