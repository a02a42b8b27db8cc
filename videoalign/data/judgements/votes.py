"""What was said of a pair, and how it is counted: the one place that knows what a vote is.

A rater's first verdict on a pair is a vote, where it was given in the role ``rater``: second looks, answers of a
qualification and answers to hidden gold are none. Both bad counts as a tie. The known answer of a pair is its label;
else the last word of an adjudicator is; else what most raters say. A dimension without a label is disputed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from videoalign.contracts.records import VOTE_VALUES, Judgement, Label, Role
from videoalign.stats.agreement import majority

VERDICTS = (Label.A, Label.TIE, Label.B)
"""What votes are counted for, in their order."""

FINAL = (Role.GOLD, Role.ADJUDICATOR)
"""Roles whose word is the label, the strongest first."""

TESTED = (Role.RATER, Role.QUALIFICATION, Role.HIDDEN_GOLD)
"""Roles in which a rater's verdict is held against the known answer."""


class Vote(NamedTuple):
    """What somebody said of one dimension of a pair."""

    rater: str
    value: int | None
    """+1 for A, -1 for B, 0 for a tie or both bad; None for invalid."""
    role: str
    """A value of `Role`."""


class Count(NamedTuple):
    """One dimension of one pair, counted."""

    votes: tuple[int, int, int]
    """Raters who voted for A, a tie and B; invalid votes are left out."""
    majority: Label | None
    """A, B or tie; None where nobody voted, most found the pair invalid, or no label is ahead of the others."""
    by: Role | None
    """Whose word is final: ``gold``, ``adjudicator``, or None where the majority decides."""
    label: Label | None
    """The final word, else the majority."""


def count_votes(votes: Sequence[Vote]) -> Count:
    """Counts what was said of one dimension of one pair, in the order in which it was said."""
    values = [votes[index].value for index in first_votes(votes)]
    index = last_word(votes)
    by, word = (None, None) if index is None else (Role(votes[index].role), votes[index].value)
    return _count(values.count(1), values.count(0), values.count(-1), values.count(None), by, word)


def first_votes(votes: Sequence[Vote]) -> list[int]:
    """Indices of the verdicts that are votes: each rater's first valid one, else the first; of unnamed raters all."""
    of_rater: dict[str | int, int] = {}
    for index, vote in enumerate(votes):
        if vote.role == Role.RATER:
            first = of_rater.setdefault(vote.rater or index, index)
            if votes[first].value is None:
                of_rater[vote.rater or index] = first if vote.value is None else index
    return list(of_rater.values())


def last_word(votes: Sequence[Vote]) -> int | None:
    """Index of the verdict that is the label: the last known answer, else the last word of an adjudicator; or None."""
    for role in FINAL:
        found = [index for index, vote in enumerate(votes) if vote.role == role]
        if found:
            return found[-1]
    return None


@lru_cache(maxsize=65_536)
def _count(a: int, tie: int, b: int, invalid: int, by: Role | None, word: int | None) -> Count:
    """The same counts as one object for all pairs, of which there may be a million."""
    most = majority([*[1] * a, *[0] * tie, *[-1] * b, *[None] * invalid])
    return Count((a, tie, b), label_of(most), by, label_of(word if by is not None else most))


def label_of(value: int | None) -> Label | None:
    """The label that a vote's value stands for; None for None."""
    return None if value is None else VERDICTS[1 - value]


def is_right(said: str | None, known: str) -> bool:
    """Whether a verdict is the known answer, both bad being a tie; no verdict is not."""
    return said is not None and VOTE_VALUES[said] == VOTE_VALUES[known]


def disputed(counts: Mapping[str, Count]) -> list[str]:
    """Dimensions without a label."""
    return [name for name, count in counts.items() if count.label is None]


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

    def table_row(self, dimension: str, *roles: Role) -> dict[str, int]:
        """First valid verdict of each rater on a dimension, as +1, 0 or -1 by rater; in the role ``rater`` or these."""
        row: dict[str, int] = {}
        for vote in self.of(dimension, *(roles or (Role.RATER,))):
            if vote.value is not None:
                row.setdefault(vote.rater, vote.value)
        return row

    def count(self, dimension: str) -> Count:
        """See `count_votes`."""
        return count_votes(self.votes.get(dimension, ()))


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


def standing(judgements: Iterable[Judgement]) -> list[Judgement]:
    """The judgements that labels come from, in their order: the last word on a dimension of a pair where there is one,
    else the votes."""
    said: dict[tuple[frozenset[str], str], list[tuple[int, Judgement]]] = {}
    for index, row in enumerate(judgements):
        said.setdefault((frozenset((row.clip_a, row.clip_b)), row.dimension), []).append((index, row))
    kept: list[tuple[int, Judgement]] = []
    for rows in said.values():
        votes = [Vote(row.rater, VOTE_VALUES[row.label], row.role) for _, row in rows]
        word = last_word(votes)
        kept += [rows[k] for k in ([word] if word is not None else first_votes(votes))]
    return [row for _, row in sorted(kept, key=lambda one: one[0])]
