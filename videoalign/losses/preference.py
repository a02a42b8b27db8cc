"""Losses that teach a reward to agree with judgements: one number per element, any shape.

A verdict's probability follows from the difference d = score_a - score_b under one of the laws in `LAWS`. Votes come as
shares for A, a tie and B (..., 3); `label_shares` makes them of labels. What nobody judged has shares 0, and gives loss
0 without a gradient. The caller takes the mean, for instance with `mean_over_judged`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

THETA = 5.0
"""Width of the tie band; two equal clips tie with probability (theta - 1) / (theta + 1), two in three."""

NU = 4.0
"""Weight of the tie in Davidson's law; two equal clips tie with probability nu / (nu + 2), two in three."""

MIDDLE_RATING = 3.0
"""Middle of the 1 to 5 rating scale: the rating that regression maps to reward 0."""


def bt_log_probs(d: Tensor) -> Tensor:
    """[log P(A wins), 0, log P(B wins)], (3, ...), of Bradley-Terry for differences d (...): a tie costs nothing."""
    return torch.stack([F.logsigmoid(d), torch.zeros_like(d), F.logsigmoid(-d)])


def davidson_log_probs(d: Tensor, nu: float | Tensor = NU) -> Tensor:
    """log [P(A wins), P(tie), P(B wins)], (3, ...), for differences d = score_a - score_b of any shape (...).

    Davidson (1970): the three are as exp(d / 2) : nu : exp(-d / 2), so that a tie is likeliest between equals and the
    odds of A against B are those of Bradley-Terry, whatever nu.

    Raises:
        ValueError: nu not above 0.
    """
    weight = nu if isinstance(nu, Tensor) else d.new_tensor(nu)
    if not bool((weight > 0).all()):
        raise ValueError(f"nu must be above 0; got {nu}")
    return torch.stack([d / 2, weight.log().expand_as(d), -d / 2]).log_softmax(0)


def btt_log_probs(d: Tensor, theta: float | Tensor = THETA) -> Tensor:
    """log [P(A wins), P(tie), P(B wins)], (3, ...), for differences d = score_a - score_b of any shape (...).

    Rao and Kupper (1967): P(A) = sigmoid(d - ln theta), P(B) = sigmoid(-d - ln theta),
    P(tie) = (theta^2 - 1) P(A) P(B); they sum to one. This is the form of the official VideoAlign code; the row "A
    preferred" as printed in the paper has theta on the wrong term and does not sum to one.

    Raises:
        ValueError: theta not above 1.
    """
    if isinstance(theta, Tensor):
        if not bool((theta > 1).all()):
            raise ValueError("theta must be above 1 everywhere")
        log_theta, log_factor = theta.log(), (theta - 1).log() + (theta + 1).log()
    else:
        if not theta > 1:
            raise ValueError(f"theta must be above 1; got {theta}")
        log_theta, log_factor = d.new_tensor(math.log(theta)), d.new_tensor(math.log(theta * theta - 1))
    win, lose = F.logsigmoid(d - log_theta), F.logsigmoid(-d - log_theta)
    return torch.stack([win, win + lose + log_factor, lose])


@dataclass(frozen=True)
class Law:
    """How likely each verdict is between two clips."""

    log_probs: Callable[..., Tensor]
    """log [P(A wins), P(tie), P(B wins)], (3, ...), from differences (...) and, where the law has one, its width."""
    width: float | None = None
    """Of the tie band, by default; None for a law without one."""
    above: float = 0.0
    """What a width must lie above."""


LAWS: dict[str, Law] = {
    "bt": Law(bt_log_probs),
    "btt": Law(btt_log_probs, THETA, above=1.0),
    "davidson": Law(davidson_log_probs, NU),
}
"""Bradley-Terry, which gives ties neither probability nor loss; with ties after Rao and Kupper; after Davidson."""


def verdict_loss(d: Tensor, shares: Tensor, law: str, width: float | Tensor | None = None) -> Tensor:
    """Cross-entropy -sum_v share(v) log P(v), (...): the mean, over raters who voted so, of -log P of each vote.

    Args:
        d: differences score_a - score_b, (...).
        shares: of the votes for A, a tie and B, (..., 3); all 0 where nobody judged, which gives loss 0.
        law: a key of `LAWS`.
        width: of the tie band, one number or a tensor that broadcasts against ``d``, as one per dimension does; the
            law's own by default.

    Raises:
        ValueError: shapes that do not fit, a width out of range or of a law that has none.
    """
    if shares.shape != (*d.shape, 3):
        raise ValueError(f"shares must have shape {(*d.shape, 3)}; got {tuple(shares.shape)}")
    found = LAWS[law]
    if found.width is None and width is not None:
        raise ValueError(f"width: the law '{law}' has no tie band; got {width}")
    width = found.width if width is None else width
    log_probs = found.log_probs(d) if width is None else found.log_probs(d, width)
    return -(shares * log_probs.movedim(0, -1)).sum(-1)


def label_shares(label: Tensor) -> Tensor:
    """Labels (...), +1 for A, -1 for B, 0 for a tie, anything else no judgement, as the shares of unanimous raters,
    float32 (..., 3); all 0 where there is no judgement."""
    return torch.stack([label == 1, label == 0, label == -1], -1).float()


def share_labels(shares: Tensor) -> Tensor:
    """The majority of shares (..., 3), a label (...): +1, -1, 0 for a tie, nan where no verdict has the most votes."""
    a, tie, b = shares.unbind(-1)
    label = torch.full_like(a, torch.nan)
    for value, votes, others in ((1.0, a, tie.maximum(b)), (0.0, tie, a.maximum(b)), (-1.0, b, a.maximum(tie))):
        label = label.masked_fill(votes > others, value)
    return label


def regression_loss(score: Tensor, rating: Tensor) -> Tensor:
    """(score - (rating - 3))^2 for ratings from 1 to 5; 0 where the rating is 0, which means that there is none.

    Args:
        score: rewards of single clips, any shape.
        rating: a mean opinion score in [1, 5], or 0; same shape.

    Raises:
        ValueError: shapes that differ.
    """
    if score.shape != rating.shape:
        raise ValueError(f"score and rating must share one shape; got {tuple(score.shape)} and {tuple(rating.shape)}")
    return (score - (rating - MIDDLE_RATING)).square().where(rating != 0, 0.0)


def mean_over_judged(per_element: Tensor, judged: Tensor) -> Tensor:
    """Mean over the judged elements alone, a scalar; 0 where there are none.

    Args:
        per_element: losses, any shape.
        judged: bool, or the share of an element's votes that its loss holds, in [0, 1]; same shape.
    """
    total = judged.sum()
    return per_element.where(judged > 0, 0.0).sum() / (total + (total == 0))
