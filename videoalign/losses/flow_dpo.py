"""Flow-DPO: the preference loss of a rectified-flow generator against its frozen reference.

Equations 5 and 6 of "Improving Video Generation with Human Feedback" (arXiv 2501.13918), with the error of a sample
taken as the MEAN over latent elements. All errors of a pair belong to one time and one noise, shared by both clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable

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


def flow_dpo_loss(margin: Tensor, *, cap: float | None = None) -> Tensor:
    """-log sigmoid(m) of each pair, (B,): log 2 where the policy is the reference.

    Args:
        margin: m of `implicit_margin`, (B,).
        cap: pairs whose margin is above it stop pushing; None for no cap.
    """
    return -F.logsigmoid(margin if cap is None else margin.clamp(max=cap))


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
