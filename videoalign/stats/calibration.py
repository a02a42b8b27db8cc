"""Whether score differences tell how likely each verdict is: a fitted law of ties, proper scores, areas under curves.

Verdicts are +1 (A preferred), -1 (B preferred) or 0 (tie); differences are score A less score B. Nothing here depends
on which clip of a pair is called A.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

LEAST_LOG_THETA = 1e-3
"""Narrowest tie band that is fitted: theta of about 1.001."""


def fit_tie_law(labels: Labels, diff: Floats) -> tuple[float, float]:
    """Scale and theta of Rao and Kupper's law that make the verdicts likeliest, each with a mild prior (a tenth of a
    verdict) towards scale 1 and theta e, so that perfect order or a lack of ties still has an answer.

    Args:
        labels: (N,), N at least 1.
        diff: (N,); the scale is found in units of its deviation.

    Raises:
        ValueError: no pairs.
    """
    if not len(labels):
        raise ValueError("fit_tie_law: got no pairs; wanted at least one")
    unit = float(np.sqrt(np.mean(diff**2))) or 1.0

    def cost(x: Floats) -> float:
        probabilities = verdict_probabilities(diff / unit, float(np.exp(x[0])), float(np.exp(np.exp(x[1]))))
        return float(-np.log(_of_verdict(probabilities, labels)).sum() + 0.1 * (x**2).sum())

    bounds = [(-8.0, 8.0), (float(np.log(LEAST_LOG_THETA)), 3.0)]
    found = minimize(cost, np.zeros(2), method="L-BFGS-B", bounds=bounds)
    return float(np.exp(found.x[0]) / unit), float(np.exp(np.exp(found.x[1])))


def verdict_probabilities(diff: Floats, scale: float, theta: float) -> Floats:
    """P(A preferred), P(tie), P(B preferred) of each pair, (N, 3): Rao and Kupper (1967) on ``scale * diff``."""
    win, lose = expit(scale * diff - np.log(theta)), expit(-scale * diff - np.log(theta))
    tie = (theta**2 - 1) * win * lose
    return np.stack([win, tie, lose], axis=1)


def log_loss(probabilities: Floats, labels: Labels) -> float:
    """Mean of -ln P(verdict) in nats."""
    return float(-np.log(_of_verdict(probabilities, labels)).mean())


def brier(probabilities: Floats, labels: Labels) -> float:
    """Mean squared distance of the three probabilities to the verdict, from 0 to 2."""
    truth = np.eye(3)[1 - labels]
    return float(((probabilities - truth) ** 2).sum(1).mean())


def calibration_error(probabilities: Floats, labels: Labels, *, num_bins: int = 10) -> float:
    """Expected calibration error of the likeliest verdict: |share right - mean probability|, averaged over equal-width
    bins of probability by the pairs in them."""
    confidence, chosen = probabilities.max(1), 1 - probabilities.argmax(1)
    place = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    gaps = [abs((chosen == labels)[place == b].mean() - confidence[place == b].mean()) for b in np.unique(place)]
    return float(np.average(gaps, weights=[(place == b).sum() for b in np.unique(place)]))


def ordering_auc(labels: Labels, diff: Floats) -> float:
    """Area under the ROC curve of telling A-preferred from B-preferred pairs by the difference, each decided pair taken
    both ways round; nan where no pair is decided."""
    aligned = (labels * diff)[labels != 0]
    return _auc(aligned, -aligned)


def tie_auc(labels: Labels, diff: Floats) -> float:
    """Area under the ROC curve of telling decided pairs from ties by |difference|; nan without both kinds."""
    size = np.abs(diff)
    return _auc(size[labels != 0], size[labels == 0])


def _auc(high: Floats, low: Floats) -> float:
    """How often a value of ``high`` exceeds one of ``low``, equal ones counting half."""
    if not len(high) or not len(low):
        return float("nan")
    ranks = rankdata(np.concatenate([high, low]))[: len(high)]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(high) * len(low)))


def _of_verdict(probabilities: Floats, labels: Labels) -> Floats:
    chosen: Floats = probabilities[np.arange(len(labels)), 1 - labels]
    return np.maximum(chosen, 1e-300)
