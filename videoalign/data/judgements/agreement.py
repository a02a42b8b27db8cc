"""How far the raters of a dataset agree, dimension by dimension."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from videoalign.contracts.records import Judgement, Rating, Role
from videoalign.data.judgements.votes import VotedPair, collect_votes
from videoalign.stats.agreement import (
    HumanCeiling,
    RawAgreement,
    fleiss_kappa,
    human_ceiling,
    krippendorff_alpha,
    raw_agreement,
)
from videoalign.stats.resampling import Estimate


@dataclass(frozen=True, kw_only=True)
class DimensionAgreement:
    """Agreement on one dimension; numbers that there is nothing to count for are nan."""

    pairs: int
    """Pairs that a rater judged."""
    shared_pairs: int
    """Pairs that two raters or more judged; the rest adds nothing."""
    raters: int
    votes: int
    """First valid verdicts of each rater on each pair."""
    alpha_nominal: Estimate
    """Krippendorff's alpha on the labels A, tie, B, with its 95% interval."""
    alpha_ordinal: Estimate
    """The same on their order, A < tie < B."""
    fleiss_kappa: float
    """Fleiss' kappa on the pairs with the commonest number of raters, since it needs the same number on each."""
    fleiss_raters: int
    """That number, 2 or more; 0 without such pairs."""
    fleiss_pairs: int
    """How many pairs have it."""
    raw: RawAgreement
    """How often two raters of a pair say the same."""
    ceiling: HumanCeiling
    """How often a rater says what most of the others say."""


@dataclass(frozen=True, kw_only=True)
class RatingAgreement:
    """Agreement on the scores of single clips, on one dimension."""

    clips: int
    """Clips that two raters or more scored."""
    raters: int
    alpha_ordinal: Estimate
    """Krippendorff's alpha on the order of the scores."""
    alpha_interval: Estimate
    """The same on their differences."""


def measure_agreement(
    judgements: Iterable[Judgement],
    dimensions: Sequence[str],
    *,
    cluster: Literal["prompt", "pair"] = "prompt",
    seed: int = 0,
    num: int = 2000,
) -> dict[str, DimensionAgreement]:
    """Agreement of the raters by dimension.

    Verdicts on (B, A) are turned to (A, B) first; ``both_bad`` is a tie, ``invalid`` is no verdict. A rater's first
    verdict on a pair counts; second looks, adjudicators and known answers do not.

    Args:
        judgements: raw.
        dimensions: those wanted.
        cluster: what intervals are drawn over; pairs of one prompt are seldom independent.
        seed: of these draws.
        num: number of resamples.
    """
    pairs = collect_votes(judgements)
    return {name: _of_dimension(pairs, name, cluster, np.random.default_rng(seed), num) for name in dimensions}


def count_guidelines(judgements: Iterable[Judgement], dimensions: Sequence[str]) -> dict[str, dict[int, int]]:
    """By dimension, how many verdicts of raters were given under each version of its guideline; 0 where not known.

    Verdicts under different versions answer different questions: whoever pools them must know.
    """
    found: dict[str, Counter[int]] = {name: Counter() for name in dimensions}
    for row in judgements:
        if row.dimension in found and row.role == Role.RATER:
            found[row.dimension][row.guideline] += 1
    return {name: dict(sorted(counts.items())) for name, counts in found.items()}


def measure_rating_agreement(
    ratings: Iterable[Rating],
    prompts: Mapping[str, str],
    dimensions: Sequence[str],
    *,
    seed: int = 0,
    num: int = 2000,
) -> dict[str, RatingAgreement]:
    """Agreement on the scores of clips by dimension, for dimensions with scores.

    Args:
        ratings: raw; a rater's first score of a clip counts.
        prompts: prompt id by clip id; intervals are drawn over prompts.
        dimensions: those wanted.
        seed: of these draws.
        num: number of resamples.
    """
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for row in ratings:
        scores.setdefault(row.dimension, {}).setdefault(row.clip_id, {}).setdefault(row.rater, row.score)
    found = {}
    for name in dimensions:
        shared = {clip: given for clip, given in scores.get(name, {}).items() if len(given) > 1}
        if shared:
            table, clusters = [list(given.values()) for given in shared.values()], [prompts[clip] for clip in shared]
            rng = np.random.default_rng(seed)
            found[name] = RatingAgreement(
                clips=len(shared),
                raters=len({rater for given in shared.values() for rater in given}),
                alpha_ordinal=krippendorff_alpha(table, clusters, "ordinal", rng=rng, num=num),
                alpha_interval=krippendorff_alpha(table, clusters, "interval", rng=rng, num=num),
            )
    return found


def _of_dimension(
    pairs: Sequence[VotedPair], dimension: str, cluster: str, rng: np.random.Generator, num: int
) -> DimensionAgreement:
    judged = [(pair, row) for pair in pairs if (row := pair.table_row(dimension))]
    table = [list(row.values()) for _, row in judged]
    clusters = [pair.prompt_id if cluster == "prompt" else (pair.clip_a, pair.clip_b) for pair, _ in judged]
    sizes = Counter(len(row) for row in table if len(row) > 1)
    size, fleiss_pairs = max(sizes.items(), key=lambda item: (item[1], item[0]), default=(0, 0))
    return DimensionAgreement(
        pairs=len(judged),
        shared_pairs=sizes.total(),
        raters=len({rater for _, row in judged for rater in row}),
        votes=sum(map(len, table)),
        alpha_nominal=krippendorff_alpha(table, clusters, "nominal", rng=rng, num=num),
        alpha_ordinal=krippendorff_alpha(table, clusters, "ordinal", rng=rng, num=num),
        fleiss_kappa=fleiss_kappa([row for row in table if len(row) == size]),
        fleiss_raters=size,
        fleiss_pairs=fleiss_pairs,
        raw=raw_agreement(table),
        ceiling=human_ceiling(table, clusters),
    )
