"""Flow-DPO: the preference loss of a rectified-flow generator against its frozen reference.

Equations 5 and 6 of "Improving Video Generation with Human Feedback" (arXiv 2501.13918), with the error of a sample
taken as the MEAN over latent elements. All errors of a pair belong to one time and one noise, shared by both clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor


def implicit_margin(
    error_win: Tensor, error_lose: Tensor, ref_error_win: Tensor, ref_error_lose: Tensor, *, beta: float | Tensor
) -> Tensor:
    """m = -(beta / 2) [(error_win - ref_error_win) - (error_lose - ref_error_lose)], (B,).

    Above 0 where the policy already tells winner from loser (implicit accuracy is the share of such pairs), 0 where the
    policy is the reference.

    Args:
        error_win: policy's mean squared velocity error on the preferred clips, (B,).
        error_lose: the same on the other clips, (B,).
        ref_error_win: reference's error on the preferred clips, (B,).
        ref_error_lose: reference's error on the other clips, (B,).
        beta: pull towards the reference, above 0; one number, or one per pair (B,) as `beta_schedule` gives it.

    Raises:
        ValueError: shapes that are not all (B,), or a beta that is not above 0.
    """
    shapes = {tuple(error.shape) for error in (error_win, error_lose, ref_error_win, ref_error_lose)}
    if len(shapes) != 1 or error_win.ndim != 1:
        raise ValueError(f"errors must all have shape (B,), one number per pair; got {sorted(shapes)}")
    if isinstance(beta, Tensor):
        if beta.shape not in ((), error_win.shape):
            raise ValueError(f"beta must be one number or have shape {tuple(error_win.shape)}; got {tuple(beta.shape)}")
    elif not beta > 0:
        raise ValueError(f"beta must be above 0; got {beta}")
    return -0.5 * beta * ((error_win - ref_error_win) - (error_lose - ref_error_lose))


Utility = Callable[[Tensor], Tensor]
"""What a margin costs, elementwise; falls where the margin is small. See `utility`."""


def sigmoid_utility(margin: Tensor) -> Tensor:
    """-log sigmoid(m), equation 6 of arXiv 2501.13918: log 2 at the reference, slope -sigmoid(-m)."""
    return -F.logsigmoid(margin)


def poly_utility(margin: Tensor, *, alpha: float) -> Tensor:
    """-log p + alpha (1 - p), p = sigmoid(m): Poly-DPO of "ViPO" (arXiv 2604.24953).

    Args:
        margin: m, (B,).
        alpha: above 0 pairs that are not learnt yet push harder, for noisy labels; below 0 less, for pairs that are
            too easy; 0 is `sigmoid_utility`. The slope is -(1 - p) (1 + alpha p), so it falls everywhere for alpha
            above -1.
    """
    return sigmoid_utility(margin) + alpha * (-margin).sigmoid()


def linear_utility(margin: Tensor, *, floor: float) -> Tensor:
    """The utility with slope -clip(1/2 - 2/5 m, floor, 1 - floor) and value 0 at m = 0: Linear-DPO (arXiv 2605.21123).

    Its loss is sg(clip(0.2 beta d + 0.5, eta, 1 - eta)) (e_win - e_lose) with d = (e_win - ref_win) - (e_lose -
    ref_lose) = -2 m / beta and eta = ``floor``; the gradient here is beta / 2 times that one, as that of the others.

    Args:
        margin: m, (B,).
        floor: in [0, 1/2]; the least that a learnt pair still pushes, and by how much a wrong one pushes less than 1.
    """
    edge = (0.5 - floor) / 0.4
    near = margin.clamp(-edge, edge)
    return 0.2 * near.square() - 0.5 * near - (0.5 - 0.4 * near) * (margin - near)


def ipo_utility(margin: Tensor) -> Tensor:
    """(m - 1/2)^2 / 2: the squared loss of IPO (arXiv 2310.12036), which wants a margin of 1/2 and no more.

    IPO's (h - 1 / (2 tau))^2 with h = m / beta and tau = beta is 2 / beta^2 times it. The slope at the reference is
    -1/2, as that of `sigmoid_utility`, so that rates keep their meaning.
    """
    return 0.5 * (margin - 0.5).square()


UTILITIES = ("sigmoid", "poly", "linear", "ipo")
"""Names that `utility` knows."""


def utility(name: str, *, alpha: float = 0.0, floor: float = 0.0) -> Utility:
    """The utility of that name.

    Args:
        name: one of `UTILITIES`.
        alpha: of `poly_utility`.
        floor: of `linear_utility`.

    Raises:
        ValueError: an unknown name.
    """
    known: dict[str, Utility] = {
        "sigmoid": sigmoid_utility,
        "poly": partial(poly_utility, alpha=alpha),
        "linear": partial(linear_utility, floor=floor),
        "ipo": ipo_utility,
    }
    if name not in known:
        raise ValueError(f"name must be one of {', '.join(UTILITIES)}; got {name!r}")
    return known[name]


def flow_dpo_loss(
    margin: Tensor, preference: Tensor | None = None, *, cap: float | None = None, utility: Utility = sigmoid_utility
) -> Tensor:
    """p u(m) + (1 - p) u(-m) of each pair, (B,): log 2 where the policy is the reference and u is the sigmoid's.

    With p = 1 - epsilon it is the conservative DPO of a label that is wrong with chance epsilon (label smoothing; "A
    note on DPO with noisy preferences", E. Mitchell 2023): the margin ends at log((1 - epsilon) / epsilon). With p =
    1/2 the pair is a tie, whose margin is drawn to 0.

    Args:
        margin: m of `implicit_margin`, (B,).
        preference: p, chance that the first clip is the better one, (B,) in [0, 1]; None for 1.
        cap: pairs whose margin is above it stop pushing; None for no cap.
        utility: u, see `utility`.
    """
    margin = margin if cap is None else margin.clamp(max=cap)
    if preference is None:
        return utility(margin)
    return preference * utility(margin) + (1 - preference) * utility(-margin)


def smoothed(preference: Tensor, smoothing: float) -> Tensor:
    """p (1 - epsilon) + (1 - p) epsilon: chance of a preference whose label is wrong with chance epsilon.

    Args:
        preference: p as it was labelled, in [0, 1].
        smoothing: epsilon, in [0, 1/2).
    """
    return preference * (1 - smoothing) + (1 - preference) * smoothing


def safe_share(gradient_win: Tensor, gradient_lose: Tensor, *, mu: float) -> Tensor:
    """How much of its gradient a loser may keep so that the step does not raise the winner's error, (B,) in [0, 1].

    Diffusion-SDPO (arXiv 2511.03317): clip((1 - mu) |g_win|^2 / <g_win, g_lose>, 0, 1) where <g_win, g_lose> is above
    0, else 1. Going down g_win - share g_lose then changes the winner's error by at most -mu |g_win|^2 per unit of
    step, to first order in the predictions. One share per pair; the authors' code has one per batch.

    Args:
        gradient_win: gradient of the winner's error in its prediction, (B, ...), of any scale that both share.
        gradient_lose: the same of the loser.
        mu: share of the winner's own descent that is kept, in [0, 1].

    Raises:
        ValueError: the shapes differ.
    """
    if gradient_win.shape != gradient_lose.shape:
        raise ValueError(f"got shapes {tuple(gradient_win.shape)} and {tuple(gradient_lose.shape)}; wanted one")
    win, lose = gradient_win.detach().flatten(1), gradient_lose.detach().flatten(1)
    along = (win * lose).mean(1)
    least = torch.finfo(along.dtype).tiny
    return torch.where(along > 0, ((1 - mu) * win.square().mean(1) / along.clamp(min=least)).clamp(0, 1), 1.0)


def with_gradient_share(error: Tensor, share: Tensor) -> Tensor:
    """The same numbers, whose gradient is ``share`` times as large: sg(e) + share (e - sg(e))."""
    return error.detach() + share * (error - error.detach())


def steered_beta(beta: float, factor: float, *, target: float) -> float:
    """The beta of the next step: beta exp(`STEERING` (factor - target)), kept within `BETA_RANGE`.

    Where pairs still give more of their gradient than wanted, beta rises, and where they give less, it falls: since m
    = beta h and the factor is sigmoid(-m), it settles where the mean factor of the pairs is ``target``.

    Args:
        beta: of this step.
        factor: mean of `gradient_factor` over the pairs of this step.
        target: the mean factor that is aimed at, in (0, 1).
    """
    least, most = BETA_RANGE
    return min(most, max(least, beta * math.exp(STEERING * (factor - target))))


STEERING = 0.2
"""How fast `steered_beta` moves: a factor that is off by 0.1 moves beta by 2 % a step."""

BETA_RANGE = (10.0, 8000.0)
"""What `steered_beta` stays within; the paper tried 100 to 8000."""


def gradient_factor(margin: Tensor) -> Tensor:
    """sigmoid(-m), (B,), in (0, 1): the share of its full gradient that a pair still gives.

    The gradient of the loss with respect to error_win is (beta / 2) sigmoid(-m), and minus that for error_lose. One
    half at the reference; near 0 a pair is learnt (or beta too large), near 1 it is held the wrong way round.

    Args:
        margin: m of `implicit_margin`, (B,).
    """
    return (-margin).sigmoid()


BETA_SCHEDULES: dict[str, Callable[[Tensor], Tensor]] = {
    "constant": lambda t: t.new_ones(t.shape),
    "squared": lambda t: (1 - t).square(),
}
"""How beta depends on time. ``squared`` is what the derivation from the diffusion loss gives: it lets go of the
reference where noise is high; ``constant`` is what the paper recommends."""


def beta_schedule(t: Tensor, beta: float, kind: str = "constant") -> Tensor:
    """beta at each time, (B,): beta for ``constant``, beta (1 - t)^2 for ``squared``.

    Args:
        t: times in [0, 1], (B,); 0 is data.
        beta: its value at t = 0, above 0.
        kind: a key of `BETA_SCHEDULES`.

    Raises:
        ValueError: an unknown kind, or a beta that is not finite and above 0.
    """
    if kind not in BETA_SCHEDULES:
        raise ValueError(f"kind must be one of {', '.join(BETA_SCHEDULES)}; got {kind!r}")
    if not (beta > 0 and math.isfinite(beta)):
        raise ValueError(f"beta must be finite and above 0; got {beta}")
    return beta * BETA_SCHEDULES[kind](t)
