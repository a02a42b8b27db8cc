"""Tables that name pairs of a dataset by the ids of their clips: what is to be judged, and what is known of it."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from videoalign.contracts.records import Label
from videoalign.data.dataset import flip
from videoalign.data.formats.common import names_in
from videoalign.data.formats.verdicts import LABELS, word_of
from videoalign.data.source_table import Row, SourceTable
from videoalign.errors import DataError, did_you_mean
from videoalign.web.annotate.programme.media_index import Library

ClipPair = tuple[str, str]
"""Ids of two clips, in the order in which pairs are stored."""

KNOWN = {word: label for word, label in LABELS.items() if label != Label.INVALID}
"""How known answers are written."""

_CLIPS = ("clip_a", "clip_b")


def read_pairs(location: str | Path, library: Library, stored: Set[ClipPair] = frozenset()) -> Iterator[ClipPair]:
    """The pair that each row of a table names in its columns ``clip_a`` and ``clip_b``.

    Args:
        location: of the table.
        library: of the dataset.
        stored: pairs that were in the dataset before; where their clips are not there any more, rows that name them are
            left out.

    Raises:
        DataError: the table cannot be read, or a row names no two clips of one prompt.
    """
    table = _open(location)
    for row in table.rows:
        with _told(table, row):
            pair = _pair_of(row, library, stored)
            if pair is not None:
                yield pair


def read_gold(
    location: str | Path, library: Library, stored: Set[ClipPair] = frozenset()
) -> dict[ClipPair, dict[str, str]]:
    """Known answers by pair and dimension, of a table with a column for each dimension that some pair is known on; see
    `read_pairs` for the arguments.

    Raises:
        DataError: see `read_pairs`; also a row without an answer, one that contradicts another row, or verdicts in a
            column that is no dimension.
    """
    table, names = _open(location), library.dataset.dimensions
    _refuse_other_verdicts(table, names)
    gold: dict[ClipPair, dict[str, str]] = {}
    places: dict[tuple[ClipPair, str], str] = {}
    for row in table.rows:
        with _told(table, row):
            pair = _pair_of(row, library, stored)
            if pair is None:
                continue
            answers = {name: _answer(text, name) for name in names if (text := row.optional(name))}
            if not answers:
                raise DataError(f"has no answer; give one on at least one of {', '.join(names)}.")
            for name, label in answers.items():
                answer = str(label if pair[0] == row.text("clip_a") else flip(label))
                first = places.setdefault((pair, name), row.place)
                if gold.setdefault(pair, {}).setdefault(name, answer) != answer:
                    raise DataError(f"contradicts row {first} on {name}; keep one answer.")
    return gold


def _answer(text: str, column: str) -> Label:
    label = KNOWN.get(word_of(text))
    if label is None:
        raise DataError(f"column '{column}': '{text}' is not a verdict; wanted A, B, tie, both_bad or nothing.")
    return label


def _open(location: str | Path) -> SourceTable:
    table = SourceTable.open(location)
    table.require(*_CLIPS)
    return table


def _refuse_other_verdicts(table: SourceTable, names: tuple[str, ...]) -> None:
    """A misspelt dimension must not pass for a remark."""
    others = [name for name in table.columns if name not in (*_CLIPS, *names)]
    judged = names_in(table, lambda row: [name for name in others if row.optional(name).lower() in LABELS], enough=1)
    if judged:
        raise DataError(f"{table.location}: column '{judged[0]}' holds verdicts.{did_you_mean(judged[0], names)}")


@contextmanager
def _told(table: SourceTable, row: Row) -> Iterator[None]:
    """Says where a row stands."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{table.location}:{row.place}: {error}") from None


def _pair_of(row: Row, library: Library, stored: Set[ClipPair]) -> ClipPair | None:
    """The pair that a row names; None where it was in the dataset before and is not now."""
    clip_a, clip_b = (row.text(name) for name in _CLIPS)
    pair = (clip_a, clip_b) if clip_a < clip_b else (clip_b, clip_a)
    prompts = {library.clips[clip_id].prompt_id for clip_id in pair if clip_id in library.clips}
    left = [*({*pair} - library.clips.keys()), *(prompts - library.prompts.keys())]
    if left and pair in stored:
        return None
    for clip_id in (clip_a, clip_b):
        if clip_id in library.sorted.left_out:
            raise DataError(f"clip '{clip_id}' cannot be shown: {library.sorted.left_out[clip_id]}")
        if clip_id not in library.clips:
            raise DataError(f"clip '{clip_id}' is not in the dataset; add it first.")
    if clip_a == clip_b or len(prompts) > 1:
        raise DataError(f"'{clip_a}' and '{clip_b}' must be two clips of one prompt.")
    if left:
        raise DataError(f"the prompt of '{clip_a}' and '{clip_b}' is not in the dataset; add it first.")
    return pair
