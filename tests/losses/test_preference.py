from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from videoalign.losses.preference import (
    LAWS,
    btt_log_probs,
    davidson_log_probs,
    label_shares,
    mean_over_judged,
    regression_loss,
    share_labels,
    thurstone_log_probs,
    verdict_loss,
)
from videoalign.randomness import fold_in


def loss_of(law: str) -> Callable[..., Tensor]:
    """The loss of labels under a law, as the trainings take it."""

    def loss(a: Tensor, b: Tensor, label: Tensor, width: float | Tensor | None = None) -> Tensor:
        return verdict_loss(a - b, label_shares(label), law, width)

    return loss


bt_loss, btt_loss, davidson_loss = map(loss_of, ("bt", "btt", "davidson"))


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(d=st.floats(-200, 200), theta=st.floats(1.001, 100))
def test_btt_probabilities_sum_to_one(d: float, theta: float) -> None:
    assert btt_log_probs(double(d), theta).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_btt_probabilities_by_hand() -> None:
    """With e^d = 2 and theta = 5: P(A) = 2 / 7, P(B) = 1 / 11, P(tie) = 24 * 2 / (7 * 11) = 48 / 77."""
    win, tie, lose = btt_log_probs(double(math.log(2)), 5.0).exp().squeeze(1).tolist()
    assert (win, tie, lose) == pytest.approx((2 / 7, 48 / 77, 1 / 11), abs=1e-15)


def test_two_equal_clips_tie_with_two_thirds_at_theta_five() -> None:
    torch.testing.assert_close(btt_log_probs(double(0.0)).exp().squeeze(1), double(1 / 6, 2 / 3, 1 / 6))


def test_tie_and_win_are_equally_likely_at_the_tie_boundary() -> None:
    """|d| = ln((theta^2 - 2) / theta) = ln 4.6 for theta = 5."""
    win, tie, _ = btt_log_probs(double(math.log(4.6)), 5.0)
    torch.testing.assert_close(win, tie)


def test_the_row_as_printed_in_the_paper_would_not_sum_to_one() -> None:
    _, tie, lose = btt_log_probs(double(1.0), 5.0).exp().squeeze(1).tolist()
    printed_win = math.e / (1 + 5 * math.e)
    assert printed_win + tie + lose == pytest.approx(0.83, abs=0.005)


def test_btt_becomes_bradley_terry_as_the_tie_band_closes() -> None:
    d, label = double(-3.0, -0.2, 0.0, 1.7), double(1, -1, 1, -1)
    torch.testing.assert_close(
        btt_loss(d, torch.zeros_like(d), label, 1 + 1e-9), bt_loss(d, torch.zeros_like(d), label), rtol=0, atol=1e-8
    )


def test_btt_losses_are_the_negative_log_probabilities_of_their_labels() -> None:
    a, b = torch.randn(2, 6, 3, generator=fold_in(0), dtype=torch.float64)
    win, tie, lose = btt_log_probs(a - b)
    for label, expected in ((1.0, -win), (0.0, -tie), (-1.0, -lose)):
        torch.testing.assert_close(btt_loss(a, b, torch.full_like(a, label)), expected)


def test_theta_can_be_one_per_dimension_and_learns() -> None:
    a, b = torch.randn(2, 200, 2, generator=fold_in(1), dtype=torch.float64)
    theta = double(2.0, 9.0).requires_grad_()
    label = torch.zeros_like(a)
    loss = btt_loss(a, b, label, theta)
    torch.testing.assert_close(loss[:, 0], btt_loss(a[:, 0], b[:, 0], label[:, 0], 2.0))
    torch.testing.assert_close(loss[:, 1], btt_loss(a[:, 1], b[:, 1], label[:, 1], 9.0))
    loss.mean().backward()
    assert theta.grad is not None
    assert (theta.grad < 0).all(), "where everyone ties, the tie band must widen"


@pytest.mark.parametrize("theta", [1.0, 0.5, math.nan])
def test_a_theta_that_leaves_no_room_for_ties_is_refused(theta: float) -> None:
    with pytest.raises(ValueError, match="theta must be above 1"):
        btt_log_probs(double(0.0), theta)
    with pytest.raises(ValueError, match="theta must be above 1"):
        btt_log_probs(double(0.0, 0.0), double(5.0, theta))


@pytest.mark.parametrize("loss", [bt_loss, btt_loss, davidson_loss])
@pytest.mark.parametrize("label", [1, -1, 0])
def test_losses_and_gradients_are_right_in_float32_for_far_apart_scores(loss, label) -> None:
    exact_d = torch.linspace(-100, 100, 401, dtype=torch.float64).requires_grad_()
    single_d = exact_d.detach().float().requires_grad_()
    labels = torch.full((401,), label)
    exact, single = (loss(d, torch.zeros_like(d), labels) for d in (exact_d, single_d))
    exact.sum().backward()
    single.sum().backward()
    torch.testing.assert_close(single.double(), exact, rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(single_d.grad.double(), exact_d.grad, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("loss", [bt_loss, btt_loss, davidson_loss])
def test_swapping_the_clips_and_the_label_changes_nothing(loss) -> None:
    a, b = torch.randn(2, 30, generator=fold_in(2), dtype=torch.float64)
    label = torch.tensor([1, 0, -1] * 10)
    torch.testing.assert_close(loss(b, a, -label), loss(a, b, label))


@pytest.mark.parametrize("loss", [bt_loss, btt_loss, davidson_loss])
def test_gradient_lifts_the_preferred_clip_and_lowers_the_other(loss) -> None:
    a, b = torch.randn(2, 30, generator=fold_in(3), dtype=torch.float64).unbind()
    a.requires_grad_()
    b.requires_grad_()
    loss(a, b, torch.ones(30)).sum().backward()
    assert (a.grad < 0).all()
    assert (b.grad > 0).all()


def test_a_tie_pulls_scores_together_in_btt_and_says_nothing_in_bt() -> None:
    a, b = double(2.0, -1.0, 0.5).requires_grad_(), double(0.0, 3.0, 0.5)
    (gradient,) = torch.autograd.grad(btt_loss(a, b, torch.zeros(3)).sum(), a)
    assert gradient.sign().tolist() == [1.0, -1.0, 0.0]
    tied = bt_loss(a, b, torch.zeros(3))
    (gradient,) = torch.autograd.grad(tied.sum(), a)
    assert tied.tolist() == [0.0] * 3
    assert gradient.tolist() == [0.0] * 3


@pytest.mark.parametrize("loss", [bt_loss, btt_loss, davidson_loss])
def test_what_is_no_judgement_gives_no_loss_and_no_gradient(loss) -> None:
    a = double(2.0, -1.0).requires_grad_()
    missing = loss(a, double(0.0, 3.0), torch.tensor([22, 22]))
    missing.sum().backward()
    assert missing.tolist() == [0.0, 0.0]
    assert a.grad.tolist() == [0.0, 0.0]


def test_bt_by_hand() -> None:
    """-log sigmoid(ln 3) = log(4 / 3)."""
    a, b, label = double(math.log(3), 0.0), double(0.0, math.log(3)), double(1, 1)
    torch.testing.assert_close(bt_loss(a, b, label), double(math.log(4 / 3), math.log(4)))


def test_regression_aims_at_rating_minus_three_and_skips_missing_ratings() -> None:
    score = double(0.0, -2.0, 1.5, 7.0).requires_grad_()
    loss = regression_loss(score, double(3, 1, 5, 0))
    loss.sum().backward()
    torch.testing.assert_close(loss, double(0.0, 0.0, 0.25, 0.0))
    torch.testing.assert_close(score.grad, double(0.0, 0.0, -1.0, 0.0))


def test_the_mean_is_over_what_is_judged() -> None:
    loss, judged = double(1.0, 2.0, math.inf, 5.0), torch.tensor([True, True, False, False])
    assert mean_over_judged(loss, judged).item() == 1.5
    assert mean_over_judged(loss, torch.zeros(4, dtype=torch.bool)).item() == 0.0
    assert mean_over_judged(double(0.5, 0.25, math.inf), double(0.5, 0.25, 0.0)).item() == 1.0
    assert mean_over_judged(double(1.0), double(0.0)).item() == 0.0


def test_shapes_that_would_broadcast_and_widths_without_a_band_are_refused() -> None:
    for law in LAWS:
        with pytest.raises(ValueError, match=r"shares must have shape \(4, 3, 3\)"):
            verdict_loss(torch.zeros(4, 3), torch.zeros(4, 1, 3), law)
    with pytest.raises(ValueError, match="'bt' has no tie band"):
        verdict_loss(torch.zeros(2), torch.zeros(2, 3), "bt", 5.0)
    with pytest.raises(ValueError, match="must share one shape"):
        regression_loss(torch.zeros(4, 3), torch.zeros(3))


@given(d=st.floats(-200, 200), nu=st.floats(0.001, 100))
def test_davidson_probabilities_sum_to_one_and_keep_the_odds(d: float, nu: float) -> None:
    win, tie, lose = davidson_log_probs(double(d), nu)
    assert float(torch.stack([win, tie, lose]).exp().sum()) == pytest.approx(1, abs=1e-12)
    assert float(win - lose) == pytest.approx(d, abs=1e-9)


def test_davidson_by_hand() -> None:
    """With e^d = 4 and nu = 3 the three are as 2 : 3 : 1/2."""
    probabilities = davidson_log_probs(double(math.log(4)), 3.0).exp().flatten().tolist()
    assert probabilities == pytest.approx([2 / 5.5, 3 / 5.5, 0.5 / 5.5], abs=1e-12)
    tie = davidson_log_probs(double(0.0))[1].exp()
    assert float(tie) == pytest.approx(2 / 3)
    a, b, label = double(math.log(4), 0.0, 0.0, 1.0), double(0.0, math.log(4), 0.0, 2.0), double(1, 1, 0, 22)
    wanted = [-math.log(2 / 5.5), -math.log(0.5 / 5.5), -math.log(3 / 5), 0.0]
    assert davidson_loss(a, b, label, 3.0).tolist() == pytest.approx(wanted, abs=1e-12)


def test_davidson_without_ties_is_bradley_terry() -> None:
    a, b, label = double(0.3, -2.0), double(1.0, 0.5), double(1, -1)
    torch.testing.assert_close(davidson_loss(a, b, label, 1e-14), bt_loss(a, b, label))


@pytest.mark.parametrize("nu", [0.0, -1.0, math.nan])
def test_a_davidson_without_weight_for_ties_is_refused(nu: float) -> None:
    with pytest.raises(ValueError, match="nu must be above 0"):
        davidson_log_probs(double(0.0), nu)


def test_loss_on_shares_by_hand() -> None:
    """e^d = 2, theta = 5: P = (2 / 7, 48 / 77, 1 / 11); two of four raters say A, one tie, one B."""
    expected = -(0.5 * math.log(2 / 7) + 0.25 * math.log(48 / 77) + 0.25 * math.log(1 / 11))
    loss = verdict_loss(double(math.log(2)), double(0.5, 0.25, 0.25)[None], "btt", 5.0)
    torch.testing.assert_close(loss, double(expected), rtol=0, atol=1e-14)
    decided = verdict_loss(double(math.log(3)), double(0.5, 0.25, 0.25)[None], "bt")
    torch.testing.assert_close(decided, double(0.5 * math.log(4 / 3) + 0.25 * math.log(4)), rtol=0, atol=1e-14)


@given(d=st.floats(-50, 50), votes=st.tuples(*[st.integers(0, 5)] * 3))
@pytest.mark.parametrize("law", ["btt", "davidson", "bt"])
def test_loss_on_shares_is_the_mean_over_raters(law: str, d: float, votes: tuple[int, int, int]) -> None:
    hard = loss_of(law)
    single = [hard(double(d), double(0.0), double(v)) for v, n in zip((1, 0, -1), votes, strict=True) for _ in range(n)]
    shares = double(*votes)[None] / max(1, sum(votes))
    mean = torch.cat(single).mean() if single else torch.tensor(0.0)
    assert float(verdict_loss(double(d), shares, law)) == pytest.approx(float(mean), abs=1e-10)


def test_gradient_of_the_loss_on_shares_is_right() -> None:
    d = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    shares = torch.rand(7, 3, generator=fold_in(4), dtype=torch.float64)
    for law, width in (("btt", 3.0), ("davidson", 2.0)):
        wide = double(*[width] * 7).requires_grad_()
        assert torch.autograd.gradcheck(lambda d, w, law=law: verdict_loss(d, shares, law, w), (d, wide))
    assert torch.autograd.gradcheck(lambda d: verdict_loss(d, shares, "bt"), (d,))


def test_at_the_shares_that_the_law_gives_the_scores_rest() -> None:
    d = double(0.7).requires_grad_()
    verdict_loss(d, btt_log_probs(d.detach()).exp().T, "btt").sum().backward()
    assert float(d.grad) == pytest.approx(0, abs=1e-15)


def test_labels_and_shares_tell_the_same() -> None:
    label = double(1, 0, -1)
    assert share_labels(label_shares(label)).tolist() == [1, 0, -1]
    assert label_shares(double(22, math.nan)).tolist() == [[0, 0, 0]] * 2
    split = share_labels(torch.tensor([[0.5, 0, 0.5], [0, 0, 0], [0.4, 0.3, 0.3], [0.2, 0.4, 0.4]]))
    assert split.isnan().tolist() == [True, True, False, True] and split[2] == 1


@given(d=st.floats(-200, 200), width=st.floats(0.001, 100))
def test_thurstone_probabilities_sum_to_one(d: float, width: float) -> None:
    assert float(thurstone_log_probs(double(d), width).exp().sum()) == pytest.approx(1, abs=1e-12)


def test_thurstone_by_hand() -> None:
    """Phi(1) = 0.841345, Phi(2) = 0.977250: of a difference of 1 and a width of 1 half is told."""
    a, tie, b = thurstone_log_probs(double(1.0), 1.0).exp().flatten().tolist()
    assert (a, tie, b) == pytest.approx((0.5, 0.4772499, 0.0227501), abs=1e-7)
    assert thurstone_log_probs(double(0.0)).exp().flatten().tolist() == pytest.approx(
        [0.158655, 0.682689, 0.158655], abs=1e-6
    )
    far = double(60.0, -60.0).requires_grad_()
    (-thurstone_log_probs(far)[1]).sum().backward()
    assert far.grad is not None and far.grad.tolist() == pytest.approx([59.0, -59.0], abs=0.1), "no underflow far out"
    with pytest.raises(ValueError, match="width must be above 0; got 0"):
        thurstone_log_probs(double(0.0), 0.0)
