"""How good each rater is: against known answers, against themselves, against the others, by side and by time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from videoalign.contracts.records import Judgement, Label, Role
from videoalign.data.judgements.aggregate import fit_raters
from videoalign.data.judgements.votes import TESTED, VotedPair, collect_votes
from videoalign.stats.agreement import majority
from videoalign.stats.raters import FAR, LeftBias, left_bias, robust_z, share_with_interval
from videoalign.stats.resampling import Estimate

FASTEST_SECONDS = 2.0
"""Nobody compares two clips and answers in less."""


@dataclass(frozen=True, kw_only=True)
class RaterQuality:
    """One rater over all dimensions. Shares have Wilson's 95% interval, which takes verdicts for independent; nan
    where there is nothing to count."""

    rater: str
    pairs: int
    """Pairs that the rater judged."""
    verdicts: int
    """First valid verdicts on a pair and dimension."""
    ties: float
    """Share of these that are ties."""
    gold: Estimate
    """Share of verdicts on gold pairs that are the known answer."""
    num_gold: int
    """Such verdicts."""
    repeats: Estimate
    """Share of later verdicts on a pair that are as the first one."""
    num_repeats: int
    """Such later verdicts."""
    left: LeftBias
    """Leaning to the clip on the left."""
    others: Estimate
    """Share of verdicts equal to the majority of the pair's other raters, where they have one."""
    num_others: int
    """Such verdicts."""
    dawid_skene: float
    """Chance that a verdict is right by Dawid and Skene's model, over the dimensions, each counting by its verdicts."""
    median_seconds: float
    """Median time over a pair."""
    num_times: int
    """Pairs with a known time."""
    num_fast: int
    """Of these, far faster than everybody's usual time: the robust z of the log of the seconds is below -3.5; or faster
    than anybody can be."""
    num_slow: int
    """Far slower: above 3.5."""


def rater_quality(judgements: Iterable[Judgement], dimensions: Sequence[str]) -> list[RaterQuality]:
    """One row a rater, in the order of their names.

    Args:
        judgements: raw. Rows in the role ``gold`` are the known answers, against which all of a rater's first verdicts
            are held; rows in the role ``repeat``, and any further verdict of a rater on a pair, are held against that
            rater's first. All the rest is counted of votes, as `videoalign.data.judgements.votes` says.
        dimensions: those counted.
    """
    tally: dict[str, _Tally] = defaultdict(_Tally)
    looks: dict[tuple[Any, ...], float] = {}
    pairs = collect_votes(_noting_looks(judgements, tally, looks, set(dimensions)))
    for name in dimensions:
        for pair in pairs:
            _count_pair(tally, pair, name)
        _count_reliability(tally, pairs, name)
    _count_times(tally, looks)
    return [tally[rater].summary(rater) for rater in sorted(tally)]


class _Tally:
    """What is counted of one rater."""

    def __init__(self) -> None:
        self.pairs: set[tuple[str, str, str]] = set()
        self.counts: Counter[str] = Counter()
        self.reliability: list[tuple[float, int]] = []
        self.times: list[float] = []

    def share(self, name: str) -> tuple[Estimate, int]:
        total = self.counts[name]
        return share_with_interval(self.counts[f"{name}_right"], total), total

    def note(self, name: str, right: bool) -> None:
        self.counts[name] += 1
        self.counts[f"{name}_right"] += right

    def summary(self, rater: str) -> RaterQuality:
        gold, repeats, others = (self.share(name) for name in ("gold", "repeat", "others"))
        accuracies, weights = zip(*self.reliability, strict=True) if self.reliability else ((np.nan,), (1,))
        return RaterQuality(
            rater=rater,
            pairs=len(self.pairs),
            verdicts=self.counts["vote"],
            ties=self.counts["vote_right"] / self.counts["vote"] if self.counts["vote"] else np.nan,
            gold=gold[0],
            num_gold=gold[1],
            repeats=repeats[0],
            num_repeats=repeats[1],
            left=left_bias(self.counts["side_right"], self.counts["side"] - self.counts["side_right"]),
            others=others[0],
            num_others=others[1],
            dawid_skene=float(np.average(accuracies, weights=weights)),
            median_seconds=float(np.median(self.times)) if self.times else np.nan,
            num_times=len(self.times),
            num_fast=self.counts["fast"],
            num_slow=self.counts["slow"],
        )


def _count_pair(tally: dict[str, _Tally], pair: VotedPair, dimension: str) -> None:
    first: dict[str, int | None] = {}
    for vote in (*pair.of(dimension, Role.RATER), *pair.of(dimension, Role.REPEAT)):
        if vote.rater in first:
            tally[vote.rater].note("repeat", vote.value == first[vote.rater])
        first.setdefault(vote.rater, vote.value)
        tally[vote.rater].pairs.add((pair.prompt_id, pair.clip_a, pair.clip_b))
    answers = [vote.value for vote in pair.of(dimension, Role.GOLD)]
    row = pair.table_row(dimension)
    for rater, value in row.items():
        tally[rater].note("vote", value == 0)
        others = majority(said for other, said in row.items() if other != rater)
        if others is not None:
            tally[rater].note("others", value == others)
    if answers:
        for rater, value in pair.table_row(dimension, *TESTED).items():
            tally[rater].pairs.add((pair.prompt_id, pair.clip_a, pair.clip_b))
            tally[rater].note("gold", value == answers[-1])


def _count_reliability(tally: dict[str, _Tally], pairs: Sequence[VotedPair], dimension: str) -> None:
    found = fit_raters(pairs, dimension)
    if found is not None:
        for rater, accuracy, votes in zip(found.raters, found.fit.accuracy.tolist(), found.votes, strict=True):
            tally[rater].reliability.append((accuracy, votes))


def _noting_looks(
    judgements: Iterable[Judgement], tally: dict[str, _Tally], looks: dict[tuple[Any, ...], float], wanted: set[str]
) -> Iterator[Judgement]:
    """The same judgements; sides are counted as they pass, and the times of whole pairs go into ``looks``.

    The rows of one pair, rater and role, one a dimension, share their time.
    """
    for row in judgements:
        if row.role in (Role.REPEAT, *TESTED):
            if row.left and row.label in (Label.A, Label.B) and row.dimension in wanted:
                tally[row.rater].note("side", row.label == row.left)
            if row.seconds > 0:
                pair = (row.clip_a, row.clip_b) if row.clip_a < row.clip_b else (row.clip_b, row.clip_a)
                looks[row.rater, row.role, row.prompt_id, *pair, row.seconds] = row.seconds
        yield row


def _count_times(tally: dict[str, _Tally], looks: Mapping[tuple[Any, ...], float]) -> None:
    """``looks`` holds seconds; its keys begin with the rater."""
    far = robust_z(np.log(list(looks.values())))
    for (rater, *_), seconds, z in zip(looks, looks.values(), far.tolist(), strict=True):
        tally[rater].times.append(seconds)
        fast = z < -FAR or seconds < FASTEST_SECONDS
        tally[rater].counts["fast"] += fast
        tally[rater].counts["slow"] += z > FAR and not fast
