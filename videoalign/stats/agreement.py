"""How far raters agree: the ceiling for any reward that learns from them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from videoalign.stats.resampling import Estimate, bootstrap, cluster_numbers, of_sums, sum_by_cluster
from videoalign.stats.shares import share_of_sums

Floats = NDArray[np.float64]
Distance = Literal["nominal", "ordinal", "interval"]
T = TypeVar("T", bound=Hashable)


def majority(labels: Iterable[T]) -> T | None:
    """The label that more raters chose than any other; None where two lead together or nobody judged."""
    counts = Counter(labels).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        return None
    return counts[0][0]


class RawAgreement(NamedTuple):
    """How often two raters of one item gave the same label; nan where there is nothing to compare."""

    with_ties: float
    """Share of rater pairs with the same label, a tie being a label like any other."""
    without_ties: float
    """The same among rater pairs in which neither chose a tie."""
    num_pairs: int
    """Number of rater pairs."""
    num_decided_pairs: int
    """Number of rater pairs in which neither chose a tie."""


def raw_agreement(table: Sequence[Sequence[int]]) -> RawAgreement:
    """Agreement of any two raters of one item, pooled over the items.

    Args:
        table: one row an item, in it the label of each rater who judged it: +1 for A, -1 for B, 0 for a tie. Rows may
            differ in length; rows of fewer than two labels add nothing.

    Raises:
        ValueError: another label.
    """
    same = total = same_decided = total_decided = 0
    for row in table:
        num_a, num_tie, num_b = _counts(row)
        same_decided += math.comb(num_a, 2) + math.comb(num_b, 2)
        total_decided += math.comb(num_a + num_b, 2)
        same += math.comb(num_a, 2) + math.comb(num_tie, 2) + math.comb(num_b, 2)
        total += math.comb(num_a + num_tie + num_b, 2)
    return RawAgreement(
        with_ties=same / total if total else math.nan,
        without_ties=same_decided / total_decided if total_decided else math.nan,
        num_pairs=total,
        num_decided_pairs=total_decided,
    )


def krippendorff_alpha(
    table: Sequence[Sequence[float]],
    clusters: Sequence[Hashable],
    distance: Distance = "ordinal",
    *,
    rng: np.random.Generator,
    num: int = 2000,
) -> Estimate:
    """Krippendorff's alpha: 1 is perfect agreement, 0 what chance gives, below 0 is systematic disagreement; with the
    95% interval of a bootstrap over clusters, as pairs or prompts.

    Args:
        table: one row an item, in it the value of each rater who judged it; rows may differ in length, and those of
            fewer than two values add nothing. Labels +1, 0, -1 are ordered (B < tie < A), so ``ordinal`` suits them;
            ratings may be ``interval``.
        clusters: what each row belongs to, as many; whole clusters are drawn.
        distance: how far apart two values are: the same or not, by rank, or by their difference.
        rng: where the draws come from.
        num: number of resamples; those in which all values are the same are left out.

    Returns:
        alpha; nan where no item has two values, or where all values are the same, so that chance would agree as well.

    Raises:
        ValueError: lengths that differ.
    """
    if len(table) != len(clusters):
        raise ValueError(f"table and clusters must have one length; got {len(table)} and {len(clusters)}")
    sums, values = _coincidences(table, clusters)
    return bootstrap(len(sums), of_sums(sums, lambda total: _alpha(total, values, distance)), rng=rng, num=num)


def fleiss_kappa(table: Sequence[Sequence[int]]) -> float:
    """Fleiss' kappa (1971): agreement of any two raters beyond what the shares of the labels give by chance.

    Args:
        table: one row an item, in it the label of each rater, all rows of one length of 2 or more.

    Returns:
        kappa; nan without an item, or where all labels are the same.

    Raises:
        ValueError: rows of different lengths or of fewer than two labels. Where raters are missing, use
            `krippendorff_alpha`, or the rows of one length alone.
    """
    lengths = {len(row) for row in table}
    if len(lengths) > 1 or min(lengths, default=2) < 2:
        raise ValueError(f"every item must have the same number of raters, 2 or more; got {sorted(lengths)}")
    if not lengths:
        return math.nan
    (num_raters,) = lengths
    labels = np.unique(np.asarray(table))
    counts = (np.asarray(table)[:, :, None] == labels).sum(1)
    observed = (counts * (counts - 1)).sum() / (len(table) * num_raters * (num_raters - 1))
    expected = ((counts.sum(0) / counts.sum()) ** 2).sum()
    return float((observed - expected) / (1 - expected)) if len(labels) > 1 else math.nan


class HumanCeiling(NamedTuple):
    """How often one rater says what most of the others say: what a person reaches when measured as a reward is."""

    with_ties: Estimate
    """Share of verdicts equal to the majority of the item's other raters, a tie being a label like any other."""
    without_ties: Estimate
    """The same where neither is a tie."""
    num_verdicts: int
    """Verdicts whose item's other raters have a majority."""
    num_decided: int
    """Those where neither is a tie."""


def human_ceiling(table: Sequence[Sequence[int]], clusters: Sequence[Hashable]) -> HumanCeiling:
    """Each verdict against the majority of the other raters, pooled; intervals as of `stats.shares.share_of_sums`.

    Args:
        table: one row an item, in it the label of each rater: +1, 0 or -1. A rater alone has nobody to be held against.
        clusters: what each row belongs to, as many.
    """
    counts = sum_by_cluster(np.array([_against_others(row) for row in table], float).reshape(-1, 4), clusters)
    same, total, same_decided, decided = counts.sum(0).astype(int).tolist() if len(counts) else (0, 0, 0, 0)
    return HumanCeiling(
        with_ties=_share(counts[:, :2]),
        without_ties=_share(counts[:, 2:]),
        num_verdicts=total,
        num_decided=decided,
    )


def _against_others(row: Sequence[int]) -> tuple[int, int, int, int]:
    """Verdicts equal to the majority of the others, verdicts with such a majority, and both among decided ones."""
    same = total = same_decided = decided = 0
    for index, label in enumerate(row):
        others = majority([*row[:index], *row[index + 1 :]])
        if others is not None:
            same, total = same + (label == others), total + 1
            if label and others:
                same_decided, decided = same_decided + (label == others), decided + 1
    return same, total, same_decided, decided


def _share(counts: Floats) -> Estimate:
    """Of the verdicts that count, by cluster, (C, 2); clusters without a verdict are left out."""
    counts = counts[counts[:, 1] > 0]
    return share_of_sums(counts[:, 0], counts[:, 1])


def _coincidences(table: Sequence[Sequence[float]], clusters: Sequence[Hashable]) -> tuple[Floats, Floats]:
    """How often each value stands beside each other within items, by cluster, (C, K, K), and the K values in order."""
    rated = [(row, cluster) for row, cluster in zip(table, clusters, strict=True) if len(row) > 1]
    values, column = np.unique([float(value) for row, _ in rated for value in row], return_inverse=True)
    lengths = np.array([len(row) for row, _ in rated], dtype=np.int64)
    counts = np.zeros((len(rated), len(values)))
    np.add.at(counts, (np.repeat(np.arange(len(rated)), lengths), column), 1.0)
    numbers = cluster_numbers([cluster for _, cluster in rated])
    order = np.argsort(numbers, kind="stable")
    sums = []
    for members in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
        inside = counts[members]
        shared = inside / (lengths[members] - 1)[:, None]
        sums.append(inside.T @ shared - np.diag(shared.sum(0)))
    return np.array(sums), values


def _alpha(coincidences: Floats, values: Floats, distance: Distance) -> Floats:
    """Alpha of each table of coincidences (n, K, K) between the given values."""
    margins = coincidences.sum(2)  # (n, K)
    position = np.broadcast_to(values, margins.shape)
    if distance == "ordinal":
        position = np.cumsum(margins, 1) - margins / 2
    far = (position[:, :, None] - position[:, None, :]) ** 2
    if distance == "nominal":
        far = 1.0 - np.eye(len(values))[None]
    size = margins.sum(1)
    observed = (coincidences * far).sum((1, 2))
    by_chance = (margins[:, :, None] * margins[:, None, :] * far).sum((1, 2))
    alpha = np.full(len(size), np.nan)
    np.divide((size - 1) * observed, by_chance, out=alpha, where=by_chance > 0)
    return 1 - alpha


def _counts(row: Sequence[int]) -> tuple[int, int, int]:
    counts = Counter(row)
    if unknown := set(counts) - {-1, 0, 1}:
        raise ValueError(f"labels must be +1, -1 or 0; got {sorted(unknown)}. Leave out what is no judgement.")
    return counts[1], counts[0], counts[-1]
