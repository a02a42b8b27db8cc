"""The order in which a training walks over its examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import torch

from videoalign.randomness import fold_in

Row = TypeVar("Row")

Order = Callable[[int, int], list[int]]
"""From a first place and a count to the indices of that many examples of an endless walk over the training set."""


def example_order(num_examples: int, first: int, count: int, seed: int) -> list[int]:
    """``count`` example indices from place ``first`` of an endless walk; each epoch is a permutation of its own."""
    order: list[int] = []
    epoch, offset = divmod(first, num_examples)
    while len(order) < count:
        permutation = torch.randperm(num_examples, generator=fold_in(seed, "epoch", epoch)).tolist()
        order += permutation[offset : offset + count - len(order)]
        epoch, offset = epoch + 1, 0
    return order


def by_shape(rows: Sequence[Row], shapes: Sequence[Any]) -> list[list[Row]]:
    """The rows in lists of one shape each, shapes in the order of their first row, rows in theirs."""
    found: dict[Any, list[Row]] = {}
    for row, shape in zip(rows, shapes, strict=True):
        found.setdefault(shape, []).append(row)
    return list(found.values())


def bucketed_order(lengths: Sequence[int], batch_size: int, seed: int, *, num_mixed: int = 64) -> Order:
    """An `Order` whose batches hold examples of near lengths, so that little is padded; each epoch has each once.

    An epoch is a permutation of its own, cut into stretches of ``num_mixed`` batches; each stretch is sorted by length
    and cut into batches, and the batches of the epoch are shuffled. A batch that two epochs share is not sorted.

    Args:
        lengths: of each example.
        batch_size: examples of one batch, as in `FitConfig`.
        seed: decides the permutations, with the epoch.
        num_mixed: more makes lengths nearer, fewer makes batches differ more from epoch to epoch.
    """
    num = len(lengths)

    @lru_cache(maxsize=2)
    def epoch_order(epoch: int) -> list[int]:
        generator = fold_in(seed, "epoch", epoch)
        walk = torch.randperm(num, generator=generator).tolist()
        lead = min(num, -epoch * num % batch_size)  # completes the batch that the epoch before began
        tail = (num - lead) % batch_size
        whole, stretch, batches = walk[lead : num - tail], num_mixed * batch_size, []
        for begin in range(0, len(whole), stretch):
            near = sorted(whole[begin : begin + stretch], key=lengths.__getitem__)
            batches += [near[start : start + batch_size] for start in range(0, len(near), batch_size)]
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        return [*walk[:lead], *(index for number in shuffled for index in batches[number]), *walk[num - tail :]]

    def order(first: int, count: int) -> list[int]:
        found: list[int] = []
        epoch, offset = divmod(first, num)
        while len(found) < count:
            found += epoch_order(epoch)[offset : offset + count - len(found)]
            epoch, offset = epoch + 1, 0
        return found

    return order
