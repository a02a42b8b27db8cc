"""Checks of a single rater: shares with intervals, a leaning to one side, and times far from everybody's."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from videoalign.stats.resampling import Estimate
from videoalign.stats.shares import wilson_interval

FAR = 3.5
"""Robust z beyond which a time is called an outlier, as Iglewicz and Hoaglin (1993) advise."""


def share_with_interval(num: int, total: int) -> Estimate:
    """``num`` of ``total`` with Wilson's 95% interval; all nan of nothing."""
    if not total:
        return Estimate(math.nan, math.nan, math.nan)
    return Estimate(num / total, *wilson_interval(num / total, total, clusters=max(total, 2), effect=1.0))


class LeftBias(NamedTuple):
    """Whether a rater leans to the clip on one side."""

    share: Estimate
    """Of decided verdicts that went to the clip on the left."""
    num: int
    """Decided verdicts."""
    p_value: float
    """Two-sided exact binomial test that left and right are as likely; nan without a verdict."""


def left_bias(num_left: int, num_right: int) -> LeftBias:
    """From how many decided verdicts went to the clip on each side; fair when sides are drawn anew for each pair."""
    num = num_left + num_right
    p_value = min(1.0, 2 * float(bdtr(min(num_left, num_right), num, 0.5))) if num else math.nan
    return LeftBias(share_with_interval(num_left, num), num, p_value)


def robust_z(values: ArrayLike) -> NDArray[np.float64]:
    """How far each value (N,) is from the median, in deviations that a few far ones do not move.

    The deviation is the median distance to the median over 0.6745, or the mean distance times 1.2533 where more than
    half of the values are the same; 0 everywhere when all are.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return values
    far = values - np.median(values)
    deviation = float(np.median(np.abs(far))) / 0.6745 or float(np.abs(far).mean()) * 1.2533
    z: NDArray[np.float64] = far / deviation if deviation else np.zeros(len(values))
    return z
