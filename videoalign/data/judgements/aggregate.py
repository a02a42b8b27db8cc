"""From what was said of pairs to one label per pair and dimension; the raw judgements are only read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import NamedTuple

from videoalign.contracts.records import Aggregation, Judgement, Label, Role
from videoalign.data.judgements.votes import VERDICTS, Count, VotedPair, collect_votes
from videoalign.stats.dawid_skene import DawidSkene, fit_dawid_skene

Shares = tuple[float, float, float]
"""Of A, a tie and B; they add up to 1, or are all 0 where there is no label."""

LABELLING = {Role.RATER, Role.ADJUDICATOR, Role.GOLD}
"""Roles that a label comes from; a pair about which nothing was said in them is no judged pair."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedPair:
    """A pair with one label on each dimension."""

    prompt_id: str
    clip_a: str
    clip_b: str
    labels: dict[str, Label | None]
    """A, B or tie; None where nobody judged, most found the pair invalid, or no label is ahead of the others."""
    split: str
    """Of the prompt."""
    votes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Raters who voted for A, a tie and B; invalid votes are left out. Empty where the labels are not of raters."""
    shares: dict[str, Shares] = field(default_factory=dict)
    """How far A, a tie and B hold: 1 for the label, but where it is nobody's last word, shares of the votes under
    ``shares`` and chances under ``dawid_skene``. Empty where the labels are not of raters."""


def aggregate_pairs(
    judgements: Iterable[Judgement],
    dimensions: Sequence[str],
    splits: Mapping[str, str],
    how: Aggregation | str = Aggregation.ADJUDICATED,
) -> list[JudgedPair]:
    """Every pair that a rater or an adjudicator judged or whose answer is known, with its labels, in the order of
    `collect_votes`.

    Args:
        judgements: raw; see `videoalign.data.judgements.votes` for what is a vote.
        dimensions: those wanted.
        splits: split by prompt id.
        how: which label a pair gets; ``dawid_skene`` learns the raters' reliability from all of the judgements.
    """
    pairs = [
        pair
        for pair in collect_votes(judgements)
        if any(vote.role in LABELLING for said in pair.votes.values() for vote in said)
    ]
    counts = {name: [pair.count(name) for pair in pairs] for name in dimensions}
    decided = {name: _RULES[how](pairs, name, counts[name]) for name in dimensions}
    return [
        JudgedPair(
            prompt_id=pair.prompt_id,
            clip_a=pair.clip_a,
            clip_b=pair.clip_b,
            labels={name: decided[name][index][0] for name in dimensions},
            split=splits[pair.prompt_id],
            votes={name: counts[name][index].votes for name in dimensions},
            shares={name: decided[name][index][1] for name in dimensions},
        )
        for index, pair in enumerate(pairs)
    ]


class RaterFit(NamedTuple):
    """How reliable the raters are on one dimension."""

    fit: DawidSkene
    raters: list[str]
    """In the order of the fit."""
    votes: list[int]
    """How many each of them gave."""
    judged: list[int]
    """Places of the pairs that they judged, in the order of the fit's items."""


def fit_raters(pairs: Sequence[VotedPair], dimension: str) -> RaterFit | None:
    """Dawid and Skene's model of the first votes of all raters on a dimension; None where nobody voted."""
    rows = {index: row for index, pair in enumerate(pairs) if (row := pair.table_row(dimension))}
    if not rows:
        return None
    raters = sorted({rater for row in rows.values() for rater in row})
    number = {rater: index for index, rater in enumerate(raters)}
    said = [(item, number[rater], value) for item, row in enumerate(rows.values()) for rater, value in row.items()]
    votes = Counter(index for _, index, _ in said)
    return RaterFit(fit_dawid_skene(*zip(*said, strict=True)), raters, [votes[number[r]] for r in raters], list(rows))


_Decision = tuple[Label | None, Shares]
_NO_SHARES: Shares = (0.0, 0.0, 0.0)


def _by_majority(_: Sequence[VotedPair], __: str, counts: Sequence[Count]) -> list[_Decision]:
    return [_sure(count.majority) for count in counts]


def _by_last_word(_: Sequence[VotedPair], __: str, counts: Sequence[Count]) -> list[_Decision]:
    return [_sure(count.label) for count in counts]


def _by_shares(_: Sequence[VotedPair], __: str, counts: Sequence[Count]) -> list[_Decision]:
    return [_sure(count.label) if count.by else (count.label, _shares(*count.votes)) for count in counts]


def _by_dawid_skene(pairs: Sequence[VotedPair], dimension: str, counts: Sequence[Count]) -> list[_Decision]:
    decided: list[_Decision] = [_sure(count.label) if count.by else _NOTHING for count in counts]
    found = fit_raters(pairs, dimension)
    if found is None:
        return decided
    for index, chances in zip(found.judged, found.fit.posterior.tolist(), strict=True):
        if not counts[index].by:
            best, second = sorted(chances, reverse=True)[:2]
            label = VERDICTS[chances.index(best)] if best - second > 1e-9 else None
            decided[index] = (label, (chances[0], chances[1], chances[2]))
    return decided


_NOTHING: _Decision = (None, _NO_SHARES)
_RULES: dict[str, Callable[[Sequence[VotedPair], str, Sequence[Count]], list[_Decision]]] = {
    Aggregation.MAJORITY: _by_majority,
    Aggregation.ADJUDICATED: _by_last_word,
    Aggregation.DAWID_SKENE: _by_dawid_skene,
    Aggregation.SHARES: _by_shares,
}


@cache
def _sure(label: Label | None) -> _Decision:
    if label is None:
        return _NOTHING
    a, tie, b = (float(label == verdict) for verdict in VERDICTS)
    return label, (a, tie, b)


@lru_cache(maxsize=65_536)
def _shares(a: int, tie: int, b: int) -> Shares:
    total = max(1, a + tie + b)
    return a / total, tie / total, b / total
