"""How well a reward agrees with judgements, beside what no skill at all would reach."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videoalign.contracts.records import Judgement, Label
from videoalign.data.dataset import JudgedPair, flip
from videoalign.errors import DataError
from videoalign.stats.agreement import raw_agreement
from videoalign.stats.calibration import (
    brier,
    calibration_error,
    fit_tie_law,
    log_loss,
    ordering_auc,
    tie_auc,
    verdict_probabilities,
)
from videoalign.stats.paired import holm, mcnemar_exact
from videoalign.stats.pairwise import (
    accuracy_without_ties,
    always_tie,
    cluster_bootstrap,
    fit_threshold,
    legacy_accuracy_with_ties,
    random_baseline,
)

VALUE = {Label.A: 1, Label.B: -1, Label.TIE: 0}
NUM_FOLDS = 5
COMPARED = ("first", "second", "only_first", "only_second", "p", "p_holm")

Figures = dict[str, float | int | None]
"""Numbers of one dimension; None where there is nothing to count."""


@dataclass(frozen=True, eq=False)
class PairTable:
    """The pairs of one dimension that carry a verdict."""

    labels: NDArray[np.int64]
    """+1, -1 or 0, (N,)."""
    diff: NDArray[np.float64]
    """Score of A less score of B, (N,)."""
    prompt_ids: tuple[str, ...]
    """(N,)."""
    generators: tuple[tuple[str, str], ...]
    """Makers of A and B, empty where unknown, (N,)."""


def evaluate_reward(
    scores: Mapping[str, Sequence[float]],
    pairs: Sequence[JudgedPair],
    dimensions: Sequence[str],
    *,
    generators: Mapping[str, str] | None = None,
    judgements: Sequence[Judgement] = (),
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
        legacy: count ties as the official code does, its threshold fitted on the very pairs it is reported on.
        seed: draws folds, resamples and the random baseline.

    Returns:
        Per dimension

        - ``with_ties``: share of all pairs predicted right, the tie threshold fitted on the other folds of prompts;
          ``with_ties_low``, ``with_ties_high``: its 95% interval, prompts resampled.
        - ``without_ties``: share of decided pairs in the judged order; ``low``, ``high``: its 95% interval.
        - ``auc``, ``tie_auc``: areas under the ROC curves of telling A from B, and decided pairs from ties.
        - ``log_loss``, ``brier``, ``ece``: of the three-way probabilities under a law of ties that is fitted on the
          other folds of prompts; ``log_loss_shares``: of the shares of the verdicts there, as no skill would tell.
        - ``n``, ``n_decided``, ``num_prompts``, ``tie_share``: what was counted.
        - ``random``: with ties, of scores without meaning; ``always_tie``: of predicting nothing but ties.
        - ``generator_identity``: without ties, of knowing only which generator is better on the other prompts; None
          when the generators are unknown or there is one alone.
        - ``rater_agreement``, ``rater_agreement_without_ties``: of two raters of one pair; None for single raters.

    Raises:
        DataError: no judged pair on any dimension, or a clip without scores.
    """
    tables = {name: _table(scores, pairs, name, k, generators or {}) for k, name in enumerate(dimensions)}
    if not any(len(table.labels) for table in tables.values()):
        raise DataError(f"pairs: got none with a verdict on {', '.join(dimensions)}; wanted at least one. Import more.")
    agreement = {name: _agreement(judgements, pairs, name) for name in dimensions}
    return {name: {**_figures(tables[name], legacy, seed), **agreement[name]} for name in dimensions}


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
        ``n_decided``; ``first`` and ``second``, their accuracies without ties; ``only_first`` and ``only_second``, how
        many pairs one alone orders rightly; ``p``, of McNemar's exact test, which takes pairs for independent;
        ``p_holm``, corrected for the number of dimensions. Without a decided pair all but ``n_decided`` are None.

    Raises:
        DataError: a clip without scores.
    """
    figures: dict[str, Figures] = {}
    p_values: dict[str, float] = {}
    for k, name in enumerate(dimensions):
        tables = [_table(scores, pairs, name, k, {}) for scores in (first, second)]
        decided = tables[0].labels != 0
        right = [(table.labels * table.diff > 0)[decided] for table in tables]
        figures[name] = {"n_decided": int(decided.sum()), **dict.fromkeys(COMPARED)}
        if decided.any():
            only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
            shares = float(right[0].mean()), float(right[1].mean())
            p_values[name] = mcnemar_exact(*only)
            figures[name].update(zip(COMPARED, (*shares, *only, p_values[name]), strict=False))
    for name, value in zip(p_values, holm(list(p_values.values())), strict=True):
        figures[name]["p_holm"] = value
    return figures


def generator_identity(table: PairTable, *, num_folds: int = NUM_FOLDS, seed: int = 0) -> float | None:
    """Accuracy without ties of ordering two clips by how often their generators win on the other folds of prompts.

    None when fewer than two generators are known or no decided pair compares two of them.
    """
    known = np.array([bool(a and b) and a != b for a, b in table.generators], dtype=bool)
    decided = known & (table.labels != 0)
    if not decided.any():
        return None
    diff = np.zeros(len(table.labels))
    for fold in _folds(table.prompt_ids, num_folds, seed):
        strength = _strengths(table, known & ~fold)
        for row in np.flatnonzero(fold & known):
            a, b = table.generators[row]
            diff[row] = strength.get(a, 0.0) - strength.get(b, 0.0)
    return accuracy_without_ties(table.labels[decided], diff[decided])


def cross_fit_right(table: PairTable, *, num_folds: int = NUM_FOLDS, seed: int = 0) -> NDArray[np.float64]:
    """1 where a pair is predicted right with ties and 0 elsewhere, (N,); each fold of prompts under the threshold that
    is best on the others. With pairs of one prompt alone there is nothing to fit on: nan."""
    right = np.full(len(table.labels), math.nan)
    if len(set(table.prompt_ids)) < 2:
        return right
    for fold in _folds(table.prompt_ids, num_folds, seed):
        threshold = fit_threshold(table.labels[~fold], table.diff[~fold])
        labels, diff = table.labels[fold], table.diff[fold]
        right[fold] = np.where(np.abs(diff) <= threshold, labels == 0, labels * diff > 0)
    return right


def cross_fit_probabilities(
    table: PairTable, *, num_folds: int = NUM_FOLDS, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P(A), P(tie), P(B) of every pair, (N, 3), twice: under a law of ties whose scale and width are fitted on the
    other folds of prompts, and as the shares of the verdicts there, blind to the clips; nan for one prompt alone."""
    fitted, shares = np.full((2, len(table.labels), 3), math.nan)
    if len(set(table.prompt_ids)) < 2:
        return fitted, shares
    for fold in _folds(table.prompt_ids, num_folds, seed):
        labels = table.labels[~fold]
        fitted[fold] = verdict_probabilities(table.diff[fold], *fit_tie_law(labels, table.diff[~fold]))
        ties = (np.sum(labels == 0) + 1) / (len(labels) + 3)  # one verdict of each kind is added
        shares[fold] = (1 - ties) / 2, ties, (1 - ties) / 2
    return fitted, shares


def _calibration(table: PairTable, seed: int) -> dict[str, float]:
    labels, diff = table.labels, table.diff
    areas = {"auc": ordering_auc(labels, diff), "tie_auc": tie_auc(labels, diff)}
    probabilities, shares = cross_fit_probabilities(table, seed=seed)
    if not len(labels) or np.isnan(probabilities).any():
        return {**areas, **dict.fromkeys(("log_loss", "log_loss_shares", "brier", "ece"), math.nan)}
    return {
        **areas,
        "log_loss": log_loss(probabilities, labels),
        "log_loss_shares": log_loss(shares, labels),
        "brier": brier(probabilities, labels),
        "ece": calibration_error(probabilities, labels),
    }


def _table(
    scores: Mapping[str, Sequence[float]],
    pairs: Sequence[JudgedPair],
    dimension: str,
    column: int,
    generators: Mapping[str, str],
) -> PairTable:
    rows = [(pair, label) for pair in pairs if (label := pair.labels.get(dimension)) in VALUE]
    for pair, _ in rows:
        for clip_id in (pair.clip_a, pair.clip_b):
            if clip_id not in scores:
                raise DataError(f"scores: clip '{clip_id}' has none; score the whole dataset first.")
    return PairTable(
        labels=np.array([VALUE[label] for _, label in rows], dtype=np.int64),
        diff=np.array([scores[p.clip_a][column] - scores[p.clip_b][column] for p, _ in rows], dtype=np.float64),
        prompt_ids=tuple(pair.prompt_id for pair, _ in rows),
        generators=tuple((generators.get(p.clip_a, ""), generators.get(p.clip_b, "")) for p, _ in rows),
    )


def _figures(table: PairTable, legacy: bool, seed: int) -> Figures:
    labels, diff = table.labels, table.diff
    decided = labels != 0
    right = cross_fit_right(table, seed=seed)
    in_order = (labels * diff > 0)[decided].astype(float)
    low, high = _interval(in_order, np.array(table.prompt_ids)[decided], seed)
    low_ties, high_ties = _interval(right, np.array(table.prompt_ids), seed)
    with_ties = legacy_accuracy_with_ties(labels, diff) if legacy else float(np.mean(right)) if len(right) else math.nan
    figures: dict[str, float | int | None] = {
        "with_ties": with_ties,
        "with_ties_low": math.nan if legacy else low_ties,
        "with_ties_high": math.nan if legacy else high_ties,
        "without_ties": accuracy_without_ties(labels, diff),
        "low": low,
        "high": high,
        "tie_share": float(np.mean(~decided)) if len(labels) else math.nan,
        "random": random_baseline(labels, rng=np.random.default_rng(seed)) if len(labels) else math.nan,
        "always_tie": always_tie(labels),
        "threshold": fit_threshold(labels, diff) if len(labels) else math.nan,
        "generator_identity": generator_identity(table, seed=seed),
        **_calibration(table, seed),
    }
    counted = {"n": len(labels), "n_decided": int(decided.sum()), "num_prompts": len(set(table.prompt_ids))}
    plain = {name: None if value is None or math.isnan(value) else value for name, value in figures.items()}
    return {**plain, **counted}


def _interval(values: NDArray[np.float64], prompt_ids: NDArray[np.str_], seed: int) -> tuple[float, float]:
    if not len(values) or np.isnan(values).any():
        return math.nan, math.nan
    return cluster_bootstrap(values, prompt_ids, rng=np.random.default_rng(seed))


def _folds(prompt_ids: Sequence[str], num_folds: int, seed: int) -> list[NDArray[np.bool_]]:
    """Which rows belong to each fold; whole prompts, in an order that the rows do not decide."""
    unique = sorted(set(prompt_ids))
    count = min(num_folds, len(unique))
    order = np.random.default_rng(seed).permutation(len(unique))
    fold_of = {unique[prompt]: place % count for place, prompt in enumerate(order)}
    row_fold = np.array([fold_of[prompt_id] for prompt_id in prompt_ids])
    return [row_fold == fold for fold in range(count)]


def _strengths(table: PairTable, rows: NDArray[np.bool_]) -> dict[str, float]:
    """Mean outcome (+1, 0, -1) of each generator over these pairs."""
    points: dict[str, list[float]] = defaultdict(list)
    for row in np.flatnonzero(rows):
        a, b = table.generators[row]
        points[a].append(float(table.labels[row]))
        points[b].append(-float(table.labels[row]))
    return {name: float(np.mean(values)) for name, values in points.items()}


def _agreement(judgements: Sequence[Judgement], pairs: Sequence[JudgedPair], dimension: str) -> Figures:
    """How often two raters of one of these pairs say the same."""
    wanted = {(pair.clip_a, pair.clip_b) for pair in pairs}
    said: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in judgements:
        label = Label.TIE if row.label == Label.BOTH_BAD else Label(row.label)
        key = (row.clip_a, row.clip_b)
        if key not in wanted:
            key, label = (row.clip_b, row.clip_a), flip(label)
        if row.dimension == dimension and key in wanted and label in VALUE:
            said[key].append(VALUE[label])
    agreement = raw_agreement(list(said.values()))
    return {
        "rater_agreement": agreement.with_ties if agreement.num_pairs else None,
        "rater_agreement_without_ties": agreement.without_ties if agreement.num_decided_pairs else None,
    }
