"""How training times are drawn, and where randomness comes from."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def fold_in(seed: int, *ids: int | str) -> torch.Generator:
    """A CPU generator that depends on (seed, ids) alone, so a resumed run draws what the first would have drawn."""
    digest = hashlib.sha256(repr((seed, *ids)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def shift_time(t: Tensor, shift: float) -> Tensor:
    """The sigma shift s t / (1 + (s - 1) t) of Wan-style models: above 1 it moves times towards noise."""
    return shift * t / (1 + (shift - 1) * t)


def uniform_times(num: int, generator: torch.Generator, *, shift: float = 1.0) -> Tensor:
    """Shifted uniform times, float32 (num,), in (0, 1)."""
    return shift_time(torch.rand(num, generator=generator).clamp(1e-4, 1 - 1e-4), shift)


def logit_normal_times(num: int, generator: torch.Generator, *, shift: float = 1.0) -> Tensor:
    """Shifted sigmoid of a standard normal, float32 (num,), in (0, 1)."""
    return shift_time(torch.sigmoid(torch.randn(num, generator=generator)), shift)
