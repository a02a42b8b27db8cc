from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videoalign.flow.path import interpolate, velocity
from videoalign.losses.flow_dpo import beta_schedule, flow_dpo_loss, gradient_factor, implicit_margin
from videoalign.losses.flow_matching import per_sample_mse
from videoalign.randomness import fold_in

errors = st.lists(st.floats(0, 10), min_size=3, max_size=3).map(lambda x: torch.tensor(x, dtype=torch.float64))


@given(win=errors, lose=errors, beta=st.floats(0.01, 8000))
def test_loss_is_log_two_where_policy_is_the_reference(win: torch.Tensor, lose: torch.Tensor, beta: float) -> None:
    margin = implicit_margin(win, lose, win, lose, beta=beta)
    loss, factor = flow_dpo_loss(margin), gradient_factor(margin)
    torch.testing.assert_close(loss, torch.full_like(loss, math.log(2)), rtol=0, atol=1e-15)
    torch.testing.assert_close(factor, torch.full_like(factor, 0.5), rtol=0, atol=0)


def test_loss_by_hand() -> None:
    """excess_win = -0.1, excess_lose = 0.2, beta = 20: m = -10 (-0.1 - 0.2) = 3; loss = log(1 + e^-3)."""
    errors = [torch.tensor([x], dtype=torch.float64) for x in (0.4, 0.9, 0.5, 0.7)]
    margin = implicit_margin(*errors, beta=20.0)
    assert margin.item() == pytest.approx(3.0)
    assert flow_dpo_loss(margin).item() == pytest.approx(math.log1p(math.exp(-3)))
    assert flow_dpo_loss(margin, cap=2.0).item() == pytest.approx(math.log1p(math.exp(-2)))
    assert flow_dpo_loss(margin, cap=4.0).item() == pytest.approx(math.log1p(math.exp(-3)))
    assert gradient_factor(margin).item() == pytest.approx(1 / (1 + math.exp(3)))


def test_gradient_on_each_error_is_half_beta_times_the_gradient_factor() -> None:
    win, lose, ref_win, ref_lose = torch.rand(4, 5, generator=fold_in(0), dtype=torch.float64)
    win.requires_grad_()
    lose.requires_grad_()
    beta = torch.tensor([1.0, 5.0, 20.0, 100.0, 500.0], dtype=torch.float64)
    margin = implicit_margin(win, lose, ref_win, ref_lose, beta=beta)
    flow_dpo_loss(margin).sum().backward()
    expected = 0.5 * beta * gradient_factor(margin).detach()
    assert win.grad is not None
    assert lose.grad is not None
    torch.testing.assert_close(win.grad, expected)
    torch.testing.assert_close(lose.grad, -expected)


def test_a_step_down_the_gradient_moves_the_policy_from_loser_to_winner() -> None:
    """Winner and loser share time and noise; the policy starts as the reference and each prediction is free."""
    generator = fold_in(1)
    x_win, x_lose, x_noise, x_ref = torch.randn(4, 2, 3, 2, 4, 4, generator=generator, dtype=torch.float64)
    target_win, target_lose = velocity(x_win, x_noise), velocity(x_lose, x_noise)
    policy = velocity(x_ref, x_noise).clone().requires_grad_()
    reference = policy.detach()
    margin = implicit_margin(
        per_sample_mse(policy, target_win),
        per_sample_mse(policy, target_lose),
        per_sample_mse(reference, target_win),
        per_sample_mse(reference, target_lose),
        beta=3.0,
    )
    loss = flow_dpo_loss(margin).sum()
    (gradient,) = torch.autograd.grad(loss, policy)
    torch.testing.assert_close(-gradient, (target_win - target_lose) * 3.0 / 2 / 96)
    step = policy.detach() - gradient
    assert (per_sample_mse(step, target_win) < per_sample_mse(reference, target_win)).all()
    assert (per_sample_mse(step, target_lose) > per_sample_mse(reference, target_lose)).all()
    t = torch.tensor([0.3, 0.8], dtype=torch.float64)
    apart = interpolate(x_win, x_noise, t) - interpolate(x_lose, x_noise, t)
    torch.testing.assert_close(apart, (1 - t).reshape(-1, 1, 1, 1, 1) * (x_win - x_lose))


@given(win=errors, lose=errors, ref_win=errors, ref_lose=errors)
def test_swapping_winner_and_loser_turns_the_margin_round(
    win: torch.Tensor, lose: torch.Tensor, ref_win: torch.Tensor, ref_lose: torch.Tensor
) -> None:
    forth = implicit_margin(win, lose, ref_win, ref_lose, beta=7.0)
    torch.testing.assert_close(implicit_margin(lose, win, ref_lose, ref_win, beta=7.0), -forth)


@pytest.mark.parametrize("gap", [-1.0, 1.0])
def test_loss_and_gradient_stay_finite_when_saturated(gap: float) -> None:
    win = torch.tensor([gap], requires_grad=True)
    zero = torch.zeros(1)
    loss = flow_dpo_loss(implicit_margin(win, zero, zero, zero, beta=8000.0))
    loss.backward()
    assert win.grad is not None
    assert loss.item() == pytest.approx(max(0.0, 4000 * gap))
    assert win.grad.item() == pytest.approx(4000.0 if gap > 0 else 0.0)


def test_schedules_by_hand() -> None:
    t = torch.tensor([0.0, 0.5, 0.9, 1.0], dtype=torch.float64)
    assert beta_schedule(t, 500.0, "constant").tolist() == [500.0] * 4
    torch.testing.assert_close(beta_schedule(t, 500.0, "squared"), torch.tensor([500.0, 125.0, 5.0, 0.0]).double())


def test_squared_schedule_makes_the_velocity_loss_the_data_loss() -> None:
    """At one x_t, (1 - t)^2 |v - v'|^2 is the squared distance of the two noise predictions."""
    x_data, x_noise, v_predicted = torch.randn(3, 4, 6, generator=fold_in(2), dtype=torch.float64)
    t = torch.tensor([0.1, 0.4, 0.7, 0.95], dtype=torch.float64)
    x_t = interpolate(x_data, x_noise, t)
    noise_error = per_sample_mse(x_t + (1 - t)[:, None] * v_predicted, x_noise)
    velocity_error = per_sample_mse(v_predicted, velocity(x_data, x_noise))
    torch.testing.assert_close(beta_schedule(t, 1.0, "squared") * velocity_error, noise_error)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan, math.inf])
def test_a_beta_that_is_no_positive_number_is_refused(beta: float) -> None:
    zero = torch.zeros(2)
    with pytest.raises(ValueError, match="beta must be"):
        beta_schedule(zero, beta)
    if beta != math.inf:
        with pytest.raises(ValueError, match="beta must be above 0"):
            implicit_margin(zero, zero, zero, zero, beta=beta)


def test_shapes_and_kinds_are_checked() -> None:
    zero = torch.zeros(2)
    with pytest.raises(ValueError, match="errors must all have shape"):
        implicit_margin(zero, zero, zero, torch.zeros(1), beta=1.0)
    with pytest.raises(ValueError, match="errors must all have shape"):
        implicit_margin(*[torch.zeros(())] * 4, beta=1.0)
    with pytest.raises(ValueError, match="beta must be one number or have shape"):
        implicit_margin(zero, zero, zero, zero, beta=torch.ones(2, 1))
    with pytest.raises(ValueError, match="kind must be one of constant, squared; got 'cubic'"):
        beta_schedule(zero, 1.0, "cubic")
