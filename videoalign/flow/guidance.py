"""Velocities changed at sampling time."""

from __future__ import annotations

from torch import Tensor

from videoalign.flow.path import expand_time


def reward_guided(v: Tensor, reward_gradient: Tensor, t: Tensor, weight: float) -> Tensor:
    """Flow-NRG: v - w t / (1 - t) grad_x r(x_t, y, t), left alone where t = 1.

    Equation 11 of "Improving Video Generation with Human Feedback": samples p(x) exp(r)^w. The sign is minus
    because v points to the noise.

    Args:
        v: velocity after classifier-free guidance, (B, ...).
        reward_gradient: gradient of the reward with respect to x_t, (B, ...).
        t: times in [0, 1], (B,).
        weight: w, at least 0.
    """
    pull = (t / (1 - t).clamp_min(1e-12)).where(t < 1, 0.0)
    return v - weight * expand_time(pull, v) * reward_gradient


def unit_guided(v: Tensor, reward_gradient: Tensor, t: Tensor, ratio: float) -> Tensor:
    """v - ratio |v| g / |g|: a change of one length whatever the gradient's, left alone where t = 1 or g is 0.

    The normalised gradient of "Euphonium" (arXiv 2602.04928), with lengths in units of the velocity.

    Args:
        v: velocity after classifier-free guidance, (B, ...).
        reward_gradient: g, of the reward with respect to x_t, (B, ...).
        t: times in [0, 1], (B,).
        ratio: length of the change as a multiple of the velocity's norm, at least 0.
    """
    size, length = (x.flatten(1).norm(dim=1) for x in (v, reward_gradient))
    scale = (size / length).where((t < 1) & (length > 0), 0.0)
    return v - ratio * expand_time(scale, v) * reward_gradient
