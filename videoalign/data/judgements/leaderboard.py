"""Model against model: who is preferred, by how much and how surely."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videoalign.contracts.records import TOGETHER
from videoalign.data.judgements.aggregate import JudgedPair
from videoalign.stats.ranking import fit, linked_groups, most_informative, standings
from videoalign.stats.resampling import Estimate


@dataclass(frozen=True, kw_only=True)
class ModelStanding:
    """One line of a leaderboard; ranks and strengths hold within its group alone."""

    model: str
    rank: int
    """1 is best of its group."""
    rank_low: int
    """Best rank within the 95% interval."""
    rank_high: int
    """Worst rank within it."""
    strength: Estimate
    """Strength by Bradley and Terry's law with Davidson's ties, of mean 0 in each group; +1 makes winning e times as
    likely as losing."""
    wins: float
    """Pairs that it won; with shares or chances as labels, their sum."""
    ties: float
    losses: float
    group: int
    """Models of different groups were never compared, not even by way of others."""


@dataclass(frozen=True, kw_only=True)
class Duel:
    """Two models against each other."""

    first: str
    second: str
    wins: float
    """Of the first."""
    ties: float
    losses: float


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """The models that were compared on one dimension or all."""

    models: tuple[ModelStanding, ...]
    """Best first, group by group."""
    duels: tuple[Duel, ...]
    """Every two models that were compared, in the order of their names."""
    nu: float
    """Weight of a tie: between equals a tie has chance nu / (nu + 2)."""
    pairs: int
    """Pairs counted."""
    prompts: int
    left_out: int
    """Pairs with a label that say nothing of models: by one and the same, or by an unknown one."""
    connected: bool
    """Whether all models are of one group."""
    settled: bool
    """Whether every model won or tied its way to every other, so that each strength comes from the verdicts; where not,
    the prior keeps strengths finite."""


def build_leaderboards(
    pairs: Sequence[JudgedPair],
    generators: Mapping[str, str],
    dimensions: Sequence[str],
    *,
    seed: int = 0,
    num: int = 1000,
) -> dict[str, Leaderboard]:
    """A leaderboard for each dimension, and one named `pooled_name` in which every dimension of a pair counts once.

    Args:
        pairs: with their shares; ``judged_pairs(aggregate="shares")`` splits a pair by its votes where nobody had the
            last word, other rules count one label a pair.
        generators: model by clip id; empty when unknown.
        dimensions: those wanted.
        seed: of the draws of whole prompts for the intervals.
        num: number of resamples.
    """
    boards = {name: _board(_compare(pairs, generators, [name]), seed, num) for name in dimensions}
    return {**boards, pooled_name(dimensions): _board(_compare(pairs, generators, dimensions), seed, num)}


def pooled_name(dimensions: Iterable[str]) -> str:
    """`TOGETHER`, or, where a dimension is called that, a name that no dimension can have."""
    return TOGETHER if TOGETHER not in dimensions else "all dimensions"


def choose_pairs(
    pairs: Sequence[JudgedPair],
    generators: Mapping[str, str],
    dimensions: Sequence[str],
    candidates: Sequence[tuple[str, str]],
    num: int,
) -> list[int]:
    """Which pairs of clips to show next: indices in ``candidates``, the most telling of the models' strengths first.

    Pairs by one and the same model or an unknown one tell nothing and come last, in their order.

    Args:
        pairs: judged so far, with their shares.
        generators: model by clip id.
        dimensions: those whose verdicts count.
        candidates: (clip, clip).
        num: at most this many.
    """
    named = [(generators.get(a, ""), generators.get(b, "")) for a, b in candidates]
    telling = [index for index, (a, b) in enumerate(named) if a and b and a != b]
    duels = _compare(pairs, generators, dimensions)
    models = sorted({*duels.models, *(model for index in telling for model in named[index])})
    number = {model: index for index, model in enumerate(models)}
    compared, shares = duels.totals()
    known = [[number[duels.models[i]], number[duels.models[j]]] for i, j in compared.tolist()]
    now = fit(known, shares, len(models))
    best = most_informative(now, [[number[a], number[b]] for a, b in (named[index] for index in telling)], num)
    rest = sorted(set(range(len(candidates))) - set(telling))
    return [*(telling[index] for index in best), *rest][:num]


@dataclass(frozen=True, eq=False)
class _Comparisons:
    models: list[str]
    sides: NDArray[np.int64]
    """Indices of both models, (N, 2), the first name first."""
    shares: NDArray[np.float64]
    """How far the first won, tied and lost, (N, 3)."""
    prompts: list[str]
    num_pairs: int
    left_out: int

    def totals(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Each two models that were compared, (P, 2), once, and their shares in all, (P, 3)."""
        count = len(self.models)
        table = np.zeros((count, count, 3))
        np.add.at(table, tuple(self.sides.T), self.shares)
        compared = np.argwhere(table.any(2))
        return compared, table[tuple(compared.T)]


def _compare(pairs: Sequence[JudgedPair], generators: Mapping[str, str], dimensions: Sequence[str]) -> _Comparisons:
    rows, counted, left_out = [], 0, 0
    for pair in pairs:
        said = [pair.shares[name] for name in dimensions if any(pair.shares.get(name, ()))]
        a, b = generators.get(pair.clip_a, ""), generators.get(pair.clip_b, "")
        if not said:
            continue
        if not (a and b) or a == b:
            left_out += 1
            continue
        counted += 1
        rows += [(a, b, shares, pair.prompt_id) if a < b else (b, a, shares[::-1], pair.prompt_id) for shares in said]
    models = sorted({name for a, b, *_ in rows for name in (a, b)})
    number = {name: index for index, name in enumerate(models)}
    return _Comparisons(
        models,
        np.array([(number[a], number[b]) for a, b, *_ in rows], dtype=np.int64).reshape(-1, 2),
        np.array([shares for _, _, shares, _ in rows], dtype=np.float64).reshape(-1, 3),
        [prompt for *_, prompt in rows],
        counted,
        left_out,
    )


def _board(duels: _Comparisons, seed: int, num: int) -> Leaderboard:
    count = len(duels.models)
    compared, shares = duels.totals()
    of_first, of_second = (np.zeros((count, 3)) for _ in range(2))
    np.add.at(of_first, compared[:, 0], shares)
    np.add.at(of_second, compared[:, 1], shares)
    both = of_first + of_second[:, ::-1]
    groups = linked_groups(compared, shares, count)
    strongly = linked_groups(compared, shares, count, strongly=True)
    found = standings(duels.sides, duels.shares, duels.prompts, count, rng=np.random.default_rng(seed), num=num)
    rows = [
        ModelStanding(
            model=model,
            rank=standing.rank,
            rank_low=standing.rank_low,
            rank_high=standing.rank_high,
            strength=standing.strength,
            wins=float(both[m, 0]),
            ties=float(both[m, 1]),
            losses=float(both[m, 2]),
            group=int(groups[m]),
        )
        for m, (model, standing) in enumerate(zip(duels.models, found, strict=True))
    ]
    return Leaderboard(
        models=tuple(sorted(rows, key=lambda row: (row.group, row.rank, row.model))),
        duels=tuple(
            Duel(first=duels.models[i], second=duels.models[j], wins=float(w), ties=float(t), losses=float(x))
            for (i, j), (w, t, x) in zip(compared, shares, strict=True)
        ),
        nu=fit(compared, shares, count).nu,
        pairs=duels.num_pairs,
        prompts=len(set(duels.prompts)),
        left_out=duels.left_out,
        connected=bool((groups == 0).all()),
        settled=bool((strongly == 0).all()),
    )
