"""From what each rater said to one label per pair and dimension; the raw judgements are only read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Literal, NamedTuple

from videoalign.contracts.records import VOTE_VALUES, Judgement, Label, Role
from videoalign.stats.agreement import majority
from videoalign.stats.dawid_skene import DawidSkene, fit_dawid_skene

Aggregation = Literal["majority", "adjudicated", "dawid_skene", "shares"]
"""``majority``: the label that most raters gave. ``adjudicated``: an adjudicator's last word where there is one, else
the majority. ``dawid_skene``: the likeliest label when raters count by how reliable they are. ``shares``: the majority,
and beside it the shares of the votes."""

Shares = tuple[float, float, float]
"""Of A, a tie and B; they add up to 1, or are all 0 where there is no label."""

VERDICTS = (Label.A, Label.TIE, Label.B)
"""What shares and votes are counted for, in their order."""


class Vote(NamedTuple):
    """What one rater said of one dimension of a pair."""

    rater: str
    value: int | None
    """+1 for A, -1 for B, 0 for a tie or both bad; None for invalid."""
    role: str
    """A value of `Role`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VotedPair:
    """A pair with everything that was said of it, turned to the side order of its first judgement."""

    prompt_id: str
    clip_a: str
    clip_b: str
    votes: dict[str, list[Vote]]
    """By dimension, in the order of the judgements."""

    def of(self, dimension: str, *roles: Role) -> list[Vote]:
        """What was said of a dimension in these roles."""
        return [vote for vote in self.votes.get(dimension, ()) if vote.role in roles]

    def table_row(self, dimension: str) -> dict[str, int]:
        """First valid vote of each rater on a dimension, as +1, 0 or -1 by rater."""
        row: dict[str, int] = {}
        for vote in self.of(dimension, Role.RATER):
            if vote.value is not None:
                row.setdefault(vote.rater, vote.value)
        return row


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
    """How far A, a tie and B hold: shares of the votes under ``shares``, chances under ``dawid_skene``, else 1 for the
    label. Empty where the labels are not of raters."""


def collect_votes(judgements: Iterable[Judgement]) -> list[VotedPair]:
    """Every judged pair, in the order of its first judgement; a verdict on (B, A) is turned to (A, B)."""
    pairs: dict[tuple[str, str, str], VotedPair] = {}
    votes: dict[Vote, Vote] = {}
    for row in judgements:
        value = VOTE_VALUES[row.label]
        flipped = (row.prompt_id, row.clip_b, row.clip_a)
        key = flipped if flipped in pairs else (row.prompt_id, row.clip_a, row.clip_b)
        if key not in pairs:
            pairs[key] = VotedPair(prompt_id=key[0], clip_a=key[1], clip_b=key[2], votes={})
        if key == flipped and value is not None:
            value = -value
        vote = Vote(row.rater, value, row.role)
        pairs[key].votes.setdefault(row.dimension, []).append(votes.setdefault(vote, vote))
    return list(pairs.values())


def aggregate_pairs(
    judgements: Iterable[Judgement],
    dimensions: Sequence[str],
    splits: Mapping[str, str],
    how: Aggregation = "majority",
) -> list[JudgedPair]:
    """Every pair that a rater or an adjudicator judged, with its labels, in the order of `collect_votes`.

    Args:
        judgements: raw; known answers of gold pairs and second looks of a rater are no votes.
        dimensions: those wanted.
        splits: split by prompt id.
        how: which label a pair gets; ``dawid_skene`` learns the raters' reliability from all of the judgements.
    """
    pairs = [
        pair
        for pair in collect_votes(judgements)
        if any(vote.role in (Role.RATER, Role.ADJUDICATOR) for said in pair.votes.values() for vote in said)
    ]
    decided = {name: _RULES[how](pairs, name) for name in dimensions}
    return [
        JudgedPair(
            prompt_id=pair.prompt_id,
            clip_a=pair.clip_a,
            clip_b=pair.clip_b,
            labels={name: decided[name][place][0] for name in dimensions},
            split=splits[pair.prompt_id],
            votes={name: _counts(pair.of(name, Role.RATER)) for name in dimensions},
            shares={name: decided[name][place][1] for name in dimensions},
        )
        for place, pair in enumerate(pairs)
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
    rows = {place: row for place, pair in enumerate(pairs) if (row := pair.table_row(dimension))}
    if not rows:
        return None
    raters = sorted({rater for row in rows.values() for rater in row})
    number = {rater: place for place, rater in enumerate(raters)}
    said = [(item, number[rater], value) for item, row in enumerate(rows.values()) for rater, value in row.items()]
    votes = Counter(place for _, place, _ in said)
    return RaterFit(fit_dawid_skene(*zip(*said, strict=True)), raters, [votes[number[r]] for r in raters], list(rows))


_Decision = tuple[Label | None, Shares]
_NO_SHARES: Shares = (0.0, 0.0, 0.0)


def _by_majority(pairs: Sequence[VotedPair], dimension: str) -> list[_Decision]:
    return [_sure(majority(vote.value for vote in pair.of(dimension, Role.RATER))) for pair in pairs]


def _by_adjudicator(pairs: Sequence[VotedPair], dimension: str) -> list[_Decision]:
    words = [pair.of(dimension, Role.ADJUDICATOR) for pair in pairs]
    most = _by_majority(pairs, dimension)
    return [_sure(said[-1].value) if said else other for said, other in zip(words, most, strict=True)]


def _by_shares(pairs: Sequence[VotedPair], dimension: str) -> list[_Decision]:
    decided = []
    for pair, (label, _) in zip(pairs, _by_majority(pairs, dimension), strict=True):
        a, tie, b = _counts(pair.of(dimension, Role.RATER))
        decided.append((label, _shares(a, tie, b)))
    return decided


def _by_dawid_skene(pairs: Sequence[VotedPair], dimension: str) -> list[_Decision]:
    decided: list[_Decision] = [(None, _NO_SHARES)] * len(pairs)
    found = fit_raters(pairs, dimension)
    if found is None:
        return decided
    for place, chances in zip(found.judged, found.fit.posterior.tolist(), strict=True):
        best, second = sorted(chances, reverse=True)[:2]
        label = VERDICTS[chances.index(best)] if best - second > 1e-9 else None
        decided[place] = (label, (chances[0], chances[1], chances[2]))
    return decided


_RULES: dict[str, Callable[[Sequence[VotedPair], str], list[_Decision]]] = {
    "majority": _by_majority,
    "adjudicated": _by_adjudicator,
    "dawid_skene": _by_dawid_skene,
    "shares": _by_shares,
}


@cache
def _sure(value: int | None) -> _Decision:
    if value is None:
        return None, _NO_SHARES
    return VERDICTS[1 - value], (float(value == 1), float(value == 0), float(value == -1))


def _counts(votes: Sequence[Vote]) -> tuple[int, int, int]:
    values = [vote.value for vote in votes]
    return _one_object((values.count(1), values.count(0), values.count(-1)))


@lru_cache(maxsize=65_536)
def _shares(a: int, tie: int, b: int) -> Shares:
    total = max(1, a + tie + b)
    return a / total, tie / total, b / total


@lru_cache(maxsize=65_536)
def _one_object(counts: tuple[int, int, int]) -> tuple[int, int, int]:
    """The same counts as one object for all pairs, of which there may be a million."""
    return counts
