"""The straight path of rectified flow: t = 0 is data, t = 1 is noise."""

from __future__ import annotations

from torch import Tensor


def expand_time(t: Tensor, like: Tensor) -> Tensor:
    """``t`` of shape (B,) as (B, 1, ...), ready to multiply ``like`` (B, ...).

    Raises:
        ValueError: when ``t`` is not one time per sample.
    """
    if t.shape != like.shape[:1]:
        raise ValueError(f"t must have shape {tuple(like.shape[:1])}, one time per sample; got {tuple(t.shape)}")
    return t.reshape(-1, *[1] * (like.ndim - 1))


def interpolate(x_data: Tensor, x_noise: Tensor, t: Tensor) -> Tensor:
    """x_t = (1 - t) x_data + t x_noise."""
    t = expand_time(t, x_data)
    return (1 - t) * x_data + t * x_noise


def velocity(x_data: Tensor, x_noise: Tensor) -> Tensor:
    """v = x_noise - x_data, the same at every t."""
    return x_noise - x_data


def noise_behind(x_t: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """x_noise = x_t + (1 - t) v, the noise that a velocity at x_t (B, ...) and t (B,) points to."""
    return x_t + (1 - expand_time(t, x_t)) * v


def data_ahead(x_t: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """x_data = x_t - t v, the data that a velocity at x_t (B, ...) and t (B,) points away from."""
    return x_t - expand_time(t, x_t) * v
