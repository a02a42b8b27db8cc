"""What a method brings to the training loop: what it trains and what each example of a batch costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from videoalign.randomness import Draws

NOISE_BANDS = (0.0, 1 / 3, 2 / 3, 1.0)
"""Edges of the bands of t that the numbers of a step are also logged for."""

Metric = Tensor | tuple[Tensor, Tensor]
"""A number of each example, (B,), or, where an example holds several, their sum and how many they are, (B,) each."""


@dataclass(frozen=True, eq=False)
class Loss:
    """What the B examples of a batch cost.

    The loop minimises sum(weight * value) / sum(weight), both over ALL examples of a step, those of other batches and
    processes included. So a step is the same however it is cut. What makes one example matter more than another, as a
    pair's weight does, belongs into ``value``; ``weight`` says how many numbers a value is the mean of.

    Raises:
        ValueError: something that is not (B,).
    """

    value: Tensor
    """(B,), with gradients."""
    weight: Tensor
    """(B,), at least 0; 0 where the example teaches nothing."""
    t: Tensor | None = None
    """Times of the examples, (B,): every number is then also logged per band of `NOISE_BANDS`."""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    """More numbers to log; their mean over the step."""

    def __post_init__(self) -> None:
        for tensor in (self.value, self.weight, self.t, *_tensors(self.metrics.values())):
            if tensor is not None and (tensor.shape != self.value.shape or tensor.ndim != 1):
                raise ValueError(f"one number per example: got shapes {tuple(self.value.shape)}, {tuple(tensor.shape)}")

    @torch.no_grad()
    def sums(self) -> tuple[list[str], Tensor]:
        """Names, and of each name its sum and count over the batch, float64 (names, 2): what `means` adds up."""
        metrics = {name: m if isinstance(m, tuple) else (m, torch.ones_like(m)) for name, m in self.metrics.items()}
        columns = {"loss": (self.weight * self.value, self.weight), **metrics}
        rows = torch.stack([row.to(self.value.device, torch.float64) for pair in columns.values() for row in pair])
        masks, endings = [torch.ones_like(rows[0])], [""]
        if self.t is not None:
            for low, high in zip(NOISE_BANDS, NOISE_BANDS[1:], strict=False):
                masks.append(((self.t >= low) & (self.t < high)).to(rows))
                endings.append(band_ending(low, high))
        table = torch.where(torch.stack(masks)[:, None] > 0, rows, 0.0).sum(2)  # (masks, 2 names)
        return [name + ending for ending in endings for name in columns], table.view(-1, 2)


def band_ending(low: float, high: float) -> str:
    """What the name of a number ends in where it is for low <= t < high."""
    return f"/t{low:.2f}-{high:.2f}"


def means(parts: Iterable[tuple[Sequence[str], Sequence[Sequence[float]]]]) -> dict[str, float]:
    """Sum over count of every name over parts as `Loss.sums` gives them; a name without a count is absent."""
    totals: dict[str, list[float]] = {}
    for names, table in parts:
        for name, (value, count) in zip(names, table, strict=True):
            total = totals.setdefault(name, [0.0, 0.0])
            total[0] += value
            total[1] += count
    return {name: value / count for name, (value, count) in totals.items() if count}


def _tensors(metrics: Iterable[Metric]) -> list[Tensor]:
    return [tensor for metric in metrics for tensor in (metric if isinstance(metric, tuple) else (metric,))]


def per_group(entries: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Sums of entries (N, D) over each group, (G, D); ``group`` (N,) says whose an entry is."""
    return entries.new_zeros(num_groups, entries.shape[1]).index_add(0, group.to(entries.device), entries)


def pair_differences(scores: Tensor, pairs: Tensor) -> Tensor:
    """score(A) - score(B) of every pair, (P, D), from scores (K, D) of clips and places int64 (P, 2) among them."""
    first, second = pairs.to(scores.device).unbind(1)
    return scores[first] - scores[second]


class Objective(Protocol):
    """What the loop trains."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for AdamW, each with ``params`` and, where it differs from the run's, ``lr`` or ``weight_decay``."""
        ...

    def loss(self, batch: Any, draws: Draws) -> Loss:
        """What each example of the batch costs; all that is random comes from ``draws``, which belong to them."""
        ...

    def state_dict(self) -> Mapping[str, Tensor]:
        """The trained tensors, by name; all that a checkpoint holds of the model."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Puts the tensors of `state_dict` back in place.

        Raises:
            ValueError: other names than `state_dict` has.
        """
        ...


def require_names(state: Mapping[str, Tensor], own: Iterable[str]) -> None:
    """Checks that a state holds the tensors of these names and no others.

    Raises:
        ValueError: one is missing or too many.
    """
    strangers = sorted(set(state) ^ set(own))
    if strangers:
        raise ValueError(f"names differ, such as {strangers[0]}")
