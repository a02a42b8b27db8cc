"""The flow-matching error, one number per sample."""

from __future__ import annotations

from collections.abc import Sequence

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


def per_frame_mse(prediction: Tensor, target: Tensor) -> Tensor:
    """MEAN squared error of each latent frame of each sample, (B, F); their mean over F is `per_sample_mse`.

    Args:
        prediction: predicted velocities, (B, C, F, H, W).
        target: true velocities, same shape.

    Raises:
        ValueError: the shapes differ, or are not those of videos.
    """
    if prediction.shape != target.shape or prediction.ndim != 5:
        shapes = f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        raise ValueError(f"prediction and target must share one shape (B, C, F, H, W); got {shapes}")
    return (_wide(prediction) - _wide(target)).square().mean((1, 3, 4))


def weighted_frames(errors: Tensor, weights: Sequence[float]) -> Tensor:
    """sum_f w_f e_f / sum_f w_f of each sample, (B,): the error of a clip some of whose frames count for more.

    With equal weights it is `per_sample_mse`.

    Args:
        errors: of each latent frame, (..., F), as `per_frame_mse` gives them.
        weights: of the F frames, at least 0 and not all 0.

    Raises:
        ValueError: weights that are not F, below 0, or all 0.
    """
    if len(weights) != errors.shape[-1] or min(weights) < 0 or not sum(weights) > 0:
        raise ValueError(f"weights must be {errors.shape[-1]} numbers of at least 0, not all 0; got {list(weights)}")
    return (errors * errors.new_tensor(weights)).sum(-1) / sum(weights)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
