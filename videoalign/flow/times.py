"""How training times are spread over (0, 1): from uniform numbers to times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

LAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "uniform": lambda u: u,
    "logit_normal": lambda u: torch.special.ndtri(u).sigmoid(),
}
"""Quantile functions: uniform numbers in, times before the shift out."""


def shift_time(t: Tensor, shift: float) -> Tensor:
    """The sigma shift s t / (1 + (s - 1) t) of Wan-style models: above 1 it moves times towards noise."""
    return shift * t / (1 + (shift - 1) * t)


def follows_flow(config: Mapping[str, Any]) -> bool:
    """Whether a scheduler with these settings, as diffusers names them, takes velocities of a flow at sigma = t."""
    kind = config.get("prediction_type", "flow_prediction")
    return kind == "flow_prediction" and config.get("use_flow_sigmas", True) and "num_train_timesteps" in config


def stratified(stratum: Tensor | int, u: Tensor, num: int) -> Tensor:
    """(stratum + u) / num, (B,): uniform inside one of ``num`` equal parts of [0, 1), the first being 0.

    Args:
        stratum: which part, int64 (B,) or one number for all.
        u: uniform on [0, 1), (B,).
        num: how many parts there are.
    """
    return (stratum + u) / num


def time_quantiles(u: Tensor, *, law: str = "uniform", shift: float = 1.0) -> Tensor:
    """Times of a law at the quantiles ``u``, (B,), in (0, 1): uniform numbers in, times of that law out.

    Args:
        u: in [0, 1], (B,); kept 1e-4 away from the ends, where the velocity tells nothing and logits are infinite.
        law: a key of `LAWS`.
        shift: see `shift_time`, above 0.
    """
    return shift_time(LAWS[law](u.clamp(1e-4, 1 - 1e-4)), shift)
