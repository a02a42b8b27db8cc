"""Judged pairs of one dimension as numbers, in an order of their own, and what is fitted on some of their prompts to
judge the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from videoalign.contracts.records import VOTE_VALUES
from videoalign.data.dataset import JudgedPair
from videoalign.errors import DataError
from videoalign.stats.calibration import fit_tie_law, verdict_probabilities
from videoalign.stats.pairwise import (
    accuracy_without_ties,
    fit_threshold,
    held_out_baseline,
    in_order,
    legacy_right_with_ties,
    right_with_ties,
)

NUM_FOLDS = 5


@dataclass(frozen=True, eq=False)
class PairTable:
    """The pairs of one dimension that carry a verdict."""

    labels: NDArray[np.int64]
    """+1, -1 or 0, (N,)."""
    diff: NDArray[np.float64]
    """Score of A less score of B, (N,)."""
    prompt_ids: tuple[str, ...]
    """(N,)."""
    generators: tuple[tuple[str, str], ...]
    """Makers of A and B, empty where unknown, (N,)."""
    places: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Where each row stood in what was given, (N,); the official count alone depends on it. Empty: as here."""

    @cached_property
    def prompts(self) -> NDArray[np.int64]:
        """Number of each row's prompt, (N,), in the order of their ids."""
        return np.unique(np.array(self.prompt_ids), return_inverse=True)[1]

    @property
    def decided(self) -> NDArray[np.bool_]:
        """Rows that are no ties, (N,)."""
        return self.labels != 0

    @property
    def in_order(self) -> NDArray[np.bool_]:
        """Rows whose scores are in the judged order, (N,)."""
        return in_order(self.labels, self.diff)


def build_table(
    scores: Mapping[str, Sequence[float]],
    pairs: Sequence[JudgedPair],
    dimension: str,
    column: int,
    generators: Mapping[str, str],
) -> PairTable:
    """The pairs with a verdict on a dimension. Rows are sorted by prompt and clips, and the clip with the lesser id
    stands as A, so that nothing counted here depends on the order of the pairs or on their sides.

    Raises:
        DataError: a clip without scores.
    """
    rows = []
    for place, pair in enumerate(pairs):
        label = pair.labels.get(dimension)
        value = None if label is None else VOTE_VALUES[label]
        if value is not None:
            for clip_id in (pair.clip_a, pair.clip_b):
                if clip_id not in scores:
                    raise DataError(f"scores: clip '{clip_id}' has none; score the whole dataset first.")
            a, b, value = min((pair.clip_a, pair.clip_b, value), (pair.clip_b, pair.clip_a, -value))
            rows.append((pair.prompt_id, a, b, value, place))
    rows.sort()
    return PairTable(
        labels=np.array([value for *_, value, _ in rows], dtype=np.int64),
        diff=np.array([scores[a][column] - scores[b][column] for _, a, b, *_ in rows], dtype=np.float64),
        prompt_ids=tuple(prompt_id for prompt_id, *_ in rows),
        generators=tuple((generators.get(a, ""), generators.get(b, "")) for _, a, b, *_ in rows),
        places=np.array([place for *_, place in rows], dtype=np.int64),
    )


def folds(table: PairTable, num_folds: int = NUM_FOLDS, seed: int = 0) -> Iterator[NDArray[np.bool_]]:
    """Which rows belong to each fold; whole prompts, in an order that the rows do not decide."""
    num_prompts = int(table.prompts.max(initial=-1)) + 1
    order = np.random.default_rng(seed).permutation(num_prompts)
    count = min(num_folds, num_prompts)
    fold_of = np.empty(num_prompts, dtype=np.int64)
    fold_of[order] = np.arange(num_prompts) % max(count, 1)
    for fold in range(count):
        yield fold_of[table.prompts] == fold


def cross_fit_right(table: PairTable, *, num_folds: int = NUM_FOLDS, seed: int = 0) -> NDArray[np.float64]:
    """1 where a pair is predicted right with ties and 0 elsewhere, (N,); each fold of prompts under the threshold that
    is best on the others. With pairs of one prompt alone there is nothing to fit on: nan."""
    right = np.full(len(table.labels), math.nan)
    if len(set(table.prompt_ids)) < 2:
        return right
    for fold in folds(table, num_folds, seed):
        threshold = fit_threshold(table.labels[~fold], table.diff[~fold])
        right[fold] = right_with_ties(table.labels[fold], table.diff[fold], threshold)
    return right


def cross_fit_random(table: PairTable, *, num_folds: int = NUM_FOLDS, seed: int = 0) -> float:
    """What `cross_fit_right` gives on average when the scores mean nothing; nan with pairs of one prompt alone."""
    if len(set(table.prompt_ids)) < 2:
        return math.nan
    rng, right = np.random.default_rng(seed), 0.0
    for fold in folds(table, num_folds, seed):
        right += fold.sum() * held_out_baseline(table.labels[fold], table.labels[~fold], rng=rng)
    return float(right / len(table.labels))


def legacy_right(table: PairTable) -> NDArray[np.float64]:
    """1 where the official code counts a pair as right with ties and 0 elsewhere, (N,), the rows taken as given."""
    order = np.argsort(table.places, kind="stable") if len(table.places) else np.arange(len(table.labels))
    right = np.empty(len(order))
    right[order] = legacy_right_with_ties(table.labels[order], table.diff[order])
    return right


def cross_fit_probabilities(
    table: PairTable, *, num_folds: int = NUM_FOLDS, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(A), P(tie), P(B) of every pair, (N, 3), twice: under a law of ties whose scale and width are fitted on the
    other folds of prompts, and as the shares of the verdicts there, blind to the clips; nan for one prompt alone."""
    fitted, shares = np.full((2, len(table.labels), 3), math.nan)
    if len(set(table.prompt_ids)) < 2:
        return fitted, shares
    for fold in folds(table, num_folds, seed):
        labels = table.labels[~fold]
        fitted[fold] = verdict_probabilities(table.diff[fold], *fit_tie_law(labels, table.diff[~fold]))
        ties = (np.sum(labels == 0) + 1) / (len(labels) + 3)  # one verdict of each kind is added
        shares[fold] = (1 - ties) / 2, ties, (1 - ties) / 2
    return fitted, shares


def generator_identity(table: PairTable, *, num_folds: int = NUM_FOLDS, seed: int = 0) -> float | None:
    """Accuracy without ties of ordering two clips by how often their generators win on the other folds of prompts.

    None when fewer than two generators are known or no decided pair compares two of them.
    """
    known = np.array([bool(a and b) and a != b for a, b in table.generators], dtype=bool)
    decided = known & table.decided
    if not decided.any():
        return None
    names, codes = np.unique(np.array(table.generators), return_inverse=True)
    sides = codes.reshape(-1, 2)
    diff = np.zeros(len(table.labels))
    for fold in folds(table, num_folds, seed):
        seen, points = sides[known & ~fold], table.labels[known & ~fold]
        outcomes = np.bincount(seen[:, 0], points, len(names)) - np.bincount(seen[:, 1], points, len(names))
        strength = outcomes / np.maximum(np.bincount(seen.ravel(), minlength=len(names)), 1)
        diff[fold] = strength[sides[fold, 0]] - strength[sides[fold, 1]]
    return accuracy_without_ties(table.labels[decided], diff[decided])
