"""How well a reward agrees with judgements, beside what no skill at all would reach."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoalign.contracts.records import VOTE_VALUES, Judgement
from videoalign.contracts.reward import VerdictLaw
from videoalign.data.judgements.aggregate import JudgedPair
from videoalign.data.judgements.votes import collect_votes
from videoalign.errors import DataError
from videoalign.evaluation.figures import COMPARISON, figure
from videoalign.stats.agreement import raw_agreement
from videoalign.stats.calibration import (
    brier,
    calibration_error,
    cross_fit_probabilities,
    log_loss,
    ordering_auc,
    reliability,
    tie_auc,
)
from videoalign.stats.paired import holm, sign_flip
from videoalign.stats.pairwise import (
    always_tie,
    cross_fit_makers,
    cross_fit_random,
    cross_fit_right,
    fit_threshold,
    in_order,
    legacy_right_with_ties,
    random_baseline,
)
from videoalign.stats.resampling import Estimate
from videoalign.stats.shares import share

Figures = dict[str, Any]
"""Numbers of one dimension, None where there is nothing to count, and two tables, as lists of rows."""


@dataclass(frozen=True, eq=False)
class PairTable:
    """The pairs of one dimension that carry a verdict, as numbers in an order of their own."""

    labels: NDArray[np.int64]
    """+1, -1 or 0, (N,)."""
    diff: NDArray[np.float64]
    """Score of A less score of B, (N,)."""
    prompts: NDArray[np.int64]
    """Number of each row's prompt, in the order of their ids, (N,)."""
    makers: list[tuple[str, str]]
    """Generators of A and B, empty where unknown, (N,)."""
    given: NDArray[np.int64]
    """Index of each row's pair in what was given, (N,); the official count alone depends on it."""


def build_table(
    scores: Mapping[str, Sequence[float]],
    pairs: Sequence[JudgedPair],
    dimension: str,
    column: int,
    generators: Mapping[str, str],
) -> PairTable:
    """The pairs with a verdict on a dimension. Rows are sorted by prompt and clips, and the clip with the lesser id
    stands as A, so that nothing counted here depends on the order of the pairs or on their sides.

    Raises:
        DataError: a clip without scores.
    """
    rows = []
    for index, pair in enumerate(pairs):
        label = pair.labels.get(dimension)
        value = None if label is None else VOTE_VALUES[label]
        if value is not None:
            for clip_id in (pair.clip_a, pair.clip_b):
                if clip_id not in scores:
                    raise DataError(f"scores: clip '{clip_id}' has none; score the whole dataset first.")
            a, b, value = min((pair.clip_a, pair.clip_b, value), (pair.clip_b, pair.clip_a, -value))
            rows.append((pair.prompt_id, a, b, value, index))
    rows.sort()
    return PairTable(
        labels=np.array([value for *_, value, _ in rows], dtype=np.int64),
        diff=np.array([scores[a][column] - scores[b][column] for _, a, b, *_ in rows], dtype=np.float64),
        prompts=np.unique(np.array([prompt_id for prompt_id, *_ in rows]), return_inverse=True)[1],
        makers=[(generators.get(a, ""), generators.get(b, "")) for _, a, b, *_ in rows],
        given=np.array([index for *_, index in rows], dtype=np.int64),
    )


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
    figures = {name: _figures(table, (laws or {}).get(name), legacy, seed) for name, table in tables.items()}
    wanted = {frozenset((pair.clip_a, pair.clip_b)) for pair in pairs}
    voted = [pair for pair in collect_votes(judgements) if frozenset((pair.clip_a, pair.clip_b)) in wanted]
    for name, row in figures.items():
        said = [list(pair.table_row(name).values()) for pair in voted]
        agreement = raw_agreement(said)
        row["rater_agreement"] = _plain(agreement.with_ties)
        row["rater_agreement_without_ties"] = _plain(agreement.without_ties)
    return figures


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
        decided = tables[0].labels != 0
        right = [in_order(table.labels, table.diff)[decided] for table in tables]
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
    labels, diff, prompts = table.labels, table.diff, table.prompts
    if legacy:
        right, random = np.empty(len(labels)), random_baseline(labels, rng=np.random.default_rng(seed))
        as_given = np.argsort(table.given, kind="stable")
        right[as_given] = legacy_right_with_ties(labels[as_given], diff[as_given])
    else:
        right, random = cross_fit_right(labels, diff, prompts, seed=seed), cross_fit_random(labels, prompts, seed=seed)
    figures: Figures = {
        "random": _plain(random),
        "always_tie": _plain(always_tie(labels)),
        "generator_identity": cross_fit_makers(labels, table.makers, prompts, seed=seed),
        "threshold": fit_threshold(labels, diff) if len(labels) else None,
        "num_prompts": len(set(prompts.tolist())),
    }
    together: dict[tuple[str, ...], list[int]] = {(): list(range(len(labels)))}
    for index, (a, b) in enumerate(table.makers):
        if a and b:
            together.setdefault((min(a, b), max(a, b)), []).append(index)
    in_judged_order = in_order(labels, diff)
    found = {
        names: _accuracies(table, in_judged_order, right, np.array(rows, dtype=np.int64))
        for names, rows in sorted(together.items())
    }
    figures |= found.pop(())
    if legacy:
        figures |= dict.fromkeys(figure("with_ties").interval or ())  # fitted on these very pairs
    figures["by_generators"] = [{"generators": list(names), **row} for names, row in found.items()]
    fitted, shares = cross_fit_probabilities(labels, diff, prompts, seed=seed)
    own = np.full((len(labels), 3), math.nan) if law is None else law(diff)
    for prefix, likely in (("", fitted), ("own_", own)):
        whole = len(likely) > 0 and not np.isnan(likely).any()
        figures |= {
            f"{prefix}log_loss": log_loss(likely, labels) if whole else None,
            f"{prefix}brier": brier(likely, labels) if whole else None,
            f"{prefix}ece": calibration_error(likely, labels) if whole else None,
            f"{prefix}reliability": [row._asdict() for row in reliability(likely, labels)] if whole else None,
        }
    return {
        **figures,
        "log_loss_shares": None if figures["log_loss"] is None else log_loss(shares, labels),
        **_estimate("auc", ordering_auc(labels, diff, prompts, seed=seed)),
        **_estimate("tie_auc", tie_auc(labels, diff, prompts, seed=seed)),
    }


def _accuracies(
    table: PairTable, in_judged_order: NDArray[np.bool_], right: NDArray[np.float64], rows: NDArray[np.int64]
) -> Figures:
    """What is counted of some rows of a table, as of all and of those by two generators.

    Args:
        table: N pairs.
        in_judged_order: of `stats.pairwise.in_order`, (N,).
        right: 1 where a pair is predicted correctly with ties, (N,).
        rows: their indices.
    """
    prompts, decided = table.prompts[rows], table.labels[rows] != 0
    found: Figures = {"n": len(rows), "n_decided": int(decided.sum()), "tie_share": _plain(_mean(~decided))}
    for key, values, of in (
        ("with_ties", right[rows], prompts),
        ("without_ties", in_judged_order[rows][decided].astype(float), prompts[decided]),
    ):
        known = len(set(of.tolist())) > 1 and not np.isnan(values).any()
        low, high = share(values, of)[1:] if known else (math.nan, math.nan)
        found |= _estimate(key, Estimate(_mean(values), low, high))
    return found


def _estimate(key: str, found: Estimate) -> Figures:
    """A figure and the ends of its interval by their keys."""
    return dict(zip(figure(key).keys, map(_plain, found), strict=True))


def _mean(values: NDArray[np.bool_] | NDArray[np.float64]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
