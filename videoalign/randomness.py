"""Where randomness comes from: a seed and names, never a global generator, a rank or an order of calls."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def fold_in(seed: int, *ids: int | str) -> torch.Generator:
    """A CPU generator that depends on (seed, ids) alone, so a resumed run draws what the first would have drawn."""
    digest = hashlib.sha256(repr((seed, *ids)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


@dataclass(frozen=True)
class Draws:
    """The random numbers of one batch of a training step: each by (seed, step, place of the example in the step).

    The same example at the same place gets the same numbers however the step is cut into batches and whichever process
    computes it. ``tag`` names what is drawn: other tags give other numbers, the same tag gives the same again. All
    numbers are drawn on the CPU, so that every device sees the same.
    """

    seed: int
    """Of the run."""
    step: int
    """Number of the step, from 0."""
    places: Sequence[int]
    """Place in the step of each of the batch's B examples, from 0 to num - 1."""
    num: int
    """Examples of the whole step, those of all batches and processes."""

    def generators(self, tag: str) -> list[torch.Generator]:
        """A generator for each example, B of them: for what one number does not do."""
        return [fold_in(self.seed, tag, self.step, place) for place in self.places]

    def uniform(self, tag: str) -> Tensor:
        """Uniform on [0, 1), float32 (B,)."""
        return torch.cat([torch.rand(1, generator=generator) for generator in self.generators(tag)])

    def normal(self, tag: str, shape: Sequence[int]) -> Tensor:
        """Standard normal, float32 (B, *shape)."""
        return torch.stack([torch.randn(*shape, generator=generator) for generator in self.generators(tag)])

    def strata(self, tag: str) -> Tensor:
        """A number from 0 to ``self.num`` - 1 for each example, int64 (B,), that no other example of the step has."""
        order = torch.randperm(self.num, generator=fold_in(self.seed, tag, "strata", self.step))
        return order[torch.as_tensor(self.places)]
