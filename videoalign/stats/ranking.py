"""Strengths of models from comparisons of two under `ties.davidson`, d being the strength of i less that of j.

Every strength and ln nu have a normal prior with mean 0 and deviation `PRIOR_DEVIATION`, worth about half a comparison,
so that a model that never lost still has a strength.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components
from scipy.special import softmax

from videoalign.stats.resampling import Estimate, cluster_numbers, of_sums, percentile_ends, resample
from videoalign.ties import davidson

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

PRIOR_DEVIATION = 3.0


@dataclass(frozen=True, eq=False)
class Fit:
    """What a set of comparisons says of the M compared; the highest point of the posterior and its width."""

    strengths: Floats
    """(M,), of mean 0; a difference of 1 makes winning e times as likely as losing."""
    nu: float
    """Weight of a tie; between equals a tie has probability nu / (nu + 2)."""
    covariance: Floats
    """Of the strengths, (M, M)."""


def fit(pairs: ArrayLike, counts: ArrayLike, num_models: int) -> Fit:
    """Strengths of the models.

    Args:
        pairs: indices i, j below ``num_models`` of who is compared, (P, 2); a pair may stand more than once.
        counts: how often i won, there was a tie, and j won, (P, 3); need not be whole.
        num_models: M.
    """
    design = _design(pairs, num_models)
    counts = np.asarray(counts, dtype=np.float64)
    found = _highest(design, counts[None])
    covariance = np.linalg.inv(_curvature(design, found, counts[None])[0])
    return Fit(found[0, :-1], float(np.exp(found[0, -1])), covariance[:-1, :-1])


def probabilities(difference: ArrayLike, nu: float) -> Floats:
    """P(first wins), P(tie), P(second wins), (..., 3), from the difference of strengths (...)."""
    return _chances(np.asarray(difference, dtype=np.float64), np.log(nu))


def information_gain(fit: Fit, covariance: Floats, pairs: ArrayLike) -> Floats:
    """What one more comparison of each pair (P, 2) is expected to tell of the strengths, in nats, (P,).

    Half the logarithm of how much the volume of their uncertainty shrinks: large where the two are close and little is
    known of their difference.

    Args:
        fit: what is known of strengths and nu.
        covariance: of the strengths before that comparison, (M, M).
        pairs: as in `fit`.
    """
    first, second = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
    variance = covariance[first, first] + covariance[second, second] - 2 * covariance[first, second]
    gain: Floats = np.log1p(_spread(fit.strengths[first] - fit.strengths[second], fit.nu) * variance) / 2
    return gain


def most_informative(fit: Fit, candidates: ArrayLike, num: int) -> list[int]:
    """Which comparisons to ask for next: rows of ``candidates`` (C, 2), best first, at most ``num``.

    Each is chosen as if the ones before it had been judged already, so that one doubtful pair is not chosen again and
    again. Of equally good ones the first row comes first.
    """
    first, second = np.asarray(candidates, dtype=np.int64).reshape(-1, 2).T
    covariance, chosen = fit.covariance, list[int]()
    for _ in range(min(num, len(first))):
        gains = np.round(information_gain(fit, covariance, candidates), 12)
        gains[chosen] = -1
        best = int(np.argmax(gains))
        chosen.append(best)
        i, j = first[best], second[best]
        known = _spread(fit.strengths[i] - fit.strengths[j], fit.nu)
        shift = covariance[i] - covariance[j]
        covariance = covariance - np.outer(shift, shift) * known / (1 + known * (shift[i] - shift[j]))
    return chosen


def linked_groups(pairs: ArrayLike, counts: ArrayLike, num_models: int, *, strongly: bool = False) -> Indices:
    """Number of the group that each model belongs to, (M,), numbered in the order of their first members.

    Models are of one group when comparisons lead from one to the other; strengths of different groups cannot be
    compared. With ``strongly``, when each leads to the other by steps in which the first won or tied: between such
    groups the comparisons alone say only who is ahead, and the prior says how far.
    """
    first, second = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
    counts = np.asarray(counts, dtype=np.float64).reshape(-1, 3)
    not_worse = np.zeros((num_models, num_models))
    np.add.at(not_worse, (first, second), counts[:, 0] + counts[:, 1])
    np.add.at(not_worse, (second, first), counts[:, 2] + counts[:, 1])
    _, groups = connected_components(not_worse > 0, directed=strongly, connection="strong")
    order = {group: number for number, group in enumerate(dict.fromkeys(groups.tolist()))}
    return np.array([order[group] for group in groups.tolist()], dtype=np.int64)


@dataclass(frozen=True)
class Standing:
    """Where one model stands."""

    strength: Estimate
    rank: int
    """1 is best of its group; equals share the better rank."""
    rank_low: int
    """Best rank within the interval of the resamples."""
    rank_high: int
    """Worst."""


def standings(
    pairs: ArrayLike,
    counts: ArrayLike,
    clusters: Sequence[Hashable],
    num_models: int,
    *,
    rng: np.random.Generator,
    num: int = 1000,
) -> list[Standing]:
    """Strength and rank of each model with 95% intervals, drawing whole clusters anew.

    Each group of `linked_groups` has strengths of mean 0 and a ranking of its own.

    Args:
        pairs: (N, 2), as in `fit`.
        counts: (N, 3), as in `fit`.
        clusters: what each row belongs to (its prompt), N of them; with fewer than two, intervals are nan and ranks
            have no width.
        num_models: M.
        rng: where the draws come from.
        num: number of resamples.
    """
    if not num_models:
        return []
    sides = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    kinds, kind = np.unique(sides, axis=0, return_inverse=True)
    numbers = cluster_numbers(clusters)
    sums = np.zeros((int(numbers.max(initial=-1)) + 1, len(kinds), 3))
    np.add.at(sums, (numbers, kind.reshape(-1)), np.asarray(counts, dtype=np.float64).reshape(-1, 3))
    design = _design(kinds, num_models)
    strengths_of = of_sums(sums, lambda totals: _highest(design, totals)[:, :-1])
    strengths = strengths_of(np.ones((1, len(sums))))
    drawn = resample(len(sums), strengths_of, rng=rng, num=num) if len(sums) > 1 else strengths
    ends = percentile_ends(drawn) if len(sums) > 1 else np.full((2, num_models), np.nan)
    groups = linked_groups(kinds, sums.sum(0), num_models)
    ranks = _ranks(strengths, groups)[0]
    low, high = np.round(percentile_ends(_ranks(drawn, groups))).astype(int)
    return [
        Standing(
            Estimate(float(strengths[0, m]), float(ends[0, m]), float(ends[1, m])),
            int(ranks[m]),
            int(low[m]),
            int(high[m]),
        )
        for m in range(num_models)
    ]


def _ranks(strengths: Floats, groups: Indices) -> Floats:
    """Ranks (n, M) within each group of strengths (n, M)."""
    rounded = np.round(strengths, 9)
    together = groups[:, None] == groups
    return 1.0 + ((rounded[:, None, :] > rounded[:, :, None]) & together).sum(2, dtype=np.float64)


def _design(pairs: ArrayLike, num_models: int) -> Floats:
    """+1 for the first and -1 for the second of each pair, (P, M)."""
    first, second = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
    identity = np.eye(num_models)
    return identity[first] - identity[second]


def _highest(design: Floats, counts: Floats) -> Floats:
    """Strengths and ln nu (n, M + 1) of the highest posterior of each set of counts (n, P, 3), by Newton's steps."""
    found = np.zeros((len(counts), design.shape[1] + 1))
    total = counts.sum(2)
    for _ in range(200):
        win, tie, lose = np.moveaxis(_chances(found[:, :-1] @ design.T, found[:, -1:]), 2, 0)
        slope = -found / PRIOR_DEVIATION**2
        slope[:, :-1] += (counts[:, :, 0] - counts[:, :, 2] - total * (win - lose)) @ design / 2
        slope[:, -1] += (counts[:, :, 1] - total * tie).sum(1)
        step = np.linalg.solve(_curvature(design, found, counts), slope[:, :, None])[:, :, 0]
        found = found + np.clip(step, -1, 1)
        if np.abs(step).max(initial=0) < 1e-10:
            break
    return found


def _curvature(design: Floats, found: Floats, counts: Floats) -> Floats:
    """Information about strengths and ln nu, (n, M + 1, M + 1), of data and prior."""
    win, tie, lose = np.moveaxis(_chances(found[:, :-1] @ design.T, found[:, -1:]), 2, 0)
    total = counts.sum(2)
    information = np.tile(np.eye(found.shape[1]) / PRIOR_DEVIATION**2, (len(found), 1, 1))
    weight = total * (win + lose - (win - lose) ** 2) / 4
    information[:, :-1, :-1] += np.einsum("np,pi,pj->nij", weight, design, design, optimize=True)
    shared = -(total * tie * (win - lose) / 2) @ design
    information[:, :-1, -1] += shared
    information[:, -1, :-1] += shared
    information[:, -1, -1] += (total * tie * (1 - tie)).sum(1)
    return information


def _chances(difference: Floats, log_nu: ArrayLike) -> Floats:
    """P(first wins), P(tie), P(second wins), (..., 3), from differences (...) and what broadcasts against them."""
    weights: Floats = softmax(np.stack(np.broadcast_arrays(*davidson(difference, log_nu)), axis=-1), axis=-1)
    return weights


def _spread(difference: ArrayLike, nu: float) -> Floats:
    """What one comparison tells of the difference of strengths: its Fisher information."""
    win, _, lose = np.moveaxis(probabilities(difference, nu), -1, 0)
    spread: Floats = (win + lose - (win - lose) ** 2) / 4
    return spread
