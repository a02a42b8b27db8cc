"""Losses that teach a reward to agree with judgements: one number per element, any shape.

Labels are numbers: +1 where A was preferred, -1 where B was, 0 for a tie; anything else is no judgement and gives loss
0 without a gradient. Where raters differ, `share_loss` takes the shares of their votes instead. The caller chooses the
mean: `mean_over_judged` counts the elements that carry a judgement, `mean_over_all` counts every element, as the
official VideoAlign code does.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

THETA = 5.0
"""Width of the tie band; two equal clips tie with probability (theta - 1) / (theta + 1), two in three."""

NU = 4.0
"""Weight of the tie in Davidson's law; two equal clips tie with probability nu / (nu + 2), two in three."""

MARGIN = 0.57
"""Distance, in reward units, that the constant-margin loss asks for."""

MIDDLE_RATING = 3.0
"""Middle of the 1 to 5 rating scale: the rating that regression maps to reward 0."""


def bt_loss(score_a: Tensor, score_b: Tensor, label: Tensor) -> Tensor:
    """Bradley-Terry: -log sigmoid(label (score_a - score_b)); 0 at ties, which this model cannot express.

    Args:
        score_a: rewards of clips A, any shape.
        score_b: rewards of clips B, same shape.
        label: +1, -1 or 0 as above, same shape.

    Raises:
        ValueError: shapes that differ.
    """
    return constant_margin_loss(score_a, score_b, label, margin=0.0)


def constant_margin_loss(score_a: Tensor, score_b: Tensor, label: Tensor, *, margin: float = MARGIN) -> Tensor:
    """-log sigmoid(label (score_a - score_b) - margin); 0 at ties. Arguments and errors as in `bt_loss`."""
    _same_shapes(score_a, score_b, label)
    decided = label.abs() == 1
    sign = label.to(score_a.dtype).where(decided, 0.0)
    return -F.logsigmoid(sign * (score_a - score_b) - margin).where(decided, 0.0)


def btt_loss(score_a: Tensor, score_b: Tensor, label: Tensor, theta: float | Tensor = THETA) -> Tensor:
    """Bradley-Terry with ties: -log P(label), the three probabilities as in `btt_log_probs`.

    Args:
        score_a: rewards of clips A, any shape.
        score_b: rewards of clips B, same shape.
        label: +1, -1 or 0 as above, same shape.
        theta: above 1; one number, or a tensor that broadcasts against the scores, as one per dimension does.

    Raises:
        ValueError: shapes that differ, theta not above 1.
    """
    _same_shapes(score_a, score_b, label)
    return share_loss(btt_log_probs(score_a - score_b, theta), label_shares(label))


def davidson_loss(score_a: Tensor, score_b: Tensor, label: Tensor, nu: float | Tensor = NU) -> Tensor:
    """Davidson's law of ties: -log P(label), the three probabilities as in `davidson_log_probs`.

    Args:
        score_a: rewards of clips A, any shape.
        score_b: rewards of clips B, same shape.
        label: +1, -1 or 0 as above, same shape.
        nu: above 0; one number, or a tensor that broadcasts against the scores.

    Raises:
        ValueError: shapes that differ, nu not above 0.
    """
    _same_shapes(score_a, score_b, label)
    return share_loss(davidson_log_probs(score_a - score_b, nu), label_shares(label))


def share_loss(log_probs: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy -sum_v share(v) log P(v), (...): the mean, over raters who voted so, of the loss of each vote.

    Args:
        log_probs: (3, ...), as `btt_log_probs`, `davidson_log_probs` and `bt_log_probs` give them.
        shares: of the votes for A, a tie and B, (..., 3); all 0 where nobody judged, which gives loss 0.

    Raises:
        ValueError: shapes that do not fit.
    """
    if shares.shape != (*log_probs.shape[1:], 3):
        raise ValueError(f"shares must have shape {(*log_probs.shape[1:], 3)}; got {tuple(shares.shape)}")
    return -(shares * log_probs.movedim(0, -1)).sum(-1)


def label_shares(label: Tensor) -> Tensor:
    """Labels (...) as the shares of unanimous raters, float32 (..., 3); all 0 where there is no judgement."""
    return torch.stack([label == 1, label == 0, label == -1], -1).float()


def share_labels(shares: Tensor) -> Tensor:
    """The majority of shares (..., 3), a label (...): +1, -1, 0 for a tie, nan where no verdict has the most votes."""
    a, tie, b = shares.unbind(-1)
    label = torch.full_like(a, torch.nan)
    for value, votes, others in ((1.0, a, tie.maximum(b)), (0.0, tie, a.maximum(b)), (-1.0, b, a.maximum(tie))):
        label = label.masked_fill(votes > others, value)
    return label


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


def mean_over_all(per_element: Tensor, judged: Tensor) -> Tensor:
    """Sum over the judged elements divided by the number of ALL elements, a scalar: the official reduction.

    Args:
        per_element: losses, any shape.
        judged: bool, same shape.
    """
    return per_element.where(judged, 0.0).mean()


def mean_over_judged(per_element: Tensor, judged: Tensor) -> Tensor:
    """Mean over the judged elements alone, a scalar; 0 where there are none.

    Args:
        per_element: losses, any shape.
        judged: bool, or the share of an element's votes that its loss holds, in [0, 1]; same shape.
    """
    total = judged.sum()
    return per_element.where(judged > 0, 0.0).sum() / (total + (total == 0))


def _same_shapes(score_a: Tensor, score_b: Tensor, label: Tensor) -> None:
    if not score_a.shape == score_b.shape == label.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (score_a, score_b, label))
        raise ValueError(f"score_a, score_b and label must share one shape; got {shapes}")
