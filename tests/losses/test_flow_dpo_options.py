"""Utilities, labels in doubt, the safeguard and the steered beta: values by hand, limits, gradients and laws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from videoalign.losses.flow_dpo import (
    BETA_RANGE,
    UTILITIES,
    flow_dpo_loss,
    gradient_factor,
    safe_share,
    smoothed,
    steered_beta,
    utility,
    with_gradient_share,
)
from videoalign.losses.flow_matching import per_frame_mse, weighted_frames
from videoalign.randomness import fold_in

OPTIONS = {"alpha": 0.7, "floor": 0.1}
MARGINS = torch.tensor([-30.0, -3.0, -1.0, -0.2, 0.0, 0.2, 1.0, 3.0, 30.0], dtype=torch.float64)


def slope(name: str, margin: Tensor, **options: float) -> Tensor:
    margin = margin.clone().requires_grad_()
    (found,) = torch.autograd.grad(utility(name, **options)(margin).sum(), margin)
    return found


def test_utilities_by_hand() -> None:
    m = torch.tensor([math.log(3)], dtype=torch.float64)  # p = 3/4
    assert utility("sigmoid")(m).item() == pytest.approx(math.log(4 / 3))
    assert utility("poly", alpha=2.0)(m).item() == pytest.approx(math.log(4 / 3) + 2 * 0.25)
    assert utility("ipo")(torch.tensor([2.0])).item() == pytest.approx(1.125)
    # slope 0.5 - 0.4 m from 0.9 at m = -1 to 0.1 at m = 1, straight beyond
    linear = utility("linear", floor=0.1)
    values = linear(torch.tensor([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0], dtype=torch.float64))
    assert values.tolist() == pytest.approx([1.6, 0.7, 0.0, -0.2, -0.3, -0.5])


def test_slopes_are_those_of_the_formulas() -> None:
    p = 1 / (1 + (-MARGINS).exp())
    torch.testing.assert_close(slope("sigmoid", MARGINS), -(1 - p))
    torch.testing.assert_close(slope("poly", MARGINS, alpha=0.7), -(1 - p) * (1 + 0.7 * p))
    torch.testing.assert_close(slope("linear", MARGINS, floor=0.1), -(0.5 - 0.4 * MARGINS).clamp(0.1, 0.9))
    torch.testing.assert_close(slope("ipo", MARGINS), MARGINS - 0.5)


def test_limits_are_the_plain_loss_and_slopes_at_the_reference_are_alike() -> None:
    torch.testing.assert_close(utility("poly", alpha=0.0)(MARGINS), utility("sigmoid")(MARGINS))
    zero = torch.zeros(1, dtype=torch.float64)
    for name in ("sigmoid", "linear", "ipo"):
        assert slope(name, zero, floor=0.1).item() == pytest.approx(-0.5)
    assert slope("ipo", zero + 0.5).item() == 0.0
    assert (slope("poly", MARGINS[:-1], alpha=-0.9) < 0).all()  # falls everywhere for alpha above -1
    with pytest.raises(ValueError, match="name must be one of sigmoid, poly, linear, ipo; got 'hinge'"):
        utility("hinge")


def test_the_published_gradient_of_linear_dpo_is_ours_over_half_beta() -> None:
    """sg(clip(0.2 beta d + 0.5, eta, 1 - eta)) (e_win - e_lose), written out."""
    beta, eta = 20.0, 0.05
    win, lose, ref_win, ref_lose = torch.rand(4, 50, generator=fold_in(3), dtype=torch.float64)
    win.requires_grad_()
    d = (win - ref_win) - (lose - ref_lose)
    published = (0.2 * beta * d.detach() + 0.5).clamp(eta, 1 - eta) * (win - lose)
    (theirs,) = torch.autograd.grad(published.sum(), win, retain_graph=True)
    (ours,) = torch.autograd.grad(flow_dpo_loss(-0.5 * beta * d, utility=utility("linear", floor=eta)).sum(), win)
    torch.testing.assert_close(ours, 0.5 * beta * theirs)


@pytest.mark.parametrize("name", UTILITIES)
def test_a_label_in_doubt_is_the_mean_over_what_it_may_be(name: str) -> None:
    u, p = utility(name, **OPTIONS), torch.full_like(MARGINS, 0.8)
    torch.testing.assert_close(flow_dpo_loss(MARGINS, p, utility=u), 0.8 * u(MARGINS) + 0.2 * u(-MARGINS))
    assert torch.equal(flow_dpo_loss(MARGINS, torch.ones_like(p), utility=u), flow_dpo_loss(MARGINS, utility=u))
    margin = MARGINS.clone().requires_grad_()
    flow_dpo_loss(margin, torch.full_like(p, 0.5), utility=u).sum().backward()
    assert margin.grad is not None  # a tie draws its margin to 0
    assert (margin.grad.sign() == MARGINS.sign()).all()


def test_smoothed_labels_end_at_the_log_odds_of_being_right() -> None:
    assert smoothed(torch.tensor([1.0, 0.5, 0.0]), 0.1).tolist() == pytest.approx([0.9, 0.5, 0.1])
    margin = torch.tensor([math.log(0.9 / 0.1)], dtype=torch.float64, requires_grad=True)
    flow_dpo_loss(margin, smoothed(torch.ones(1, dtype=torch.float64), 0.1)).backward()
    assert margin.grad is not None
    assert margin.grad.item() == pytest.approx(0.0, abs=1e-12)


def test_safe_share_by_hand() -> None:
    """Orthogonal and opposed losers keep all; one along the winner keeps (1 - mu) |w|^2 / <w, l>."""
    win = torch.tensor([[2.0, 0.0]] * 4)
    lose = torch.tensor([[0.0, 5.0], [-1.0, 0.0], [8.0, 3.0], [0.1, 0.0]])
    assert safe_share(win, lose, mu=0.6).tolist() == pytest.approx([1.0, 1.0, 0.4 * 4 / 16, 1.0])
    assert safe_share(win, lose, mu=1.0).tolist() == pytest.approx([1.0, 1.0, 0.0, 0.0])
    assert safe_share(torch.zeros(1, 2), torch.ones(1, 2), mu=0.6).tolist() == [1.0]
    with pytest.raises(ValueError, match="wanted one"):
        safe_share(win, lose[:, :1], mu=0.6)


@pytest.mark.parametrize("mu", [0.0, 0.3, 0.6, 1.0])
def test_a_step_never_raises_the_winners_error_to_first_order(mu: float) -> None:
    """Both predictions move by one common step, as they do for what the network shares between the clips."""
    generator = fold_in(5)
    residuals = (
        torch.randn(2, 200, 30, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 4.0])[:, None, None]
    )
    residuals[1, :100] += 2 * residuals[0, :100]  # half of the losers lie along their winners
    win, lose = residuals.requires_grad_()
    errors = win.square().mean(1), lose.square().mean(1)
    share = safe_share(win, lose, mu=mu)
    (descent,) = torch.autograd.grad((errors[0] - with_gradient_share(errors[1], share)).sum(), residuals)
    g_win = 2 * win.detach() / 30
    change = -(g_win * descent.sum(0)).sum(1)
    assert (change <= -mu * g_win.square().sum(1) + 1e-12).all()
    assert (share >= 0).all() and (share <= 1).all() and share[:100].min() < 1
    plain = -(g_win * (g_win - 2 * lose.detach() / 30)).sum(1)
    assert (plain > 0).any()  # without it some winners lose


def test_a_share_of_a_gradient_leaves_the_number() -> None:
    error = torch.tensor([3.0, 5.0], requires_grad=True)
    held = with_gradient_share(error, torch.tensor([0.25, 1.0]))
    assert held.tolist() == [3.0, 5.0]
    held.sum().backward()
    assert error.grad is not None
    assert error.grad.tolist() == [0.25, 1.0]


def test_beta_moves_by_hand_and_stays_in_its_range() -> None:
    assert steered_beta(500.0, 0.5, target=0.4) == pytest.approx(500 * math.exp(0.02))
    assert steered_beta(500.0, 0.4, target=0.4) == 500.0
    assert steered_beta(BETA_RANGE[1], 0.5, target=0.1) == BETA_RANGE[1]
    assert steered_beta(BETA_RANGE[0], 0.0, target=0.4) == BETA_RANGE[0]


def test_beta_settles_where_the_mean_factor_is_the_target() -> None:
    """Pairs whose margins are beta h for fixed h."""
    h = torch.rand(100, generator=fold_in(6), dtype=torch.float64) * 0.004
    beta = 500.0
    for _ in range(400):
        beta = steered_beta(beta, float(gradient_factor(beta * h).mean()), target=0.3)
    assert float(gradient_factor(beta * h).mean()) == pytest.approx(0.3, abs=1e-3)


def test_weighted_frames_by_hand_and_with_equal_weights_the_mean() -> None:
    errors = torch.tensor([[1.0, 2.0, 6.0]])
    assert weighted_frames(errors, [1.0, 0.0, 3.0]).tolist() == [pytest.approx(19 / 4)]
    prediction, target = torch.randn(2, 3, 4, 5, 6, 7, generator=fold_in(7), dtype=torch.float64)
    frames = per_frame_mse(prediction, target)
    torch.testing.assert_close(weighted_frames(frames, [2.0] * 5), frames.mean(1))
    for weights in ([1.0, 2.0], [-1.0, 1.0, 1.0], [0.0, 0.0, 0.0]):
        with pytest.raises(ValueError, match="weights must be 3 numbers"):
            weighted_frames(errors, weights)
