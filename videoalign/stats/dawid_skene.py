"""Dawid and Skene (1979): the likeliest verdicts and how reliable each rater is, found together by EM.

Verdicts are +1 (A preferred), 0 (tie) or -1 (B preferred). Which clip is called A is a matter of chance, so a rater is
taken to mistake A for B as often as B for A, and so on: nothing here changes when clips trade places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

IMAGINED = np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]])
"""What one imagined verdict of each kind adds to a rater's confusions: half right, the rest spread evenly."""


@dataclass(frozen=True, eq=False)
class DawidSkene:
    """A fit. The three classes stand in the order A, tie, B."""

    posterior: Floats
    """Chance of each class, by item, (N, 3)."""
    prior: Floats
    """Chance of each class before any verdict, (3,)."""
    confusion: Floats
    """Chance that a rater says the second where the first is true, (R, 3, 3); rows add up to 1."""
    objective: tuple[float, ...]
    """Log-likelihood, plus the log of the imagined verdicts' weight, at each step; it never falls."""
    converged: bool
    """Whether it gained less than the tolerance in the last step."""

    @property
    def accuracy(self) -> Floats:
        """Chance that a rater's verdict is right, (R,)."""
        right: Floats = np.einsum("k,rkk->r", self.prior, self.confusion)
        return right


def fit_dawid_skene(
    items: ArrayLike,
    raters: ArrayLike,
    labels: ArrayLike,
    *,
    smoothing: float = 1.0,
    tolerance: float = 1e-6,
    max_steps: int = 1000,
) -> DawidSkene:
    """Starts from the shares of the votes and improves until the objective stands still; the same at every call.

    Args:
        items: number of the item of each verdict, from 0, (J,).
        raters: number of the rater of each verdict, from 0, (J,).
        labels: the verdicts, +1, 0 or -1, (J,).
        smoothing: imagined verdicts per rater and class, see `IMAGINED`; above 0 keeps raters with few verdicts in the
            middle and every chance above 0.
        tolerance: gain of the objective that ends the steps.
        max_steps: at most this many.

    Raises:
        ValueError: no verdict, another label, lengths that differ, an item without a verdict.
    """
    items, raters = np.asarray(items, dtype=np.int64), np.asarray(raters, dtype=np.int64)
    said = 1 - np.asarray(labels, dtype=np.int64)
    if not (len(items) == len(raters) == len(said)) or not len(said):
        raise ValueError(
            f"want as many items, raters and labels, 1 or more; got {len(items)}, {len(raters)}, {len(said)}"
        )
    if not np.isin(said, (0, 1, 2)).all():
        raise ValueError("labels must be +1, -1 or 0; leave out what is no judgement")
    if (np.bincount(items) == 0).any():
        raise ValueError("items must be numbered without gaps; every item needs a verdict")
    posterior = np.zeros((items.max() + 1, 3))
    np.add.at(posterior, (items, said), 1.0)
    posterior /= posterior.sum(1, keepdims=True)
    objective: list[float] = []
    converged = False
    while not converged and len(objective) < max_steps:
        prior, confusion = _maximise(posterior, items, raters, said, smoothing)
        posterior, likelihood = _expect(prior, confusion, items, raters, said)
        weight = smoothing * (np.log(prior).mean() + (IMAGINED * np.log(confusion)).sum()) if smoothing else 0.0
        objective.append(likelihood + float(weight))
        converged = len(objective) > 1 and objective[-1] - objective[-2] < tolerance
    return DawidSkene(posterior, prior, confusion, tuple(objective), converged)


def _maximise(
    posterior: Floats, items: Indices, raters: Indices, said: Indices, smoothing: float
) -> tuple[Floats, Floats]:
    """Prior (3,) and confusions (R, 3, 3), the same when A and B trade places."""
    prior = posterior.sum(0) + smoothing / 3
    prior = (prior + prior[::-1]) / 2
    counts = np.zeros((raters.max() + 1, 3, 3))
    np.add.at(counts, (raters, said), posterior[items])
    counts = counts.transpose(0, 2, 1)
    counts = (counts + counts[:, ::-1, ::-1]) / 2 + smoothing * IMAGINED
    totals = counts.sum(2, keepdims=True)
    confusion = np.divide(counts, totals, out=np.full_like(counts, 1 / 3), where=totals > 0)
    return prior / prior.sum(), confusion


def _expect(prior: Floats, confusion: Floats, items: Indices, raters: Indices, said: Indices) -> tuple[Floats, float]:
    """Posterior (N, 3) and log-likelihood."""
    with np.errstate(divide="ignore"):
        logs, log_prior = np.log(confusion), np.log(prior)
    joint = np.tile(log_prior, (items.max() + 1, 1))
    np.add.at(joint, items, logs[raters, :, said])
    total = logsumexp(joint, axis=1, keepdims=True)
    return np.exp(joint - total), float(total.sum())
