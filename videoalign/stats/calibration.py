"""Whether score differences tell how likely each verdict is: a fitted law of ties, proper scores, areas under curves.

Verdicts are +1 (A preferred), -1 (B preferred) or 0 (tie); differences are score A less score B. Nothing here depends
on which clip of a pair is called A.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_expit

from videoalign.stats.pairwise import folds
from videoalign.stats.resampling import Estimate, bootstrap
from videoalign.ties import rao_kupper

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
    """P(A preferred), P(tie), P(B preferred) of each pair, (N, 3): `ties.rao_kupper` on ``scale * diff``."""
    likely: Floats = np.exp(np.stack(rao_kupper(scale * diff, theta, log=np.log, log_sigmoid=log_expit), axis=1))
    return likely


def cross_fit_probabilities(labels: Labels, diff: Floats, prompts: Labels, *, seed: int = 0) -> tuple[Floats, Floats]:
    """P(A), P(tie), P(B) of every pair, (N, 3), twice: under a law of ties whose scale and width are fitted on the
    other folds of prompts, and as the shares of the verdicts there, blind to the clips; nan for one prompt alone."""
    fitted, shares = np.full((2, len(labels), 3), math.nan)
    for fold in folds(prompts, seed=seed):
        others = labels[~fold]
        fitted[fold] = verdict_probabilities(diff[fold], *fit_tie_law(others, diff[~fold]))
        ties = (np.sum(others == 0) + 1) / (len(others) + 3)  # one verdict of each kind is added
        shares[fold] = (1 - ties) / 2, ties, (1 - ties) / 2
    return fitted, shares


def log_loss(probabilities: Floats, labels: Labels) -> float:
    """Mean of -ln P(verdict) in nats."""
    return float(-np.log(_of_verdict(probabilities, labels)).mean())


def brier(probabilities: Floats, labels: Labels) -> float:
    """Mean squared distance of the three probabilities to the verdict, from 0 to 2."""
    truth = np.eye(3)[1 - labels]
    return float(((probabilities - truth) ** 2).sum(1).mean())


class ReliabilityBin(NamedTuple):
    """Pairs whose likeliest verdict has a probability in [low, high); the last bin holds its upper end too."""

    low: float
    high: float
    n: int
    """Pairs in it, at least 1."""
    confidence: float
    """Mean probability of the likeliest verdict."""
    right: float
    """Share of pairs with that verdict; a pair with several verdicts that are equally likely counts its part of one."""


def reliability(probabilities: Floats, labels: Labels, *, num_bins: int = 10) -> list[ReliabilityBin]:
    """How often the likeliest verdict is right, by its probability, in equal-width bins; empty ones are left out."""
    confidence = probabilities.max(1)
    likeliest = probabilities == confidence[:, None]
    correct = likeliest[np.arange(len(labels)), 1 - labels] / likeliest.sum(1)
    bin_of = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    bins = []
    for b in np.unique(bin_of).tolist():
        inside = bin_of == b
        sure, right = float(confidence[inside].mean()), float(correct[inside].mean())
        bins.append(ReliabilityBin(b / num_bins, (b + 1) / num_bins, int(inside.sum()), sure, right))
    return bins


def calibration_error(probabilities: Floats, labels: Labels, *, num_bins: int = 10) -> float:
    """Expected calibration error of the likeliest verdict: |share right - mean probability|, averaged over the bins of
    `reliability` by the pairs in them."""
    bins = reliability(probabilities, labels, num_bins=num_bins)
    return float(np.average([abs(b.right - b.confidence) for b in bins], weights=[b.n for b in bins]))


def ordering_auc(labels: Labels, diff: Floats, clusters: Labels | None = None, *, seed: int = 0) -> Estimate:
    """Area under the ROC curve of telling A-preferred from B-preferred pairs by the difference, each decided pair taken
    both ways round; nan where no pair is decided.

    Args:
        labels: (N,).
        diff: (N,).
        clusters: number of what each pair belongs to (its prompt), (N,); whole clusters are drawn for the interval.
        seed: of these draws.
    """
    decided = labels != 0
    aligned = (labels * diff)[decided]
    belongs = None if clusters is None else np.tile(clusters[decided], 2)
    return _area(aligned, -aligned, belongs, seed)


def tie_auc(labels: Labels, diff: Floats, clusters: Labels | None = None, *, seed: int = 0) -> Estimate:
    """Area under the ROC curve of telling decided pairs from ties by |difference|; nan without both kinds. Arguments as
    in `ordering_auc`."""
    size, decided = np.abs(diff), labels != 0
    belongs = None if clusters is None else np.concatenate([clusters[decided], clusters[~decided]])
    return _area(size[decided], size[~decided], belongs, seed)


def _area(high: Floats, low: Floats, clusters: Labels | None, seed: int) -> Estimate:
    """How often a value of ``high`` exceeds one of ``low``, equal ones counting half; ``clusters`` of both in turn."""
    values, code = np.unique(np.concatenate([high, low]), return_inverse=True)
    names, row = np.unique(np.zeros(len(code)) if clusters is None else clusters, return_inverse=True)

    def area(counts: Floats) -> float:
        weights = counts[row]
        of_high = np.bincount(code[: len(high)], weights[: len(high)], len(values))
        of_low = np.bincount(code[len(high) :], weights[len(high) :], len(values))
        pairs = of_high.sum() * of_low.sum()
        return float(of_high @ (np.cumsum(of_low) - of_low / 2) / pairs) if pairs else math.nan

    def areas(drawn: Floats) -> Floats:
        return np.array([area(counts) for counts in drawn])

    return bootstrap(len(names), areas, rng=np.random.default_rng(seed))


def _of_verdict(probabilities: Floats, labels: Labels) -> Floats:
    chosen: Floats = probabilities[np.arange(len(labels)), 1 - labels]
    return np.maximum(chosen, 1e-300)
