"""Losses that teach a reward to agree with judgements: one number per element, any shape.

A verdict's probability follows from the difference d = score_a - score_b under one of the laws in `LAWS`; those with
ties stand in `videoalign.ties`. Votes come as shares for A, a tie and B (..., 3); `label_shares` makes them of labels.
What nobody judged has shares 0, and gives loss 0 without a gradient. The caller takes the mean, for instance with
`mean_over_judged`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from videoalign.ties import davidson, rao_kupper, thurstone

THETA = 5.0
"""Width of the tie band; two equal clips tie with probability (theta - 1) / (theta + 1), two in three."""

NU = 4.0
"""Weight of the tie in Davidson's law; two equal clips tie with probability nu / (nu + 2), two in three."""

JUST_TOLD = 1.0
"""Least difference that is told under Thurstone's law; two equal clips tie with probability 0.68."""

MIDDLE_RATING = 3.0
"""Middle of the 1 to 5 rating scale: the rating that regression maps to reward 0."""


def bt_log_probs(d: Tensor) -> Tensor:
    """[log P(A wins), 0, log P(B wins)], (3, ...), of Bradley-Terry for differences d (...): a tie costs nothing."""
    return torch.stack([F.logsigmoid(d), torch.zeros_like(d), F.logsigmoid(-d)])


def davidson_log_probs(d: Tensor, nu: float | Tensor = NU) -> Tensor:
    """log [P(A wins), P(tie), P(B wins)], (3, ...), for differences d (...) of any shape; see `ties.davidson`.

    Raises:
        ValueError: nu not above 0.
    """
    weight = nu if isinstance(nu, Tensor) else d.new_tensor(nu)
    if not bool((weight > 0).all()):
        raise ValueError(f"nu must be above 0; got {nu}")
    return torch.stack(davidson(d, weight.log().expand_as(d))).log_softmax(0)


def btt_log_probs(d: Tensor, theta: float | Tensor = THETA) -> Tensor:
    """log [P(A wins), P(tie), P(B wins)], (3, ...), for differences d (...) of any shape; see `ties.rao_kupper`.

    Raises:
        ValueError: theta not above 1.
    """
    if isinstance(theta, Tensor):
        if not bool((theta > 1).all()):
            raise ValueError("theta must be above 1 everywhere")
        return torch.stack(rao_kupper(d, theta, log=torch.log, log_sigmoid=F.logsigmoid))
    if not theta > 1:
        raise ValueError(f"theta must be above 1; got {theta}")
    return torch.stack(rao_kupper(d, theta, log=math.log, log_sigmoid=F.logsigmoid))


def thurstone_log_probs(d: Tensor, width: float | Tensor = JUST_TOLD) -> Tensor:
    """log [P(A wins), P(tie), P(B wins)], (3, ...), for differences d (...) of any shape; see `ties.thurstone`.

    Raises:
        ValueError: a width not above 0.
    """
    told = width if isinstance(width, Tensor) else d.new_tensor(width)
    if not bool((told > 0).all()):
        raise ValueError(f"width must be above 0; got {width}")
    return torch.stack(
        thurstone(d, told, log_cdf=torch.special.log_ndtr, log_less_one=lambda x: torch.log(-torch.expm1(x)))
    )


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
    "thurstone": Law(thurstone_log_probs, JUST_TOLD),
}
"""Bradley-Terry, which gives ties neither probability nor loss; with ties after Rao and Kupper; after Davidson; normal
instead of logistic, after Thurstone."""


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
