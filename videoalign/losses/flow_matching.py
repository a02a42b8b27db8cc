"""The flow-matching error, one number per sample."""

from __future__ import annotations

import torch
from torch import Tensor


def per_sample_mse(prediction: Tensor, target: Tensor) -> Tensor:
    """MEAN squared error of each sample, (B,), over everything but the batch dimension.

    The mean, not the sum, so that weights and Flow-DPO's beta keep their meaning when a video gets longer or larger.
    Half-precision inputs are widened to float32 first: their squares and sums would lose digits otherwise.

    Args:
        prediction: predicted velocities, (B, ...).
        target: true velocities x_noise - x_data, same shape.

    Raises:
        ValueError: the shapes differ, which would broadcast in silence.
    """
    if prediction.shape != target.shape or prediction.ndim < 2:
        shapes = f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        raise ValueError(f"prediction and target must share one shape (B, ...); got {shapes}")
    return (_wide(prediction) - _wide(target)).square().flatten(1).mean(1)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
