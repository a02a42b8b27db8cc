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
from videoalign.stats.pairwise import (
    accuracy_without_ties,
    always_tie,
    fit_threshold,
    random_baseline,
)
from videoalign.stats.shares import share

COMPARED = (
    "first",
    "first_low",
    "first_high",
    "second",
    "second_low",
    "second_high",
    "only_first",
    "only_second",
    "p",
    "p_holm",
)

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
        Per dimension

        - ``with_ties``: share of all pairs predicted right, the tie threshold fitted on the other folds of prompts;
          ``with_ties_low``, ``with_ties_high``: its 95% interval, see `stats.shares.share_of_sums`.
        - ``without_ties``: share of decided pairs in the judged order; ``low``, ``high``: its 95% interval, likewise.
        - ``auc``, ``tie_auc``: areas under the ROC curves of telling A from B, and decided pairs from ties;
          ``auc_low``, ``auc_high``, ``tie_auc_low``, ``tie_auc_high``: their 95% intervals, prompts resampled.
        - ``log_loss``, ``brier``, ``ece``: of the three-way probabilities under a law of ties that is fitted on the
          other folds of prompts; ``log_loss_shares``: of the shares of the verdicts there, as no skill would tell;
          ``reliability``: the bins of `stats.calibration.reliability`.
        - ``own_log_loss``, ``own_brier``, ``own_ece``, ``own_reliability``: the same of the reward's own law; None
          where it has none.
        - ``n``, ``n_decided``, ``num_prompts``, ``tie_share``: what was counted.
        - ``random``: with ties, of scores without meaning, their threshold fitted as that of ``with_ties`` is;
          ``always_tie``: of predicting nothing but ties.
        - ``generator_identity``: without ties, of knowing only which generator is better on the other prompts; None
          when the generators are unknown or there is one alone.
        - ``rater_agreement``, ``rater_agreement_without_ties``: of two raters of one pair; None for single raters.
        - ``by_generators``: a row for each two generators that meet: ``{generators, n, n_decided, tie_share,
          without_ties, low, high, with_ties, with_ties_low, with_ties_high}``.

        No figure depends on the order of the pairs or on which clip stands as A, but ``with_ties`` with ``legacy``,
        as the official count does.

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
        ``n_decided`` pairs of ``num_prompts``; ``first`` and ``second``, their accuracies without ties, with the
        ends of their intervals, ``first_low`` and so on; ``only_first`` and ``only_second``, how many pairs one alone
        orders rightly; ``p``, of `stats.paired.sign_flip` over prompts; ``p_holm``, corrected for the number of
        dimensions. Without a decided pair all but the first two are None. With the rewards exchanged every figure is.

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
        counted = {"n_decided": int(decided.sum()), "num_prompts": len(set(prompts.tolist()))}
        figures[name] = {**counted, **dict.fromkeys(COMPARED)}
        if decided.any():
            only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
            shares = [share(one.astype(float), prompts) for one in right]
            p_values[name] = sign_flip(right[0].astype(int) - right[1].astype(int), prompts)
            figures[name].update(zip(COMPARED, (*shares[0], *shares[1], *only, p_values[name]), strict=False))
    for name, value in zip(p_values, holm(list(p_values.values())), strict=True):
        figures[name]["p_holm"] = value
    return figures


def _figures(table: PairTable, law: VerdictLaw | None, legacy: bool, seed: int) -> Figures:
    right = legacy_right(table) if legacy else cross_fit_right(table, seed=seed)
    probabilities, shares = cross_fit_probabilities(table, seed=seed)
    own = np.full((len(table.labels), 3), math.nan) if law is None else law(table.diff)
    numbers = {
        **_accuracies(table, right, legacy, seed),
        **_areas(table, seed),
        **_calibration(table, probabilities),
        "log_loss_shares": log_loss(shares, table.labels) if _is_whole(shares) else math.nan,
        **{f"own_{key}": value for key, value in _calibration(table, own).items()},
    }
    plain = {name: None if value is None or math.isnan(value) else value for name, value in numbers.items()}
    num_prompts = len(set(table.prompt_ids))
    return {
        **plain,
        "n": len(table.labels),
        "n_decided": int(table.decided.sum()),
        "num_prompts": num_prompts,
        "reliability": _bins(table, probabilities),
        "own_reliability": _bins(table, own),
        "by_generators": _by_generators(table, right),
    }


def _accuracies(table: PairTable, right: NDArray[np.float64], legacy: bool, seed: int) -> dict[str, float | None]:
    labels, decided, rng = table.labels, table.decided, np.random.default_rng(seed)
    low, high = _interval(table.in_order[decided].astype(float), table.prompts[decided])
    low_ties, high_ties = (math.nan, math.nan) if legacy else _interval(right, table.prompts)
    return {
        "with_ties": _share(right),
        "with_ties_low": low_ties,
        "with_ties_high": high_ties,
        "without_ties": accuracy_without_ties(labels, table.diff),
        "low": low,
        "high": high,
        "tie_share": _share(~decided),
        "random": random_baseline(labels, rng=rng) if legacy else cross_fit_random(table, seed=seed),
        "always_tie": always_tie(labels),
        "threshold": fit_threshold(labels, table.diff) if len(labels) else math.nan,
        "generator_identity": generator_identity(table, seed=seed),
    }


def _areas(table: PairTable, seed: int) -> dict[str, float]:
    areas: dict[str, float] = {}
    for name, area in (("auc", ordering_auc), ("tie_auc", tie_auc)):
        found = area(table.labels, table.diff, table.prompts, seed=seed)
        areas |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return areas


def _calibration(table: PairTable, probabilities: NDArray[np.float64]) -> dict[str, float]:
    if not _is_whole(probabilities):
        return dict.fromkeys(("log_loss", "brier", "ece"), math.nan)
    return {
        "log_loss": log_loss(probabilities, table.labels),
        "brier": brier(probabilities, table.labels),
        "ece": calibration_error(probabilities, table.labels),
    }


def _bins(table: PairTable, probabilities: NDArray[np.float64]) -> list[dict[str, float]] | None:
    if not _is_whole(probabilities):
        return None
    return [found._asdict() for found in reliability(probabilities, table.labels)]


def _by_generators(table: PairTable, right: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Accuracy on the pairs of each two generators, by their names; pairs of an unknown one are left out."""
    rows: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, (a, b) in enumerate(table.generators):
        if a and b:
            rows[min(a, b), max(a, b)].append(row)
    found = []
    for names, members in sorted(rows.items()):
        decided, prompts = table.decided[members], table.prompts[members]
        in_order = table.in_order[members][decided].astype(float)
        shares: dict[str, float] = {"tie_share": _share(~decided)}
        for key, ends, values, of in (
            ("without_ties", ("low", "high"), in_order, prompts[decided]),
            ("with_ties", ("with_ties_low", "with_ties_high"), right[members], prompts),
        ):
            shares |= {key: _share(values), **dict(zip(ends, _interval(values, of), strict=True))}
        plain = {name: None if math.isnan(value) else value for name, value in shares.items()}
        found.append({"generators": list(names), "n": len(members), "n_decided": int(decided.sum()), **plain})
    return found


def _is_whole(probabilities: NDArray[np.float64]) -> bool:
    return len(probabilities) > 0 and not bool(np.isnan(probabilities).any())


def _share(values: NDArray[np.bool_] | NDArray[np.float64]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _interval(values: NDArray[np.float64], prompts: NDArray[np.int64]) -> tuple[float, float]:
    """Ends of a share's interval; nan where there is nothing or one prompt alone."""
    if len(set(prompts.tolist())) < 2 or np.isnan(values).any():
        return math.nan, math.nan
    return share(values, prompts)[1:]


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
