"""Guidance against a case whose answer is known.

Data and noise are both standard normal, so x_t is normal with variance s(t) = (1 - t)^2 + t^2 and the exact velocity
is x_t (2 t - 1) / s(t). With a reward a x_data, tilting the data by exp(w a x) gives a normal of mean w a, deviation 1.
The exact noisy reward is log E[exp(w a x_data) | x_t] / w, whose gradient is a (1 - t) / s(t).
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from videoalign.flow.guidance import reward_guided
from videoalign.randomness import fold_in

SLOPE = 0.7
"""a: how much reward one unit of x gives."""


def variance(t: Tensor) -> Tensor:
    return (1 - t).square() + t.square()


def velocity_of_normal(x_t: Tensor, t: Tensor, mean: float) -> Tensor:
    """E[x_noise - x_data | x_t] when the data are normal with this mean and deviation 1."""
    offset = x_t - (1 - t) * mean
    return t / variance(t) * offset - (mean + (1 - t) / variance(t) * offset)


def reward_gradient(x_t: Tensor, t: Tensor) -> Tensor:
    return (SLOPE * (1 - t) / variance(t)).expand_as(x_t)


def sample(weight: float, num_steps: int = 800, num_points: int = 2001) -> Tensor:
    """Euler from t = 1 to 0, one trajectory for each of evenly spread quantiles of the noise."""
    x = torch.special.ndtri(torch.arange(1, num_points, dtype=torch.float64) / num_points)
    grid = torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)
    for now, after in zip(grid[:-1], grid[1:], strict=True):
        t = now.expand(len(x))
        v = reward_guided(velocity_of_normal(x, t, 0.0), reward_gradient(x, t), t, weight)
        x = x + (after - now) * v
    return x


@given(weight=st.floats(0, 5), time=st.floats(0, 0.999), x=st.floats(-6, 6))
def test_guided_velocity_is_the_exact_velocity_of_the_tilted_data(weight: float, time: float, x: float) -> None:
    x_t, t = torch.tensor([x], dtype=torch.float64), torch.tensor([time], dtype=torch.float64)
    guided = reward_guided(velocity_of_normal(x_t, t, 0.0), reward_gradient(x_t, t), t, weight)
    torch.testing.assert_close(guided, velocity_of_normal(x_t, t, weight * SLOPE), rtol=0, atol=1e-10)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 3.0])
def test_guided_sampling_tilts_the_data_by_exp_of_weight_times_reward(weight: float) -> None:
    x = sample(weight)
    assert x.mean().item() == pytest.approx(weight * SLOPE, abs=0.005)
    assert x.std().item() == pytest.approx(1, abs=0.01)


def test_the_shift_converges_to_the_tilt_as_steps_shrink() -> None:
    errors = [abs(sample(2.0, num_steps=n).mean().item() - 2 * SLOPE) for n in (50, 100, 200)]
    assert errors[0] > 1.8 * errors[1] > 3.2 * errors[2]


def test_the_formula_by_hand_for_each_sample() -> None:
    v, gradient = torch.ones(3, 2, 3), torch.full((3, 2, 3), 2.0)
    t = torch.tensor([0.0, 0.5, 0.75])
    guided = reward_guided(v, gradient, t, 10.0)
    torch.testing.assert_close(guided[:, 0, 0], torch.tensor([1.0, 1 - 10 * 2, 1 - 10 * 3 * 2]))


def test_pure_noise_is_left_alone() -> None:
    v = torch.randn(2, 5, generator=fold_in(0))
    guided = reward_guided(v, torch.ones(2, 5), torch.tensor([1.0, 1.0]), 100.0)
    assert torch.equal(guided, v)
