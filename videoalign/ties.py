"""Laws of ties: how likely A, a tie and B are, given how far A's score d is above B's. Each law is written here once.

Arithmetic alone, so that torch tensors, numpy arrays and plain numbers go in alike, with the functions of their
library: `losses.preference` trains under these laws, `stats.calibration` and `stats.ranking` count under them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def rao_kupper(
    d: Any, theta: Any, *, log: Callable[[Any], Any], log_sigmoid: Callable[[Any], Any]
) -> tuple[Any, Any, Any]:
    """log P(A wins), log P(tie), log P(B wins), each of the shape of ``d``.

    Rao and Kupper (1967): P(A) = sigmoid(d - ln theta), P(B) = sigmoid(-d - ln theta),
    P(tie) = (theta^2 - 1) P(A) P(B); they sum to one. This is the form of the official VideoAlign code; the row "A
    preferred" as printed in the paper has theta on the wrong term and does not sum to one.

    Args:
        d: differences of scores.
        theta: width of the tie band, above 1, a number or what broadcasts against ``d``.
        log: natural logarithm of a ``theta``.
        log_sigmoid: ln(1 / (1 + e^-x)) of a ``d``.
    """
    win, lose = log_sigmoid(d - log(theta)), log_sigmoid(-d - log(theta))
    return win, win + lose + (log(theta - 1) + log(theta + 1)), lose


def davidson(d: Any, log_nu: Any) -> tuple[Any, Any, Any]:
    """Logarithms of weights in proportion to P(A wins), P(tie) and P(B wins); their log-softmax are the probabilities'.

    Davidson (1970): the three are as e^(d/2) : nu : e^(-d/2), so that a tie is likeliest between equals and the odds of
    A against B are those of Bradley and Terry, whatever nu.

    Args:
        d: differences of scores.
        log_nu: logarithm of a tie's weight nu > 0, a number or what broadcasts against ``d``; returned as it is.
    """
    return d / 2, log_nu, -d / 2


def thurstone(
    d: Any, width: Any, *, log_cdf: Callable[[Any], Any], log_less_one: Callable[[Any], Any]
) -> tuple[Any, Any, Any]:
    """log P(A wins), log P(tie), log P(B wins), each of the shape of ``d``.

    Thurstone's law with ties (Glenn and David, 1960): what raters see of the difference is normal around it with
    deviation 1, and they call a tie where they see less than the width: P(A) = Phi(d - width), P(B) = Phi(-d - width).
    A difference that is itself known with a deviation alone is this law of both, difference and width, in units of the
    deviation of all.

    Args:
        d: differences of scores.
        width: least difference that is told, above 0, a number or what broadcasts against ``d``.
        log_cdf: ln Phi of a ``d``.
        log_less_one: ln(1 - e^x) of an x below 0.
    """
    inner, outer = log_cdf(width - abs(d)), log_cdf(-width - abs(d))
    return log_cdf(d - width), inner + log_less_one(outer - inner), log_cdf(-d - width)
