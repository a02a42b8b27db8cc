from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videoalign.flow.path import expand_time, interpolate, noise_behind, velocity
from videoalign.randomness import fold_in

SHAPE = (4, 3, 2, 8, 4)
"""(B, C, F, H, W), the last size equal to B so that a wrong broadcast would pass a shape check."""

times = st.lists(st.floats(0, 1), min_size=4, max_size=4).map(lambda values: torch.tensor(values, dtype=torch.float64))


def ends(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = fold_in(seed, "ends")
    data, noise = torch.randn(2, *SHAPE, generator=generator, dtype=torch.float64)
    return data, noise


def test_path_starts_at_the_data_and_ends_at_the_noise() -> None:
    x_data, x_noise = ends()
    assert torch.equal(interpolate(x_data, x_noise, torch.zeros(4, dtype=torch.float64)), x_data)
    assert torch.equal(interpolate(x_data, x_noise, torch.ones(4, dtype=torch.float64)), x_noise)


@given(t=times)
def test_data_and_noise_come_back_from_the_velocity_at_every_time(t: torch.Tensor) -> None:
    x_data, x_noise = ends()
    x_t, v = interpolate(x_data, x_noise, t), velocity(x_data, x_noise)
    torch.testing.assert_close(x_t - expand_time(t, v) * v, x_data, rtol=0, atol=1e-14)
    torch.testing.assert_close(x_t + expand_time(1 - t, v) * v, x_noise, rtol=0, atol=1e-14)


@given(t=times)
def test_velocity_is_the_time_derivative_of_the_path(t: torch.Tensor) -> None:
    x_data, x_noise = ends()
    step = torch.full((4,), 1e-3, dtype=torch.float64)
    slope = (interpolate(x_data, x_noise, t + step) - interpolate(x_data, x_noise, t - step)) / 2e-3
    torch.testing.assert_close(slope, velocity(x_data, x_noise), rtol=0, atol=1e-10)


def test_each_sample_moves_at_its_own_time() -> None:
    x_data, x_noise = torch.zeros(SHAPE), torch.ones(SHAPE)
    x_t = interpolate(x_data, x_noise, torch.tensor([0.1, 0.3, 0.6, 0.9]))
    assert x_t.flatten(1).std(1).max() == 0
    torch.testing.assert_close(x_t[:, 0, 0, 0, 0], torch.tensor([0.1, 0.3, 0.6, 0.9]))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4, 1), SHAPE])
def test_a_time_that_is_not_one_per_sample_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"t must have shape \(4,\)"):
        expand_time(torch.zeros(shape), torch.zeros(SHAPE))


@given(times)
def test_a_velocity_points_back_to_the_noise_it_came_from(t: torch.Tensor) -> None:
    x_data, x_noise = ends()
    torch.testing.assert_close(noise_behind(interpolate(x_data, x_noise, t), velocity(x_data, x_noise), t), x_noise)
