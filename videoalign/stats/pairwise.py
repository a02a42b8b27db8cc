"""Counting over pairs: which are predicted correctly with and without ties, baselines of that, and who wins.

Labels are numbers: +1 where A was preferred, -1 where B was, 0 for a tie. ``diff`` is score of A minus score of B. A
share of nothing (no decided pair, no pair at all) is nan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

NO_TIES = -1.0
"""The threshold under which no pair is predicted to be a tie."""

NUM_FOLDS = 5


def folds(prompts: Labels, num_folds: int = NUM_FOLDS, seed: int = 0) -> list[NDArray[np.bool_]]:
    """Which rows belong to each fold, (N,) each: whole prompts, in an order that the rows do not decide. No fold at all
    for fewer than two prompts, which leave nothing to fit on.

    Args:
        prompts: number of each row's prompt, from 0, (N,).
        num_folds: how many, at most.
        seed: of the order.
    """
    num_prompts = int(prompts.max(initial=-1)) + 1
    count = min(num_folds, num_prompts)
    if count < 2:
        return []
    fold_of = np.empty(num_prompts, dtype=np.int64)
    fold_of[np.random.default_rng(seed).permutation(num_prompts)] = np.arange(num_prompts) % count
    return [fold_of[prompts] == fold for fold in range(count)]


def in_order(labels: ArrayLike, diff: ArrayLike) -> NDArray[np.bool_]:
    """Which pairs are decided and have scores in the judged order, (N,); equal scores are in none. Arguments and errors
    as in `accuracy_without_ties`."""
    labels, diff = _checked(labels, diff)
    return labels * diff > 0


def accuracy_without_ties(labels: ArrayLike, diff: ArrayLike) -> float:
    """Share of decided pairs whose scores are in the judged order; equal scores count as wrong.

    Args:
        labels: +1, -1 or 0, (N,).
        diff: score differences, finite, (N,).

    Raises:
        ValueError: another label, a difference that is not finite, lengths that differ.
    """
    right = in_order(labels, diff)
    return _share(right[np.asarray(labels) != 0])


def right_with_ties(labels: ArrayLike, diff: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Which pairs are predicted correctly when a tie is predicted exactly where |diff| <= threshold, (N,).

    Equal scores above the threshold (only with `NO_TIES`) predict nothing and count as wrong. Arguments and errors as
    in `accuracy_without_ties`.
    """
    labels, diff = _checked(labels, diff)
    return np.where(np.abs(diff) <= threshold, labels == 0, in_order(labels, diff))


def fit_threshold(labels: ArrayLike, diff: ArrayLike) -> float:
    """The threshold that gives the best accuracy with ties: `NO_TIES` or one of the observed |diff|.

    Of equally good ones the smallest, so the answer does not depend on the order of the rows. Fit it on pairs whose
    prompts are not among those it is used on; fitted on the same pairs it flatters the scores (`random_baseline` shows
    by how much). Arguments and errors as in `accuracy_without_ties`.
    """
    labels, diff = _checked(labels, diff)
    distances, row = np.unique(np.abs(diff), return_inverse=True)
    right_as_tie = np.bincount(row, weights=labels == 0, minlength=len(distances))
    right_as_order = np.bincount(row, weights=in_order(labels, diff), minlength=len(distances))
    right = right_as_order.sum() + np.concatenate([[0.0], np.cumsum(right_as_tie - right_as_order)])
    best = int(np.argmax(right))
    return NO_TIES if best == 0 else float(distances[best - 1])


def cross_fit_right(labels: Labels, diff: Floats, prompts: Labels, *, seed: int = 0) -> Floats:
    """1 where a pair is predicted correctly with ties and 0 elsewhere, (N,), each fold of prompts under the threshold
    that is best on the others; nan with pairs of one prompt alone. Arguments as of `folds` and `fit_threshold`."""
    right = np.full(len(labels), math.nan)
    for fold in folds(prompts, seed=seed):
        threshold = fit_threshold(labels[~fold], diff[~fold])
        right[fold] = right_with_ties(labels[fold], diff[fold], threshold)
    return right


def legacy_right_with_ties(labels: ArrayLike, diff: ArrayLike) -> NDArray[np.bool_]:
    """Which pairs the official VideoAlign code counts as right with ties, (N,), to compare with published figures.

    It takes the pairs in order of |diff| (equal ones in row order) and turns one after another into a predicted tie,
    keeping the best accuracy. So it fits on the pairs it is reported on, never tries to predict no tie at all, and may
    stop inside a block of equal |diff|, which no threshold can do. Algorithm 1 of Deutsch et al. (arXiv 2305.14324).
    Arguments and errors as in `accuracy_without_ties`.
    """
    labels, diff = _checked(labels, diff)
    as_tie, as_order = labels == 0, in_order(labels, diff)
    order = np.argsort(np.abs(diff), kind="stable")
    gained = np.cumsum(as_tie[order].astype(int) - as_order[order].astype(int))
    ties = order[: int(np.argmax(gained)) + 1] if len(order) else order
    right = as_order.copy()
    right[ties] = as_tie[ties]
    return right


def random_baseline(labels: ArrayLike, *, rng: np.random.Generator | None = None, num_draws: int = 200) -> float:
    """Accuracy with ties that scores without any meaning reach when their threshold is fitted on the same pairs, as the
    official count does; `held_out_baseline` is what they reach on others.

    The mean over draws: the pairs in a random order of |diff|, each put in order by a coin. For many pairs it nears
    max(P(tie), (1 - P(tie)) / 2); for few it is above, by as much as fitting flatters. Without ties the same scores
    reach one half.

    Args:
        labels: +1, -1 or 0, (N,).
        rng: where the draws come from; the same draws at every call when left out.
        num_draws: how many.

    Raises:
        ValueError: another label.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    labels = np.asarray(labels)
    ties = _checked(labels, np.zeros(labels.shape))[0] == 0
    best = []
    for _ in range(num_draws):
        right = ~ties & (rng.random(len(ties)) < 0.5)
        gained = np.cumsum(rng.permutation(ties.astype(int) - right.astype(int)))
        best.append(right.sum() + gained.max(initial=0))
    return float(np.mean(best) / len(ties)) if len(ties) else math.nan


def held_out_baseline(
    labels: ArrayLike, fitted_on: ArrayLike, *, rng: np.random.Generator, num_draws: int = 200
) -> float:
    """Accuracy with ties that scores without any meaning reach on pairs when their threshold is fitted on other pairs.

    The mean over draws of the other pairs in a random order of |diff|, each put in order by a coin: the threshold that
    is best there calls the same share of these pairs ties; the rest are put in order by a coin.

    Args:
        labels: +1, -1 or 0 of the pairs that count, (N,).
        fitted_on: of the others, (M,), M at least 1.
        rng: where the draws come from.
        num_draws: how many.

    Raises:
        ValueError: another label.
    """
    ties, others = (
        _checked(found, np.zeros(np.shape(found)))[0] == 0 for found in map(np.asarray, (labels, fitted_on))
    )
    called = 0.0
    for _ in range(num_draws):
        right = ~others & (rng.random(len(others)) < 0.5)
        gained = np.concatenate([[0], np.cumsum(rng.permutation(others.astype(int) - right.astype(int)))])
        called += float(np.argmax(gained)) / (len(others) + 1) / num_draws
    return _share(np.where(ties, called, (1 - called) / 2))


def cross_fit_random(labels: Labels, prompts: Labels, *, seed: int = 0) -> float:
    """What the mean of `cross_fit_right` is on average when the scores mean nothing; nan with pairs of one prompt
    alone."""
    rng, parts = np.random.default_rng(seed), folds(prompts, seed=seed)
    right = sum(fold.sum() * held_out_baseline(labels[fold], labels[~fold], rng=rng) for fold in parts)
    return float(right / len(labels)) if parts else math.nan


def cross_fit_makers(
    labels: Labels, makers: Sequence[tuple[str, str]], prompts: Labels, *, seed: int = 0
) -> float | None:
    """Accuracy without ties of ordering two clips by how often their makers win on the other folds of prompts.

    Args:
        labels: as above, (N,).
        makers: names of who made A and B of each pair, empty where unknown, (N,).
        prompts: as of `folds`.
        seed: of the folds.

    Returns:
        None when fewer than two makers are known, no decided pair compares two of them, or all pairs are of one prompt.
    """
    known = np.array([bool(a and b) and a != b for a, b in makers], dtype=bool)
    decided = known & (labels != 0)
    parts = folds(prompts, seed=seed)
    if not (decided.any() and parts):
        return None
    names, codes = np.unique(np.array(makers), return_inverse=True)
    sides, diff = codes.reshape(-1, 2), np.zeros(len(labels))
    for fold in parts:
        seen, points = sides[known & ~fold], labels[known & ~fold]
        won = np.bincount(seen[:, 0], points, len(names)) - np.bincount(seen[:, 1], points, len(names))
        strength = won / np.maximum(np.bincount(seen.ravel(), minlength=len(names)), 1)
        diff[fold] = strength[sides[fold, 0]] - strength[sides[fold, 1]]
    return accuracy_without_ties(labels[decided], diff[decided])


def always_tie(labels: ArrayLike) -> float:
    """Accuracy with ties of always predicting a tie: the share of ties. Labels (N,) as above."""
    labels = np.asarray(labels)
    return _share(_checked(labels, np.zeros(labels.shape))[0] == 0)


def outcomes(base: ArrayLike, candidate: ArrayLike) -> NDArray[np.float64]:
    """1 where the candidate scores higher, 0 where lower, 1/2 where equal; same shape as both.

    Args:
        base: scores of the base, finite, (N,) or (N, D).
        candidate: scores of the candidate on the same prompts and seeds, same shape.

    Raises:
        ValueError: shapes that differ, scores that are not finite.
    """
    base, candidate = np.asarray(base, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if base.shape != candidate.shape:
        raise ValueError(f"base and candidate must share one shape; got {base.shape} and {candidate.shape}")
    if not (np.isfinite(base).all() and np.isfinite(candidate).all()):
        raise ValueError("scores must be finite")
    return (np.sign(candidate - base) + 1) / 2


def _checked(labels: ArrayLike, diff: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    label_array, diff_array = np.asarray(labels), np.asarray(diff, dtype=np.float64)
    if label_array.ndim != 1 or label_array.shape != diff_array.shape:
        raise ValueError(f"labels and diff must both have shape (N,); got {label_array.shape} and {diff_array.shape}")
    if not np.isin(label_array, (-1, 0, 1)).all():
        raise ValueError("labels must be +1, -1 or 0; leave out pairs without a judgement")
    if not np.isfinite(diff_array).all():
        raise ValueError("diff must be finite; leave out pairs without a score")
    return label_array.astype(np.int64), diff_array


def _share(right: NDArray[np.bool_] | NDArray[np.float64]) -> float:
    return float(np.mean(right)) if len(right) else math.nan
