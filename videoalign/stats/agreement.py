"""How far raters agree: the ceiling for any reward that learns from them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Literal, NamedTuple, TypeVar

import numpy as np

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
    table: Sequence[Sequence[float]], distance: Literal["nominal", "ordinal", "interval"] = "ordinal"
) -> float:
    """Krippendorff's alpha: 1 is perfect agreement, 0 what chance gives, below 0 is systematic disagreement.

    Args:
        table: one row an item, in it the value of each rater who judged it; rows may differ in length. Labels +1, 0, -1
            are ordered (B < tie < A), so ``ordinal`` suits them; ratings may be ``interval``.
        distance: how far apart two values are.

    Returns:
        alpha; nan where no item has two values.
    """
    rated = [list(row) for row in table if len(row) > 1]
    if not rated:
        return math.nan
    import evalica
    import pandas

    raters_by_items = np.full((max(map(len, rated)), len(rated)), np.nan)
    for item, row in enumerate(rated):
        raters_by_items[: len(row), item] = row
    return float(evalica.alpha(pandas.DataFrame(raters_by_items), distance=distance).alpha)


def _counts(row: Sequence[int]) -> tuple[int, int, int]:
    counts = Counter(row)
    if unknown := set(counts) - {-1, 0, 1}:
        raise ValueError(f"labels must be +1, -1 or 0; got {sorted(unknown)}. Leave out what is no judgement.")
    return counts[1], counts[0], counts[-1]
