"""How well a reward agrees with judgements, beside what no skill at all would reach."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoalign.contracts.records import Judgement
from videoalign.contracts.reward import VerdictLaw
from videoalign.data.judgements.aggregate import JudgedPair
from videoalign.data.judgements.votes import collect_votes
from videoalign.errors import DataError
from videoalign.evaluation.figures import COMPARISON, figure
from videoalign.evaluation.pair_table import (
    PairTable,
    build_table,
    cross_fit_probabilities,
    cross_fit_random,
    cross_fit_right,
    generator_identity,
    legacy_right,
)
from videoalign.stats.agreement import raw_agreement
from videoalign.stats.calibration import brier, calibration_error, log_loss, ordering_auc, reliability, tie_auc
from videoalign.stats.paired import holm, sign_flip
from videoalign.stats.pairwise import always_tie, fit_threshold, random_baseline
from videoalign.stats.resampling import Estimate
from videoalign.stats.shares import share

Figures = dict[str, Any]
"""Numbers of one dimension, None where there is nothing to count, and two tables, as lists of rows."""


def evaluate_reward(
    scores: Mapping[str, Sequence[float]],
    pairs: Sequence[JudgedPair],
    dimensions: Sequence[str],
    *,
    generators: Mapping[str, str] | None = None,
    judgements: Sequence[Judgement] = (),
    laws: Mapping[str, VerdictLaw] | None = None,
    legacy: bool = False,
    seed: int = 0,
) -> dict[str, Figures]:
    """Accuracy per dimension with its baselines.

    Args:
        scores: clip id to scores, one per dimension; every clip of ``pairs`` must be there.
        pairs: judged pairs.
        dimensions: D names, the order of the scores.
        generators: clip id to the name of what made it, for the generator-identity baseline.
        judgements: the raters' raw verdicts, for their agreement with each other.
        laws: by dimension, how likely the reward itself holds each verdict to be.
        legacy: count ties as the official code does, its threshold fitted on the very pairs it is reported on.
        seed: draws folds, resamples and the random baseline.

    Returns:
        By dimension the figures of `evaluation.figures.REWARD` but ``left_out`` and the oracle's. Intervals of shares
        are those of `stats.shares.share_of_sums`, of areas those of resampled prompts. No figure depends on the order
        of the pairs or on which clip stands as A, but ``with_ties`` with ``legacy``, as the official count does.

    Raises:
        DataError: no judged pair on any dimension, or a clip without scores.
    """
    tables = {name: build_table(scores, pairs, name, k, generators or {}) for k, name in enumerate(dimensions)}
    if not any(len(table.labels) for table in tables.values()):
        raise DataError(f"pairs: got none with a verdict on {', '.join(dimensions)}; wanted at least one. Import more.")
    agreement = _agreement(judgements, pairs, dimensions)
    return {
        name: {**_figures(table, (laws or {}).get(name), legacy, seed), **agreement[name]}
        for name, table in tables.items()
    }


def compare_rewards(
    first: Mapping[str, Sequence[float]],
    second: Mapping[str, Sequence[float]],
    pairs: Sequence[JudgedPair],
    dimensions: Sequence[str],
) -> dict[str, Figures]:
    """Two rewards on the same decided pairs, per dimension.

    Args:
        first: clip id to scores, one per dimension; every clip of ``pairs`` must be there.
        second: likewise.
        pairs: judged pairs.
        dimensions: D names, the order of the scores.

    Returns:
        By dimension the figures of `evaluation.figures.COMPARISON`; without a decided pair all but the counts of pairs
        and prompts are None. With the rewards exchanged every figure is.

    Raises:
        DataError: a clip without scores.
    """
    figures: dict[str, Figures] = {}
    p_values: dict[str, float] = {}
    for k, name in enumerate(dimensions):
        tables = [build_table(scores, pairs, name, k, {}) for scores in (first, second)]
        decided = tables[0].decided
        right = [table.in_order[decided] for table in tables]
        prompts = tables[0].prompts[decided]
        figures[name] = dict.fromkeys(key for one in COMPARISON for key in one.keys)
        figures[name] |= {"n_decided": int(decided.sum()), "num_prompts": len(set(prompts.tolist()))}
        if decided.any():
            p_values[name] = sign_flip(right[0].astype(int) - right[1].astype(int), prompts)
            figures[name] |= {
                **_estimate("first", share(right[0].astype(float), prompts)),
                **_estimate("second", share(right[1].astype(float), prompts)),
                "only_first": int((right[0] & ~right[1]).sum()),
                "only_second": int((right[1] & ~right[0]).sum()),
                "p": p_values[name],
            }
    for name, value in zip(p_values, holm(list(p_values.values())), strict=True):
        figures[name]["p_holm"] = value
    return figures


def _figures(table: PairTable, law: VerdictLaw | None, legacy: bool, seed: int) -> Figures:
    labels, diff, prompts, decided = table.labels, table.diff, table.prompts, table.decided
    right = legacy_right(table) if legacy else cross_fit_right(table, seed=seed)
    probabilities, shares = cross_fit_probabilities(table, seed=seed)
    own = np.full((len(labels), 3), math.nan) if law is None else law(diff)
    rng = np.random.default_rng(seed)
    return {
        **_accuracy("with_ties", right, prompts, with_interval=not legacy),
        "random": _plain(random_baseline(labels, rng=rng) if legacy else cross_fit_random(table, seed=seed)),
        "always_tie": _plain(always_tie(labels)),
        **_accuracy("without_ties", table.in_order[decided].astype(float), prompts[decided]),
        "generator_identity": generator_identity(table, seed=seed),
        **_estimate("auc", ordering_auc(labels, diff, prompts, seed=seed)),
        **_estimate("tie_auc", tie_auc(labels, diff, prompts, seed=seed)),
        **_calibration("", labels, probabilities),
        "log_loss_shares": log_loss(shares, labels) if _is_whole(shares) else None,
        **_calibration("own_", labels, own),
        "n": len(labels),
        "n_decided": int(decided.sum()),
        "num_prompts": len(set(table.prompt_ids)),
        "tie_share": _mean(~decided),
        "threshold": fit_threshold(labels, diff) if len(labels) else None,
        "by_generators": _by_generators(table, right),
    }


def _accuracy(
    key: str, right: NDArray[np.float64], prompts: NDArray[np.int64], *, with_interval: bool = True
) -> Figures:
    """A share with the ends of its interval, which are None where there is nothing or one prompt alone."""
    wide = with_interval and len(set(prompts.tolist())) > 1 and not np.isnan(right).any()
    low, high = share(right, prompts)[1:] if wide else (math.nan, math.nan)
    return _estimate(key, Estimate(float(np.mean(right)) if len(right) else math.nan, low, high))


def _estimate(key: str, found: Estimate) -> Figures:
    """A figure and the ends of its interval by their keys."""
    return dict(zip(figure(key).keys, map(_plain, found), strict=True))


def _calibration(prefix: str, labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> Figures:
    if not _is_whole(probabilities):
        return dict.fromkeys(f"{prefix}{key}" for key in ("log_loss", "brier", "ece", "reliability"))
    return {
        f"{prefix}log_loss": log_loss(probabilities, labels),
        f"{prefix}brier": brier(probabilities, labels),
        f"{prefix}ece": calibration_error(probabilities, labels),
        f"{prefix}reliability": [found._asdict() for found in reliability(probabilities, labels)],
    }


def _by_generators(table: PairTable, right: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Accuracy on the pairs of each two generators, by their names; pairs of an unknown one are left out."""
    rows: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, (a, b) in enumerate(table.generators):
        if a and b:
            rows[min(a, b), max(a, b)].append(index)
    found = []
    for names, members in sorted(rows.items()):
        decided, prompts = table.decided[members], table.prompts[members]
        in_order = table.in_order[members][decided].astype(float)
        row = {
            "generators": list(names),
            "n": len(members),
            "n_decided": int(decided.sum()),
            "tie_share": _mean(~decided),
            **_accuracy("without_ties", in_order, prompts[decided]),
            **_accuracy("with_ties", right[members], prompts),
        }
        found.append(row)
    return found


def _is_whole(probabilities: NDArray[np.float64]) -> bool:
    return len(probabilities) > 0 and not bool(np.isnan(probabilities).any())


def _mean(values: NDArray[np.bool_]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _agreement(
    judgements: Sequence[Judgement], pairs: Sequence[JudgedPair], dimensions: Sequence[str]
) -> dict[str, Figures]:
    """How often two raters of one of these pairs say the same, by dimension."""
    wanted = {frozenset((pair.clip_a, pair.clip_b)) for pair in pairs}
    voted = [pair for pair in collect_votes(judgements) if frozenset((pair.clip_a, pair.clip_b)) in wanted]
    figures: dict[str, Figures] = {}
    for name in dimensions:
        agreement = raw_agreement([list(pair.table_row(name).values()) for pair in voted])
        figures[name] = {
            "rater_agreement": agreement.with_ties if agreement.num_pairs else None,
            "rater_agreement_without_ties": agreement.without_ties if agreement.num_decided_pairs else None,
        }
    return figures
